//! What the methods of tensors give, by type, and how they reach the graph.

use kiln_frontend::{Context, DType, Tensor, dims, trace};

/// Traces one entry over f32 `x [b, 4, 6]` and `y [6]`; the result's type as text.
fn ty_of(f: impl FnOnce(&Context, &Tensor, &Tensor) -> Tensor) -> String {
    let mut ty = String::new();
    let module = trace(|cx| {
        let b = cx.symbol("b", 1..=8);
        cx.entry("main", |cx| {
            let x = cx.input("x", DType::F32, dims![b, 4, 6]);
            let y = cx.input("y", DType::F32, dims![6]);
            let out = f(cx, &x, &y);
            ty = format!("{out:?}");
            cx.output("out", &out);
        });
    });
    if let Err(e) = module {
        return e.to_string();
    }
    ty
}

#[test]
fn operands_broadcast_and_numbers_take_the_tensors_type() {
    assert_eq!(ty_of(|_, x, y| x + y), "f32[b, 4, 6]");
    assert_eq!(ty_of(|_, x, y| 1.0 - y * x.narrow(1, 0, 1) / 2), "f32[b, 1, 6]");
    assert_eq!(ty_of(|_, x, y| -x.maximum(y).pow(2.0)), "f32[b, 4, 6]");
    assert_eq!(ty_of(|cx, _, _| cx.arange(3) + 1), "i64[3]");
    assert_eq!(ty_of(|_, x, y| x.gt(y).where_cond(x, 0)), "f32[b, 4, 6]");
    assert!(ty_of(|_, x, _| x.sum(1) + x.narrow(0, 0, 2)).contains("do not broadcast"));
    assert!(ty_of(|cx, x, _| cx.arange(6) + x).contains("the element types differ"));
    assert!(ty_of(|cx, _, _| cx.arange(6) * 0.5).contains("cast the tensor first"));
}

#[test]
fn axes_count_from_both_ends() {
    assert_eq!(ty_of(|_, x, _| x.transpose(-1, 0)), "f32[6, 4, b]");
    assert_eq!(ty_of(|_, x, _| x.permute(&[1, -1, 0])), "f32[4, 6, b]");
    assert_eq!(ty_of(|_, x, _| x.unsqueeze(-1).squeeze(3).unsqueeze(0)), "f32[1, b, 4, 6]");
    assert_eq!(ty_of(|_, x, _| x.flatten(0, 1)), "f32[4*b, 6]");
    assert_eq!(ty_of(|_, x, _| x.reshape(dims![-1, 3, 2])), "f32[4*b, 3, 2]");
    assert_eq!(ty_of(|_, x, _| x.chunk::<3>(-1)[2].clone()), "f32[b, 4, 2]");
    assert_eq!(ty_of(|_, x, y| x.cat(&[x, x], 1).pad(-1, 1, 2, 0.0) + y.sum(0)), "f32[b, 12, 9]");
    assert_eq!(ty_of(|cx, x, _| x.index_select(1, &cx.iota(dims![2, 5], 1))), "f32[b, 2, 5, 6]");
    assert!(ty_of(|_, x, _| x.softmax(3)).contains("axis 3 does not exist: there are 3 axes"));
    assert!(ty_of(|_, x, _| x.chunk::<4>(-1)[0].clone()).contains("axis -1 does not divide into 4 parts"));
}

#[test]
fn reductions_drop_or_keep_the_axis() {
    assert_eq!(ty_of(|_, x, _| x.mean(-1)), "f32[b, 4]");
    assert_eq!(ty_of(|_, x, _| x.mean_keepdim(0)), "f32[1, 4, 6]");
    assert_eq!(ty_of(|_, x, _| x.argmax(-1)), "i64[b, 4]");
    assert_eq!(ty_of(|_, x, _| x.topk(2, -1).0), "f32[b, 4, 2]");
    assert_eq!(ty_of(|_, x, _| x.topk(2, -1).1), "i64[b, 4, 2]");
    assert!(ty_of(|cx, _, _| cx.arange(4).mean(0)).contains("takes floats"));
}

#[test]
fn products_follow_pytorch() {
    assert_eq!(ty_of(|_, x, y| x.matmul(y)), "f32[b, 4]");
    assert_eq!(ty_of(|_, x, y| y.matmul(&x.transpose(1, 2))), "f32[b, 4]");
    assert_eq!(ty_of(|_, x, _| x.matmul(&x.transpose(1, 2))), "f32[b, 4, 4]");
    assert_eq!(ty_of(|_, x, _| x.unsqueeze(0).matmul(&x.narrow(0, 0, 1).transpose(1, 2))), "f32[1, b, 4, 4]");
    assert_eq!(ty_of(|_, x, y| x.matmul(&y.unsqueeze(1).broadcast_to(dims![6, 9]))), "f32[b, 4, 9]");
    assert_eq!(ty_of(|_, x, y| x.linear(&y.unsqueeze(0).broadcast_to(dims![9, 6]))), "f32[b, 4, 9]");
    assert_eq!(ty_of(|_, _, y| y.matmul(y)), "f32[]");
    assert!(ty_of(|_, x, _| x.matmul(x)).contains("pairs with"));
}

#[test]
fn sizes_are_safe_to_look_at() {
    assert_eq!(
        ty_of(|_, x, _| {
            let [b, s, d] = x.dims();
            x.reshape(dims![s, b, d])
        }),
        "f32[4, b, 6]"
    );
    let message = ty_of(|_, x, _| {
        let [a, b] = x.dims();
        x.reshape(dims![a, b])
    });
    assert!(message.contains("`dims` (f32[b, 4, 6]): expected 2 axes, found 3"), "{message}");
}
