use super::{parse, print};
use crate::verify;

const STEP: &str = r#"sym b in 1..=4 batch
sym s in 1..=512 typically 1, 64, 512
sym t in 1..=2048 context typically 512

func @block(
  %0: f32[b, s, 8] input "hidden",
  %1: q8_0[8, 32] param "w",
  %2: f32[4, t, 2, 4] state "key",
  %3: i64[b] input "rows"
) {
  %4: f32[8, 32] = dequantize %1 {to = f32}
  %5: f32[b, s, 32] = dot_general %0, %4 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [0]}
  %6: f32[b, s, 8] = slice %5 {axis = 2, start = 24, len = 8}
  %7: f32[b, s, 2, 4] = reshape %6 {shape = [b, s, 2, 4]}
  %8: f32[4, t, 2, 4] = cache_update %2, %7, %3, %3
  %9: f32[b, s, 2, 4] = attention %7, %8, %8, %3, %3 {scale = 0.5, causal = true, cached = true, mask = false}
  %10: f32[b, s, 8] = reshape %9 {shape = [b, s, 8]}
  %11: f32[1] = constant {data = [1e-6]}
  return "hidden" %10, "key" %8 updates 2
}

entry @step(
  %0: f32[b, s, 8] input "x" default ones,
  %1: q8_0[8, 32] param "w.0",
  %2: f32[4, t, 2, 4] state "past.0.key",
  %3: i64[b] input "slots"
) variants (b in 1..=1, s in 1..=1), (b*s in 1..=8, t - s in 0..=64) {
  %4: (f32[b, s, 8], f32[4, t, 2, 4]) = call @block %0, %1, %2, %3
  %5: f32[b, s, 8] = get %4 {index = 0}
  %6: f32[4, t, 2, 4] = get %4 {index = 1}
  %7: f32[b, 1, 8] = slice %5 {axis = 1, start = s - 1, len = 1}
  return "y" %7, "past.0.key" %6 updates 2
}
"#;

#[test]
fn text_parses_back_to_itself() {
    let module = parse(STEP).expect("parses");
    verify(&module).expect("verifies");
    assert_eq!(print(&module), STEP);
    assert_eq!(parse(&print(&module)).expect("parses"), module);
}

#[test]
fn inlining_leaves_no_call() {
    let module = parse(STEP).expect("parses");
    let (id, _) = module.find("step").expect("there");
    let flat = module.inline(id).without_dead_nodes();
    assert!(flat.nodes().all(|(_, n)| !matches!(n.op, crate::Op::Call(_) | crate::Op::Get(_))));
    let module = crate::Module { symbols: module.symbols, functions: vec![flat] };
    verify(&module).expect("verifies");
}

#[test]
fn errors_name_the_line_and_the_rule() {
    let bad = |from: &str, to: &str| {
        let text = STEP.replace(from, to);
        assert_ne!(text, STEP, "{from}");
        match parse(&text) {
            Err(e) => e.to_string(),
            Ok(m) => verify(&m).expect_err(to).to_string(),
        }
    };
    assert_eq!(bad("= dequantize", "= dequantise"), "line 11: unknown op `dequantise`");
    assert!(bad("%7, %8, %8, %3", "%7, %2, %8, %3").contains("uses the state version %2, which %8 has consumed"));
    assert!(bad("updates 2\n}\n\nentry", "updates 1\n}\n\nentry").contains("does not descend from state argument 1"));
    assert!(bad("start = 24", "start = 25").contains("25..33 lies outside the axis of size 32"));
    assert!(bad("sym t in 1..=2048 context typically 512\n", "").contains("the size symbol `t` is not declared"));
    assert!(bad("q8_0[8, 32] param \"w\"", "q8_0[32, 8] param \"w\"").contains("not whole blocks"));
}
