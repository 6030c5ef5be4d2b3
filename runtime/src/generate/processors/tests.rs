use super::*;

const X: f32 = f32::NEG_INFINITY;

/// A row that is all prompt and has no limit.
fn prompt(ids: &[u32], padding: usize) -> History<'_> {
    History { ids, padding, prompt_len: ids.len(), max_len: usize::MAX, missing: 0, pad: 0, source: &[] }
}

fn run(processor: &mut dyn LogitsProcessor, ids: &[u32], padding: usize, logits: &[f32]) -> Vec<f32> {
    let mut logits = logits.to_vec();
    processor.process(prompt(ids, padding), &mut logits);
    logits
}

/// As `run`, on a row of `new` new tokens after `prompt_len` of the prompt, of `max_len` at most.
fn run_new(processor: &mut dyn LogitsProcessor, [prompt_len, new, max_len]: [usize; 3], logits: &[f32]) -> Vec<f32> {
    let mut logits = logits.to_vec();
    let ids = vec![0; prompt_len + new];
    processor.process(History { prompt_len, max_len, ..prompt(&ids, 0) }, &mut logits);
    logits
}

/// Logits whose softmax is `p`.
fn ln(p: &[f32]) -> Vec<f32> {
    p.iter().map(|p| p.ln()).collect()
}

fn kept(logits: &[f32]) -> Vec<usize> {
    (0..logits.len()).filter(|&i| logits[i] != X).collect()
}

#[test]
fn repetition_penalty_once_per_token_and_by_sign() {
    let mut p = RepetitionPenalty::new(2.0);
    assert_eq!(run(&mut p, &[0, 1, 0, 0, 3], 0, &[4.0, -4.0, 3.0, 0.0, 1.0]), [2.0, -8.0, 3.0, 0.0, 1.0]);
    // Rewards below 1; -inf stays; another row with the same processor starts afresh.
    let mut p = RepetitionPenalty::new(0.5);
    assert_eq!(run(&mut p, &[0, 1], 0, &[4.0, X, 3.0]), [8.0, X, 3.0]);
    assert_eq!(run(&mut p, &[2], 0, &[4.0, -1.0, 3.0]), [4.0, -1.0, 6.0]);
}

#[test]
fn repetition_penalty_leaves_padding_and_foreign_ids_out() {
    let mut p = RepetitionPenalty::new(2.0);
    assert_eq!(run(&mut p, &[0, 0, 1, 99], 2, &[4.0, 4.0]), [4.0, 2.0]);
    assert_eq!(run(&mut p, &[0], 5, &[4.0, 4.0]), [4.0, 4.0]);
}

#[test]
fn ngrams_ban_what_followed_the_same_beginning() {
    let zeros = [0.0f32; 6];
    // 1 2 3 1 2 -> 3 followed "1 2" before.
    assert_eq!(
        run(&mut NoRepeatNgram { tokens: Tokens::Row, size: 3 }, &[1, 2, 3, 1, 2], 0, &zeros),
        [0.0, 0.0, 0.0, X, 0.0, 0.0]
    );
    // bigrams: 2 was followed by 3 and by 5.
    assert_eq!(
        kept(&run(&mut NoRepeatNgram { tokens: Tokens::Row, size: 2 }, &[2, 3, 2, 5, 2], 0, &zeros)),
        [0, 1, 2, 4]
    );
    // unigrams: every token once.
    assert_eq!(kept(&run(&mut NoRepeatNgram { tokens: Tokens::Row, size: 1 }, &[4, 0], 0, &zeros)), [1, 2, 3, 5]);
    // too short a row; a token beyond the vocabulary.
    assert_eq!(run(&mut NoRepeatNgram { tokens: Tokens::Row, size: 3 }, &[1, 2], 0, &zeros), zeros);
    assert_eq!(run(&mut NoRepeatNgram { tokens: Tokens::Row, size: 2 }, &[1, 77, 1], 0, &zeros), zeros);
    // padding counts here.
    assert_eq!(kept(&run(&mut NoRepeatNgram { tokens: Tokens::Row, size: 2 }, &[1, 2, 1], 2, &zeros)), [0, 1, 3, 4, 5]);
}

