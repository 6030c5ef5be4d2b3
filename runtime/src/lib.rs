//! Runs what kiln compiled: loads a `.kiln` artifact and executes it. No compiler is in here.
//!
//! ```no_run
//! use kiln_runtime::{LoadOptions, Model, Session, SessionOptions, TensorView};
//!
//! # fn main() -> kiln_runtime::Result<()> {
//! let model = Model::open("model.kiln", &LoadOptions::default())?;
//! let mut session = Session::new(&model, &SessionOptions::default())?;
//! let ids = [504i64, 2726, 282];
//! let outputs = session.call("forward", &[("input_ids", TensorView::new(&[1, 3], &ids))])?;
//! for (name, tensor) in outputs.iter() {
//!     println!("{name}: {} {:?}", tensor.dtype, tensor.shape);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`artifact`]: the file, written and read.
//! - [`device`]: memory, copies and launches; this machine's CPU and its threads.
//! - [`executor`]: [`Model`] (shared) and [`Session`] (one conversation), which bind sizes and launch kernels.
//! - [`generate`]: from prompts to tokens, for anything that is a [`CausalLm`](generate::CausalLm); [`CausalSession`] is one.
//!
//! An artifact holds machine code that loading it makes runnable. Its checksums find damage, not malice: load only artifacts
//! whose origin you trust.

pub mod artifact;
pub mod causal_lm;
#[cfg(feature = "cli")]
pub mod cli;
pub mod device;
pub mod executor;
pub mod generate;
#[cfg(feature = "text")]
pub mod text;

mod error;
mod memory;
mod tensor;

pub use artifact::{Artifact, ArtifactWriter, Manifest, ModelInfo, OpenOptions, Section};
pub use causal_lm::{CacheOptions, CausalSession};
pub use device::{Pool, Workers};
pub use error::{Error, Result};
pub use executor::{CancelToken, LoadOptions, Model, Outputs, Session, SessionOptions, StepTime};
pub use memory::MemoryReport;
pub use tensor::{Element, TensorView};

/// The bytes of a file, as `include_bytes!` gives them, but aligned so that [`Model::from_bytes`] can use weights in place.
#[macro_export]
macro_rules! include_artifact {
    ($path:expr) => {{
        #[repr(C, align(4096))]
        struct Aligned<T: ?Sized>(T);
        static ARTIFACT: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        let bytes: &'static [u8] = &ARTIFACT.0;
        bytes
    }};
}
