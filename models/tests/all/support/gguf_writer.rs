//! Writes GGUF files for tests: sound ones, and ones with any field wrong.

use half::f16;
use std::path::Path;

/// A metadata value, with the type number it is written under.
#[derive(Clone)]
pub enum Meta {
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    Strs(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Raw(u32, Vec<u8>),
}

pub fn text(s: &str) -> Meta {
    Meta::Str(s.to_string())
}

pub fn texts(all: &[&str]) -> Meta {
    Meta::Strs(all.iter().map(|s| s.to_string()).collect())
}

/// A tensor under llama.cpp's name; `dims` innermost first, as GGUF has them.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub ggml_type: u32,
    pub data: Vec<u8>,
    /// Written instead of the right offset.
    pub offset: Option<u64>,
}

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const Q4_0: u32 = 2;
pub const Q4_1: u32 = 3;
pub const Q8_0: u32 = 8;
pub const BF16: u32 = 30;

#[derive(Clone)]
pub struct GgufWriter {
    pub magic: [u8; 4],
    pub version: u32,
    pub meta: Vec<(String, Meta)>,
    pub tensors: Vec<Tensor>,
    pub tensor_count: Option<u64>,
    pub meta_count: Option<u64>,
    pub alignment: usize,
}

impl GgufWriter {
    pub fn new(architecture: &str) -> GgufWriter {
        GgufWriter {
            magic: *b"GGUF",
            version: 3,
            meta: vec![("general.architecture".to_string(), text(architecture))],
            tensors: Vec::new(),
            tensor_count: None,
            meta_count: None,
            alignment: 32,
        }
    }

    pub fn meta(mut self, key: &str, value: Meta) -> GgufWriter {
        self.meta.push((key.to_string(), value));
        self
    }

    /// Replaces a value.
    pub fn set(mut self, key: &str, value: Meta) -> GgufWriter {
        self.meta.retain(|(k, _)| k != key);
        self.meta(key, value)
    }

    pub fn without(mut self, key: &str) -> GgufWriter {
        self.meta.retain(|(k, _)| k != key);
        self
    }

    pub fn tensor(mut self, name: &str, dims: &[u64], ggml_type: u32, data: Vec<u8>) -> GgufWriter {
        self.tensors.push(Tensor { name: name.to_string(), dims: dims.to_vec(), ggml_type, data, offset: None });
        self
    }

