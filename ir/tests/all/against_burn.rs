//! The interpreter against burn's CPU backend, f32.

use crate::{apply, random};
use burn_tensor::{
    Bool, IndexingUpdateOp, Int, Tensor as Burn, TensorData, activation, module,
    ops::{AttentionModuleOptions, ConvOptions, PadMode},
};
use kiln_ir::{
    AttentionAttrs, BinaryOp, CompareOp, ConvAttrs, DotDims, Op, Real, ReduceOp, UnaryOp,
    interp::{Tensor, relative_error},
    sample::Random,
};

const TOLERANCE: f64 = 1e-5;
const SHAPES: [[usize; 3]; 7] = [[1, 1, 1], [2, 3, 7], [3, 1, 17], [1, 64, 3], [2, 17, 129], [5, 2, 64], [7, 7, 7]];

fn burn<const D: usize>(t: &Tensor) -> Burn<D> {
    Burn::from_data(TensorData::new(t.to_f32_vec(), t.shape().to_vec()), &Default::default())
}

fn integers<const D: usize>(t: &Tensor) -> Burn<D, Int> {
    Burn::from_data(TensorData::new(t.to_i64_vec(), t.shape().to_vec()), &Default::default())
}

fn kiln<const D: usize>(t: Burn<D>) -> Tensor {
    let data = t.into_data();
    Tensor::from_f32(data.shape().to_vec(), &data.try_to_vec::<f32>().expect("f32")).expect("fits")
}

#[track_caller]
fn agree<const D: usize>(what: &str, got: Tensor, want: Burn<D>) {
    let want = kiln(want);
    let error = relative_error(&got, &want);
    assert!(error <= TOLERANCE, "{what}: {error}\n{got:?}\n{want:?}");
}

/// Each shape with its random numbers.
fn shapes() -> impl Iterator<Item = ([usize; 3], Random)> {
    SHAPES.into_iter().enumerate().map(|(i, s)| (s, Random::new(i as u64)))
}

fn positive(t: &Tensor) -> Tensor {
    let tiny = Tensor::from_f32(t.shape(), &vec![0.01; t.len()]).expect("fits");
    apply(Op::Binary(BinaryOp::Add), &[&apply(Op::Unary(UnaryOp::Abs), &[t]), &tiny])
}

#[test]
fn unary() {
    for (shape, mut r) in shapes() {
        let x = random(&shape, &mut r);
        let p = positive(&x);
        let one = |u: UnaryOp, t: &Tensor| apply(Op::Unary(u), &[t]);
        agree("neg", one(UnaryOp::Neg, &x), burn::<3>(&x).neg());
        agree("abs", one(UnaryOp::Abs, &x), burn::<3>(&x).abs());
        agree("exp", one(UnaryOp::Exp, &x), burn::<3>(&x).exp());
        agree("log", one(UnaryOp::Log, &p), burn::<3>(&p).log());
        agree("sqrt", one(UnaryOp::Sqrt, &p), burn::<3>(&p).sqrt());
        agree("rsqrt", one(UnaryOp::Rsqrt, &p), burn::<3>(&p).sqrt().recip());
        agree("sin", one(UnaryOp::Sin, &x), burn::<3>(&x).sin());
        agree("cos", one(UnaryOp::Cos, &x), burn::<3>(&x).cos());
        agree("tanh", one(UnaryOp::Tanh, &x), burn::<3>(&x).tanh());
        agree("erf", one(UnaryOp::Erf, &x), burn::<3>(&x).erf());
        agree("floor", one(UnaryOp::Floor, &x), burn::<3>(&x).floor());
        agree("sigmoid", apply(Op::Sigmoid, &[&x]), activation::sigmoid(burn::<3>(&x)));
        agree("silu", apply(Op::Silu, &[&x]), activation::silu(burn::<3>(&x)));
        agree("gelu", apply(Op::Gelu { tanh: false }, &[&x]), activation::gelu(burn::<3>(&x)));
        agree("gelu tanh", apply(Op::Gelu { tanh: true }, &[&x]), activation::gelu_approximate(burn::<3>(&x)));
    }
}

#[test]
fn binary_and_select() {
    for (shape, mut r) in shapes() {
        let (x, y) = (random(&shape, &mut r), random(&shape, &mut r));
        let p = positive(&x);
        let two = |b: BinaryOp, x: &Tensor, y: &Tensor| apply(Op::Binary(b), &[x, y]);
        agree("add", two(BinaryOp::Add, &x, &y), burn::<3>(&x) + burn(&y));
        agree("sub", two(BinaryOp::Sub, &x, &y), burn::<3>(&x) - burn(&y));
        agree("mul", two(BinaryOp::Mul, &x, &y), burn::<3>(&x) * burn(&y));
        agree("div", two(BinaryOp::Div, &x, &y), burn::<3>(&x) / burn(&y));
        agree("max", two(BinaryOp::Max, &x, &y), burn::<3>(&x).max_pair(burn(&y)));
        agree("min", two(BinaryOp::Min, &x, &y), burn::<3>(&x).min_pair(burn(&y)));
        agree("pow", two(BinaryOp::Pow, &p, &y), burn::<3>(&p).powf(burn(&y)));
        let less = apply(Op::Compare(CompareOp::Lt), &[&x, &y]);
        let mask: Burn<3, Bool> = burn::<3>(&x).lower(burn(&y));
        agree("select", apply(Op::Select, &[&less, &x, &p]), burn::<3>(&p).mask_where(mask, burn(&x)));
    }
}

