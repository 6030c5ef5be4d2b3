//! The command `kiln`, as a user runs it: its verbs, and what it says about bad input.

use crate::{golden, options};
use kiln_runtime::{Artifact, ArtifactWriter, Manifest, OpenOptions, Section};

use kiln::lab::verify;
use kiln::{
    AutoModelForCausalLM, Chat, CompileOptions, CpuSpec, LoadOptions, ModelFiles, PretrainedOptions, TargetSpec,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a compile cache and a folder `out`, in which failing commands must leave nothing.
pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("out")).expect("a folder");
        Bench { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_string()
    }

    pub fn kiln(&self, args: &[&str]) -> Output {
        self.kiln_with(args, &[])
    }

    /// With variables of its own.
    pub fn kiln_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(args);
        command.envs(variables.iter().copied()).output().expect("kiln runs")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = crate::kiln(&self.path("cache"));
        command.args(args).current_dir(self.folder.path());
        command
    }

    /// stdout of a command that succeeds.
    pub fn works(&self, args: &[&str]) -> String {
        let output = self.kiln(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kiln {args:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.works(args)).expect("one JSON object")
    }

    /// A command ends with the code and a message with these words; nothing is in `out` afterwards.
    pub fn ends(&self, code: i32, args: &[&str], words: &[&str]) {
        let output = self.kiln(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "kiln {args:?}: {errors}");
        assert!(!errors.contains("panicked"), "kiln {args:?}: {errors}");
        for word in words {
            assert!(errors.contains(word), "kiln {args:?}: `{word}` is not in: {errors}");
        }
        let left: Vec<_> = std::fs::read_dir(self.path("out")).expect("reads").flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "kiln {args:?} left {left:?}");
    }

    pub fn fails(&self, args: &[&str], words: &[&str]) {
        self.ends(1, args, words);
    }

    /// The llama golden, compiled to `m.kiln`.
    pub fn artifact(&self) -> String {
        let files = ModelFiles::open_folder(&golden("llama")).expect("opens");
        kiln::compile(&files, &self.path("m.kiln"), &options()).expect("compiles");
        self.arg("m.kiln")
    }

    /// A copy of the llama golden's config and weights.
    pub fn model(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir(&folder).expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(golden("llama").join(file), folder.join(file)).expect("copies");
        }
        folder
    }

    /// `compile` of a folder fails.
    pub fn refuses(&self, folder: &Path, words: &[&str]) {
        let out = self.arg("out/m.kiln");
        self.fails(&["compile", folder.to_str().expect("UTF-8"), "-o", &out], words);
    }
}

pub fn llama() -> String {
    golden("llama").to_str().expect("UTF-8").to_string()
}

/// The golden's first prompt, `1,2,3`, and what follows it.
fn prompt_and_greedy() -> (String, Vec<u64>) {
    let folder = golden("llama");
    let inputs = verify::read_tensors(&folder.join("golden.safetensors"), "in.").expect("inputs");
    let row = |name: &str| {
        let t = &inputs.iter().find(|(n, _)| n == name).expect(name).1;
        t.to_i64_vec()[..t.shape()[1]].to_vec()
    };
    let (ids, mask) = (row("input_ids"), row("attention_mask"));
    let real: Vec<String> = ids.iter().zip(mask).filter(|(_, m)| *m == 1).map(|(id, _)| id.to_string()).collect();
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).expect("reads")).expect("JSON");
    let greedy = json["greedy"][0].as_array().expect("ids")[ids.len()..].iter().map(|v| v.as_u64().expect("an id"));
    (real.join(","), greedy.collect())
}

