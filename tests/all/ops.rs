//! Every op, compiled, against the interpreter.

use kiln::{CompileOptions, LoadOptions, Session, SessionOptions, TensorView, lab};
use kiln_core::DType;
use kiln_ir::{
    ArgKind, Function, Module, Op,
    interp::{Tensor, relative_error},
    sample,
};

/// `‖got − want‖ / ‖want‖` allowed per op and element type (`specs/numerics.md`).
fn tolerance(dtype: Option<DType>) -> f64 {
    match dtype {
        Some(DType::BF16) => 1e-2,
        Some(DType::F16) => 2e-3,
        Some(DType::F32 | DType::F64) => 1e-5,
        _ => 0.0,
    }
}

/// Compiles a module, runs its entry on random arguments with some threads, and gives results in order.
fn run_compiled(
    module: &Module,
    args: &[Tensor],
    sizes: &[(&str, i64)],
    rewrite: bool,
    threads: usize,
) -> Result<Vec<Tensor>, String> {
    let passes = kiln_passes::Options { rewrite, ..kiln_passes::Options::default() };
    let options = CompileOptions { passes, ..crate::options() };
    let program = lab::build(module, &options).map_err(|e| e.to_string())?;
    let (_, f) = module.entries().next().expect("an entry");
    let given = |name: &str| f.args.iter().position(|a| &*a.name == name).map(|i| &args[i]);
    let load = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    let model = program
        .load(&options, &load, |name, out| out.write_all(given(name).expect("a parameter").bytes()))
        .map_err(|e| e.to_string())?;
    let fixed = sizes.iter().map(|(n, v)| (n.to_string(), *v)).collect();
    let mut session = Session::new(&model, &SessionOptions { sizes: fixed }).map_err(|e| e.to_string())?;
    call(&mut session, f, args)
}

/// The results of an entry, in order; its states are those of the session.
pub fn call(session: &mut Session, f: &Function, args: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let inputs: Vec<(&str, TensorView<'_>)> = f
        .args
        .iter()
        .zip(args)
        .filter(|(a, _)| a.kind == ArgKind::Input)
        .map(|(a, t)| (&*a.name, TensorView { dtype: t.dtype().expect("dense"), shape: t.shape(), bytes: t.bytes() }))
        .collect();
    let outputs = session.call(&f.name, &inputs).map_err(|e| e.to_string())?;
    let tensor = |t: TensorView<'_>| Tensor::from_bytes(t.dtype, t.shape.to_vec(), t.bytes.to_vec());
    let plain: Result<Vec<Tensor>, _> = outputs.iter().map(|(_, t)| tensor(t)).collect();
    let mut plain = plain.map_err(|e| e.to_string())?.into_iter();
    // A result that updates a state is in the session.
    let result = |updates: Option<u32>| {
        let Some(i) = updates.map(|i| i as usize) else { return plain.next().ok_or("too few outputs".to_string()) };
        let bytes = session.state(&f.args[i].name).ok_or("there is no such state")?;
        Tensor::from_bytes(args[i].storage(), args[i].shape().to_vec(), bytes.to_vec()).map_err(|e| e.to_string())
    };
    f.outputs.iter().map(|o| o.updates).map(result).collect()
}

/// The module with block-quantised arguments as weights and results dequantised, since compiled code takes and gives dense
/// tensors; `None` where such a weight has no constant shape.
fn with_dense_signature(module: &Module) -> Option<Module> {
    let mut module = module.clone();
    for f in &mut module.functions {
        for arg in f.args.iter_mut().filter(|a| a.ty.dtype().is_none()) {
            arg.kind = ArgKind::Param { live: false };
            arg.ty.shape.iter().all(|d| d.as_const().is_some()).then_some(())?;
        }
        for i in 0..f.outputs.len() {
            if f.tensor(f.outputs[i].value).dtype().is_none() {
                f.outputs[i].value = f.add(Op::Dequantize(DType::F32), &[f.outputs[i].value]).expect("dequantises");
            }
        }
    }
    Some(module)
}

/// The op that a module is about.
fn last_op(module: &Module) -> &'static str {
    let (_, f) = module.entries().next().expect("an entry");
    f.nodes().last().map(|(_, n)| n.op.name()).unwrap_or_default()
}

#[test]
fn every_op_computes_what_the_interpreter_says() {
    let mut failures = vec![];
    let mut checked = std::collections::BTreeSet::new();
    for (i, module) in sample::op_cases(11).iter().enumerate() {
        let op = last_op(module);
        let Some(module) = &with_dense_signature(module) else { continue };
        let (_, f) = module.entries().next().expect("an entry");
        let sizes = sample::random_sizes(module, i as u64);
        let sizes: Vec<(&str, i64)> = sizes.iter().map(|(n, v)| (&**n, *v)).collect();
        let mut args = sample::random_args(module, &f.name, &sizes, i as u64).expect("arguments");
        // A session's states begin as zeros.
        for (arg, t) in f.args.iter().zip(&mut args).filter(|(a, _)| a.kind == ArgKind::State) {
            *t = Tensor::zeros(arg.ty.storage, t.shape().to_vec()).expect("a state");
        }
        let want = kiln_ir::interp::run(module, &f.name, &args, &sizes).expect("evaluates");
        match run_compiled(module, &args, &sizes, false, 2) {
            Err(e) => failures.push(format!("{op}: {e}\n{module}")),
            Ok(got) => {
                checked.insert(op);
                for (g, w) in got.iter().zip(&want) {
                    let error = relative_error(g, w);
                    if error > tolerance(w.dtype()) {
                        failures.push(format!("{op}: off by {error:.2e}\n{module}"));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of the cases fail:\n{}", failures.len(), failures.join("\n"));
    let all: std::collections::BTreeSet<_> = sample::op_cases(11).iter().map(last_op).collect();
    assert_eq!(checked, all, "ops with cases, and ops that were compiled");
}

/// A size among an op's attributes is known when an entry is called, also where the result's own shape does not name it: none of this
/// may be computed when the artifact is loaded.
#[test]
fn what_a_size_picks_is_computed_in_the_call() {
    let text = r#"sym s in 1..=8
entry @f(%0: f32[8, 2] param "w", %1: f32[s] input "x") {
  %2: f32[1, 2] = slice %0 {axis = 0, start = s - 1, len = 1}
  %3: f32[1, 2] = exp %2
  %4: f32[1, 2] = slice %0 {axis = 0, start = 3, len = 1}
  %5: f32[1, 2] = exp %4
  %6: f32[9, 2] = pad %5 {axis = 0, low = s, high = 8 - s, value = 0.0}
  %7: f32[9, 2] = sin %6
  %8: f32[s] = neg %1
  return "row" %3, "place" %7, "y" %8
}
"#;
    let module = kiln_ir::text::parse(text).expect("parses");
    for rewrite in [false, true] {
        for s in [1, 3, 8] {
            let sizes = [("s", s)];
            let args = sample::random_args(&module, "f", &sizes, 3).expect("arguments");
            let want = kiln_ir::interp::run(&module, "f", &args, &sizes).expect("evaluates");
            let got = run_compiled(&module, &args, &[], rewrite, 2).unwrap_or_else(|e| panic!("s = {s}: {e}"));
            for (g, w) in got.iter().zip(&want) {
                assert!(relative_error(g, w) < 1e-5, "s = {s}");
            }
        }
    }
}
