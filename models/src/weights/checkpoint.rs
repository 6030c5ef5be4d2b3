//! [`Checkpoint`]: which tensors there are, and where their bytes lie.

use crate::{Error, Result};
use kiln_core::Storage;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A set of named tensors, memory-mapped from one or several files.
///
/// A tensor of a type that nothing is computed in does no harm as long as nobody asks for it: it is in none of the lists, and who asks for
/// it hears its type.
///
/// Cloning is cheap: clones share the maps.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    pub(super) files: Vec<Arc<Mapped>>,
    tensors: BTreeMap<String, TensorEntry>,
    /// Tensors of types that nothing is computed in, by name: the type, and the file.
    unsupported: BTreeMap<String, (String, usize)>,
}

/// One file in memory.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) path: PathBuf,
    /// What the system said of it when it was opened.
    pub(crate) metadata: Metadata,
    pub(crate) map: Mmap,
}

/// One tensor of a [`Checkpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// How the elements are stored in the file; reading keeps that form.
    pub storage: Storage,
    /// The shape in PyTorch order (a `Linear` weight is `[out_features, in_features]`).
    pub shape: Vec<usize>,
    /// What sets the stored tensor apart from the Hugging Face one. Reading undoes it.
    pub conversion: Conversion,
    pub(super) file: usize,
    pub(super) offset: usize,
    pub(super) bytes: usize,
}

/// What llama.cpp's converter does to some tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Nothing.
    None,
    /// 1 is added to each value, as to Gemma's norms, which multiply by `1 + weight`. Stored as f32.
    OnePlus,
    /// The rows of the query and key projections of `llama` are reordered: within each head, rows `i` and
    /// `i + head_dim / 2`, which rotary embedding turns together, lie side by side.
    InterleavedPairs {
        /// Rows of one head; even.
        head_dim: usize,
    },
    /// The rows of the common projection of `gptneox` are reordered: first the queries of all heads, then all keys, then all
    /// values; Hugging Face has each head's query, key and value together.
    PartsFirst {
        /// Number of heads.
        heads: usize,
        /// Rows of one head's query.
        head_dim: usize,
    },
}

impl Conversion {
    /// Where row `row` of the Hugging Face tensor lies in the file.
    pub fn stored_row(self, row: usize) -> usize {
        match self {
            Conversion::None | Conversion::OnePlus => row,
            Conversion::InterleavedPairs { head_dim } => {
                let (head, within, half) = (row / head_dim, row % head_dim, head_dim / 2);
                head * head_dim + 2 * (within % half) + within / half
            }
            Conversion::PartsFirst { heads, head_dim } => {
                let (head, part) = (row / (3 * head_dim), row / head_dim % 3);
                (part * heads + head) * head_dim + row % head_dim
            }
        }
    }
}

impl TensorEntry {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The number of bytes that [`Checkpoint::bytes`] gives and [`Checkpoint::write_to`] writes.
    pub fn byte_len(&self) -> usize {
        self.bytes
    }
}

impl Checkpoint {
    pub(crate) fn new(path: &Path, files: Vec<Arc<Mapped>>) -> Checkpoint {
        Checkpoint { path: path.to_path_buf(), files, tensors: BTreeMap::new(), unsupported: BTreeMap::new() }
    }

    /// Adds a tensor whose bytes lie in file number `file`; the caller has checked that they do.
    pub(crate) fn insert(
        &mut self,
        name: String,
        (storage, shape): (Storage, Vec<usize>),
        conversion: Conversion,
        (file, offset, bytes): (usize, usize, usize),
    ) -> Result<()> {
        self.check_new(&name, file)?;
        self.tensors.insert(name, TensorEntry { storage, shape, conversion, file, offset, bytes });
        Ok(())
    }

    /// Notes a tensor of a type that nothing is computed in; `dtype` is what the file calls it.
    pub(crate) fn insert_unsupported(&mut self, name: String, dtype: String, file: usize) -> Result<()> {
        self.check_new(&name, file)?;
        self.unsupported.insert(name, (dtype, file));
        Ok(())
    }

    /// Of two tensors of one name the later file's counts, as in transformers; one file has no name twice.
    fn check_new(&mut self, name: &str, file: usize) -> Result<()> {
        let before = self.tensors.remove(name).map(|entry| entry.file);
        match before.or(self.unsupported.remove(name).map(|(_, file)| file)) {
            Some(first) if first == file => Err(Error::DuplicateTensor {
                first: self.files[first].path.clone(),
                second: self.files[file].path.clone(),
                tensor: name.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The file, folder index or GGUF that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The type of a tensor that is there, but in a type that nothing is computed in, as the file calls it.
    pub fn unsupported(&self, name: &str) -> Option<&str> {
        self.unsupported.get(name).map(|(dtype, _)| dtype.as_str())
    }

    /// The names of tensors that are there in types that nothing is computed in, sorted.
    pub fn unsupported_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unsupported.keys().map(String::as_str)
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &TensorEntry)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The tensor of that name, if there is one.
    pub fn get(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.get(name)
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], which says what is there under a similar name, and [`Error::UnsupportedDType`].
    pub fn entry(&self, name: &str) -> Result<&TensorEntry> {
        self.get(name).ok_or_else(|| {
            if let Some((dtype, file)) = self.unsupported.get(name) {
                return Error::UnsupportedDType {
                    path: self.files[*file].path.clone(),
                    tensor: name.to_string(),
                    found: dtype.clone(),
                };
            }
            let last = name.rsplit('.').nth(1).unwrap_or(name);
            let like: Vec<&str> = self.names().filter(|n| n.contains(last)).take(3).collect();
            Error::MissingTensor {
                path: self.path.clone(),
                tensor: name.to_string(),
                found: if like.is_empty() {
                    format!("among its {} tensors none has a name with `{last}`", self.len())
                } else {
                    format!("it has {} tensors, the nearest `{}`", self.len(), like.join("`, `"))
                },
            }
        })
    }

    /// The tensor of that name, which must have that shape.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::ShapeMismatch`].
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<&TensorEntry> {
        let entry = self.entry(name)?;
        if entry.shape == shape {
            return Ok(entry);
        }
        Err(Error::ShapeMismatch {
            path: self.path.clone(),
            tensor: name.to_string(),
            expected: shape.to_vec(),
            found: entry.shape.clone(),
        })
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(|f| f.path.as_path())
    }

    /// The files that hold the tensors, each with what the system said of it when it was opened, and its bytes (of a pickled file, those of
    /// its tensors).
    pub fn contents(&self) -> impl ExactSizeIterator<Item = (&Path, &Metadata, &[u8])> {
        self.files.iter().map(|f| (f.path.as_path(), &f.metadata, &f.map[..]))
    }

    /// Where a tensor's stored bytes lie: file, offset, length. What sets them apart is in [`TensorEntry::conversion`].
    pub fn location(&self, entry: &TensorEntry) -> Option<(&Path, usize, usize)> {
        self.files.get(entry.file).map(|f| (f.path.as_path(), entry.offset, entry.bytes))
    }
}

/// Maps a file that must not be empty.
pub(crate) fn map_file(path: &Path) -> Result<Arc<Mapped>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    // SAFETY: the map is private and read-only. As with every mapped file, another process that truncates or rewrites it while
    // it is open can fault this one; that is the documented contract of memory-mapped checkpoints.
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    Ok(Arc::new(Mapped { path: path.to_path_buf(), metadata, map }))
}