/// transformers sees a row of a batch as long as the longest: what it is padded with is among its tokens.
#[test]
fn padding_that_is_not_among_the_ids_counts_too() {
    let zeros = [0.0f32; 6];
    let kept = |processor: &mut dyn LogitsProcessor, ids: &[u32], missing: usize| {
        let mut logits = zeros.to_vec();
        processor.process(History { missing, pad: 3, ..prompt(ids, 0) }, &mut logits);
        kept(&logits)
    };
    let ngram = |size, ids: &[u32], missing| kept(&mut NoRepeatNgram { tokens: Tokens::Row, size }, ids, missing);
    assert_eq!(ngram(1, &[4], 0), [0, 1, 2, 3, 5]);
    assert_eq!(ngram(1, &[4], 2), [0, 1, 2, 5]);
    // 3 3 4 3: 3 was followed by itself and by 4; with one of padding by 4 only.
    assert_eq!(ngram(2, &[4, 3], 2), [0, 1, 2, 5]);
    assert_eq!(ngram(2, &[4, 3], 1), [0, 1, 2, 3, 5]);
    // 3 3 3 3 3 -> 3, of which no id is there, or one; and a row that is too short.
    assert_eq!(ngram(3, &[], 5), [0, 1, 2, 4, 5]);
    assert_eq!(ngram(3, &[3], 4), [0, 1, 2, 4, 5]);
    assert_eq!(ngram(3, &[3], 1), [0, 1, 2, 3, 4, 5]);
    let words = |missing| kept(&mut SequenceBias::bad_words(&[vec![3, 3, 1, 2], vec![1, 4]], &[]), &[1], missing);
    assert_eq!(words(1), [0, 1, 2, 3, 5]);
    assert_eq!(words(2), [0, 1, 3, 5]);
}

