//! The architectures in the DSL, traced and evaluated by the interpreter, against what transformers computes.

use kiln_frontend::{DType, ParamSource, Storage};
use kiln_ir::interp::{Tensor, relative_error, run};
use kiln_ir::{ArgKind, AttentionAttrs, Op};
use kiln_models::Task;
use kiln_models::auto::{TraceOptions, Traced, register, supported, trace};
use kiln_models::families::llama::LlamaConfig;
use kiln_models::source::ModelFiles;
use kiln_models::weights::Checkpoint;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const GOLDENS: [&str; 12] = [
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

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(name)
}

/// A traced golden model with its weights.
struct Model {
    config: Value,
    checkpoint: Checkpoint,
    traced: Traced,
}

type Tensors = BTreeMap<String, Tensor>;

impl Model {
    fn golden(name: &str) -> Model {
        Self::changed(name, &TraceOptions::default(), |_| ())
    }

    /// The golden's weights under a changed config.
    fn changed(name: &str, options: &TraceOptions, change: impl FnOnce(&mut Value)) -> Model {
        let ModelFiles { mut config, checkpoint, .. } = ModelFiles::open_folder(&folder(name)).expect(name);
        change(&mut config);
        let traced = trace(None, &config, &checkpoint, options).expect(name);
        Model { config, checkpoint, traced }
    }

    /// Runs an entry: inputs by name, states too; gives the outputs and leaves the next states.
    fn run(&self, entry: &str, inputs: &Tensors, states: &mut Tensors) -> Tensors {
        let f = self.traced.module.find(entry).expect(entry).1;
        let args: Vec<Tensor> = f
            .args
            .iter()
            .map(|arg| match arg.kind {
                ArgKind::Input => inputs[&*arg.name].clone(),
                ArgKind::State => states[&*arg.name].clone(),
                ArgKind::Param { .. } => {
                    let entry = self.checkpoint.get(&arg.name).expect("a tensor");
                    let bytes = self.checkpoint.bytes(&arg.name).expect("bytes").into_owned();
                    Tensor::from_bytes(entry.storage, entry.shape.clone(), bytes).expect("fits")
                }
            })
            .collect();
        let results = run(&self.traced.module, entry, &args, &[]).expect("evaluates");
        let mut outputs = Tensors::new();
        for (output, tensor) in f.outputs.iter().zip(results) {
            match output.updates {
                Some(arg) => states.insert(f.args[arg as usize].name.to_string(), tensor),
                None => outputs.insert(output.name.to_string(), tensor),
            };
        }
        outputs
    }

    fn forward(&self, ids: &Tensor, mask: &Tensor) -> Tensor {
        let [batch, seq] = [ids.shape()[0], ids.shape()[1]];
        let positions: Vec<i64> = (0..batch).flat_map(|_| 0..seq as i64).collect();
        let inputs = [
            ("input_ids", ids.clone()),
            ("attention_mask", mask.clone()),
            ("position_ids", i64s([batch, seq], &positions)),
        ];
        self.run("forward", &named(inputs), &mut Tensors::new()).remove("logits").expect("logits")
    }

    fn empty_cache(&self, rows: usize, t: usize) -> Tensors {
        let f = self.traced.module.find("step").expect("step").1;
        let size = |i: usize| f.args.iter().find(|a| a.kind == ArgKind::State).and_then(|a| a.ty.shape[i].as_const());
        let (heads, dim) = (size(2).expect("heads") as usize, size(3).expect("dim") as usize);
        let empty = || Tensor::zeros(DType::F32, [rows, t, heads, dim]).expect("fits");
        f.args.iter().filter(|a| a.kind == ArgKind::State).map(|a| (a.name.to_string(), empty())).collect()
    }

    /// The logits of each row's last token.
    fn step(&self, rows: &[Vec<i64>], slots: &[i64], starts: &[i64], cache: &mut Tensors) -> Tensor {
        let inputs = [
            ("input_ids", i64s([rows.len(), rows[0].len()], &rows.concat())),
            ("slots", i64s([rows.len()], slots)),
            ("starts", i64s([rows.len()], starts)),
        ];
        self.run("step", &named(inputs), cache).remove("logits").expect("logits")
    }
}

