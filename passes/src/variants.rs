//! Variants of an entry: the same function for each range of sizes that it declares, and for any size.

use crate::PassError;
use kiln_core::{Dim, DimBounds, Symbols};
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

/// The variants of an entry, in the order in which they are tried: those it declares, and one for any size.
pub(crate) fn ranges(module: &Module, entry: &Function) -> Vec<VariantRange> {
    let fixed = |(size, bounds): &(Dim, DimBounds)| {
        size.as_symbol().filter(|_| bounds.min == bounds.max).map(|symbol| (symbol.clone(), bounds.min))
    };
    let declared = entry.variants.iter().map(|range| VariantRange {
        fixed: range.0.iter().filter_map(fixed).collect(),
        guards: range.0.clone(),
        symbols: range.narrow(&module.symbols),
    });
    let any = VariantRange { fixed: vec![], guards: vec![], symbols: module.symbols.clone() };
    declared.chain([any]).collect()
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

/// The function with symbols replaced by their fixed values. It is the code of one range and has no ranges itself.
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
