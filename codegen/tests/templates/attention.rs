//! Attention: prompts, single tokens, grouped heads, masks, windows, slots and positions.

use crate::support::*;
use kiln_core::*;

struct Shape {
    batch: i64,
    queries: i64,
    keys: i64,
    heads: (i64, i64),
    dims: (i64, i64),
}

fn case(
    r: &mut Random,
    s: &Shape,
    decode: bool,
    causal: bool,
    window: Option<i64>,
    (cached, mask): (bool, bool),
) -> Case {
    let (q_heads, kv_heads) = s.heads;
    let (head_dim, v_dim) = s.dims;
    let capacity = s.keys + 5;
    let rows = if cached { s.batch + 2 } else { s.batch };
    let strides = |a: [Size; 4]| access_sized(DType::F32, &a);
    let c = Size::Const;
    let spec = KernelSpec::Attention(AttentionSpec {
        batch: Size::Arg(0),
        queries: if decode { c(1) } else { Size::Arg(1) },
        kv_len: Size::Arg(2),
        q_heads,
        kv_heads,
        head_dim,
        v_dim,
        scale: (head_dim as f32).sqrt().recip().to_bits(),
        causal,
        window,
        q: strides([Size::Arg(3), c(q_heads * head_dim), c(head_dim), c(1)]),
        // One cache is [row, key, head, dim], the other [row, head, key, dim].
        k: strides([Size::Arg(4), c(kv_heads * head_dim), c(head_dim), c(1)]),
        v: strides([Size::Arg(5), c(v_dim), Size::Arg(6), c(1)]),
        slots: cached.then_some(Size::Arg(8)),
        starts: cached,
        mask: mask.then(|| access_sized(DType::Bool, &[Size::Arg(2), c(1)])),
        out: strides([Size::Arg(7), c(q_heads * v_dim), c(v_dim), c(1)]),
    });
    let mut buffers = vec![
        r.f32s((s.batch * s.queries * q_heads * head_dim) as usize, 2.0),
        r.f32s((rows * capacity * kv_heads * head_dim) as usize, 2.0),
        r.f32s((rows * capacity * kv_heads * v_dim) as usize, 2.0),
    ];
    if cached {
        // A slot that there is not is taken as the nearest one.
        let slot = |i: i64| if s.batch == 2 && i == 1 { 1 << 40 } else { (i + 2) % rows };
        buffers.push((0..s.batch).flat_map(|i| slot(i).to_le_bytes()).collect());
        // The first row begins before its first key.
        let starts =
            (0..s.batch).flat_map(|i| if i == 0 { (-1i64).to_le_bytes() } else { (s.keys - s.queries).to_le_bytes() });
        buffers.push(starts.collect());
    }
    if mask {
        // The last row sees no key at all.
        let mut seen = r.elements(DType::Bool.into(), (s.batch * s.keys) as usize);
        seen[((s.batch - 1) * s.keys) as usize..].fill(0);
        buffers.push(seen);
    }
    buffers.push(zeros(DType::F32, (s.batch * s.queries * q_heads * v_dim) as usize));
    Case {
        name: format!(
            "attention batch {} queries {} keys {} heads {:?} dims {:?} decode {decode} causal {causal} window {window:?} cached {cached} mask {mask}",
            s.batch, s.queries, s.keys, s.heads, s.dims
        ),
        spec,
        buffers,
        args: vec![
            s.batch,
            s.queries,
            s.keys,
            s.queries * q_heads * head_dim,
            capacity * kv_heads * head_dim,
            capacity * kv_heads * v_dim,
            capacity * v_dim,
            s.queries * q_heads * v_dim,
            rows,
        ],
        tolerance: 5e-6,
    }
}

#[test]
fn every_variant() {
    let mut r = Random(51);
    let mut cases = vec![];
    for (heads, dims) in
        [((9, 3), (64, 64)), ((4, 4), (48, 48)), ((2, 1), (20, 12)), ((8, 1), (16, 24)), ((3, 3), (5, 3))]
    {
        for (causal, window, extras) in [
            (true, None, (false, false)),
            (false, None, (false, false)),
            (true, Some(6), (false, false)),
            (true, None, (false, true)),
            (false, Some(9), (false, true)),
            (true, None, (true, true)),
            (true, Some(40), (true, true)),
        ] {
            for (batch, queries, keys) in [(1, 1, 1), (3, 7, 7), (1, 2, 64), (3, 64, 64), (1, 129, 129), (2, 5, 70)] {
                let shape = Shape { batch, queries, keys, heads, dims };
                cases.push(case(&mut r, &shape, false, causal, window, extras));
                if queries == 1 || queries == 5 {
                    let shape = Shape { batch, queries: 1, keys, heads, dims };
                    cases.push(case(&mut r, &shape, true, causal, window, extras));
                    let shape = Shape { batch: 3, queries: 1, keys: 131, heads, dims };
                    cases.push(case(&mut r, &shape, true, causal, window, extras));
                }
            }
        }
    }
    check(cases);
}
