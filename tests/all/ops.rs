//! Every op, compiled, against the interpreter.

use kiln::ir::{ArgKind, Module, interp::Tensor, sample};
use kiln::{LoadOptions, Session, SessionOptions, TensorView, compile};
use kiln_core::DType;

/// `‖got − want‖ / ‖want‖` allowed per op and element type (`specs/numerics.md`).
fn tolerance(dtype: Option<DType>) -> f64 {
    match dtype {
        Some(DType::BF16) => 1e-2,
        Some(DType::F16) => 2e-3,
        Some(DType::F32 | DType::F64) => 1e-5,
        _ => 0.0,
    }
}

fn relative_error(got: &Tensor, want: &Tensor) -> f64 {
    let (g, w) = (got.to_f64_vec(), want.to_f64_vec());
    if g.len() != w.len() {
        return f64::INFINITY;
    }
    let mut difference = 0.0;
    let mut norm = 0.0;
    for (g, w) in g.iter().zip(&w) {
        // Equal infinities and NaNs are equal.
        if g == w || (g.is_nan() && w.is_nan()) {
            norm += if w.is_finite() { w * w } else { 0.0 };
            continue;
        }
        difference += (g - w) * (g - w);
        norm += w * w;
    }
    if difference == 0.0 { 0.0 } else { (difference / norm.max(1e-30)).sqrt() }
}

/// Compiles a module, runs its entry on random arguments with some threads, and gives results in order.
fn run_compiled(
    module: &Module,
    args: &[Tensor],
    sizes: &[(&str, i64)],
    rewrite: bool,
    threads: usize,
) -> Result<Vec<Tensor>, String> {
    let options = compile::CompileOptions { rewrite, ..crate::options() };
    let program = compile::build(module, &options).map_err(|e| e.to_string())?;
    let (_, f) = module.entries().next().expect("an entry");
    let given = |name: &str| f.args.iter().position(|a| &*a.name == name).map(|i| &args[i]);
    let load = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    let model = program
        .load(&options, &load, |name, out| out.write_all(given(name).expect("a parameter").bytes()))
        .map_err(|e| e.to_string())?;
    let fixed = sizes.iter().map(|(n, v)| (n.to_string(), *v)).collect();
    let mut session = Session::new(&model, &SessionOptions { sizes: fixed }).map_err(|e| e.to_string())?;
    let inputs: Vec<(&str, TensorView<'_>)> = f
        .args
        .iter()
        .zip(args)
        .filter(|(a, _)| a.kind == ArgKind::Input)
        .map(|(a, t)| (&*a.name, TensorView { dtype: t.dtype().expect("dense"), shape: t.shape(), bytes: t.bytes() }))
        .collect();
    let outputs = session.call(&f.name, &inputs).map_err(|e| e.to_string())?;
    outputs
        .iter()
        .map(|(_, t)| Tensor::from_bytes(t.dtype, t.shape.to_vec(), t.bytes.to_vec()).map_err(|e| e.to_string()))
        .collect()
}

/// Whether the interpreter and compiled code can be compared: block-quantised inputs and states start as given only in the first.
fn comparable(module: &Module) -> bool {
    let (_, f) = module.entries().next().expect("an entry");
    f.args.iter().all(|a| a.kind != ArgKind::State && (a.kind != ArgKind::Input || a.ty.dtype().is_some()))
        && f.outputs.iter().all(|o| o.updates.is_none())
}

#[test]
fn every_op_computes_what_the_interpreter_says() {
    let mut failures = vec![];
    let mut checked = std::collections::BTreeSet::new();
    let mut skipped = std::collections::BTreeSet::new();
    for (i, module) in sample::op_cases(11).iter().enumerate() {
        let (_, f) = module.entries().next().expect("an entry");
        let op = f.nodes().last().map(|(_, n)| n.op.name()).unwrap_or_default();
        if !comparable(module) {
            skipped.insert(op);
            continue;
        }
        let sizes = sample::random_sizes(module, i as u64);
        let sizes: Vec<(&str, i64)> = sizes.iter().map(|(n, v)| (&**n, *v)).collect();
        let args = sample::random_args(module, &f.name, &sizes, i as u64).expect("arguments");
        let want = kiln::ir::interp::run(module, &f.name, &args, &sizes).expect("evaluates");
        match run_compiled(module, &args, &sizes, false, 2) {
            Err(e) => failures.push(format!("{op}: {e}\n{module}")),
            Ok(got) => {
                checked.insert(op);
                for (g, w) in got.iter().zip(&want) {
                    let error = relative_error(g, w);
                    if error > tolerance(w.dtype()) || g.shape() != w.shape() {
                        failures.push(format!("{op}: off by {error:.2e}\n{module}"));
                    }
                }
            }
        }
    }
    println!("checked {checked:?}; covered elsewhere: {skipped:?}");
    assert!(failures.is_empty(), "{} of the cases fail:\n{}", failures.len(), failures.join("\n"));
    assert!(checked.len() > 40, "only {checked:?} were checked");
}
