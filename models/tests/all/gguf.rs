//! The GGUF container, its tensors and their row order.

use crate::support::gguf_writer::*;
use crate::support::{assert_says, folder, golden};
use kiln_core::{BlockFormat, Storage};
use kiln_models::gguf::{self, Gguf, MetaValue};
use kiln_models::weights::{Checkpoint, Conversion};
use serde_json::Value;

fn open_bytes(bytes: &[u8]) -> kiln_models::Result<Gguf> {
    let folder = folder();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    Gguf::open(path)
}

fn open(writer: &GgufWriter) -> kiln_models::Result<Gguf> {
    open_bytes(&writer.bytes())
}

fn checkpoint(writer: &GgufWriter) -> kiln_models::Result<Checkpoint> {
    gguf::checkpoint(&open(writer)?)
}

#[test]
fn names_and_shapes_are_hugging_face_ones() {
    let folder = folder();
    let path = folder.path().join("tiny.gguf");
    tiny_model("llama").write(&path);
    let model = Checkpoint::open(&path).unwrap();
    let expected: [(&str, &[usize]); 12] = [
        ("model.embed_tokens.weight", &[40, 32]),
        ("model.layers.0.input_layernorm.weight", &[32]),
        ("model.layers.0.mlp.down_proj.weight", &[32, 64]),
        ("model.layers.0.mlp.gate_proj.weight", &[64, 32]),
        ("model.layers.0.mlp.up_proj.weight", &[64, 32]),
        ("model.layers.0.post_attention_layernorm.weight", &[32]),
        ("model.layers.0.self_attn.k_proj.weight", &[16, 32]),
        ("model.layers.0.self_attn.o_proj.weight", &[32, 32]),
        ("model.layers.0.self_attn.q_proj.bias", &[32]),
        ("model.layers.0.self_attn.q_proj.weight", &[32, 32]),
        ("model.layers.0.self_attn.v_proj.weight", &[16, 32]),
        ("model.norm.weight", &[32]),
    ];
    assert_eq!(model.iter().map(|(n, e)| (n, &e.shape[..])).collect::<Vec<_>>(), expected);
}

#[test]
fn query_and_key_rows_come_back_in_hugging_face_order() {
    for architecture in ["llama", "qwen2"] {
        let model = checkpoint(&tiny_model(architecture)).unwrap();
        for (name, values) in [
            ("model.layers.0.self_attn.q_proj.weight", ramp(32 * 32, 1)),
            ("model.layers.0.self_attn.q_proj.bias", ramp(32, 3)),
            ("model.layers.0.self_attn.k_proj.weight", ramp(16 * 32, 2)),
            ("model.layers.0.self_attn.v_proj.weight", ramp(16 * 32, 6)),
        ] {
            assert_eq!(model.to_f32(name).unwrap(), values, "{architecture} {name}");
            let mut streamed = Vec::new();
            model.write_to(name, &mut streamed).unwrap();
            assert_eq!(streamed, &*model.bytes(name).unwrap());
        }
    }
    let llama = checkpoint(&tiny_model("llama")).unwrap();
    let q = llama.entry("model.layers.0.self_attn.q_proj.weight").unwrap();
    assert_eq!(q.conversion, Conversion::InterleavedPairs { head_dim: 16 });
}

#[test]
fn stored_rows_are_a_permutation() {
    for head_dim in [2, 4, 16, 64] {
        let order = Conversion::InterleavedPairs { head_dim };
        let mut rows: Vec<usize> = (0..3 * head_dim).map(|row| order.stored_row(row)).collect();
        assert_eq!((rows[0], rows[head_dim / 2]), (0, 1));
        rows.sort_unstable();
        assert_eq!(rows, (0..3 * head_dim).collect::<Vec<_>>());
    }
}

#[test]
fn blocks_stay_blocks_while_rows_move() {
    // Row r of the Hugging Face tensor is the constant r / 4; every row is one block.
    let row = |r: usize| q4_1_block(0.25, 0.0, move |_| r as u8);
    let data: Vec<u8> = (0..8).flat_map(|stored| row(stored / 2 + 4 * (stored % 2))).collect();
    let model = checkpoint(&tiny_metadata("llama").set("llama.attention.head_count", Meta::U32(1)).tensor(
        "blk.0.attn_q.weight",
        &[32, 8],
        Q4_1,
        data,
    ))
    .unwrap();
    let name = "model.layers.0.self_attn.q_proj.weight";
    assert_eq!(model.entry(name).unwrap().storage.to_string(), "q4_1");
    assert_eq!(&*model.bytes(name).unwrap(), (0..8).flat_map(row).collect::<Vec<u8>>());
    let values: Vec<f32> = (0..8).flat_map(|r| [r as f32 / 4.0; 32]).collect();
    assert_eq!(model.to_f32(name).unwrap(), values);
}

