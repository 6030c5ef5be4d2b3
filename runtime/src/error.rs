//! What can go wrong when an artifact is written, loaded or called.

use std::path::PathBuf;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an artifact was not written, loaded or run. Each message names the thing, what was expected, what was found, and what
/// to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `open`, `write`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error(
        "`{file}` is not a kiln artifact: expected it to begin with {expected:02x?}, found {found:02x?}; compile one with `kiln compile`"
    )]
    NotAnArtifact {
        /// The file's name.
        file: String,
        /// The magic number.
        expected: Vec<u8>,
        /// The bytes in its place.
        found: Vec<u8>,
    },
    /// The file has another format version.
    #[error(
        "`{file}` has artifact format version {found}, this program reads version {expected}: recompile it with `kiln compile`"
    )]
    FormatVersion {
        /// The file's name.
        file: String,
        /// The version that this program reads.
        expected: u32,
        /// The file's.
        found: u32,
    },
    /// Bytes are missing, surplus or changed.
    #[error("`{file}` is damaged: {what}: expected {expected}, found {found}; copy it again or recompile it")]
    Damaged {
        /// The file's name.
        file: String,
        /// Which part.
        what: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A section that this use needs is absent.
    #[error(
        "`{file}` has no `{section}` section, expected one; it has {present}: recompile it with the current `kiln compile`"
    )]
    MissingSection {
        /// The file's name.
        file: String,
        /// The section's name.
        section: String,
        /// The sections that are there.
        present: String,
    },
    /// A section whose bytes are intact says something impossible.
    #[error("`{file}`, section `{section}`: {reason}: recompile it with the current `kiln compile`")]
    Malformed {
        /// The file's name.
        file: String,
        /// The section's name.
        section: String,
        /// What is impossible.
        reason: String,
    },
    /// The plan contradicts itself.
    #[error(
        "the plan is inconsistent: {what}: expected {expected}, found {found}; this is a fault of the compiler that wrote it"
    )]
    Plan {
        /// Which part.
        what: String,
        /// What would be consistent.
        expected: String,
        /// What it says.
        found: String,
    },
    /// A tensor whose bytes are not as many as its type says, or a section written twice: a fault of the writing program.
    #[error("writing an artifact: {what}: expected {expected}, found {found}")]
    Writing {
        /// Which part.
        what: String,
        /// What is allowed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The code was made for another machine.
    #[error("built for {built_for} (needs {needs}), this machine {lacks}: recompile it for this machine")]
    WrongMachine {
        /// The target's name.
        built_for: String,
        /// What it asks for.
        needs: String,
        /// What this machine is or lacks.
        lacks: String,
    },
    /// None of an artifact's builds runs here.
    #[error("{file} has no code for this machine: {}; compile it for this machine, too", reasons.join("; "))]
    NoBuild {
        /// The artifact's name.
        file: String,
        /// What each build lacks here.
        reasons: Vec<String>,
    },
    /// An artifact without a build that was asked for.
    #[error("{file} has no build for the target `{asked}`: expected {}", known.join(" or "))]
    UnknownBuild {
        /// The artifact's name.
        file: String,
        /// The target that was asked for.
        asked: String,
        /// Its builds' targets.
        known: Vec<String>,
    },
    /// Memory could not be had.
    #[error("cannot get {bytes} bytes for {what}: {source}; choose smaller sizes (batch rows, context) or free memory")]
    Memory {
        /// What for.
        what: &'static str,
        /// How many.
        bytes: u64,
        /// The system's reason.
        source: std::io::Error,
    },
    /// More threads than any machine has.
    #[error(
        "{wanted} threads, expected at most {most}: ask for as many as compute at once, which are {own} here, or for 0, which means that"
    )]
    Threads {
        /// How many were asked for.
        wanted: usize,
        /// How many may be.
        most: usize,
        /// How many this machine runs at once.
        own: usize,
    },
    /// A worker thread could not be started.
    #[error("cannot start worker thread {number} of {wanted}: {source}; ask for fewer threads")]
    Thread {
        /// Which one.
        number: usize,
        /// How many were asked for.
        wanted: usize,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No signature of that name.
    #[error("no signature `{name}`: this artifact has {known}")]
    UnknownSignature {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A session was made without, or with an impossible, size for its state.
    #[error(
        "size `{symbol}` of the session's state: expected {expected}, found {found}; set it in `SessionOptions::sizes`"
    )]
    StateSize {
        /// The size symbol.
        symbol: String,
        /// The values allowed.
        expected: String,
        /// The value given.
        found: String,
    },
    /// A state, or a parameter that may change, that there is not, or another tensor than it takes.
    #[error("state `{name}`: expected {expected}, found {found}")]
    State {
        /// The state's name.
        name: String,
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An input is wrong or missing.
    #[error("signature `{signature}`, input `{input}`: expected {expected}, found {found}")]
    Input {
        /// The signature's name.
        signature: String,
        /// The input's name.
        input: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The inputs' sizes are those of no compiled variant.
    #[error(
        "signature `{signature}` was not compiled for {sizes}: its variants take {ranges}; pass other sizes or recompile"
    )]
    NoVariant {
        /// The signature's name.
        signature: String,
        /// The sizes of this call.
        sizes: String,
        /// The sizes of each variant.
        ranges: String,
    },
    /// The call was cancelled through its token; states are as the steps that ran left them.
    #[error("the call was cancelled")]
    Cancelled,
}
