//! The verifier: what the later stages rely on, checked after every pass in tests and under `--verify`.
//!
//! | rule | why |
//! |---|---|
//! | operands come before their users | every stage walks nodes once, in order |
//! | node i of the argument nodes is `arg i`, each once, typed as declared | binding by number |
//! | every node has the type that its op infers | shapes are never re-checked later |
//! | callees come before callers, calls match their signatures | inlining ends |
//! | block rows hold whole blocks | bytes are computable |
//! | symbols are declared, with 0 <= min <= max | upper bounds exist |
//! | typical sizes of a symbol lie within its bounds | costs are taken where the program runs |
//! | ranges of sizes stand at an entry; some size of its arguments lies in each | a call decides which code runs |
//! | a range stands at an integer input of an entry | it is checked where callers pass values |
//! | a version of a state or a live parameter is consumed at most once and not read afterwards; the last one is returned, once, as the update | buffers are updated in place |

use crate::{
    ArgKind, Binding, Class, FuncId, Function, FunctionInfo, IrError, Module, ModuleInfo, Node, NodeId, Op, Type,
};
use kiln_core::{DType, Dim, Storage};
use std::sync::Arc;

/// Checks a module, and gives what it has learnt of its nodes.
///
/// # Errors
/// [`IrError::Verify`]: the first broken rule, with the function and the node.
pub fn verify(module: &Module) -> Result<ModuleInfo, IrError> {
    for (name, b) in &module.symbols {
        if b.min < 0 || b.min > b.max {
            return Err(IrError::Verify {
                function: "module".into(),
                node: format!("symbol {name}"),
                reason: format!("bounds {}..={} are not 0 <= min <= max", b.min, b.max),
            });
        }
        if let Some(size) = b.typical.iter().find(|size| !(b.min..=b.max).contains(size)) {
            return Err(IrError::Verify {
                function: "module".into(),
                node: format!("symbol {name}"),
                reason: format!("the typical size {size} is outside its bounds {}..={}", b.min, b.max),
            });
        }
    }
    let functions = (0..module.functions.len()).map(|i| Check { module, id: FuncId(i as u32) }.function());
    Ok(ModuleInfo { functions: functions.collect::<Result<_, _>>()? })
}

struct Check<'a> {
    module: &'a Module,
    id: FuncId,
}