/// transformers' `AutoModelForCausalLM` goes by `model_type` alone: a class for another task is no matter where the weights have a head.
#[test]
fn text_is_written_whatever_class_was_saved() {
    let bench = Bench::new();
    let (prompt, greedy) = prompt_and_greedy();
    let folder = bench.model("m");
    let config = std::fs::read(folder.join("config.json")).expect("reads");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let write = |classes: Value, tied: bool| {
        let mut config = config.clone();
        config["architectures"] = classes;
        config["tie_word_embeddings"] = json!(tied);
        std::fs::write(folder.join("config.json"), config.to_string()).expect("writes");
    };
    let model = folder.to_str().expect("UTF-8");
    let args = ["generate", model, "--input-ids", &prompt, "--max-new-tokens", "4", "--json"];
    for class in ["LlamaForSequenceClassification", "LlamaForTokenClassification", "LlamaModel", "MyLlamaForCausalLM"] {
        write(json!([class]), false);
        assert_eq!(bench.json(&args)["token_ids"], json!(greedy[..4]), "{class}");
    }
    // Without a head, there is nothing to write with, unless it is the embedding.
    let weights = std::fs::read(folder.join("model.safetensors")).expect("reads");
    let tensors = safetensors::SafeTensors::deserialize(&weights).expect("reads");
    let all = tensors.tensors();
    let body = all.iter().filter(|(name, _)| name != "lm_head.weight").map(|(name, view)| (name, view));
    let body = safetensors::serialize(body, None).expect("writes");
    std::fs::write(folder.join("model.safetensors"), body).expect("writes");
    write(json!(["LlamaForSequenceClassification"]), false);
    bench.fails(&args, &["no head for causal language modelling", "`lm_head.weight`"]);
    write(json!(["LlamaForSequenceClassification"]), true);
    assert_eq!(bench.json(&args)["token_ids"].as_array().expect("ids").len(), 4);
    // Any other verb takes the class at its word.
    bench.refuses(&folder, &["AutoModelForSequenceClassification"]);
}

fn file_name(path: &Path) -> std::ffi::OsString {
    path.file_name().unwrap_or_default().into()
}

#[test]
fn an_artifact_carries_the_configs_of_processors() {
    let bench = Bench::new();
    let (folder, out) = (bench.model("m"), bench.arg("m.kiln"));
    let config = r#"{"size":  {"height": 224}}"#;
    std::fs::write(folder.join("preprocessor_config.json"), config).expect("writes");
    bench.works(&["compile", folder.to_str().expect("UTF-8"), "-o", &out]);
    let artifact = Artifact::open(Path::new(&out), &OpenOptions::default()).expect("opens");
    assert_eq!(artifact.file("preprocessor_config.json"), Some(config.as_bytes()));
    assert_eq!(artifact.file("processor_config.json"), None);
}

#[test]
fn the_command_knows_every_pipeline() {
    let bench = Bench::new();
    let asked = |name: &'static str| ["pipeline", name, "--model", "/no/such/model", "--input", "x"];
    for name in kiln::pipelines() {
        bench.fails(&asked(name), &["/no/such/model"]);
    }
    bench.fails(
        &asked("make-coffee"),
        &[&["there is no pipeline `make-coffee`"], &kiln::pipelines().collect::<Vec<_>>()[..]].concat(),
    );
}

