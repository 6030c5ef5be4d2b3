//! Laws that hold for tensors of any shape.

use crate::{apply, random};
use kiln_ir::{
    AttentionAttrs, BinaryOp, BlockFormat, CompareOp, DType, Dim, DotDims, Op, Real, ReduceOp, Storage,
    interp::{Tensor, relative_error},
    sample::Random,
};
use proptest::prelude::*;

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|n| (*n).into()).collect()
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..7usize, 1..5)
}

fn i64s(values: &[i64]) -> Tensor {
    Tensor::from_i64([values.len()], values).expect("fits")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_transposition_and_its_inverse_cancel(shape in shape(), seed: u64) {
        let mut r = Random::new(seed);
        let x = random(&shape, &mut r);
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        (1..perm.len()).rev().for_each(|i| perm.swap(i, r.below(i + 1)));
        let mut inverse = vec![0; perm.len()];
        perm.iter().enumerate().for_each(|(i, p)| inverse[*p] = i);
        let y = apply(Op::Transpose(perm), &[&x]);
        prop_assert_eq!(apply(Op::Transpose(inverse), &[&y]), x);
    }

    #[test]
    fn slices_of_an_axis_concatenate_to_the_whole(shape in shape(), axis: prop::sample::Index, cut: prop::sample::Index, seed: u64) {
        let x = random(&shape, &mut Random::new(seed));
        let axis = axis.index(shape.len());
        let cut = cut.index(shape[axis] + 1);
        let part = |start: usize, end: usize| {
            apply(Op::Slice { axis, start: start.into(), len: (end - start).into() }, &[&x])
        };
        let parts = (part(0, cut), part(cut, shape[axis]));
        prop_assert_eq!(apply(Op::Concat { axis }, &[&parts.0, &parts.1]), x);
    }

    #[test]
    fn a_slice_undoes_padding(shape in shape(), axis: prop::sample::Index, low in 0..4usize, high in 0..4usize, seed: u64) {
        let x = random(&shape, &mut Random::new(seed));
        let axis = axis.index(shape.len());
        let padded = apply(Op::Pad { axis, low: low.into(), high: high.into(), value: Real::new(2.5) }, &[&x]);
        let back = apply(Op::Slice { axis, start: low.into(), len: shape[axis].into() }, &[&padded]);
        prop_assert_eq!(back, x);
        let total: f64 = padded.to_f64_vec().iter().filter(|v| **v == 2.5).count() as f64;
        let others: usize = shape.iter().product::<usize>().checked_div(shape[axis]).unwrap_or(0);
        prop_assert!(shape[axis] == 0 || total >= ((low + high) * others) as f64);
    }

    #[test]
    fn taking_every_row_changes_nothing(shape in shape(), axis: prop::sample::Index, seed: u64) {
        let x = random(&shape, &mut Random::new(seed));
        let axis = axis.index(shape.len());
        prop_assume!(shape[axis] > 0);
        let rows: Vec<i64> = (0..shape[axis] as i64).collect();
        prop_assert_eq!(apply(Op::Take { axis }, &[&x, &i64s(&rows)]), x);
    }

    #[test]
    fn a_sum_over_a_broadcast_is_a_multiple(shape in shape(), times in 0..5usize, seed: u64) {
        let mut r = Random::new(seed);
        let values: Vec<i64> = (0..shape.iter().product()).map(|_| r.between(-99, 99)).collect();
        let x = Tensor::from_i64(shape.clone(), &values).expect("fits");
        let repeated = apply(Op::Broadcast(dims(&[&[times][..], &shape].concat())), &[&x]);
        let sum = apply(Op::Reduce { op: ReduceOp::Sum, axis: 0, keep: false }, &[&repeated]);
        let factor = Tensor::from_i64(shape, &vec![times as i64; values.len()]).expect("fits");
        prop_assert_eq!(sum, apply(Op::Binary(BinaryOp::Mul), &[&x, &factor]));
    }

    #[test]
    fn the_element_at_argmax_is_the_maximum(rows in 1..5usize, n in 1..20usize, seed: u64) {
        let x = random(&[rows, n], &mut Random::new(seed));
        let at = apply(Op::Reduce { op: ReduceOp::ArgMax, axis: 1, keep: false }, &[&x]).to_i64_vec();
        let max = apply(Op::Reduce { op: ReduceOp::Max, axis: 1, keep: false }, &[&x]).to_f32_vec();
        let x = x.to_f32_vec();
        prop_assert!(at.iter().zip(&max).enumerate().all(|(r, (i, m))| x[r * n + *i as usize] == *m));
    }

    #[test]
    fn dot_general_is_its_sum(
        (batch, m, n, k) in (1..4usize, 0..20usize, 0..20usize, 0..20usize), swap_lhs: bool, swap_rhs: bool, seed: u64,
    ) {
        let mut r = Random::new(seed);
        let (a, b) = (random(&[batch, m, k], &mut r), random(&[batch, n, k], &mut r));
        let (av, bv) = (a.to_f64_vec(), b.to_f64_vec());
        let want: Vec<f64> = (0..batch * m * n)
            .map(|i| {
                let (p, i, j) = (i / n / m, i / n % m, i % n);
                (0..k).map(|k_| av[(p * m + i) * k + k_] * bv[(p * n + j) * k + k_]).sum()
            })
            .collect();
        let want = Tensor::from_f64(DType::F32, [batch, m, n], &want).expect("fits");
        let swapped = |t: &Tensor, swap: bool| if swap { apply(Op::Transpose(vec![0, 2, 1]), &[t]) } else { t.clone() };
        let op = Op::DotGeneral(DotDims {
            lhs_batch: vec![0],
            rhs_batch: vec![0],
            lhs_contract: vec![if swap_lhs { 1 } else { 2 }],
            rhs_contract: vec![if swap_rhs { 1 } else { 2 }],
        });
        let got = apply(op, &[&swapped(&a, swap_lhs), &swapped(&b, swap_rhs)]);
        prop_assert!(relative_error(&got, &want) < 1e-7);
    }

    #[test]
    fn narrow_floats_survive_a_wider_one(bits in prop::collection::vec(any::<u16>(), 1..50)) {
        let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
        for d in [DType::F16, DType::BF16] {
            let x = Tensor::from_bytes(d, [bits.len()], bytes.clone()).expect("fits");
            let back = apply(Op::Cast(d), &[&apply(Op::Cast(DType::F32), &[&x])]);
            let same = back.to_f64_vec().iter().zip(x.to_f64_vec()).all(|(a, b)| *a == b || (a.is_nan() && b.is_nan()));
            prop_assert!(same);
        }
    }

    #[test]
    fn comparisons_are_opposites_without_nan(a in prop::collection::vec(any::<i8>(), 1..50), b: i8) {
        let bytes = |v: &[i8]| v.iter().map(|v| *v as u8).collect::<Vec<u8>>();
        let x = Tensor::from_bytes(DType::I8, [a.len()], bytes(&a)).expect("fits");
        let y = Tensor::from_bytes(DType::I8, [a.len()], bytes(&vec![b; a.len()])).expect("fits");
        for (op, opposite) in
            [(CompareOp::Lt, CompareOp::Ge), (CompareOp::Gt, CompareOp::Le), (CompareOp::Eq, CompareOp::Ne)]
        {
            let holds = apply(Op::Compare(op), &[&x, &y]).to_bool_vec();
            let fails = apply(Op::Compare(opposite), &[&x, &y]).to_bool_vec();
            prop_assert!(holds.iter().zip(&fails).all(|(h, f)| h != f));
        }
    }

    #[test]
    fn rows_of_blocks_dequantise_alike_before_and_after_taking(rows in 1..6usize, blocks in 1..4usize, seed: u64) {
        let mut r = Random::new(seed);
        for b in BlockFormat::ALL {
            let mut bytes: Vec<u8> = (0..rows * blocks * b.block_bytes()).map(|_| r.bits() as u8).collect();
            // Neither infinities nor NaN among the f16.
            for block in bytes.chunks_exact_mut(b.block_bytes()) {
                b.minimum_offset().into_iter().chain([b.scale_offset()]).for_each(|at| block[at + 1] &= 0x3f);
            }
            let x = Tensor::from_bytes(Storage::Block(b), [rows, blocks * b.block_len()], bytes).expect("fits");
            let i = i64s(&[r.below(rows) as i64, r.below(rows) as i64]);
            let taken = apply(Op::Dequantize(DType::F32), &[&apply(Op::Take { axis: 0 }, &[&x, &i])]);
            let dense = apply(Op::Take { axis: 0 }, &[&apply(Op::Dequantize(DType::F32), &[&x]), &i]);
            prop_assert_eq!(&taken, &dense);
            prop_assert_eq!(apply(Op::Dequantize(DType::F32), &[&x]).to_f64_vec(), x.to_f64_vec());
        }
    }

    /// Feeding a cache token by token, in padded rows and shuffled slots, gives what attention over the whole sequence gives.
    #[test]
    fn a_cache_remembers(s in 1..7usize, pad in 0..3i64, window in prop::option::of(1..4i64), seed: u64) {
        let mut r = Random::new(seed);
        let (q, k, v) = (random(&[1, s, 2, 4], &mut r), random(&[1, s, 1, 4], &mut r), random(&[1, s, 1, 3], &mut r));
        let mut attrs = AttentionAttrs { scale: Real::new(0.5), causal: true, window, cached: false, mask: false };
        let want = apply(Op::Attention(attrs.clone()), &[&q, &k, &v]);
        attrs.cached = true;
        let token = |t: &Tensor, j: usize| apply(Op::Slice { axis: 1, start: j.into(), len: 1.into() }, &[t]);
        let slot = i64s(&[r.between(0, 2)]);
        let (mut keys, mut values) = (random(&[3, 8, 1, 4], &mut r), random(&[3, 8, 1, 3], &mut r));
        let mut outs = vec![];
        for j in 0..s {
            let start = i64s(&[j as i64]);
            keys = apply(Op::CacheUpdate, &[&keys, &token(&k, j), &slot, &start]);
            values = apply(Op::CacheUpdate, &[&values, &token(&v, j), &slot, &start]);
            outs.push(apply(Op::Attention(attrs.clone()), &[&token(&q, j), &keys, &values, &slot, &start]));
        }
        let got = apply(Op::Concat { axis: 1 }, &outs.iter().collect::<Vec<_>>());
        prop_assert!(relative_error(&got, &want) < 1e-6);
        // All at once, with padding in front that starts before the first position.
        let padded = |t: &Tensor| apply(Op::Pad { axis: 1, low: pad.into(), high: 0.into(), value: Real::new(9.0) }, &[t]);
        let start = i64s(&[-pad]);
        let empty = (random(&[3, 8, 1, 4], &mut r), random(&[3, 8, 1, 3], &mut r));
        let keys = apply(Op::CacheUpdate, &[&empty.0, &padded(&k), &slot, &start]);
        let values = apply(Op::CacheUpdate, &[&empty.1, &padded(&v), &slot, &start]);
        let all = apply(Op::Attention(attrs), &[&padded(&q), &keys, &values, &slot, &start]);
        let blind = apply(Op::Slice { axis: 1, start: 0.into(), len: pad.into() }, &[&all]);
        prop_assert!(blind.to_f64_vec().iter().all(|v| *v == 0.0));
        let got = apply(Op::Slice { axis: 1, start: pad.into(), len: s.into() }, &[&all]);
        prop_assert!(relative_error(&got, &want) < 1e-6);
    }
}
