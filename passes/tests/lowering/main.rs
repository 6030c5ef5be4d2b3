//! Lowered plans against the interpreter: every kernel spec is run by its plain reference meaning, in the memory that the plan gives it.

mod plan;
mod random;

use kiln_core::{DType, KernelSpec, TargetSpec};
use kiln_ir::interp::{Tensor, relative_error};
use kiln_ir::{Module, text};
use plan::run_plan;

fn parse(text: &str) -> Module {
    let module = text::parse(text).expect("parses");
    kiln_ir::verify(&module).expect("verifies");
    module
}

/// Compiles without rewriting, runs both ways, and gives the templates used.
fn check(text: &str, sizes: &[(&str, i64)]) -> Vec<&'static str> {
    check_within(text, sizes, 1e-5)
}

fn check_within(text: &str, sizes: &[(&str, i64)], tolerance: f64) -> Vec<&'static str> {
    let module = parse(text);
    let options = kiln_passes::Options { rewrite: false, ..Default::default() };
    let compiled = kiln_passes::compile(&module, &TargetSpec::x86_64_v3(), &options).expect("compiles");
    for (id, f) in module.entries() {
        let args: Vec<Tensor> = plan::random_args(module.function(id), sizes, 7);
        let want = kiln_ir::interp::run(&module, &f.name, &args, sizes).expect("evaluates");
        let got = run_plan(&compiled, f, &args, sizes);
        for ((o, got), want) in f.outputs.iter().zip(&got).zip(&want) {
            let error = relative_error(got, want);
            assert!(error < tolerance, "`{}` is off by {error:e}\n{text}\n{got:?}\n{want:?}", o.name);
        }
    }
    let variant = &compiled.plan.signatures[0].variants[0];
    variant.schedule.steps.iter().map(|s| compiled.plan.kernels[s.kernel as usize].spec.template()).collect()
}

#[test]
fn elementwise_chains_are_one_kernel() {
    let steps = check(
        r#"sym s in 1..=64
entry @f(%0: f32[s, 6] input "x", %1: f32[6] input "y") {
  %2: f32[s, 6] = broadcast %1 {shape = [s, 6]}
  %3: f32[s, 6] = add %0, %2
  %4: f32[s, 6] = silu %3
  %5: f32[6, s] = transpose %4 {perm = [1, 0]}
  %6: f32[2, 3, s] = reshape %5 {shape = [2, 3, s]}
  %7: f32[2, 2, s] = slice %6 {axis = 1, start = 1, len = 2}
  %8: f32[2, 2, s] = mul %7, %7
  return "y" %8
}"#,
        &[("s", 5)],
    );
    assert_eq!(steps, ["map"]);
}

#[test]
fn reshape_of_a_transpose_is_copied() {
    let steps = check(
        r#"entry @f(%0: f32[4, 6] input "x") {
  %1: f32[6, 4] = transpose %0 {perm = [1, 0]}
  %2: f32[24] = reshape %1 {shape = [24]}
  %3: f32[24] = neg %2
  return "y" %3
}"#,
        &[],
    );
    assert_eq!(steps, ["map", "map"]);
}

#[test]
fn gathers_and_iota_melt_into_their_users() {
    let steps = check(
        r#"sym s in 1..=64
entry @f(%0: f32[7, 4] param "table", %1: i64[2, s] input "ids") {
  %2: f32[2, s, 4] = take %0, %1 {axis = 0}
  %3: i64[2, s, 4] = iota {shape = [2, s, 4], axis = 1}
  %4: f32[2, s, 4] = cast %3 {to = f32}
  %5: f32[2, s, 4] = add %2, %4
  %6: i64[] = dim_size {dim = 2*s + 1}
  %7: f32[] = cast %6 {to = f32}
  %8: f32[2, s, 4] = broadcast %7 {shape = [2, s, 4]}
  %9: f32[2, s, 4] = mul %5, %8
  return "y" %9
}"#,
        &[("s", 3)],
    );
    assert_eq!(steps, ["map"]);
}

