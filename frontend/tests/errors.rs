//! Errors name the op, the operands' types and the line of the model; nothing panics.

use kiln_frontend::{
    BlockFormat, Context, DType, Error, LoadOptions, Module, ParamSource, Storage, Symbol, dims, nn, trace,
};
use std::collections::BTreeMap;

fn error_of(define: impl FnOnce(&Context)) -> String {
    trace(define).expect_err("the definition is wrong").to_string()
}

#[test]
fn the_first_error_names_op_types_and_line() {
    let mut line = 0;
    let message = error_of(|cx| {
        let s = cx.symbol("s", 1..=8);
        cx.entry("main", |cx| {
            let x = cx.input("x", DType::F32, dims![s, 4]);
            line = line!() + 1;
            let wrong = &x + x.narrow(1, 0, 3);
            let worse = wrong.softmax(7).reshape(dims![-1, -1]).matmul(&x);
            assert!(wrong.is_poisoned() && worse.is_poisoned());
            let [rows, columns] = worse.dims();
            cx.output("y", &(worse.reshape(dims![rows, columns]) + x.narrow(5, 0, 1)));
        });
    });
    let expected = "`add` (f32[s, 4], f32[s, 3]): the shapes do not broadcast: sizes are equal, or one is 1";
    assert_eq!(message, format!("{expected} (at frontend/tests/errors.rs:{line})"));
}

#[test]
fn errors_within_layers_point_at_the_model() {
    let mut line = 0;
    let message = error_of(|cx| {
        let mut layer = nn::Linear::new(6, 2, false);
        let unused = cx.load(&mut layer, &Held::of(&[("weight", DType::F32.into(), &[2, 6])]), LoadOptions::default());
        assert!(unused.is_empty());
        cx.entry("main", |cx| {
            let x = cx.input("x", DType::F32, dims![3, 4]);
            line = line!() + 1;
            cx.output("y", &layer.forward(&x));
        });
    });
    assert!(message.starts_with("`dot_general"), "{message}");
    assert!(message.contains("(f32[3, 4], f32[2, 6])"), "{message}");
    assert!(message.ends_with(&format!("(at frontend/tests/errors.rs:{line})")), "{message}");
}

#[test]
fn misuse_of_the_dsl_is_an_error() {
    let outside = error_of(|cx| drop(cx.scalar(DType::F32, 1.0)));
    assert!(outside.contains("`constant` stands outside of every entry"), "{outside}");

    let twice = error_of(|cx| cx.entry("a", |cx| drop([(); 2].map(|()| cx.input("x", DType::F32, [])))));
    assert!(twice.contains("the entry has two arguments named `x`"), "{twice}");

    let nested = error_of(|cx| cx.entry("a", |cx| cx.entry("b", |_| ())));
    assert!(nested.contains("entry `b` stands inside of another one"), "{nested}");

    let bounds = error_of(|cx| drop(cx.symbol("s", std::ops::RangeInclusive::new(5, 2))));
    assert!(bounds.contains("bounds 5..=2 hold no size"), "{bounds}");

    let typical = error_of(|cx| drop(cx.symbol("s", Symbol::length(1..=8).typically([1, 9]))));
    assert!(typical.contains("symbol `s`: the typical size 9 is outside its bounds 1..=8"), "{typical}");

    let twice = error_of(|cx| drop([Symbol::batch(1..=8), Symbol::length(1..=8)].map(|size| cx.symbol("s", size))));
    assert!(twice.contains("symbol `s` is declared twice, and differently"), "{twice}");

    let unloaded = error_of(|cx| {
        cx.entry("a", |cx| cx.output("y", &nn::Linear::new(2, 2, true).forward(&cx.input("x", DType::F32, dims![2]))));
    });
    assert!(unloaded.contains("was not loaded"), "{unloaded}");
}

