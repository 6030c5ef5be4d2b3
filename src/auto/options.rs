//! [`PretrainedOptions`], and the way from a name to a loaded artifact.

use crate::{CompileCache, CompileOptions, Error, HubOptions, LoadOptions, Model, ModelFiles, Result, TargetSpec};
use kiln_codegen::EmitMode;
use kiln_core::DType;
use kiln_models::Task;
use kiln_models::source::Progress;
use kiln_passes::egraph::Numerics;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to load a model by name. What is not given comes from the environment ([`HubOptions::from_env`]) or from the model.
#[derive(Clone, Debug)]
pub struct PretrainedOptions {
    /// The machine to compile for.
    pub target: TargetSpec,
    /// The type that the model computes in.
    pub dtype: DType,
    /// The branch, tag or commit on the hub.
    pub revision: Option<String>,
    /// The GGUF file to take of a model that has several, or that has safetensors too.
    pub gguf_file: Option<String>,
    /// The folder of the hub's cache.
    pub cache_dir: Option<PathBuf>,
    /// The folder of the compile cache; by default `kiln/artifacts` in the user's cache folder.
    pub artifacts_dir: Option<PathBuf>,
    /// Whether to use the hub's cache only.
    pub local_files_only: bool,
    /// The token for private and gated models.
    pub token: Option<String>,
    /// Who is told how far downloads are.
    pub progress: Progress,
    /// The longest sequence, in tokens.
    pub max_seq: Option<usize>,
    /// What rewriting may do to the bits of results.
    pub numerics: Numerics,
    /// Threads that compute; by default, and for 0, as many as the machine has.
    pub threads: Option<usize>,
    /// Read the artifact into memory instead of mapping it: for a file that may be changed, truncated or unmounted meanwhile.
    pub copy: bool,
    /// Where kernels are compiled: child processes by default.
    pub emit: EmitMode,
}

impl Default for PretrainedOptions {
    fn default() -> Self {
        PretrainedOptions {
            target: TargetSpec::x86_64_v3(),
            dtype: DType::F32,
            revision: None,
            gguf_file: None,
            cache_dir: None,
            artifacts_dir: None,
            local_files_only: false,
            token: None,
            progress: Progress::default(),
            max_seq: None,
            numerics: Numerics::default(),
            threads: None,
            copy: false,
            emit: EmitMode::default(),
        }
    }
}

impl PretrainedOptions {
    fn hub(&self) -> HubOptions {
        let environment = HubOptions::from_env();
        HubOptions {
            revision: self.revision.clone().or(environment.revision),
            gguf_file: self.gguf_file.clone(),
            cache_dir: self.cache_dir.clone().unwrap_or(environment.cache_dir),
            local_files_only: self.local_files_only || environment.local_files_only,
            token: self.token.clone().or(environment.token),
            progress: self.progress.clone(),
            ..environment
        }
    }

    /// The files of MODEL.
    pub(super) fn files(&self, model: &str) -> Result<ModelFiles> {
        Ok(ModelFiles::resolve_with(model, &self.hub())?)
    }

    /// MODEL, loaded for a task, and its files unless it is an artifact.
    pub(super) fn open(&self, model: &str, task: Task) -> Result<(Arc<Model>, Option<ModelFiles>)> {
        let load = LoadOptions { threads: self.threads, copy: self.copy, ..LoadOptions::default() };
        if is_artifact(model) {
            let opened = Model::open(model, &load)?;
            let (found, expected) = (&opened.artifact().manifest().model.auto_class, task.auto_class());
            if !found.is_empty() && found != expected {
                return Err(Error::Option(format!(
                    "`{model}` was compiled for {found}, expected {expected} ({task}): compile the model for that task"
                )));
            }
            return Ok((opened, None));
        }
        let options = CompileOptions {
            target: self.target.clone(),
            more_targets: vec![],
            dtype: self.dtype,
            task: Some(task),
            max_seq: self.max_seq,
            passes: kiln_passes::Options { numerics: self.numerics, ..kiln_passes::Options::default() },
            emit: self.emit.clone(),
        };
        let files = self.files(model)?;
        let cache = self.artifacts_dir.as_ref().map_or_else(CompileCache::from_env, CompileCache::in_folder)?;
        let (artifact, _) = cache.artifact(&files, &options, &load.artifact())?;
        Ok((Model::load(artifact, &load)?, Some(files)))
    }
}

/// Whether MODEL is compiled already.
pub(super) fn is_artifact(model: &str) -> bool {
    Path::new(model).extension().is_some_and(|e| e == "kiln")
}
