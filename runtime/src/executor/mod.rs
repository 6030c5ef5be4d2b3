//! Running an artifact's plan.
//!
//! A [`Model`] is what sessions share: mapped code and weights, and the tensors that `prepare` made of them at load. A
//! [`Session`] owns what one conversation needs: states and temporaries. A call names a signature and its inputs; their shapes
//! bind the plan's size symbols; the first variant whose guards hold is bound to sizes and addresses once (`bound`) and from
//! then on only run. In come `artifact`, `device` and `memory`; `causal_lm` builds on this.

mod bind;
mod bound;
mod check;
mod model;
mod outputs;
mod session;
mod spans;

pub use model::{LoadOptions, Model};
pub use outputs::{Outputs, StepTime};
pub use session::{CancelToken, Session, SessionOptions};
