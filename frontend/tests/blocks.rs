//! Blocks: what they capture, and that equal ones are one function.

use kiln_frontend::{Context, DType, Dim, LoadOptions, Module, ParamSource, Storage, Tensor, dims, nn, trace};
use kiln_ir::{ArgKind, Op};

/// Has every tensor that is asked for, in the shape of a square of 4.
struct Squares;

impl ParamSource for Squares {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        Some((DType::F32.into(), if name.ends_with("bias") { vec![4] } else { vec![4, 4] }))
    }
}

#[derive(Module)]
struct Model {
    layers: Vec<Layer>,
}

#[derive(Module)]
struct Layer {
    proj: nn::Linear,
}

fn model(cx: &Context, layers: usize, bias: impl Fn(usize) -> bool) -> Model {
    let mut model =
        Model { layers: (0..layers).map(|i| Layer { proj: nn::Linear::new(4, 4, bias(i)) }).collect::<Vec<_>>() };
    cx.load(&mut model, &Squares, LoadOptions::default());
    model
}

/// One entry that runs `x [n, 4]` through the layers, each of which also adds `shift` and writes its input to a cache.
fn entry(cx: &Context, name: &str, model: &Model, n: &Dim) {
    cx.entry(name, |cx| {
        let mut x = cx.input("x", DType::F32, dims![n, 4]);
        let rows = cx.input("rows", DType::I64, dims![n]);
        let shift = x.sum_keepdim(-1);
        for (i, layer) in model.layers.iter().enumerate() {
            let cache = cx.state(&format!("past.{i}.key"), DType::F32, dims![8, 2, 4]);
            x = cx.block("layer", || {
                let cache = cache.cache_update(&x.unsqueeze(1), &rows, &rows);
                layer.proj.forward(&x) + &shift + cache.narrow(0, 0, 1).sum(0).narrow(0, 0, 1)
            });
        }
        cx.output("y", &x);
    });
}

#[test]
fn thirty_layers_are_one_function_per_entry() {
    let module = trace(|cx| {
        let (n, m) = (cx.symbol("n", 1..=4), cx.symbol("m", 1..=4));
        let model = model(cx, 30, |_| true);
        entry(cx, "forward", &model, &n);
        entry(cx, "step", &model, &m);
    })
    .expect("traces");
    let names: Vec<&str> = module.functions.iter().map(|f| &*f.name).collect();
    assert_eq!(names, ["forward.layer", "forward", "step.layer", "step"]);
    for (_, f) in module.entries() {
        assert_eq!(f.nodes().filter(|(_, n)| matches!(n.op, Op::Call(_))).count(), 30);
        assert_eq!(f.outputs.len(), 31, "the states come back by themselves");
        assert!(f.outputs.iter().skip(1).all(|o| f.args[o.updates.expect("a state") as usize].name == o.name));
        assert_eq!(f.args.iter().filter(|a| matches!(a.kind, ArgKind::Param { live: false })).count(), 60);
    }
    let parsed = kiln_ir::text::parse(&module.to_string()).expect("its text parses");
    assert_eq!(parsed.to_string(), module.to_string());
}

#[test]
fn what_a_block_uses_becomes_its_arguments() {
    let module = trace(|cx| {
        let n = cx.symbol("n", 1..=4);
        let model = model(cx, 2, |_| false);
        entry(cx, "main", &model, &n);
    })
    .expect("traces");
    let layer = &module.functions[0];
    let args: Vec<(&str, ArgKind)> = layer.args.iter().map(|a| (&*a.name, a.kind)).collect();
    let param = ArgKind::Param { live: false };
    assert_eq!(
        args,
        [
            ("x", ArgKind::Input),
            ("key", ArgKind::State),
            ("rows", ArgKind::Input),
            ("proj.weight", param),
            ("x_1", ArgKind::Input)
        ]
    );
    assert_eq!(layer.outputs[1].updates, Some(1));
}

#[test]
fn blocks_that_differ_stay_apart() {
    let module = trace(|cx| {
        let n = cx.symbol("n", 1..=4);
        let model = model(cx, 6, |i| i % 2 == 0);
        entry(cx, "main", &model, &n);
    })
    .expect("traces");
    let names: Vec<&str> = module.functions.iter().map(|f| &*f.name).collect();
    assert_eq!(names, ["main.layer", "main.layer.2", "main"]);
}

#[test]
fn blocks_nest_and_return_what_they_like() {
    let module = trace(|cx| {
        cx.entry("main", |cx| {
            let x = cx.input("x", DType::F32, dims![4]);
            let (sum, rest): (Tensor, Vec<Tensor>) = cx.block("outer", || {
                let halves = x.chunk::<2>(0);
                let [a, b] = halves.map(|h| cx.block("inner", || &h * &x.sum(0)));
                (&a + &b, vec![a.clone(), b, a, x.clone()])
            });
            assert_eq!(rest.len(), 4);
            cx.output("y", &(sum + &rest[0] + &rest[1] * &rest[2]));
            cx.output("x", &rest[3]);
            let nothing: Option<Tensor> = cx.block("empty", || None);
            assert!(nothing.is_none());
        });
    })
    .expect("traces");
    let names: Vec<&str> = module.functions.iter().map(|f| &*f.name).collect();
    assert_eq!(names, ["main.inner", "main.outer", "main"]);
    assert_eq!(module.find("main.outer").expect("there").1.outputs.len(), 4, "each value is returned once");
}

#[test]
fn reading_a_state_does_not_consume_it() {
    let module = trace(|cx| {
        cx.entry("main", |cx| {
            let cache = cx.state("past.0.key", DType::F32, dims![2, 8]);
            let sum = cx.block("read", || cache.sum(-1));
            let again = cx.block("read", || cache.sum(-1));
            let rows = cx.input("rows", DType::I64, dims![1]);
            let next = cx.block("write", || cache.cache_update(&sum.unsqueeze(0), &rows, &rows));
            cx.output("y", &(next.sum(-1) + again));
        });
    })
    .expect("traces");
    let read = module.find("main.read").expect("there").1;
    assert_eq!(read.args[0].kind, ArgKind::Input);
    let main = module.find("main").expect("there").1;
    assert_eq!(main.outputs.iter().map(|o| o.updates).collect::<Vec<_>>(), [None, Some(0)]);
}

#[test]
fn what_nothing_needs_is_dropped() {
    let module = trace(|cx| {
        let model = model(cx, 2, |_| true);
        cx.entry("main", |cx| {
            let x = cx.input("x", DType::F32, dims![3, 4]);
            let unused = cx.input("unused", DType::F32, dims![3]);
            let y = cx.block("layer", || {
                drop(model.layers[1].proj.forward(&x) * unused.unsqueeze(-1));
                model.layers[0].proj.forward(&x)
            });
            drop(model.layers[1].proj.forward(&y));
            cx.output("y", &y);
        });
    })
    .expect("traces");
    let args =
        |f: &str| -> Vec<String> { module.find(f).expect("there").1.args.iter().map(|a| a.name.to_string()).collect() };
    assert_eq!(args("main"), ["x", "unused", "layers.0.proj.weight", "layers.0.proj.bias"]);
    assert_eq!(args("main.layer").len(), 3);
}
