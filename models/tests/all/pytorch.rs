//! Pickled checkpoints: tests/goldens/pytorch.py says what is in the one that is read here.

use crate::support::{assert_says, folder, golden};
use kiln_core::{DType, Storage};
use kiln_models::weights::Checkpoint;
use std::path::Path;

fn expect_tensors(model: &Checkpoint) {
    let values = |name: &str| (model.entry(name).unwrap().shape.clone(), model.to_f32(name).unwrap());
    assert_eq!(values("rows.weight"), (vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    assert_eq!(values("columns.weight"), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]), "a transposed view");
    assert_eq!(values("tail"), (vec![2], vec![4.0, 5.0]), "a view from the middle");
    assert_eq!(values("norm.weight"), (vec![2], vec![1.0, -2.5]));
    assert_eq!(model.entry("norm.weight").unwrap().storage.to_string(), "bf16");
    assert_eq!(model.bytes("ids").unwrap()[..], [(-1i64).to_le_bytes(), (1i64 << 40).to_le_bytes()].concat());
}

fn copy_to(folder: &Path, name: &str) {
    std::fs::copy(golden("pytorch_model.bin"), folder.join(name)).unwrap();
}

#[test]
fn one_file_and_shards_are_read() {
    expect_tensors(&Checkpoint::open(golden("pytorch_model.bin")).unwrap());
    let single = folder();
    copy_to(single.path(), "pytorch_model.bin");
    expect_tensors(&Checkpoint::open(single.path()).unwrap());
    let sharded = folder();
    copy_to(sharded.path(), "part.bin");
    let index = r#"{"weight_map": {"rows.weight": "part.bin", "ids": "part.bin"}}"#;
    std::fs::write(sharded.path().join("pytorch_model.bin.index.json"), index).unwrap();
    expect_tensors(&Checkpoint::open(sharded.path()).unwrap());
}

/// What torch.save wrote, with all that it keeps: tests/goldens/heads.py.
#[test]
fn a_state_dict_of_torch_is_read() {
    let state = Checkpoint::open(golden("state_dict.bin")).unwrap();
    let whole = Checkpoint::open(golden("t5-v1_1")).unwrap();
    let mut narrow = 0;
    for (name, entry) in whole.iter() {
        let (want, got) = (whole.to_f32(name).unwrap(), state.to_f32(name).unwrap());
        assert_eq!(state.entry(name).unwrap().shape, entry.shape, "{name}");
        match state.entry(name).unwrap().storage {
            Storage::Dense(DType::F32) => assert_eq!(got, want, "{name}"),
            storage => {
                assert_eq!(storage, Storage::Dense(DType::BF16), "{name}");
                let rounded: Vec<f32> = want.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
                assert_eq!(got, rounded, "{name}");
                narrow += 1;
            }
        }
    }
    assert!(narrow > 10 && whole.len() - narrow > 10, "{narrow} of {}", whole.len());
    let shared = state.to_f32("shared.weight").unwrap();
    for tied in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] {
        assert!(whole.get(tied).is_none() && state.to_f32(tied).unwrap() == shared, "{tied}");
    }
}

/// tests/goldens/torch_types.py: what is nested, a parameter, strided or without dimensions, beside types that nothing is computed in.
#[test]
fn types_that_nothing_is_computed_in_are_passed_over() {
    let integers = [("int16", "I16"), ("uint16", "U16"), ("uint32", "U32"), ("uint64", "U64")];
    let new = ["float8_e4m3fn", "float8_e5m2", "complex64", "complex128"];
    let others = [("quantized", "qtensor"), ("sparse", "sparse_tensor"), ("empty", "float8_e4m3fn")];
    for (file, prefix) in [("torch_integers.bin", ""), ("torch_types.bin", "state_dict.")] {
        let model = Checkpoint::open(golden(file)).unwrap();
        let values = |name: &str| {
            let name = format!("{prefix}{name}");
            (model.entry(&name).unwrap().shape.clone(), model.to_f32(&name).unwrap())
        };
        assert_eq!(values("rows.weight"), (vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), "{file}");
        assert_eq!(values("columns.weight"), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]), "{file}");
        assert_eq!(values("tail"), (vec![2], vec![4.0, 5.0]), "{file}");
        assert_eq!(values("norm.weight"), (vec![2], vec![1.0, -2.5]), "{file}");
        assert_eq!(values("scalar"), (vec![], vec![7.0]), "{file}");
        assert_eq!(model.bytes(&format!("{prefix}ids")).unwrap()[8..], (1i64 << 40).to_le_bytes(), "{file}");
        assert_eq!(model.len(), 6, "{file}");
        let is = |name: &str, found: &str| {
            let name = format!("{prefix}{name}");
            assert_eq!(model.unsupported(&name), Some(found), "{file}");
            assert_says(model.entry(&name), &[file, &name, found, "float32"]);
        };
        match prefix {
            "" => integers.iter().for_each(|(name, found)| is(name, found)),
            _ => {
                // As torch names them, where it is not the reader of the common types that names them.
                integers.iter().for_each(|(name, _)| is(name, name));
                new.iter().for_each(|name| is(name, name));
                others.iter().for_each(|(name, found)| is(name, found));
            }
        }
    }
}

#[test]
fn safetensors_come_first() {
    let both = folder();
    copy_to(both.path(), "pytorch_model.bin");
    std::fs::copy(golden("llama").join("model.safetensors"), both.path().join("model.safetensors")).unwrap();
    assert_eq!(Checkpoint::open(both.path()).unwrap().len(), 21);
}

#[test]
fn what_is_no_checkpoint_is_named() {
    let folder = folder();
    let path = folder.path().join("pytorch_model.bin");
    let whole = std::fs::read(golden("pytorch_model.bin")).unwrap();
    // Not executed: the reader knows the few names that tensors are made with, and no others.
    let exploit = b"cos\nsystem\n(S'true'\ntR.";
    for bytes in [&b""[..], b"hello", &whole[..600], exploit] {
        std::fs::write(&path, bytes).unwrap();
        assert_says(Checkpoint::open(&path), &["pytorch_model.bin is not a PyTorch checkpoint that can be read"]);
    }
}
