//! Beam search, against the same search written as plainly as transformers writes it.

use crate::toy::{Letters, Toy, config, counting, failure, hashed, ids, run};
use kiln_runtime::generate::{
    FinishReason, GenerateError, Generation, GenerationConfig, History, LogitsProcessor, Prompt, Request, TokenEvent,
    generate,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const UNWANTED: f32 = -1e9;

/// What transformers' `_beam_search` does for one prompt, with whole sequences where it has tensors and no cache. Gives the new tokens
/// of all beams, the best one first.
pub fn plainly(prompt: &[u32], vocab: usize, config: &GenerationConfig) -> Vec<(Vec<u32>, f32)> {
    let (beams, eos) = (config.num_beams(), config.eos_token_ids());
    let limit = config.max_new_tokens.unwrap();
    let penalty = config.length_penalty.unwrap_or(1.0);
    let early = serde_json::Value::from(config.early_stopping.unwrap_or_default());
    let keep = beams * 2usize.max(1 + eos.len());
    let mut running: Vec<(Vec<u32>, f32)> = vec![(prompt.to_vec(), UNWANTED); beams];
    running[0].1 = 0.0;
    let mut finished: Vec<(Vec<u32>, f32, bool)> = vec![(vec![], UNWANTED, false); beams];
    let mut improvable = true;
    for length in 1..=limit {
        let mut topk: Vec<(Vec<u32>, f32)> = vec![];
        for (ids, score) in &running {
            let mut logits = vec![0.0; vocab];
            hashed(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>(), &mut logits);
            let best = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = logits.iter().map(|l| f64::from((l - best).exp())).sum();
            for (id, logit) in logits.iter().enumerate() {
                topk.push(([ids.as_slice(), &[id as u32]].concat(), (logit - best) - sum.ln() as f32 + score));
            }
        }
        topk.sort_by(|a, b| b.1.total_cmp(&a.1));
        topk.truncate(keep);
        let hits: Vec<bool> =
            topk.iter().map(|(ids, _)| length == limit || eos.contains(ids.last().unwrap())).collect();
        let unwanted = |is: bool| if is { UNWANTED } else { 0.0 };
        let mut next: Vec<(Vec<u32>, f32)> =
            topk.iter().zip(&hits).map(|((ids, score), hit)| (ids.clone(), score + unwanted(*hit))).collect();
        next.sort_by(|a, b| b.1.total_cmp(&a.1));
        running = next[..beams].to_vec();
        let full = finished.iter().all(|f| f.2) && early == true;
        for (place, ((ids, score), hit)) in topk.iter().zip(&hits).enumerate() {
            let counts = *hit && place < beams;
            let score = score / (length as f64).powf(penalty) as f32
                + unwanted(full)
                + unwanted(!improvable)
                + unwanted(!counts);
            finished.push((ids[prompt.len()..].to_vec(), score, counts));
        }
        finished.sort_by(|a, b| b.1.total_cmp(&a.1));
        finished.truncate(beams);
        let hypothetical = if early == "never" && penalty > 0.0 { limit } else { length };
        let attainable = running[0].1 / (hypothetical as f64).powf(penalty) as f32;
        let worst = finished.iter().map(|f| f.1).fold(f32::MAX, f32::min);
        improvable &= finished.iter().any(|f| attainable > if f.2 { worst } else { UNWANTED });
        if !improvable || (finished.iter().all(|f| f.2) && early == true) || hits.iter().all(|h| *h) {
            break;
        }
    }
    finished.into_iter().map(|(ids, score, _)| (ids, score)).collect()
}

/// Prompts of 1, 6 and 3 tokens.
fn prompts() -> Vec<Prompt> {
    [1u32, 6, 3].iter().map(|&n| Prompt::new((0..n).map(|i| (i * 5 + n) % 32).collect::<Vec<_>>())).collect()
}

fn toy() -> Toy {
    Toy { rows: 12, slots: vec![Vec::new(); 12], sources: vec![Vec::new(); 12], ..Toy::new(hashed) }
}

#[test]
fn it_is_the_plain_search() {
    let mut ended = 0;
    for beams in [2, 3, 4] {
        for early in ["true", "false", r#""never""#] {
            for penalty in [-1.0, 0.0, 0.7, 1.0, 3.0] {
                for eos in ["[]", "[3]", "[3, 9, 17, 28, 30]", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]"] {
                    let options = config(&format!(
                        r#"{{"num_beams": {beams}, "early_stopping": {early}, "length_penalty": {penalty},
                            "eos_token_id": {eos}, "max_new_tokens": 8, "num_return_sequences": {beams}}}"#
                    ));
                    let mut model = toy();
                    let output = run(&mut model, &prompts(), &options);
                    for (index, prompt) in prompts().iter().enumerate() {
                        let want = plainly(&prompt.ids, 32, &options);
                        let got = &output.rows[index * beams..][..beams];
                        let tokens: Vec<_> = got.iter().map(|row| row.token_ids.clone()).collect();
                        assert_eq!(tokens, want.iter().map(|w| w.0.clone()).collect::<Vec<_>>(), "{options:?}");
                        for (row, (_, score)) in got.iter().zip(want) {
                            assert!((row.score.unwrap() - score).abs() < 1e-5 * score.abs());
                        }
                        ended += got.iter().filter(|row| row.finish_reason == FinishReason::EosToken).count();
                    }
                }
            }
        }
    }
    assert!(ended > 100, "end tokens take part: {ended}");
}