#[test]
fn reductions_and_softmax() {
    for (shape, mut r) in shapes() {
        let x = random(&shape, &mut r);
        for axis in 0..3 {
            let reduce = |op| apply(Op::Reduce { op, axis, keep: true }, &[&x]);
            agree("sum", reduce(ReduceOp::Sum), burn::<3>(&x).sum_dim(axis));
            agree("prod", reduce(ReduceOp::Prod), burn::<3>(&x).prod_dim(axis));
            agree("max", reduce(ReduceOp::Max), burn::<3>(&x).max_dim(axis));
            agree("min", reduce(ReduceOp::Min), burn::<3>(&x).min_dim(axis));
            let indices: Vec<i64> = burn::<3>(&x).argmax(axis).into_data().iter::<i64>().collect();
            assert_eq!(reduce(ReduceOp::ArgMax).to_i64_vec(), indices);
            let running = |op| apply(Op::Cumulative { op, axis, reverse: false }, &[&x]);
            agree("cumulative_sum", running(ReduceOp::Sum), burn::<3>(&x).cumsum(axis));
            agree("cumulative_prod", running(ReduceOp::Prod), burn::<3>(&x).cumprod(axis));
            agree("cumulative_max", running(ReduceOp::Max), burn::<3>(&x).cummax(axis));
            agree("cumulative_min", running(ReduceOp::Min), burn::<3>(&x).cummin(axis));
            let backwards = apply(Op::Cumulative { op: ReduceOp::Sum, axis, reverse: true }, &[&x]);
            agree("reverse", backwards, burn::<3>(&x).flip([axis as isize]).cumsum(axis).flip([axis as isize]));
            agree("softmax", apply(Op::Softmax { axis }, &[&x]), activation::softmax(burn::<3>(&x), axis));
            let sum = burn::<3>(&x).exp().sum_dim(axis).log();
            agree("log_sum_exp", apply(Op::LogSumExp { axis }, &[&x]), sum);
        }
    }
}

#[test]
fn norms() {
    for (shape @ [.., n], mut r) in shapes().filter(|(s, _)| s[2] > 1) {
        let (x, w, b) = (random(&shape, &mut r), random(&[n], &mut r), random(&[n], &mut r));
        let eps = 1e-5;
        let layer = apply(Op::LayerNorm { eps: Real::new(eps) }, &[&x, &w, &b]);
        agree("layer_norm", layer, module::layer_norm(burn::<3>(&x), burn(&w), Some(burn(&b)), eps));
        let rms = apply(Op::RmsNorm { eps: Real::new(eps) }, &[&x, &w]);
        let square = burn::<3>(&x) * burn(&x);
        let want = burn::<3>(&x) / (square.mean_dim(2) + eps).sqrt() * burn::<1>(&w).reshape([1, 1, n]);
        agree("rms_norm", rms, want);
    }
}

#[test]
fn products() {
    for ([b, m, k], mut r) in shapes() {
        for n in [1, 3, 17, 64] {
            let (x, w, y) = (random(&[b, m, k], &mut r), random(&[n, k], &mut r), random(&[b, k, n], &mut r));
            let linear = apply(Op::DotGeneral(DotDims::linear(3)), &[&x, &w]);
            let flat = burn::<3>(&x).reshape([b * m, k]).matmul(burn::<2>(&w).transpose());
            agree("linear", linear, flat.reshape([b, m, n]));
            let batched =
                DotDims { lhs_batch: vec![0], rhs_batch: vec![0], lhs_contract: vec![2], rhs_contract: vec![1] };
            let got = apply(Op::DotGeneral(batched), &[&x, &y]);
            agree("batched", got, burn::<3>(&x).matmul(burn(&y)));
        }
    }
}

