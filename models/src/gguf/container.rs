//! The GGUF container, versions 2 and 3: a header with metadata and tensor descriptions, then aligned tensor data.
//!
//! Written after the format's description in ggml's `docs/gguf.md`. Nothing in the file is believed before it is checked: every
//! count is held against the bytes that are left, every size is computed with overflow checks, and tensors may neither leave
//! the file nor overlap.

use super::metadata::{MetaValue, Metadata};
use crate::Result;
use crate::weights::{Mapped, map_file};
use kiln_core::{BlockFormat, DType, Storage};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 16;
const MAX_DIMS: u32 = 4;

/// An opened GGUF file: its metadata, and where its tensors lie.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// The metadata.
    pub metadata: Metadata,
    /// The tensors, in file order, under llama.cpp's names.
    pub tensors: Vec<TensorInfo>,
    pub(super) file: Arc<Mapped>,
}

/// One tensor as the file describes it, with shape and place already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// llama.cpp's name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How the elements are stored; `None` for a type that nothing is computed in.
    pub storage: Option<Storage>,
    /// ggml's name of that type.
    pub type_name: Cow<'static, str>,
    /// The shape in PyTorch order: GGUF's dimensions, reversed.
    pub shape: Vec<usize>,
    /// Byte offset in the file.
    pub offset: usize,
    /// Bytes; 0 where [`storage`](Self::storage) is not known.
    pub bytes: usize,
}

impl Gguf {
    /// Maps and checks a file.
    ///
    /// # Errors
    /// [`Error::CorruptGguf`](crate::Error::CorruptGguf) for anything the format does not allow,
    /// [`Error::UnsupportedGguf`](crate::Error::UnsupportedGguf) for what it allows and kiln does not.
    pub fn open(path: impl AsRef<Path>) -> Result<Gguf> {
        let file = map_file(path.as_ref())?;
        let mut gguf = Gguf { metadata: Metadata::default(), tensors: Vec::new(), file: Arc::clone(&file) };
        let mut reader = Reader { bytes: &file.map, at: 0 };
        let (tensors, keys) = reader.preamble().map_err(|p| gguf.corrupt(p))?;
        gguf.metadata = reader.metadata(keys).map_err(|p| gguf.corrupt(p))?;
        if let Some(parts) = gguf.metadata.unsigned("split.count").map_err(|p| gguf.corrupt(p))?.filter(|&n| n > 1) {
            return Err(gguf.unsupported(format!(
                "it is one of {parts} parts of a split model, which kiln does not read; join them with `llama-gguf-split --merge`"
            )));
        }
        let described = reader.tensors(tensors).map_err(|p| gguf.corrupt(p))?;
        let data = gguf.data_start(reader.at as u64).map_err(|p| gguf.corrupt(p))?;
        gguf.tensors = described.into_iter().map(|d| gguf.place(d, data)).collect::<Result<_>>()?;
        gguf.check_overlap().map_err(|p| gguf.corrupt(p))?;
        Ok(gguf)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The tensor of that name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// A tensor's bytes as they lie in the file.
    pub(super) fn stored(&self, tensor: &TensorInfo) -> &[u8] {
        self.file.map.get(tensor.offset..tensor.offset + tensor.bytes).unwrap_or_default()
    }

    /// The offset of the data section in a file whose header ends at `end`.
    fn data_start(&self, end: u64) -> std::result::Result<u64, String> {
        let alignment = self.metadata.unsigned("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
        if !alignment.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&alignment) {
            return Err(format!(
                "`general.alignment` is {alignment}; expected a power of two from 8 to {MAX_ALIGNMENT}"
            ));
        }
        Ok(end.next_multiple_of(alignment))
    }

    fn place(&self, d: Described, data: u64) -> Result<TensorInfo> {
        let (type_name, storage) = ggml_type(d.ggml_type);
        let at = |problem: String| self.corrupt(format!("tensor `{}`: {problem}", d.name));
        let shape: Vec<usize> = d.dims.iter().rev().filter_map(|&n| usize::try_from(n).ok()).collect();
        let elements = shape.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        let (Some(elements), true, false) = (elements, shape.len() == d.dims.len(), shape.contains(&0)) else {
            return Err(at(format!("dimensions {:?} are zero or overflow the address space", d.dims)));
        };
        // Blocks lie along the innermost dimension and may not run into the next row.
        let row = shape.last().copied().unwrap_or(1);
        let bytes = match storage {
            Some(storage) => storage.bytes(row).and_then(|_| storage.bytes(elements)).ok_or_else(|| {
                at(format!("a row of {row} elements is not a whole number of {storage} blocks, or its size overflows"))
            })?,
            None => 0,
        };
        let size = self.file.map.len() as u64;
        let start = data.checked_add(d.offset);
        match start.and_then(|start| start.checked_add(bytes as u64)) {
            Some(end) if end <= size => {}
            _ => {
                return Err(at(format!(
                    "its {bytes} bytes at offset {} of the data section leave the file, which has {} bytes of data; \
                     the file is truncated",
                    d.offset,
                    size.saturating_sub(data)
                )));
            }
        }
        let offset = start.map(|s| s as usize).unwrap_or_default();
        Ok(TensorInfo { storage, type_name, shape, offset, bytes, name: d.name })
    }

    fn check_overlap(&self) -> std::result::Result<(), String> {
        let mut order: Vec<&TensorInfo> = self.tensors.iter().collect();
        order.sort_by_key(|t| t.offset);
        match order.windows(2).find(|pair| pair[0].offset + pair[0].bytes > pair[1].offset) {
            None => Ok(()),
            Some(pair) => Err(format!("the data of tensors `{}` and `{}` overlap", pair[0].name, pair[1].name)),
        }
    }
}

/// A tensor's description before it is checked.
struct Described {
    name: String,
    dims: Vec<u64>,
    ggml_type: u32,
    offset: u64,
}

/// A cursor over the header. Every error says at which byte.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Read<T> = std::result::Result<T, String>;

impl Reader<'_> {
    fn preamble(&mut self) -> Read<(u64, u64)> {
        let magic = self.array::<4>("the magic")?;
        if &magic != b"GGUF" {
            return Err(format!("it starts with {:?}, expected \"GGUF\"", String::from_utf8_lossy(&magic)));
        }
        match self.u32("the version")? {
            2 | 3 => {}
            v if matches!(v.swap_bytes(), 1..=3) => {
                return Err("it is big-endian; expected a little-endian file, so convert it".to_string());
            }
            v => return Err(format!("its version is {v}; kiln reads versions 2 and 3, so convert the model again")),
        }
        let tensors = self.u64("the number of tensors")?;
        let keys = self.u64("the number of metadata keys")?;
        // The least that one costs: a tensor 8 + 4 + 8 + 4 + 8 bytes, a key 8 + 4 + 1.
        self.at_most("tensors", tensors, 32)?;
        self.at_most("metadata keys", keys, 13)?;
        Ok((tensors, keys))
    }

