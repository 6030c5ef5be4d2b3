//! Reading an artifact: mapped, checked once, then sections by name.

use super::code::Code;
use super::kernels::{Kernels, plan_digest};
use super::layout::{self, SectionEntry};
use super::{Manifest, Section, WEIGHT_ALIGN, checksum, section_of_file, weight_bytes};
use crate::{Error, Result};
use kiln_core::{Plan, WeightSpec};
use memmap2::{Mmap, MmapMut, MmapOptions};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes before a released weight that are released once more.
const RELEASED_AGAIN: u64 = 2 << 20;

/// How to open an artifact.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Skips the checksum of the weights section, which otherwise has all its bytes read. Everything else is still checked.
    pub trust_weights: bool,
    /// Threads that check; by default, and for 0, as many as the machine has.
    pub threads: Option<usize>,
    /// Reads the file into memory instead of mapping it. It may then be changed, truncated or lost with its medium while the artifact lives,
    /// which ends a program that has mapped it (SIGBUS). Takes as much memory as the file is long, and the time to read it.
    pub copy: bool,
}

/// An artifact in memory.
pub enum Bytes {
    /// Built into the program, by [`include_artifact!`](crate::include_artifact) or `include_bytes!`.
    Static(&'static [u8]),
    /// Shared with the program.
    Shared(Arc<[u8]>),
    /// Given over by the program.
    Owned(Vec<u8>),
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::Static(bytes)
    }
}

impl<const N: usize> From<&'static [u8; N]> for Bytes {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes::Static(bytes)
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Bytes::Shared(bytes)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::Owned(bytes)
    }
}

enum Source {
    File { file: File, map: Mmap },
    Copy(Mmap),
    Memory(Bytes),
}

/// An open, checked artifact.
///
/// A file is memory-mapped, so it must not be changed or truncated while the artifact lives; replace it by a rename, as
/// [`ArtifactWriter`](super::ArtifactWriter) does, or have it copied ([`OpenOptions::copy`]).
pub struct Artifact {
    table: Table,
    source: Source,
    manifest: Manifest,
    /// The weights section where its place in memory is not aligned as kernels need it.
    aligned_weights: Option<Mmap>,
}

