//! Golden checkpoints through the whole road: logits, greedy and penalised ids, padding, threads.

use crate::{golden, options};
use kiln::runtime::generate::{GenerationConfig, Prompt, Request, generate};
use kiln::runtime::{CacheOptions, CausalSession};
use kiln::{LoadOptions, Model, ModelFiles, Session, SessionOptions, compile, verify};
use serde_json::Value;
use std::{ops::ControlFlow, path::Path, sync::Arc};

struct Golden {
    model: Arc<Model>,
    files: ModelFiles,
    json: Value,
    ids: Vec<Vec<u32>>,
    mask: Vec<Vec<i64>>,
}

fn compile_to(files: &ModelFiles, path: &Path) {
    compile(files, path, &options()).expect("compiles");
}

fn open(name: &str) -> Golden {
    let folder = golden(name);
    let files = ModelFiles::open_folder(&folder).expect("opens");
    let temp = tempfile::tempdir().expect("a folder");
    let path = temp.path().join("golden.kiln");
    compile_to(&files, &path);
    let model = Model::open(&path, &LoadOptions::default()).expect("loads");
    let inputs = verify::read_tensors(&folder.join("golden.safetensors"), "in.").expect("inputs");
    let rows = |name: &str| {
        let t = &inputs.iter().find(|(n, _)| n == name).expect(name).1;
        let width = t.shape()[1];
        t.to_i64_vec().chunks(width).map(<[i64]>::to_vec).collect::<Vec<_>>()
    };
    let ids = rows("input_ids").into_iter().map(|r| r.into_iter().map(|i| i as u32).collect()).collect();
    let json = std::fs::read(folder.join("golden.json")).expect("golden.json");
    Golden { model, mask: rows("attention_mask"), ids, json: serde_json::from_slice(&json).expect("JSON"), files }
}

impl Golden {
    fn prompts(&self) -> Vec<Prompt> {
        let rows = self.ids.iter().zip(&self.mask).enumerate();
        rows.map(|(i, (ids, mask))| Prompt::masked(i, ids.clone(), mask).expect("padded on the left")).collect()
    }

    fn generate(&self, prompts: &[Prompt], config: &GenerationConfig) -> Vec<Vec<u32>> {
        let rows = prompts.len() * config.rows_per_prompt();
        let options = CacheOptions { rows, context: Some(128) };
        let mut session = CausalSession::new(&self.model, &options).expect("a session");
        let out =
            generate(&mut session, Request::new(prompts, config), |_| ControlFlow::Continue(())).expect("generates");
        out.rows.into_iter().map(|r| r.token_ids).collect()
    }

    /// New tokens of each row, after the prompt's columns, up to and with the end token (rows are padded after it).
    fn expected(&self, key: &str) -> Vec<Vec<u32>> {
        let rows = self.json[key].as_array().expect(key);
        let row = |r: &Value| {
            let all: Vec<u32> = r.as_array().expect("ids").iter().map(|v| v.as_u64().expect("an id") as u32).collect();
            let new = &all[self.ids[0].len()..];
            let end = new.iter().position(|id| *id == 2).map_or(new.len(), |i| i + 1);
            new[..end].to_vec()
        };
        rows.iter().map(row).collect()
    }
}

fn config(g: &Golden) -> GenerationConfig {
    let own = g.files.generation_config.as_ref().expect("a generation config").to_string();
    GenerationConfig { max_new_tokens: Some(24), ..GenerationConfig::from_json(own.as_bytes()).expect("parses") }
}