/// The right values are those of transformers' `EncoderRepetitionPenaltyLogitsProcessor` and `EncoderNoRepeatNGramLogitsProcessor`.
#[test]
fn tokens_of_the_source_become_likelier_or_do_not_come_over() {
    let on = |processor: &mut dyn LogitsProcessor, source: &[u32], ids: &[u32], logits: &[f32]| {
        let mut logits = logits.to_vec();
        processor.process(History { source, ..prompt(ids, 0) }, &mut logits);
        logits
    };
    // Each token once, whatever its sign; those of the row alone stay as they are.
    let mut penalty = RepetitionPenalty::of_source(2.0);
    assert_eq!(on(&mut penalty, &[0, 1, 0, 3, 99], &[2, 2], &[4.0, -4.0, 3.0, 0.0]), [8.0, -2.0, 3.0, 0.0]);
    assert_eq!(on(&mut RepetitionPenalty::of_source(0.5), &[0, 1], &[2], &[4.0, -4.0, 3.0]), [2.0, -8.0, 3.0]);
    assert_eq!(on(&mut penalty, &[], &[0, 1], &[4.0, -4.0]), [4.0, -4.0]);
    let ngram = |size, source: &[u32], ids: &[u32]| {
        kept(&on(&mut NoRepeatNgram { tokens: Tokens::Source, size }, source, ids, &[0.0; 6]))
    };
    assert_eq!(ngram(1, &[4, 0, 4], &[1]), [1, 2, 3, 5]);
    // 1 was followed by 2 and by 4; what the row itself holds does not count.
    assert_eq!(ngram(2, &[1, 2, 1, 4], &[1, 5, 1]), [0, 1, 3, 5]);
    assert_eq!(ngram(3, &[1, 2, 3], &[1, 2]), [0, 1, 2, 4, 5]);
    // Rows and sources that are too short, and a token beyond the vocabulary.
    assert_eq!(ngram(3, &[1, 2, 3], &[2]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(ngram(4, &[1, 2, 3], &[1, 2, 3]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(ngram(2, &[1, 77], &[1]), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn temperature_divides() {
    assert_eq!(run(&mut Temperature { temperature: 0.5 }, &[], 0, &[1.0, -3.0, X]), [2.0, -6.0, X]);
}

#[test]
fn top_k_keeps_k_and_ties() {
    assert_eq!(run(&mut TopK::new(2), &[], 0, &[1.0, 5.0, 3.0, 2.0]), [X, 5.0, 3.0, X]);
    assert_eq!(kept(&run(&mut TopK::new(2), &[], 0, &[3.0, 5.0, 3.0, 2.0])), [0, 1, 2]);
    assert_eq!(run(&mut TopK::new(9), &[], 0, &[1.0, 2.0]), [1.0, 2.0]);
    assert_eq!(run(&mut TopK::new(1), &[], 0, &[2.0, 2.0, 1.0]), [2.0, 2.0, X]);
    assert_eq!(run(&mut TopK::new(2), &[], 0, &[X, 4.0, X]), [X, 4.0, X]);
}

#[test]
fn top_k_agrees_with_a_full_sort() {
    for n in [1usize, 2, 7, 100, 1001] {
        let logits: Vec<f32> = (0..n).map(|i| ((i * 7919 + 13) % 997) as f32 - 300.0).collect();
        for k in [1, 2, 3, 50, 400] {
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let least = sorted[k.min(n) - 1];
            let want: Vec<f32> = logits.iter().map(|&l| if l < least { X } else { l }).collect();
            assert_eq!(run(&mut TopK::new(k), &[], 0, &logits), want, "n {n}, k {k}");
        }
    }
}

#[test]
fn top_p_keeps_the_smallest_set_that_reaches_it() {
    let dist = ln(&[0.3, 0.1, 0.1, 0.5]);
    for (top_p, want) in [
        (0.0, &[3][..]),
        (0.4, &[3]),
        (0.6, &[0, 3]),
        (0.79, &[0, 3]),
        (0.85, &[0, 2, 3]),
        (0.95, &[0, 1, 2, 3]),
        (1.0, &[0, 1, 2, 3]),
    ] {
        assert_eq!(kept(&run(&mut TopP::new(top_p, 1), &[], 0, &dist)), want, "top_p {top_p}");
    }
    assert_eq!(kept(&run(&mut TopP::new(0.0, 1), &[], 0, &[1.0; 7])).len(), 1);
    // What top-k removed stays removed.
    assert_eq!(kept(&run(&mut TopP::new(0.99, 1), &[], 0, &[0.0, X, 0.0])), [0, 2]);
}

#[test]
fn top_p_drops_the_long_tail_without_sorting_it_and_alike() {
    // 1000 tokens, p_i ~ 0.99^i, in a scrambled order.
    let n = 1000usize;
    let rank = |i: usize| i * 387 % n;
    let logits: Vec<f32> = (0..n).map(|i| rank(i) as f32 * 0.99f32.ln()).collect();
    let total: f64 = (0..n).map(|r| 0.99f64.powi(r as i32)).sum();
    for top_p in [0.2, 0.5, 0.9, 0.999] {
        // The first w best tokens have 1 - 0.99^w of the mass (over the total of the finite series).
        let mass = |w: usize| (1.0 - 0.99f64.powi(w as i32)) / 0.01 / total;
        let want = (0..n).find(|&w| mass(w) >= top_p).unwrap();
        let got = kept(&run(&mut TopP::new(top_p, 1), &[], 0, &logits));
        assert_eq!(got.len(), want, "top_p {top_p}");
        assert!(got.iter().all(|&i| rank(i) < want), "top_p {top_p}");
    }
}

#[test]
fn min_p_is_relative_to_the_best() {
    let dist = ln(&[0.3, 0.1, 0.04, 0.56]);
    assert_eq!(kept(&run(&mut MinP::new(0.1, 1), &[], 0, &dist)), [0, 1, 3]);
    assert_eq!(kept(&run(&mut MinP::new(0.5, 1), &[], 0, &dist)), [0, 3]);
    assert_eq!(kept(&run(&mut MinP::new(1.0, 1), &[], 0, &dist)), [3]);
    assert_eq!(kept(&run(&mut MinP::new(0.0, 1), &[], 0, &dist)), [0, 1, 2, 3]);
}

#[test]
fn typical_keeps_what_surprises_as_expected() {
    assert_eq!(kept(&run(&mut Typical::new(0.5, 1), &[], 0, &ln(&[0.97, 0.01, 0.01, 0.01]))), [0]);
    assert_eq!(kept(&run(&mut Typical::new(0.5, 1), &[], 0, &ln(&[0.4, 0.2, 0.2, 0.2]))), [1, 2, 3]);
    assert_eq!(kept(&run(&mut Typical::new(0.9999, 1), &[], 0, &ln(&[0.4, 0.2, 0.2, 0.2]))), [0, 1, 2, 3]);
    // What was removed before does not count.
    assert_eq!(kept(&run(&mut Typical::new(0.5, 1), &[], 0, &[X, 0.0, X])), [1]);
}

#[test]
fn cutoffs_by_probability_and_by_entropy() {
    let epsilon = |p: &[f32]| kept(&run(&mut Cutoff::epsilon(0.1, 1), &[], 0, &ln(p)));
    assert_eq!(epsilon(&[0.87, 0.099, 0.001, 0.03]), [0]);
    assert_eq!(epsilon(&[0.4, 0.299, 0.101, 0.2]), [0, 1, 2, 3]);
    // Entropies 0.639 and 0.414: bounds min(0.0625, 0.25 * 0.528) and min(0.0625, 0.25 * 0.661).
    let eta = |p: &[f32]| kept(&run(&mut Cutoff::eta(0.0625, 1), &[], 0, &ln(p)));
    assert_eq!(eta(&[0.0, 0.1, 0.8, 0.1]), [1, 2, 3]);
    assert_eq!(eta(&[0.01, 0.04, 0.9, 0.05]), [2]);
    // Entropy ln 8: the bound is 0.25 / 8, below epsilon.
    assert_eq!(eta(&[0.125; 8]).len(), 8);
    assert_eq!(kept(&run(&mut Cutoff::epsilon(0.5, 1), &[], 0, &ln(&[0.25; 4]))).len(), 4, "the best never leave");
}

#[test]
fn top_h_keeps_a_share_of_the_entropy() {
    let uniform = |top_h| kept(&run(&mut TopH::new(top_h), &[], 0, &[0.0; 4]));
    assert_eq!(uniform(0.1), [0]);
    assert_eq!(uniform(0.6), [0, 1]);
    assert_eq!(uniform(1.0).len(), 4);
    assert_eq!(
        kept(&run(&mut TopH::new(1.0), &[], 0, &(0..150).map(|i| i as f32 * 0.01).collect::<Vec<_>>())).len(),
        100
    );
}

#[test]
fn beams_keep_enough_tokens_to_go_on() {
    let dist = ln(&[0.02, 0.9, 0.05, 0.03]);
    for processor in [
        &mut TopP::new(0.0, 2) as &mut dyn LogitsProcessor,
        &mut MinP::new(1.0, 2),
        &mut Cutoff::epsilon(0.9, 2),
        &mut Cutoff::eta(0.9, 2),
        &mut Typical::new(0.01, 2),
    ] {
        assert_eq!(kept(&run(processor, &[], 0, &dist)), [1, 2]);
    }
    let sampled = |json: &str| {
        let config = GenerationConfig::from_json(json.as_bytes()).unwrap();
        let mut logits = dist.clone();
        for processor in &mut processors(&config, vec![]) {
            processor.process(prompt(&[], 0), &mut logits);
        }
        kept(&logits).len()
    };
    assert_eq!(sampled(r#"{"do_sample": true, "top_k": 1}"#), 1);
    assert_eq!(sampled(r#"{"do_sample": true, "top_k": 1, "num_beams": 2}"#), 2);
    assert_eq!(sampled(r#"{"do_sample": true, "top_k": 1, "num_beams": 2, "eos_token_id": [0, 1]}"#), 3);
}

#[test]
fn biases_meet_the_last_token_of_a_sequence() {
    let sequences = [(vec![2], 1.5), (vec![1, 2], 2.0), (vec![0, 1, 3], -1.0), (vec![9, 9], 1.0), (vec![], 1.0)];
    let mut bias = SequenceBias::new(sequences);
    assert_eq!(run(&mut bias, &[0, 1], 0, &[0.0; 4]), [0.0, 0.0, 3.5, -1.0]);
    assert_eq!(run(&mut bias, &[1], 0, &[0.0; 4]), [0.0, 0.0, 3.5, 0.0]);
    assert_eq!(run(&mut bias, &[3], 0, &[0.0; 4]), [0.0, 0.0, 1.5, 0.0]);
    assert_eq!(run(&mut SequenceBias::new([(vec![0], 1.0), (vec![0], 5.0)]), &[], 0, &[0.0]), [5.0]);
}

#[test]
fn bad_words_leave_the_end_token_alone() {
    let mut words = SequenceBias::bad_words(&[vec![2], vec![3], vec![1, 3]], &[3]);
    assert_eq!(kept(&run(&mut words, &[0], 0, &[0.0; 4])), [0, 1, 3]);
    assert_eq!(kept(&run(&mut words, &[0, 1], 0, &[0.0; 4])), [0, 1]);
}

#[test]
fn the_end_token_waits_for_the_least_length() {
    let zeros = [0.0; 4];
    let mut whole = MinLength { min_length: 5, min_new_tokens: 0, eos: vec![1, 3, 99] };
    assert_eq!(kept(&run_new(&mut whole, [3, 1, 9], &zeros)), [0, 2]);
    assert_eq!(kept(&run_new(&mut whole, [3, 2, 9], &zeros)), [0, 1, 2, 3]);
    let mut new = MinLength { min_length: 0, min_new_tokens: 2, eos: vec![1] };
    assert_eq!(kept(&run_new(&mut new, [3, 1, 9], &zeros)), [0, 2, 3]);
    assert_eq!(kept(&run_new(&mut new, [3, 2, 9], &zeros)), [0, 1, 2, 3]);
    // As in transformers, min_new_tokens sets min_length aside.
    let config = GenerationConfig::from_json(br#"{"min_length": 9, "min_new_tokens": 1, "eos_token_id": 1}"#).unwrap();
    assert_eq!(kept(&run_new(&mut *processors(&config, vec![])[0], [3, 1, 9], &zeros)), [0, 1, 2, 3]);
}

#[test]
fn forced_tokens_stand_alone() {
    assert_eq!(run_new(&mut ForcedBos { id: 2 }, [1, 0, 9], &[5.0; 4]), [X, X, 0.0, X]);
    assert_eq!(run_new(&mut ForcedBos { id: 2 }, [1, 1, 9], &[5.0; 4]), [5.0; 4]);
    let mut eos = ForcedEos { ids: vec![0, 3] };
    assert_eq!(run_new(&mut eos, [2, 6, 9], &[5.0; 4]), [0.0, X, X, 0.0]);
    assert_eq!(run_new(&mut eos, [2, 5, 9], &[5.0; 4]), [5.0; 4]);
}

#[test]
fn suppressed_tokens_everywhere_or_at_the_beginning() {
    let zeros = [0.0; 4];
    assert_eq!(kept(&run_new(&mut Suppress::new(&[1, -1, 99], None), [2, 5, 9], &zeros)), [0, 2, 3]);
    let mut begin = Suppress::new(&[1], Some(false));
    assert_eq!(kept(&run_new(&mut begin, [2, 0, 9], &zeros)), [0, 2, 3]);
    assert_eq!(kept(&run_new(&mut begin, [2, 1, 9], &zeros)).len(), 4);
    // After a prompt of one token the forced one comes first.
    let mut forced = Suppress::new(&[1], Some(true));
    assert_eq!(kept(&run_new(&mut forced, [1, 0, 9], &zeros)).len(), 4);
    assert_eq!(kept(&run_new(&mut forced, [1, 1, 9], &zeros)), [0, 2, 3]);
    assert_eq!(kept(&run_new(&mut forced, [2, 0, 9], &zeros)), [0, 2, 3]);
}

#[test]
fn the_end_becomes_likelier_with_time() {
    let mut decay = ExponentialDecay { start: 2, factor: 2.0, eos: vec![0, 1, 2] };
    assert_eq!(run_new(&mut decay, [3, 2, 9], &[-4.0, 1.0, X, 1.0]), [-4.0, 1.0, X, 1.0]);
    assert_eq!(run_new(&mut decay, [3, 4, 9], &[-4.0, 1.0, X, 1.0]), [8.0, 4.0, X, 1.0]);
}

#[test]
fn invalid_logits_become_numbers_and_log_probabilities_sum_to_one() {
    let logits = [f32::NAN, f32::INFINITY, X, 1.0];
    assert_eq!(run(&mut RemoveInvalid, &[], 0, &logits), [0.0, f32::MAX, f32::MIN, 1.0]);
    let sum: f32 = run(&mut Normalize, &[], 0, &[1.0, 2.0, X]).iter().map(|l| l.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-6);
}

#[test]
fn nan_and_emptiness_pass_through_without_panic() {
    for logits in [&[f32::NAN, 1.0, 2.0][..], &[X, X, X], &[f32::INFINITY, 0.0, 1.0], &[f32::NAN; 3], &[]] {
        let list: [&mut dyn LogitsProcessor; 7] = [
            &mut TopK::new(1),
            &mut TopP::new(0.5, 1),
            &mut MinP::new(0.5, 1),
            &mut TopH::new(0.5),
            &mut Typical::new(0.5, 1),
            &mut Cutoff::eta(0.5, 2),
            &mut Suppress::new(&[7], None),
        ];
        for processor in list {
            let got = run(processor, &[0, 1], 0, logits);
            assert_eq!(got.iter().any(|l| l.is_nan()), logits.iter().any(|l| l.is_nan()), "{logits:?}");
        }
    }
}

#[test]
fn a_config_lists_processors_in_order() {
    let all = GenerationConfig {
        do_sample: Some(true),
        temperature: Some(0.5),
        top_k: Some(3),
        top_p: Some(0.9),
        min_p: Some(0.1),
        repetition_penalty: Some(2.0),
        no_repeat_ngram_size: Some(1),
        ..Default::default()
    };
    assert_eq!(processors(&all, vec![]).len(), 6);
    assert_eq!(processors(&GenerationConfig { do_sample: Some(false), ..all.clone() }, vec![]).len(), 2);
    assert_eq!(processors(&GenerationConfig::default(), vec![]).len(), 0);
    let json = br#"{"sequence_bias": [[[1], 1.0]], "bad_words_ids": [[1]], "min_new_tokens": 1, "min_length": 9, "eos_token_id": 2,
        "forced_bos_token_id": 1, "forced_eos_token_id": 2, "remove_invalid_values": true, "suppress_tokens": [3],
        "exponential_decay_length_penalty": [1, 1.1], "begin_suppress_tokens": [3], "renormalize_logits": true, "do_sample": true,
        "top_k": 0, "top_h": 0.5, "typical_p": 0.5, "epsilon_cutoff": 0.1, "eta_cutoff": 0.1}"#;
    assert_eq!(processors(&GenerationConfig::from_json(json).unwrap(), vec![]).len(), 14);
    let neutral = br#"{"do_sample": true, "top_k": 0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "min_length": 0,
        "min_new_tokens": 3, "remove_invalid_values": false, "renormalize_logits": false}"#;
    assert_eq!(processors(&GenerationConfig::from_json(neutral).unwrap(), vec![]).len(), 0, "no end token, no minimum");
    // Order shows in the numbers: penalty (4 -> 2), ban of id 1, temperature (2 -> 4, 1 -> 2, 0.9 -> 1.8, 0 -> 0), top 3,
    // top-p (softmax of 4, 2, 1.8 is .803 .109 .089: two reach 0.9), min-p (0.0803 < 0.109: both stay).
    let mut logits = [4.0, 9.0, 1.0, 0.9, 0.0];
    let mut list = processors(&all, vec![]);
    // Padding keeps 1 from being penalised, not from being banned; 0 stands in the row but bans itself.
    list[0].process(prompt(&[1, 0], 1), &mut logits);
    assert_eq!(logits, [2.0, 9.0, 1.0, 0.9, 0.0]);
    for processor in &mut list[1..] {
        processor.process(prompt(&[1], 1), &mut logits);
    }
    assert_eq!(logits, [4.0, X, 2.0, X, X]);
}
