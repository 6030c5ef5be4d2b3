//! Golden checkpoints through the whole road: logits, greedy and penalised ids, beams, padding, threads.

use crate::{check_outputs, golden, options};
use kiln::lab::{self, verify};
use kiln::{CompileOptions, LoadOptions, Model, ModelFiles, Session, SessionOptions, compile};
use kiln_ir::{ArgKind, DType};
use kiln_runtime::generate::{GenerationConfig, Prompt, Request, generate};
use kiln_runtime::{CacheOptions, CausalSession};
use serde_json::Value;
use std::{io::Write, ops::ControlFlow, sync::Arc};

struct Golden {
    /// Holds the artifact.
    folder: tempfile::TempDir,
    model: Arc<Model>,
    files: ModelFiles,
    json: Value,
    ids: Vec<Vec<u32>>,
    mask: Vec<Vec<i64>>,
}

fn open(name: &str) -> Golden {
    open_as(name, DType::F32)
}

/// The golden, compiled to compute in a type.
fn open_as(name: &str, dtype: DType) -> Golden {
    let folder = golden(name);
    let files = ModelFiles::open_folder(&folder).expect("opens");
    let temp = tempfile::tempdir().expect("a folder");
    let path = temp.path().join("golden.kiln");
    compile(&files, &path, &CompileOptions { dtype, ..options() }).expect("compiles");
    let model = Model::open(&path, &LoadOptions::default()).expect("loads");
    let inputs = verify::read_tensors(&folder.join("golden.safetensors"), "in.").expect("inputs");
    let rows = |name: &str| {
        let t = &inputs.iter().find(|(n, _)| n == name).expect(name).1;
        let width = t.shape()[1];
        t.to_i64_vec().chunks(width).map(<[i64]>::to_vec).collect::<Vec<_>>()
    };
    let ids = rows("input_ids").into_iter().map(|r| r.into_iter().map(|i| i as u32).collect()).collect();
    let json = std::fs::read(folder.join("golden.json")).expect("golden.json");
    let json = serde_json::from_slice(&json).expect("JSON");
    Golden { folder: temp, model, mask: rows("attention_mask"), ids, json, files }
}

impl Golden {
    fn prompts(&self) -> Vec<Prompt> {
        let rows = self.ids.iter().zip(&self.mask).enumerate();
        rows.map(|(i, (ids, mask))| Prompt::masked(i, ids.clone(), mask).expect("padded on the left")).collect()
    }

    /// The sources of an encoder-decoder, which are padded on the right.
    fn sources(&self) -> Vec<Prompt> {
        let source = |(ids, mask): (&Vec<u32>, &Vec<i64>)| {
            let tokens = ids.iter().zip(mask).filter(|(_, mask)| **mask == 1);
            Prompt::new(tokens.map(|(id, _)| *id).collect::<Vec<_>>())
        };
        self.ids.iter().zip(&self.mask).map(source).collect()
    }

    fn generate(&self, prompts: &[Prompt], config: &GenerationConfig) -> Vec<Vec<u32>> {
        let rows = prompts.len() * config.rows_per_prompt();
        let options = CacheOptions { rows, context: Some(128), source: None };
        let mut session = CausalSession::new(&self.model, &options).expect("a session");
        let out =
            generate(&mut session, Request::new(prompts, config), |_| ControlFlow::Continue(())).expect("generates");
        out.rows.into_iter().map(|r| r.token_ids).collect()
    }

    /// New tokens of each row, after the prompt's columns, up to and with the end token (rows are padded after it).
    fn expected(&self, key: &str) -> Vec<Vec<u32>> {
        self.expected_after(self.ids[0].len(), key)
    }

    /// As [`expected`](Self::expected), after that many columns.
    fn expected_after(&self, columns: usize, key: &str) -> Vec<Vec<u32>> {
        let rows = self.json[key].as_array().expect(key);
        let ends = config(self).eos_token_id.map(|ids| ids.as_slice().to_vec()).unwrap_or_default();
        let row = |r: &Value| {
            let all: Vec<u32> = r.as_array().expect("ids").iter().map(|v| v.as_u64().expect("an id") as u32).collect();
            let new = &all[columns..];
            let end = new.iter().position(|id| ends.contains(id)).map_or(new.len(), |i| i + 1);
            new[..end].to_vec()
        };
        rows.iter().map(row).collect()
    }
}

fn config(g: &Golden) -> GenerationConfig {
    let own = g.files.generation_config.as_ref().expect("a generation config").to_string();
    GenerationConfig { max_new_tokens: Some(24), ..GenerationConfig::from_json(own.as_bytes()).expect("parses") }
}

/// Outputs in f32 and bf16.
fn outputs(name: &str) {
    check_outputs(&open(name).model, &golden(name), verify::tolerance(DType::F32));
    check_outputs(&open_as(name, DType::BF16).model, &golden(name), verify::tolerance(DType::BF16));
}