fn check(name: &str) {
    let g = open(name);
    let folder = golden(name);
    let mut session = Session::new(&g.model, &SessionOptions::default()).expect("a session");
    let inputs = verify::read_tensors(&folder.join("golden.safetensors"), "in.").expect("inputs");
    let got = verify::call(&mut session, "forward", &inputs).expect("runs");
    let want = verify::read_tensors(&folder.join("golden.safetensors"), "out.").expect("outputs");
    for c in verify::compare(name, &got, &want).expect("same shapes") {
        assert!(c.holds(), "{}: error {:.2e}", c.name, c.relative_error);
    }

    let greedy = g.generate(&g.prompts(), &config(&g));
    assert_eq!(greedy, g.expected("greedy"), "{name}: greedy");
    let penalised = GenerationConfig { repetition_penalty: Some(1.3), no_repeat_ngram_size: Some(2), ..config(&g) };
    assert_eq!(g.generate(&g.prompts(), &penalised), g.expected("penalised"), "{name}: penalised");
    let beams = GenerationConfig { num_beams: Some(4), max_new_tokens: Some(12), ..config(&g) };
    assert_eq!(g.generate(&g.prompts(), &beams), g.expected("beam4"), "{name}: beams");
    for (i, prompt) in g.prompts().iter().enumerate() {
        let alone = [Prompt::new(prompt.tokens().to_vec())];
        assert_eq!(g.generate(&alone, &config(&g)), [greedy[i].clone()], "{name}: row {i} alone");
        assert_eq!(g.generate(&alone, &beams), [g.expected("beam4")[i].clone()], "{name}: beams of row {i} alone");
        let four = g.generate(&alone, &GenerationConfig { num_return_sequences: Some(4), ..beams.clone() });
        assert_eq!((four.len(), &four[0]), (4, &g.expected("beam4")[i]), "{name}: all beams of row {i}");
    }
}

#[test]
fn llama() {
    check("llama");
}

#[test]
fn llama_rope_llama3() {
    check("llama-rope-llama3");
}

#[test]
fn qwen2() {
    check("qwen2");
}

#[test]
fn results_do_not_depend_on_threads() {
    let g = open("llama");
    let temp = tempfile::tempdir().expect("a folder");
    let path = temp.path().join("m.kiln");
    compile_to(&g.files, &path);
    let run = |threads: usize, length: usize, batch: usize| {
        let load = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
        let model = Model::open(&path, &load).expect("loads");
        let mut session = Session::new(&model, &SessionOptions::default()).expect("a session");
        let ids: Vec<i64> = (0..(batch * length) as i64).map(|i| (i * 31 + 7) % 384).collect();
        let ids = kiln::ir::interp::Tensor::from_i64(vec![batch, length], &ids).expect("a tensor");
        verify::call(&mut session, "forward", &[("input_ids".into(), ids)]).expect("runs").remove(0).1.into_bytes()
    };
    for (batch, length) in [(1, 1), (1, 2), (3, 7), (1, 64), (3, 129)] {
        let one = run(1, length, batch);
        assert!(one == run(2, length, batch) && one == run(5, length, batch), "batch {batch}, length {length}");
    }
}

#[test]
fn compiled_models_equal_the_interpreter() {
    for name in ["llama", "llama-rope-llama3", "qwen2"] {
        let g = open(name);
        let traced = compile::trace(&g.files, &options()).expect("traces");
        let mut session = Session::new(&g.model, &SessionOptions::default()).expect("a session");
        for (batch, length) in [(1, 1), (3, 1), (1, 2), (3, 7), (1, 64), (3, 129)] {
            let ids: Vec<i64> = (0..(batch * length) as i64).map(|i| (i * 37 + 5) % 384).collect();
            let ids = kiln::ir::interp::Tensor::from_i64(vec![batch, length], &ids).expect("a tensor");
            let inputs = vec![("input_ids".to_string(), ids)];
            let got = verify::call(&mut session, "forward", &inputs).expect("runs");
            let want =
                verify::interpret(&traced.module, "forward", &g.files.checkpoint, &inputs, &[]).expect("evaluates");
            for c in verify::compare(name, &got, &want).expect("same shapes") {
                assert!(c.holds(), "{}: batch {batch}, length {length}: error {:.2e}", c.name, c.relative_error);
            }
        }
    }
}
