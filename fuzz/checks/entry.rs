//! Inputs of an entry, given any values.

#![allow(dead_code)]

use kiln_core::{DType, Dim, Plan};
use kiln_runtime::{Error, Model, Session, SessionOptions, TensorView};
use std::sync::Arc;

/// Calls each entry of a model with values out of `data`. What lies outside of an input's range is refused by its name, and everything else is taken.
pub fn entry(model: &Arc<Model>, data: &[u8]) {
    let plan = model.plan();
    let Ok(mut session) = Session::new(model, &SessionOptions::default()) else { return };
    let mut data = data.iter().copied().cycle().take(1 << 16);
    let mut next = || i64::from_le_bytes(std::array::from_fn(|_| data.next().unwrap_or(0)));
    for signature in &plan.signatures {
        let sizes: Vec<(&str, i64)> =
            plan.symbols.iter().map(|(s, b)| (&**s, b.min + next().rem_euclid(4).min(b.max - b.min))).collect();
        let size = |s: &str| {
            let fixed = session.fixed_size(s);
            fixed.or_else(|| sizes.iter().find(|(n, _)| *n == s).map(|(_, v)| *v))
        };
        let mut given: Vec<(&str, DType, Vec<usize>, Vec<u8>)> = vec![];
        let mut wrong = vec![];
        for input in &signature.inputs {
            let Some(dtype) = input.storage.dense() else { return };
            let Some(shape) = shape(&input.shape, &size) else { return };
            let count: usize = shape.iter().product();
            let mut bytes = vec![];
            for i in 0..count {
                // Mostly small numbers, which are rows of something, now and then any.
                let any = next();
                let value = match any.rem_euclid(8) {
                    0 => any,
                    1 => any.rem_euclid(1 << 41) - (1 << 40),
                    _ if input.range.as_ref().is_some_and(|r| r.distinct) => i as i64,
                    _ => any.rem_euclid(5) - 1,
                };
                bytes.extend_from_slice(&value.to_le_bytes()[..dtype.size()]);
            }
            if dtype == DType::Bool {
                bytes.iter_mut().for_each(|b| *b &= 1);
            }
            let bound = input.range.as_ref().and_then(|r| r.bind(&size).ok());
            if bound.is_some_and(|b| b.refuses(dtype, &bytes).is_some()) {
                wrong.push(input.name.as_str());
            }
            given.push((&input.name, dtype, shape, bytes));
        }
        let views: Vec<_> = given
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView { dtype: *dtype, shape, bytes }))
            .collect();
        match session.call(&signature.name, &views) {
            Err(Error::Input { input, .. }) => assert!(wrong.contains(&input.as_str()), "`{input}` was refused"),
            Ok(_) => assert!(wrong.is_empty(), "{wrong:?} were taken"),
            Err(_) => {}
        }
    }
}

fn shape(dims: &[Dim], size: &dyn Fn(&str) -> Option<i64>) -> Option<Vec<usize>> {
    dims.iter().map(|d| d.eval(size).ok().and_then(|n| usize::try_from(n).ok())).collect()
}

/// The ranges that a caches' slots and starts have in a compiled program, for a plan that was written by hand.
pub fn with_ranges(mut plan: Plan) -> Plan {
    let dim = |text: &str| text.parse::<Dim>().expect("a size");
    for signature in &mut plan.signatures {
        for input in &mut signature.inputs {
            let range = match (input.name.as_str(), signature.name.as_str()) {
                ("slots", _) => (dim("0"), dim("rows - 1"), true),
                ("starts", "step") => (dim("-1"), dim("t - s"), false),
                ("input_ids", _) => (dim("0"), dim("4"), false),
                _ => continue,
            };
            input.range = Some(kiln_core::ValueRange { min: range.0, max: range.1, distinct: range.2 });
        }
    }
    plan
}
