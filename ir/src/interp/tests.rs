use super::{Tensor, infer_sizes, relative_error, run, run_observed};
use crate::{BlockFormat, DType, IrError, Module, Storage, text::parse};

fn module(text: &str) -> Module {
    parse(text).expect("parses")
}

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape, values).expect("fits")
}

const TWICE: &str = r#"
sym s in 1..=4
func @double(%0: f32[s + 1, 2] input "x") {
  %1: f32[s + 1, 2] = add %0, %0
  return "y" %1, "x" %0
}
entry @twice(%0: f32[s + 1, 2] input "x") {
  %1: (f32[s + 1, 2], f32[s + 1, 2]) = call @double %0
  %2: f32[s + 1, 2] = get %1 {index = 0}
  %3: f32[s + 1, 2] = get %1 {index = 1}
  %4: f32[s + 1, 2] = mul %2, %3
  return "y" %4
}
"#;

#[test]
fn calls_pass_values_and_sizes() {
    let m = module(TWICE);
    let x = f32s(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = run(&m, "twice", std::slice::from_ref(&x), &[]).expect("runs");
    assert_eq!(y, [f32s(&[3, 2], &[2.0, 8.0, 18.0, 32.0, 50.0, 72.0])]);
    assert_eq!(infer_sizes(&m, "twice", &[x], &[]).expect("fits")["s"], 2);
    let mut seen = vec![];
    let x = f32s(&[2, 2], &[0.0; 4]);
    run_observed(&m, "twice", &[x], &[], &mut |f, n, _| seen.push(format!("{}{n}", f.name))).expect("runs");
    assert_eq!(seen, ["twice%0", "double%0", "double%1", "twice%2", "twice%3", "twice%4"]);
}

#[test]
fn arguments_that_do_not_fit_are_named() {
    let m = module(TWICE);
    let fails = |args: &[Tensor], sizes: &[(&str, i64)]| run(&m, "twice", args, sizes).expect_err("fails").to_string();
    assert_eq!(
        fails(&[f32s(&[2, 3], &[0.0; 6])], &[]),
        "evaluating @twice: argument `x` is f32[s + 1, 2], found f32[2, 3] with s = 1"
    );
    assert!(fails(&[], &[]).contains("expected 1 arguments, found 0"));
    assert!(fails(&[f32s(&[6, 2], &[0.0; 12])], &[]).contains("the size s = 5 is outside 1..=4"));
    assert!(fails(&[f32s(&[3, 2], &[0.0; 6])], &[("s", 3)]).contains("found f32[3, 2] with s = 3"));
    assert!(fails(&[f32s(&[3, 2], &[0.0; 6])], &[("z", 3)]).contains("no size symbol `z`"));
    assert!(matches!(run(&m, "thrice", &[], &[]), Err(IrError::Eval { .. })));
    assert!(matches!(Tensor::from_f32([2, 2], &[0.0]), Err(IrError::Tensor { .. })));
    assert!(Tensor::zeros(Storage::Block(BlockFormat::Q8_0), [2, 31]).is_err());
}

#[test]
fn a_slice_past_the_end_is_an_error() {
    let m = module(
        r#"
sym s in 1..=4
entry @last(%0: f32[s] input "x") {
  %1: f32[2] = slice %0 {axis = 0, start = s - 2, len = 2}
  return "y" %1
}"#,
    );
    let y = run(&m, "last", &[f32s(&[3], &[1.0, 2.0, 3.0])], &[]).expect("runs");
    assert_eq!(y, [f32s(&[2], &[2.0, 3.0])]);
    let e = run(&m, "last", &[f32s(&[1], &[1.0])], &[]).expect_err("negative start").to_string();
    assert!(e.contains("the size s - 2 is negative: -1"), "{e}");
}

#[test]
fn dot_general_pairs_any_axes() {
    let m = module(
        r#"
entry @f(%0: f32[2, 3, 2] input "a", %1: f32[3, 4, 2] input "b") {
  %2: f32[2, 2, 4] = dot_general %0, %1 {lhs_batch = [2], rhs_batch = [2], lhs_contract = [1], rhs_contract = [0]}
  return "y" %2
}"#,
    );
    let (a, b): (Vec<f32>, Vec<f32>) = ((0..12).map(|i| i as f32).collect(), (0..24).map(|i| i as f32 - 7.0).collect());
    let y = run(&m, "f", &[f32s(&[2, 3, 2], &a), f32s(&[3, 4, 2], &b)], &[]).expect("runs");
    let mut want = vec![];
    for p in 0..2 {
        for i in 0..2 {
            for j in 0..4 {
                want.push((0..3).map(|k| a[(i * 3 + k) * 2 + p] * b[(k * 4 + j) * 2 + p]).sum::<f32>());
            }
        }
    }
    assert_eq!(y, [f32s(&[2, 2, 4], &want)]);
}

#[test]
fn linear_layers_of_any_size_agree_with_the_definition() {
    for (m, n, k) in [(1, 1, 1), (3, 40, 17), (40, 3, 9), (17, 17, 0), (0, 3, 3)] {
        let text = format!(
            r#"entry @f(%0: f64[{m}, {k}] input "a", %1: f64[{n}, {k}] input "b") {{
  %2: f64[{m}, {n}] = dot_general %0, %1 {{lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}}
  return "y" %2
}}"#
        );
        let values = |count: usize| (0..count).map(|i| (i * 7 % 11) as f64 - 5.0).collect::<Vec<_>>();
        let (a, b) = (values(m * k), values(n * k));
        let args = [Tensor::from_f64(DType::F64, [m, k], &a), Tensor::from_f64(DType::F64, [n, k], &b)];
        let args = args.map(|t| t.expect("fits"));
        let y = run(&module(&text), "f", &args, &[]).expect("runs");
        let want: Vec<f64> = (0..m * n).map(|ij| (0..k).map(|p| a[ij / n * k + p] * b[ij % n * k + p]).sum()).collect();
        assert_eq!(y[0].to_f64_vec(), want, "{m} {n} {k}");
    }
}

#[test]
fn relative_error_tells_differences_apart() {
    let want = f32s(&[2], &[3.0, 4.0]);
    assert_eq!(relative_error(&f32s(&[2], &[3.0, 5.0]), &want), 0.2);
    assert_eq!(relative_error(&f32s(&[1, 2], &[3.0, 4.0]), &want), f64::INFINITY);
    assert_eq!(relative_error(&f32s(&[2], &[f32::NAN, 4.0]), &want), f64::INFINITY);
    assert_eq!(relative_error(&f32s(&[1], &[f32::INFINITY]), &f32s(&[1], &[f32::INFINITY])), 0.0);
    assert_eq!(relative_error(&f32s(&[1], &[0.5]), &f32s(&[1], &[0.0])), 0.5);
}