#[test]
fn the_verbs_work() {
    let bench = Bench::new();
    let (prompt, greedy) = prompt_and_greedy();
    let count = greedy.len().to_string();
    let (one, two) = (bench.arg("out/1.kiln"), bench.arg("out/2.kiln"));
    let report = bench.json(&["compile", &llama(), "-o", &one, "--json"]);
    assert!(report["kernels"].as_u64().expect("a number") > 10);
    bench.works(&["compile", &llama(), "-o", &two]);
    assert!(std::fs::read(&one).expect("reads") == std::fs::read(&two).expect("reads"), "two compilations differ");
    let names = std::fs::read_dir(bench.path("out")).expect("reads").flatten().map(|e| file_name(&e.path()));
    assert_eq!(names.count(), 2, "temporary files are left");

    let ids = ["--input-ids", &prompt, "--max-new-tokens", &count, "--json"];
    let generated = bench.json(&[&["generate", &one][..], &ids].concat());
    assert_eq!(generated["token_ids"], json!(greedy));
    assert_eq!(generated["finish_reason"], "length");
    assert_eq!(generated["timings"]["compile_seconds"], 0.0);

    let beams = ["--num-beams", "3", "--num-return-sequences", "2"];
    let both = bench.json(&[&["generate", &one][..], &ids, &beams].concat());
    let scores = [0, 1].map(|row| both["rows"][row]["score"].as_f64().expect("a score"));
    assert!(scores[0] >= scores[1] && both["rows"][0]["token_ids"] != both["rows"][1]["token_ids"], "{both}");
    let saved = bench.arg("saved.json");
    std::fs::write(&saved, r#"{"num_beams": 3, "num_return_sequences": 2}"#).expect("writes");
    let from_file = bench.json(&[&["generate", &one][..], &ids, &["--generation-config", &saved]].concat());
    assert_eq!(from_file["rows"], both["rows"]);
    let forced = bench.json(&[&["generate", &one][..], &ids, &["--forced-eos-token-id", "7"]].concat());
    assert_eq!(forced["token_ids"].as_array().and_then(|ids| ids.last()), Some(&json!(7)));

    let from_folder = |bench: &Bench| bench.json(&[&["generate", &llama()][..], &ids].concat());
    let first = from_folder(&bench);
    assert!(first["timings"]["compile_seconds"].as_f64().expect("a number") > 0.0);
    let second = from_folder(&bench);
    assert_eq!(second["timings"]["compile_seconds"], 0.0, "the compile cache has it");
    assert_eq!((&first["token_ids"], &second["token_ids"]), (&json!(greedy), &json!(greedy)));

    let inputs = golden("llama").join("golden.safetensors");
    let outputs = bench.arg("out/o.safetensors");
    bench.works(&["run", &one, "--inputs", inputs.to_str().expect("UTF-8"), "-o", &outputs]);
    let got = verify::read_tensors(Path::new(&outputs), "").expect("reads");
    let want = verify::read_tensors(&inputs, "out.").expect("reads");
    assert!(verify::compare("run", &got, &want, 1e-4).expect("same shapes").iter().all(verify::Comparison::holds));

    let inspected = bench.json(&["inspect", &one, "--json"]);
    assert_eq!(inspected["manifest"]["model"]["architecture"], "llama");
    assert!(bench.works(&["inspect", &one]).contains("signature forward"));
    let schedule = bench.works(&["inspect", &one, "--schedule"]);
    assert!(schedule.contains("flops ") && schedule.contains("live "), "{schedule}");
    let module = kiln_ir::text::parse(&bench.works(&["inspect", &one, "--ir"])).expect("the IR parses");
    kiln_ir::verify(&module).expect("the IR verifies");
    let both = bench.json(&["inspect", &one, "--ir", "--schedule", "--json"]);
    assert!(both["ir"].is_string() && both["plan"]["kernels"].is_array());

    for name in ["llama", "t5"] {
        let model = golden(name).display().to_string();
        let verified = bench.json(&["verify", &model, "--golden", &model, "--json"]);
        assert_eq!(verified["comparisons"].as_array().expect("a list").len(), 2, "{verified}");
    }
}

#[test]
fn wrong_usage_is_code_2() {
    let bench = Bench::new();
    let out = bench.arg("out/m.kiln");
    for (args, word) in [
        (&[][..], "Usage"),
        (&["bake"], "bake"),
        (&["compile", "m"], "--output"),
        (&["compile", "m", "-o", &out, "--target", "gpu"], "gpu"),
        (&["compile", "m", "-o", &out, "--dtype", "f8"], "f8"),
        (&["compile", "m", "-o", &out, "--max-seq=-1"], "-1"),
        (&["compile", "m", "-o", &out, "--numerics", "wild"], "exact, reassociates or fast"),
        (&["generate", "m"], "--prompt"),
        (&["generate", "m", "--input-ids", "1,x"], "`x` is not a token id"),
        (&["generate", "m", "--prompt", "a", "--input-ids", "1"], "cannot be used with"),
        (&["generate", "m", "--prompt", "a", "--early-stopping", "soon"], "true, false or never"),
        (&["generate", "m", "--prompt", "a", "--exponential-decay-length-penalty", "3"], "START,FACTOR"),
        (&["generate", "m", "--prompt", "a", "--system", "b"], "--chat"),
        (&["generate", "m", "--chat"], "--prompt"),
        (&["generate", "m", "--chat", "--input-ids", "1"], "cannot be used with"),
        (&["generate", "m", "--chat", "--prompt", "a", "--messages", "f"], "cannot be used with"),
        (&["run", "m", "-o", &out], "--inputs"),
        (&["inspect"], "<ARTIFACT>"),
    ] {
        bench.ends(2, args, &[word]);
    }
    assert!(bench.works(&["--version"]).starts_with("kiln "));
}

#[test]
fn passes_run_on_a_text() {
    let bench = Bench::new();
    let file = bench.arg("m.kir");
    let text = "entry @f(\n  %0: f32[4] input \"x\"\n) {\n  %1: f32[4] = sigmoid %0\n  %2: f32[4] = mul %0, %1\n  return \"y\" %2\n}\n";
    std::fs::write(&file, text).expect("writes");
    assert_eq!(bench.works(&["opt", &file, "--passes", "verify"]), text);
    let silu = "entry @f(\n  %0: f32[4] input \"x\"\n) {\n  %1: f32[4] = silu %0\n  return \"y\" %1\n}\n";
    assert_eq!(bench.works(&["opt", &file]), silu);
    assert!(bench.works(&["opt", &file, "--passes", "egraph, lower"]).contains("map (neg exp add div): input"));
    let json = bench.json(&["opt", &file, "--passes", "egraph(silu)", "--json"]);
    assert_eq!(json["module"], silu);
    assert_eq!(json["passes"][0]["rules"], json!({ "silu": 1 }));
    assert_eq!((&json["passes"][0]["nodes_before"], &json["passes"][0]["nodes_after"]), (&json!(3), &json!(2)));
    let stats = bench.kiln(&["opt", &file, "--passes", "egraph(silu)", "--stats"]);
    let stats = String::from_utf8_lossy(&stats.stderr).to_string();
    assert!(stats.contains("egraph(silu)") && stats.contains("3 -> 2"), "{stats}");
    bench.fails(&["opt", &file, "--passes", "bake"], &["there is no pass `bake`", "egraph"]);
    std::fs::write(&file, text.replace("sigmoid", "sigma")).expect("writes");
    bench.fails(&["opt", &file], &["line 4: unknown op `sigma`"]);
    bench.fails(&["opt", &bench.arg("none.kir")], &["cannot read", "none.kir"]);
}

#[test]
fn bad_checkpoints_are_named() {
    let bench = Bench::new();
    let whole = std::fs::read(golden("llama").join("model.safetensors")).expect("reads");

    let folder = bench.model("truncated");
    for len in [whole.len() - 1, whole.len() / 2, 100, 7, 0] {
        std::fs::write(folder.join("model.safetensors"), &whole[..len]).expect("writes");
        bench.refuses(&folder, &["model.safetensors", "truncated or corrupt"]);
    }
    for (at, byte) in [(0, 0xff), (7, 0x7f), (8, b'?'), (40, 0xff)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        std::fs::write(folder.join("model.safetensors"), bytes).expect("writes");
        bench.refuses(&folder, &["model.safetensors"]);
    }
    std::fs::remove_file(folder.join("model.safetensors")).expect("removes");
    bench.refuses(&folder, &["model.safetensors"]);

    let header_len = u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    let header = std::str::from_utf8(&whole[8..8 + header_len]).expect("UTF-8");
    let with_header = |header: &str| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(&whole[8 + header_len..]);
        bytes
    };
    let folder = bench.model("dtype");
    let bytes = with_header(&header.replacen("\"F32\"", "\"F99\"", 1));
    std::fs::write(folder.join("model.safetensors"), bytes).expect("writes");
    bench.refuses(&folder, &["F99"]);

    let folder = bench.model("tensor");
    let bytes = with_header(&header.replace("model.norm.weight", "model.mron.weight"));
    std::fs::write(folder.join("model.safetensors"), bytes).expect("writes");
    bench.refuses(&folder, &["checkpoint lacks `model.norm.weight`"]);

    let folder = bench.model("shards");
    std::fs::rename(folder.join("model.safetensors"), folder.join("model-00001-of-00002.safetensors"))
        .expect("renames");
    let index = json!({ "weight_map": {
        "model.norm.weight": "model-00001-of-00002.safetensors",
        "lm_head.weight": "model-00002-of-00002.safetensors",
    } });
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("writes");
    bench.refuses(&folder, &["model-00002-of-00002.safetensors is missing"]);

    let gguf = bench.path("m.gguf");
    for bytes in [&b""[..], b"GGU", b"GGUF", b"GGUF\x03\0\0\0\x0c\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"] {
        std::fs::write(&gguf, bytes).expect("writes");
        bench.refuses(&gguf, &["m.gguf", "GGUF"]);
    }
    bench.refuses(&bench.path("nothing"), &["no model", "nothing"]);
}