#[test]
fn every_supported_type_is_read() {
    let ones = |ggml_type: u32, block: Vec<u8>, dims: &[u64]| {
        let model = checkpoint(&tiny_metadata("llama").tensor("blk.0.ffn_up.weight", dims, ggml_type, block)).unwrap();
        model.to_f32("model.layers.0.mlp.up_proj.weight").unwrap()
    };
    let scale = half::f16::from_f32(0.5).to_le_bytes();
    assert_eq!(ones(F16, half::f16::from_f32(1.5).to_le_bytes().to_vec(), &[1, 1]), [1.5]);
    assert_eq!(ones(BF16, half::bf16::from_f32(1.5).to_le_bytes().to_vec(), &[1, 1]), [1.5]);
    assert_eq!(ones(Q8_0, [&scale[..], &[0xfe; 32]].concat(), &[32, 1]), [-1.0; 32]);
    assert_eq!(ones(Q4_0, [&scale[..], &[0x9a; 16]].concat(), &[32, 1]), [[1.0; 16], [0.5; 16]].concat());
    let nibbles = ones(Q4_1, q4_1_block(0.5, -1.0, |i| (i % 16) as u8), &[32, 1]);
    assert_eq!(&nibbles[14..18], [6.0, 6.5, -1.0, -0.5]);
}

/// Against llama.cpp's own dequantisation: tests/goldens/blocks.py.
#[test]
fn blocks_have_the_values_that_llama_cpp_gives_them() {
    let goldens: Value = serde_json::from_slice(&std::fs::read(golden("blocks.json")).unwrap()).unwrap();
    for format in BlockFormat::ALL {
        let case = &goldens[format.name()];
        let hex = case["bytes"].as_str().unwrap().as_bytes();
        let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
        let bytes: Vec<u8> = hex.chunks_exact(2).map(|c| digit(c[0]) << 4 | digit(c[1])).collect();
        let want: Vec<f32> = case["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        let (kind, dims) = (case["type"].as_u64().unwrap() as u32, [format.block_len() as u64, 2]);
        let model = tiny_metadata("llama").tensor("blk.0.ffn_up.weight", &dims, kind, bytes);
        let model = checkpoint(&model).unwrap();
        let name = "model.layers.0.mlp.up_proj.weight";
        assert_eq!(model.entry(name).unwrap().storage, Storage::Block(format));
        assert_eq!(model.to_f32(name).unwrap(), want, "{}", format.name());
    }
}

#[test]
fn version_2_and_other_alignments_are_read() {
    let mut model = tiny_model("llama").meta("general.alignment", Meta::U32(64));
    model.alignment = 64;
    model.version = 2;
    assert_eq!(checkpoint(&model).unwrap().to_f32("model.norm.weight").unwrap(), ramp(32, 4));
}

#[test]
fn metadata_is_typed() {
    let gguf = open(&GgufWriter::new("llama").meta("x", Meta::F32(1e-5)).meta("y", Meta::I32(-3))).unwrap();
    assert_eq!(gguf.metadata.number("x"), Ok(Some(1e-5)));
    assert_eq!(gguf.metadata.get("y"), Some(&MetaValue::Int(-3)));
    assert_eq!(gguf.metadata.unsigned("absent"), Ok(None));
    let error = gguf.metadata.unsigned("y").unwrap_err();
    assert!(error.contains("`y`") && error.contains("-3"), "{error}");
}

#[test]
fn a_header_cut_at_any_byte_is_refused() {
    let model = tiny_model("llama").meta("list", texts(&["a", "bc"])).meta("numbers", Meta::I32s(vec![1, 2]));
    let whole = model.bytes();
    for cut in 0..model.header_len() {
        assert_says(open_bytes(&whole[..cut]), &["model.gguf is not a sound GGUF file"]);
    }
    for cut in [model.header_len(), whole.len() / 2, whole.len() - 97] {
        assert_says(open_bytes(&whole[..cut]), &["is not a sound GGUF file", "truncated"]);
    }
}

#[test]
fn a_header_with_any_byte_changed_is_read_or_refused() {
    let model = tiny_model("llama").meta("list", texts(&["a", "bc"])).meta("flag", Meta::Bool(true));
    let whole = model.bytes();
    let folder = folder();
    let path = folder.path().join("model.gguf");
    for at in 0..model.header_len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            std::fs::write(&path, &bytes).unwrap();
            let Ok(gguf) = Gguf::open(&path) else { continue };
            let _ = (gguf::config_json(&gguf), gguf::generation_config_json(&gguf), gguf::tokenizer(&gguf));
            let Ok(checkpoint) = gguf::checkpoint(&gguf) else { continue };
            for (name, entry) in checkpoint.iter() {
                assert_eq!(checkpoint.bytes(name).unwrap().len(), entry.byte_len());
            }
        }
    }
}