const MLP: &str = r#"sym b in 1..=8
sym s in 1..=64
entry @f(%0: f32[b, s, 12] input "x", %1: f32[12] param "norm", %2: f32[10, 12] param "gate", %3: f32[10, 12] param "up",
         %4: f32[12, 10] param "down", %5: f32[12] param "bias") {
  %6: f32[b, s, 12] = rms_norm %0, %1 {eps = 1e-6}
  %7: f32[20, 12] = concat %2, %3 {axis = 0}
  %8: f32[b, s, 20] = dot_general %6, %7 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
  %9: f32[b, s, 10] = slice %8 {axis = 2, start = 0, len = 10}
  %10: f32[b, s, 10] = slice %8 {axis = 2, start = 10, len = 10}
  %11: f32[b, s, 10] = silu %9
  %12: f32[b, s, 10] = mul %11, %10
  %13: f32[b, s, 12] = dot_general %12, %4 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
  %14: f32[b, s, 12] = broadcast %5 {shape = [b, s, 12]}
  %15: f32[b, s, 12] = add %13, %14
  %16: f32[b, s, 12] = add %0, %15
  return "y" %16
}"#;

#[test]
fn a_gated_mlp_is_three_kernels() {
    assert_eq!(check(MLP, &[("b", 2), ("s", 3)]), ["row", "matmul", "matmul"]);
    check(MLP, &[("b", 3), ("s", 7)]);
    check(MLP, &[("b", 1), ("s", 1)]);
}

#[test]
fn folded_norm_weights_are_packed_in() {
    let text = MLP
        .replace("%7: f32[20, 12] = concat %2, %3 {axis = 0}", "%70: f32[20, 12] = concat %2, %3 {axis = 0}\n  %71: f32[20, 12] = broadcast %1 {shape = [20, 12]}\n  %7: f32[20, 12] = mul %70, %71");
    check(&text, &[("b", 2), ("s", 3)]);
    let text = MLP.replace(
        "%7: f32[20, 12] = concat %2, %3 {axis = 0}",
        "%71: f32[10, 12] = broadcast %1 {shape = [10, 12]}\n  %72: f32[10, 12] = mul %71, %2\n  %73: f32[10, 12] = mul %3, %71\n  %7: f32[20, 12] = concat %72, %73 {axis = 0}",
    );
    let module = parse(&text);
    let options = kiln_passes::Options { rewrite: false, ..Default::default() };
    let compiled = kiln_passes::compile(&module, &TargetSpec::x86_64_v3(), &options).expect("compiles");
    let packs = compiled.plan.prepare.steps.iter().map(|s| &compiled.plan.kernels[s.kernel as usize].spec);
    let scaled = packs.filter(|k| matches!(k, KernelSpec::Pack(p) if p.column_scale)).count();
    assert_eq!(scaled, 2, "each half is packed straight from its weight, with the norm's factors");
    check(&text, &[("b", 2), ("s", 3)]);
}

#[test]
fn quantised_weights_are_packed_from_their_blocks() {
    check(
        r#"sym s in 1..=64
entry @f(%0: f32[s, 64] input "x", %1: q4_1[24, 64] param "a", %2: q8_0[7, 64] param "b", %3: f16[5, 64] param "c", %9: i64[s] input "ids") {
  %4: f32[24, 64] = dequantize %1 {to = f32}
  %5: f32[7, 64] = dequantize %2 {to = f32}
  %6: f32[5, 64] = cast %3 {to = f32}
  %7: f32[36, 64] = concat %4, %5, %6 {axis = 0}
  %8: f32[s, 36] = dot_general %0, %7 {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}
  %10: f32[s, 64] = take %5, %9 {axis = 0}
  return "y" %8, "z" %10
}"#,
        &[("s", 3)],
    );
}

