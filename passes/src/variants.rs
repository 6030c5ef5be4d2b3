//! Variants of an entry: the same function for one row, for few rows, and for any number.

use crate::PassError;
use kiln_core::{Dim, DimBounds, MatMulSpec, Symbols};
use kiln_ir::{FuncId, Function, FunctionInfo, Module, Node, Op, TensorType, Type};
use std::sync::Arc;

/// A range of sizes that gets code of its own.
pub(crate) struct VariantRange {
    /// Symbols that have one value in the range.
    pub fixed: Vec<(Arc<str>, i64)>,
    /// When the variant runs.
    pub guards: Vec<(Dim, DimBounds)>,
    /// The symbols' bounds within it.
    pub symbols: Symbols,
}

/// The variants of an entry, narrowest first. Rows are the elements of its first input: one token, few tokens, many.
pub(crate) fn ranges(module: &Module, entry: &Function) -> Vec<VariantRange> {
    let any = VariantRange { fixed: vec![], guards: vec![], symbols: module.symbols.clone() };
    let Some(first) = entry.args.iter().find(|a| a.kind == kiln_ir::ArgKind::Input) else { return vec![any] };
    let rows = first.ty.elements();
    let names: Vec<Arc<str>> = first.ty.shape.iter().filter_map(|d| d.as_symbol().cloned()).collect();
    let constant_rows = first.ty.shape.iter().all(|d| d.as_symbol().is_some());
    if names.is_empty()
        || !constant_rows
        || names.iter().any(|n| module.symbols.get(n).is_none_or(|b| b.min > 1 || b.max < 1))
    {
        return vec![any];
    }
    let narrowed = |max: i64| {
        let mut symbols = module.symbols.clone();
        for n in &names {
            if let Some(b) = symbols.get_mut(n) {
                b.max = b.max.min(max);
                b.min = b.min.max(1);
                // What is typical of the whole may lie outside of a part.
                b.typical.clear();
            }
        }
        symbols
    };
    let one = VariantRange {
        fixed: names.iter().map(|n| (n.clone(), 1)).collect(),
        guards: names.iter().map(|n| (Dim::symbol(n), DimBounds { min: 1, max: 1 })).collect(),
        symbols: narrowed(1),
    };
    let few = VariantRange {
        fixed: vec![],
        guards: vec![(rows, DimBounds { min: 1, max: MatMulSpec::SKINNY_ROWS })],
        symbols: narrowed(MatMulSpec::SKINNY_ROWS),
    };
    vec![one, few, any]
}

/// The entry as it is in a range, simplified, and what the verifier knows of it.
///
/// # Errors
/// [`PassError::Broken`]: the verifier rejects it, which is a bug here.
pub(crate) fn variant(entry: &Function, range: &VariantRange) -> Result<(Function, FunctionInfo), PassError> {
    let function = crate::simplify::simplify(&specialise(entry, &range.fixed));
    let mut module = Module { symbols: range.symbols.clone(), functions: vec![function] };
    let verified = kiln_ir::verify(&module);
    let info = verified.map_err(|source| PassError::Broken { pass: "lower (a variant)".into(), source })?;
    Ok((module.functions.remove(0), info.into_function(FuncId(0))))
}

/// The function with symbols replaced by their fixed values.
fn specialise(f: &Function, fixed: &[(Arc<str>, i64)]) -> Function {
    let lookup = |s: &str| fixed.iter().find(|(n, _)| &**n == s).map(|(_, v)| Dim::constant(*v));
    let dim = |d: &Dim| d.substitute(&lookup);
    let dims = |ds: &[Dim]| ds.iter().map(dim).collect::<Vec<_>>();
    let tensor = |t: &TensorType| TensorType::new(t.storage, dims(&t.shape));
    let mut out = Function::new(f.name.clone(), f.entry);
    for (_, node) in f.nodes() {
        if let Op::Arg(i) = node.op {
            let arg = &f.args[i as usize];
            out.add_arg(kiln_ir::Arg { ty: tensor(&arg.ty), ..arg.clone() });
            continue;
        }
        let ty = match &node.ty {
            Type::Tensor(t) => tensor(t).into(),
            Type::Tuple(ts) => Type::Tuple(ts.iter().map(tensor).collect()),
        };
        out.push(Node { op: node.op.map_dims(dim), operands: node.operands.clone(), ty, source: node.source });
    }
    out.outputs.clone_from(&f.outputs);
    out
}
