//! Writing an artifact: sections one after the other, streamed, then the header.

use super::checksum::{self, CHUNK};
use super::kernels::{Kernels, plan_digest};
use super::layout::{self, MAX_SECTIONS, PAGE, SectionEntry};
use super::{Manifest, Section, WEIGHT_ALIGN, weight_bytes};
use crate::{Error, Result};
use kiln_core::output::{Output, OutputFile};
use kiln_core::{Plan, WeightSpec};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Writes an artifact, section by section in the order of the calls.
///
/// To a path it writes a file that appears there when it is [finished](Self::finish); dropped before that, or after an error, it leaves
/// nothing behind ([`output`](kiln_core::output)). Equal calls give equal bytes.
///
/// The plan records where the weights are, so weights come before it:
/// ```no_run
/// # use kiln_runtime::{ArtifactWriter, Manifest, Result, Section};
/// # fn compile(manifest: Manifest, mut plan: kiln_core::Plan, image: Vec<u8>) -> Result<()> {
/// let mut w = ArtifactWriter::create("model.kiln")?;
/// w.manifest(&manifest)?;
/// w.section(Section::Image, &image)?;
/// for spec in &mut plan.weights {
///     w.weight(spec, |out| out.write_all(b"the tensor's bytes"))?;
/// }
/// w.plan(0, &plan)?;
/// w.finish()
/// # }
/// ```
pub struct ArtifactWriter<W: Write + Seek = OutputFile> {
    out: W,
    /// Bytes of the open section that are not written yet; less than [`CHUNK`].
    pending: Vec<u8>,
    digests: Vec<u64>,
    sections: Vec<SectionEntry>,
    /// The last entry of `sections` still grows.
    open: bool,
    /// For messages.
    path: PathBuf,
    failed: bool,
}

fn json<T: serde::Serialize>(section: Section, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Writing {
        what: format!("section `{}`", section.name()),
        expected: "a value that JSON can hold".into(),
        found: e.to_string(),
    })
}

impl ArtifactWriter<OutputFile> {
    /// Begins an artifact that will be at `path`.
    ///
    /// # Errors
    /// When the folder cannot be written to, or the path is no place for a file: a folder, a FIFO, a device.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        match Output::at(&path).and_then(Output::create) {
            Ok(file) => Self::over(file, path),
            Err(source) => Err(Error::Io { action: "write", path, source }),
        }
    }

    /// Writes the header and moves the file to its place.
    ///
    /// # Errors
    /// When the system refuses, or after an earlier error.
    pub fn finish(self) -> Result<()> {
        let path = self.path.clone();
        self.into_inner()?.finish().map_err(|source| Error::Io { action: "write", path, source })
    }
}

impl ArtifactWriter<io::Cursor<Vec<u8>>> {
    /// Begins an artifact in memory.
    ///
    /// # Errors
    /// None that memory allows.
    pub fn in_memory() -> Result<Self> {
        Self::over(io::Cursor::new(vec![]), "artifact in memory")
    }

    /// Writes the header and gives the bytes.
    ///
    /// # Errors
    /// After an earlier error.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.into_inner()?.into_inner())
    }
}

impl<W: Write + Seek> ArtifactWriter<W> {
    /// Begins an artifact at the beginning of anything that can be written. `name` is what it is called in messages.
    ///
    /// # Errors
    /// When writing fails.
    pub fn over(out: W, name: impl Into<PathBuf>) -> Result<Self> {
        let mut writer = ArtifactWriter {
            out,
            pending: vec![],
            digests: vec![],
            sections: vec![],
            open: false,
            path: name.into(),
            failed: false,
        };
        writer.raw(&[0; PAGE as usize])?;
        Ok(writer)
    }

    /// Writes the header, and gives back what was written to.
    ///
    /// # Errors
    /// When writing fails, or after an earlier error.
    pub fn into_inner(mut self) -> Result<W> {
        self.finish_header()?;
        Ok(self.out)
    }

    /// Writes a whole section.
    ///
    /// # Errors
    /// When the section exists already, or the system refuses.
    pub fn section(&mut self, section: Section, bytes: &[u8]) -> Result<()> {
        self.named_section(section.name(), bytes)
    }

    /// Writes a section that kiln does not know, such as a processor's config; readers that do not look for it skip it. The name is 1 to 32 printable ASCII characters.
    ///
    /// # Errors
    /// When the name is unfit or used already, or the system refuses.
    pub fn named_section(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.open_section(name)?;
        self.append(bytes)?;
        self.close_section()
    }

    /// Writes the manifest.
    ///
    /// # Errors
    /// As [`section`](Self::section).
    pub fn manifest(&mut self, manifest: &Manifest) -> Result<()> {
        self.section(Section::Manifest, &json(Section::Manifest, manifest)?)
    }

    /// Writes the plan of the build of that number, and its kernels beside it.
    ///
    /// # Errors
    /// As [`section`](Self::section).
    pub fn plan(&mut self, build: usize, plan: &Plan) -> Result<()> {
        let section = json(Section::Plan, &Plan { kernels: vec![], ..plan.clone() })?;
        let kernels = Kernels { plan: plan_digest(&section), kernels: plan.kernels.clone() };
        self.named_section(&Section::Kernels.of_build(build), &json(Section::Kernels, &kernels)?)?;
        self.named_section(&Section::Plan.of_build(build), &section)
    }

