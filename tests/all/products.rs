//! Products with operands that are no packed weights: matrices that may change, and left sides of 16 bits.

use crate::ops::call;
use kiln::{LoadOptions, Model, Session, SessionOptions, TensorView, lab};
use kiln_core::{KernelSpec, RightSide};
use kiln_ir::interp::{self, Tensor, relative_error};
use kiln_ir::{Module, sample, text};
use std::sync::Arc;

fn load(module: &Module, args: &[Tensor], threads: usize) -> Arc<Model> {
    let program = lab::build(module, &crate::options()).unwrap_or_else(|e| panic!("{e}\n{module}"));
    let (_, f) = module.entries().next().expect("an entry");
    let load = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    let bytes = |name: &str| args[f.args.iter().position(|a| &*a.name == name).expect("an argument")].bytes();
    program.load(&crate::options(), &load, |name, out| out.write_all(bytes(name))).expect("loads")
}

/// The right sides of the products that a model runs.
fn right_sides(model: &Model) -> Vec<RightSide> {
    let schedules = model.plan().signatures.iter().flat_map(|s| &s.variants).map(|v| &v.schedule);
    let kernels = schedules.flat_map(|s| &s.steps).map(|s| &model.plan().kernels[s.kernel as usize].spec);
    let products = kernels.filter_map(|spec| match spec {
        KernelSpec::MatMul(s) => Some(s.rhs),
        _ => None,
    });
    products.collect()
}

/// Runs a module with sizes, compares with the interpreter, and gives the results.
fn checked(module: &Module, model: &Arc<Model>, args: &[Tensor], sizes: &[(&str, i64)]) -> Vec<Tensor> {
    let (_, f) = module.entries().next().expect("an entry");
    let mut session = Session::new(model, &SessionOptions::default()).expect("a session");
    let got = call(&mut session, f, args).unwrap_or_else(|e| panic!("{e}\n{module}"));
    let want = interp::run(module, &f.name, args, sizes).expect("evaluates");
    for (g, w) in got.iter().zip(&want) {
        let error = relative_error(g, w);
        assert!(error < 2e-6, "off by {error:.2e} at {sizes:?}\n{module}");
    }
    got
}

