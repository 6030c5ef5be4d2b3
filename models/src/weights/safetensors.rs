//! safetensors, single and sharded: from file paths to a checked [`Checkpoint`].
//!
//! The `safetensors` crate is the judge of the layout (the tensors cover the buffer, without gap or overlap). Before it is
//! asked, the header is read here once more, in order, because a user needs to hear which tensor is wrong and how.

use super::{Checkpoint, Conversion, Mapped, map_file};
use crate::{Error, Result, json};
use ::safetensors::{Dtype, SafeTensors};
use kiln_core::json::kind;
use kiln_core::{DType, Storage};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The crate's own limit, named here for the message.
const MAX_HEADER: u64 = 100_000_000;

/// Opens one or several files as one checkpoint. `path` is what the checkpoint is called in messages.
pub(super) fn open_files(path: &Path, files: Vec<PathBuf>) -> Result<Checkpoint> {
    let mapped = files.iter().map(|f| map_file(f)).collect::<Result<Vec<_>>>()?;
    let mut checkpoint = Checkpoint::new(path, mapped.clone());
    for (index, file) in mapped.iter().enumerate() {
        add_file(&mut checkpoint, index, file)?;
    }
    Ok(checkpoint)
}

/// Opens the files that an index lists, which lie beside it, with `open_files` of their format.
///
/// As in transformers, the index says which files there are, in the order of their names; what is in them, they say themselves. So a tensor
/// may be in another one than the index says, or in several; and one that the index has and no file is missing if the model needs it.
pub(super) fn open_sharded(
    index_path: &Path,
    open_files: fn(&Path, Vec<PathBuf>) -> Result<Checkpoint>,
) -> Result<Checkpoint> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: UniqueMap<Value>,
    }
    let text = std::fs::read(index_path).map_err(Error::io("read", index_path))?;
    let corrupt = |problem: String| Error::CorruptIndex { path: index_path.to_path_buf(), problem };
    let index: serde_json::Map<String, Value> = json::object(index_path, &text)?;
    let found = index.get("weight_map").map_or("nothing", kind);
    if found != "an object" {
        return Err(corrupt(format!(
            "expected an object `weight_map` of tensor names and the file each is in, found {found}"
        )));
    }
    let index: Index = json::object(index_path, &text)?;
    if let Some(tensor) = index.weight_map.repeated {
        return Err(corrupt(format!("`weight_map` lists tensor `{tensor}` twice; expected each name once")));
    }
    let mut shards: BTreeMap<String, usize> = BTreeMap::new();
    for (tensor, shard) in index.weight_map.entries {
        let Value::String(shard) = shard else {
            let found = kind(&shard);
            return Err(corrupt(format!(
                "`weight_map`, tensor `{tensor}`: expected the name of a file, found {found}"
            )));
        };
        *shards.entry(shard).or_default() += 1;
    }
    if shards.is_empty() {
        return Err(corrupt("`weight_map` is empty; expected tensor names and the file each is in".to_string()));
    }
    let folder = index_path.parent().unwrap_or(Path::new("."));
    let mut files = Vec::new();
    for (shard, tensors) in &shards {
        // A downloaded index must not make us read elsewhere.
        if Path::new(shard).components().any(|c| !matches!(c, Component::Normal(_))) {
            return Err(corrupt(format!("shard `{shard}` lies outside the folder; expected a plain file name")));
        }
        let file = folder.join(shard);
        if !file.exists() {
            return Err(Error::MissingShard {
                shard: shard.clone(),
                index: index_path.to_path_buf(),
                tensors: *tensors,
            });
        }
        files.push(file);
    }
    open_files(index_path, files)
}

