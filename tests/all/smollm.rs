//! The default model, SmolLM2-135M-Instruct, through the whole road, against what transformers computes on the same weights.

use crate::{golden, options};
use kiln::Chat;
use kiln::lab::{self, verify};
use kiln::{HubOptions, LoadOptions, Model, ModelFiles, Session, SessionOptions, compile, fetch_default_model};
use kiln_ir::interp::{Tensor, relative_error};
use kiln_runtime::generate::{GenerationConfig, Prompt, Request, generate};
use kiln_runtime::{CacheOptions, CausalSession};
use serde_json::Value;
use std::{ops::ControlFlow, sync::Arc};

fn ids(v: &Value) -> Vec<u32> {
    v.as_array().expect("ids").iter().map(|i| i.as_u64().expect("an id") as u32).collect()
}

/// New ids of a batch of prompts, greedily; no end token, as the goldens were made where they say so.
fn continue_greedily(model: &Arc<Model>, prompts: &[Prompt], new: usize) -> Vec<Vec<u32>> {
    search(model, prompts, new, 1)
}

/// New ids of a batch of prompts, by so many beams.
fn search(model: &Arc<Model>, prompts: &[Prompt], new: usize, num_beams: usize) -> Vec<Vec<u32>> {
    let own = model.artifact().generation_config().expect("a generation config");
    let config =
        GenerationConfig { max_new_tokens: Some(new), do_sample: Some(false), num_beams: Some(num_beams), ..own };
    let cache = CacheOptions { rows: prompts.len() * num_beams, context: Some(256), ..CacheOptions::default() };
    let mut session = CausalSession::new(model, &cache).expect("a session");
    let out = generate(&mut session, Request::new(prompts, &config), |_| ControlFlow::Continue(())).expect("generates");
    out.rows.into_iter().map(|r| r.token_ids).collect()
}

/// Equal ids, up to the step where the golden's two best tokens are so close that another order of summation may choose the other.
fn assert_ids(name: &str, got: &[u32], want: &[u32], case: &Value) {
    let close = case["min_top2_gap"].as_f64().is_some_and(|gap| gap < 1e-2);
    let until = if close { case["argmin_gap_step"].as_u64().map_or(want.len(), |s| s as usize) } else { want.len() };
    assert_eq!(got[..until.min(got.len())], want[..until], "{name}");
}