/// Every verb that opens a model takes the file that `--gguf-file` names.
#[test]
fn the_gguf_file_that_is_named_is_taken() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("m")).expect("a folder");
    for name in ["a.gguf", "b.gguf"] {
        std::fs::write(bench.path("m").join(name), "no GGUF").expect("writes");
    }
    let (model, kiln, svg) = (bench.arg("m"), bench.arg("out/m.kiln"), bench.arg("out/m.svg"));
    let (inputs, tensors) = (golden("llama").join("golden.safetensors"), bench.arg("out/o.safetensors"));
    let inputs = inputs.to_str().expect("UTF-8");
    let verbs: [&[&str]; 12] = [
        &["compile", &model, "-o", &kiln],
        &["generate", &model, "--input-ids", "1"],
        &["pipeline", "fill-mask", "--model", &model, "--input", "a"],
        &["run", &model, "--inputs", inputs, "-o", &tensors],
        &["verify", &model],
        &["bench", &model],
        &["bench", &model, "--profile"],
        &["bench", &model, "--costs"],
        &["bench", &model, "--rules"],
        &["explain", &model],
        &["graph", &model, "-o", &svg],
        &["bisect", &model],
    ];
    for verb in verbs {
        bench.fails(verb, &["--gguf-file", "a.gguf, b.gguf", "found nothing"]);
        bench.fails(&[verb, &["--gguf-file", "b.gguf"]].concat(), &["b.gguf is not a sound GGUF file"]);
    }
}

