//! Gradients against central differences in f64, along random directions: of every op, and of random programs of many ops with calls.

mod models;

use kiln_core::{BinaryOp, DType, Dim, ReduceOp};
use kiln_ir::interp::{self, Tensor};
use kiln_ir::sample::{Printed, Random, module_of, op_cases, random_args, random_sizes};
use kiln_ir::{Arg, ArgKind, Function, Literal, Module, NodeId, Op, TensorType, verify};
use kiln_passes::autodiff::{Autodiff, autodiff, gradient_name};
use proptest::prelude::*;

fn f64_type(ty: &TensorType) -> TensorType {
    match ty.dtype() {
        Some(d) if d.is_float() => TensorType::new(DType::F64, ty.shape.clone()),
        _ => ty.clone(),
    }
}

/// The module with f64 in place of every float; `None` for a product with blocks, which stand beside f32 alone.
fn in_f64(module: &Module) -> Option<Module> {
    let mut out = Module { symbols: module.symbols.clone(), functions: vec![] };
    for f in &module.functions {
        let mut wide = f.shell();
        for (_, node) in f.nodes() {
            let op = match &node.op {
                Op::Arg(i) => {
                    let arg = &f.args[*i as usize];
                    wide.add_arg(Arg { ty: f64_type(&arg.ty), ..arg.clone() });
                    continue;
                }
                Op::Call(id) => {
                    wide.add_call(*id, &out.functions[id.index()], &node.operands).expect("types still fit");
                    continue;
                }
                Op::Constant(l) if l.dtype().is_float() => {
                    Op::Constant(Literal::from_f64(DType::F64, l.shape().to_vec(), &l.to_f64()).expect("fits"))
                }
                Op::Cast(d) if d.is_float() => Op::Cast(DType::F64),
                Op::Dequantize(_) => Op::Dequantize(DType::F64),
                op => op.clone(),
            };
            wide.add(op, &node.operands).ok()?;
        }
        wide.outputs.clone_from(&f.outputs);
        out.functions.push(wide);
    }
    Some(out)
}

/// The module whose entry has a loss: the sum of its float results, each element with a weight that is an input. `None` if it has no float
/// result.
fn with_loss(module: &Module) -> Option<Module> {
    let mut module = module.clone();
    let f = module.functions.iter_mut().find(|f| f.entry)?;
    let mut loss: Option<NodeId> = None;
    for (i, output) in f.outputs.clone().iter().enumerate() {
        let ty = f.tensor(output.value).clone();
        if output.updates.is_some() || !ty.dtype().is_some_and(DType::is_float) {
            continue;
        }
        let name = format!("weight{i}").into();
        let weight = f.add_arg(Arg { name, ty, kind: ArgKind::Input, default: None, range: None });
        let mut sum = f.add(Op::Binary(BinaryOp::Mul), &[output.value, weight]).expect("one type");
        while f.tensor(sum).rank() > 0 {
            sum = f.add(Op::Reduce { op: ReduceOp::Sum, axis: 0, keep: false }, &[sum]).expect("an axis");
        }
        loss = Some(match loss {
            Some(so_far) => f.add(Op::Binary(BinaryOp::Add), &[so_far, sum]).expect("scalars"),
            None => sum,
        });
    }
    f.add_output("loss", loss?, None);
    Some(module)
}

/// The float arguments that are no weights of the loss.
fn differentiable(f: &Function) -> Vec<String> {
    let float =
        |a: &&Arg| a.ty.dtype() == Some(DType::F64) && !a.name.starts_with("weight") && a.kind != ArgKind::State;
    f.args.iter().filter(float).map(|a| a.name.to_string()).collect()
}