#[test]
fn absurd_counts_are_refused_before_anything_is_allocated() {
    let huge = [1u64 << 20, 1_000_000_000_000_000, u64::MAX];
    for n in huge {
        let mut model = tiny_model("llama");
        model.tensor_count = Some(n);
        assert_says(open(&model), &[&format!("{n} tensors"), "bytes are left"]);
        let mut model = tiny_model("llama");
        model.meta_count = Some(n);
        assert_says(open(&model), &[&format!("{n} metadata keys")]);
        let string = Meta::Raw(8, n.to_le_bytes().to_vec());
        assert_says(open(&GgufWriter::new("llama").meta("key", string)), &[&format!("{n} bytes of text for key")]);
        let array = [&8u32.to_le_bytes()[..], &n.to_le_bytes()].concat();
        let says = format!("{n} elements of `key`");
        assert_says(open(&GgufWriter::new("llama").meta("key", Meta::Raw(9, array))), &[&says]);
        let dims = tiny_metadata("llama").tensor("blk.0.ffn_up.weight", &[n, n, n], F32, vec![0; 4]);
        assert_says(open(&dims), &["tensor `blk.0.ffn_up.weight`"]);
    }
}

#[test]
fn wrong_fields_are_named() {
    let with = |change: &dyn Fn(&mut GgufWriter)| {
        let mut model = tiny_model("llama");
        change(&mut model);
        open(&model)
    };
    assert_says(with(&|m| m.magic = *b"GGML"), &["\"GGML\"", "\"GGUF\""]);
    assert_says(with(&|m| m.version = 1), &["version is 1", "2 and 3"]);
    assert_says(with(&|m| m.version = 9), &["version is 9"]);
    assert_says(with(&|m| m.version = 3u32.swap_bytes()), &["big-endian"]);
    assert_says(with(&|m| m.meta.push(("odd".into(), Meta::Raw(13, vec![])))), &["`odd` has type 13"]);
    assert_says(with(&|m| m.meta.push(("flag".into(), Meta::Raw(7, vec![2])))), &["`flag`", "0 or 1", "found 2"]);
    assert_says(
        with(&|m| m.meta.push(("general.architecture".into(), text("llama")))),
        &["general.architecture", "twice"],
    );
    let text_of = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    assert_says(with(&|m| m.meta.push(("t".into(), Meta::Raw(8, text_of(b"\xff"))))), &["t is not valid UTF-8"]);
    let nested = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
    assert_says(
        with(&|m| m.meta.push(("deep".into(), Meta::Raw(9, [&nested[..], &nested, &nested, &[0; 64]].concat())))),
        &["`deep`", "nested"],
    );
    for alignment in [0, 3, 4, 48, 1 << 20] {
        let model = tiny_model("llama").meta("general.alignment", Meta::U32(alignment));
        assert_says(open(&model), &["general.alignment", &alignment.to_string()]);
    }
    assert_says(open(&tiny_model("llama").meta("general.alignment", text("x"))), &["general.alignment", "an integer"]);
    assert_says(open(&tiny_model("llama").meta("split.count", Meta::U32(3))), &["one of 3 parts", "--merge"]);
}

#[test]
fn wrong_tensors_are_named() {
    let one = |dims: &[u64], ggml_type: u32, bytes: usize| {
        open(&tiny_metadata("llama").tensor("blk.0.ffn_up.weight", dims, ggml_type, vec![0; bytes]))
    };
    let name = "tensor `blk.0.ffn_up.weight`";
    assert_says(one(&[33, 32], Q4_1, 20 * 33), &[name, "33", "q4_1 blocks"]);
    assert_says(one(&[384, 2], 12, 144 * 3), &[name, "384", "q4_k blocks"]);
    assert_says(one(&[0, 4], F32, 0), &[name, "zero"]);
    assert_says(one(&[], F32, 4), &[name, "0 dimensions"]);
    assert_says(one(&[1; 5], F32, 4), &[name, "5 dimensions"]);
    assert_says(one(&[1000, 1000], F32, 4), &[name, "4000000 bytes", "truncated"]);
    let at = |offset: u64| {
        let mut model = tiny_model("llama");
        model.tensors[3].offset = Some(offset);
        open(&model)
    };
    assert_says(at(u64::MAX), &["`blk.0.attn_q.weight`", "leave the file"]);
    assert_says(at(1 << 40), &["`blk.0.attn_q.weight`", "leave the file"]);
    assert_says(at(32), &["overlap"]);
    assert_says(
        open(&tiny_model("llama").f32("output_norm.weight", &[32], &ramp(32, 4))),
        &["`output_norm.weight`", "twice"],
    );
}