#[test]
fn bad_configs_are_named() {
    let bench = Bench::new();
    let folder = bench.model("m");
    let text = std::fs::read(golden("llama").join("config.json")).expect("reads");
    let config: Value = serde_json::from_slice(&text).expect("JSON");
    let with = |key: &str, value: Value| {
        let mut config = config.clone();
        config[key] = value;
        std::fs::write(folder.join("config.json"), config.to_string()).expect("writes");
    };
    with("model_type", json!("mamba"));
    bench.refuses(&folder, &["unknown architecture model_type `mamba`", "llama"]);
    with("intermediate_size", json!(192));
    bench.refuses(&folder, &["gate_proj.weight", "config says [192, 64], the checkpoint has [176, 64]"]);
    with("vocab_size", json!(385));
    bench.refuses(&folder, &["[385, 64]"]);
    let sizes = [
        "hidden_size",
        "vocab_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
    ];
    for key in sizes {
        for value in [json!(1e15), json!(1_000_000_000_000_000_u64), json!(-1), json!(0), json!("many"), json!(1.5)] {
            with(key, value);
            bench.refuses(&folder, &[key]);
        }
    }
    with("rms_norm_eps", json!(-1));
    bench.refuses(&folder, &["rms_norm_eps"]);
    for text in ["", "{", "[1, 2]", "\u{0}"] {
        std::fs::write(folder.join("config.json"), text).expect("writes");
        bench.refuses(&folder, &[]);
    }
    std::fs::write(folder.join("config.json"), "{ \"model_type\": ").expect("writes");
    bench.refuses(&folder, &["config.json", "not valid JSON"]);

    let out = bench.arg("out/m.kiln");
    for max_seq in ["0", "1000000000000000"] {
        bench.fails(&["compile", &llama(), "-o", &out, "--max-seq", max_seq], &["max-seq", max_seq]);
    }
    for file in ["tokenizer.json", "generation_config.json"] {
        let folder = bench.model(file);
        for text in ["{ \"model\": { \"type\": \"BPE\", ", "{ \"eos_token_id\": \"none\" }"] {
            std::fs::write(folder.join(file), text).expect("writes");
            bench.refuses(&folder, &[file]);
        }
    }
}

/// The artifact, with another manifest.
fn with_manifest(artifact: &Path, out: &Path, change: impl Fn(&mut Manifest)) {
    let old = Artifact::open(artifact, &OpenOptions::default()).expect("opens");
    let mut manifest = old.manifest().clone();
    change(&mut manifest);
    let mut new = ArtifactWriter::create(out).expect("creates");
    for s in old.sections() {
        match s.name == Section::Manifest.name() {
            true => new.manifest(&manifest).expect("writes"),
            false => new.named_section(&s.name, old.named_section(&s.name).expect("there")).expect("writes"),
        }
    }
    new.finish().expect("finishes");
}

