//! The `.kiln` file: one file that holds everything a model needs to run.
//!
//! The compiler writes it with [`ArtifactWriter`], streaming the weights; a program reads it with [`Artifact`], memory-mapped and
//! checked. `specs/artifact.md` describes it byte by byte. It is a header page with a section table and then sections, each
//! at a page boundary, each with a checksum, each optional: a reader takes the sections it needs and skips names it does not know.
//!
//! Checksums find accidents: a truncated copy, a flipped bit. They do not authenticate. An artifact holds machine code that
//! loading it runs, so load only artifacts whose origin you trust, as you would a shared library.

mod checksum;
mod code;
mod kernels;
mod layout;
mod manifest;
mod reader;
mod texts;
mod writer;

pub(crate) use code::Code;
#[doc(hidden)]
pub use kernels::plan_digest;
pub use layout::{FORMAT_VERSION, MAGIC, MAX_SECTIONS, PAGE, SectionEntry};
pub use manifest::{Build, Manifest, ModelInfo};
pub use reader::{Artifact, Bytes, OpenOptions};
pub use writer::ArtifactWriter;

use kiln_core::WeightSpec;
use std::borrow::Cow;

/// Tensors begin at multiples of this in the weights section.
pub const WEIGHT_ALIGN: u64 = 64;

/// The sections that kiln knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// [`Manifest`] as JSON.
    Manifest,
    /// [`Plan`](kiln_core::Plan) as JSON, without its kernels.
    Plan,
    /// What the code in the image is, where, and for which plan, as JSON: a list of [`KernelEntry`](kiln_core::KernelEntry) and a digest.
    Kernels,
    /// The optimised IR as text.
    Ir,
    /// The kernels' machine code, position independent.
    Image,
    /// The weights' bytes.
    Weights,
    /// `tokenizer.json`.
    Tokenizer,
    /// `tokenizer_config.json`.
    TokenizerConfig,
    /// The chat template, Jinja text.
    ChatTemplate,
    /// `generation_config.json`.
    GenerationConfig,
    /// The model's `config.json`.
    Config,
}

impl Section {
    /// Every section that kiln knows.
    pub const ALL: [Section; 11] = [
        Section::Manifest,
        Section::Plan,
        Section::Kernels,
        Section::Ir,
        Section::Image,
        Section::Weights,
        Section::Tokenizer,
        Section::TokenizerConfig,
        Section::ChatTemplate,
        Section::GenerationConfig,
        Section::Config,
    ];

    /// Its name in the section table.
    pub const fn name(self) -> &'static str {
        match self {
            Section::Manifest => "manifest",
            Section::Plan => "plan",
            Section::Kernels => "kernels",
            Section::Ir => "ir",
            Section::Image => "image",
            Section::Weights => "weights",
            Section::Tokenizer => "tokenizer",
            Section::TokenizerConfig => "tokenizer_config",
            Section::ChatTemplate => "chat_template",
            Section::GenerationConfig => "generation_config",
            Section::Config => "config",
        }
    }

    /// The name of the section of that build ([`Manifest::builds`]), for what each build has of its own: [`Section::Plan`],
    /// [`Section::Kernels`], [`Section::Ir`] and [`Section::Image`]. The first build's sections have the plain names, those of build `n` have
    /// `.n` after them.
    pub fn of_build(self, build: usize) -> Cow<'static, str> {
        match build {
            0 => self.name().into(),
            n => format!("{}.{n}", self.name()).into(),
        }
    }
}

/// The name of the section that holds a file of the model's folder, such as a processor's config: the file's own, but for those that
/// [`Section`] has.
pub fn section_of_file(name: &str) -> &str {
    match name {
        "tokenizer.json" => Section::Tokenizer.name(),
        "tokenizer_config.json" => Section::TokenizerConfig.name(),
        "chat_template.jinja" => Section::ChatTemplate.name(),
        other => other,
    }
}

/// Bytes that a weight takes; `None` if its shape is absurd or cuts a block.
pub(crate) fn weight_bytes(spec: &WeightSpec) -> Option<usize> {
    let elements = spec.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    if let (kiln_core::Storage::Block(b), Some(row)) = (spec.storage, spec.shape.last())
        && !row.is_multiple_of(b.block_len())
    {
        return None;
    }
    spec.storage.bytes(elements)
}