fn moved(t: &Tensor, direction: &[f64], step: f64) -> Tensor {
    let values: Vec<f64> = t.to_f64_vec().iter().zip(direction).map(|(x, d)| x + step * d).collect();
    Tensor::from_f64(DType::F64, t.shape().to_vec(), &values).expect("fits")
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The slope of the loss along a direction for some arguments, by the gradients among a function's results; and the norm of these.
fn slope(f: &Function, results: &[Tensor], directions: &[Option<Vec<f64>>]) -> (f64, f64) {
    let (mut slope, mut squares) = (0.0, 0.0);
    for (arg, direction) in f.args.iter().zip(directions) {
        let gradient = f.outputs.iter().position(|o| *o.name == *gradient_name(&arg.name));
        if let (Some(gradient), Some(direction)) = (gradient, direction) {
            let gradient = results[gradient].to_f64_vec();
            assert_eq!(gradient.len(), direction.len(), "the gradient of `{}`", arg.name);
            slope += dot(&gradient, direction);
            squares += dot(&gradient, &gradient);
        }
    }
    (slope, squares.sqrt())
}

/// The same slope by the difference of the losses of an entry a step before and behind.
fn difference(
    (module, entry): (&Module, &str),
    (args, sizes): (&[Tensor], &[(&str, i64)]),
    directions: &[Option<Vec<f64>>],
    step: f64,
) -> f64 {
    let (_, f) = module.find(entry).expect("an entry");
    let loss = f.outputs.iter().position(|o| &*o.name == "loss").expect("the loss");
    let at = |step: f64| {
        let moved = args.iter().zip(directions).map(|(arg, d)| match d {
            Some(d) => moved(arg, d, step),
            None => arg.clone(),
        });
        interp::run(module, entry, &moved.collect::<Vec<_>>(), sizes).expect("runs")[loss].to_f64_vec()[0]
    };
    (at(step) - at(-step)) / (2.0 * step)
}

/// Compares the gradients of a module's loss with differences of the loss. `None`: nothing in it can be differentiated.
fn check(module: &Module, seed: u64) -> Option<Result<(), String>> {
    let module = with_loss(&in_f64(module)?)?;
    verify(&module).unwrap_or_else(|e| panic!("{e}\n{module}"));
    let (_, f) = module.find("f").expect("an entry");
    let names = differentiable(f);
    if names.is_empty() {
        return None;
    }
    let options = Autodiff { loss: "loss".into(), wrt: names.clone() };
    let with_gradients = match autodiff(&module, &options) {
        Ok(m) => m,
        Err(e) => return Some(Err(format!("{e}\n{module}"))),
    };
    if let Err(e) = verify(&with_gradients) {
        return Some(Err(format!("{e}\n{with_gradients}")));
    }
    let mut random = Random::new(seed);
    let sizes = random_sizes(&module, seed);
    let sizes: Vec<(&str, i64)> = sizes.iter().map(|(s, n)| (&**s, *n)).collect();
    let mut args = random_args(&module, "f", &sizes, seed).expect("values");
    // A query that sees no key has another gradient than its value has differences: each sees some here.
    for (arg, declared) in args.iter_mut().zip(&f.args).filter(|(a, _)| a.dtype() == Some(DType::Bool)) {
        let keys = declared.ty.shape.len().checked_sub(1).map_or(1, |last| arg.shape()[last].max(1));
        let seen: Vec<bool> = (0..arg.len()).map(|i| i % keys != keys / 2 || keys < 2).collect();
        *arg = Tensor::from_bool(arg.shape().to_vec(), &seen).expect("fits");
    }
    // Away from equal numbers, where `max` has no derivative.
    for arg in args.iter_mut().filter(|a| a.dtype() == Some(DType::F64)) {
        let noise: Vec<f64> = (0..arg.len()).map(|_| random.uniform(0.001, 0.011)).collect();
        *arg = moved(arg, &noise, 1.0);
    }
    let outputs = interp::run(&with_gradients, "f", &args, &sizes).unwrap_or_else(|e| panic!("{e}\n{with_gradients}"));
    let (_, made) = with_gradients.find("f").expect("an entry");
    let mut directions: Vec<Option<Vec<f64>>> = vec![None; args.len()];
    for name in &names {
        let i = f.args.iter().position(|a| *a.name == **name).expect("an argument");
        directions[i] = Some((0..args[i].len()).map(|_| random.normal()).collect());
        if let Some(o) = made.outputs.iter().position(|o| *o.name == *gradient_name(name)) {
            assert_eq!(outputs[o].shape(), args[i].shape());
        }
    }
    let (slope, norm) = slope(made, &outputs, &directions);
    // The error of a central difference falls with the square of the step, until rounding outweighs it. Each step is held against the
    // next: where the loss is not smooth, they differ, and nothing can be said.
    let steps = [1e-4, 1e-5, 1e-6].map(|step| difference((&module, "f"), (&args, &sizes), &directions, step));
    let scale = norm.max(slope.abs()).max(1e-6);
    let spread = (steps[1] - steps[0]).abs().min((steps[2] - steps[1]).abs());
    let error = steps.iter().map(|s| (s - slope).abs()).fold(f64::INFINITY, f64::min);
    // NaN, too, says nothing.
    if spread.is_nan() || spread > 1e-6 * scale {
        return None;
    }
    Some(if error <= 1e-5 * scale {
        Ok(())
    } else {
        Err(format!("the slope is {slope}, differences give {steps:?}, seed {seed}\n{module}\n{with_gradients}"))
    })
}

/// Whether an op was refused that has no gradient by its rule.
fn is_refusal(error: &str) -> bool {
    ["has no gradient", "only the sum has", "over a cache"].iter().any(|reason| error.contains(reason))
}

#[test]
fn of_every_op() {
    let mut checked: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    let mut failed = vec![];
    for (i, module) in op_cases(5).iter().enumerate() {
        let (_, f) = module.find("f").expect("an entry");
        let op = f.nodes().map(|(_, n)| &n.op).find(|op| !matches!(op, Op::Arg(_))).unwrap_or(&Op::Arg(0));
        // The inputs are f64 in every case, so the cases of one element type say it all.
        let narrow = f.args.iter().any(|a| a.ty.dtype().is_some_and(|d| d.is_float() && d != DType::F32));
        if narrow && !matches!(op, Op::Cast(_)) {
            continue;
        }
        match check(module, 100 + i as u64) {
            None => {}
            Some(Ok(())) => *checked.entry(op.name()).or_default() += 1,
            Some(Err(e)) if is_refusal(&e) => {}
            Some(Err(e)) => failed.push(e),
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    for info in Op::table().into_iter().filter(|info| info.gradient) {
        let without = [
            "floor",
            "not",
            "and",
            "or",
            "reduce_argmax",
            "cumulative_prod",
            "cumulative_max",
            "cumulative_min",
            "cumulative_argmax",
        ];
        for name in info.names.into_iter().filter(|name| !without.contains(name)) {
            assert!(checked.contains_key(name), "the gradient of `{name}` was never checked: {checked:?}");
        }
    }
    assert!(checked.contains_key("conv"), "{checked:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_random_programs(choices in proptest::collection::vec(any::<[u16; 5]>(), 2..14), seed in any::<u64>()) {
        let module = module_of(&choices, DType::F64);
        // Queries that see no key, whose gradient is transformers'.
        let masked = |n: &kiln_ir::Node| matches!(&n.op, Op::Attention(a) if a.mask);
        prop_assume!(!module.functions.iter().any(|f| f.nodes().any(|(_, n)| masked(n))));
        if let Some(Err(e)) = check(&module, seed) {
            let refused = is_refusal(&e) || e.contains("train without states") || e.contains("no rule for its gradient");
            prop_assert!(refused, "{e}\n{:?}", Printed(module));
        }
    }
}

/// A function that a module calls twice is differentiated once.
#[test]
fn calls_share_their_gradient() {
    let ty = TensorType::new(DType::F32, [Dim::from(3)]);
    let arg = |name: &str, kind| Arg { name: name.into(), ty: ty.clone(), kind, default: None, range: None };
    let mut block = Function::new("block", false);
    let (x, w) = (block.add_arg(arg("x", ArgKind::Input)), block.add_arg(arg("w", ArgKind::Param { live: true })));
    let y = block.add(Op::Binary(BinaryOp::Mul), &[x, w]).expect("one type");
    let y = block.add(Op::Silu, &[y]).expect("floats");
    block.add_output("y", y, None);
    let mut f = Function::new("f", true);
    let x = f.add_arg(arg("x", ArgKind::Input));
    let weights =
        [f.add_arg(arg("w0", ArgKind::Param { live: true })), f.add_arg(arg("w1", ArgKind::Param { live: true }))];
    let mut y = x;
    for w in weights {
        let call = f.add_call(kiln_ir::FuncId(0), &block, &[y, w]).expect("fits");
        y = f.add(Op::Get(0), &[call]).expect("a result");
    }
    let y = f.add(Op::Reduce { op: ReduceOp::Sum, axis: 0, keep: false }, &[y]).expect("an axis");
    f.add_output("loss", y, None);
    let module = Module { functions: vec![block, f], ..Module::default() };
    let made = autodiff(&module, &Autodiff::default()).expect("differentiates");
    verify(&made).expect("verifies");
    let names: Vec<&str> = made.functions.iter().map(|f| &*f.name).collect();
    // The gradient of the first call's x is wanted by nobody, so the calls ask different questions.
    assert_eq!(names, ["block.forward", "block.backward", "block.forward.2", "block.backward.2", "f"]);
    let again = autodiff(&module, &Autodiff { loss: "loss".into(), wrt: vec!["x".into(), "w0".into(), "w1".into()] });
    let names: Vec<String> = again.expect("differentiates").functions.iter().map(|f| f.name.to_string()).collect();
    assert_eq!(names, ["block.forward", "block.backward", "f"]);
}