fn named<const N: usize>(tensors: [(&str, Tensor); N]) -> Tensors {
    tensors.into_iter().map(|(name, t)| (name.to_string(), t)).collect()
}

fn i64s(shape: impl Into<Vec<usize>>, values: &[i64]) -> Tensor {
    Tensor::from_i64(shape, values).expect("fits")
}

fn rows_of(t: &Tensor) -> Vec<Vec<i64>> {
    t.to_i64_vec().chunks(t.shape()[1]).map(<[i64]>::to_vec).collect()
}

/// The inputs and outputs of a golden.
fn golden(name: &str) -> Tensors {
    let bytes = std::fs::read(folder(name).join("golden.safetensors")).expect(name);
    let file = safetensors::SafeTensors::deserialize(&bytes).expect(name);
    let tensor = |t: safetensors::tensor::TensorView| {
        let dtype = if t.dtype() == safetensors::Dtype::I64 { DType::I64 } else { DType::F32 };
        Tensor::from_bytes(dtype, t.shape().to_vec(), t.data().to_vec()).expect("fits")
    };
    file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect()
}

#[test]
fn forward_gives_transformers_logits_at_every_position() {
    for name in GOLDENS {
        let want = golden(name);
        let got = Model::golden(name).forward(&want["in.input_ids"], &want["in.attention_mask"]);
        let error = relative_error(&got, &want["out.logits"]);
        assert!(error < 1e-4, "{name}: {error:e}");
    }
}

#[test]
fn steps_generate_what_transformers_generates() {
    for name in GOLDENS {
        let (model, inputs) = (Model::golden(name), golden(name));
        let text = std::fs::read(folder(name).join("golden.json")).expect(name);
        let expected: Value = serde_json::from_slice(&text).expect(name);
        let prompts = rows_of(&inputs["in.input_ids"]);
        let padding = |mask: &Vec<i64>| -(mask.iter().filter(|x| **x == 0).count() as i64);
        let mut starts: Vec<i64> = rows_of(&inputs["in.attention_mask"]).iter().map(padding).collect();
        let (eos, pad) = (model.config["eos_token_id"].as_i64(), model.config["pad_token_id"].as_i64());
        let mut cache = model.empty_cache(2, 48);
        let mut done = [false; 2];
        let (mut sequences, mut next) = (prompts.clone(), prompts);
        for _ in 0..24 {
            let logits = model.step(&next, &[1, 0], &starts, &mut cache);
            starts.iter_mut().zip(&next).for_each(|(start, ids)| *start += ids.len() as i64);
            let best = logits.to_f32_vec().chunks(logits.shape()[1]).map(argmax).collect::<Vec<i64>>();
            next = vec![];
            for (row, id) in best.into_iter().enumerate() {
                let id = if done[row] { pad.expect("a pad token") } else { id };
                done[row] |= Some(id) == eos;
                sequences[row].push(id);
                next.push(vec![id]);
            }
        }
        assert_eq!(json!(sequences), expected["greedy"], "{name}");
    }
}

fn argmax(row: &[f32]) -> i64 {
    let best = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (0..row.len()).fold(0, best) as i64
}

#[test]
fn a_prompt_in_parts_and_rows_alone_give_the_same_logits() {
    let (model, inputs) = (Model::golden("llama"), golden("llama"));
    let prompts = rows_of(&inputs["in.input_ids"]);
    let both = model.step(&prompts, &[0, 1], &[0, -5], &mut model.empty_cache(2, 17));

    let mut cache = model.empty_cache(5, 30);
    let part = |range: std::ops::Range<usize>| prompts.iter().map(|p| p[range.clone()].to_vec()).collect::<Vec<_>>();
    model.step(&part(0..3), &[4, 2], &[0, -5], &mut cache);
    model.step(&part(3..10), &[4, 2], &[3, -2], &mut cache);
    let parts = model.step(&part(10..17), &[4, 2], &[10, 5], &mut cache);
    assert!(relative_error(&parts, &both) < 1e-6);

    let alone = model.step(&[prompts[1][5..].to_vec()], &[0], &[0], &mut model.empty_cache(1, 12));
    let error = relative_error(&alone, &Tensor::from_f32([1, 384], &both.to_f32_vec()[384..]).expect("fits"));
    assert!(error < 1e-6, "{error:e}");
}