#[test]
fn tensors_stay_in_their_scope() {
    let leaked = error_of(|cx| {
        cx.entry("a", |cx| {
            let x = cx.input("x", DType::F32, dims![2]);
            let mut inner = None;
            let y = cx.block("layer", || {
                let doubled = &x * 2.0;
                inner = Some(doubled.clone());
                doubled.exp()
            });
            cx.output("y", &(y + inner.expect("traced")));
        });
    });
    assert!(leaked.contains("from inside a block that has ended"), "{leaked}");

    let mut kept = None;
    let foreign = error_of(|cx| {
        cx.entry("a", |cx| kept = Some(cx.input("x", DType::F32, dims![2])));
        cx.entry("b", |cx| cx.output("y", &kept.clone().expect("traced").exp()));
    });
    assert!(foreign.contains("uses a tensor of another entry"), "{foreign}");
}

#[test]
fn an_updated_state_is_gone() {
    let mut line = 0;
    let message = error_of(|cx| {
        cx.entry("step", |cx| {
            let cache = cx.state("cache", DType::F32, dims![2, 8, 1, 4]);
            let new = cx.input("new", DType::F32, dims![2, 1, 1, 4]);
            let rows = cx.input("rows", DType::I64, dims![2]);
            line = line!() + 1;
            cx.block("write", || drop(cache.cache_update(&new, &rows, &rows)));
            cx.output("y", &cache.exp());
        });
    });
    let expected = format!("the state `cache` was updated at frontend/tests/errors.rs:{line}");
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn parameters_that_do_not_fit_are_all_named() {
    #[derive(Module)]
    struct Model {
        layers: Vec<nn::Linear>,
        norm: nn::RmsNorm,
    }
    let held = Held::of(&[
        ("layers.0.weight", DType::BF16.into(), &[4, 4]),
        ("layers.1.weight", DType::F32.into(), &[4, 2]),
        ("layers.1.bias", DType::I64.into(), &[4]),
        ("lm_head.weight", DType::F32.into(), &[4, 4]),
    ]);
    let mut unused = vec![];
    let error = trace(|cx| {
        let layers = vec![nn::Linear::new(4, 4, true), nn::Linear::new(4, 4, true)];
        let mut model = Model { layers, norm: nn::RmsNorm::new(4, 1e-6) };
        unused = cx.load(&mut model, &held, LoadOptions::default());
        cx.entry("main", |cx| {
            let x = cx.input("x", DType::F32, dims![4]);
            cx.output("y", &model.layers.iter().fold(x, |x, l| l.forward(&x)));
        });
    })
    .expect_err("parameters are missing");
    let Error::Parameters { missing, mismatched } = &error else { panic!("{error}") };
    assert_eq!(missing, &["layers.0.bias", "norm.weight"]);
    assert_eq!(mismatched.len(), 2);
    assert_eq!(unused, ["lm_head.weight"]);
    assert_eq!(
        error.to_string(),
        "config and checkpoint do not belong together: the checkpoint lacks `layers.0.bias`, `norm.weight`; tensor `layers.1.weight`: the \
         config says [4, 4], the checkpoint has [4, 2]; tensor `layers.1.bias`: a parameter holds floats, the checkpoint has i64"
    );
}

#[test]
fn stored_types_are_converted_where_they_are_used() {
    let held = Held::of(&[("weight", Storage::Block(BlockFormat::Q8_0), &[8, 32])]);
    let module = trace(|cx| {
        let mut table = nn::Embedding::new(8, 32);
        cx.load(&mut table, &held, LoadOptions::default());
        cx.entry("main", |cx| {
            let ids = cx.input("ids", DType::I64, dims![3]);
            let x = table.forward(&ids);
            let twice = table.as_linear(&x) + table.as_linear(&x);
            cx.output("y", &twice);
        });
    })
    .expect("traces");
    let text = module.to_string();
    assert!(text.contains("q8_0[3, 32] = take"), "only the rows that are read are dequantised:\n{text}");
    assert_eq!(text.matches("f32[8, 32] = dequantize").count(), 1, "{text}");
    assert_eq!(text.matches("param \"weight\"").count(), 1, "a tied weight is one parameter:\n{text}");
}

/// A checkpoint without contents.
struct Held(BTreeMap<String, (Storage, Vec<usize>)>);

impl Held {
    fn of(tensors: &[(&str, Storage, &[usize])]) -> Held {
        Held(tensors.iter().map(|(name, storage, shape)| (name.to_string(), (*storage, shape.to_vec()))).collect())
    }
}

impl ParamSource for Held {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        self.0.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}