impl Check<'_> {
    fn f(&self) -> &Function {
        self.module.function(self.id)
    }

    fn error(&self, node: Option<NodeId>, reason: impl Into<String>) -> IrError {
        let f = self.f();
        let node = match node.filter(|n| n.index() < f.len()) {
            Some(id) => {
                let line = f.node(id).source.map(|s| format!(" at {s}")).unwrap_or_default();
                format!("{id} ({}){line}", f.node(id).op)
            }
            None => "the signature".into(),
        };
        IrError::Verify { function: f.name.to_string(), node, reason: reason.into() }
    }

    /// The typing rule's error, which names the op itself.
    fn ill_typed(&self, id: NodeId, error: &IrError) -> IrError {
        let f = self.f();
        let line = f.node(id).source.map(|s| format!(" at {s}")).unwrap_or_default();
        IrError::Verify { function: f.name.to_string(), node: format!("{id}{line}"), reason: error.to_string() }
    }

    fn function(&self) -> Result<FunctionInfo, IrError> {
        let f = self.f();
        let mut args_seen = vec![false; f.args.len()];
        for (id, node) in f.nodes() {
            if let Some(o) = node.operands.iter().find(|o| **o >= id) {
                return Err(self.error(Some(id), format!("operand {o} does not come before its user")));
            }
            self.node(id, node, &mut args_seen)?;
        }
        if let Some(i) = args_seen.iter().position(|s| !s) {
            return Err(self.error(None, format!("argument {i} (`{}`) has no node", f.args[i].name)));
        }
        for o in &f.outputs {
            if o.value.index() >= f.len() || f.ty(o.value).tensor().is_none() {
                return Err(self.error(None, format!("the result `{}` is not a tensor of this function", o.name)));
            }
        }
        self.ranges()?;
        self.variants()?;
        Ok(FunctionInfo { bindings: self.bindings(), versions: self.states()? })
    }

    /// When the value of each node is known.
    fn bindings(&self) -> Vec<Binding> {
        let f = self.f();
        let mut bindings: Vec<Binding> = Vec::with_capacity(f.len());
        for (_, node) in f.nodes() {
            let binding = match &node.op {
                Op::Arg(i) if f.args[*i as usize].kind == (ArgKind::Param { live: false }) => Binding::Load,
                op => op.binding(&node.ty, node.operands.iter().map(|o| bindings[o.index()])),
            };
            bindings.push(binding);
        }
        bindings
    }

    /// Ranges are for what callers pass.
    fn ranges(&self) -> Result<(), IrError> {
        let f = self.f();
        for arg in &f.args {
            let Some(range) = &arg.range else { continue };
            let integer = matches!(arg.ty.dtype(), Some(DType::I64 | DType::I32 | DType::I8 | DType::U8));
            if !f.entry || arg.kind != ArgKind::Input || !integer {
                let reason = format!("argument `{}` has a range, but is no integer input of an entry", arg.name);
                return Err(self.error(None, reason));
            }
            for end in [&range.min, &range.max] {
                if let Some(s) = self.undeclared(end) {
                    let reason = format!("argument `{}`: the size symbol `{s}` is not declared", arg.name);
                    return Err(self.error(None, reason));
                }
            }
        }
        Ok(())
    }

    /// Ranges of sizes are for what callers pass, too.
    fn variants(&self) -> Result<(), IrError> {
        let f = self.f();
        for range in &f.variants {
            let wrong = |reason: String| Err(self.error(None, format!("the variant {range} {reason}")));
            if !f.entry {
                return wrong("stands at a function that is no entry".into());
            }
            let mut symbols = vec![];
            range.0.iter().for_each(|(size, _)| size.for_each_symbol(&mut |s| symbols.push(s.clone())));
            if symbols.is_empty() {
                return wrong("depends on no size symbol".into());
            }
            for s in symbols {
                let mut bound = false;
                let shapes = f.args.iter().flat_map(|arg| arg.ty.shape.iter());
                shapes.for_each(|d| d.for_each_symbol(&mut |symbol| bound |= *symbol == s));
                if !bound {
                    return wrong(format!("depends on `{s}`, which is in no argument's shape"));
                }
            }
            if let Some((size, b)) = range.0.iter().find(|(_, b)| b.min < 0 || b.min > b.max) {
                return wrong(format!("has bounds of {size} that are not 0 <= min <= max: {}..={}", b.min, b.max));
            }
            if let Some((s, _)) =
                range.narrow(&self.module.symbols).iter().find(|(_, narrowed)| narrowed.min > narrowed.max)
                && let Some(b) = self.module.symbols.get(s)
            {
                return wrong(format!("holds no size: `{s}` is within {}..={}", b.min, b.max));
            }
        }
        Ok(())
    }

    fn node(&self, id: NodeId, node: &Node, args_seen: &mut [bool]) -> Result<(), IrError> {
        let f = self.f();
        let inferred: Type = match &node.op {
            Op::Arg(i) => {
                let arg = f.args.get(*i as usize).ok_or_else(|| self.error(Some(id), "there is no such argument"))?;
                if std::mem::replace(&mut args_seen[*i as usize], true) {
                    return Err(self.error(Some(id), "the argument has two nodes"));
                }
                arg.ty.clone().into()
            }
            Op::Call(callee) => {
                if *callee >= self.id {
                    return Err(self.error(Some(id), "a callee comes before its caller"));
                }
                f.call_type(self.module.function(*callee), &node.operands).map_err(|e| self.ill_typed(id, &e))?
            }
            op => {
                let types: Vec<&Type> = node.operands.iter().map(|o| f.ty(*o)).collect();
                op.infer(&types).map_err(|e| self.ill_typed(id, &e))?
            }
        };
        if inferred != node.ty {
            return Err(self.error(Some(id), format!("its type is {inferred}, the node says {}", node.ty)));
        }
        node.op.dims().into_iter().try_for_each(|d| self.symbols(id, d))?;
        if let Type::Tensor(t) = &node.ty {
            t.shape.iter().try_for_each(|d| self.dim(id, d))?;
            if let Storage::Block(b) = t.storage
                && t.shape.last().is_none_or(|d| d.exact_div(&Dim::from(b.block_len())).is_none())
            {
                return Err(self.error(Some(id), format!("rows of {t} are not whole blocks of {}", b.block_len())));
            }
        }
        Ok(())
    }

    /// The symbols of a size are declared.
    fn symbols(&self, id: NodeId, d: &Dim) -> Result<(), IrError> {
        match self.undeclared(d) {
            Some(s) => Err(self.error(Some(id), format!("the size symbol `{s}` is not declared"))),
            None => Ok(()),
        }
    }

    fn undeclared(&self, d: &Dim) -> Option<Arc<str>> {
        let mut unknown = None;
        d.for_each_symbol(&mut |s| {
            if !self.module.symbols.contains_key(s) {
                unknown = Some(s.clone());
            }
        });
        unknown
    }

    fn dim(&self, id: NodeId, d: &Dim) -> Result<(), IrError> {
        if d.as_const().is_some_and(|n| n < 0) {
            return Err(self.error(Some(id), format!("the size {d} is negative")));
        }
        self.symbols(id, d)
    }

    /// Follows each argument that may be written through its versions, and gives the one that each node is a version of.
    fn states(&self) -> Result<Vec<Option<u32>>, IrError> {
        let f = self.f();
        // The argument whose version a node is.
        let mut version_of: Vec<Option<u32>> = vec![None; f.len()];
        let mut consumed_by: Vec<Option<NodeId>> = vec![None; f.len()];
        for (id, node) in f.nodes() {
            match &node.op {
                Op::Arg(i) if f.args[*i as usize].kind.is_written() => version_of[id.index()] = Some(*i),
                Op::Get(i) => {
                    let call = node.operands[0];
                    if let Op::Call(callee) = &f.node(call).op
                        && let Some(arg) =
                            self.module.function(*callee).outputs.get(*i as usize).and_then(|o| o.updates)
                    {
                        version_of[id.index()] =
                            f.node(call).operands.get(arg as usize).and_then(|o| version_of[o.index()]);
                    }
                }
                op if op.class() == Class::Write => version_of[id.index()] = version_of[node.operands[0].index()],
                _ => {}
            }
            for (k, o) in node.operands.iter().enumerate() {
                if let Some(c) = consumed_by[o.index()] {
                    return Err(self.error(Some(id), format!("uses the state version {o}, which {c} has consumed")));
                }
                let consumes = match &node.op {
                    Op::Call(c) => self.module.function(*c).consumes(k),
                    op => op.class() == Class::Write && k == 0,
                };
                if consumes && version_of[o.index()].is_none() && matches!(node.op, Op::Call(_)) {
                    return Err(self.error(Some(id), format!("operand {o} must be a version of a state")));
                }
                if consumes && version_of[o.index()].is_some() {
                    consumed_by[o.index()] = Some(id);
                }
            }
        }
        for o in &f.outputs {
            if consumed_by[o.value.index()].is_some() {
                return Err(self.error(Some(o.value), format!("the result `{}` was consumed", o.name)));
            }
            match (o.updates, version_of[o.value.index()]) {
                (Some(a), v) if v != Some(a) => {
                    return Err(self.error(
                        Some(o.value),
                        format!("the result `{}` does not descend from state argument {a}", o.name),
                    ));
                }
                (None, Some(a)) if f.args[a as usize].kind == ArgKind::State => {
                    return Err(self.error(
                        Some(o.value),
                        format!("the result `{}` is a state: say which one it updates", o.name),
                    ));
                }
                _ => {}
            }
        }
        for (i, arg) in f.args.iter().enumerate() {
            let updates = f.outputs.iter().filter(|o| o.updates == Some(i as u32)).count();
            if updates > 1 {
                return Err(self.error(None, format!("{updates} results update argument {i} (`{}`)", arg.name)));
            }
        }
        for (id, node) in f.nodes() {
            if let (Op::Arg(i), Some(by)) = (&node.op, consumed_by[id.index()])
                && !f.outputs.iter().any(|o| o.updates == Some(*i))
            {
                let name = &f.args[*i as usize].name;
                return Err(self.error(Some(by), format!("consumes `{name}`, whose last version no result returns")));
            }
        }
        Ok(version_of)
    }
}
