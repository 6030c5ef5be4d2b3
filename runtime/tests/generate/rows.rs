//! Greedy search and sampling.

use crate::toy::{Letters, Toy, config, counting, failure, hashed, ids, run};
use kiln_runtime::generate::{
    CausalLm, ConfigError, FinishReason, GenerateError, Generation, GenerationConfig, History, LogitsProcessor, Prompt,
    Request, Step, StepError, StoppingCriterion, TokenEvent, generate,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prompts of 1, 7, 3 and 12 tokens.
fn ragged() -> Vec<Prompt> {
    [1u32, 7, 3, 12].iter().map(|&n| Prompt::new((0..n).map(|i| (i * 5 + n) % 32).collect::<Vec<_>>())).collect()
}

const OPTIONS: [&str; 4] = [
    r#"{"max_new_tokens": 20}"#,
    r#"{"max_new_tokens": 20, "eos_token_id": [3, 9, 17]}"#,
    r#"{"max_new_tokens": 20, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2}"#,
    r#"{"max_new_tokens": 20, "do_sample": true, "seed": 5, "top_k": 8, "top_p": 0.95, "min_p": 0.01, "temperature": 1.5}"#,
];

#[test]
fn a_batch_says_what_its_rows_say_alone() {
    for options in OPTIONS.map(config) {
        let prompts = ragged();
        let together = run(&mut Toy::new(hashed), &prompts, &options);
        for (index, prompt) in prompts.iter().enumerate() {
            // The stream of random numbers goes with the row.
            let alone = [Prompt { stream: Some(index as u64), ..prompt.clone() }];
            let alone = run(&mut Toy::new(hashed), &alone, &options);
            assert_eq!(alone.rows[0], together.rows[index], "row {index}, {options:?}");
        }
    }
}

#[test]
fn padding_of_the_callers_changes_nothing_that_the_model_sees() {
    for options in [OPTIONS[0], OPTIONS[1], OPTIONS[3]].map(config) {
        let bare = ragged();
        let padded: Vec<Prompt> = bare
            .iter()
            .enumerate()
            .map(|(row, p)| {
                let padding = 12 - p.ids.len();
                let mask: Vec<i64> = (0..12).map(|i| (i >= padding).into()).collect();
                let ids = std::iter::repeat_n(30, padding).chain(p.ids.iter().copied()).collect::<Vec<_>>();
                Prompt::masked(row, ids, &mask).unwrap()
            })
            .collect();
        let want = run(&mut Toy::new(hashed), &bare, &options);
        assert_eq!(ids(&run(&mut Toy::new(hashed), &padded, &options)), ids(&want));
        assert_eq!(run(&mut Toy::new(hashed), &padded, &options).timings.prompt_tokens, 23);
    }
}

#[test]
fn nothing_goes_on_from_bos() {
    let options = config(r#"{"max_new_tokens": 4, "bos_token_id": 9}"#);
    let prompts = [Prompt::default(), Prompt::new([9]), Prompt::new([3, 5])];
    let output = run(&mut Toy::new(hashed), &prompts, &options);
    assert_eq!(ids(&output)[0], ids(&output)[1]);
    assert_eq!(output.timings.prompt_tokens, 4);
    // As with transformers, bos counts towards the length.
    let length = config(r#"{"max_length": 4, "bos_token_id": 9}"#);
    assert_eq!(ids(&run(&mut Toy::new(counting), &prompts[..1], &length)), [[10, 11, 12]]);
    let beams = config(r#"{"max_new_tokens": 4, "bos_token_id": 9, "num_beams": 2}"#);
    let of = |prompt: usize| run(&mut Toy::new(hashed), &prompts[prompt..=prompt], &beams);
    assert_eq!(ids(&of(0)), ids(&of(1)));
    let says = |config: &GenerationConfig| failure(&mut Toy::new(hashed), &prompts[..1], config).to_string();
    assert!(says(&config(r#"{"max_new_tokens": 4}"#)).contains("`bos_token_id`"));
    assert!(says(&config(r#"{"max_new_tokens": 4, "bos_token_id": 99}"#)).contains("99"));
}

#[test]
fn padding_counts_for_ngrams_and_not_for_the_penalty() {
    // As transformers 5 has it: the penalty's mask leaves padding out, n-grams look at the whole row.
    let prompt = [Prompt::masked(0, [5, 4], &[0, 1]).unwrap()];
    let options = |json| GenerationConfig { max_new_tokens: Some(1), ..config(json) };
    let penalty = options(r#"{"repetition_penalty": 99.0}"#);
    assert_eq!(ids(&run(&mut Toy::new(counting), &prompt, &penalty)), [[5]]);
    let unigrams = options(r#"{"no_repeat_ngram_size": 1}"#);
    assert_eq!(ids(&run(&mut Toy::new(counting), &prompt, &unigrams)), [[0]]);
}

#[test]
fn chunks_do_not_show() {
    for options in OPTIONS.map(config) {
        let want = run(&mut Toy::new(hashed), &ragged(), &options);
        for chunk in [1, 2, 5, 11, 12, 13] {
            let mut model = Toy { chunk, ..Toy::new(hashed) };
            assert_eq!(ids(&run(&mut model, &ragged(), &options)), ids(&want), "chunks of {chunk}");
        }
    }
    // The call shapes: rows that are padding throughout a chunk sit it out.
    let mut model = Toy { chunk: 5, ..Toy::new(hashed) };
    run(&mut model, &ragged(), &config(r#"{"max_new_tokens": 2}"#));
    assert_eq!(model.calls, [(1, 5), (3, 5), (4, 2), (4, 1)]);
}

#[test]
fn events_are_the_output_token_by_token() {
    let options = config(r#"{"max_new_tokens": 20, "eos_token_id": [3, 9, 17, 28]}"#);
    let request = |prompts| Request { detokenizer: Some(&Letters), ..Request::new(prompts, &options) };
    let prompts = ragged();
    let mut seen: Vec<TokenEvent> = Vec::new();
    let output = generate(&mut Toy::new(hashed), request(&prompts), |event| {
        seen.push(event.clone());
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut model = Toy::new(hashed);
    let iterated: Vec<TokenEvent> =
        Generation::new(&mut model, request(&prompts)).unwrap().map(|event| event.unwrap()).collect();
    assert_eq!(iterated, seen);
    for (index, row) in output.rows.iter().enumerate() {
        let events: Vec<_> = seen.iter().filter(|e| e.row == index).collect();
        assert_eq!(events.iter().map(|e| e.id).collect::<Vec<_>>(), row.token_ids);
        assert_eq!(Some(events.iter().map(|e| e.text.as_str()).collect()), row.text);
        let (last, before) = events.split_last().unwrap();
        assert_eq!(last.finish_reason, Some(row.finish_reason));
        assert!(before.iter().all(|e| e.finish_reason.is_none()));
    }
    assert_eq!(output.timings.new_tokens, seen.len());
}

#[test]
fn rows_that_end_leave_the_batch() {
    // Row r counts from its prompt up to the end token 20.
    let prompts = [Prompt::new([17]), Prompt::new([10]), Prompt::new([18])];
    let mut model = Toy::new(counting);
    let output = run(&mut model, &prompts, &config(r#"{"max_new_tokens": 6, "eos_token_id": 20}"#));
    assert_eq!(ids(&output), [vec![18, 19, 20], vec![11, 12, 13, 14, 15, 16], vec![19, 20]]);
    let reasons: Vec<_> = output.rows.iter().map(|r| r.finish_reason).collect();
    assert_eq!(reasons, [FinishReason::EosToken, FinishReason::Length, FinishReason::EosToken]);
    assert_eq!(model.calls, [(3, 1), (3, 1), (2, 1), (1, 1), (1, 1), (1, 1)]);
    assert_eq!(serde_json::to_string(&reasons).unwrap(), r#"["eos_token","length","eos_token"]"#);
}

#[test]
fn stop_strings_span_tokens_and_stay_in_the_text() {
    let stop = |stops: &str, prompt: &[u32]| {
        let options = config(&format!(r#"{{"max_new_tokens": 40, "stop_strings": {stops}}}"#));
        let prompts = [Prompt::new(prompt)];
        let request = Request { detokenizer: Some(&Letters), ..Request::new(&prompts, &options) };
        let mut model = Toy { vocab: 31, ..Toy::new(counting) };
        let output = generate(&mut model, request, |_| ControlFlow::Continue(())).unwrap();
        (output.rows[0].text.clone().unwrap(), output.rows[0].finish_reason)
    };
    let stopped = |text: &str| (text.to_owned(), FinishReason::StopString);
    assert_eq!(stop(r#""def""#, &[0]), stopped("bcdef"));
    assert_eq!(stop(r#"["xyz", "gh"]"#, &[0]), stopped("bcdefgh"));
    // It may begin in the prompt, but not end there.
    assert_eq!(stop(r#"["cd"]"#, &[0, 1, 2]), stopped("d"));
    assert_eq!(stop(r#"["bc", "fg"]"#, &[0, 1, 2]), stopped("defg"));
    // A special token can be one, though the text leaves it out.
    assert_eq!(stop(r#"["z<26>"]"#, &[20]), stopped("vwxyz"));
    // "q" is held back by the tokenizer: the match shows with the next letter.
    assert_eq!(stop(r#"["pq"]"#, &[13]), stopped("opqr"));
}

#[test]
fn stop_strings_without_a_tokenizer_are_refused() {
    let error = failure(&mut Toy::new(counting), &[Prompt::new([1])], &config(r#"{"stop_strings": "x"}"#));
    assert!(matches!(error, GenerateError::StopStringsWithoutText), "{error}");
}

#[test]
fn held_back_text_is_flushed_when_the_row_ends() {
    let options = config(r#"{"max_new_tokens": 2}"#);
    let prompts = [Prompt::new([14])];
    let request = Request { detokenizer: Some(&Letters), ..Request::new(&prompts, &options) };
    let output = generate(&mut Toy::new(counting), request, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(output.rows[0].text.as_deref(), Some("pq"));
}

#[test]
fn lengths() {
    let prompt = [Prompt::new([1, 2, 3])];
    let len = |context: usize, json: &str| {
        let output = run(&mut Toy { context, ..Toy::new(counting) }, &prompt, &config(json));
        assert_eq!(output.rows[0].finish_reason, FinishReason::Length);
        output.rows[0].token_ids.len()
    };
    assert_eq!(len(64, "{}"), 20, "the default");
    assert_eq!(len(64, r#"{"max_length": 10}"#), 7);
    assert_eq!(len(64, r#"{"max_length": 10, "max_new_tokens": 9}"#), 9);
    // The context ends the row; the last token need not enter it.
    assert_eq!(len(10, r#"{"max_new_tokens": 50}"#), 8);
    assert_eq!(len(3, r#"{"max_new_tokens": 50}"#), 1);
    assert_eq!(len(10, r#"{"max_new_tokens": 1000000000000000}"#), 8, "nothing is reserved beyond the context");
    let error = failure(&mut Toy::new(counting), &prompt, &config(r#"{"max_length": 3}"#));
    assert!(matches!(error, GenerateError::Config(ConfigError::Value { field: "max_length", .. })), "{error}");
}

#[test]
fn bad_requests_are_named() {
    let one = [Prompt::new([1])];
    let message = |prompts: &[Prompt], json: &str| failure(&mut Toy::new(hashed), prompts, &config(json)).to_string();
    let long = message(&[one[0].clone(), Prompt::new(vec![1; 65])], "{}");
    assert!(long.contains("prompt 1 has 65 tokens") && long.contains("context of 64"), "{long}");
    assert!(message(&[Prompt::new([])], "{}").contains("prompt 0 is empty"));
    assert!(message(&[], "{}").contains("0 prompts"));
    assert!(message(&vec![one[0].clone(); 5], "{}").contains("expected 1 to 4"));
    assert!(message(&[Prompt::new([1, 32])], "{}").contains("token id 32 at position 1"));
    assert!(message(&one, r#"{"do_sample": true, "temperature": 0}"#).contains("`temperature`"));
}

#[test]
fn failures_on_the_way_are_errors_and_end_the_iteration() {
    fn nan(history: &[i64], logits: &mut [f32]) {
        counting(history, logits);
        if history.len() == 3 {
            logits[4] = f32::NAN;
        }
    }
    let prompts = [Prompt::new([1])];
    for options in [r#"{}"#, r#"{"do_sample": true}"#].map(config) {
        let mut model = Toy::new(nan);
        let mut generation = Generation::new(&mut model, Request::new(&prompts, &options)).unwrap();
        assert_eq!(generation.by_ref().take_while(|event| event.is_ok()).count(), 2);
        assert!(generation.next().is_none());
        let message = failure(&mut Toy::new(nan), &prompts, &options).to_string();
        assert!(message.contains("row 0, new token 2") && message.contains("NaN"), "{message}");
    }
    // Every token forbidden.
    let message =
        failure(&mut Toy { vocab: 3, ..Toy::new(counting) }, &prompts, &config(r#"{"no_repeat_ngram_size": 1}"#));
    assert!(message.to_string().contains("no token is left"), "{message}");
    // The tokenizer fails.
    let options = config(r#"{"max_new_tokens": 9, "stop_strings": "x"}"#);
    let prompts = [Prompt::new([28])];
    let request = Request { detokenizer: Some(&Letters), ..Request::new(&prompts, &options) };
    let error = generate(&mut Toy::new(counting), request, |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, GenerateError::Text { row: 0, id: 31, .. }), "{error}");
}

/// Fails, or answers with the wrong size.
struct Broken(Option<Vec<f32>>);

impl CausalLm for Broken {
    fn vocab_size(&self) -> usize {
        8
    }
    fn max_context(&self) -> usize {
        8
    }
    fn max_rows(&self) -> usize {
        1
    }
    fn max_chunk(&self) -> usize {
        8
    }
    fn step(&mut self, _: Step<'_>) -> Result<&mut [f32], StepError> {
        self.0.as_deref_mut().ok_or_else(|| "out of memory".into())
    }
    fn copy_slot(&mut self, _: usize, _: usize, _: usize) -> Result<(), StepError> {
        Ok(())
    }
}

#[test]
fn a_model_that_fails_is_reported() {
    let prompts = [Prompt::new([1])];
    for (answer, want) in
        [(None, "out of memory"), (Some(vec![]), "expected 1 x 8"), (Some(vec![0.0; 9]), "returned 9")]
    {
        let options = GenerationConfig::default();
        let error =
            generate(&mut Broken(answer), Request::new(&prompts, &options), |_| ControlFlow::Continue(())).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}

#[test]
fn it_can_be_stopped() {
    let options = config(r#"{"max_new_tokens": 50}"#);
    let prompts = ragged();
    // By the callback.
    let mut left = 6;
    let mut model = Toy::new(hashed);
    let output = generate(&mut model, Request::new(&prompts, &options), |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(model.calls.len(), 2, "two steps of four rows hold six tokens");
    assert!(output.rows.iter().all(|r| r.finish_reason == FinishReason::Cancelled && r.token_ids.len() == 2));
    // From outside, before a chunk of the prompt and between tokens.
    for after in [0, 5] {
        let flag = Arc::new(AtomicBool::new(false));
        let request = Request { cancel: Some(flag.clone()), ..Request::new(&prompts, &options) };
        let mut model = Toy::new(hashed);
        let mut generation = Generation::new(&mut model, request).unwrap();
        for event in generation.by_ref().take(4 * after) {
            event.unwrap();
        }
        flag.store(true, Ordering::Relaxed);
        assert!(generation.next().is_none());
        let output = generation.into_output();
        assert!(output.rows.iter().all(|r| r.finish_reason == FinishReason::Cancelled && r.token_ids.len() == after));
    }
}

#[test]
fn sampling_repeats_by_its_seed() {
    let sampled = |json: &str| run(&mut Toy::new(hashed), &ragged(), &config(json));
    let first = sampled(r#"{"do_sample": true, "max_new_tokens": 12}"#);
    let seed = first.seed.unwrap();
    let again = sampled(&format!(r#"{{"do_sample": true, "max_new_tokens": 12, "seed": {seed}}}"#));
    assert_eq!(first.rows, again.rows);
    let other = sampled(&format!(r#"{{"do_sample": true, "max_new_tokens": 12, "seed": {}}}"#, seed.wrapping_add(1)));
    assert_ne!(first.rows, other.rows);
    assert_eq!(sampled("{}").seed, None);
    // Two rows with one prompt go different ways.
    let twins = [Prompt::new([3, 4]), Prompt::new([3, 4])];
    let output = run(&mut Toy::new(hashed), &twins, &config(r#"{"do_sample": true, "seed": 1}"#));
    assert_ne!(output.rows[0], output.rows[1]);
}

#[test]
fn sampling_follows_the_distribution() {
    // Four tokens with logits ln 1, ln 2, ln 3, ln 4; temperature 0.5 squares the weights, top_k 3 drops the least.
    fn weights(_: &[i64], logits: &mut [f32]) {
        for (i, logit) in logits.iter_mut().enumerate() {
            *logit = (i as f32 + 1.0).ln();
        }
    }
    let n = 8000;
    let mut model = Toy { vocab: 4, context: n + 1, ..Toy::new(weights) };
    let options = format!(r#"{{"do_sample": true, "seed": 3, "temperature": 0.5, "top_k": 3, "max_new_tokens": {n}}}"#);
    let output = run(&mut model, &[Prompt::new([0])], &config(&options));
    for (token, weight) in [0.0, 4.0, 9.0, 16.0].iter().enumerate() {
        let p = weight / 29.0;
        let count = output.rows[0].token_ids.iter().filter(|&&id| id as usize == token).count() as f64;
        let sd = (n as f64 * p * (1.0 - p)).sqrt();
        assert!((count - n as f64 * p).abs() <= 4.0 * sd, "token {token}: {count} of {n}");
    }
}

#[test]
fn processors_of_the_callers_own_take_part() {
    struct Only(u32);
    impl LogitsProcessor for Only {
        fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
            assert_eq!(history.ids[0], 1);
            for (id, logit) in logits.iter_mut().enumerate() {
                *logit = if id as u32 == self.0 { 0.0 } else { f32::NEG_INFINITY };
            }
        }
    }
    let options = config(r#"{"max_new_tokens": 3, "do_sample": true}"#);
    let prompts = [Prompt::new([1])];
    let request = Request { processors: vec![Box::new(Only(6))], ..Request::new(&prompts, &options) };
    let output = generate(&mut Toy::new(hashed), request, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(ids(&output), [[6, 6, 6]]);
}

#[test]
fn criteria_of_the_callers_own_end_rows() {
    /// Three new tokens, or a token that is a multiple of ten; and every token is seen.
    struct Criterion(Arc<std::sync::Mutex<Vec<u32>>>);
    impl StoppingCriterion for Criterion {
        fn is_met(&mut self, history: History<'_>) -> bool {
            let newest = *history.ids.last().unwrap();
            self.0.lock().unwrap().push(newest);
            history.new_ids().len() == 3 || newest.is_multiple_of(10)
        }
    }
    let seen = Arc::new(std::sync::Mutex::new(vec![]));
    let options = config(r#"{"max_new_tokens": 9, "eos_token_id": 4}"#);
    let prompts = [Prompt::new([1]), Prompt::new([12]), Prompt::new([18, 19])];
    let criteria: Vec<Box<dyn StoppingCriterion>> = vec![Box::new(Criterion(seen.clone()))];
    let request = Request { stopping_criteria: criteria, ..Request::new(&prompts, &options) };
    let output = generate(&mut Toy::new(counting), request, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(ids(&output), [vec![2, 3, 4], vec![13, 14, 15], vec![20]]);
    let reasons: Vec<_> = output.rows.iter().map(|r| r.finish_reason.to_string()).collect();
    assert_eq!(reasons, ["eos_token", "stopping_criterion", "stopping_criterion"]);
    assert_eq!(*seen.lock().unwrap(), [2, 13, 20, 3, 14, 4, 15]);
}

#[test]
fn time_limits_end_all_rows() {
    let prompts = [Prompt::new([1]), Prompt::new([2])];
    let output = run(&mut Toy::new(counting), &prompts, &config(r#"{"max_new_tokens": 9, "max_time": 0}"#));
    assert_eq!(ids(&output), [[2], [3]]);
    assert!(output.rows.iter().all(|r| r.finish_reason == FinishReason::MaxTime));
    let output = run(&mut Toy::new(counting), &prompts, &config(r#"{"max_new_tokens": 9, "max_time": 1000}"#));
    assert!(output.rows.iter().all(|r| r.finish_reason == FinishReason::Length));
}

#[test]
fn least_lengths_and_forced_tokens() {
    let prompt = [Prompt::new([2, 3])];
    let says = |json: &str| ids(&run(&mut Toy::new(counting), &prompt, &config(json))).remove(0);
    // 5 ends; forbidden, it gives way to the first of the others, and the count begins anew.
    assert_eq!(says(r#"{"max_new_tokens": 6, "eos_token_id": 5}"#), [4, 5]);
    assert_eq!(says(r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_new_tokens": 1}"#), [4, 5]);
    assert_eq!(says(r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_new_tokens": 2}"#), [4, 0, 1, 2, 3, 4]);
    assert_eq!(says(r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_length": 3}"#), [4, 5]);
    assert_eq!(says(r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_length": 4}"#), [4, 0, 1, 2, 3, 4]);
    assert_eq!(says(r#"{"max_new_tokens": 4, "forced_eos_token_id": 30}"#), [4, 5, 6, 30]);
    assert_eq!(says(r#"{"max_length": 5, "forced_eos_token_id": [30, 31]}"#), [4, 5, 30]);
    assert_eq!(says(r#"{"max_new_tokens": 3, "begin_suppress_tokens": [4, 0]}"#), [1, 2, 3]);
    assert_eq!(says(r#"{"max_new_tokens": 4, "bad_words_ids": [[5, 6], [0]]}"#), [4, 5, 1, 2]);
    let one = [Prompt::new([2])];
    let forced = config(r#"{"max_new_tokens": 3, "forced_bos_token_id": 9}"#);
    assert_eq!(ids(&run(&mut Toy::new(counting), &one, &forced)), [[9, 10, 11]]);
}

/// transformers pads a batch on the left, and its lengths count that.
#[test]
fn lengths_count_the_padding_of_the_batch() {
    let alone = Prompt::new([3]);
    let padded = Prompt::masked(0, [9, 9, 9, 3], &[0, 0, 0, 1]).unwrap();
    let longer = Prompt::new([20, 21, 22, 23]);
    for json in [
        r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_length": 7}"#,
        r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_length": 6}"#,
        r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_length": 3}"#,
        r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_new_tokens": 3}"#,
        r#"{"max_length": 9}"#,
        r#"{"max_length": 7, "forced_eos_token_id": 30}"#,
        r#"{"max_new_tokens": 3, "forced_bos_token_id": 8}"#,
        r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_length": 7, "num_beams": 2}"#,
        r#"{"max_length": 7, "num_beams": 2}"#,
    ] {
        let says = |first: &Prompt| {
            let prompts = [first.clone(), longer.clone()];
            ids(&run(&mut Toy::new(counting), &prompts, &config(json)))
        };
        assert_eq!(says(&alone), says(&padded), "{json}");
    }
    let says =
        |json: &str| ids(&run(&mut Toy::new(counting), &[alone.clone(), longer.clone()], &config(json))).remove(0);
    assert_eq!(says(r#"{"max_new_tokens": 6, "eos_token_id": 5, "min_length": 5}"#), [4, 5]);
    assert_eq!(says(r#"{"max_new_tokens": 3, "eos_token_id": 5, "min_length": 6}"#), [4, 0, 1]);
    assert_eq!(says(r#"{"max_length": 7}"#), [4, 5, 6]);
}

/// Whatever took the last token, the error names it.
#[test]
fn no_token_left_names_the_option() {
    let all: Vec<i64> = (0..32).collect();
    let but_one: Vec<i64> = (1..32).collect();
    let every_word: Vec<[i64; 1]> = (0..32).map(|id| [id]).collect();
    let biased: Vec<(Vec<i64>, f32)> = (0..32).map(|id| (vec![id], f32::MIN)).collect();
    let prompt = [Prompt::new([2, 3])];
    for (json, option) in [
        (format!(r#"{{"suppress_tokens": {all:?}}}"#), "`suppress_tokens`"),
        (format!(r#"{{"begin_suppress_tokens": {all:?}}}"#), "`begin_suppress_tokens`"),
        (format!(r#"{{"suppress_tokens": {but_one:?}, "bad_words_ids": [[0]]}}"#), "`suppress_tokens`"),
        (format!(r#"{{"suppress_tokens": {but_one:?}, "begin_suppress_tokens": [0]}}"#), "`begin_suppress_tokens`"),
        (format!(r#"{{"bad_words_ids": {every_word:?}}}"#), "`bad_words_ids`"),
        (format!(r#"{{"eos_token_id": {all:?}, "min_new_tokens": 2}}"#), "`min_new_tokens`"),
        (format!(r#"{{"eos_token_id": {all:?}, "min_length": 4}}"#), "`min_length`"),
        (r#"{"sequence_bias": [[[9], 1.0]], "no_repeat_ngram_size": 1}"#.to_string(), "`no_repeat_ngram_size`"),
        (r#"{"do_sample": true, "temperature": 1e-45}"#.to_string(), "`temperature`"),
        (r#"{"do_sample": true, "temperature": 1e-39, "top_k": 0}"#.to_string(), "`temperature`"),
        (r#"{"repetition_penalty": 1e-44}"#.to_string(), "`repetition_penalty`"),
        (format!(r#"{{"num_beams": 2, "suppress_tokens": {all:?}}}"#), "`suppress_tokens`"),
        (r#"{"num_beams": 2, "do_sample": true, "temperature": 1e-45}"#.to_string(), "`temperature`"),
    ] {
        let unigrams = json.contains("ngram");
        // Every token stands in the prompt where none may come twice.
        let whole = [Prompt::new((0..32).collect::<Vec<u32>>())];
        let prompts = if unigrams { &whole } else { &prompt };
        let error = failure(&mut Toy::new(positive), prompts, &config(&json)).to_string();
        assert!(error.contains(option) && !error.contains("check the weights"), "{json}: {error}");
    }
    // What removes all may be followed by what forces one.
    let forced =
        config(&format!(r#"{{"max_new_tokens": 1, "bad_words_ids": {every_word:?}, "forced_eos_token_id": 7}}"#));
    assert_eq!(ids(&run(&mut Toy::new(positive), &prompt, &forced)), [[7]]);
    // Numbers large and small are no infinities, and a custom processor is one of the caller's.
    let biased = config(&format!(r#"{{"max_new_tokens": 1, "sequence_bias": {}}}"#, serde_json::json!(biased)));
    assert_eq!(run(&mut Toy::new(positive), &prompt, &biased).rows.len(), 1);
    struct Nothing;
    impl LogitsProcessor for Nothing {
        fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
            logits.fill(f32::NEG_INFINITY);
        }
    }
    let options = config("{}");
    let request = Request { processors: vec![Box::new(Nothing)], ..Request::new(&prompt, &options) };
    let error = generate(&mut Toy::new(positive), request, |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.contains("a logits processor of the caller's"), "{error}");
    fn hopeless(_: &[i64], logits: &mut [f32]) {
        logits.fill(f32::NEG_INFINITY);
    }
    let error = failure(&mut Toy::new(hopeless), &prompt, &config("{}")).to_string();
    assert!(error.contains("check the weights"), "{error}");
}

/// Scores above zero, falling with the token's id.
fn positive(_: &[i64], logits: &mut [f32]) {
    for (id, score) in logits.iter_mut().enumerate() {
        *score = 40.0 - id as f32;
    }
}

#[test]
fn several_sequences_of_a_prompt_share_its_prefill() {
    let prompts = [Prompt::new([3, 4, 5]), Prompt::new([7])];
    let options = |n: usize| {
        config(&format!(r#"{{"do_sample": true, "seed": 5, "max_new_tokens": 9, "num_return_sequences": {n}}}"#))
    };
    let mut model = Toy::new(hashed);
    let output = run(&mut model, &prompts, &options(2));
    assert_eq!(model.calls[..2], [(2, 3), (4, 1)], "a prompt runs once");
    assert_eq!(model.copies, [(0, 1), (2, 3)]);
    assert_eq!(output.rows.len(), 4);
    assert!(output.rows[0] != output.rows[1] && output.rows[2] != output.rows[3]);
    // A row is what a prompt of its own would give with that stream of random numbers.
    for (row, prompt) in [(1, 0), (2, 1)] {
        let alone = [Prompt { stream: Some(row as u64), ..prompts[prompt].clone() }];
        assert_eq!(run(&mut Toy::new(hashed), &alone, &options(1)).rows[0], output.rows[row]);
    }
    let message = failure(&mut Toy::new(hashed), &prompts, &options(3)).to_string();
    assert!(message.contains("2 prompts with 3 rows each") && message.contains("at most 4"), "{message}");
}

#[test]
fn timings_add_up() {
    fn slow(history: &[i64], logits: &mut [f32]) {
        std::thread::sleep(std::time::Duration::from_millis(2));
        counting(history, logits);
    }
    let prompts = [Prompt::new([1, 2, 3, 4])];
    let output = run(&mut Toy::new(slow), &prompts, &config(r#"{"max_new_tokens": 5}"#));
    let t = output.timings;
    assert_eq!((t.prompt_tokens, t.new_tokens), (4, 5));
    assert!(t.time_to_first_token >= 0.002 && t.total >= 0.010, "{t:?}");
    assert!(t.prefill_tokens_per_second > 0.0 && t.prefill_tokens_per_second <= 2000.0, "{t:?}");
    assert!(t.decode_tokens_per_second > 0.0 && t.decode_tokens_per_second <= 500.0, "{t:?}");
}

/// Every call's length counts all tokens of the longest sequence, those that later chunks bring too, and grows when its row has ended.
#[test]
fn the_length_is_that_of_the_longest_sequence() {
    let mut toy = Toy { chunk: 5, ..Toy::new(counting) };
    // Row 3, of 12 tokens, ends with token 31 after one more; row 0 goes on.
    let prompts = [Prompt::new([1]), Prompt::new((19..31).collect::<Vec<_>>())];
    run(&mut toy, &prompts, &config(r#"{"max_new_tokens": 4, "eos_token_id": 31}"#));
    assert_eq!(toy.calls, [(1, 5), (1, 5), (2, 2), (1, 1), (1, 1), (1, 1)]);
    assert_eq!(toy.lengths, [12, 12, 12, 13, 14, 15]);
}

/// A sequence that grows beyond what its cache serves is read anew, once, and the tokens are the same for a model that does not mind.
#[test]
fn a_sequence_beyond_the_cache_is_read_anew() {
    let prompts = ragged();
    let options = config(r#"{"max_new_tokens": 6}"#);
    let want = ids(&run(&mut Toy::new(hashed), &prompts, &options));
    for (limit, calls) in [
        (14, &[(4, 12), (4, 1), (4, 1), (4, 15), (4, 1), (4, 1)][..]),
        (12, &[(4, 12), (4, 13), (4, 1), (4, 1), (4, 1), (4, 1)]),
        (11, &[(4, 12), (4, 1), (4, 1), (4, 1), (4, 1), (4, 1)]),
        (17, &[(4, 12), (4, 1), (4, 1), (4, 1), (4, 1), (4, 1)]),
    ] {
        let mut toy = Toy { cache_limit: Some(limit), ..Toy::new(hashed) };
        assert_eq!(ids(&run(&mut toy, &prompts, &options)), want, "{limit}");
        assert_eq!(toy.calls, calls, "{limit}");
        assert_eq!(toy.lengths, [12, 13, 14, 15, 16, 17], "{limit}");
    }
    let beams = config(r#"{"max_new_tokens": 6, "num_beams": 3}"#);
    let prompts = [Prompt::new([3, 4, 5]), Prompt { ids: vec![0, 0, 9, 8], padding: 2, stream: None }];
    let slots = || Toy { rows: 6, slots: vec![Vec::new(); 6], sources: vec![Vec::new(); 6], ..Toy::new(hashed) };
    let want = ids(&run(&mut slots(), &prompts, &beams));
    let mut toy = Toy { cache_limit: Some(6), ..slots() };
    assert_eq!(ids(&run(&mut toy, &prompts, &beams)), want);
    // Padding counts: the seventh column is the border, when the longest sequence has six tokens.
    assert_eq!((toy.calls[3], toy.lengths[3]), ((6, 6), 6));
}
