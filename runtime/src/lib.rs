//! placeholder

pub mod generate;
#[cfg(feature = "text")]
pub mod text;
