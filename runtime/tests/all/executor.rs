//! Calls: sizes bound from shapes, variants, states, defaults, and errors that say what is wrong.

use crate::fuzz::entry::with_ranges;
use crate::toy;
use kiln_core::{Buffer, Dim, Launch, Plan};
use kiln_runtime::generate::{CausalLm, GenerationConfig, Prompt, Step};
use kiln_runtime::{
    CacheOptions, CausalSession, Error, LoadOptions, MemoryReport, Model, Session, SessionOptions, TensorView, Workers,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

fn model() -> Arc<Model> {
    toy::load(toy::plan(), &LoadOptions::default()).unwrap()
}

fn session(model: &Arc<Model>) -> Session {
    Session::new(model, &SessionOptions { sizes: vec![("rows".into(), 3)] }).unwrap()
}

/// What `step` should answer for a slot that holds these tokens.
fn logits(tokens: &[i64]) -> Vec<f32> {
    toy::WEIGHTS.map(|w| 2.0 * w * tokens.iter().sum::<i64>() as f32).to_vec()
}

fn ids<'a>(shape: &'a [usize], ids: &'a [i64]) -> TensorView<'a> {
    TensorView::new(shape, ids)
}

#[test]
fn states_and_slots_carry_from_call_to_call() {
    let mut s = session(&model());
    let out =
        s.call("step", &[("input_ids", ids(&[2, 3], &[1, 2, 3, 4, 5, 6])), ("slots", ids(&[2], &[2, 0]))]).unwrap();
    let expected = [logits(&[1, 2, 3]), logits(&[4, 5, 6])].concat();
    assert_eq!(out.get("logits").unwrap().as_slice::<f32>(), Some(&expected[..]));
    assert_eq!(out.get("logits").unwrap().shape, [2, 5]);
    assert_eq!(out.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["logits"]);
    let next = [("input_ids", ids(&[1, 1], &[10])), ("slots", ids(&[1], &[2])), ("starts", ids(&[1], &[3]))];
    let out = s.call("step", &next).unwrap();
    assert_eq!(out.get("logits").unwrap().as_slice::<f32>(), Some(&logits(&[1, 2, 3, 10])[..]));
    let state = s.state("past_key_values.0.key").unwrap();
    let cache: &[f32] = bytemuck::cast_slice(&state);
    assert_eq!(
        (cache.len(), &cache[..3], &cache[32..37]),
        (3 * 16, &[4.0, 5.0, 6.0][..], &[1.0, 2.0, 3.0, 10.0, 0.0][..])
    );
    s.reset().unwrap();
    assert!(s.state("past_key_values.0.key").unwrap().iter().all(|b| *b == 0));
}

#[test]
fn rows_of_states_are_copied_as_far_as_they_are_used() {
    let mut s = session(&model());
    let tokens = [("input_ids", ids(&[1, 4], &[1, 2, 3, 4])), ("slots", ids(&[1], &[2]))];
    s.call("step", &tokens).unwrap();
    s.copy_state_rows("past_key_values.", 2, 0, 3).unwrap();
    let state = s.state("past_key_values.0.key").unwrap();
    let cache: &[f32] = bytemuck::cast_slice(&state);
    assert_eq!(
        (&cache[..5], &cache[16..20], &cache[32..36]),
        (&[1.0, 2.0, 3.0, 0.0, 0.0][..], &[0.0; 4][..], &[1.0, 2.0, 3.0, 4.0][..])
    );
    // A copy goes on as the row it was made of.
    let next = [("input_ids", ids(&[1, 1], &[10])), ("slots", ids(&[1], &[0])), ("starts", ids(&[1], &[3]))];
    assert_eq!(
        s.call("step", &next).unwrap().get("logits").unwrap().as_slice::<f32>(),
        Some(&logits(&[1, 2, 3, 10])[..])
    );
    for (from, to, len) in [(3, 0, 1), (0, 3, 1), (0, 1, 17)] {
        let message = s.copy_state_rows("past_key_values.", from, to, len).unwrap_err().to_string();
        assert!(message.contains("`past_key_values.0.key`") && message.contains("rows below 3"), "{message}");
    }
    s.copy_state_rows("other", 9, 9, 99).unwrap();
}

#[test]
fn defaults_fill_what_is_not_passed() {
    let mut s = session(&model());
    let x = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let out = s.call("forward", &[("x", TensorView::new(&[2, 3], &x))]).unwrap();
    assert_eq!(out.get("y").unwrap().as_slice::<f32>(), Some(&[1.0, 3.0, 5.0, 4.0, 6.0, 8.0][..]));
    let mask = [true, false, true, false, false, true];
    let pairs = [0f32, 10.0, 0.0, 20.0, 0.0, 30.0];
    let all = [
        ("pairs", TensorView::new(&[6], &pairs)),
        ("mask", TensorView::new(&[2, 3], &mask)),
        ("x", TensorView::new(&[2, 3], &x)),
        ("positions", TensorView::new(&[2, 3], &[0i64; 6])),
    ];
    let out = s.call("forward", &all).unwrap();
    assert_eq!(out.get("y").unwrap().as_slice::<f32>(), Some(&[11.0, 20.0, 33.0, 10.0, 20.0, 36.0][..]));
}

#[test]
fn results_do_not_depend_on_threads_or_on_earlier_calls() {
    struct Host;
    impl Workers for Host {
        fn run(&self, chunks: u32, work: &(dyn Fn(u32) + Sync)) {
            (0..chunks).rev().for_each(work);
        }
        fn threads(&self) -> usize {
            1
        }
    }
    let with = |threads| LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    let host = LoadOptions { workers: Some(Arc::new(Host)), ..LoadOptions::default() };
    for options in [with(1), with(2), with(5), host] {
        let model = toy::load(toy::plan(), &options).unwrap();
        let mut s = session(&model);
        // Sizes that grow, shrink and return, so that memory moves between them.
        for (b, n) in [(1usize, 1usize), (3, 4), (1, 1), (2, 3), (3, 4), (1, 1)] {
            let tokens: Vec<i64> = (0..(b * n) as i64).collect();
            let out = s.call("step", &[("input_ids", ids(&[b, n], &tokens))]).unwrap();
            let expected: Vec<f32> = tokens.chunks(n).flat_map(logits).collect();
            assert_eq!(out.get("logits").unwrap().as_slice::<f32>(), Some(&expected[..]), "{b} x {n}");
        }
        let all: Vec<_> = (1..=3).flat_map(|b| (1..=4).map(move |n| (b, n))).collect();
        for (b, n) in all.iter().chain(&all).chain(all.iter().rev()) {
            let x = vec![1f32; b * n];
            let out = s.call("forward", &[("x", TensorView::new(&[*b, *n], &x))]).unwrap();
            let y = out.get("y").unwrap().as_slice::<f32>().unwrap();
            assert!(y.iter().enumerate().all(|(i, y)| *y == (1 + i % n) as f32), "{b} x {n}: {y:?}");
        }
    }
}

#[test]
fn errors_name_the_input_and_what_was_expected() {
    let m = model();
    let mut s = session(&m);
    let mut refused = |signature: &str, inputs: &[(&str, TensorView<'_>)]| {
        s.call(signature, inputs).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let two = ids(&[1, 2], &[1, 2]);
    #[rustfmt::skip]
    let cases = [
        (refused("stop", &[]), "no signature `stop`: this artifact has step, forward"),
        (refused("step", &[]), "signature `step`, input `input_ids`: expected i64 [b, s] with b in 1..=3 and s in 1..=8, found nothing"),
        (refused("step", &[("ids", two)]), "input `ids`: expected one of the inputs input_ids, slots, starts"),
        (refused("step", &[("input_ids", two), ("input_ids", two)]), "expected it once, found it twice"),
        (refused("step", &[("input_ids", TensorView::new(&[1, 2], &[1i32, 2]))]), "found i32 [1, 2]"),
        (refused("step", &[("input_ids", ids(&[2], &[1, 2]))]), "found i64 [2]"),
        (refused("step", &[("input_ids", ids(&[4, 1], &[1; 4]))]), "b in 1..=3 and s in 1..=8, found i64 [4, 1]"),
        (refused("step", &[("input_ids", ids(&[1, 0], &[]))]), "found i64 [1, 0]"),
        (refused("step", &[("input_ids", ids(&[1, 2], &[1]))]), "i64 [1, 2] with 8 bytes instead of 16"),
        (refused("step", &[("input_ids", ids(&[usize::MAX, 2], &[1]))]), "instead of more than memory"),
        (refused("step", &[("input_ids", two), ("slots", ids(&[2], &[0, 0]))]), "input `slots`: expected i64 [b] with b = 1, found i64 [2]"),
        (refused("step", &[("input_ids", ids(&[1, 5], &[1; 5]))]), "not compiled for b = 1, rows = 3, s = 5, t = 16: its variants take s in 1..=1 or s in 2..=4"),
        (refused("forward", &[("x", TensorView::new(&[1, 2], &[0f32; 2])), ("pairs", TensorView::new(&[5], &[0f32; 5]))]), "input `pairs`: expected f32 [2*s] with s = 2, found f32 [5]"),
        (refused("forward", &[("x", TensorView::new(&[1, 1], &[0f32])), ("mask", TensorView { dtype: kiln_core::DType::Bool, shape: &[1, 1], bytes: &[2] })]), "the byte 2, where a bool is 0 or 1"),
    ];
    for (message, part) in cases {
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
    assert!(s.call("step", &[("input_ids", two)]).is_ok(), "a refused call does no harm");
    let size = |symbol: &str, value| {
        let options = SessionOptions { sizes: vec![(symbol.into(), value)] };
        Session::new(&m, &options).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(size("rows", 5).contains("size `rows` of the session's state: expected 1 to 4, found 5"));
    assert!(size("rows", -1).contains("found -1"));
    assert!(size("row", 1).contains("one of the sizes b, rows, s, t"));
}

#[test]
fn inconsistent_plans_are_refused() {
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = toy::plan();
        change(&mut plan);
        let model = match toy::load(plan, &LoadOptions::default()) {
            Ok(model) => model,
            Err(e) => return e.to_string(),
        };
        let made = Session::new(&model, &SessionOptions::default())
            .and_then(|mut s| s.call("step", &[("input_ids", ids(&[1, 1], &[1]))]).map(|_| ()));
        made.expect_err("refused").to_string()
    };
    let first = |p: &mut Plan, change: &dyn Fn(&mut kiln_core::Step)| {
        p.signatures[0].variants.iter_mut().for_each(|v| change(&mut v.schedule.steps[0]));
    };
    let slot = |p: &mut Plan, bytes: Dim| {
        p.signatures[0].variants.iter_mut().for_each(|v| v.schedule.slots[0] = bytes.clone())
    };
    let huge = || Dim::constant(i64::MAX);
    #[rustfmt::skip]
    let cases: [(String, &str); 14] = [
        (refused(&|p| first(p, &|s| s.kernel = 5)), "step 0 (`store tokens`): expected a kernel below 5, found 5"),
        (refused(&|p| first(p, &|s| s.operands.truncate(3))), "3 + 1 operands of kernel `store`"),
        (refused(&|p| first(p, &|s| s.operands[0] = Buffer::Input(3))), "expected a buffer that exists"),
        (refused(&|p| first(p, &|s| s.operands[3] = Buffer::Weight(0))), "expected a buffer that may be written here, found Weight(0)"),
        (refused(&|p| first(p, &|s| s.operands[3] = Buffer::Prepared(0))), "may be written"),
        (refused(&|p| p.prepare.steps[0].operands[0] = Buffer::Input(0)), "prepare, step 0"),
        (refused(&|p| first(p, &|s| s.launch = Launch::Chunks(Dim::constant(0)))), "0 chunks: expected 1 to 65536, found 0"),
        (refused(&|p| first(p, &|s| s.args[0] = Dim::symbol("q"))), "the size symbol `q` has no value"),
        (refused(&|p| slot(p, Dim::constant(3))), "temporary 0: expected at most the 3 bytes of slot 0, found 4"),
        (refused(&|p| slot(p, Dim::constant(-64))), "arena slot 0"),
        (refused(&|p| slot(p, huge())), "cannot get 9223372036854775"),
        (refused(&|p| p.prepared[0].bytes = 1 << 60), "bytes for prepared weights"),
        (refused(&|p| p.states[0].shape[0] = huge() * Dim::symbol("t")), "state `past_key_values.0.key`"),
        (refused(&|p| p.signatures[0].variants[0].schedule.temporaries[0].slot = 1), "temporary 0: expected a slot below 1"),
    ];
    for (message, part) in cases {
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
}

/// Whatever a plan's numbers are, no kernel is called that would leave its buffers, or leave a result unwritten.
#[test]
fn numbers_that_leave_their_buffers_are_refused() {
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = toy::plan();
        change(&mut plan);
        let model = match toy::load(plan, &LoadOptions::default()) {
            Ok(model) => model,
            Err(e) => return e.to_string(),
        };
        let made = Session::new(&model, &SessionOptions::default())
            .and_then(|mut s| s.call("step", &[("input_ids", ids(&[2, 1], &[1, 2]))]).map(|_| ()));
        made.expect_err("refused").to_string()
    };
    let step = |p: &mut Plan, n: usize, change: &dyn Fn(&mut kiln_core::Step)| {
        p.signatures[0].variants.iter_mut().for_each(|v| change(&mut v.schedule.steps[n]));
    };
    let arg = |n: usize, argument: usize, text: &'static str| {
        move |p: &mut Plan| step(p, n, &|s| s.args[argument] = toy::dim(text))
    };
    #[rustfmt::skip]
    let cases: [(String, &str); 19] = [
        (refused(&arg(0, 0, "b + 1")), "step `store tokens`, operand 0 (Input(0)): expected i64 elements within its 16 bytes, found elements 0 to 2"),
        (refused(&arg(0, 1, "2*s")), "operand 0 (Input(0)): expected i64 elements within its 16 bytes, found elements 0 to 3"),
        (refused(&arg(0, 2, "t + 1")), "operand 3 (State(0)): expected f32 elements within its 256 bytes"),
        (refused(&arg(0, 3, "rows + 1")), "operand 3 (State(0)): expected f32 elements within its 256 bytes, found elements 0 to 79"),
        (refused(&arg(0, 0, "-b")), "a size of -2"),
        (refused(&arg(0, 0, "b*4611686018427387904")), "overflows 64 bits"),
        (refused(&arg(1, 2, "100*t")), "operand 0 (State(0))"),
        (refused(&arg(1, 0, "b - 1")), "Temporary(0): expected steps that write its 8 bytes once, found 4 bytes"),
        (refused(&arg(2, 0, "b - 1")), "Output(0): expected steps that write its 40 bytes once, found 20 bytes"),
        (refused(&arg(2, 0, "b + 1")), "operand 0 (Temporary(0)): expected f32 elements within its 8 bytes, found elements 0 to 2"),
        (refused(&|p| step(p, 0, &|s| drop(s.args.pop()))), "expected 4 arguments of kernel `store`, found 3"),
        (refused(&|p| step(p, 2, &|s| s.args.push(1.into()))), "expected 1 arguments of kernel `outer`, found 2"),
        (refused(&|p| step(p, 0, &|s| s.launch = Launch::Chunks(toy::dim("b*65536")))), "65536*b chunks: expected 1 to 65536, found 131072"),
        (refused(&|p| step(p, 2, &|s| s.operands[0] = Buffer::Output(0))), "operand 0: expected what an earlier step wrote, found Output(0)"),
        (refused(&|p| p.signatures[0].variants.iter_mut().for_each(|v| v.schedule.steps.swap(1, 2))), "Temporary(0), which its slot does not hold"),
        (refused(&|p| p.prepared[0].bytes = 16), "operand 1 (Prepared(0)): expected f32 elements within its 16 bytes, found elements 0 to 4"),
        (refused(&|p| p.prepared[0].bytes = 24), "Prepared(0): expected steps that write its 24 bytes once, found 20 bytes"),
        (refused(&|p| p.signatures[0].inputs[0].storage = toy::dense(kiln_core::DType::F64)), "i64 as operand 0, found Input(0), f64"),
        (refused(&|p| p.symbols.values_mut().for_each(|b| (b.min, b.max) = (-1, 0))), "expected 0 <= min <= max, found -1..=0"),
    ];
    for (message, part) in cases {
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
    // Two temporaries that would overwrite each other.
    let overlap = refused(&|p| {
        for variant in &mut p.signatures[0].variants {
            variant.schedule.temporaries.push(kiln_core::Temporary { slot: 0, bytes: toy::dim("4*b") });
            variant.schedule.steps[2].operands[0] = Buffer::Temporary(1);
        }
    });
    assert!(overlap.contains("Temporary(1), which its slot does not hold"), "{overlap}");
}

/// A program for nothing at all has no room for a prompt, and says so.
#[test]
fn a_model_without_rows_is_refused() {
    let mut plan = toy::plan();
    plan.symbols.values_mut().for_each(|b| *b = (0..=0).into());
    let model = toy::load(plan, &LoadOptions::default()).unwrap();
    let made = CausalSession::for_prompts(&model, &[Prompt::new([1])], &GenerationConfig::default());
    assert!(made.err().is_some_and(|e| e.to_string().contains("`rows`")));
}

#[test]
fn a_cancelled_session_stops_until_it_is_reset() {
    let mut s = session(&model());
    let token = s.cancel_token();
    let input = [("input_ids", ids(&[1, 1], &[1]))];
    token.cancel();
    assert!(token.is_cancelled() && matches!(s.call("step", &input).err(), Some(Error::Cancelled)));
    token.reset();
    assert!(s.call("step", &input).is_ok());
}

#[test]
fn sessions_of_one_model_run_side_by_side() {
    let m = model();
    std::thread::scope(|scope| {
        for k in 0..3i64 {
            let mut s = session(&m);
            scope.spawn(move || {
                for i in 0..500 {
                    let out = s.call("step", &[("input_ids", ids(&[1, 2], &[i, k]))]).unwrap();
                    assert_eq!(out.get("logits").unwrap().as_slice::<f32>(), Some(&logits(&[i, k])[..]));
                }
            });
        }
    });
}

#[test]
fn profiles_name_their_steps() {
    let mut s = session(&model());
    let (_, times) = s.call_profiled("step", &[("input_ids", ids(&[2, 1], &[1, 2]))]).unwrap();
    let labels: Vec<_> = times.iter().map(|t| (&*t.label, t.kernel.as_str(), t.flops, t.bytes)).collect();
    assert_eq!(labels, [("store tokens", "store", 2, 8), ("sum of slot", "sum", 2, 8), ("logits", "outer", 2, 8)]);
}

#[test]
fn memory_is_stated_at_the_bounds_or_at_given_sizes() {
    let report = MemoryReport { weights: 20, prepared: 64, state: 4 * 16 * 4, arena: 64, io: 4 * 192 };
    let m = model();
    let found = m.memory(&[]).unwrap();
    assert_eq!((found.weights, found.prepared, found.state, found.arena), (20, 64, report.state, report.arena));
    assert_eq!(m.memory(&[("rows", 1)]).unwrap().state, 64);
    assert!(found.io >= 3 * 4 * 8 && found.resident() == found.prepared + found.state + found.arena + found.io);
}

/// A step of a model that does not look at lengths.
fn step<'a>(tokens: &'a [i64], seq: usize, slots: &'a [i64], starts: &'a [i64]) -> Step<'a> {
    Step { tokens, seq, slots, starts, lengths: &[] }
}

#[test]
fn a_language_model_takes_steps() {
    let m = toy::load(with_ranges(toy::plan()), &LoadOptions::default()).unwrap();
    let mut lm = CausalSession::new(&m, &CacheOptions { rows: 2, context: Some(12), source: None }).unwrap();
    assert!(lm.encoder().is_none() && lm.encode(&[1], &[1], 1, &[0]).is_err());
    assert_eq!((lm.vocab_size(), lm.max_context(), lm.max_rows(), lm.max_chunk()), (5, 12, 2, 8));
    assert_eq!(lm.step(step(&[0, 1, 2, 3], 2, &[1, 0], &[-1, 0])).unwrap(), [logits(&[1]), logits(&[2, 3])].concat());
    assert_eq!(lm.step(step(&[4], 1, &[1], &[1])).unwrap(), logits(&[1, 4]));
    for (tokens, slots, starts, part) in [
        ([5], [0], [0], "input `input_ids`: expected values from 0 to 4, found 5 at row 0, position 0"),
        ([-1], [0], [0], "found -1"),
        ([1], [2], [0], "input `slots`: expected different values from 0 to 1 (rows - 1), found 2"),
        ([1], [0], [12], "input `starts`: expected values from -1 to 11 (t - s), found 12"),
    ] {
        let message = lm.step(step(&tokens, 1, &slots, &starts)).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
    assert!(CausalSession::new(&m, &CacheOptions { rows: 9, ..CacheOptions::default() }).is_err());
    let mut plan = toy::plan();
    plan.signatures.remove(0);
    let encoder = toy::load(plan, &LoadOptions::default()).unwrap();
    let refused = CausalSession::new(&encoder, &CacheOptions::default()).err().map(|e| e.to_string());
    assert_eq!(refused.as_deref(), Some("no signature `step`: this artifact has forward"));
}

#[test]
fn an_encoder_decoder_keeps_sources() {
    let m = toy::load(with_ranges(toy::encoder_decoder()), &LoadOptions::default()).unwrap();
    let encoder = |source| {
        let lm = CausalSession::new(&m, &CacheOptions { rows: 3, context: None, source }).unwrap();
        lm.encoder().map(|e| (e.max_source, e.decoder_start_token_id))
    };
    assert_eq!((encoder(Some(4)), encoder(None)), (Some((4, Some(3))), Some((5, Some(3)))));
    let prompts = [Prompt::new([1, 2, 3]), Prompt::new([4])];
    let mut lm = CausalSession::for_prompts(&m, &prompts, &GenerationConfig::default()).unwrap();
    assert_eq!((lm.max_rows(), lm.encoder().unwrap().max_source), (2, 3));
    let too_long = vec![Prompt::new([1; 9]); 3];
    let beams = GenerationConfig { num_beams: Some(2), ..GenerationConfig::default() };
    let most = CausalSession::for_prompts(&m, &too_long, &beams).unwrap();
    assert_eq!((most.max_rows(), most.encoder().unwrap().max_source), (3, 5), "what it was compiled for");

    lm.encode(&[1, 2, 3, 4, 0, 0], &[1, 1, 1, 1, 0, 0], 3, &[1, 0]).unwrap();
    let state = |lm: &mut CausalSession, name: &str| -> Vec<f32> {
        bytemuck::cast_slice(&lm.session().state(name).unwrap()).to_vec()
    };
    assert_eq!(state(&mut lm, "cross_key_values.0.key"), [4.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(state(&mut lm, "cross_attention_mask"), [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    lm.step(step(&[2], 1, &[1], &[0])).unwrap();
    let cache = state(&mut lm, "past_key_values.0.key");
    lm.copy_source(1, 0).unwrap();
    assert_eq!(state(&mut lm, "cross_key_values.0.key"), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    assert_eq!(state(&mut lm, "cross_attention_mask"), [1.0; 6]);
    assert_eq!(state(&mut lm, "past_key_values.0.key"), cache, "tokens stay");

    for (tokens, slot, part) in [
        (&[1, 5][..], 0, "signature `encode`, input `input_ids`: expected values from 0 to 4, found 5"),
        (&[1], 2, "input `slots`: expected different values from 0 to 1 (rows - 1), found 2"),
        (&[1; 4], 0, "at most 3 tokens, found 4"),
    ] {
        let mask = vec![1; tokens.len()];
        let message = lm.encode(tokens, &mask, tokens.len(), &[slot]).unwrap_err().to_string();
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
    let mut plan = toy::encoder_decoder();
    plan.states.truncate(1);
    plan.signatures[2].variants.clear();
    let stateless = toy::load(plan, &LoadOptions::default()).unwrap();
    let refused = CausalSession::new(&stateless, &CacheOptions::default()).err().map(|e| e.to_string());
    assert!(
        refused.is_some_and(|e| e.contains("signature `encode`: expected input `input_ids` [b, source] and states"))
    );
}

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_repeated_call_allocates_nothing() {
    let mut lm = CausalSession::new(&model(), &CacheOptions::default()).unwrap();
    lm.step(step(&[1, 2], 2, &[0], &[0])).unwrap();
    lm.step(step(&[1], 1, &[0], &[2])).unwrap();
    let before = ALLOCATIONS.with(Cell::get);
    for start in 3..16 {
        lm.step(step(&[1], 1, &[0], &[start])).unwrap();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
}
