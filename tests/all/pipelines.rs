//! Pipelines and Auto classes, on goldens that get a tiny tokenizer: their answers against the logits of `forward`.

use crate::{golden, options};
use kiln::models::Task;
use kiln::runtime::text::Tokenizer;
use kiln::{
    AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification,
    AutoTokenizer, CompileOptions, ModelFiles, Pipeline, PipelineOptions, Pretrained, PretrainedOptions, Result,
    TensorView, compile, pipeline,
};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What the tokenizer knows beside `w5` to `w383`, its other words.
const WORDS: [(u32, &str); 12] = [
    (0, "[CLS]"),
    (1, "[PAD]"),
    (2, "[SEP]"),
    (3, "[UNK]"),
    (4, "[MASK]"),
    (10, "the"),
    (11, "cat"),
    (12, "##s"),
    (13, "sat"),
    (14, "on"),
    (15, "mat"),
    (16, "dog"),
];

/// A WordPiece tokenizer with the 384 tokens of the goldens.
fn tokenizer_json() -> Value {
    let word = |id: u32| WORDS.iter().find(|w| w.0 == id).map_or(format!("w{id}"), |w| w.1.to_string());
    let vocab: Map<String, Value> = (0..384).map(|id| (word(id), json!(id))).collect();
    let special = |id: u32| {
        json!({"id": id, "content": word(id), "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let token = |name: &str, kind: &str, segment: u32| json!({kind: {"id": name, "type_id": segment}});
    let (cls, sep) = (|| token("[CLS]", "SpecialToken", 0), |segment| token("[SEP]", "SpecialToken", segment));
    let (a, b) = (|| token("A", "Sequence", 0), || token("B", "Sequence", 1));
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0..5).map(special).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [cls(), a(), sep(0)],
            "pair": [cls(), a(), sep(0), b(), sep(1)],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}
            }
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab}
    })
}

/// A golden with a tokenizer, as a folder and as an artifact.
pub struct Fixture {
    folder: tempfile::TempDir,
    pub artifact: String,
}

impl Fixture {
    pub fn new(name: &str, task: Task) -> Self {
        Self::of(Self::folder(name), task)
    }

    /// Of a golden's copy that was changed.
    pub fn of(folder: tempfile::TempDir, task: Task) -> Self {
        let files = ModelFiles::open_folder(folder.path()).expect("opens");
        let artifact = folder.path().join("model.kiln");
        compile(&files, &artifact, &CompileOptions { task: Some(task), ..options() }).expect("compiles");
        Fixture { artifact: text(&artifact), folder }
    }

    /// A copy of the golden, with tokenizer.
    pub fn folder(name: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(golden(name).join(file), folder.path().join(file)).expect("copies");
        }
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer_json().to_string()).expect("writes");
        folder
    }

    fn pipeline(&self, task: &str) -> Pipeline {
        pipeline(task, &self.artifact).expect("loads")
    }

    fn tokenizer(&self) -> Tokenizer {
        AutoTokenizer::from_pretrained(&self.artifact).expect("a tokenizer")
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_string()
}

/// Logits of one sequence alone, with the type ids.
fn logits(model: &Pretrained, ids: &[i64], type_ids: &[i64], field: &str) -> Vec<f32> {
    let shape = [1, ids.len()];
    let inputs = [("input_ids", TensorView::new(&shape, ids)), ("token_type_ids", TensorView::new(&shape, type_ids))];
    model.forward(&inputs).expect("runs").get(field).expect("the field").to_f32_vec()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<i64> {
    tokenizer.encode(text, true).expect("encodes").into_iter().map(i64::from).collect()
}

/// Plain softmax in f64.
fn probabilities(logits: &[f32]) -> Vec<f64> {
    let exp: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
    exp.iter().map(|x| x / exp.iter().sum::<f64>()).collect()
}

fn highest(values: &[f64]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).expect("values")
}

