//! Golden decoders, evaluated by the interpreter.

use super::golden as golden_folder;
use super::traced::{parameter, run_entry, tensors_in};
use kiln_frontend::DType;
use kiln_ir::ArgKind;
use kiln_ir::interp::Tensor;
use kiln_models::auto::{TraceOptions, Traced, trace};
use kiln_models::source::ModelFiles;
use kiln_models::weights::Checkpoint;
use serde_json::Value;
use std::collections::BTreeMap;

/// The golden decoders.
pub const GOLDENS: [&str; 12] = [
    "gemma2",
    "gemma3-text",
    "gpt-neox",
    "gpt2",
    "llama",
    "llama-rope-llama3",
    "mistral-window",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
];

/// A traced golden model with its weights.
pub struct Model {
    pub config: Value,
    pub checkpoint: Checkpoint,
    pub traced: Traced,
}

pub type Tensors = BTreeMap<String, Tensor>;

impl Model {
    pub fn golden(name: &str) -> Model {
        Self::changed(name, &TraceOptions::default(), |_| ())
    }

    /// The golden's weights under a changed config.
    pub fn changed(name: &str, options: &TraceOptions, change: impl FnOnce(&mut Value)) -> Model {
        let ModelFiles { mut config, checkpoint, .. } = ModelFiles::open_folder(&golden_folder(name)).expect(name);
        change(&mut config);
        let traced = trace(None, &config, &checkpoint, options).expect(name);
        Model { config, checkpoint, traced }
    }

    /// Runs an entry: inputs by name, states too; gives the outputs and leaves the next states.
    pub fn run(&self, entry: &str, inputs: &Tensors, states: &mut Tensors) -> Tensors {
        run_entry(&self.traced, &self.checkpoint, entry, inputs, states)
    }

    pub fn parameter(&self, name: &str) -> Tensor {
        parameter(&self.checkpoint, name)
    }

    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Tensor {
        self.whole("logits", ids, mask)
    }

    /// An output of the entry `forward`.
    pub fn whole(&self, output: &str, ids: &Tensor, mask: &Tensor) -> Tensor {
        let [batch, seq] = [ids.shape()[0], ids.shape()[1]];
        let positions: Vec<i64> = (0..batch).flat_map(|_| 0..seq as i64).collect();
        let inputs = [
            ("input_ids", ids.clone()),
            ("attention_mask", mask.clone()),
            ("position_ids", i64s([batch, seq], &positions)),
        ];
        self.run("forward", &named(inputs), &mut Tensors::new()).remove(output).expect(output)
    }

    pub fn empty_cache(&self, rows: usize, t: usize) -> Tensors {
        let f = self.traced.module.find("step").expect("step").1;
        let size = |i: usize| f.args.iter().find(|a| a.kind == ArgKind::State).and_then(|a| a.ty.shape[i].as_const());
        let (heads, dim) = (size(2).expect("heads") as usize, size(3).expect("dim") as usize);
        let empty = || Tensor::zeros(DType::F32, [rows, t, heads, dim]).expect("fits");
        f.args.iter().filter(|a| a.kind == ArgKind::State).map(|a| (a.name.to_string(), empty())).collect()
    }

    /// The logits of each row's last token, after which no token of the longest sequence follows.
    pub fn step(&self, rows: &[Vec<i64>], slots: &[i64], starts: &[i64], cache: &mut Tensors) -> Tensor {
        let longest = rows.iter().zip(starts).map(|(row, start)| row.len() as i64 + start).max().unwrap_or(0);
        self.part(rows, slots, starts, &vec![longest; rows.len()], cache)
    }

    /// The logits of each row's last token, of sequences of these lengths.
    pub fn part(
        &self,
        rows: &[Vec<i64>],
        slots: &[i64],
        starts: &[i64],
        lengths: &[i64],
        cache: &mut Tensors,
    ) -> Tensor {
        let mut inputs = named([
            ("input_ids", i64s([rows.len(), rows[0].len()], &rows.concat())),
            ("slots", i64s([rows.len()], slots)),
            ("starts", i64s([rows.len()], starts)),
        ]);
        if self.traced.module.find("step").expect("step").1.args.iter().any(|a| &*a.name == "lengths") {
            inputs.insert("lengths".into(), i64s([rows.len()], lengths));
        }
        self.run("step", &inputs, cache).remove("logits").expect("logits")
    }
}

pub fn named<const N: usize>(tensors: [(&str, Tensor); N]) -> Tensors {
    tensors.into_iter().map(|(name, t)| (name.to_string(), t)).collect()
}

pub fn i64s(shape: impl Into<Vec<usize>>, values: &[i64]) -> Tensor {
    Tensor::from_i64(shape, values).expect("fits")
}

pub fn rows_of(t: &Tensor) -> Vec<Vec<i64>> {
    t.to_i64_vec().chunks(t.shape()[1]).map(<[i64]>::to_vec).collect()
}

/// The inputs and outputs of a golden.
pub fn golden(name: &str) -> Tensors {
    tensors_in(&golden_folder(name).join("golden.safetensors"))
}
