//! Values of the size symbols.

use crate::{Function, Module, interp::Tensor};
use kiln_core::Dim;
use std::{collections::BTreeMap, sync::Arc};

/// The value of each size symbol.
pub type Sizes = BTreeMap<Arc<str>, i64>;

/// A dim as a size.
pub(super) fn size(d: &Dim, sizes: &Sizes) -> Result<usize, String> {
    let v = value(d, sizes)?;
    usize::try_from(v).map_err(|_| format!("the size {d} is negative: {v}"))
}

/// The sizes of a shape.
pub(super) fn shape(dims: &[Dim], sizes: &Sizes) -> Result<Vec<usize>, String> {
    dims.iter().map(|d| size(d, sizes)).collect()
}

/// The value of a dim.
pub(super) fn value(d: &Dim, sizes: &Sizes) -> Result<i64, String> {
    d.eval(&|s| sizes.get(s).copied()).map_err(|e| e.to_string())
}

/// The symbols' values: those given, and those that follow from the arguments' shapes. Checks every argument against its type
/// and its range, and every symbol against its bounds.
pub(super) fn infer(module: &Module, f: &Function, args: &[Tensor], given: &[(&str, i64)]) -> Result<Sizes, String> {
    if args.len() != f.args.len() {
        return Err(format!("expected {} arguments, found {}", f.args.len(), args.len()));
    }
    let mut sizes: Sizes = given.iter().map(|(name, v)| ((*name).into(), *v)).collect();
    for (arg, t) in f.args.iter().zip(args) {
        if arg.ty.storage != t.storage() || arg.ty.rank() != t.shape().len() {
            return Err(format!("argument `{}` is {}, found {}", arg.name, arg.ty, t.ty()));
        }
    }
    let axes = || f.args.iter().zip(args).flat_map(|(a, t)| a.ty.shape.iter().zip(t.shape()));
    for (d, n) in axes() {
        if let Some(s) = d.as_symbol() {
            sizes.entry(s.clone()).or_insert(*n as i64);
        }
    }
    // Sizes such as `s + 1`, one unknown symbol at a time.
    while let Some((s, v)) = axes().find_map(|(d, n)| solve(d, *n as i64, &sizes)) {
        sizes.insert(s, v);
    }
    for (arg, t) in f.args.iter().zip(args) {
        if shape(&arg.ty.shape, &sizes)? != t.shape() {
            let bound: Vec<String> = sizes.iter().map(|(s, v)| format!("{s} = {v}")).collect();
            return Err(format!(
                "argument `{}` is {}, found {} with {}",
                arg.name,
                arg.ty,
                t.ty(),
                if bound.is_empty() { "no symbols".into() } else { bound.join(", ") }
            ));
        }
    }
    for (s, v) in &sizes {
        match module.symbols.get(s) {
            Some(b) if *v < b.min || *v > b.max => {
                return Err(format!("the size {s} = {v} is outside {}..={}", b.min, b.max));
            }
            Some(_) => {}
            None => return Err(format!("the module has no size symbol `{s}`")),
        }
    }
    for (arg, t) in f.args.iter().zip(args) {
        let (Some(range), Some(dtype)) = (&arg.range, t.dtype()) else { continue };
        let bound = range.bind(&|s| sizes.get(s).copied()).map_err(|e| e.to_string())?;
        if let Some(refused) = bound.refuses(dtype, t.bytes()) {
            let (expected, found) = (range.expected(&bound), refused.found(t.shape()));
            return Err(format!("argument `{}`: expected {expected}, found {found}", arg.name));
        }
    }
    Ok(sizes)
}

/// The one unknown symbol of `d` and its value, if `d` is linear in it.
fn solve(d: &Dim, n: i64, sizes: &Sizes) -> Option<(Arc<str>, i64)> {
    let mut unknown: Option<Arc<str>> = None;
    let mut several = false;
    d.for_each_symbol(&mut |s| {
        if !sizes.contains_key(s) {
            several |= unknown.as_ref().is_some_and(|u| u != s);
            unknown = Some(s.clone());
        }
    });
    let unknown = unknown.filter(|_| !several)?;
    let at = |v: i64| d.eval(&|s| if *s == *unknown { Some(v) } else { sizes.get(s).copied() }).ok();
    let (zero, one) = (at(0)?, at(1)?);
    let slope = one.checked_sub(zero)?;
    let rest = n.checked_sub(zero)?;
    let v = rest.checked_div(slope)?;
    (at(v)? == n).then_some((unknown, v))
}