#[test]
fn smollm2_writes_what_transformers_writes() {
    let files = ModelFiles::resolve(&fetch_default_model(&HubOptions::from_env()).expect("the model")).expect("opens");
    let temp = tempfile::tempdir().expect("a folder");
    let path = temp.path().join("smollm2.kiln");
    compile(&files, &path, &options()).expect("compiles");
    let model = Model::open(&path, &LoadOptions::default()).expect("loads");
    let text = std::fs::read(golden("smollm2-135m-instruct.json")).expect("the golden");
    let expected: Value = serde_json::from_slice(&text).expect("JSON");
    let tensors = verify::read_tensors(&golden("smollm2-135m-instruct.safetensors"), "").expect("tensors");
    let tensor = |name: &str| tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t).expect(name);

    // Logits of whole prompts.
    let mut session = Session::new(&model, &SessionOptions::default()).expect("a session");
    let mut logits = |input: &Tensor| {
        let input = input.reshaped(vec![1, input.len()]).expect("a row");
        verify::call(&mut session, "forward", &[("input_ids".into(), input)]).expect("runs").remove(0).1
    };
    let flat = |t: &Tensor| t.reshaped(vec![t.len()]).expect("a row");
    let cake = logits(tensor("cake.input_ids"));
    let error = relative_error(&flat(&cake), &flat(tensor("cake.logits")));
    assert!(error < 1e-4, "cake: logits are off by {error:.2e}");
    for case in ["france", "digits", "code"] {
        let all = logits(tensor(&format!("{case}.input_ids"))).to_f32_vec();
        let want = flat(tensor(&format!("{case}.last_logits")));
        let last = Tensor::from_f32([want.len()], &all[all.len() - want.len()..]).expect("a row");
        let error = relative_error(&last, &want);
        assert!(error < 1e-4, "{case}: logits are off by {error:.2e}");
    }

    // The interpreter, on seven tokens.
    let traced = lab::trace(&files, &options()).expect("traces");
    let seven = tensor("code.input_ids").reshaped(vec![1, 7]).expect("seven tokens");
    let inputs = vec![("input_ids".to_string(), seven.clone())];
    let want = verify::interpret(&traced.module, "forward", &files.checkpoint, &inputs, &[]).expect("evaluates");
    let error = relative_error(&logits(&seven), &want[0].1);
    assert!(error < 1e-4, "the interpreter: logits are off by {error:.2e}");

    // Text.
    let tokenizer = model.artifact().tokenizer().expect("parses").expect("there");
    for case in expected["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let prompt = tokenizer.encode(case["prompt"].as_str().expect("a prompt"), true).expect("encodes");
        assert_eq!(prompt, ids(&case["input_ids"]), "{name}: prompt");
        let got = continue_greedily(&model, &[Prompt::new(prompt)], 48).remove(0);
        assert_ids(name, &got, &ids(&case["new_ids"]), case);
    }
    let cake = Prompt::new(ids(&expected["cases"][0]["input_ids"]));
    assert_eq!(search(&model, &[cake], 16, 4), [ids(&expected["cake_beam4_16"])], "beams");

    // A chat, through the library and by the command.
    let chat = &expected["chat"];
    let question = chat["messages"][0]["content"].as_str().expect("a message");
    let templates = model.artifact().chat_templates().expect("parses").expect("there");
    let prompt = templates.apply(&Chat::from_json(chat["messages"].to_string().as_bytes()).expect("messages"), true);
    assert_eq!(prompt.as_deref().ok(), chat["rendered"].as_str());
    let prompt = tokenizer.encode(&prompt.expect("renders"), false).expect("encodes");
    assert_eq!(prompt, ids(&chat["input_ids"]), "chat: prompt");
    assert_eq!(continue_greedily(&model, &[Prompt::new(prompt)], 48), [ids(&chat["new_ids"])], "chat");
    let mut command = crate::kiln(temp.path());
    command.arg("generate").arg(&path).args(["--chat", "--prompt", question, "--max-new-tokens", "48", "--json"]);
    let output = command.output().expect("kiln runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(answer["token_ids"], chat["new_ids"]);
    assert_eq!(
        Some(answer["text"].as_str().expect("a text")),
        chat["new_text"].as_str().map(|t| t.trim_end_matches("<|im_end|>"))
    );

    for case in expected["tokenizer_cases"].as_array().expect("cases") {
        let text = case["text"].as_str().expect("a text");
        assert_eq!(tokenizer.encode(text, true).expect("encodes"), ids(&case["ids"]), "{text:?}");
    }

    // A batch padded on the left equals its rows alone.
    let batch = &expected["left_padded_batch"];
    let rows =
        batch["input_ids"].as_array().expect("rows").iter().zip(batch["attention_mask"].as_array().expect("masks"));
    let prompts: Vec<Prompt> = rows
        .enumerate()
        .map(|(i, (row, mask))| {
            let mask: Vec<i64> = ids(mask).into_iter().map(i64::from).collect();
            Prompt::masked(i, ids(row), &mask).expect("padded on the left")
        })
        .collect();
    let together = continue_greedily(&model, &prompts, 16);
    for (i, row) in together.iter().enumerate() {
        assert_eq!(*row, ids(&batch["new_ids"][i]), "row {i} of the padded batch");
        let alone = Prompt::new(prompts[i].tokens().to_vec());
        assert_eq!(continue_greedily(&model, &[alone], 16), std::slice::from_ref(row), "row {i} alone");
    }
}