/// One that can be traced: with the biases of all projections or of none.
fn whole_model() -> GgufWriter {
    let mut model = tiny_model("llama");
    model.tensors.retain(|tensor| !tensor.name.ends_with(".bias"));
    model
}

#[test]
fn a_type_that_nothing_is_computed_in_matters_only_where_the_model_needs_the_tensor() {
    let up = "blk.0.ffn_up.weight";
    let traced = |writer: &GgufWriter| {
        let gguf = open(writer)?;
        let config = gguf::config_json(&gguf)?;
        kiln_models::auto::trace(None, &config, &gguf::checkpoint(&gguf)?, &Default::default())
    };
    for (number, name) in [(20, "IQ4_NL"), (25, "I16"), (34, "TQ1_0"), (39, "MXFP4"), (77, "ggml's type number 77")] {
        let extra = |tensor: &str| whole_model().tensor(tensor, &[32, 2], number, vec![0; 64]);
        assert_eq!(traced(&extra("some.buffer")).unwrap().unused_tensors, [""; 0], "{name}");
        // In the place of one that the model has, it is needed.
        let mut model = whole_model();
        let tensor = model.tensors.iter_mut().find(|t| t.name == up).unwrap();
        (tensor.ggml_type, tensor.data) = (number, vec![0; 64]);
        let needed = "model.layers.0.mlp.up_proj.weight";
        assert_says(traced(&model), &[&format!("tensor `{needed}`, which is stored as {name}"), "Q8_0", "Q4_K"]);
        assert_says(checkpoint(&model).unwrap().entry(needed), &["model.gguf", needed, name]);
    }
    // Types that are known, but that no weight has; an integer is no weight inside of a layer either.
    for (number, bytes) in [(24, 4), (26, 16), (27, 32), (28, 32)] {
        let extra = |tensor: &str| whole_model().tensor(tensor, &[4], number, vec![0; bytes]);
        assert!(traced(&extra("some.buffer")).is_ok(), "{number}");
        assert_eq!(traced(&extra("blk.0.counter")).is_ok(), number != 28, "{number}");
    }
    // What might be a part of the model is not passed over.
    let part = whole_model().tensor("blk.0.attn_sinks.weight", &[32, 2], 20, vec![0; 64]);
    assert_says(traced(&part), &["`blk.0.attn_sinks.weight`", "no counterpart"]);
    // An output projection of its own, in another type than the embedding's.
    let own = whole_model().tensor("output.weight", &[32, 40], F16, vec![0; 40 * 32 * 2]);
    assert_eq!(traced(&own).unwrap().unused_tensors, [""; 0]);
    let step = |writer: &GgufWriter| traced(writer).unwrap().module.to_string().matches("lm_head.weight").count();
    assert!(step(&own) > 0 && step(&whole_model()) == 0);
}

#[test]
fn models_of_another_kind_are_refused() {
    assert_says(checkpoint(&GgufWriter::new("mamba")), &["`mamba`", "llama, qwen2, qwen3"]);
    assert_says(checkpoint(&GgufWriter::new("llama").without("general.architecture")), &["general.architecture"]);
    let extra = |name: &str| checkpoint(&tiny_model("llama").f32(name, &[4], &[0.0; 4]));
    for name in ["blk.0.ffn_gate_exps.weight", "blk.x.attn_q.weight", "blk.01.attn_norm.weight", "blk.0.attn_q", "foo"]
    {
        assert_says(extra(name), &[&format!("`{name}`"), "no counterpart"]);
    }
    let heads = |n: u32| checkpoint(&tiny_model("llama").set("llama.attention.head_count", Meta::U32(n)));
    assert_says(heads(0), &["`blk.0.attn_q.weight` has 32 rows", "0 heads"]);
    assert_says(heads(5), &["5 heads"]);
    assert_says(heads(32), &["32 heads of an even size"]);
    assert_says(
        checkpoint(&tiny_model("llama").without("llama.attention.head_count")),
        &["llama.attention.head_count"],
    );
}
