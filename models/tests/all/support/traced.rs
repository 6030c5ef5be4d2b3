//! Golden models, traced and evaluated by the interpreter.

pub use super::decoder::{Tensors, i64s, named, rows_of};

use super::{f32_bytes, golden, safetensors_bytes};
use kiln_core::DefaultFill;
use kiln_ir::interp::{Tensor, run};
use kiln_ir::{Arg, ArgKind, DType};
use kiln_models::auto::{TraceOptions, Traced, trace};
use kiln_models::source::ModelFiles;
use kiln_models::weights::Checkpoint;
use kiln_models::{Result, Task};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A traced model with its weights.
pub struct Model {
    pub config: Value,
    pub checkpoint: Checkpoint,
    pub traced: Traced,
}

impl Model {
    pub fn golden(name: &str) -> Model {
        Self::changed(name, None, |_| ()).expect(name)
    }

    /// A golden's weights under a changed config, for a task.
    pub fn changed(name: &str, task: Option<Task>, change: impl FnOnce(&mut Value)) -> Result<Model> {
        let ModelFiles { mut config, checkpoint, .. } = ModelFiles::open_folder(&golden(name))?;
        change(&mut config);
        let traced = trace(task, &config, &checkpoint, &TraceOptions::default())?;
        Ok(Model { config, checkpoint, traced })
    }

    /// Runs an entry: inputs by name, of which those with a default may be left out, and states; gives the outputs and leaves the next
    /// states.
    pub fn run(&self, entry: &str, inputs: &Tensors, states: &mut Tensors) -> Tensors {
        run_entry(&self.traced, &self.checkpoint, entry, inputs, states)
    }

    pub fn forward(&self, inputs: &Tensors) -> Tensors {
        self.run("forward", inputs, &mut Tensors::new())
    }
}

/// Runs an entry of a traced model with a checkpoint's weights, as [`Model::run`] says.
pub fn run_entry(
    traced: &Traced,
    checkpoint: &Checkpoint,
    entry: &str,
    inputs: &Tensors,
    states: &mut Tensors,
) -> Tensors {
    let f = traced.module.find(entry).expect(entry).1;
    let value = |arg: &Arg| match arg.kind {
        ArgKind::Input => inputs.get(&*arg.name).cloned().unwrap_or_else(|| {
            let fill = arg.default.unwrap_or_else(|| panic!("{entry} needs {}", arg.name));
            filled(fill, inputs["input_ids"].shape())
        }),
        ArgKind::State => states[&*arg.name].clone(),
        ArgKind::Param { .. } => parameter(checkpoint, &arg.name),
    };
    let args: Vec<Tensor> = f.args.iter().map(value).collect();
    let results = run(&traced.module, entry, &args, &[]).expect("evaluates");
    let mut outputs = Tensors::new();
    for (output, tensor) in f.outputs.iter().zip(results) {
        match output.updates {
            Some(arg) => states.insert(f.args[arg as usize].name.to_string(), tensor),
            None => outputs.insert(output.name.to_string(), tensor),
        };
    }
    outputs
}

/// A tensor of a checkpoint, as it is stored.
pub fn parameter(checkpoint: &Checkpoint, name: &str) -> Tensor {
    let entry = checkpoint.get(name).expect("a tensor");
    let bytes = checkpoint.bytes(name).expect("bytes").into_owned();
    Tensor::from_bytes(entry.storage, entry.shape.clone(), bytes).expect("fits")
}

fn filled(fill: DefaultFill, shape: &[usize]) -> Tensor {
    let row = shape[1];
    let values = (0..shape.iter().product()).map(|i: usize| match fill {
        DefaultFill::Zeros => 0,
        DefaultFill::Ones => 1,
        DefaultFill::Iota => (i % row) as i64,
    });
    i64s(shape, &values.collect::<Vec<_>>())
}

/// The tensors of a file.
pub fn tensors_in(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("reads");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = |t: safetensors::tensor::TensorView| {
        let dtype = if t.dtype() == safetensors::Dtype::I64 { DType::I64 } else { DType::F32 };
        Tensor::from_bytes(dtype, t.shape().to_vec(), t.data().to_vec()).expect("fits")
    };
    file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect()
}

/// What a golden holds under names with a prefix: `in.` or `out.`.
pub fn recorded(name: &str, prefix: &str) -> Tensors {
    let all = tensors_in(&golden(name).join("golden.safetensors"));
    all.into_iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_string(), t))).collect()
}

/// Writes a golden to a folder with its tensors under other names: each under those that `rename` gives for it.
pub fn renamed(name: &str, to: &Path, rename: impl Fn(&str) -> Vec<String>) {
    edited(name, to, |tensors| {
        let all = std::mem::take(tensors);
        for (name, tensor) in all {
            tensors.extend(rename(&name).into_iter().map(|new| (new, tensor.clone())));
        }
    });
}

/// Shapes and values by name.
pub type F32s = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Writes a golden to a folder with other tensors.
pub fn edited(name: &str, to: &Path, edit: impl FnOnce(&mut F32s)) {
    let checkpoint = Checkpoint::open(golden(name)).expect(name);
    let values = |name: &str| checkpoint.to_f32(name).expect("floats");
    let mut tensors: F32s = checkpoint.iter().map(|(n, e)| (n.to_string(), (e.shape.clone(), values(n)))).collect();
    edit(&mut tensors);
    let (mut header, mut data) = (serde_json::Map::new(), vec![]);
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(f32_bytes(&values));
        header.insert(name, json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] }));
    }
    let bytes = safetensors_bytes(&Value::Object(header).to_string(), &data);
    std::fs::write(to.join("model.safetensors"), bytes).expect("writes");
    std::fs::copy(golden(name).join("config.json"), to.join("config.json")).expect("copies");
}