fn check(name: &str) {
    outputs(name);
    let g = open(name);
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

/// What an encoder-decoder makes of its sources: together and alone, with room for them alone and with more.
fn check_encoder_decoder(name: &str) {
    let g = open(name);
    let (greedy, sources) = (config(&g), g.sources());
    let beams = GenerationConfig { num_beams: Some(4), max_new_tokens: Some(12), ..greedy.clone() };
    for (key, config) in [("greedy", greedy), ("beam4", beams)] {
        // The decoder's start token stands before the new ones.
        let expected = g.expected_after(1, key);
        assert_eq!(g.generate(&sources, &config), expected, "{name}: {key}");
        for (i, source) in sources.iter().enumerate() {
            let alone = std::slice::from_ref(source);
            assert_eq!(g.generate(alone, &config), expected[i..=i], "{name}: {key}, row {i} alone");
            let mut session = CausalSession::for_prompts(&g.model, alone, &config).expect("a session");
            let out = generate(&mut session, Request::new(alone, &config), |_| ControlFlow::Continue(()));
            let out = out.expect("generates");
            assert_eq!(out.rows[0].token_ids, expected[i], "{name}: {key}, row {i}, no larger than it must be");
        }
    }
}

/// Options that look at the source, or a decoder's own prompt, with what transformers makes of them: two texts of different length, which
/// it pads.
#[test]
fn tokens_of_a_source_come_over_or_do_not() {
    let text = |row: usize, len: usize| {
        let id = |i: usize| 3 + (i * i * 7 + i * 31 + row * 101) as u32 % 381;
        Prompt::new((0..len).map(id).collect::<Vec<_>>())
    };
    let likelier = r#"{"encoder_repetition_penalty": 3.0}"#;
    let all = r#"{"encoder_no_repeat_ngram_size": 2, "encoder_repetition_penalty": 4.0, "num_beams": 3, "num_return_sequences": 2}"#;
    let cases: [(&str, &str, &[[u32; 8]]); 8] = [
        ("llama", likelier, &[[93, 3, 93, 175, 239, 3, 3, 3], [374, 309, 225, 15, 3, 0, 104, 53]]),
        (
            "llama",
            r#"{"encoder_repetition_penalty": 0.25}"#,
            &[[228, 15, 15, 91, 187, 154, 67, 58], [374, 309, 225, 15, 3, 187, 22, 311]],
        ),
        (
            "llama",
            r#"{"encoder_no_repeat_ngram_size": 1}"#,
            &[[228, 15, 15, 91, 187, 154, 67, 58], [374, 309, 225, 15, 3, 187, 22, 311]],
        ),
        (
            "llama",
            all,
            &[
                [93, 3, 3, 93, 93, 3, 3, 3],
                [93, 3, 3, 93, 3, 3, 3, 3],
                [194, 104, 104, 104, 104, 104, 104, 104],
                [194, 104, 104, 104, 104, 104, 0, 142],
            ],
        ),
        ("t5", "{}", &[[350, 350, 350, 231, 266, 21, 375, 9], [14, 14, 131, 35, 336, 30, 30, 131]]),
        ("t5", likelier, &[[350, 350, 350, 231, 3, 312, 3, 3], [14, 14, 131, 35, 104, 104, 104, 104]]),
        (
            "t5",
            all,
            &[
                [3, 333, 333, 333, 333, 333, 333, 333],
                [3, 3, 333, 333, 333, 333, 333, 333],
                [142, 104, 194, 194, 194, 194, 194, 194],
                [142, 104, 194, 194, 194, 194, 194, 104],
            ],
        ),
        ("bart", all, &[[60; 8], [3; 8], [104; 8], [104, 104, 104, 104, 104, 104, 104, 1]]),
    ];
    let mut open_one: Option<(&str, Golden)> = None;
    for (name, options, want) in cases {
        let g = match open_one.take() {
            Some((open, g)) if open == name => g,
            _ => open(name),
        };
        let pad = if name == "bart" { 1 } else { 0 };
        let options = GenerationConfig::from_json(options.as_bytes()).expect("parses");
        let own = GenerationConfig { max_new_tokens: Some(8), pad_token_id: Some(pad), ..config(&g) };
        let got = g.generate(&[text(0, 7), text(1, 3)], &own.overridden_by(&options));
        assert_eq!(got, want, "{name}: {options:?}");
        open_one = Some((name, g));
    }
}

macro_rules! goldens {
    ($check:ident: $($test:ident = $name:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            $check($name);
        })+
    };
}

goldens! { check:
    gemma2 = "gemma2",
    gemma3_text = "gemma3-text",
    gpt2 = "gpt2",
    gpt_neox = "gpt-neox",
    llama = "llama",
    llama_rope_llama3 = "llama-rope-llama3",
    mistral_window = "mistral-window",
    olmo2 = "olmo2",
    phi3 = "phi3",
    qwen2 = "qwen2",
    qwen3 = "qwen3",
    smollm3 = "smollm3",
}