#[test]
fn large_blocks_are_packed_and_gathered() {
    check(
        r#"sym s in 1..=64
entry @f(%0: f32[s, 256] input "x", %1: q4_k[24, 256] param "a", %2: q6_k[7, 256] param "b", %3: q5_k[5, 256] param "c", %9: i64[s] input "ids") {
  %4: f32[24, 256] = dequantize %1 {to = f32}
  %5: f32[7, 256] = dequantize %2 {to = f32}
  %6: f32[5, 256] = dequantize %3 {to = f32}
  %7: f32[36, 256] = concat %4, %5, %6 {axis = 0}
  %8: f32[s, 36] = dot_general %0, %7 {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}
  %10: f32[s, 256] = take %5, %9 {axis = 0}
  return "y" %8, "z" %10
}"#,
        &[("s", 3)],
    );
}

#[test]
fn rows_reduce_along_any_axis() {
    check(
        r#"entry @f(%0: f32[3, 5, 4] input "x", %1: bf16[3, 5] input "h", %2: i64[4, 3] input "i") {
  %3: f32[3, 4] = reduce_sum %0 {axis = 1, keep = false}
  %4: f32[3, 1, 4] = reduce_max %0 {axis = 1, keep = true}
  %5: f32[3, 5, 4] = softmax %0 {axis = 0}
  %13: f32[3, 1, 4] = log_sum_exp %0 {axis = 1}
  %6: i64[3, 5] = reduce_argmax %0 {axis = 2, keep = false}
  %7: bf16[3] = reduce_sum %1 {axis = 1, keep = false}
  %8: i64[1, 3] = reduce_min %2 {axis = 0, keep = true}
  %9: f32[3, 5, 4] = layer_norm %0, %10, %10 {eps = 1e-5}
  %11: i64[3, 3, 4] = top_k %0 {axis = 1, k = 3}
  %12: f32[3, 3, 4] = gather %0, %11 {axis = 1}
  return "a" %3, "b" %4, "c" %5, "d" %6, "e" %7, "f" %8, "g" %9, "h" %11, "i" %12, "j" %13
}"#
        .replace("%2: i64[4, 3] input \"i\"", "%2: i64[4, 3] input \"i\", %10: f32[4] param \"w\"")
        .as_str(),
        &[],
    );
}

/// Where the weights have taken in the norm's.
const NORMED: &str = r#"sym s in 1..=64
entry @f(%0: f32[2, s, 12] input "x", %1: f32[10, 12] param "a", %2: f32[4, 12] param "b") {
  %3: f32[] = constant {data = [1.0]}
  %4: f32[12] = broadcast %3 {shape = [12]}
  %5: f32[2, s, 12] = rms_norm %0, %4 {eps = 0.5}
  %6: f32[2, s, 10] = dot_general %5, %1 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
  %7: f32[2, s, 4] = dot_general %5, %2 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
  %8: f32[2, s, 4] = neg %7
  return "a" %6, "b" %8
}"#;

#[test]
fn a_norm_that_only_products_use_is_their_prologue() {
    assert_eq!(check(NORMED, &[("s", 9)]), ["matmul", "matmul"]);
    check(NORMED, &[("s", 1)]);
    let seen = NORMED.replace("return \"a\" %6", "return \"x\" %5, \"a\" %6");
    assert_eq!(check(&seen, &[("s", 9)]), ["row", "matmul", "matmul"]);
    let weighted = NORMED.replace("data = [1.0]", "data = [2.0]");
    assert_eq!(check(&weighted, &[("s", 3)]), ["row", "matmul", "matmul"]);
    let last = NORMED.replace("rms_norm %0", "rms_norm %9").replace(
        "  %5: f32[2, s, 12]",
        "  %9: f32[2, s, 12] = slice %10 {axis = 1, start = 1, len = s}\n  %5: f32[2, s, 12]",
    );
    let last = last.replace("%0: f32[2, s, 12] input", "%10: f32[2, s + 1, 12] input");
    assert_eq!(check(&last, &[("s", 3)]), ["row", "matmul", "matmul"], "its rows do not begin where their buffer does");
}