    fn metadata(&mut self, keys: u64) -> Read<Metadata> {
        let mut all = BTreeMap::new();
        for n in 0..keys {
            let key = self.string(&format!("metadata key {n}"))?;
            let kind = self.u32(&key)?;
            let value = self.value(&key, kind, 0)?;
            if all.insert(key.clone(), value).is_some() {
                return Err(format!("metadata key `{key}` is there twice"));
            }
        }
        Ok(Metadata(all))
    }

    fn value(&mut self, key: &str, kind: u32, depth: usize) -> Read<MetaValue> {
        Ok(match kind {
            0 => MetaValue::Int(u8::from_le_bytes(self.array(key)?).into()),
            1 => MetaValue::Int(i8::from_le_bytes(self.array(key)?).into()),
            2 => MetaValue::Int(u16::from_le_bytes(self.array(key)?).into()),
            3 => MetaValue::Int(i16::from_le_bytes(self.array(key)?).into()),
            4 => MetaValue::Int(self.u32(key)?.into()),
            5 => MetaValue::Int(i32::from_le_bytes(self.array(key)?).into()),
            6 => MetaValue::F32(f32::from_le_bytes(self.array(key)?)),
            7 => match self.array::<1>(key)? {
                [0] => MetaValue::Bool(false),
                [1] => MetaValue::Bool(true),
                [other] => return Err(format!("metadata key `{key}`: expected a bool of 0 or 1, found {other}")),
            },
            8 => MetaValue::String(self.string(key)?),
            9 if depth < 2 => {
                let kind = self.u32(key)?;
                let least = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    9 => 12,
                    _ => 8,
                };
                let length = self.u64(key)?;
                self.at_most(&format!("elements of `{key}`"), length, least)?;
                MetaValue::Array((0..length).map(|_| self.value(key, kind, depth + 1)).collect::<Read<_>>()?)
            }
            9 => return Err(format!("metadata key `{key}`: arrays are nested more than twice")),
            10 => MetaValue::Int(self.u64(key)?.into()),
            11 => MetaValue::Int(i64::from_le_bytes(self.array(key)?).into()),
            12 => MetaValue::F64(f64::from_le_bytes(self.array(key)?)),
            other => return Err(format!("metadata key `{key}` has type {other}; expected a type from 0 to 12")),
        })
    }

    fn tensors(&mut self, count: u64) -> Read<Vec<Described>> {
        let mut names = BTreeSet::new();
        let mut all = Vec::new();
        for n in 0..count {
            let name = self.string(&format!("the name of tensor {n}"))?;
            let rank = self.u32(&name)?;
            if !(1..=MAX_DIMS).contains(&rank) {
                return Err(format!("tensor `{name}` has {rank} dimensions; expected 1 to {MAX_DIMS}"));
            }
            let dims = (0..rank).map(|_| self.u64(&name)).collect::<Read<_>>()?;
            let ggml_type = self.u32(&name)?;
            let offset = self.u64(&name)?;
            if !names.insert(name.clone()) {
                return Err(format!("tensor `{name}` is listed twice"));
            }
            all.push(Described { name, dims, ggml_type, offset });
        }
        Ok(all)
    }

    /// Holds a count against the bytes that are left, each thing taking at least `least` of them.
    fn at_most(&self, things: &str, count: u64, least: u64) -> Read<()> {
        let left = (self.bytes.len() - self.at) as u64;
        match count.checked_mul(least) {
            Some(bytes) if bytes <= left => Ok(()),
            _ => Err(format!("at byte {}: it claims {count} {things}, but only {left} bytes are left", self.at)),
        }
    }

    fn string(&mut self, what: &str) -> Read<String> {
        let length = self.u64(what)?;
        self.at_most(&format!("bytes of text for {what}"), length, 1)?;
        let start = self.at;
        let text = self.take(what, length as usize)?;
        match std::str::from_utf8(text) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err(format!("at byte {start}: {what} is not valid UTF-8")),
        }
    }

    fn u32(&mut self, what: &str) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn array<const N: usize>(&mut self, what: &str) -> Read<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(what, N)?);
        Ok(out)
    }

    fn take(&mut self, what: &str, length: usize) -> Read<&[u8]> {
        let left = self.bytes.len() - self.at;
        if length > left {
            return Err(format!("it ends at byte {} inside {what}; the file is truncated", self.bytes.len()));
        }
        self.at += length;
        Ok(&self.bytes[self.at - length..self.at])
    }
}

