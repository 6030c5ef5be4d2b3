//! PyTorch's own checkpoints (`pytorch_model.bin`), single and sharded.
//!
//! `pytorch-reader` parses the pickle inside; nothing of it is executed. Tensors may be strided there and share storage, so they are copied
//! once, one after the other, into a temporary file without a name, which then is mapped like every other checkpoint.

use super::{Checkpoint, Conversion, Mapped};
use crate::{Error, Result};
use kiln_core::{DType, Storage};
use memmap2::Mmap;
use pytorch_reader::{DType as TorchType, PytorchReader};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SUPPORTED: &str = "float64, float32, float16, bfloat16, int64, int32, int8, uint8 and bool";

/// Opens one or several files as one checkpoint. `path` is what the checkpoint is called in messages.
pub(super) fn open_files(path: &Path, files: Vec<PathBuf>) -> Result<Checkpoint> {
    let copies = files.iter().map(|file| copy(file)).collect::<Result<Vec<_>>>()?;
    let mapped = copies.iter().map(|copy| Arc::clone(&copy.mapped)).collect();
    let mut checkpoint = Checkpoint::new(path, mapped);
    for (file, copy) in copies.into_iter().enumerate() {
        for (name, dtype, shape, offset, bytes) in copy.tensors {
            checkpoint.insert(name, (Storage::Dense(dtype), shape), Conversion::None, (file, offset, bytes))?;
        }
    }
    Ok(checkpoint)
}

struct Copied {
    mapped: Arc<Mapped>,
    /// Name, type, shape, offset, bytes.
    tensors: Vec<(String, DType, Vec<usize>, usize, usize)>,
}

fn copy(path: &Path) -> Result<Copied> {
    let corrupt = |problem: String| Error::CorruptPytorch { path: path.to_path_buf(), problem };
    // Before it is read: what is written to it meanwhile shows in what the system says afterwards.
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    let reader = PytorchReader::new(path).map_err(|e| corrupt(e.to_string()))?;
    let mut all: Vec<_> = reader.into_tensors().into_iter().collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    if all.is_empty() {
        return Err(corrupt("it holds no tensors".to_string()));
    }
    let temporary = std::env::temp_dir();
    let mut file = tempfile::tempfile().map_err(Error::io("create a file in", &temporary))?;
    let mut tensors = Vec::new();
    let mut offset = 0;
    for (name, tensor) in all {
        let Some(dtype) = dtype_of(tensor.dtype()) else {
            return Err(Error::UnsupportedDType {
                path: path.to_path_buf(),
                tensor: name,
                found: format!("{:?}", tensor.dtype()),
                supported: SUPPORTED,
            });
        };
        let bytes = tensor.read().map_err(|e| corrupt(e.to_string()))?;
        file.write_all(&bytes).map_err(Error::io("write a copy of the weights in", &temporary))?;
        tensors.push((name, dtype, tensor.shape().to_vec(), offset, bytes.len()));
        offset += bytes.len();
    }
    // An empty file cannot be mapped.
    file.write_all(&[0]).map_err(Error::io("write a copy of the weights in", &temporary))?;
    // SAFETY: the file has no name, so no other process writes it, and this one is done with it.
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map a copy of", path))?;
    Ok(Copied { mapped: Arc::new(Mapped { path: path.to_path_buf(), metadata, map }), tensors })
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