#[test]
fn dynamic_rope_takes_its_base_from_the_longest_sequence() {
    let inputs = golden("llama");
    let dynamic = json!({ "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.5 });
    let options = TraceOptions { max_seq: Some(64), ..TraceOptions::default() };
    let stretched = |context: usize| {
        Model::changed("llama", &options, |c| {
            c["rope_parameters"] = dynamic.clone();
            c["max_position_embeddings"] = context.into();
        })
    };
    let fixed = |theta: f64| Model::changed("llama", &options, |c| c["rope_parameters"]["rope_theta"] = theta.into());
    let (ids, mask) = (&inputs["in.input_ids"], &inputs["in.attention_mask"]);

    let within = stretched(17).forward(ids, mask);
    assert_eq!(within.to_f32_vec(), fixed(10000.0).forward(ids, mask).to_f32_vec());

    let beyond = stretched(8);
    let config = LlamaConfig::from_json(&beyond.config).expect("sound");
    let theta = config.rope_parameters.dynamic_theta(16, Some(17));
    let (got, want) = (beyond.forward(ids, mask), fixed(theta).forward(ids, mask));
    let error = relative_error(&got, &want);
    assert!(error < 1e-5, "{error:e}");

    // A cached step turns by the longest row: here 17 tokens of row 0.
    let rows = rows_of(ids);
    let got = beyond.step(&rows, &[0, 1], &[0, -5], &mut beyond.empty_cache(2, 17));
    let fixed = fixed(theta);
    let want = fixed.step(&rows, &[0, 1], &[0, -5], &mut fixed.empty_cache(2, 17));
    assert!(relative_error(&got, &want) < 1e-5);
}

/// A checkpoint of any size: what a Llama of that config has, in bf16.
struct Sized {
    hidden: usize,
    kv: usize,
    ffn: usize,
    vocab: usize,
}

impl ParamSource for Sized {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        let Sized { hidden, kv, ffn, vocab } = *self;
        let parts: Vec<&str> = name.split('.').rev().collect();
        let shape = match (parts[0], parts[1]) {
            ("bias", _) => return None,
            (_, "embed_tokens" | "lm_head") => vec![vocab, hidden],
            (_, "k_proj" | "v_proj") => vec![kv, hidden],
            (_, "gate_proj" | "up_proj") => vec![ffn, hidden],
            (_, "down_proj") => vec![hidden, ffn],
            (_, "q_proj" | "o_proj") => vec![hidden, hidden],
            _ => vec![hidden],
        };
        Some((DType::BF16.into(), shape))
    }
}

/// SmolLM2-135M.
fn small() -> (Value, Sized) {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192,
        "rope_theta": 100000, "tie_word_embeddings": true
    });
    (config, Sized { hidden: 576, kv: 192, ffn: 1536, vocab: 49152 })
}

#[test]
fn thirty_layers_are_one_function_per_entry() {
    let (config, source) = small();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let options = TraceOptions { dtype, max_seq: Some(300), ..TraceOptions::default() };
        let traced = trace(None, &config, &source, &options).expect("traces");
        let names: Vec<&str> = traced.module.functions.iter().map(|f| &*f.name).collect();
        assert_eq!(names, ["forward.layer", "forward", "step.layer", "step"], "{dtype}");
        let step = traced.module.find("step").expect("there").1;
        assert_eq!(step.nodes().filter(|(_, n)| matches!(n.op, Op::Call(_))).count(), 30);
        assert_eq!(step.args.iter().filter(|a| matches!(a.kind, ArgKind::Param { .. })).count(), 272);
        let bounds: Vec<(&str, i64)> = traced.module.symbols.iter().map(|(name, b)| (&**name, b.max)).collect();
        assert_eq!(bounds, [("b", 64), ("batch", 64), ("rows", 64), ("s", 300), ("seq", 300), ("t", 300)]);
    }
}

