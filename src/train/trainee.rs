//! A model that is being trained.

use super::program::{APPLY, GRAD_ACCUMULATE, TrainingProgram, training_program};
use crate::compile::{CompileOptions, build, trace_training};
use crate::{Error, LoadOptions, Result, Session, SessionOptions, TensorView};
use kiln_core::DType;
use kiln_frontend::ParamSource;
use kiln_frontend::optim::{Optimizer, Trained};
use kiln_ir::Storage;
use kiln_models::source::ModelFiles;
use kiln_models::weights::Checkpoint;

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The norm of the whole gradient, before clipping.
    pub grad_norm: f32,
    /// The norm of each parameter's gradient, before clipping, in the order of [`Trainee::trained`].
    pub grad_norms: Vec<f32>,
}

/// How a model is trained.
#[derive(Clone, Default)]
pub struct TraineeOptions {
    /// How its program is compiled.
    pub compile: CompileOptions,
    /// How it is loaded.
    pub load: LoadOptions,
    /// Whether every parameter decays, as in a bare `torch.optim` with one group of parameters. By default biases and the parameters of
    /// norms do not, as in transformers' `Trainer`.
    pub decay_all: bool,
}

/// A compiled training program with its parameters, moments and gradients: the states of one session.
pub struct Trainee {
    session: Session,
    trained: Vec<Trained>,
}

impl Trainee {
    /// Compiles a model for training, with an optimizer. All parameters are trained in f32, however the checkpoint stores them.
    ///
    /// # Errors
    /// A task without a loss, an op without a gradient, and whatever [`compile()`](crate::compile()) refuses.
    pub fn new(files: &ModelFiles, optimizer: &dyn Optimizer, options: &TraineeOptions) -> Result<Self> {
        let source = InF32(&files.checkpoint);
        let traced = trace_training(files, &source, &options.compile)?;
        let decays = |name: &str| options.decay_all || super::decays(name);
        let TrainingProgram { module, trained } = training_program(&traced.module, optimizer, decays)?;
        let program = build(&module, &options.compile)?;
        let model = program.load(&options.compile, &options.load, |name, out| {
            let values = files.checkpoint.to_f32(name).map_err(std::io::Error::other)?;
            out.write_all(bytemuck::cast_slice(&values))
        })?;
        Ok(Trainee { session: Session::new(&model, &SessionOptions::default())?, trained })
    }

    /// The parameters that are trained.
    pub fn trained(&self) -> &[Trained] {
        &self.trained
    }

    /// The session whose states the parameters, moments and sums of gradients are.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Adds the gradients of a batch to the sums; gives its loss.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn accumulate(&mut self, batch: &[(&str, TensorView<'_>)]) -> Result<f32> {
        let outputs = self.session.call(GRAD_ACCUMULATE, batch)?;
        floats(outputs.get("loss"), "loss").map(|values| values[0])
    }

    /// Takes a step by the gradients that were summed over that many batches, and makes the sums zero. A `max_grad_norm` of 0 clips
    /// nothing.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn apply(&mut self, learning_rate: f32, batches: usize, max_grad_norm: f32) -> Result<StepReport> {
        let scale = 1.0 / batches.max(1) as f32;
        let inputs = [("learning_rate", learning_rate), ("gradient_scale", scale), ("max_grad_norm", max_grad_norm)];
        let views = inputs.each_ref().map(|(name, value)| (*name, TensorView::new(&[], std::slice::from_ref(value))));
        let outputs = self.session.call(APPLY, &views)?;
        let grad_norm = floats(outputs.get("grad_norm"), "grad_norm")?[0];
        Ok(StepReport { grad_norm, grad_norms: floats(outputs.get("grad_norms"), "grad_norms")? })
    }
}

fn floats(view: Option<TensorView<'_>>, name: &str) -> Result<Vec<f32>> {
    let view = view.ok_or_else(|| Error::Option(format!("the program has no output `{name}`")))?;
    Ok(view.to_f32_vec())
}

/// A checkpoint whose parameters are all f32.
struct InF32<'a>(&'a Checkpoint);

impl ParamSource for InF32<'_> {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        let (storage, shape) = self.0.lookup(name)?;
        let float = storage.dense().is_none_or(DType::is_float);
        Some((if float { DType::F32.into() } else { storage }, shape))
    }

    fn resolve(&self, name: &str) -> String {
        self.0.resolve(name)
    }

    fn names(&self) -> Vec<String> {
        ParamSource::names(self.0)
    }

    fn unsupported(&self, name: &str) -> Option<String> {
        ParamSource::unsupported(self.0, name)
    }

    fn differ(&self, one: &str, other: &str) -> bool {
        self.0.differ(one, other)
    }

    fn quantized(&self) -> Option<String> {
        self.0.quantized()
    }
}
