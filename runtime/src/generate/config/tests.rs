use super::*;

fn parse(json: &str) -> GenerationConfig {
    GenerationConfig::from_json(json.as_bytes()).unwrap()
}

fn problem(json: &str) -> String {
    parse(json).validate().unwrap_err().to_string()
}

#[test]
fn an_empty_config_means_transformers_defaults() {
    let config = parse("{}");
    config.validate().unwrap();
    assert_eq!(config, GenerationConfig::default());
    assert!(!config.do_sample());
    assert_eq!((config.temperature(), config.top_k(), config.top_p(), config.min_p), (1.0, 50, 1.0, None));
    assert_eq!((config.repetition_penalty(), config.no_repeat_ngram_size()), (1.0, 0));
    assert_eq!(config.new_tokens(1000), Ok(20));
}

#[test]
fn eos_may_be_one_or_several_and_pad_falls_back_to_it() {
    assert_eq!(parse(r#"{"eos_token_id": 2}"#).eos_token_ids(), [2]);
    let config = parse(r#"{"eos_token_id": [128001, 128008], "pad_token_id": -1, "bos_token_id": null}"#);
    assert_eq!(config.eos_token_ids(), [128001, 128008]);
    assert_eq!(config.pad_token_id(), 128001);
    assert_eq!(parse("{}").pad_token_id(), 0);
}

#[test]
fn unknown_fields_survive_a_round_trip() {
    let json = r#"{"_from_model_config": true, "top_p": 0.9, "use_cache": true, "transformers_version": "5.23.0"}"#;
    let written = parse(json).to_json().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), serde_json::from_str::<Value>(json).unwrap());
}

#[test]
fn a_models_config_speaks_where_no_generation_config_does() {
    let read = |json: &str| GenerationConfig::from_model_config(json.as_bytes()).unwrap();
    let config = read(
        r#"{"model_type": "bart", "eos_token_id": 2, "pad_token_id": 1, "forced_eos_token_id": 2, "num_beams": 4, "bos_token_id": null,
            "decoder_start_token_id": 2, "vocab_size": 384, "task_specific_params": {"summarization": {"min_length": 56}}}"#,
    );
    assert_eq!((config.eos_token_ids(), config.pad_token_id(), config.num_beams()), (&[2][..], 1, 4));
    assert_eq!((config.decoder_start_token_id, config.bos_token_id, config.min_length), (Some(2), None, None));
    assert_eq!(config.forced_eos_token_id, Some(OneOrMany::One(2)));
    assert!(config.other.is_empty(), "{:?}", config.other);
    let nested =
        read(r#"{"eos_token_id": 7, "text_config": {"eos_token_id": 1, "bos_token_id": 2, "hidden_size": 8}}"#);
    assert_eq!((nested.eos_token_ids(), nested.bos_token_id), (&[7][..], Some(2)));
    let of_model = |own: Option<&str>| {
        let model: &[u8] = br#"{"eos_token_id": 2}"#;
        GenerationConfig::of_model(own.map(str::as_bytes), Some(model)).unwrap().eos_token_id
    };
    assert_eq!((of_model(None), of_model(Some("{}"))), (Some(OneOrMany::One(2)), None), "one file speaks");
    let message = read(r#"{"penalty_alpha": 0.6}"#).validate().unwrap_err().to_string();
    assert!(message.contains("penalty_alpha"), "{message}");
}

#[test]
fn the_callers_fields_win() {
    let file = parse(r#"{"max_new_tokens": 5, "temperature": 0.6, "do_sample": true, "seed": 1}"#);
    let config = file.overridden_by(&parse(r#"{"temperature": 0.2, "max_length": 30}"#));
    assert_eq!((config.temperature, config.do_sample, config.seed), (Some(0.2), Some(true), Some(1)));
    assert_eq!(config.new_tokens(10), Ok(20), "the caller's max_length sets aside the file's max_new_tokens");
}

#[test]
fn max_new_tokens_wins_over_max_length_and_the_prompt_must_fit() {
    assert_eq!(parse(r#"{"max_new_tokens": 7, "max_length": 30}"#).new_tokens(100), Ok(7));
    assert_eq!(parse(r#"{"max_length": 30}"#).new_tokens(29), Ok(1));
    let message = parse(r#"{"max_length": 30}"#).new_tokens(30).unwrap_err().to_string();
    assert!(message.contains("30, with a prompt of 30 tokens"), "{message}");
}

#[test]
fn bad_values_are_named_with_what_was_found() {
    for (json, field, found) in [
        (r#"{"max_new_tokens": 0}"#, "max_new_tokens", "0"),
        (r#"{"repetition_penalty": 0}"#, "repetition_penalty", "0"),
        (r#"{"repetition_penalty": -1.5}"#, "repetition_penalty", "-1.5"),
        (r#"{"stop_strings": ["a", ""]}"#, "stop_strings", "\"\""),
        (r#"{"do_sample": true, "temperature": 0}"#, "temperature", "0"),
        (r#"{"do_sample": true, "temperature": -2.5}"#, "temperature", "-2.5"),
        (r#"{"do_sample": true, "top_p": 1.5}"#, "top_p", "1.5"),
        (r#"{"do_sample": true, "top_p": -0.1}"#, "top_p", "-0.1"),
        (r#"{"do_sample": true, "min_p": 2}"#, "min_p", "2"),
        (r#"{"do_sample": true, "typical_p": 0.0}"#, "typical_p", "0"),
        (r#"{"do_sample": true, "top_h": 1.5}"#, "top_h", "1.5"),
        (r#"{"do_sample": true, "epsilon_cutoff": 1.0}"#, "epsilon_cutoff", "1"),
        (r#"{"do_sample": true, "eta_cutoff": -0.5}"#, "eta_cutoff", "-0.5"),
        (r#"{"num_beams": 0}"#, "num_beams", "0"),
        (r#"{"num_return_sequences": 0}"#, "num_return_sequences", "0"),
        (r#"{"num_return_sequences": 2}"#, "num_return_sequences", "2"),
        (r#"{"num_return_sequences": 5, "num_beams": 4}"#, "num_return_sequences", "5, with 4 beams"),
        (r#"{"max_time": -1.0}"#, "max_time", "-1"),
        (r#"{"bad_words_ids": [[1], []]}"#, "bad_words_ids", "[]"),
        (r#"{"sequence_bias": [[[], 1.0]]}"#, "sequence_bias", "[]"),
        (r#"{"exponential_decay_length_penalty": [3, -1.0]}"#, "exponential_decay_length_penalty", "-1"),
        (r#"{"suppress_tokens": [1, 2, -1], "forced_eos_token_id": [2, 1]}"#, "forced_eos_token_id", "[2, 1]"),
        (r#"{"suppress_tokens": [7], "forced_bos_token_id": 7}"#, "forced_bos_token_id", "[7]"),
        (r#"{"num_beam_groups": 4}"#, "num_beam_groups", "4"),
        (r#"{"guidance_scale": 1.5}"#, "guidance_scale", "1.5"),
        (r#"{"low_memory": true, "num_beams": 2}"#, "low_memory", "true"),
        (r#"{"encoder_repetition_penalty": 0}"#, "encoder_repetition_penalty", "0"),
        (r#"{"encoder_repetition_penalty": -2.0}"#, "encoder_repetition_penalty", "-2"),
    ] {
        let message = problem(json);
        assert!(message.contains(&format!("`{field}`")) && message.contains(found), "{json}: {message}");
    }
}

#[test]
fn sampling_fields_do_not_matter_to_greedy_search_and_neutral_ones_to_anybody() {
    parse(r#"{"temperature": 0, "top_p": 7, "typical_p": 1.5}"#).validate().unwrap();
    parse(r#"{"do_sample": true, "num_beams": 1, "guidance_scale": 1, "bad_words_ids": null, "typical_p": 1.0}"#)
        .validate()
        .unwrap();
    parse(r#"{"do_sample": true, "top_k": 0, "top_p": 0.0, "min_p": 1.0}"#).validate().unwrap();
    // It saves memory in a search of long ago.
    parse(r#"{"low_memory": true}"#).validate().unwrap();
    parse(r#"{"low_memory": true, "do_sample": true}"#).validate().unwrap();
    parse(r#"{"encoder_repetition_penalty": 1, "encoder_no_repeat_ngram_size": -1}"#).validate().unwrap();
}

#[test]
fn values_are_read_as_real_files_write_them() {
    for (written, meant) in [
        (r#"{"do_sample": true, "top_k": -1}"#, r#"{"do_sample": true, "top_k": 0}"#),
        (
            r#"{"bos_token_id": [1], "decoder_start_token_id": [2]}"#,
            r#"{"bos_token_id": 1, "decoder_start_token_id": 2}"#,
        ),
        (r#"{"bos_token_id": -1, "eos_token_id": -1}"#, "{}"),
        (r#"{"eos_token_id": [-1, 2]}"#, r#"{"eos_token_id": [2]}"#),
        (
            r#"{"max_new_tokens": 20.0, "top_k": 50.0, "num_beams": 4.0}"#,
            r#"{"max_new_tokens": 20, "top_k": 50, "num_beams": 4}"#,
        ),
        (r#"{"eos_token_id": [2.0, 3], "pad_token_id": 0.0}"#, r#"{"eos_token_id": [2, 3], "pad_token_id": 0}"#),
        (
            r#"{"suppress_tokens": [3.0], "bad_words_ids": [[1.0]]}"#,
            r#"{"suppress_tokens": [3], "bad_words_ids": [[1]]}"#,
        ),
        (r#"{"exponential_decay_length_penalty": [5.0, 1.5]}"#, r#"{"exponential_decay_length_penalty": [5, 1.5]}"#),
        (r#"{"temperature": 1, "top_p": 1}"#, r#"{"temperature": 1.0, "top_p": 1.0}"#),
        (r#"{"min_length": -1, "no_repeat_ngram_size": -1}"#, r#"{"min_length": 0, "no_repeat_ngram_size": 0}"#),
        (r#"{"eos_token_id": 1000000, "pad_token_id": -1}"#, r#"{"eos_token_id": 1000000, "pad_token_id": -1}"#),
    ] {
        assert_eq!(parse(written), parse(meant), "{written}");
        parse(written).validate().unwrap();
        let model = GenerationConfig::from_model_config(written.as_bytes()).unwrap();
        assert_eq!(model, parse(meant), "{written} in config.json");
    }
    assert_eq!(parse(r#"{"do_sample": true, "top_k": -1}"#).top_k(), 0, "all are kept");
}

#[test]
fn contrastive_search_is_refused_where_transformers_would_do_it() {
    for off in [
        r#"{"penalty_alpha": 0.0}"#,
        r#"{"penalty_alpha": 0, "top_k": 4}"#,
        r#"{"penalty_alpha": null}"#,
        r#"{"penalty_alpha": 0.6, "top_k": 1}"#,
        r#"{"penalty_alpha": 0.6, "do_sample": true}"#,
        r#"{"penalty_alpha": 0.6, "num_beams": 3}"#,
    ] {
        parse(off).validate().unwrap();
    }
    for on in [r#"{"penalty_alpha": 0.6}"#, r#"{"penalty_alpha": 0.6, "top_k": 4, "do_sample": false}"#] {
        assert!(problem(on).contains("`penalty_alpha` = 0.6 is not supported"), "{}", problem(on));
    }
}

#[test]
fn broken_json_and_wrong_types_are_errors() {
    for json in ["", "[]", "{", "{}x", "\u{0}"] {
        let error = GenerationConfig::from_json(json.as_bytes()).unwrap_err();
        assert!(matches!(error, ConfigError::Json(_)), "{json}: {error}");
    }
    for (json, field, found) in [
        (r#"{"max_new_tokens": -1}"#, "max_new_tokens", "-1"),
        (r#"{"max_length": 1e15}"#, "max_length", "1000000000000000.0"),
        (r#"{"top_k": "many"}"#, "top_k", "many"),
        (r#"{"top_k": -2}"#, "top_k", "-2"),
        (r#"{"max_new_tokens": 20.5}"#, "max_new_tokens", "20.5"),
        (r#"{"eos_token_id": [2.5]}"#, "eos_token_id", "2.5"),
        (r#"{"bos_token_id": [1, 2]}"#, "bos_token_id", "[1,2]"),
        (r#"{"early_stopping": "soon"}"#, "early_stopping", "soon"),
        (r#"{"bad_words_ids": [1]}"#, "bad_words_ids", "[1]"),
        (r#"{"exponential_decay_length_penalty": 3}"#, "exponential_decay_length_penalty", "3"),
    ] {
        let message = GenerationConfig::from_json(json.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(&format!("`{field}`")) && message.contains(found), "{json}: {message}");
    }
}

/// Whatever a field holds instead of what it should, the message says both in JSON's words, and none of Rust's.
#[test]
fn values_of_another_kind_are_named() {
    let fields = serde_json::to_value(parse(EVERY_FIELD)).unwrap();
    let fields = fields
        .as_object()
        .unwrap()
        .keys()
        .filter(|field| !["cache_implementation", "transformers_version"].contains(&&***field));
    for field in fields {
        for (value, found) in
            [(r#"{"a": 1}"#, r#"{"a":1}"#), ("[[{}]]", ""), ("NaN", r#""NaN""#), ("-Infinity", r#""-Infinity""#)]
        {
            // Two fields are texts.
            if field == "stop_strings" && !value.starts_with(['{', '[']) {
                continue;
            }
            let message =
                GenerationConfig::from_json(format!(r#"{{"{field}": {value}}}"#).as_bytes()).unwrap_err().to_string();
            let start = format!("generation config: `{field}`: expected ");
            assert!(message.starts_with(&start) && message.contains(&format!("found {found}")), "{message}");
            for word in ["variant", "untagged", "usize", "f64", "u32", "sequence,", "invalid type"] {
                assert!(!message.contains(word), "{message}");
            }
        }
    }
    for (json, says) in [
        (r#"{"eos_token_id": "2"}"#, r#"`eos_token_id`: expected a token id, or a list of them, found "2""#),
        (r#"{"stop_strings": 5}"#, "`stop_strings`: expected a text, or a list of them, found 5"),
        (r#"{"do_sample": "yes"}"#, r#"`do_sample`: expected true or false, found "yes""#),
        (r#"{"max_new_tokens": "9"}"#, r#"`max_new_tokens`: expected a whole number from 0, found "9""#),
        ("[]", "expected a JSON object, found a list"),
        ("null", "expected a JSON object, found null"),
        ("NaN", "expected a JSON object, found a string"),
    ] {
        let message = GenerationConfig::from_json(json.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    // Where nobody asks for it, a number that is none does no harm.
    parse(r#"{"max_new_tokens": 3, "of_no_use": NaN, "more": [Infinity]}"#).validate().unwrap();
}

const EVERY_FIELD: &str = r#"{
        "max_new_tokens": 9, "max_length": 30, "min_new_tokens": 2, "min_length": 4, "max_time": 1.5, "stop_strings": ["x"],
        "do_sample": true, "num_beams": 3, "length_penalty": 0.5, "early_stopping": "never", "num_return_sequences": 2,
        "temperature": 0.6, "top_k": 7, "top_p": 0.9, "min_p": 0.1, "top_h": 0.4, "typical_p": 0.8, "epsilon_cutoff": 0.01,
        "eta_cutoff": 0.02, "repetition_penalty": 1.1, "no_repeat_ngram_size": 3, "encoder_repetition_penalty": 1.5,
        "encoder_no_repeat_ngram_size": 4, "bad_words_ids": [[1, 2]],
        "sequence_bias": [[[4, 5], -2.5]], "suppress_tokens": [3, -1], "begin_suppress_tokens": [6], "forced_bos_token_id": 7,
        "forced_eos_token_id": [8], "exponential_decay_length_penalty": [5, 1.25], "remove_invalid_values": true,
        "renormalize_logits": true, "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1, "decoder_start_token_id": 2, "seed": 5,
        "cache_implementation": "static", "transformers_version": "5.23.0"
    }"#;

#[test]
fn every_field_survives_the_file() {
    let json = EVERY_FIELD;
    let config = parse(json);
    assert_eq!(config.other.len(), 2, "the rest has fields of its own");
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("a/b");
    config.save_pretrained(&saved).unwrap();
    let value = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
    assert_eq!(value(&std::fs::read(saved.join(FILE_NAME)).unwrap()), value(json.as_bytes()));
    assert_eq!(GenerationConfig::from_pretrained(&saved), Ok(config.clone()));
    assert_eq!(GenerationConfig::from_pretrained(saved.join(FILE_NAME)), Ok(config.clone()));
    assert_eq!(parse("{}").overridden_by(&config), config);
    for (json, early_stopping) in
        [("true", EarlyStopping::WhenFull), ("false", EarlyStopping::Heuristic), (r#""never""#, EarlyStopping::Never)]
    {
        assert_eq!(parse(&format!(r#"{{"early_stopping": {json}}}"#)).early_stopping, Some(early_stopping));
    }
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &std::path::Path| GenerationConfig::from_pretrained(path).unwrap_err().to_string();
    assert!(message(folder.path()).contains("generation_config.json"));
    let file = folder.path().join(FILE_NAME);
    std::fs::write(&file, "[]").unwrap();
    let broken = message(folder.path());
    assert!(broken.contains("generation_config.json") && broken.contains("JSON object"), "{broken}");
    let unwritten = GenerationConfig::default().save_pretrained(&file).unwrap_err().to_string();
    assert!(unwritten.contains("cannot write"), "{unwritten}");
}

#[test]
fn tokens_that_the_model_has_not_are_refused() {
    for json in [
        r#"{"forced_bos_token_id": 10}"#,
        r#"{"decoder_start_token_id": 10}"#,
        r#"{"forced_eos_token_id": [1, 10]}"#,
        r#"{"bad_words_ids": [[1], [2, 10]]}"#,
        r#"{"sequence_bias": [[[10], 1.0]]}"#,
    ] {
        let message = parse(json).check_vocabulary(10).unwrap_err().to_string();
        assert!(message.contains("is 10") && message.contains("size is 10"), "{message}");
        parse(json).check_vocabulary(11).unwrap();
    }
    // As in transformers, what is not there cannot be suppressed either.
    parse(r#"{"suppress_tokens": [10, -1], "begin_suppress_tokens": [99]}"#).check_vocabulary(10).unwrap();
}
