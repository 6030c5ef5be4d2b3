//! States and parameters that an entry writes.

use kiln::{CompileOptions, LoadOptions, Model, Session, SessionOptions, TensorView, lab};
use kiln_ir::{Module, text};
use std::sync::Arc;

/// The weights by name.
type Weights<'a> = &'a [(&'a str, &'a [f32])];

fn load(module: &Module, weights: Weights<'_>, rewrite: bool) -> Arc<Model> {
    let passes = kiln_passes::Options { rewrite, ..kiln_passes::Options::default() };
    let options = CompileOptions { passes, ..crate::options() };
    let program = lab::build(module, &options).expect("compiles");
    let bytes = |name: &str| {
        let found = weights.iter().find(|(n, _)| *n == name).expect("a weight").1;
        found.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()
    };
    let load = LoadOptions { threads: Some(2), ..LoadOptions::default() };
    program.load(&options, &load, |name, out| out.write_all(&bytes(name))).expect("loads")
}

fn session(model: &Arc<Model>) -> Session {
    Session::new(model, &SessionOptions::default()).expect("a session")
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Calls `f` on "x", and gives its first result if it has one.
fn call(session: &mut Session, x: &[f32]) -> Vec<f32> {
    let outputs = session.call("f", &[("x", TensorView::new(&[x.len()], x))]).expect("runs");
    outputs.iter().next().map(|(_, t)| floats(t.bytes)).unwrap_or_default()
}

/// A count of calls, and the mean of all that was passed: `n' = n + 1`, `m' = m + (x - m) / n'`.
const MEAN: &str = r#"
entry @f(%0: f32[3] input "x", %1: i64[] state "count", %2: f32[3] state "mean") {
  %3: i64[] = constant {data = [1]}
  %4: i64[] = add %1, %3
  %5: i64[] = write %1, %4
  %6: f32[] = cast %5 {to = f32}
  %7: f32[3] = broadcast %6 {shape = [3]}
  %8: f32[3] = sub %0, %2
  %9: f32[3] = div %8, %7
  %10: f32[3] = add %2, %9
  %11: f32[3] = write %2, %10
  %12: f32[3] = mul %11, %11
  return "square" %12, "count" %5 updates 1, "mean" %11 updates 2
}
"#;

#[test]
fn a_counter_and_a_running_mean() {
    let module = text::parse(MEAN).expect("parses");
    for rewrite in [false, true] {
        let model = load(&module, &[], rewrite);
        let (mut a, mut b) = (session(&model), session(&model));
        call(&mut b, &[5.0, 5.0, 5.0]);
        for (x, mean) in [([2.0f32, 0.0, -4.0], [2.0f32, 0.0, -4.0]), ([4.0, 1.0, 0.0], [3.0, 0.5, -2.0])] {
            assert_eq!(call(&mut a, &x), mean.map(|m| m * m));
            assert_eq!(floats(&a.state("mean").expect("a state")), mean);
        }
        assert_eq!(*a.state("count").expect("a state"), 2i64.to_le_bytes());
        // Sessions know nothing of each other.
        assert_eq!(*b.state("count").expect("a state"), 1i64.to_le_bytes());
        a.reset().expect("resets");
        assert_eq!(call(&mut a, &[1.0, 2.0, 3.0]), [1.0, 4.0, 9.0]);
    }
}

/// One step of gradient descent on `|w - x|^2 / 2`, and what was there before.
const DESCENT: &str = r#"
entry @f(%0: f32[4] input "x", %1: f32[4] live "w", %2: f32[4] param "rate") {
  %3: f32[4] = sub %1, %0
  %4: f32[4] = mul %3, %2
  %5: f32[4] = sub %1, %4
  %6: f32[4] = mul %3, %3
  %7: f32[4] = write %1, %5
  return "loss" %6, "w" %7 updates 1
}
"#;

#[test]
fn a_parameter_that_is_written_belongs_to_a_session() {
    let module = text::parse(DESCENT).expect("parses");
    for rewrite in [false, true] {
        let weights: Weights<'_> = &[("w", &[8.0, 4.0, 0.0, -8.0]), ("rate", &[0.5; 4])];
        let model = load(&module, weights, rewrite);
        let (mut a, mut b) = (session(&model), session(&model));
        assert_eq!(floats(&a.state("w").expect("a parameter")), [8.0, 4.0, 0.0, -8.0]);
        // The loss is that before the step.
        assert_eq!(call(&mut a, &[0.0; 4]), [64.0, 16.0, 0.0, 64.0]);
        assert_eq!(call(&mut a, &[0.0; 4]), [16.0, 4.0, 0.0, 16.0]);
        assert_eq!(floats(&a.state("w").expect("a parameter")), [2.0, 1.0, 0.0, -2.0]);
        assert_eq!(call(&mut b, &[0.0; 4]), [64.0, 16.0, 0.0, 64.0]);
        a.set_state("w", &TensorView::new(&[4], &[1.0f32; 4])).expect("fits");
        assert_eq!(call(&mut a, &[0.0; 4]), [1.0; 4]);
        a.reset().expect("resets");
        assert_eq!(call(&mut a, &[0.0; 4]), [64.0, 16.0, 0.0, 64.0]);
        let wrong = a.set_state("w", &TensorView::new(&[3], &[1.0f32; 3])).expect_err("three are not four");
        assert_eq!(wrong.to_string(), "state `w`: expected f32 [4], found f32 [3]");
        let wrong = a.set_state("v", &TensorView::new(&[4], &[1.0f32; 4])).expect_err("there is no v");
        assert_eq!(wrong.to_string(), "state `v`: expected one of the states w, found none of that name");
    }
}

/// Values that look at a state at other places than where it is written, or that are used after it was.
const VIEWS: &str = r#"
entry @f(%0: f32[4] input "x", %1: f32[4] state "a", %2: f32[2, 2] state "b") {
  %3: f32[2] = slice %1 {axis = 0, start = 2, len = 2}
  %4: f32[2] = slice %1 {axis = 0, start = 0, len = 2}
  %5: f32[4] = concat %3, %4 {axis = 0}
  %6: f32[4] = add %5, %0
  %7: f32[4] = neg %1
  %8: f32[4] = write %1, %6
  %9: f32[2, 2] = transpose %2 {perm = [1, 0]}
  %10: f32[2, 2] = reshape %8 {shape = [2, 2]}
  %11: f32[2, 2] = add %9, %10
  %12: f32[2, 2] = write %2, %11
  %13: f32[4] = reshape %9 {shape = [4]}
  %14: f32[4] = add %7, %13
  return "y" %14, "a" %8 updates 1, "b" %12 updates 2
}
"#;

#[test]
fn what_was_read_of_a_state_stays_as_it_was() {
    let module = text::parse(VIEWS).expect("parses");
    for rewrite in [false, true] {
        let mut s = session(&load(&module, &[], rewrite));
        let (mut a, mut b) = ([0.0f32; 4], [0.0f32; 4]);
        for step in 1..5 {
            let x = [1.0, 10.0, 100.0, 1000.0].map(|v| v * step as f32);
            let turned = [b[0], b[2], b[1], b[3]];
            let y: Vec<f32> = a.iter().zip(turned).map(|(a, t)| t - a).collect();
            assert_eq!(call(&mut s, &x), y, "step {step}");
            a = [a[2] + x[0], a[3] + x[1], a[0] + x[2], a[1] + x[3]];
            b = [0, 1, 2, 3].map(|i| turned[i] + a[i]);
            assert_eq!(floats(&s.state("a").expect("a state")), a, "step {step}");
            assert_eq!(floats(&s.state("b").expect("a state")), b, "step {step}");
        }
    }
}

/// A view of a state that is written to the state, and used again after that.
const TURN: &str = r#"
entry @f(%0: f32[2, 2] input "x", %1: f32[2, 2] state "a") {
  %2: f32[2, 2] = transpose %1 {perm = [1, 0]}
  %3: f32[2, 2] = add %2, %0
  %4: f32[2, 2] = write %1, %3
  %5: f32[2, 2] = transpose %4 {perm = [1, 0]}
  %6: f32[2, 2] = write %4, %5
  %7: f32[2, 2] = sub %5, %2
  return "y" %7, "a" %6 updates 1
}
"#;

#[test]
fn a_view_that_was_written_stays_as_it_was() {
    let module = text::parse(TURN).expect("parses");
    let turned = |a: [f32; 4]| [a[0], a[2], a[1], a[3]];
    for rewrite in [false, true] {
        let mut s = session(&load(&module, &[], rewrite));
        let mut a = [0.0f32; 4];
        for x in [[1.0f32, 2.0, 3.0, 4.0], [0.5, -1.0, 7.0, 0.25], [9.0, 8.0, -7.0, 6.0]] {
            let before = turned(a);
            let sum = [0, 1, 2, 3].map(|i| before[i] + x[i]);
            a = turned(sum);
            let y = [0, 1, 2, 3].map(|i| a[i] - before[i]);
            let outputs = s.call("f", &[("x", TensorView::new(&[2, 2], &x))]).expect("runs");
            assert_eq!(outputs.iter().next().map(|(_, t)| floats(t.bytes)), Some(y.to_vec()));
            assert_eq!(floats(&s.state("a").expect("a state")), a);
        }
    }
}

/// Two states that exchange their values, and a result that is one of them as it was.
const SWAP: &str = r#"
entry @f(%0: f32[2] input "x", %1: f32[2] state "a", %2: f32[2] state "b") {
  %3: f32[2] = add %1, %0
  %4: f32[2] = mul %2, %0
  %5: f32[2] = write %1, %4
  %6: f32[2] = write %2, %3
  return "y" %4, "a" %5 updates 1, "b" %6 updates 2
}
"#;

#[test]
fn states_exchange_their_values() {
    let module = text::parse(SWAP).expect("parses");
    for rewrite in [false, true] {
        let mut s = session(&load(&module, &[], rewrite));
        let (mut a, mut b) = ([0.0f32; 2], [0.0f32; 2]);
        for x in [[1.0f32, 2.0], [3.0, -1.0], [0.5, 2.0]] {
            let (to_a, to_b) = ([b[0] * x[0], b[1] * x[1]], [a[0] + x[0], a[1] + x[1]]);
            assert_eq!(call(&mut s, &x), to_a);
            (a, b) = (to_a, to_b);
            assert_eq!(floats(&s.state("a").expect("a state")), a);
            assert_eq!(floats(&s.state("b").expect("a state")), b);
        }
    }
}
