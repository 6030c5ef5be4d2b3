//! The layers that transformers are made of. Their parameters have PyTorch's names and shapes.
//!
//! A layer is made from sizes alone; [`Context::load`](crate::Context::load) then finds its parameters by the names of the fields that
//! lead to it.

mod activation;
mod attention;
mod linear;
pub mod loss;
mod norm;
mod positions;
mod rope;

pub use activation::Activation;
pub use attention::{Attention, KvCache, Memory, Past};
pub use linear::{Embedding, Linear};
pub use loss::IGNORE_INDEX;
pub use norm::{LayerNorm, RmsNorm};
pub use positions::Positions;
pub use rope::{Frequencies, RotaryEmbedding};