/// ggml's name of a type number, and how it is stored if anything is computed in it.
fn ggml_type(number: u32) -> (Cow<'static, str>, Option<Storage>) {
    use BlockFormat::*;
    let dense = |dtype| Some(Storage::Dense(dtype));
    let block = |format| Some(Storage::Block(format));
    let (name, storage) = match number {
        0 => ("F32", dense(DType::F32)),
        1 => ("F16", dense(DType::F16)),
        2 => ("Q4_0", block(Q4_0)),
        3 => ("Q4_1", block(Q4_1)),
        6 => ("Q5_0", block(Q5_0)),
        7 => ("Q5_1", block(Q5_1)),
        8 => ("Q8_0", block(Q8_0)),
        9 => ("Q8_1", None),
        10 => ("Q2_K", block(Q2K)),
        11 => ("Q3_K", block(Q3K)),
        12 => ("Q4_K", block(Q4K)),
        13 => ("Q5_K", block(Q5K)),
        14 => ("Q6_K", block(Q6K)),
        15 => ("Q8_K", None),
        16 => ("IQ2_XXS", None),
        17 => ("IQ2_XS", None),
        18 => ("IQ3_XXS", None),
        19 => ("IQ1_S", None),
        20 => ("IQ4_NL", None),
        21 => ("IQ3_S", None),
        22 => ("IQ2_S", None),
        23 => ("IQ4_XS", None),
        24 => ("I8", dense(DType::I8)),
        25 => ("I16", None),
        26 => ("I32", dense(DType::I32)),
        27 => ("I64", dense(DType::I64)),
        28 => ("F64", dense(DType::F64)),
        29 => ("IQ1_M", None),
        30 => ("BF16", dense(DType::BF16)),
        34 => ("TQ1_0", None),
        35 => ("TQ2_0", None),
        39 => ("MXFP4", None),
        40 => ("NVFP4", None),
        other => return (format!("ggml's type number {other}").into(), None),
    };
    (name.into(), storage)
}
