//! safetensors, single and sharded.

use crate::support::{assert_says, f32_bytes, folder, golden, safetensors_bytes};
use kiln_core::{DType, Storage};
use kiln_models::auto::{TraceOptions, Traced, trace};
use kiln_models::source::ModelFiles;
use kiln_models::weights::{Checkpoint, Conversion};
use std::path::Path;

const SOUND: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}}"#;

fn sound() -> Vec<u8> {
    let mut data = f32_bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
    data.extend([1.0f32, -2.0, 0.5, 3.0].iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()));
    safetensors_bytes(SOUND, &data)
}

fn open_bytes(bytes: &[u8]) -> kiln_models::Result<Checkpoint> {
    let folder = folder();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::open(path)
}

/// A file of that header over `data` bytes of zeros.
fn open_header(header: &str, data: usize) -> kiln_models::Result<Checkpoint> {
    open_bytes(&safetensors_bytes(header, &vec![0; data]))
}

fn written(checkpoint: &Checkpoint, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    checkpoint.write_to(name, &mut out).unwrap();
    out
}

#[test]
fn gives_names_shapes_and_bytes() {
    let checkpoint = open_bytes(&sound()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    let a = checkpoint.entry("a").unwrap();
    assert_eq!((a.storage, &a.shape[..], a.conversion), (Storage::Dense(DType::F32), &[2, 3][..], Conversion::None));
    assert_eq!((a.elements(), a.byte_len()), (6, 24));
    assert_eq!(checkpoint.to_f32("a").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
    assert_eq!(checkpoint.to_f32("b").unwrap(), [1.0, -2.0, 0.5, 3.0]);
    for name in ["a", "b"] {
        assert_eq!(written(&checkpoint, name), &*checkpoint.bytes(name).unwrap());
    }
}

#[test]
fn reads_every_supported_type() {
    let cases: [(&str, &str, Vec<u8>, &[f32]); 9] = [
        ("F64", "f64", 2.5f64.to_le_bytes().to_vec(), &[2.5]),
        ("F32", "f32", 2.5f32.to_le_bytes().to_vec(), &[2.5]),
        ("F16", "f16", half::f16::from_f32(2.5).to_le_bytes().to_vec(), &[2.5]),
        ("BF16", "bf16", half::bf16::from_f32(2.5).to_le_bytes().to_vec(), &[2.5]),
        ("I64", "i64", (-7i64).to_le_bytes().to_vec(), &[-7.0]),
        ("I32", "i32", (-7i32).to_le_bytes().to_vec(), &[-7.0]),
        ("I8", "i8", (-7i8).to_le_bytes().to_vec(), &[-7.0]),
        ("U8", "u8", vec![250], &[250.0]),
        ("BOOL", "bool", vec![1], &[1.0]),
    ];
    for (dtype, ours, data, value) in cases {
        let header = format!(r#"{{"x":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{}]}}}}"#, data.len());
        let checkpoint = open_bytes(&safetensors_bytes(&header, &data)).unwrap();
        assert_eq!(checkpoint.entry("x").unwrap().storage.to_string(), ours);
        assert_eq!(checkpoint.to_f32("x").unwrap(), value);
    }
}

#[test]
fn scalars_and_empty_tensors_are_tensors() {
    let header = r#"{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"z":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]}}"#;
    let checkpoint = open_header(header, 4).unwrap();
    assert_eq!(checkpoint.to_f32("s").unwrap(), [0.0]);
    assert_eq!(checkpoint.to_f32("z").unwrap(), [0.0; 0]);
    assert!(written(&checkpoint, "z").is_empty());
}

#[test]
fn goldens_open() {
    for (name, tensors) in [("llama", 21), ("llama-rope-llama3", 28), ("qwen2", 26)] {
        let checkpoint = Checkpoint::open(golden(name)).unwrap();
        assert_eq!(checkpoint.len(), tensors, "{name}");
        checkpoint.require("model.embed_tokens.weight", &[384, 64]).unwrap();
        checkpoint.require("model.layers.1.self_attn.k_proj.weight", &[32, 64]).unwrap();
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = sound();
    for cut in 0..whole.len() {
        assert_says(open_bytes(&whole[..cut]), &["model.safetensors is not a sound safetensors file", "truncated"]);
    }
    let golden = std::fs::read(golden("llama").join("model.safetensors")).unwrap();
    for cut in [7, 8, 100, 2000, golden.len() / 2, golden.len() - 1] {
        assert_says(open_bytes(&golden[..cut]), &["not a sound safetensors file"]);
    }
}

#[test]
fn a_file_with_any_header_byte_changed_is_read_or_refused() {
    let whole = sound();
    for at in 0..8 + SOUND.len() {
        for flip in [1, 0x20, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            if let Ok(checkpoint) = open_bytes(&bytes) {
                for (name, entry) in checkpoint.iter() {
                    assert_eq!(checkpoint.bytes(name).unwrap().len(), entry.byte_len());
                }
            }
        }
    }
}

#[test]
fn wrong_headers_name_the_tensor_and_the_fault() {
    assert_says(open_bytes(b"\xff\xff\xff\xff\xff\xff\xff\xff{}"), &["claims 18446744073709551615 bytes"]);
    assert_says(open_header("[1]", 0), &["header is not the expected JSON object"]);
    assert_says(open_header("{\"x\":", 0), &["header is not the expected JSON object"]);
    assert_says(open_header(r#"{"x":{"dtype":"F32","shape":[1]}}"#, 4), &["tensor `x`", "data_offsets"]);
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"x.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let cases: [(&str, &str, &str, &[&str]); 10] = [
        ("X7", "[4]", "[0,4]", &["tensor `x.weight`", "X7", "F8_E4M3"]),
        ("F8_E4M3", "[4]", "[0,3]", &["`x.weight`", "of F8_E4M3 takes 4 bytes", "give it 3"]),
        ("F4", "[9]", "[0,4]", &["`x.weight`", "of F4 takes 5 bytes", "give it 4"]),
        ("F32", "[2]", "[0,4]", &["`x.weight`", "takes 8 bytes", "give it 4"]),
        ("F32", "[1]", "[4,0]", &["`x.weight`", "run backwards"]),
        ("F32", "[2]", "[0,8]", &["`x.weight`", "ends at byte 8", "only 4 bytes"]),
        ("F32", "[1000000000000000,1000000000000000]", "[0,4]", &["`x.weight`", "overflows"]),
        ("F32", "[-1]", "[0,4]", &["`x.weight`", "-1"]),
        ("F32", "[1]", "[0,1000000000000000]", &["`x.weight`", "1000000000000000"]),
        ("U8", "[3]", "[1,4]", &["invalid offset for tensor `x.weight`"]),
    ];
    for (dtype, shape, offsets, says) in cases {
        assert_says(open_header(&tensor(dtype, shape, offsets), 4), says);
    }
    assert_says(open_header(&tensor("F32", "[1]", "[0,4]"), 5), &["not fully covered"]);
    let overlapping =
        r#"{"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#;
    assert_says(open_header(overlapping, 4), &["invalid offset for tensor `y`"]);
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    let header =
        r#"{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"x":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#;
    assert_says(open_header(header, 4), &["tensor `x` is there twice"]);
}

#[test]
fn missing_tensors_and_wrong_shapes_are_named() {
    let checkpoint = Checkpoint::open(golden("llama")).unwrap();
    assert_says(
        checkpoint.entry("model.layers.7.mlp.up_proj.weight"),
        &["`model.layers.7.mlp.up_proj.weight`", "nearest"],
    );
    assert_says(checkpoint.bytes("nothing"), &["no tensor `nothing`", "21 tensors"]);
    assert_says(checkpoint.require("lm_head.weight", &[64, 384]), &["[384, 64]", "[64, 384]", "`lm_head.weight`"]);
}

fn write_shard(folder: &Path, file: &str, name: &str, value: f32) {
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    std::fs::write(folder.join(file), safetensors_bytes(&header, &value.to_le_bytes())).unwrap();
}

fn open_index(index: &str, shards: &[(&str, &str)]) -> kiln_models::Result<Checkpoint> {
    let folder = folder();
    for (n, (file, name)) in shards.iter().enumerate() {
        write_shard(folder.path(), file, name, n as f32);
    }
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    Checkpoint::open(folder.path())
}

const INDEX: &str = r#"{"metadata":{"total_size":8},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#;

#[test]
fn shards_are_one_checkpoint() {
    let checkpoint = open_index(INDEX, &[("m-1.safetensors", "a"), ("m-2.safetensors", "b")]).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(checkpoint.to_f32("b").unwrap(), [1.0]);
    assert_eq!(checkpoint.files().len(), 2);
}

#[test]
fn what_is_in_shards_they_say_themselves() {
    let [one, two] = ["m-1.safetensors", "m-2.safetensors"];
    let read = |index: &str, shards: &[(&str, &str)]| {
        let checkpoint = open_index(index, shards).unwrap();
        checkpoint.names().map(|name| (name.to_string(), checkpoint.to_f32(name).unwrap()[0])).collect::<Vec<_>>()
    };
    let expected = |all: &[(&str, f32)]| all.iter().map(|(name, x)| (name.to_string(), *x)).collect::<Vec<_>>();
    // In another shard than the index says, or in none of its entries.
    let crossed = r#"{"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors"}}"#;
    assert_eq!(read(crossed, &[(one, "a"), (two, "b")]), expected(&[("a", 0.0), ("b", 1.0)]));
    assert_eq!(read(INDEX, &[(one, "a"), (two, "c")]), expected(&[("a", 0.0), ("c", 1.0)]));
    // In two shards: the last one's counts, by the order of their names, as in transformers.
    assert_eq!(read(INDEX, &[(two, "a"), (one, "a")]), expected(&[("a", 0.0)]));
    assert_eq!(read(INDEX, &[(one, "a"), (two, "a")]), expected(&[("a", 1.0)]));
}

#[test]
fn an_entry_without_a_tensor_is_missing_where_the_model_needs_it() {
    let shards = folder();
    let shard = shards.path().join("model-00001-of-00001.safetensors");
    std::fs::copy(golden("llama").join("model.safetensors"), shard).unwrap();
    let model = |more: &str| {
        let entries = ["model.norm.weight", more].map(|name| format!(r#""{name}":"model-00001-of-00001.safetensors""#));
        let index = format!(r#"{{"weight_map":{{{}}}}}"#, entries.join(","));
        std::fs::write(shards.path().join("model.safetensors.index.json"), index).unwrap();
        let checkpoint = Checkpoint::open(shards.path()).unwrap();
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(golden("llama").join("config.json")).unwrap()).unwrap();
        config["num_hidden_layers"] = if more.contains("layers.2") { 3.into() } else { 2.into() };
        kiln_models::auto::trace(None, &config, &checkpoint, &Default::default())
    };
    assert_eq!(model("some.buffer").unwrap().unused_tensors, [""; 0]);
    let needed = "model.layers.2.mlp.up_proj.weight";
    assert_says(model(needed), &["the checkpoint lacks", "`model.layers.2.input_layernorm.weight`", needed]);
}

/// The golden `llama`, in which one more tensor has that type, or one of the model's own.
fn with_type(dtype: &str, shape: &str, bytes: usize, instead_of: Option<&str>) -> kiln_models::Result<Traced> {
    let whole = std::fs::read(golden("llama").join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let mut data = whole[8 + length..].to_vec();
    let end = data.len();
    data.resize(end + bytes, 0);
    let entry = format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{end},{}]}}"#, end + bytes);
    let taken = instead_of.map(|name| header.as_object_mut().unwrap().remove(name).unwrap());
    // What held the tensor's values before is there under another name.
    if let Some(taken) = taken {
        header["was"] = taken;
    }
    header[instead_of.unwrap_or("some.buffer")] = serde_json::from_str(&entry).unwrap();
    let folder = folder();
    std::fs::copy(golden("llama").join("config.json"), folder.path().join("config.json")).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), safetensors_bytes(&header.to_string(), &data)).unwrap();
    let files = ModelFiles::open_folder(folder.path())?;
    trace(None, &files.config, &files.checkpoint, &TraceOptions::default())
}

#[test]
fn a_type_that_nothing_is_computed_in_matters_only_where_the_model_needs_the_tensor() {
    for (dtype, bits) in [
        ("F8_E4M3", 8),
        ("F8_E5M2", 8),
        ("F8_E8M0", 8),
        ("F8_E4M3FNUZ", 8),
        ("F4", 4),
        ("I16", 16),
        ("U16", 16),
        ("U32", 32),
        ("U64", 64),
        ("C64", 64),
    ] {
        for (shape, elements) in [("[0]", 0), ("[4]", 4), ("[2,3]", 6)] {
            let traced = with_type(dtype, shape, elements * bits / 8, None).expect(dtype);
            assert_eq!(traced.unused_tensors, ["some.buffer"], "{dtype} {shape}");
        }
        let needed = "model.norm.weight";
        let says = format!("tensor `{needed}`, which is stored as {dtype}");
        assert_says(with_type(dtype, "[64]", 64 * bits / 8, Some(needed)), &[&says, "float32", "Q4_K"]);
    }
    let header =
        r#"{"x":{"dtype":"U16","shape":[2],"data_offsets":[0,4]},"y":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}"#;
    let checkpoint = open_header(header, 5).unwrap();
    assert_eq!((checkpoint.names().collect::<Vec<_>>(), checkpoint.unsupported("x")), (vec!["y"], Some("U16")));
    assert_says(checkpoint.to_f32("x"), &["model.safetensors: tensor `x` is stored as U16", "take the model in"]);
}

#[test]
fn tensors_are_the_same_by_shape_type_and_values() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},
        "c":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},"d":{"dtype":"I32","shape":[2],"data_offsets":[24,32]},
        "e":{"dtype":"F32","shape":[2],"data_offsets":[32,40]}}"#;
    let one = f32_bytes(&[1.0, 2.0]);
    let data = [&one[..], &one, &one, &one, &f32_bytes(&[1.0, 2.5])].concat();
    let checkpoint = open_bytes(&safetensors_bytes(header, &data)).unwrap();
    let same = ["a", "b", "c", "d", "e", "f"].map(|other| checkpoint.same_values("a", other));
    assert_eq!(same, [true, true, false, false, false, false]);
}