#[test]
fn damaged_artifacts_are_refused() {
    let bench = Bench::new();
    let artifact = bench.artifact();
    let whole = std::fs::read(&artifact).expect("reads");
    let (damaged, ids) = (bench.arg("d.kiln"), ["--input-ids", "1,2", "--max-new-tokens", "1"]);
    let generate = [&["generate", &damaged][..], &ids].concat();
    let sections = Artifact::open(&artifact, &OpenOptions::default()).expect("opens").sections().to_vec();

    // In every section, in the header and its table, in the padding, and spread over the file.
    let within = sections.iter().flat_map(|s| [s.offset, s.offset + s.size / 2, s.offset + s.size - 1]);
    let header = [0, 7, 8, 12, 16, 24, 31, 40, 64, 100, 130, 4095].into_iter();
    let padding = sections.iter().map(|s| s.offset + s.size).filter(|at| at % 4096 != 0 && *at < whole.len() as u64);
    let spread = (0..24).map(|i| i * (whole.len() as u64 - 1) / 23);
    let places: Vec<u64> = within.chain(header).chain(padding).chain(spread).collect();
    assert!(places.len() > 60, "{}", places.len());
    let change = |at: u64| {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 1 << (at % 8);
        std::fs::write(&damaged, bytes).expect("writes");
    };
    for at in places {
        change(at);
        bench.fails(&generate, &["d.kiln"]);
    }
    let weights = sections.iter().find(|s| s.name == Section::Weights.name()).expect("weights");
    change(weights.offset + weights.size / 2);
    bench.fails(&generate, &["section `weights`", "checksum"]);
    bench.works(&[&generate[..], &["--trust-weights"]].concat());
    let image = sections.iter().find(|s| s.name == Section::Image.name()).expect("an image");
    change(image.offset + image.size / 2);
    bench.fails(&[&generate[..], &["--trust-weights"]].concat(), &["section `image`", "checksum"]);

    for len in [0, 1, 8, 4095, 4096, 5000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&damaged, &whole[..len]).expect("writes");
        bench.fails(&generate, &["d.kiln"]);
        bench.fails(&["inspect", &damaged], &["d.kiln"]);
    }
    std::fs::write(&damaged, [&whole[..], &[0]].concat()).expect("writes");
    bench.fails(&generate, &["length of the file"]);
    std::fs::remove_file(&damaged).expect("removes");
    bench.fails(&generate, &["cannot open", "d.kiln"]);
    std::fs::create_dir(&damaged).expect("a folder");
    bench.fails(&generate, &["d.kiln", "not a regular file"]);

    let other = bench.path("other.kiln");
    let ask = [&["generate", other.to_str().expect("UTF-8")][..], &ids].concat();
    with_manifest(Path::new(&artifact), &other, |_| ());
    bench.works(&ask);
    with_manifest(Path::new(&artifact), &other, |m| cpu(m).features.push("avx9000".into()));
    bench.fails(&ask, &["avx9000"]);
    with_manifest(Path::new(&artifact), &other, |m| cpu(m).triple = "riscv64-unknown-linux-gnu".into());
    bench.fails(&ask, &["riscv64"]);
}

/// The target of an artifact's only build.
fn cpu(manifest: &mut Manifest) -> &mut CpuSpec {
    match &mut manifest.builds[0].target {
        TargetSpec::Cpu(cpu) => cpu,
        TargetSpec::Cuda(_) => panic!("a CPU's artifact"),
    }
}

/// A safetensors file of one tensor of zeros.
fn zeros(path: &Path, name: &str, dtype: safetensors::Dtype, shape: &[usize]) {
    let size = dtype.bitsize() / 8;
    let data = vec![0; shape.iter().product::<usize>() * size];
    let view = safetensors::tensor::TensorView::new(dtype, shape.to_vec(), &data).expect("a view");
    std::fs::write(path, safetensors::serialize([(name, view)], None).expect("serialises")).expect("writes");
}