#[test]
fn qwen2_gives_later_layers_their_window() {
    let model = Model::changed("qwen2", &TraceOptions::default(), |c| {
        c["use_sliding_window"] = true.into();
        c["sliding_window"] = 4.into();
        c["layer_types"] = json!(["full_attention", "sliding_attention"]);
    });
    let layers = model.traced.module.functions.iter().filter(|f| f.name.starts_with("step.layer"));
    let windows: Vec<Option<i64>> = layers
        .flat_map(|f| f.nodes())
        .filter_map(|(_, n)| match &n.op {
            Op::Attention(AttentionAttrs { window, .. }) => Some(*window),
            _ => None,
        })
        .collect();
    assert_eq!(windows, [None, Some(4)]);
}

fn error_of(config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> String {
    trace(None, config, source, options).expect_err("does not fit").to_string()
}

#[test]
fn what_does_not_fit_is_named() {
    let (config, source) = small();
    let options = TraceOptions::default();
    let with = |field: &str, value: Value| {
        let mut config = config.clone();
        config[field] = value;
        config
    };
    let bias = error_of(&with("mlp_bias", true.into()), &source, &options);
    assert!(bias.contains("the checkpoint lacks `model.layers.0.mlp.gate_proj.bias`"), "{bias}");
    assert!(bias.contains("and 82 more"), "{bias}");
    let heads = error_of(&with("num_key_value_heads", 9.into()), &source, &options);
    let expected =
        "tensor `model.layers.0.self_attn.k_proj.weight`: the config says [576, 576], the checkpoint has [192, 576]";
    assert!(heads.contains(expected), "{heads}");
    let unknown = error_of(&with("model_type", "mamba".into()), &source, &options);
    assert!(unknown.starts_with("unknown architecture model_type `mamba`: expected one of "), "{unknown}");
    assert!(unknown.contains("llama, "), "{unknown}");
    let class = error_of(&with("architectures", json!(["LlamaForMambaing"])), &source, &options);
    assert!(class.starts_with("unknown architecture `LlamaForMambaing`: expected a class such as"), "{class}");
    let task = trace(Some(Task::MaskedLm), &config, &source, &options).expect_err("no such head").to_string();
    assert!(
        task.contains("AutoModelForMaskedLM") && task.contains("expected one of AutoModel, AutoModelForCausalLM"),
        "{task}"
    );
    let nothing = error_of(&json!({}), &source, &options);
    assert!(nothing.contains("model_type"), "{nothing}");
    for max_seq in [0, 1 << 40] {
        let message = error_of(&config, &source, &TraceOptions { max_seq: Some(max_seq), ..options.clone() });
        assert!(message.contains("--max-seq: expected a length from 1"), "{message}");
    }
}

#[test]
fn leftover_tensors_are_told() {
    let tied = Model::changed("llama", &TraceOptions::default(), |c| c["tie_word_embeddings"] = true.into());
    assert!(tied.traced.unused_tensors.is_empty(), "a tied model ignores its lm_head, as transformers does");
    let shorter = Model::changed("llama", &TraceOptions::default(), |c| c["num_hidden_layers"] = 1.into());
    assert_eq!(shorter.traced.unused_tensors.len(), 9);
    assert!(shorter.traced.unused_tensors[0].starts_with("model.layers.1."));
}

#[test]
fn users_register_their_own() {
    register("custom", &[Task::CausalLm], kiln_models::families::llama::trace);
    let (mut config, source) = small();
    config["model_type"] = "custom".into();
    config["architectures"] = json!(["CustomForCausalLM"]);
    assert!(trace(None, &config, &source, &TraceOptions::default()).is_ok());
    assert_eq!(supported()["custom"], [Task::CausalLm]);
}