/// What the header says about one tensor.
#[derive(Deserialize)]
struct Described {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

fn add_file(checkpoint: &mut Checkpoint, index: usize, file: &Mapped) -> Result<()> {
    let bytes: &[u8] = &file.map;
    let corrupt = |problem: String| Error::CorruptSafetensors { path: file.path.clone(), problem };
    let (header, data) = split_header(bytes).map_err(corrupt)?;
    let described: UniqueMap<serde_json::Value> = serde_json::from_slice(header)
        .map_err(|e| corrupt(format!("its header is not the expected JSON object ({e})")))?;
    if let Some(tensor) = described.repeated {
        return Err(Error::DuplicateTensor { tensor, first: file.path.clone(), second: file.path.clone() });
    }
    let start = bytes.len() - data.len();
    for (name, value) in described.entries {
        if name == "__metadata__" {
            continue;
        }
        let d = Described::deserialize(value).map_err(|e| {
            corrupt(format!("tensor `{name}`: expected dtype, shape and data_offsets in its header entry ({e})"))
        })?;
        let (shape, from, length) = place(&d, data.len()).map_err(|p| corrupt(format!("tensor `{name}`: {p}")))?;
        match from_safetensors(d.dtype) {
            Some(dtype) => {
                let place = (index, start + from, length);
                checkpoint.insert(name, (Storage::Dense(dtype), shape), Conversion::None, place)?;
            }
            None => checkpoint.insert_unsupported(name, d.dtype.to_string(), index)?,
        }
    }
    SafeTensors::read_metadata(bytes).map_err(|e| corrupt(e.to_string()))?;
    Ok(())
}

/// The JSON header and the buffer behind it.
fn split_header(bytes: &[u8]) -> std::result::Result<(&[u8], &[u8]), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!(
            "expected at least the 8 bytes of the header's length, found a file of {} bytes",
            bytes.len()
        ));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(format!("its header claims {length} bytes, at most {MAX_HEADER} are allowed"));
    }
    let length = length as usize;
    if rest.len() < length {
        return Err(format!("expected a header of {length} bytes, found only {} bytes after its length", rest.len()));
    }
    Ok(rest.split_at(length))
}

/// Checks shape and offsets of one tensor against its type and the buffer; gives shape, offset and length.
fn place(d: &Described, buffer: usize) -> std::result::Result<(Vec<usize>, usize, usize), String> {
    let shape: Vec<usize> = d.shape.iter().filter_map(|&n| usize::try_from(n).ok()).collect();
    let dtype = d.dtype;
    // Some types have fewer than 8 bits.
    let bits = shape.iter().try_fold(dtype.bitsize(), |bits, &n| bits.checked_mul(n));
    let (Some(bits), true) = (bits, shape.len() == d.shape.len()) else {
        return Err(format!("shape {:?} of {dtype} overflows the address space", d.shape));
    };
    let size = bits.div_ceil(8);
    let (from, to) = d.data_offsets;
    if from > to {
        return Err(format!("data_offsets [{from}, {to}] run backwards"));
    }
    if to > buffer as u64 {
        return Err(format!(
            "its data ends at byte {to} of the buffer, but the file holds only {buffer} bytes of data"
        ));
    }
    if to - from != size as u64 {
        return Err(format!("shape {shape:?} of {dtype} takes {size} bytes, but data_offsets give it {}", to - from));
    }
    Ok((shape, from as usize, size))
}

/// safetensors' name of an element type.
pub fn to_safetensors(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I8 => Dtype::I8,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}

/// The element type of that name; `None` for a type that nothing is computed in.
pub fn from_safetensors(dtype: Dtype) -> Option<DType> {
    DType::ALL.into_iter().find(|known| to_safetensors(*known) == dtype)
}

/// A JSON object in its order, with the first key that comes twice.
struct UniqueMap<V> {
    entries: BTreeMap<String, V>,
    repeated: Option<String>,
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = UniqueMap<V>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut all = UniqueMap { entries: BTreeMap::new(), repeated: None };
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    if all.entries.insert(key.clone(), value).is_some() {
                        all.repeated.get_or_insert(key);
                    }
                }
                Ok(all)
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}
