//! SmolLM2 itself, from its GGUF. These tests need the file (98 MB): they fetch it where it is not in the cache.

use crate::support::golden;
use kiln_models::families::llama::LlamaConfig;
use kiln_models::source::{HubOptions, ModelFiles, TOKENIZER, fetch_default_model};
use kiln_models::weights::Checkpoint;
use serde_json::Value;
use tokenizers::Tokenizer;

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(golden("smollm2-135m-instruct.json")).unwrap()).unwrap()
}

fn model() -> ModelFiles {
    ModelFiles::resolve(&fetch_default_model(&HubOptions::from_env()).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn config_and_names() {
    let model = model();
    let config = LlamaConfig::from_json(&model.config).unwrap();
    assert_eq!(
        (config.decoder.hidden_size, config.decoder.intermediate_size, config.decoder.num_hidden_layers),
        (576, 1536, 30)
    );
    assert_eq!(
        (config.decoder.num_attention_heads, config.decoder.num_key_value_heads, config.decoder.head_dim),
        (9, 3, 64)
    );
    assert_eq!(
        (config.decoder.vocab_size, config.decoder.max_position_embeddings, config.decoder.rms_norm_eps),
        (49152, 8192, 1e-5)
    );
    assert_eq!((config.rope_parameters.rope_theta, config.decoder.tie_word_embeddings), (100000.0, true));
    assert_eq!(
        (config.decoder.bos_token_id, config.decoder.eos_token_id, config.decoder.pad_token_id),
        (Some(1), vec![2], Some(2))
    );
    assert_eq!(model.checkpoint.len(), 272);
    model.checkpoint.require("model.layers.29.self_attn.k_proj.weight", &[192, 576]).unwrap();
    model.checkpoint.require("model.layers.0.mlp.down_proj.weight", &[576, 1536]).unwrap();
}

#[test]
fn token_ids_are_those_of_the_original_tokenizer() {
    let expected = expected();
    let tokenizer = Tokenizer::from_bytes(model().processors.get(TOKENIZER).unwrap()).unwrap();
    let encode = |text: &Value| tokenizer.encode(text.as_str().unwrap(), true).unwrap().get_ids().to_vec();
    for case in expected["tokenizer_cases"].as_array().unwrap() {
        assert_eq!(encode(&case["text"]), ids(&case["ids"]), "{}", case["text"]);
    }
    for case in expected["cases"].as_array().unwrap() {
        assert_eq!(encode(&case["prompt"]), ids(&case["input_ids"]), "{}", case["prompt"]);
        let text = tokenizer.decode(&ids(&case["new_ids"]), false).unwrap();
        assert_eq!(text, case["new_text"].as_str().unwrap());
    }
    assert_eq!(encode(&expected["chat"]["rendered"]), ids(&expected["chat"]["input_ids"]));
}

#[test]
fn the_embedding_dequantises_to_the_first_hidden_state() {
    let model = model();
    let golden = Checkpoint::open(golden("smollm2-135m-instruct.safetensors")).unwrap();
    let hidden = golden.to_f32("cake.hidden.0").unwrap();
    let embedding = model.checkpoint.to_f32("model.embed_tokens.weight").unwrap();
    for (row, id) in golden.to_f32("cake.input_ids").unwrap().into_iter().enumerate() {
        let at = id as usize * 576;
        assert_eq!(embedding[at..at + 576], hidden[row * 576..(row + 1) * 576]);
    }
}

/// Row-major matrices, only as much of them as one decoder layer needs.
#[derive(Clone)]
struct Rows {
    width: usize,
    values: Vec<f32>,
}

impl Rows {
    fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// `self @ weight^T`, as a `Linear` without bias computes it.
    fn linear(&self, model: &Checkpoint, name: &str) -> Rows {
        let name = format!("model.layers.0.{name}.weight");
        let weight = model.to_f32(&name).unwrap();
        let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(x * w)).sum::<f64>() as f32;
        let values = self.iter().flat_map(|x| weight.chunks_exact(self.width).map(move |w| dot(x, w))).collect();
        Rows { width: model.entry(&name).unwrap().shape[0], values }
    }

    fn rms_norm(&self, model: &Checkpoint, name: &str) -> Rows {
        let weight = model.to_f32(&format!("model.layers.0.{name}.weight")).unwrap();
        let values = self.iter().flat_map(|x| {
            let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
            let scale = 1.0 / (mean + 1e-5).sqrt();
            x.iter().zip(&weight).map(move |(x, w)| x * scale * w).collect::<Vec<_>>()
        });
        Rows { width: self.width, values: values.collect() }
    }

    fn zip(&self, other: &Rows, f: impl Fn(f32, f32) -> f32) -> Rows {
        Rows { width: self.width, values: self.values.iter().zip(&other.values).map(|(a, b)| f(*a, *b)).collect() }
    }

    fn rope(mut self, inv_freq: &[f32]) -> Rows {
        let half = inv_freq.len();
        for (position, row) in self.values.chunks_exact_mut(self.width).enumerate() {
            for head in row.chunks_exact_mut(2 * half) {
                for (i, f) in inv_freq.iter().enumerate() {
                    let (sin, cos) = (position as f32 * f).sin_cos();
                    let (a, b) = (head[i], head[i + half]);
                    (head[i], head[i + half]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
        }
        self
    }
}

/// Causal attention with 9 query and 3 key/value heads of 64.
fn attention(q: &Rows, k: &Rows, v: &Rows) -> Rows {
    let mut out = Vec::new();
    for (now, q) in q.iter().enumerate() {
        for (head, q) in q.chunks_exact(64).enumerate() {
            let at = head / 3 * 64..head / 3 * 64 + 64;
            let score = |k: &[f32]| q.iter().zip(&k[at.clone()]).map(|(q, k)| q * k).sum::<f32>() / 8.0;
            let scores: Vec<f32> = k.iter().take(now + 1).map(score).collect();
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - most).exp()).collect();
            let sum: f32 = weights.iter().sum();
            let value = |i: usize| v.iter().zip(&weights).map(|(v, w)| v[at.start + i] * w).sum::<f32>() / sum;
            out.extend((0..64).map(value));
        }
    }
    Rows { width: q.width, values: out }
}

/// Row order of query and key, orientation and dequantisation of every projection: all of it shows here.
#[test]
fn the_first_layer_gives_the_second_hidden_state() {
    let files = model();
    let rope = LlamaConfig::from_json(&files.config).unwrap().rope_parameters;
    let (inv_freq, _) = rope.inv_freq(64, None);
    let model = &files.checkpoint;
    let golden = Checkpoint::open(golden("smollm2-135m-instruct.safetensors")).unwrap();
    let hidden = Rows { width: 576, values: golden.to_f32("cake.hidden.0").unwrap() };
    let normed = hidden.rms_norm(model, "input_layernorm");
    let q = normed.linear(model, "self_attn.q_proj").rope(&inv_freq);
    let k = normed.linear(model, "self_attn.k_proj").rope(&inv_freq);
    let v = normed.linear(model, "self_attn.v_proj");
    let hidden = hidden.zip(&attention(&q, &k, &v).linear(model, "self_attn.o_proj"), |a, b| a + b);
    let normed = hidden.rms_norm(model, "post_attention_layernorm");
    let gate = normed.linear(model, "mlp.gate_proj");
    let inner = gate.zip(&normed.linear(model, "mlp.up_proj"), |g, u| g / (1.0 + (-g).exp()) * u);
    let got = hidden.zip(&inner.linear(model, "mlp.down_proj"), |a, b| a + b);
    let want = golden.to_f32("cake.hidden.1").unwrap();
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let error = norm(&mut got.values.iter().zip(&want).map(|(g, w)| g - w)) / norm(&mut want.iter().copied());
    assert!(error < 1e-5, "relative error {error}");
}
