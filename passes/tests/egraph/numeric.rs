//! Random values for a function's arguments, and comparison through the interpreter.

use kiln_ir::{Arg, DType, Function, Module, interp};

/// Values of `b`, `s` and `t` that every check runs at.
pub const SIZES: [[(&str, i64); 3]; 3] =
    [[("b", 1), ("s", 1), ("t", 5)], [("b", 2), ("s", 3), ("t", 8)], [("b", 3), ("s", 4), ("t", 16)]];

/// A small generator of numbers in 0..1; the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// A value for an argument. Integers are cache rows (`slots`) or positions (`starts`); floats whose name begins with `p` are positive;
/// a mask shows each query its first key.
fn value(arg: &Arg, sizes: &[(&str, i64)], random: &mut Random, values: Values) -> interp::Tensor {
    let lookup = |s: &str| sizes.iter().find(|(n, _)| *n == s).map(|(_, v)| *v);
    let shape: Vec<usize> = arg.ty.shape.iter().map(|d| d.eval(&lookup).expect("bound") as usize).collect();
    let count: usize = shape.iter().product();
    let dtype = arg.ty.dtype().expect("dense");
    let values: Vec<f64> = (0..count)
        .map(|i| match dtype {
            DType::I64 if &*arg.name == "starts" => (i % 2) as f64,
            DType::I64 => (count - 1 - i) as f64,
            DType::Bool => f64::from(i % shape.last().unwrap_or(&1) == 0 || random.next() < 0.6),
            _ if values == Values::Special && random.next() < 0.2 => SPECIAL[(random.next() * 8.0) as usize],
            _ if arg.name.starts_with('p') && arg.name.len() == 1 => 0.5 + random.next(),
            _ => 2.0 * random.next() - 1.0,
        })
        .collect();
    interp::Tensor::from_f64(dtype, shape, &values).expect("a tensor")
}

/// What floats are.
#[derive(Clone, Copy, PartialEq)]
pub enum Values {
    /// Numbers about 1.
    Plain,
    /// Some of them are those that arithmetic trips over.
    Special,
}

const SPECIAL: [f64; 8] = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, 3e38, -1.0];

/// The results of a function on random arguments.
pub fn run(module: &Module, f: &Function, sizes: &[(&str, i64)], seed: u64) -> Vec<interp::Tensor> {
    run_on(module, f, sizes, seed, Values::Plain)
}

/// As [`run`], on such values.
pub fn run_on(module: &Module, f: &Function, sizes: &[(&str, i64)], seed: u64, values: Values) -> Vec<interp::Tensor> {
    let mut random = Random(seed);
    let args: Vec<interp::Tensor> = f.args.iter().map(|a| value(a, sizes, &mut random, values)).collect();
    let module = Module { symbols: module.symbols.clone(), functions: vec![f.clone()] };
    let known: Vec<(&str, i64)> = sizes.iter().filter(|(n, _)| module.symbols.contains_key(*n)).copied().collect();
    interp::run(&module, &f.name, &args, &known).unwrap_or_else(|e| panic!("{e}\n{module}"))
}

/// The largest relative error between the function's results, which should all be one value.
pub fn spread(module: &Module, f: &Function) -> f64 {
    let mut worst = 0f64;
    for (i, sizes) in SIZES.iter().enumerate() {
        let results = run(module, f, sizes, 7 + i as u64);
        for r in &results[1..] {
            worst = worst.max(difference(r, &results[0]));
        }
    }
    worst
}

/// ‖got − want‖ / ‖want‖; for zeros, ‖got‖.
pub fn difference(got: &interp::Tensor, want: &interp::Tensor) -> f64 {
    let (got, want) = (got.to_f64_vec(), want.to_f64_vec());
    assert_eq!(got.len(), want.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    // Where a mask hides everything, both may be undefined.
    let pairs = || got.iter().zip(&want).filter(|(a, b)| !(a.is_nan() && b.is_nan()) && a != b);
    let error = norm(&mut pairs().map(|(a, b)| a - b));
    let scale = norm(&mut want.iter().copied().filter(|x| x.is_finite() && x.abs() < 1e30));
    // A NaN or an infinity in one place only: no comparison must take that for small.
    if error.is_nan() {
        return f64::INFINITY;
    }
    if error == 0.0 { 0.0 } else { error / if scale > 0.0 { scale } else { 1.0 } }
}
