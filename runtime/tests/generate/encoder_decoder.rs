//! Encoder-decoders: prompts are sources, and rows begin with a token of their own.

use crate::beams::plainly;
use crate::toy::{Toy, config, counting, failure, hashed, ids, run};
use kiln_runtime::generate::{Encoder, Generation, Prompt, Request};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Sources of 4, 9 and 1 tokens.
fn prompts() -> Vec<Prompt> {
    [4u32, 9, 1].iter().map(|&n| Prompt::new((0..n).map(|i| (i * 7 + n) % 32).collect::<Vec<_>>())).collect()
}

/// What the toy has seen when it chooses the first new token of a prompt.
fn begin(prompt: &Prompt) -> Vec<u32> {
    [prompt.tokens(), &[2]].concat()
}

#[test]
fn a_row_follows_its_source_and_the_start_token() {
    let options = config(r#"{"max_new_tokens": 12, "eos_token_id": [3, 9]}"#);
    let mut model = Toy::encoder_decoder(hashed);
    let output = run(&mut model, &prompts(), &options);
    assert_eq!(model.encodes, [(3, 9)], "the encoder runs once, for all");
    assert_eq!(model.calls[0], (3, 1), "the decoder begins with one token");
    assert!(model.copies.is_empty());
    assert_eq!(output.timings.prompt_tokens, 14);
    for (prompt, row) in prompts().iter().zip(&output.rows) {
        // A decoder alone that continues source and start does the same.
        let alone = run(&mut Toy::new(hashed), &[Prompt::new(begin(prompt))], &options);
        assert_eq!(&alone.rows[0], row);
        let padded = Prompt { ids: [&[30, 30], prompt.tokens()].concat(), padding: 2, stream: None };
        assert_eq!(run(&mut Toy::encoder_decoder(hashed), &[padded], &options).rows, alone.rows);
    }
}

#[test]
fn every_beam_has_the_source() {
    let options = config(r#"{"num_beams": 4, "num_return_sequences": 4, "eos_token_id": [3, 9], "max_new_tokens": 8}"#);
    let mut model = Toy::encoder_decoder(hashed);
    let got = ids(&run(&mut model, &prompts(), &options));
    assert_eq!(model.encodes, [(3, 9)]);
    let want = prompts().into_iter().flat_map(|prompt| plainly(&begin(&prompt), 32, &options)).map(|(ids, _)| ids);
    assert_eq!(got, want.collect::<Vec<_>>());
}

#[test]
fn every_sampled_sequence_has_the_source() {
    let options = config(r#"{"do_sample": true, "num_return_sequences": 4, "max_new_tokens": 8, "seed": 5}"#);
    let mut model = Toy::encoder_decoder(hashed);
    let got = ids(&run(&mut model, &prompts(), &options));
    let mut alone = Toy { rows: 12, slots: vec![Vec::new(); 12], sources: vec![Vec::new(); 12], ..Toy::new(hashed) };
    let begun: Vec<Prompt> = prompts().iter().map(|prompt| Prompt::new(begin(prompt))).collect();
    assert_eq!(got, ids(&run(&mut alone, &begun, &options)));
    assert!(got[0] != got[1] && got[4] != got[0]);
}

#[test]
fn lengths_and_forced_tokens_count_from_the_start_token() {
    let says = |json: &str| ids(&run(&mut Toy::encoder_decoder(counting), &prompts()[1..2], &config(json))).remove(0);
    assert_eq!(says(r#"{"max_new_tokens": 3}"#), [3, 4, 5]);
    assert_eq!(says(r#"{"max_length": 3}"#), [3, 4], "as in transformers, the start token counts, the source does not");
    assert_eq!(says("{}").len(), 20);
    assert_eq!(says(r#"{"max_new_tokens": 9, "eos_token_id": 4}"#), [3, 4]);
    assert_eq!(says(r#"{"max_new_tokens": 9, "eos_token_id": 4, "min_length": 3}"#)[..2], [3, 0]);
    assert_eq!(
        says(r#"{"max_new_tokens": 4, "forced_bos_token_id": 7, "forced_eos_token_id": 1}"#),
        [7, 8, 9, 1],
        "the first new token follows one token"
    );
    let mut small = Toy { context: 6, ..Toy::encoder_decoder(counting) };
    assert_eq!(run(&mut small, &prompts()[1..2], &config("{}")).rows[0].token_ids.len(), 6, "the decoder's context");
}

#[test]
fn the_start_token_is_the_generation_configs_or_the_models_or_bos() {
    let encoder = |id| Some(Encoder { max_source: 9, decoder_start_token_id: id });
    let first = |own, json: &str| {
        let mut model = Toy { encoder: encoder(own), ..Toy::encoder_decoder(counting) };
        run(&mut model, &prompts()[..1], &config(json)).rows[0].token_ids[0]
    };
    assert_eq!(first(Some(2), r#"{"decoder_start_token_id": 10, "bos_token_id": 20}"#), 11);
    assert_eq!(first(Some(2), r#"{"bos_token_id": 20}"#), 3);
    assert_eq!(first(None, r#"{"bos_token_id": 20}"#), 21);
    let mut none = Toy { encoder: encoder(None), ..Toy::encoder_decoder(counting) };
    let message = failure(&mut none, &prompts()[..1], &config("{}")).to_string();
    assert!(message.contains("encoder-decoder") && message.contains("set `decoder_start_token_id`"), "{message}");
}

#[test]
fn sources_are_checked_and_nothing_runs_after_a_cancel() {
    let mut model = Toy::encoder_decoder(counting);
    let message = failure(&mut model, &[Prompt::new(vec![1; 10])], &config("{}")).to_string();
    assert!(message.contains("10 tokens, more than the context of 9"), "{message}");
    assert!(failure(&mut model, &[Prompt::new([32])], &config("{}")).to_string().contains("token id 32"));
    let (prompts, options) = (prompts(), config("{}"));
    let request = Request { cancel: Some(Arc::new(AtomicBool::new(true))), ..Request::new(&prompts, &options) };
    assert_eq!(Generation::new(&mut model, request).unwrap().count(), 0);
    assert_eq!((model.encodes.len(), model.calls.len()), (0, 0));
}
