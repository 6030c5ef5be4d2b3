//! The decoder families, traced and evaluated by the interpreter, against what transformers computes.

use crate::support::decoder::*;
use kiln_ir::interp::{Tensor, relative_error};
use kiln_models::Task;
use kiln_models::auto::{TraceOptions, trace};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn forward_gives_transformers_logits_at_every_position() {
    for name in GOLDENS {
        let want = golden(name);
        let got = Model::golden(name).forward(&want["in.input_ids"], &want["in.attention_mask"]);
        let error = relative_error(&got, &want["out.logits"]);
        assert!(error < 1e-4, "{name}: {error:e}");
    }
}

/// The sequences of `step` with `choose`, which gets a row's logits, its tokens so far, and how many of them are padding; 24 new tokens,
/// pads after the end token.
fn generate(name: &str, choose: fn(Vec<f32>, &[i64], usize) -> i64) -> Vec<Vec<i64>> {
    let (model, inputs) = (Model::golden(name), golden(name));
    let prompts = rows_of(&inputs["in.input_ids"]);
    let padded = |mask: &Vec<i64>| mask.iter().filter(|x| **x == 0).count();
    let padding: Vec<usize> = rows_of(&inputs["in.attention_mask"]).iter().map(padded).collect();
    let mut starts: Vec<i64> = padding.iter().map(|n| -(*n as i64)).collect();
    let (eos, pad) = (model.config["eos_token_id"].as_i64(), model.config["pad_token_id"].as_i64());
    let mut cache = model.empty_cache(2, 48);
    let mut done = [false; 2];
    let (mut sequences, mut next) = (prompts.clone(), prompts);
    for _ in 0..24 {
        let logits = model.step(&next, &[1, 0], &starts, &mut cache);
        starts.iter_mut().zip(&next).for_each(|(start, ids)| *start += ids.len() as i64);
        next = vec![];
        for (row, logits) in logits.to_f32_vec().chunks(logits.shape()[1]).enumerate() {
            let best = choose(logits.to_vec(), &sequences[row], padding[row]);
            let id = if done[row] { pad.expect("a pad token") } else { best };
            done[row] |= Some(id) == eos;
            sequences[row].push(id);
            next.push(vec![id]);
        }
    }
    sequences
}

fn argmax(row: &[f32]) -> i64 {
    let best = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (0..row.len()).fold(0, best) as i64
}

fn expected(name: &str, key: &str) -> Value {
    let text = std::fs::read(crate::support::golden(name).join("golden.json")).expect(name);
    serde_json::from_slice::<Value>(&text).expect(name)[key].clone()
}

#[test]
fn steps_generate_what_transformers_generates() {
    for name in GOLDENS {
        let greedy = generate(name, |logits, _, _| argmax(&logits));
        assert_eq!(json!(greedy), expected(name, "greedy"), "{name}");
    }
}

#[test]
fn penalised_steps_generate_what_transformers_generates() {
    for name in GOLDENS {
        // `repetition_penalty` 1.3, which leaves padding out, and `no_repeat_ngram_size` 2, which does not.
        let penalised = generate(name, |mut logits, ids, padding| {
            for id in ids[padding..].iter().collect::<BTreeSet<_>>() {
                let logit = &mut logits[*id as usize];
                *logit = if *logit < 0.0 { *logit * 1.3 } else { *logit / 1.3 };
            }
            for pair in ids.windows(2).filter(|pair| Some(&pair[0]) == ids.last()) {
                logits[pair[1] as usize] = f32::NEG_INFINITY;
            }
            argmax(&logits)
        });
        assert_eq!(json!(penalised), expected(name, "penalised"), "{name}");
    }
}

#[test]
fn a_prompt_in_parts_and_rows_alone_give_the_same_logits() {
    for name in GOLDENS {
        let (model, inputs) = (Model::golden(name), golden(name));
        let prompts = rows_of(&inputs["in.input_ids"]);
        let both = model.step(&prompts, &[0, 1], &[0, -5], &mut model.empty_cache(2, 17));

        let mut cache = model.empty_cache(5, 30);
        let part =
            |range: std::ops::Range<usize>| prompts.iter().map(|p| p[range.clone()].to_vec()).collect::<Vec<_>>();
        model.step(&part(0..3), &[4, 2], &[0, -5], &mut cache);
        model.step(&part(3..10), &[4, 2], &[3, -2], &mut cache);
        let parts = model.step(&part(10..17), &[4, 2], &[10, 5], &mut cache);
        let error = relative_error(&parts, &both);
        assert!(error < 1e-5, "{name}: {error:e}");

        let alone = model.step(&[prompts[1][5..].to_vec()], &[0], &[0], &mut model.empty_cache(1, 12));
        let error = relative_error(&alone, &Tensor::from_f32([1, 384], &both.to_f32_vec()[384..]).expect("fits"));
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn the_body_alone_gives_what_the_head_reads() {
    for name in GOLDENS {
        let (model, inputs) = (Model::golden(name), golden(name));
        let mut body = Model::golden(name);
        body.traced = trace(Some(Task::Base), &body.config, &body.checkpoint, &TraceOptions::default()).expect(name);
        assert_eq!(body.traced.unused_tensors, [""; 0], "{name}: the head is no part of the body");
        assert!(body.traced.module.find("step").is_none(), "{name}");
        let (ids, mask) = (&inputs["in.input_ids"], &inputs["in.attention_mask"]);
        let hidden = body.whole("last_hidden_state", ids, mask);
        assert_eq!(hidden.shape(), [2, 17, 64], "{name}");

        // The output projection, by hand.
        let tied = model.config["tie_word_embeddings"] == json!(true);
        let ends = if tied { ["embed_tokens.weight", "wte.weight"] } else { ["lm_head.weight", "embed_out.weight"] };
        let head = model.checkpoint.names().find(|n| ends.iter().any(|end| n.ends_with(end))).expect(name).to_string();
        let head = model.parameter(&head).to_f64_vec();
        let cap = model.config["final_logit_softcapping"].as_f64();
        let logit = |x: &[f64], row: &[f64]| -> f32 {
            let y: f64 = x.iter().zip(row).map(|(a, b)| a * b).sum();
            cap.map_or(y, |cap| (y / cap).tanh() * cap) as f32
        };
        let states = hidden.to_f64_vec();
        let logits: Vec<f32> = states.chunks(64).flat_map(|x| head.chunks(64).map(move |row| logit(x, row))).collect();
        let error = relative_error(&Tensor::from_f32([2, 17, 384], &logits).expect("fits"), &inputs["out.logits"]);
        assert!(error < 1e-4, "{name}: {error:e}");
    }
}
