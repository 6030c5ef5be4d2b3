//! Training: the model that serves inference, with the way back and an optimizer behind it, compiled like everything else.
//!
//! A [`TrainingProgram`] has three signatures over the same states: `forward` evaluates, [`GRAD_ACCUMULATE`] adds the gradients of a batch
//! to their sums, [`APPLY`] takes a step. [`Trainee`] compiles one for a model and calls them.

mod program;
mod trainee;

pub use kiln_frontend::optim::{AdamW, Optimizer, Sgd, Trained, decays};
pub use program::{APPLY, GRAD_ACCUMULATE, TrainingProgram, training_program};
pub use trainee::{StepReport, Trainee, TraineeOptions};
