//! What a training step costs, by signature and by kernel: `cargo bench --features cli --bench training [-- MODEL BATCH SEQ THREADS]`.
//!
//! Without a model: a Llama with random weights, of 4 layers of 256 with 4 heads, inner size 768, vocabulary 8,192, tied; 8 x 256 tokens.

use kiln::lab::bench::{BenchOptions, cases, profile, time};
use kiln::train::{AdamW, Trainee, TraineeOptions};
use kiln::{LoadOptions, ModelFiles, TargetSpec};
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use std::path::{Path, PathBuf};

/// Writes the Llama.
fn made_up(folder: &Path) -> PathBuf {
    let (hidden, inner, layers, vocab) = (256, 768, 4, 8192);
    let config = format!(
        r#"{{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": {vocab}, "hidden_size": {hidden},
        "intermediate_size": {inner}, "num_hidden_layers": {layers}, "num_attention_heads": 4, "num_key_value_heads": 4,
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true}}"#
    );
    std::fs::write(folder.join("config.json"), config).expect("writes");
    let mut shapes = vec![("model.embed_tokens.weight".to_string(), vec![vocab, hidden])];
    shapes.push(("model.norm.weight".into(), vec![hidden]));
    for layer in 0..layers {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{name}"), &[hidden, hidden]);
        }
        add("mlp.gate_proj", &[inner, hidden]);
        add("mlp.up_proj", &[inner, hidden]);
        add("mlp.down_proj", &[hidden, inner]);
        add("input_layernorm", &[hidden]);
        add("post_attention_layernorm", &[hidden]);
    }
    let bytes: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(_, shape)| {
            let value =
                |i: usize| if shape.len() == 1 { 1.0 } else { ((i * 7919 % 2003) as f32 / 1001.0 - 1.0) * 0.04 };
            (0..shape.iter().product()).flat_map(|i| value(i).to_le_bytes()).collect()
        })
        .collect();
    let views = shapes.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many bytes as the shape has"))
    });
    serialize_to_file(views, None, &folder.join("model.safetensors")).expect("writes");
    folder.into()
}

fn main() {
    if kiln::maybe_run_worker() {
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |i: usize, default: i64| args.get(i).map_or(default, |a| a.parse().expect("a number"));
    let temp = tempfile::tempdir().expect("a folder");
    let folder = args.first().map_or_else(|| made_up(temp.path()), PathBuf::from);
    let (batch, seq, threads) = (number(1, 8), number(2, 256), number(3, 2));
    let files = ModelFiles::open_folder(&folder).expect("a checkpoint");
    let load = LoadOptions { threads: Some(threads as usize), ..LoadOptions::default() };
    let options = TraineeOptions { load, ..TraineeOptions::default() };
    let start = std::time::Instant::now();
    let mut trainee = Trainee::new(&files, &AdamW::default(), &options).expect("compiles");
    println!("compiled in {:.2} s", start.elapsed().as_secs_f64());
    let model = trainee.session().model().clone();
    let of = |signature: &str, sizes: &[(&str, i64)]| {
        let sizes = sizes.iter().map(|(s, n)| (s.to_string(), *n)).collect();
        let options = BenchOptions { signature: Some(signature.into()), sizes, rounds: 5 };
        cases(&model, &options).expect("sizes that fit")
    };
    let all = [of("grad_accumulate", &[("batch", batch), ("seq", seq)]), of("apply", &[])].concat();
    for timing in time(&model, &all, 5).expect("runs") {
        println!(
            "{}: median {:.1} ms, best {:.1} ms",
            timing.case,
            1e3 * timing.median_seconds,
            1e3 * timing.min_seconds
        );
    }
    for case in profile(&model, &all, 3, &TargetSpec::x86_64_v3()).expect("runs") {
        println!("\n{}: {:.1} ms", case.case, 1e3 * case.seconds);
        let mut steps = case.steps;
        steps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        for step in steps.iter().take(40) {
            println!(
                "{:8.2} ms (at least {:7.2})  {:6.1} MB {:8.2} GFLOP  {:<10} {}",
                1e3 * step.seconds,
                1e3 * step.roofline_seconds,
                step.bytes as f64 / 1e6,
                step.flops as f64 / 1e9,
                step.template,
                step.label
            );
        }
    }
    println!("peak {} MB", peak() >> 20);
}

/// The process's largest resident size, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