impl Artifact {
    /// Maps and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is no artifact, has another version, or any byte of it has changed.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        let io = |action, source| Error::Io { action, path: path.into(), source };
        // Looked at first: opening a FIFO would wait for its writer.
        if !std::fs::metadata(path).map_err(|e| io("open", e))?.is_file() {
            return Err(io("open", std::io::Error::other("not a regular file")));
        }
        Self::from_file(File::open(path).map_err(|e| io("open", e))?, path, options)
    }

    /// As [`open`](Self::open), of a regular file that is open already, from its beginning. `name` is what it is called in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_file(mut file: File, name: impl Into<PathBuf>, options: &OpenOptions) -> Result<Self> {
        let path = name.into();
        let io = |action, source| Error::Io { action, path: path.clone(), source };
        let len = file.metadata().map_err(|e| io("read", e))?.len();
        let name = path.display().to_string();
        if len == 0 {
            // An empty range cannot be mapped; the checks below refuse it.
            return Self::from_parts(name, Source::Memory(Bytes::Static(&[])), options);
        }
        if options.copy {
            let mut copy = anonymous(len, "a copy of the artifact")?;
            file.rewind().and_then(|()| file.read_exact(&mut copy)).map_err(|e| io("read", e))?;
            return Self::from_parts(name, Source::Copy(copy.make_read_only().map_err(|e| io("copy", e))?), options);
        }
        // SAFETY: the mapping is read-only and shared. Its bytes are read as plain data only after they were checked; that nobody
        // changes the file meanwhile is asked of the caller in the type's documentation.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| io("map", e))?;
        Self::from_parts(name, Source::File { file, map }, options)
    }

    /// Checks an artifact in memory. Weights that are not 64-byte aligned there are copied:
    /// [`include_artifact!`](crate::include_artifact) aligns.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: impl Into<Bytes>, options: &OpenOptions) -> Result<Self> {
        Self::from_parts("artifact in memory".into(), Source::Memory(bytes.into()), options)
    }

    fn from_parts(name: String, source: Source, options: &OpenOptions) -> Result<Self> {
        let bytes = source.bytes();
        let sections = layout::decode(&name, bytes)?;
        let threads = crate::device::threads(options.threads)?;
        for s in &sections {
            if options.trust_weights && s.name == Section::Weights.name() {
                continue;
            }
            let found = checksum::parallel(&bytes[s.offset as usize..s.end() as usize], threads);
            if found != s.checksum {
                return Err(Error::Damaged {
                    file: name,
                    what: format!("section `{}`", s.name),
                    expected: format!("checksum {:016x}", s.checksum),
                    found: format!("{found:016x}"),
                });
            }
            if s.name == Section::Weights.name() {
                source.release(s.offset as usize, s.size as usize);
            }
        }
        let table = Table { file: name, sections };
        let manifest = table.json(bytes, Section::Manifest.name())?;
        let aligned_weights = match table.bytes(bytes, Section::Weights.name()) {
            Some(weights) if !weights.is_empty() && !weights.as_ptr().addr().is_multiple_of(WEIGHT_ALIGN as usize) => {
                Some(copied(weights, "aligned weights")?)
            }
            _ => None,
        };
        Ok(Artifact { table, manifest, aligned_weights, source })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.table.file
    }

    /// What the artifact says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The section table.
    pub fn sections(&self) -> &[SectionEntry] {
        &self.table.sections
    }

    /// The bytes of a section, if it is there.
    pub fn section(&self, section: Section) -> Option<&[u8]> {
        self.named_section(section.name())
    }

    /// The bytes of any section, by name.
    pub fn named_section(&self, name: &str) -> Option<&[u8]> {
        self.table.bytes(self.source.bytes(), name)
    }

    /// The bytes of a file that was in the model's folder and that its inputs are made by, by the file's name: `tokenizer.json`,
    /// `preprocessor_config.json`.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.named_section(section_of_file(name))
    }

    /// The bytes of a section that must be there.
    ///
    /// # Errors
    /// When it is missing.
    pub fn require(&self, section: Section) -> Result<&[u8]> {
        self.table.require(self.source.bytes(), section.name())
    }

    /// A section that holds text, if it is there.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self, section: Section) -> Result<Option<&str>> {
        self.build_text(section, 0)
    }

    /// A section that the build of that number has of its own and that holds text, if it is there.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn build_text(&self, section: Section, build: usize) -> Result<Option<&str>> {
        let name = section.of_build(build);
        let text = |bytes| std::str::from_utf8(bytes).map_err(|e| self.table.malformed(&name, e.to_string()));
        self.named_section(&name).map(text).transpose()
    }

    /// The plan of the build of that number in [`Manifest::builds`].
    ///
    /// # Errors
    /// When it is missing, does not parse, or is not the one that the code was compiled for.
    pub fn plan(&self, build: usize) -> Result<Plan> {
        let [name, kernels] = [Section::Plan, Section::Kernels].map(|section| section.of_build(build));
        let mut plan: Plan = self.table.json(self.source.bytes(), &name)?;
        if self.named_section(&kernels).is_some() {
            let code: Kernels = self.table.json(self.source.bytes(), &kernels)?;
            let found = plan_digest(self.table.require(self.source.bytes(), &name)?);
            if found != code.plan {
                return Err(Error::Damaged {
                    file: self.name().into(),
                    what: format!("section `{name}`"),
                    expected: format!("the plan {} that the code was compiled for", code.plan),
                    found: format!("plan {found}"),
                });
            }
            plan.kernels = code.kernels;
        }
        if !plan.kernels.is_empty() {
            self.table.require(self.source.bytes(), &kernels)?;
        }
        Ok(plan)
    }

    /// The bytes of a weight, 64-byte aligned.
    ///
    /// # Errors
    /// When the spec points outside the weights section or is not aligned.
    pub fn weight(&self, spec: &WeightSpec) -> Result<&[u8]> {
        let all = match &self.aligned_weights {
            Some(copy) => copy,
            None => self.require(Section::Weights)?,
        };
        let bytes = || {
            let start = usize::try_from(spec.offset).ok()?;
            let end = start.checked_add(weight_bytes(spec)?)?;
            all.get(start..end).filter(|_| spec.offset.is_multiple_of(WEIGHT_ALIGN))
        };
        bytes().ok_or_else(|| {
            let WeightSpec { name, storage, shape, offset } = spec;
            let reason = format!(
                "weight `{name}`: expected {storage} {shape:?} at a multiple of {WEIGHT_ALIGN} within {} bytes, found offset {offset}",
                all.len()
            );
            self.table.malformed(Section::Weights.name(), reason)
        })
    }

    /// Lets go of the memory that a weight's mapped bytes take; reading them again brings them back from the file.
    pub(crate) fn release(&self, spec: &WeightSpec) {
        if let (Some(section), Some(bytes)) = (self.table.find(Section::Weights.name()), weight_bytes(spec)) {
            // Reading a page maps its neighbours too, so some of what was released before is back.
            let before = spec.offset.min(RELEASED_AGAIN);
            let start = section.offset + spec.offset - before;
            self.source.release(start as usize, bytes + before as usize);
        }
    }

    /// Maps the image of the build of that number for execution: straight from the file, or by a copy from memory and from a mount that allows no execution.
    /// `None` when it is empty or absent.
    pub(crate) fn code(&self, build: usize) -> Result<Option<Code>> {
        let name = Section::Image.of_build(build);
        let Some(image) = self.named_section(&name).filter(|image| !image.is_empty()) else {
            return Ok(None);
        };
        // Written first, executable afterwards: never both.
        let by_copy = || {
            copied(image, "the kernel image")?.make_mut().and_then(MmapMut::make_exec).map_err(|source| Error::Io {
                action: "get executable memory for the code of",
                path: self.name().into(),
                source,
            })
        };
        let Source::File { file, .. } = &self.source else { return Ok(Some(Code { map: by_copy()? })) };
        let offset = self.table.find(&name).map_or(0, |s| s.offset);
        // SAFETY: read-only and executable, never writable; the caveat on changing the file is the same as for the whole.
        let map = unsafe { MmapOptions::new().offset(offset).len(image.len()).map_exec(file) };
        Ok(Some(Code { map: map.or_else(|_| by_copy())? }))
    }
}