#[test]
fn bad_indexes_are_refused() {
    let both = [("m-1.safetensors", "a"), ("m-2.safetensors", "b")];
    assert_says(open_index(INDEX, &both[..1]), &["m-2.safetensors is missing", "index.json", "1 tensor"]);
    assert_says(open_index(&INDEX[..40], &both), &["not valid JSON"]);
    assert_says(open_index("{}", &both), &["expected an object `weight_map`", "found nothing"]);
    assert_says(open_index(r#"{"weight_map":[]}"#, &both), &["expected an object `weight_map`", "found a list"]);
    assert_says(open_index("[]", &both), &["index.json: expected a JSON object, found a list"]);
    let number = r#"{"weight_map":{"a":"m-1.safetensors","b":3}}"#;
    assert_says(
        open_index(number, &both),
        &["`weight_map`, tensor `b`", "expected the name of a file, found a number"],
    );
    assert_says(open_index(r#"{"weight_map":{}}"#, &both), &["`weight_map` is empty"]);
    assert_says(open_index(r#"{"weight_map":{"a":"../m.safetensors"}}"#, &both), &["lies outside the folder"]);
    assert_says(open_index(r#"{"weight_map":{"a":"/etc/passwd"}}"#, &both), &["lies outside the folder"]);
    let twice = r#"{"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}}"#;
    assert_says(open_index(twice, &both), &["lists tensor `a` twice"]);
}

#[test]
fn folders_without_weights_say_what_is_missing() {
    let empty = folder();
    assert_says(Checkpoint::open(empty.path()), &["has no model.safetensors"]);
    assert_says(Checkpoint::open(empty.path().join("absent.safetensors")), &["cannot open", "absent.safetensors"]);
}