#[test]
fn convolutions() {
    let mut r = Random::new(5);
    for (groups, stride, dilation, low, high) in [(1, 1, 1, 0, 0), (1, 2, 1, 1, 1), (2, 1, 2, 2, 0), (4, 3, 1, 0, 2)] {
        let attrs = |axes: usize| ConvAttrs {
            strides: vec![stride; axes],
            dilations: vec![dilation; axes],
            low: vec![low; axes],
            high: vec![high; axes],
            groups,
        };
        let (x, w) = (random(&[2, 4, 11], &mut r), random(&[8, 4 / groups, 3], &mut r));
        let options = ConvOptions { stride: [stride], padding: [(low, high)], dilation: [dilation], groups };
        let want = module::conv1d(burn(&x), burn(&w), None, options);
        agree("conv of one axis", apply(Op::Conv(attrs(1)), &[&x, &w]), want);
        let (x, w) = (random(&[2, 4, 9, 8], &mut r), random(&[8, 4 / groups, 3, 2], &mut r));
        let options = ConvOptions { stride: [stride; 2], padding: [(low, high); 2], dilation: [dilation; 2], groups };
        let want = module::conv2d(burn(&x), burn(&w), None, options);
        agree("conv of two axes", apply(Op::Conv(attrs(2)), &[&x, &w]), want);
        if low != high {
            // burn pads three axes on both sides alike only.
            continue;
        }
        let (x, w) = (random(&[1, 4, 7, 6, 5], &mut r), random(&[4, 4 / groups, 2, 3, 1], &mut r));
        let options = ConvOptions { stride: [stride; 3], padding: [(low, high); 3], dilation: [dilation; 3], groups };
        let want = module::conv3d(burn(&x), burn(&w), None, options);
        agree("conv of three axes", apply(Op::Conv(attrs(3)), &[&x, &w]), want);
    }
}

#[test]
fn movement() {
    for (shape @ [a, b, c], mut r) in shapes() {
        let (x, y) = (random(&shape, &mut r), random(&shape, &mut r));
        for perm in [[0, 2, 1], [1, 0, 2], [2, 0, 1], [2, 1, 0]] {
            let want = burn::<3>(&x).permute(perm.map(|p| p as isize));
            agree("transpose", apply(Op::Transpose(perm.to_vec()), &[&x]), want);
        }
        let joined = vec![(a * b).into(), c.into()];
        agree("reshape", apply(Op::Reshape(joined), &[&x]), burn::<3>(&x).reshape([a * b, c]));
        for axis in 0..3 {
            let want = Burn::cat(vec![burn::<3>(&x), burn(&y)], axis);
            agree("concat", apply(Op::Concat { axis }, &[&x, &y]), want);
            let (start, len) = (r.below(shape[axis]), 1);
            let want = burn::<3>(&x).narrow(axis, start, len);
            agree("slice", apply(Op::Slice { axis, start: start.into(), len: len.into() }, &[&x]), want);
            let rows: Vec<i64> = (0..5).map(|_| r.below(shape[axis]) as i64).collect();
            let rows = Tensor::from_i64([5], &rows).expect("fits");
            let mut picked = shape.to_vec();
            picked[axis] = 4;
            let at: Vec<i64> = (0..picked.iter().product()).map(|_| r.below(shape[axis]) as i64).collect();
            let at = Tensor::from_i64(picked, &at).expect("fits");
            agree("gather", apply(Op::Gather { axis }, &[&x, &at]), burn::<3>(&x).gather(axis, integers(&at)));
            let updates = random(at.shape(), &mut r);
            let got = apply(Op::ScatterAdd { axis }, &[&x, &at, &updates]);
            let want = burn::<3>(&x).scatter(axis, integers(&at), burn(&updates), IndexingUpdateOp::Add);
            agree("scatter_add", got, want);
            let k = 1 + r.below(shape[axis]);
            let top = apply(Op::TopK { axis, k }, &[&x]);
            agree("top_k", apply(Op::Gather { axis }, &[&x, &top]), burn::<3>(&x).topk(k, axis));
            agree("take", apply(Op::Take { axis }, &[&x, &rows]), burn::<3>(&x).select(axis, integers(&rows)));
            let mut around = [(0, 0); 3];
            around[axis] = (2, 1);
            let pad = Op::Pad { axis, low: 2.into(), high: 1.into(), value: Real::new(-0.5) };
            agree("pad", apply(pad, &[&x]), burn::<3>(&x).pad(around, PadMode::Constant(-0.5)));
        }
        let one = apply(Op::Slice { axis: 1, start: 0.into(), len: 1.into() }, &[&x]);
        let to = [a, 4, c];
        let broadcast = Op::Broadcast(to.iter().map(|n| (*n).into()).collect());
        agree("broadcast", apply(broadcast, &[&one]), burn::<3>(&one).expand(to));
    }
}

#[test]
fn attention() {
    for (s, heads, d, causal) in [(1, 1, 4, true), (7, 2, 16, true), (17, 3, 8, false), (64, 1, 64, true)] {
        let mut r = Random::new(s as u64);
        let [q, k, v] = [(); 3].map(|()| random(&[2, s, heads, d], &mut r));
        let scale = 1.0 / (d as f64).sqrt();
        let attrs = AttentionAttrs { scale: Real::new(scale), causal, window: None, cached: false, mask: false };
        let got = apply(Op::Attention(attrs), &[&q, &k, &v]);
        let heads_first = |t: &Tensor| burn::<4>(t).swap_dims(1, 2);
        let options = AttentionModuleOptions { scale: Some(scale), softcap: None, is_causal: causal };
        let want = module::attention(heads_first(&q), heads_first(&k), heads_first(&v), None, None, options);
        agree("attention", got, want.swap_dims(1, 2));
    }
}