/// The checked section table.
struct Table {
    file: String,
    sections: Vec<SectionEntry>,
}

impl Table {
    fn find(&self, name: &str) -> Option<&SectionEntry> {
        self.sections.iter().find(|s| s.name == name)
    }

    fn bytes<'a>(&self, file: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let s = self.find(name)?;
        file.get(s.offset as usize..s.end() as usize)
    }

    fn require<'a>(&self, file: &'a [u8], section: &str) -> Result<&'a [u8]> {
        self.bytes(file, section).ok_or_else(|| Error::MissingSection {
            file: self.file.clone(),
            section: section.into(),
            present: self.sections.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    fn json<T: serde::de::DeserializeOwned>(&self, file: &[u8], section: &str) -> Result<T> {
        serde_json::from_slice(self.require(file, section)?).map_err(|e| self.malformed(section, e.to_string()))
    }

    fn malformed(&self, section: &str, reason: String) -> Error {
        Error::Malformed { file: self.file.clone(), section: section.into(), reason }
    }
}

impl Source {
    /// Only a file's mapping can be let go, and only in the system's page tables: the bytes stay valid.
    fn release(&self, offset: usize, len: usize) {
        #[cfg(target_os = "linux")]
        if let Source::File { map, .. } = self {
            // SAFETY: a shared read-only mapping of a file: dropped pages are read from the file again.
            let released = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, len) };
            if let Err(e) = released {
                tracing::debug!("mapped weights stay in memory: {e}");
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, len);
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Source::File { map, .. } | Source::Copy(map) => map,
            Source::Memory(Bytes::Static(bytes)) => bytes,
            Source::Memory(Bytes::Shared(bytes)) => bytes,
            Source::Memory(Bytes::Owned(bytes)) => bytes,
        }
    }
}

fn copied(bytes: &[u8], what: &'static str) -> Result<Mmap> {
    let mut map = anonymous(bytes.len() as u64, what)?;
    map.copy_from_slice(bytes);
    map.make_read_only().map_err(|source| Error::Memory { what, bytes: bytes.len() as u64, source })
}

/// Memory of its own.
fn anonymous(bytes: u64, what: &'static str) -> Result<MmapMut> {
    let failed = |source| Error::Memory { what, bytes, source };
    let len = usize::try_from(bytes).map_err(|e| failed(std::io::Error::other(e)))?;
    MmapMut::map_anon(len).map_err(failed)
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact")
            .field("name", &self.name())
            .field("sections", &self.sections())
            .finish_non_exhaustive()
    }
}
