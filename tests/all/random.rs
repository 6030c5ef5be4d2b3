//! Random modules of many ops, compiled, against the interpreter: all of them in one program, so that machine code is made once.

use crate::ops::call;
use kiln::{LoadOptions, Session, SessionOptions, lab};
use kiln_core::DType;
use kiln_ir::{
    Arg, ArgKind,
    interp::{Tensor, relative_error, run},
    sample,
};
use std::collections::HashMap;

/// What several f32 ops, one after the other, may be off by (`specs/numerics.md`, a whole model).
const TOLERANCE: f64 = 1e-4;

#[test]
fn random_modules_compute_what_the_interpreter_says() {
    let modules: Vec<_> = (0..12).map(|seed| sample::random_module(100 + seed, 12, DType::F32)).collect();
    let module = sample::together(&modules);
    let random = |name: &str, sizes: &[(&str, i64)]| sample::random_args(&module, name, sizes, 3).expect("arguments");
    // Parameters have no symbols in their shapes, so those of one size serve all.
    let mut parameters: HashMap<&str, Tensor> = HashMap::new();
    for (_, f) in module.entries() {
        let args = f.args.iter().zip(random(&f.name, &[("b", 1), ("s", 1)]));
        parameters.extend(args.filter(|(a, _)| matches!(a.kind, ArgKind::Param { .. })).map(|(a, t)| (&*a.name, t)));
    }
    let options = crate::options();
    let program = lab::build(&module, &options).expect("compiles");
    let load = LoadOptions { threads: Some(2), ..LoadOptions::default() };
    let model = program.load(&options, &load, |name, out| out.write_all(parameters[name].bytes())).expect("loads");
    for sizes in [[("b", 2), ("s", 5)], [("b", 1), ("s", 1)]] {
        let fixed = sizes.map(|(name, size)| (name.to_string(), size)).to_vec();
        let mut session = Session::new(&model, &SessionOptions { sizes: fixed }).expect("a session");
        for (_, f) in module.entries() {
            let value = |(arg, random): (&Arg, Tensor)| match arg.kind {
                ArgKind::Input => random,
                ArgKind::Param { .. } => parameters[&*arg.name].clone(),
                // States begin as zeros in a session.
                ArgKind::State => Tensor::zeros(random.storage(), random.shape().to_vec()).expect("a state"),
            };
            let args: Vec<Tensor> = f.args.iter().zip(random(&f.name, &sizes)).map(value).collect();
            let want = run(&module, &f.name, &args, &sizes).expect("evaluates");
            let got = call(&mut session, f, &args).unwrap_or_else(|e| panic!("@{}: {e}\n{module}", f.name));
            for ((g, w), o) in got.iter().zip(&want).zip(&f.outputs) {
                let error = relative_error(g, w);
                assert!(error <= TOLERANCE, "@{}, `{}`: off by {error:.2e}\n{module}", f.name, o.name);
            }
        }
    }
}