#[test]
fn narrow_types_are_stored_and_f32_is_computed() {
    let text = r#"sym s in 1..=64
entry @f(%0: bf16[s, 12] input "x", %1: bf16[12] param "norm", %2: bf16[10, 12] param "a", %3: f32[6, 12] param "b") {
  %4: bf16[] = constant {data = [1.0]}
  %5: bf16[12] = broadcast %4 {shape = [12]}
  %6: bf16[s, 12] = rms_norm %0, %5 {eps = 1e-5}
  %7: bf16[10, 12] = broadcast %1 {shape = [10, 12]}
  %8: bf16[10, 12] = mul %2, %7
  %9: bf16[6, 12] = cast %3 {to = bf16}
  %10: bf16[16, 12] = concat %8, %9 {axis = 0}
  %11: bf16[s, 16] = dot_general %6, %10 {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}
  %12: bf16[s, 16] = silu %11
  %13: bf16[s, 16] = softmax %12 {axis = 1}
  return "y" %13
}"#;
    assert_eq!(
        check_within(text, &[("s", 3)], 1e-2),
        ["map", "matmul", "row", "map"],
        "widen, norm and product, softmax, narrow"
    );
    let module = parse(text);
    let options = kiln_passes::Options { rewrite: false, ..Default::default() };
    let compiled = kiln_passes::compile(&module, &TargetSpec::x86_64_v3(), &options).expect("compiles");
    let packs: Vec<(DType, bool)> = compiled
        .plan
        .kernels
        .iter()
        .filter_map(|k| match &k.spec {
            KernelSpec::Pack(p) => Some((p.packed, p.column_scale)),
            _ => None,
        })
        .collect();
    assert_eq!(packs, [(DType::BF16, true), (DType::BF16, false)]);
    check_within(
        r#"sym s in 1..=7
entry @f(%0: f16[3, 9, 2, 8] state "k", %1: f16[3, 9, 2, 8] state "v", %2: f16[2, s, 4, 8] input "q", %3: f16[2, s, 2, 8] input "new",
         %4: i64[2] input "slots", %5: i64[2] input "starts") {
  %6: f16[2, s, 2, 8] = neg %3
  %7: f16[3, 9, 2, 8] = cache_update %0, %6, %4, %5
  %8: f16[3, 9, 2, 8] = cache_update %1, %3, %4, %5
  %9: f16[2, s, 4, 8] = add %2, %2
  %10: f16[2, s, 4, 8] = attention %9, %7, %8, %4, %5 {scale = 0.5, causal = true, cached = true, mask = false}
  %11: f16[2, s, 4, 8] = tanh %10
  return "y" %11, "k" %7 updates 0, "v" %8 updates 1
}"#,
        &[("s", 3)],
        2e-3,
    );
}

#[test]
fn picks_go_from_kernel_to_kernel() {
    check(
        r#"sym s in 1..=30
entry @f(%0: f32[3, s] input "x", %1: i32[2, 40] input "i") {
  %2: i64[3, 20] = top_k %0 {axis = 1, k = 20}
  %3: f32[3, 20] = gather %0, %2 {axis = 1}
  %4: i64[2, 40] = top_k %1 {axis = 1, k = 40}
  return "short" %2, "values" %3, "sorted" %4
}"#,
        &[("s", 11)],
    );
}

#[test]
fn general_products_take_any_axes_and_types() {
    check(
        r#"sym s in 1..=9
entry @f(%0: f32[2, s, 3, 4] input "q", %1: f32[2, 5, 3, 4] input "k", %2: i64[3, 4] input "i", %3: f16[6, 4] input "h") {
  %4: f32[2, 3, s, 5] = dot_general %0, %1 {lhs_batch = [0, 2], rhs_batch = [0, 2], lhs_contract = [3], rhs_contract = [3]}
  %5: f32[s, 5] = dot_general %0, %1 {lhs_batch = [], rhs_batch = [], lhs_contract = [0, 2, 3], rhs_contract = [0, 2, 3]}
  %6: i64[3, 3] = dot_general %2, %2 {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}
  %7: f16[6, 6] = dot_general %3, %3 {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}
  return "a" %4, "b" %5, "c" %6, "d" %7
}"#,
        &[("s", 3)],
    );
}