/// `gelu(x W + b)` for a matrix that a step writes, as it lies or as an op makes it; its use comes before the write.
fn live(stored: &str, matrix: &str, contract: usize, made: Option<&str>) -> Module {
    let (value, used) = made.map_or((String::new(), "%1"), |op| (format!("  %4: f32[{matrix}] = {op}\n"), "%4"));
    let text = format!(
        r#"sym s in 1..=40
entry @f(%0: f32[s, 37] input "x", %1: {stored}[{matrix}] live "w", %2: f32[21] param "b", %3: {stored}[{matrix}] input "next") variants (s in 1..=8), (s in 1..=40) {{
{value}  %5: f32[s, 21] = dot_general %0, {used} {{lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [{contract}]}}
  %6: f32[s, 21] = broadcast %2 {{shape = [s, 21]}}
  %7: f32[s, 21] = add %5, %6
  %8: f32[s, 21] = gelu %7 {{tanh = false}}
  %9: {stored}[{matrix}] = write %1, %3
  return "y" %8, "w" %9 updates 1
}}
"#
    );
    text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn a_live_matrix_gives_a_row_the_same_bits_in_any_batch() {
    let (wide, negated) = (Some("cast %1 {to = f32}"), Some("neg %1"));
    let cases = [
        ("f32", "21, 37", 1, None),
        ("bf16", "21, 37", 1, wide),
        ("f32", "21, 37", 1, negated),
        ("f32", "37, 21", 0, None),
        ("f16", "37, 21", 0, wide),
        ("f32", "37, 21", 0, negated),
    ];
    for (n, (stored, matrix, contract, made)) in cases.into_iter().enumerate() {
        let module = live(stored, matrix, contract, made);
        let args = |rows: i64| sample::random_args(&module, "f", &[("s", rows)], 7).expect("arguments");
        let all = args(40);
        let models = [1, 2].map(|threads| load(&module, &all, threads));
        let mut columns = 0;
        for right in right_sides(&models[0]) {
            columns += i32::from(matches!(right, RightSide::Columns(_)));
        }
        // Few rows take a matrix as it lies where it lies as a layer's weight does.
        assert_eq!(columns > 0, n < 2, "case {n}: {}", models[0].plan());
        let whole = checked(&module, &models[0], &all, &[("s", 40)]);
        for rows in [1usize, 2, 5, 8, 9, 17, 40] {
            for first in [0, 40 - rows] {
                let mut args = all.clone();
                let row = 4 * 37;
                let bytes = all[0].bytes()[first * row..(first + rows) * row].to_vec();
                args[0] = Tensor::from_bytes(kiln_core::DType::F32, vec![rows, 37], bytes).expect("rows");
                for model in &models {
                    let got = checked(&module, model, &args, &[("s", rows as i64)]);
                    let want = &whole[0].bytes()[first * 4 * 21..(first + rows) * 4 * 21];
                    assert_eq!(got[0].bytes(), want, "case {n}, {rows} rows from {first}");
                    assert_eq!(got[1], whole[1], "case {n}: the matrix is the next one");
                }
            }
        }
    }
}

/// What training does: a product over the rows of a batch, whose number is known only in the call.
#[test]
fn the_depth_of_a_product_may_be_a_size() {
    let text = r#"sym s in 1..=40
entry @f(%0: f32[s, 24] input "dy", %1: f32[s, 30] input "x") {
  %2: f32[24, 30] = dot_general %0, %1 {lhs_batch = [], rhs_batch = [], lhs_contract = [0], rhs_contract = [0]}
  return "dw" %2
}
"#;
    let module = text::parse(text).expect("parses");
    for sizes in [1i64, 3, 8, 16, 33, 40].map(|s| [("s", s)]) {
        let args = sample::random_args(&module, "f", &sizes, 3).expect("arguments");
        let model = load(&module, &args, 2);
        assert!(matches!(right_sides(&model)[..], [RightSide::Panels { .. }]));
        checked(&module, &model, &args, &sizes);
    }
}

#[test]
fn a_left_side_of_16_bits_is_read_as_it_is() {
    for stored in ["bf16", "f16"] {
        let text = format!(
            r#"sym s in 1..=40
entry @f(%0: {stored}[s, 48] input "x", %1: f32[21, 48] param "w") variants (s in 1..=8), (s in 1..=40) {{
  %2: f32[s, 48] = cast %0 {{to = f32}}
  %3: f32[s, 21] = dot_general %2, %1 {{lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}}
  return "y" %3
}}
"#
        );
        let module = text::parse(&text).expect("parses");
        let wide = text::parse(&text.replace(&format!("{stored}["), "f32[")).expect("parses");
        for rows in [1i64, 7, 8, 9, 40] {
            let args = sample::random_args(&module, "f", &[("s", rows)], 5).expect("arguments");
            let model = load(&module, &args, 2);
            let alone = model.plan().signatures[0].variants.iter().all(|v| v.schedule.steps.len() == 1);
            assert!(alone, "nothing but the product: {}", model.plan());
            let got = checked(&module, &model, &args, &[("s", rows)]);
            // The same values in 32 bits give the same bits.
            let x = Tensor::from_f32(args[0].shape().to_vec(), &args[0].to_f32_vec()).expect("widens");
            let args = [x, args[1].clone()];
            let as_f32 = checked(&wide, &load(&wide, &args, 1), &args, &[("s", rows)]);
            assert_eq!(got[0].bytes(), as_f32[0].bytes(), "{stored}, {rows} rows");
        }
    }
}

#[test]
fn a_live_matrix_that_was_set_is_used() {
    let module = live("f32", "21, 37", 1, None);
    let args = sample::random_args(&module, "f", &[("s", 12)], 9).expect("arguments");
    let model = load(&module, &args, 2);
    let mut session = Session::new(&model, &SessionOptions::default()).expect("a session");
    let (_, f) = module.entries().next().expect("an entry");
    let first = call(&mut session, f, &args).expect("runs");
    // The next call multiplies by what this one wrote.
    let second = call(&mut session, f, &args).expect("runs");
    assert_ne!(first[0], second[0]);
    let bytes = args[1].bytes();
    let value = TensorView { dtype: kiln_core::DType::F32, shape: &[21, 37], bytes };
    session.set_state("w", &value).expect("fits");
    assert_eq!(call(&mut session, f, &args).expect("runs")[0], first[0]);
}

/// Blocks on the right, alone and one matrix after the other, are what their dequantised values are.
#[test]
fn blocks_on_the_right_are_their_values() {
    for (storage, depth) in [("q8_0", 64), ("q4_1", 96), ("q5_0", 32), ("q6_k", 256)] {
        let module = |body: &str| {
            let text = format!(
                r#"sym s in 1..=20
entry @f(%0: f32[s, {depth}] input "x", %1: {storage}[10, {depth}] param "a", %2: {storage}[7, {depth}] param "b") variants (s in 1..=8), (s in 1..=20) {{
{body}
}}
"#
            );
            text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
        };
        let dims = "{lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}";
        let blocks = module(&format!(
            "  %3: {storage}[17, {depth}] = concat %1, %2 {{axis = 0}}
  %4: f32[s, 17] = dot_general %0, %3 {dims}
  %5: f32[s, 10] = dot_general %0, %1 {dims}
  return \"both\" %4, \"one\" %5"
        ));
        let values = module(&format!(
            "  %3: f32[10, {depth}] = dequantize %1 {{to = f32}}
  %4: f32[7, {depth}] = dequantize %2 {{to = f32}}
  %5: f32[17, {depth}] = concat %3, %4 {{axis = 0}}
  %6: f32[s, 17] = dot_general %0, %5 {dims}
  %7: f32[s, 10] = dot_general %0, %3 {dims}
  return \"both\" %6, \"one\" %7"
        ));
        for rows in [1i64, 8, 9, 20] {
            let args = sample::random_args(&blocks, "f", &[("s", rows)], 11).expect("arguments");
            let [got, want] = [&blocks, &values].map(|m| checked(m, &load(m, &args, 2), &args, &[("s", rows)]));
            assert!(got.iter().zip(&want).all(|(g, w)| g.bytes() == w.bytes()), "{storage}, {rows} rows");
        }
    }
}