#[test]
fn bart() {
    outputs("bart");
    check_encoder_decoder("bart");
}

/// Its attention is not scaled, so that scores, and their errors, are large: that part stays f32.
#[test]
fn t5() {
    outputs("t5");
    check_encoder_decoder("t5");
    let narrow = open_as("t5", DType::BF16);
    assert_eq!(
        narrow.generate(&narrow.sources(), &config(&narrow)),
        narrow.expected_after(1, "greedy"),
        "greedy, bf16"
    );
}

goldens! { outputs:
    bert_classify = "bert-classify",
    bert_mlm = "bert-mlm",
    bert_token = "bert-token",
    distilbert_classify = "distilbert-classify",
    electra_classify = "electra-classify",
    modernbert_mlm = "modernbert-mlm",
    roberta_classify = "roberta-classify",
    roberta_qa = "roberta-qa",
    t5_v1_1 = "t5-v1_1",
}

#[test]
fn results_do_not_depend_on_threads() {
    let g = open("llama");
    let path = g.folder.path().join("golden.kiln");
    let run = |threads: usize, length: usize, batch: usize| {
        let load = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
        let model = Model::open(&path, &load).expect("loads");
        let mut session = Session::new(&model, &SessionOptions::default()).expect("a session");
        let ids: Vec<i64> = (0..(batch * length) as i64).map(|i| (i * 31 + 7) % 384).collect();
        let ids = kiln_ir::interp::Tensor::from_i64(vec![batch, length], &ids).expect("a tensor");
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
        let traced = lab::trace(&g.files, &options()).expect("traces");
        let mut session = Session::new(&g.model, &SessionOptions::default()).expect("a session");
        for (batch, length) in [(1, 1), (3, 1), (1, 2), (3, 7), (1, 64), (3, 129)] {
            let ids: Vec<i64> = (0..(batch * length) as i64).map(|i| (i * 37 + 5) % 384).collect();
            let ids = kiln_ir::interp::Tensor::from_i64(vec![batch, length], &ids).expect("a tensor");
            let inputs = vec![("input_ids".to_string(), ids)];
            let got = verify::call(&mut session, "forward", &inputs).expect("runs");
            let want =
                verify::interpret(&traced.module, "forward", &g.files.checkpoint, &inputs, &[]).expect("evaluates");
            for c in verify::compare(name, &got, &want, 1e-4).expect("same shapes") {
                assert!(c.holds(), "{}: batch {batch}, length {length}: error {:.2e}", c.name, c.relative_error);
            }
        }
    }
}

/// Narrow weights, caches and inputs; sums in f32.
#[test]
fn bf16_and_f16_stay_near_f32() {
    for name in ["llama", "qwen2"] {
        for (dtype, bytes) in [(DType::BF16, 2), (DType::F16, 2), (DType::F32, 4)] {
            let g = open_as(name, dtype);
            check_outputs(&g.model, &golden(name), verify::tolerance(dtype));
            assert!(g.model.plan().states.iter().all(|s| s.storage.dense().is_some_and(|d| d.size() == bytes)));
            let greedy = g.generate(&g.prompts(), &config(&g));
            let alone = Prompt::new(g.prompts()[0].tokens().to_vec());
            assert_eq!(g.generate(&[alone], &config(&g)), [greedy[0].clone()], "{name} in {dtype}: row 0 alone");
        }
    }
}

/// Parameters that may change between calls are read where they lie: nothing is folded or packed.
#[test]
fn live_parameters_are_read_at_each_call() {
    let g = open("qwen2");
    let mut module = lab::trace(&g.files, &options()).expect("traces").module;
    for arg in module.functions.iter_mut().flat_map(|f| &mut f.args) {
        if let ArgKind::Param { live } = &mut arg.kind {
            *live = true;
        }
    }
    let program = lab::build(&module, &options()).expect("compiles");
    let prepared = &program.builds[0].compiled.plan.prepared;
    assert!(prepared.is_empty(), "{prepared:?}");
    let checkpoint = &g.files.checkpoint;
    let weight = |name: &str, out: &mut dyn Write| checkpoint.write_to(name, out).map_err(std::io::Error::other);
    let model = program.load(&options(), &LoadOptions::default(), weight).expect("loads");
    check_outputs(&model, &golden("qwen2"), 1e-4);
}

/// Whatever order hash maps and threads have.
#[test]
fn the_same_model_gives_the_same_bytes() {
    let files = ModelFiles::open_folder(&golden("qwen2")).expect("opens");
    let temp = tempfile::tempdir().expect("a folder");
    let artifact = |name: &str| {
        let path = temp.path().join(name);
        compile(&files, &path, &options()).expect("compiles");
        std::fs::read(path).expect("reads")
    };
    assert!(artifact("first.kiln") == artifact("second.kiln"));
}
