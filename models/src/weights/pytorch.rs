//! PyTorch's own checkpoints (`pytorch_model.bin`), single and sharded.
//!
//! `pytorch-reader` parses the pickle inside; nothing of it is executed. It stops at types that it does not know, and of a file that has
//! one [`archive`] reads what nothing is wrong with. Tensors may be strided there and share storage, so they are copied once, one after the
//! other, into a temporary file without a name, which then is mapped like every other checkpoint.

mod archive;
mod pickle;

use super::{Checkpoint, Conversion, Mapped};
use crate::{Error, Result};
use archive::Archive;
use kiln_core::{DType, Storage};
use memmap2::Mmap;
use pytorch_reader::{DType as TorchType, PickleError, PytorchError, PytorchReader, Tensor};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens one or several files as one checkpoint. `path` is what the checkpoint is called in messages.
pub(super) fn open_files(path: &Path, files: Vec<PathBuf>) -> Result<Checkpoint> {
    let copies = files.iter().map(|file| copy(file)).collect::<Result<Vec<_>>>()?;
    let mapped = copies.iter().map(|copy| Arc::clone(&copy.mapped)).collect();
    let mut checkpoint = Checkpoint::new(path, mapped);
    for (file, copy) in copies.into_iter().enumerate() {
        for (name, dtype, shape, offset, bytes) in copy.tensors {
            checkpoint.insert(name, (Storage::Dense(dtype), shape), Conversion::None, (file, offset, bytes))?;
        }
        for (name, dtype) in copy.unsupported {
            checkpoint.insert_unsupported(name, dtype, file)?;
        }
    }
    Ok(checkpoint)
}

struct Copied {
    mapped: Arc<Mapped>,
    /// Name, type, shape, offset, bytes.
    tensors: Vec<(String, DType, Vec<usize>, usize, usize)>,
    /// Name and type of those that nothing is computed in.
    unsupported: Vec<(String, String)>,
}

fn copy(path: &Path) -> Result<Copied> {
    let corrupt = |problem: String| Error::CorruptPytorch { path: path.to_path_buf(), problem };
    // Before it is read: what is written to it meanwhile shows in what the system says afterwards.
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    let mut copy = Copy::new()?;
    match PytorchReader::new(path) {
        Ok(reader) => copy.tensors(reader.into_tensors(), corrupt)?,
        Err(PytorchError::Pickle(PickleError::UnsupportedType(found))) => {
            // What the archive cannot be read for is that type again, where the file is none.
            let archive = Archive::open(path).map_err(|problem| corrupt(format!("{problem} (it has {found})")))?;
            copy.archive(archive, corrupt)?;
        }
        Err(e) => return Err(corrupt(e.to_string())),
    }
    if copy.tensors.is_empty() && copy.unsupported.is_empty() {
        return Err(corrupt("it holds no tensors".to_string()));
    }
    copy.mapped(path, metadata)
}

/// A copy while it is written.
struct Copy {
    file: File,
    end: usize,
    tensors: Vec<(String, DType, Vec<usize>, usize, usize)>,
    unsupported: Vec<(String, String)>,
}

impl Copy {
    fn new() -> Result<Copy> {
        let file = tempfile::tempfile().map_err(Error::io("create a file in", &std::env::temp_dir()))?;
        Ok(Copy { file, end: 0, tensors: vec![], unsupported: vec![] })
    }

    fn tensors(&mut self, tensors: HashMap<String, Tensor>, corrupt: impl Fn(String) -> Error) -> Result<()> {
        let mut all: Vec<_> = tensors.into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, tensor) in all {
            match dtype_of(tensor.dtype()) {
                Some(dtype) => {
                    let bytes = tensor.read().map_err(|e| corrupt(e.to_string()))?;
                    self.add(name, dtype, tensor.shape().to_vec(), &bytes)?;
                }
                None => self.unsupported.push((name, format!("{:?}", tensor.dtype()))),
            }
        }
        Ok(())
    }

    fn archive(&mut self, mut archive: Archive, corrupt: impl Fn(String) -> Error) -> Result<()> {
        for (name, tensor) in std::mem::take(&mut archive.tensors) {
            match dtype_named(&tensor.dtype) {
                Some(dtype) => {
                    let read = archive.read(&tensor, dtype);
                    let bytes = read.map_err(|problem| corrupt(format!("tensor `{name}`: {problem}")))?;
                    self.add(name, dtype, tensor.shape, &bytes)?;
                }
                None => self.unsupported.push((name, tensor.dtype)),
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Result<()> {
        self.write(bytes)?;
        self.tensors.push((name, dtype, shape, self.end, bytes.len()));
        self.end += bytes.len();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write a copy of the weights in", &std::env::temp_dir()))
    }

    fn mapped(mut self, path: &Path, metadata: Metadata) -> Result<Copied> {
        // An empty file cannot be mapped.
        self.write(&[0])?;
        // SAFETY: the file has no name, so no other process writes it, and this one is done with it.
        let map = unsafe { Mmap::map(&self.file) }.map_err(Error::io("map a copy of", path))?;
        let mapped = Arc::new(Mapped { path: path.to_path_buf(), metadata, map });
        Ok(Copied { mapped, tensors: self.tensors, unsupported: self.unsupported })
    }
}

fn dtype_of(dtype: TorchType) -> Option<DType> {
    Some(match dtype {
        TorchType::F64 => DType::F64,
        TorchType::F32 => DType::F32,
        TorchType::F16 => DType::F16,
        TorchType::BF16 => DType::BF16,
        TorchType::I64 => DType::I64,
        TorchType::I32 => DType::I32,
        TorchType::I8 => DType::I8,
        TorchType::U8 => DType::U8,
        TorchType::Bool => DType::Bool,
        TorchType::I16 | TorchType::U64 | TorchType::U32 | TorchType::U16 => return None,
    })
}

/// The type that torch calls so.
fn dtype_named(name: &str) -> Option<DType> {
    Some(match name {
        "float64" => DType::F64,
        "float32" => DType::F32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "int64" => DType::I64,
        "int32" => DType::I32,
        "int8" => DType::I8,
        "uint8" => DType::U8,
        "bool" => DType::Bool,
        _ => return None,
    })
}