    /// Appends one tensor to the weights section and sets `spec.offset`. `write` gives the bytes that `spec` calls for, in as
    /// many pieces as it likes. Weights follow each other with no other section between.
    ///
    /// # Errors
    /// When `write` fails or gives more or fewer bytes, or the system refuses.
    pub fn weight(
        &mut self,
        spec: &mut WeightSpec,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let what = || format!("weight `{}`, {} {:?}", spec.name, spec.storage, spec.shape);
        let wanted = weight_bytes(spec).ok_or_else(|| Error::Writing {
            what: what(),
            expected: "a size that fits memory and cuts no block".into(),
            found: "none".into(),
        })?;
        if !(self.open && self.sections.last().is_some_and(|s| s.name == Section::Weights.name())) {
            self.open_section(Section::Weights.name())?;
        }
        let size = self.sections.last().map_or(0, |s| s.size);
        let offset = size.next_multiple_of(WEIGHT_ALIGN);
        self.append(&[0; WEIGHT_ALIGN as usize][..(offset - size) as usize])?;
        let mut out = Counted { writer: self, error: None, left: wanted as u64, surplus: 0 };
        let given = write(&mut out);
        let Counted { error, left, surplus, .. } = out;
        if let Some(e) = error {
            return Err(e);
        }
        if surplus > 0 || (left > 0 && given.is_ok()) {
            self.failed = true;
            let found = wanted as u64 - left + surplus;
            return Err(Error::Writing { what: what(), expected: format!("{wanted} bytes"), found: found.to_string() });
        }
        if let Err(e) = given {
            self.failed = true;
            return Err(Error::Writing { what: what(), expected: format!("{wanted} bytes"), found: e.to_string() });
        }
        spec.offset = offset;
        Ok(())
    }

    fn open_section(&mut self, name: &str) -> Result<()> {
        self.close_section()?;
        let refuse = |expected: &str, found: String| {
            Err(Error::Writing { what: format!("section `{name}`"), expected: expected.into(), found })
        };
        if name.is_empty() || name.len() > 32 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("a name of 1 to 32 printable ASCII characters", format!("{name:?}"));
        }
        if self.sections.iter().any(|s| s.name == name) {
            return refuse("each section once, its parts together", "it again".into());
        }
        if self.sections.len() == MAX_SECTIONS {
            return refuse(&format!("at most {MAX_SECTIONS} sections"), "one more".into());
        }
        let end = self.sections.last().map_or(PAGE, SectionEntry::end);
        let offset = end.next_multiple_of(PAGE);
        self.raw(&vec![0; (offset - end) as usize])?;
        self.sections.push(SectionEntry { name: name.into(), offset, size: 0, checksum: 0 });
        self.open = true;
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        if let Some(s) = self.sections.last_mut() {
            s.size += bytes.len() as u64;
        }
        while !bytes.is_empty() {
            if self.pending.is_empty() && bytes.len() >= CHUNK {
                let (chunk, rest) = bytes.split_at(CHUNK);
                self.digests.push(checksum::digest(chunk));
                self.raw(chunk)?;
                bytes = rest;
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(CHUNK - self.pending.len()));
            self.pending.extend(part);
            bytes = rest;
            if self.pending.len() == CHUNK {
                self.flush_pending()?;
            }
        }
        Ok(())
    }

    fn flush_pending(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            let chunk = std::mem::take(&mut self.pending);
            self.digests.push(checksum::digest(&chunk));
            self.raw(&chunk)?;
            self.pending = chunk;
            self.pending.clear();
        }
        Ok(())
    }

    fn close_section(&mut self) -> Result<()> {
        if std::mem::take(&mut self.open) {
            self.flush_pending()?;
            let checksum = checksum::root(&std::mem::take(&mut self.digests));
            if let Some(s) = self.sections.last_mut() {
                s.checksum = checksum;
            }
        }
        Ok(())
    }

    fn finish_header(&mut self) -> Result<()> {
        self.close_section()?;
        if self.failed {
            return Err(Error::Writing {
                what: self.path.display().to_string(),
                expected: "every part written".into(),
                found: "an earlier error".into(),
            });
        }
        let end = self.sections.last().map_or(PAGE, SectionEntry::end);
        let header = layout::encode(&self.sections, end);
        self.out.seek(SeekFrom::Start(0)).map_err(|source| self.io(source))?;
        self.raw(&header)?;
        self.out.flush().map_err(|source| self.io(source))
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        self.failed |= written.is_err();
        written.map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io { action: "write", path: self.path.clone(), source }
    }
}

/// What a weight's closure writes to.
struct Counted<'a, W: Write + Seek> {
    writer: &'a mut ArtifactWriter<W>,
    error: Option<Error>,
    left: u64,
    surplus: u64,
}

impl<W: Write + Seek> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            self.surplus += bytes.len() as u64 - self.left;
            return Err(io::Error::other("more bytes than the tensor has"));
        }
        self.left -= bytes.len() as u64;
        match self.writer.append(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(e) => {
                let message = e.to_string();
                self.error = Some(e);
                Err(io::Error::other(message))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
