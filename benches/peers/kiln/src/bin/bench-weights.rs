//! `bench-weights smollm2|random FOLDER`: writes `config.json` and `model.safetensors` in f32, which both engines load.
//!
//! `smollm2` is the model of `make demo`, its blocks dequantised. `random` is a Llama of a shape that nobody tuned anything for.

use bench_protocol::Error;
use kiln_models::source::{HubOptions, ModelFiles, fetch_default_model};
use safetensors::{Dtype, View};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::Path;

const USAGE: &str = "usage: bench-weights smollm2|random FOLDER";

struct Tensor {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn new(shape: Vec<usize>, values: impl IntoIterator<Item = f32>) -> Self {
        Tensor { shape, bytes: values.into_iter().flat_map(f32::to_le_bytes).collect() }
    }
}

impl View for Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn smollm2() -> Result<(Value, Vec<(String, Tensor)>), Error> {
    let files = ModelFiles::resolve(&fetch_default_model(&HubOptions::from_env())?)?;
    let mut config = files.config;
    // candle reads the base of the rotation where older configs have it.
    if config["rope_theta"].is_null() {
        config["rope_theta"] = config["rope_parameters"]["rope_theta"].clone();
    }
    let read = |(name, entry): (&str, &kiln_models::weights::TensorEntry)| {
        Ok((name.to_string(), Tensor::new(entry.shape.clone(), files.checkpoint.to_f32(name)?)))
    };
    Ok((config, files.checkpoint.iter().map(read).collect::<Result<_, Error>>()?))
}

fn random() -> (Value, Vec<(String, Tensor)>) {
    let (hidden, heads, kv_heads, head_dim, intermediate, layers, vocab) = (768, 12, 4, 48, 2048, 12, 49152);
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": true,
        "vocab_size": vocab,
        "bos_token_id": 1,
        "eos_token_id": 2,
    });
    let mut state = 1u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let mut matrix = move |rows: usize, columns: usize| {
        let scale = (1.0 / columns as f32).sqrt();
        Tensor::new(vec![rows, columns], (0..rows * columns).map(|_| uniform() * scale))
    };
    let ones = || Tensor::new(vec![hidden], vec![1.0; hidden]);
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_string(), matrix(vocab, hidden)),
        ("model.norm.weight".to_string(), ones()),
    ];
    for layer in 0..layers {
        let projections = [
            ("self_attn.q_proj", heads * head_dim, hidden),
            ("self_attn.k_proj", kv_heads * head_dim, hidden),
            ("self_attn.v_proj", kv_heads * head_dim, hidden),
            ("self_attn.o_proj", hidden, heads * head_dim),
            ("mlp.gate_proj", intermediate, hidden),
            ("mlp.up_proj", intermediate, hidden),
            ("mlp.down_proj", hidden, intermediate),
        ];
        for (name, rows, columns) in projections {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), matrix(rows, columns)));
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), ones()));
        }
    }
    (config, tensors)
}

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let (kind, folder) = args.next().zip(args.next()).ok_or(USAGE)?;
    let (config, tensors) = match kind.as_str() {
        "smollm2" => smollm2()?,
        "random" => random(),
        _ => return Err(USAGE.into()),
    };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
    let unfinished = folder.join("model.safetensors.part");
    safetensors::serialize_to_file(tensors, None, &unfinished)?;
    Ok(std::fs::rename(unfinished, folder.join("model.safetensors"))?)
}