#[test]
fn neighbours_padding_and_chunks_do_not_show() {
    let options = config(r#"{"num_beams": 3, "num_return_sequences": 2, "eos_token_id": [3, 9], "max_new_tokens": 9}"#);
    let together = run(&mut toy(), &prompts(), &options);
    assert_eq!(run(&mut Toy { chunk: 2, ..toy() }, &prompts(), &options).rows, together.rows);
    for (index, prompt) in prompts().into_iter().enumerate() {
        let rows = &together.rows[2 * index..2 * index + 2];
        assert_eq!(run(&mut toy(), std::slice::from_ref(&prompt), &options).rows, rows, "prompt {index} alone");
        let padded = [Prompt { padding: 4, ids: [vec![30; 4], prompt.ids].concat(), stream: None }];
        assert_eq!(run(&mut toy(), &padded, &options).rows, rows, "prompt {index} padded");
    }
}

#[test]
fn only_beams_that_go_on_twice_are_copied() {
    // The best continuation always comes from the best beam alone, or from all of them: there is nothing to copy after the prompt.
    let options = config(r#"{"num_beams": 2, "max_new_tokens": 9}"#);
    let mut model = toy();
    let output = run(&mut model, &prompts()[..1], &options);
    assert_eq!(model.calls[0], (1, 1), "a prompt runs once");
    assert!(model.calls[1..].iter().all(|call| *call == (2, 1)));
    assert_eq!(model.copies[0], (0, 1), "its second beam begins as a copy");
    assert!(model.copies.len() < 9, "{:?}", model.copies);
    assert_eq!(output.rows[0].token_ids.len(), 9);
}

#[test]
fn processors_see_log_probabilities_of_every_beam() {
    struct Probe(usize);
    impl LogitsProcessor for Probe {
        fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
            let sum: f32 = logits.iter().map(|l| l.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            assert_eq!(history.new_ids().len(), self.0.div_ceil(3), "one for the prompt, then one for each beam");
            self.0 += 1;
            logits[7] = f32::NEG_INFINITY;
        }
    }
    let options = config(r#"{"num_beams": 3, "max_new_tokens": 4, "num_return_sequences": 3}"#);
    let prompts = [Prompt::new([7, 7])];
    let request = Request { processors: vec![Box::new(Probe(0))], ..Request::new(&prompts, &options) };
    let output = generate(&mut toy(), request, |_| ControlFlow::Continue(())).unwrap();
    assert!(ids(&output).iter().flatten().all(|id| *id != 7));
    // Constraints of the config: every beam ends with the forced token, none has a bigram twice.
    let options = config(
        r#"{"num_beams": 3, "max_new_tokens": 12, "forced_eos_token_id": 5, "no_repeat_ngram_size": 2, "num_return_sequences": 3}"#,
    );
    for row in ids(&run(&mut toy(), &prompts, &options)) {
        assert_eq!((row.len(), row[11]), (12, 5));
        assert!((0..10).all(|i| (i + 1..11).all(|j| row[i..i + 2] != row[j..j + 2])), "{row:?}");
    }
}

#[test]
fn a_forced_first_token_leaves_one_way_to_begin() {
    let options =
        config(r#"{"num_beams": 3, "max_new_tokens": 3, "forced_bos_token_id": 9, "num_return_sequences": 3}"#);
    let rows = ids(&run(&mut toy(), &[Prompt::new([2])], &options));
    assert!(rows.iter().all(|row| row[0] == 9) && rows[0] != rows[1] && rows[1] != rows[2], "{rows:?}");
}

#[test]
fn stop_strings_end_beams() {
    let options = config(r#"{"num_beams": 2, "max_new_tokens": 20, "stop_strings": ["def", "xyz"]}"#);
    let prompts = [Prompt::new([0, 1, 2]), Prompt::new([20])];
    let request = Request { detokenizer: Some(&Letters), ..Request::new(&prompts, &options) };
    let mut model = Toy { vocab: 31, ..Toy::new(counting) };
    let output = generate(&mut model, request, |_| ControlFlow::Continue(())).unwrap();
    let texts: Vec<_> = output.rows.iter().map(|r| (r.text.as_deref().unwrap(), r.finish_reason)).collect();
    assert_eq!(texts, [("def", FinishReason::StopString), ("vwxyz", FinishReason::StopString)]);
}

#[test]
fn events_come_row_by_row_at_the_end() {
    let options = config(r#"{"num_beams": 4, "num_return_sequences": 2, "eos_token_id": [3, 9], "max_new_tokens": 6}"#);
    let prompts = [Prompt::new([1]), Prompt::new([6, 11]), Prompt::new([3, 8, 13])];
    let request = || Request { detokenizer: Some(&Letters), ..Request::new(&prompts, &options) };
    let mut model = Toy { vocab: 26, ..toy() };
    let mut events: Vec<TokenEvent> = vec![];
    let output = generate(&mut model, request(), |event| {
        events.push(event.clone());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(output.rows.len(), 6);
    assert!(events.is_sorted_by_key(|e| e.row));
    for (index, row) in output.rows.iter().enumerate() {
        let own: Vec<_> = events.iter().filter(|e| e.row == index).collect();
        assert_eq!(own.iter().map(|e| e.id).collect::<Vec<_>>(), row.token_ids);
        assert_eq!(Some(own.iter().map(|e| e.text.as_str()).collect()), row.text);
        assert_eq!(own.last().unwrap().finish_reason, Some(row.finish_reason));
    }
    assert_eq!(output.timings.new_tokens, events.len());
    let mut model = Toy { vocab: 26, ..toy() };
    let iterated: Result<Vec<_>, GenerateError> = Generation::new(&mut model, request()).unwrap().collect();
    assert_eq!(iterated.unwrap(), events);
}

#[test]
fn it_can_be_cancelled() {
    let options = config(r#"{"num_beams": 2, "max_new_tokens": 9, "num_return_sequences": 2}"#);
    let prompts = prompts();
    let flag = Arc::new(AtomicBool::new(true));
    let request = Request { cancel: Some(flag.clone()), ..Request::new(&prompts, &options) };
    let mut model = toy();
    let mut generation = Generation::new(&mut model, request).unwrap();
    assert!(generation.next().is_none());
    let output = generation.into_output();
    assert_eq!(output.rows.len(), 6);
    assert!(output.rows.iter().all(|r| r.finish_reason == FinishReason::Cancelled && r.token_ids.is_empty()));

    /// Cancels from within, at the third step.
    struct Canceller(usize, Arc<AtomicBool>);
    impl LogitsProcessor for Canceller {
        fn process(&mut self, _: History<'_>, _: &mut [f32]) {
            self.0 += 1;
            self.1.store(self.0 >= 5, Ordering::Relaxed);
        }
    }
    flag.store(false, Ordering::Relaxed);
    let one = [Prompt::new([1])];
    let request = Request {
        cancel: Some(flag.clone()),
        processors: vec![Box::new(Canceller(0, flag))],
        detokenizer: Some(&Letters),
        ..Request::new(&one, &options)
    };
    let output = generate(&mut Toy { vocab: 26, ..toy() }, request, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(output.rows.len(), 2);
    for row in output.rows {
        assert_eq!((row.token_ids.len(), row.finish_reason), (3, FinishReason::Cancelled));
        assert!(row.text.is_some_and(|text| text.len() >= 2), "the text so far is there");
    }
}

#[test]
fn sampled_beams_repeat_by_their_seed() {
    let sampled = |seed: usize, json: &str| {
        let json = format!(r#"{{"do_sample": true, "num_beams": 3, "max_new_tokens": 9, "seed": {seed}{json}}}"#);
        ids(&run(&mut toy(), &prompts(), &config(&json)))
    };
    assert_eq!(sampled(1, ""), sampled(1, ""));
    assert_ne!(sampled(1, ""), sampled(2, ""));
    // Enough tokens are kept to go on, whatever is asked for.
    assert!(sampled(3, r#", "top_k": 1, "top_p": 0.01, "eos_token_id": 40"#).iter().all(|row| row.len() == 9));
}

#[test]
fn too_many_beams_are_refused() {
    let message = |prompts: &[Prompt], json: &str| failure(&mut toy(), prompts, &config(json)).to_string();
    let many = message(&prompts(), r#"{"num_beams": 5}"#);
    assert!(
        many.contains("3 prompts with 5 rows each") && many.contains("need 15 rows") && many.contains("at most 12"),
        "{many}"
    );
    assert!(message(&[], r#"{"num_beams": 5}"#).contains("0 prompts"));
    assert!(message(&prompts(), r#"{"num_beams": 2, "num_return_sequences": 3}"#).contains("num_return_sequences"));
    assert!(message(&prompts(), r#"{"bad_words_ids": [[32]]}"#).contains("bad_words_ids"));
}

#[test]
fn a_model_that_computes_no_numbers_is_reported() {
    fn nan(history: &[i64], logits: &mut [f32]) {
        hashed(history, logits);
        if history.len() == 3 {
            logits[4] = f32::NAN;
        }
    }
    for options in [r#"{"num_beams": 2}"#, r#"{"num_beams": 2, "do_sample": true}"#] {
        let message = failure(&mut Toy::new(nan), &[Prompt::new([1])], &config(options)).to_string();
        assert!(message.contains("row 0, new token 2") && message.contains("NaN"), "{message}");
    }
    // Every token forbidden.
    let options = config(r#"{"num_beams": 2, "suppress_tokens": [0, 1, 2]}"#);
    let message = failure(&mut Toy { vocab: 3, ..Toy::new(hashed) }, &[Prompt::new([1])], &options).to_string();
    assert!(message.contains("no token is left"), "{message}");
}