fn near(got: &Value, want: f64) {
    let got = got.as_f64().expect("a number");
    assert!((got - want).abs() < 1e-5, "{got}, expected {want}");
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn text_classification() {
    let fixture = Fixture::new("bert-classify", Task::SequenceClassification);
    let classify = fixture.pipeline("sentiment-analysis");
    let model = AutoModelForSequenceClassification::from_pretrained(&fixture.artifact).expect("loads");
    assert_eq!((model.num_labels(), model.id2label()[2].as_str()), (3, "LABEL_2"));
    let (short, long) = ("the cat", "the cats sat on the mat w100 w101");
    let run = |input: Value, options: &PipelineOptions| classify.run(&input, options).expect("runs");
    let each = run(json!([short, long]), &PipelineOptions::default());
    for (text, got) in [short, long].into_iter().zip(each.as_array().expect("a list")) {
        let ids = ids(&fixture.tokenizer(), text);
        let want = probabilities(&logits(&model, &ids, &vec![0; ids.len()], "logits"));
        assert_eq!(got["label"], format!("LABEL_{}", highest(&want)));
        near(&got["score"], want[highest(&want)]);
        assert_eq!(run(json!(text), &PipelineOptions::default())[0]["label"], got["label"], "one text: a list of one");
    }
    let all = run(json!(short), &PipelineOptions { top_k: Some(9), ..PipelineOptions::default() });
    assert_eq!(all.as_array().expect("a list").len(), 3);
    near(
        &json!(all.as_array().expect("a list").iter().map(|c| c["score"].as_f64().expect("a score")).sum::<f64>()),
        1.0,
    );

    let pair = run(json!({"text": "the cat", "text_pair": "the dog"}), &PipelineOptions::default());
    let want = probabilities(&logits(&model, &[0, 10, 11, 2, 10, 16, 2], &[0, 0, 0, 0, 1, 1, 1], "logits"));
    near(&pair[0]["score"], want[highest(&want)]);

    // More than the model has positions for is cut: 256, special tokens included.
    let cut = run(json!("cat ".repeat(400)), &PipelineOptions::default());
    let ids = [&[0][..], &[11; 254], &[2]].concat();
    let want = probabilities(&logits(&model, &ids, &[0; 256], "logits"));
    near(&cut[0]["score"], want[highest(&want)]);

    let wrong = message(classify.run(&json!([7]), &PipelineOptions::default()));
    assert!(wrong.contains("text-classification: expected a text") && wrong.contains("found 7"), "{wrong}");
}

#[test]
fn token_classification() {
    let fixture = Fixture::new("bert-token", Task::TokenClassification);
    let ner = fixture.pipeline("ner");
    let model = AutoModelForTokenClassification::from_pretrained(&fixture.artifact).expect("loads");
    let sentence = "the cats sat, naïve";
    let all = ner.run(&json!(["the", sentence]), &PipelineOptions::default()).expect("runs");
    let want = logits(&model, &[0, 10, 11, 12, 13, 3, 3, 2], &[0; 8], "logits");
    let places = [("the", 0, 3), ("cat", 4, 7), ("##s", 7, 8), ("sat", 9, 12), (",", 12, 13), ("naïve", 14, 19)];
    let got = all[1].as_array().expect("a list");
    assert_eq!(got.len(), places.len());
    for (i, (got, (word, start, end))) in got.iter().zip(places).enumerate() {
        let scores = probabilities(&want[(i + 1) * 5..(i + 2) * 5]);
        near(&got["score"], scores[highest(&scores)]);
        let named = json!({"entity": format!("LABEL_{}", highest(&scores)), "index": i + 1, "word": word,
                           "start": start, "end": end, "score": got["score"]});
        assert_eq!(*got, named);
    }
    let aggregation_strategy = kiln::pipeline::AggregationStrategy::First;
    let options = PipelineOptions { aggregation_strategy, ..PipelineOptions::default() };
    let groups = ner.run(&json!("cats"), &options).expect("runs");
    let scores = probabilities(&logits(&model, &[0, 11, 12, 2], &[0; 4], "logits")[5..10]);
    let group = format!("LABEL_{}", highest(&scores));
    assert_eq!(
        groups,
        json!([{"entity_group": group, "word": "cats", "start": 0, "end": 4, "score": groups[0]["score"]}])
    );
    near(&groups[0]["score"], scores[highest(&scores)]);
    let ignored = PipelineOptions { ignore_labels: Some(vec![group]), ..options };
    assert_eq!(ner.run(&json!("cats"), &ignored).expect("runs"), json!([]));
}

#[test]
fn fill_mask() {
    let fixture = Fixture::new("bert-mlm", Task::MaskedLm);
    let fill = fixture.pipeline("fill-mask");
    let model = AutoModelForMaskedLM::from_pretrained(&fixture.artifact).expect("loads");
    let got = fill.run(&json!("the [MASK] sat"), &PipelineOptions::default()).expect("runs");
    let want = probabilities(&logits(&model, &[0, 10, 4, 13, 2], &[0; 5], "logits")[2 * 384..3 * 384]);
    assert_eq!(got.as_array().expect("a list").len(), 5);
    let token = highest(&want);
    near(&got[0]["score"], want[token]);
    assert_eq!(got[0]["token"], token);
    let word = fixture.tokenizer().decode(&[token as u32], false).expect("decodes");
    assert_eq!(got[0]["token_str"], word);

    let targets = Some(vec!["dog".to_string(), "mat".to_string()]);
    let chosen = fill.run(&json!("the [MASK] sat"), &PipelineOptions { targets, ..PipelineOptions::default() });
    let chosen = chosen.expect("runs");
    let mut order = [("dog", want[16]), ("mat", want[15])];
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (got, (word, score)) in chosen.as_array().expect("a list").iter().zip(order) {
        assert_eq!((&got["token_str"], &got["sequence"]), (&json!(word), &json!(format!("the {word} sat"))));
        near(&got["score"], score);
    }
    let two = fill.run(&json!("[MASK] cat [MASK]"), &PipelineOptions::default()).expect("runs");
    assert_eq!(two.as_array().map(Vec::len), Some(2), "a list for each mask");
    let wrong = message(fill.run(&json!("the cat"), &PipelineOptions::default()));
    assert!(wrong.contains("fill-mask: expected `[MASK]`") && wrong.contains("the cat"), "{wrong}");
}

#[test]
fn feature_extraction() {
    let fixture = Fixture::new("bert-mlm", Task::Base);
    let extract = fixture.pipeline("feature-extraction");
    let model = kiln::AutoModel::from_pretrained(&fixture.artifact).expect("loads");
    let got = extract.run(&json!(["the cat sat", "the"]), &PipelineOptions::default()).expect("runs");
    for (got, ids) in got.as_array().expect("a list").iter().zip([&[0, 10, 11, 13, 2][..], &[0, 10, 2]]) {
        let want = logits(&model, ids, &vec![0; ids.len()], "last_hidden_state");
        let rows = got[0].as_array().expect("tokens");
        assert_eq!(rows.len(), ids.len());
        let flat = rows.iter().flat_map(|r| r.as_array().expect("a row"));
        flat.zip(want).for_each(|(got, want)| near(got, want.into()));
    }
}

#[test]
fn errors_say_what_is_missing() {
    let known = message(pipeline("summarization", "nowhere"));
    assert!(known.contains("no pipeline `summarization`") && known.contains("sentiment-analysis"), "{known}");

    let folder = Fixture::folder("bert-classify");
    let options = PretrainedOptions { emit: options().emit, ..PretrainedOptions::default() };
    let headless = message(AutoModelForMaskedLM::from_pretrained_with(&text(folder.path()), &options));
    assert!(headless.contains("no head for masked language modelling"), "{headless}");
    let config = AutoConfig::from_pretrained(&text(folder.path())).expect("a config");
    assert_eq!(config["model_type"], "bert");

    let fixture = Fixture::new("bert-classify", Task::SequenceClassification);
    let other = message(AutoModelForMaskedLM::from_pretrained(&fixture.artifact));
    assert!(other.contains("AutoModelForSequenceClassification, expected AutoModelForMaskedLM"), "{other}");
    let model = AutoModelForSequenceClassification::from_pretrained(&fixture.artifact).expect("loads");
    let ids = [0i64, 2];
    let output = model.forward(&[("input_ids", TensorView::new(&[1, 2], &ids))]).expect("runs");
    assert!(message(output.get("hidden")).contains("expected one of logits"));

    std::fs::remove_file(fixture.folder.path().join("tokenizer.json")).expect("removes");
    let mute: PathBuf = fixture.folder.path().join("mute.kiln");
    let files = ModelFiles::open_folder(fixture.folder.path()).expect("opens");
    compile(&files, &mute, &crate::options()).expect("compiles");
    let mute = message(pipeline("text-classification", &text(&mute)));
    assert!(mute.contains("no tokenizer.json"), "{mute}");
}

/// A classifier that says whether one text follows from another.
pub fn entailing() -> tempfile::TempDir {
    let folder = Fixture::folder("bert-classify");
    let config = folder.path().join("config.json");
    let named = std::fs::read_to_string(&config).expect("reads").replace(r#""2": "LABEL_2""#, r#""2": "ENTAILMENT""#);
    std::fs::write(&config, named).expect("writes");
    folder
}

#[test]
fn zero_shot_classification() {
    let fixture = Fixture::of(entailing(), Task::SequenceClassification);
    let zero_shot = fixture.pipeline("zero-shot-classification");
    let model = AutoModelForSequenceClassification::from_pretrained(&fixture.artifact).expect("loads");
    let pair = |label: i64| logits(&model, &[0, 10, 11, 2, 14, label, 2], &[0, 0, 0, 0, 1, 1, 1], "logits");
    let (dog, mat) = (pair(16), pair(15));
    let among = probabilities(&[dog[2], mat[2]]);
    let options = PipelineOptions {
        candidate_labels: vec!["dog".into(), "mat".into()],
        hypothesis_template: Some("on {}".into()),
        ..PipelineOptions::default()
    };
    let got = zero_shot.run(&json!("the cat"), &options).expect("runs");
    let (first, labels) = if among[0] >= among[1] { (0, ["dog", "mat"]) } else { (1, ["mat", "dog"]) };
    assert_eq!((&got["sequence"], &got["labels"]), (&json!("the cat"), &json!(labels)));
    near(&got["scores"][0], among[first]);
    near(&got["scores"][1], among[1 - first]);
    let each = zero_shot.run(&json!("the cat"), &PipelineOptions { multi_label: true, ..options.clone() });
    let each = each.expect("runs");
    for (label, score) in each["labels"].as_array().expect("labels").iter().zip(each["scores"].as_array().expect("s")) {
        let l = if label == "dog" { &dog } else { &mat };
        near(score, probabilities(&[l[0], l[2]])[1]);
    }
    let wrong = PipelineOptions { hypothesis_template: Some("on it".into()), ..options };
    assert!(message(zero_shot.run(&json!("the cat"), &wrong)).contains("expected `{}` in hypothesis_template"));

    let fixture = Fixture::new("bert-classify", Task::SequenceClassification);
    let labels = message(pipeline("zero-shot-classification", &fixture.artifact));
    assert!(labels.contains("LABEL_0, LABEL_1, LABEL_2: expected one that begins with `entail`"), "{labels}");
}

#[test]
fn the_command_prints_json() {
    let folder = Fixture::folder("bert-classify");
    let kiln = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"));
        let cache = folder.path().join("cache");
        let output = command.args(args).env("XDG_CACHE_HOME", cache).env("HF_HUB_OFFLINE", "1").output();
        let output = output.expect("kiln runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"), errors)
    };
    let model = text(folder.path());
    let (code, out, errors) = kiln(&[
        "pipeline",
        "text-classification",
        "--model",
        &model,
        "--input",
        "the cat",
        "--input",
        "a dog",
        "--json",
    ]);
    assert_eq!(code, Some(0), "{errors}");
    let results: Value = serde_json::from_str(&out).expect("one JSON value");
    assert_eq!(results.as_array().map(Vec::len), Some(2));
    assert!(results[0]["score"].is_number() && results[0]["label"].is_string(), "{results}");
    let lines = folder.path().join("inputs.jsonl");
    std::fs::write(&lines, "\"the cat\"\n{\"text\": \"a dog\"}\n").expect("writes");
    let (code, out, errors) = kiln(&["pipeline", "text-classification", "--model", &model, "--file", &text(&lines)]);
    assert_eq!(code, Some(0), "{errors}");
    let each: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(json!(each), results, "the same, one on a line");
    let (code, _, errors) = kiln(&["pipeline", "tell-fortunes", "--model", &model, "--input", "me"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no pipeline `tell-fortunes`") && errors.contains("fill-mask"), "{errors}");
    let (code, _, errors) = kiln(&["pipeline", "fill-mask", "--model", &model, "--input", "the [MASK]"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no head for masked language modelling"), "{errors}");
}

#[test]
fn text_generation() {
    let fixture = Fixture::new("llama", Task::CausalLm);
    let generate = fixture.pipeline("text-generation");
    let model = kiln::AutoModelForCausalLM::from_pretrained(&fixture.artifact).expect("loads");
    let config = kiln::GenerationConfig { max_new_tokens: Some(6), do_sample: Some(false), ..Default::default() };
    let greedy = model.generate("the cat", &config, |_| ()).expect("generates").rows.remove(0).text.expect("a text");
    let options = PipelineOptions { generation_config: Some(config), ..PipelineOptions::default() };
    let whole = json!([{"generated_text": format!("the cat{greedy}")}]);
    assert_eq!(generate.run(&json!("the cat"), &options).expect("runs"), whole);
    let new = PipelineOptions { only_new_text: true, ..options.clone() };
    let new = generate.run(&json!(["the cat", "the cat"]), &new).expect("runs");
    assert_eq!(new, json!([[{"generated_text": greedy}], [{"generated_text": greedy}]]));
    let wrong = message(generate.run(&json!([{"role": "user", "content": "Hello"}]), &options));
    assert!(wrong.contains("chat template"), "{wrong}");
}