#[test]
fn bad_requests_are_refused() {
    use safetensors::Dtype::{F32, I64};
    let bench = Bench::new();
    let artifact = bench.artifact();
    let generate = |ids: &str, more: &[&str], words: &[&str]| {
        bench.fails(&[&["generate", &artifact, "--input-ids", ids][..], more].concat(), words);
    };
    generate(&["1"; 300].join(","), &[], &["300 tokens", "context of 256"]);
    generate("1,384", &[], &["384", "position 1"]);
    generate("1,4294967295", &[], &["4294967295"]);
    generate("1", &["--temperature=-1", "--do-sample"], &["temperature"]);
    generate("1", &["--max-new-tokens", "0"], &["max_new_tokens"]);
    generate("1", &["--num-beams", "65"], &["1 prompts with 65 rows", "at most 64"]);
    generate("1", &["--num-beams", "3", "--num-return-sequences", "4"], &["num_return_sequences", "4, with 3 beams"]);
    generate("1", &["--bad-words-ids", "5,384"], &["bad_words_ids", "384"]);
    generate("1", &["--generation-config", "nowhere.json"], &["cannot read nowhere.json"]);
    std::fs::write(bench.path("g.json"), r#"{"guidance_scale": 2.0}"#).expect("writes");
    generate("1", &["--generation-config", &bench.arg("g.json")], &["guidance_scale", "not supported"]);
    bench.fails(&["generate", &artifact, "--prompt", "text"], &["no", "--input-ids"]);
    bench.fails(&["generate", &artifact, "--chat", "--prompt", "text"], &["tokenizer", "--input-ids"]);
    bench.fails(&["compile", &artifact, "-o", &bench.arg("out/m.kiln")], &["compiled already"]);
    bench.fails(&["verify", &artifact], &["not an artifact"]);

    // Who calls the library has functions and fields instead.
    let model = AutoModelForCausalLM::from_artifact(Path::new(&artifact), &LoadOptions::default()).expect("loads");
    let chat = Chat::new().with_message("user", "text");
    let too_long = PretrainedOptions { max_seq: Some(0), ..PretrainedOptions::default() };
    let from_pretrained = AutoModelForCausalLM::from_pretrained_with(&llama(), &too_long);
    let gpu = CompileOptions { target: kiln::target::find("cuda:a100").expect("known"), ..CompileOptions::default() };
    for (error, word) in [
        (model.generate("text", model.generation_config(), |_| ()).err(), "`generate_ids`"),
        (model.chat(&chat, model.generation_config(), |_| ()).err(), "no chat template"),
        (from_pretrained.err(), "option `max_seq`: expected a length from 1"),
        (kiln::lab::build(&kiln_ir::Module::default(), &gpu).err(), "GPU `a100`"),
    ] {
        let error = error.expect("refused").to_string();
        assert!(error.contains(word) && !error.contains("--"), "`{word}`: {error}");
    }

    let (inputs, out) = (bench.path("in.safetensors"), bench.arg("out/o.safetensors"));
    let run = |more: &[&str], words: &[&str]| {
        let inputs = inputs.to_str().expect("UTF-8");
        bench.fails(&[&["run", &artifact, "--inputs", inputs][..], more].concat(), words);
    };
    let to_out = ["-o", &out];
    run(&to_out, &["in.safetensors"]);
    std::fs::write(&inputs, "nonsense").expect("writes");
    run(&to_out, &["in.safetensors"]);
    zeros(&inputs, "position_ids", I64, &[1, 3]);
    run(&to_out, &["input_ids"]);
    zeros(&inputs, "input_ids", F32, &[1, 3]);
    run(&to_out, &["input_ids", "i64", "f32"]);
    for shape in [&[3][..], &[1, 3, 1], &[1, 100_000], &[0, 3], &[1, 0]] {
        zeros(&inputs, "input_ids", I64, shape);
        run(&to_out, &["input_ids"]);
    }
    zeros(&inputs, "input_ids", I64, &[1, 3]);
    run(&["--signature", "backward", "-o", &out], &["backward", "forward"]);
    run(&["-o", &bench.arg("nowhere/o.safetensors")], &["nowhere"]);
    bench.fails(&["compile", &llama(), "-o", &bench.arg("nowhere/m.kiln")], &["nowhere"]);
    bench.fails(&["compile", &llama(), "-o", &bench.arg("out")], &["out"]);
}
