//! Traced models: the goldens, and models that exist only by their config.

use kiln_frontend::{ParamSource, Storage};
use kiln_ir::{DType, Module, compose};
use kiln_models::Task;
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::source::ModelFiles;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Every golden model, in the order of their names.
pub fn goldens() -> Vec<String> {
    let folders = std::fs::read_dir(folder("")).expect("the goldens").map(|entry| entry.expect("an entry").path());
    let models = folders.filter(|path| path.join("config.json").exists());
    let mut names: Vec<String> = models.filter_map(|path| Some(path.file_name()?.to_str()?.to_string())).collect();
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Where a golden model is.
pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(name)
}

/// A golden as it is traced.
pub fn golden(name: &str) -> Module {
    let files = ModelFiles::open_folder(&folder(name)).expect(name);
    let traced = trace(None, &files.config, &files.checkpoint, &TraceOptions::default());
    traced.unwrap_or_else(|e| panic!("{name}: {e}")).module
}

/// As [`golden`], every composite written out in primitives.
pub fn opened(name: &str) -> Module {
    compose::decompose(&golden(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A Llama of so many layers, with the sizes of SmolLM2 135M. It has shapes and no weights.
pub fn smollm2(layers: usize) -> Module {
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": layers,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
        "hidden_act": "silu",
        "tie_word_embeddings": true,
    });
    let traced = trace(Some(Task::CausalLm), &config, &Shapes(&config), &TraceOptions::default());
    traced.unwrap_or_else(|e| panic!("{e}")).module
}

/// The parameters that a Llama's config implies.
struct Shapes<'a>(&'a Value);

impl ParamSource for Shapes<'_> {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        let size = |field: &str| self.0[field].as_u64().map(|n| n as usize);
        let (hidden, inner) = (size("hidden_size")?, size("intermediate_size")?);
        let keys = hidden / size("num_attention_heads")? * size("num_key_value_heads")?;
        let shape = match name.strip_suffix(".weight")?.rsplit('.').next()? {
            "embed_tokens" => vec![size("vocab_size")?, hidden],
            "q_proj" | "o_proj" => vec![hidden, hidden],
            "k_proj" | "v_proj" => vec![keys, hidden],
            "gate_proj" | "up_proj" => vec![inner, hidden],
            "down_proj" => vec![hidden, inner],
            norm if norm.ends_with("norm") => vec![hidden],
            _ => return None,
        };
        Some((DType::F32.into(), shape))
    }

    fn names(&self) -> Vec<String> {
        vec![]
    }
}