    pub fn f32(self, name: &str, dims: &[u64], values: &[f32]) -> GgufWriter {
        self.tensor(name, dims, F32, super::f32_bytes(values))
    }

    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (mut out, data) = self.header_and_data();
        out.extend(data);
        out
    }

    /// Bytes of the header, its padding left out.
    pub fn header_len(&self) -> usize {
        self.header().len()
    }

    fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.meta_count.unwrap_or(self.meta.len() as u64).to_le_bytes());
        for (key, value) in &self.meta {
            string(&mut out, key);
            write_meta(&mut out, value);
        }
        let mut offset = 0;
        for t in &self.tensors {
            string(&mut out, &t.name);
            out.extend((t.dims.len() as u32).to_le_bytes());
            t.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(t.ggml_type.to_le_bytes());
            out.extend(t.offset.unwrap_or(offset as u64).to_le_bytes());
            offset += t.data.len().next_multiple_of(self.alignment);
        }
        out
    }

    fn header_and_data(&self) -> (Vec<u8>, Vec<u8>) {
        let mut header = self.header();
        header.resize(header.len().next_multiple_of(self.alignment), 0);
        let mut data = Vec::new();
        for t in &self.tensors {
            data.extend(&t.data);
            data.resize(data.len().next_multiple_of(self.alignment), 0);
        }
        (header, data)
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn write_meta(out: &mut Vec<u8>, value: &Meta) {
    let mut kind = |n: u32| out.extend(n.to_le_bytes());
    match value {
        Meta::U32(v) => {
            kind(4);
            out.extend(v.to_le_bytes());
        }
        Meta::I32(v) => {
            kind(5);
            out.extend(v.to_le_bytes());
        }
        Meta::F32(v) => {
            kind(6);
            out.extend(v.to_le_bytes());
        }
        Meta::Bool(v) => {
            kind(7);
            out.push(u8::from(*v));
        }
        Meta::Str(v) => {
            kind(8);
            string(out, v);
        }
        Meta::Strs(all) => {
            kind(9);
            out.extend(8u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            all.iter().for_each(|s| string(out, s));
        }
        Meta::I32s(all) => {
            kind(9);
            out.extend(5u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            all.iter().for_each(|v| out.extend(v.to_le_bytes()));
        }
        Meta::F32s(all) => {
            kind(9);
            out.extend(6u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            all.iter().for_each(|v| out.extend(v.to_le_bytes()));
        }
        Meta::Raw(number, bytes) => {
            kind(*number);
            out.extend(bytes);
        }
    }
}

/// One Q4_1 block: `d`, `m`, and 32 values below 16.
pub fn q4_1_block(d: f32, m: f32, q: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut out = f16::from_f32(d).to_le_bytes().to_vec();
    out.extend(f16::from_f32(m).to_le_bytes());
    out.extend((0..16).map(|i| q(i) | q(i + 16) << 4));
    out
}

/// The metadata that every llama model has: hidden 32, 2 query and 1 key heads of 16, 1 layer, 40 tokens.
pub fn tiny_metadata(architecture: &str) -> GgufWriter {
    let key = |name: &str| format!("{architecture}.{name}");
    GgufWriter::new(architecture)
        .meta(&key("block_count"), Meta::U32(1))
        .meta(&key("context_length"), Meta::U32(128))
        .meta(&key("embedding_length"), Meta::U32(32))
        .meta(&key("feed_forward_length"), Meta::U32(64))
        .meta(&key("attention.head_count"), Meta::U32(2))
        .meta(&key("attention.head_count_kv"), Meta::U32(1))
        .meta(&key("rope.freq_base"), Meta::F32(500000.0))
        .meta(&key("attention.layer_norm_rms_epsilon"), Meta::F32(1e-5))
        .meta("tokenizer.ggml.bos_token_id", Meta::U32(1))
        .meta("tokenizer.ggml.eos_token_id", Meta::U32(2))
}

/// The values of the tensor with that many elements.
pub fn ramp(elements: usize, seed: usize) -> Vec<f32> {
    (0..elements).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect()
}

/// A whole model of [`tiny_metadata`]; query and key rows in the order in which the converter writes them.
pub fn tiny_model(architecture: &str) -> GgufWriter {
    let q = ramp(32 * 32, 1);
    let k = ramp(16 * 32, 2);
    let b = ramp(32, 3);
    let llama = architecture == "llama";
    let order = |rows: &[f32], width: usize| if llama { interleave(rows, width, 16) } else { rows.to_vec() };
    tiny_metadata(architecture)
        .f32("token_embd.weight", &[32, 40], &ramp(40 * 32, 0))
        .f32("output_norm.weight", &[32], &ramp(32, 4))
        .f32("blk.0.attn_norm.weight", &[32], &ramp(32, 5))
        .f32("blk.0.attn_q.weight", &[32, 32], &order(&q, 32))
        .f32("blk.0.attn_q.bias", &[32], &order(&b, 1))
        .f32("blk.0.attn_k.weight", &[32, 16], &order(&k, 32))
        .f32("blk.0.attn_v.weight", &[32, 16], &ramp(16 * 32, 6))
        .f32("blk.0.attn_output.weight", &[32, 32], &ramp(32 * 32, 7))
        .f32("blk.0.ffn_norm.weight", &[32], &ramp(32, 8))
        .f32("blk.0.ffn_gate.weight", &[32, 64], &ramp(64 * 32, 9))
        .f32("blk.0.ffn_up.weight", &[32, 64], &ramp(64 * 32, 10))
        .f32("blk.0.ffn_down.weight", &[64, 32], &ramp(64 * 32, 11))
}

/// What the converter does: `reshape(heads, 2, head_dim / 2, width).swapaxes(1, 2)`.
pub fn interleave(rows: &[f32], width: usize, head_dim: usize) -> Vec<f32> {
    let (count, half) = (rows.len() / width, head_dim / 2);
    let mut out = Vec::new();
    for head in 0..count / head_dim {
        for pair in 0..half {
            for side in 0..2 {
                let row = head * head_dim + side * half + pair;
                out.extend(&rows[row * width..(row + 1) * width]);
            }
        }
    }
    out
}