#[test]
fn caches_are_written_in_place() {
    let steps = check(
        r#"sym b in 1..=4
sym s in 1..=16
sym t in 1..=32
entry @step(%0: f32[b, s, 2, 4] input "k", %1: f32[b, s, 2] input "cos", %2: f32[b, s, 2] input "sin", %3: f32[4, t, 2, 4] state "key",
            %4: f32[4, t, 2, 4] state "value", %5: i64[b] input "slots", %6: i64[b] input "starts", %7: f32[b, s, 4, 4] input "q") {
  %8: f32[b, s, 2, 4] = rope %0, %1, %2
  %9: f32[4, t, 2, 4] = cache_update %3, %8, %5, %6
  %10: f32[4, t, 2, 4] = cache_update %4, %0, %5, %6
  %11: f32[b, s, 4, 4] = rope %7, %1, %2
  %12: f32[b, s, 4, 4] = attention %11, %9, %10, %5, %6 {scale = 0.5, causal = true, cached = true, mask = false}
  %13: f32[b, 1, 4, 4] = slice %12 {axis = 1, start = s - 1, len = 1}
  return "y" %13, "key" %9 updates 3, "value" %10 updates 4
}"#,
        &[("b", 2), ("s", 3), ("t", 8)],
    );
    assert_eq!(steps, ["map", "map", "map", "attention", "map"]);
}

#[test]
fn views_of_a_state_keep_what_it_held() {
    check(
        r#"sym s in 1..=9
entry @f(%0: f32[4, 6] state "c", %1: f32[2, s] input "new", %2: i64[2] input "slots", %3: i64[2] input "starts", %4: f32[6, 5] param "w",
         %5: f32[2, 2, 1, 6] state "r", %6: f32[2, 2, 3] input "angles", %7: f32[6] param "g", %8: f32[2, 1, 1, 6] input "row") {
  %10: f32[6, 4] = transpose %0 {perm = [1, 0]}
  %11: f32[2, 4] = slice %10 {axis = 0, start = 2, len = 2}
  %12: f32[4, 5] = dot_general %0, %4 {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]}
  %13: f32[2, 2, 1, 6] = rope %5, %6, %6
  %14: f32[] = constant {data = [1.0]}
  %15: f32[6] = broadcast %14 {shape = [6]}
  %16: f32[4, 6] = rms_norm %0, %15 {eps = 0.5}
  %17: f32[4, 6] = cache_update %0, %11, %2, %3
  %18: f32[2, 2, 1, 6] = cache_update %5, %8, %2, %3
  %19: f32[4, 5] = neg %12
  %20: f32[4, 5] = dot_general %16, %4 {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]}
  return "c" %17 updates 0, "r" %18 updates 5, "transposed" %10, "product" %19, "rotated" %13, "normed" %20
}"#,
        &[("s", 3)],
    );
}

#[test]
fn a_cache_that_is_no_state_is_copied() {
    check(
        r#"entry @f(%0: f32[4, 6] state "c", %1: f32[2, 3] input "new", %2: i64[2] input "slots", %3: i64[2] input "starts") {
  %4: f32[6, 4] = transpose %0 {perm = [1, 0]}
  %5: f32[6, 4] = cache_update %4, %1, %2, %3
  %6: f32[6, 4] = exp %5
  %7: f32[6, 4] = cache_update %6, %1, %2, %3
  return "y" %7, "c" %0 updates 0
}"#,
        &[],
    );
}

#[test]
fn concat_pad_and_select() {
    check(
        r#"sym s in 1..=9
entry @f(%0: f32[s, 3] input "x", %1: f32[s, 2] input "y", %2: bool[s, 3] input "m") {
  %3: f32[s, 5] = concat %0, %1 {axis = 1}
  %4: f32[s + 3, 5] = pad %3 {axis = 0, low = 1, high = 2, value = -1.5}
  %5: f32[s, 3] = exp %0
  %6: f32[s, 3] = select %2, %0, %5
  %7: bool[s, 3] = gt %6, %0
  %8: bool[s, 3] = not %7
  %9: i32[s, 3] = cast %8 {to = i32}
  return "a" %4, "b" %6, "c" %9, "d" %0
}"#,
        &[("s", 3)],
    );
}
