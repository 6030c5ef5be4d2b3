//! What is known of each class of equal terms: type, staticness, constant value, and where a weight comes from.

use super::application::Application;
use super::index::{self, Affine, AxisMap, Mask};
use super::term::{Attr, Head, Notation, Term};
use egg::{Analysis, DidMerge, EGraph, Id};
use kiln_ir::{
    BinaryOp, Binding, CompareOp, DType, Dim, FuncId, Literal, Op, Real, ReduceOp, TensorType, Type, UnaryOp,
};
use std::{collections::BTreeMap, sync::Arc};

/// The e-graph of one function.
pub type Graph = EGraph<Term, Facts>;

/// The parameter that a static tensor is made from. Ordered so that what is known best comes first: a class keeps the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The parameter of that number, perhaps scaled or with its axes moved.
    Arg(u32),
    /// None of two or more axes.
    None,
    /// Several.
    Several,
}

/// What is known of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFact {
    /// Its type, the same for every term of the class.
    pub ty: TensorType,
    /// Whether it depends on static parameters and constants only, and has a constant shape: `prepare` computes it once.
    pub fixed: bool,
    /// Of a static tensor: the f16 or bf16 that its elements are all of, though it is f32. It is packed as that.
    pub narrow: Option<DType>,
    /// The value of all its elements, where they are equal and known.
    pub splat: Option<Real>,
    /// Where a static tensor comes from.
    pub origin: Origin,
    /// Its elements as a linear function of their indices.
    pub index: Option<Affine>,
    /// Where it is true, as inequalities over indices; of numbers: where it is 1, being 0 elsewhere.
    pub mask: Option<Mask>,
    /// As `mask`, for a condition that holds where `seen` holds for some index of one more axis, the last.
    pub seen: Option<Mask>,
    /// Where it is zero; it is very negative elsewhere.
    pub bias: Option<Mask>,
}

/// What is known of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It is an attribute.
    Attr(Attr),
    /// It is a word that builders understand.
    Mark(&'static str),
    /// It is a tensor.
    Tensor(Box<TensorFact>),
    /// It is what a call returns.
    Tuple(Arc<[TensorType]>),
    /// It is the root.
    Results,
    /// It is not well-typed, and why. No law may conclude it.
    Bad(String),
}

/// The analysis.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Type of each argument, and whether it is a static parameter.
    pub args: Vec<(TensorType, bool)>,
    /// What calls return.
    pub callees: BTreeMap<FuncId, Arc<[TensorType]>>,
    /// How often each law made two classes one.
    pub applied: BTreeMap<String, usize>,
    /// Unsound conclusions, each with the law's name; not empty means that the result can't be trusted.
    pub errors: Vec<String>,
    /// Where laws made two classes one, in order; `None` where nobody asks.
    pub log: Option<Vec<Application>>,
}

/// The fact of a tensor class.
pub fn tensor(graph: &Graph, id: Id) -> Option<&TensorFact> {
    match &graph[id].data {
        Fact::Tensor(t) => Some(t),
        _ => None,
    }
}

/// The attribute that a class is.
pub fn attr(graph: &Graph, id: Id) -> Option<&Attr> {
    match &graph[id].data {
        Fact::Attr(a) => Some(a),
        _ => None,
    }
}

/// The word that a class is.
pub fn mark(graph: &Graph, id: Id) -> Option<&'static str> {
    match &graph[id].data {
        Fact::Mark(word) => Some(word),
        _ => None,
    }
}

impl Analysis<Term> for Facts {
    type Data = Fact;

    fn make(graph: &mut Graph, term: &Term, _: Id) -> Fact {
        match &term.head {
            Head::Attr(a) => return Fact::Attr(a.clone()),
            Head::Mark(word) => return Fact::Mark(word),
            Head::Results => return Fact::Results,
            Head::Build(name) => return Fact::Bad(format!("`{name}` is not a term")),
            Head::Op(Op::Call(id)) => {
                let results = graph.analysis.callees.get(id).cloned();
                return results.map_or_else(|| Fact::Bad("a call of an unknown function".into()), Fact::Tuple);
            }
            Head::Op(Op::Arg(i)) => {
                return match graph.analysis.args.get(*i as usize) {
                    Some((ty, fixed)) => {
                        let origin = if *fixed && ty.rank() > 1 { Origin::Arg(*i) } else { Origin::None };
                        Fact::tensor(TensorFact { fixed: *fixed, origin, ..TensorFact::of(ty.clone()) })
                    }
                    None => Fact::Bad(format!("there is no argument {i}")),
                };
            }
            _ => {}
        }
        match typed(graph, term) {
            Ok(ty) => Fact::tensor(derive(graph, term, ty)),
            Err(reason) => Fact::Bad(reason),
        }
    }

    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        match (&mut *a, b) {
            (Fact::Tensor(a), Fact::Tensor(b)) => {
                if a.ty != b.ty {
                    self.errors.push(format!("values of types {} and {} were found equal", a.ty, b.ty));
                }
                let before = a.clone();
                a.fixed |= b.fixed;
                a.narrow = a.narrow.or(b.narrow);
                a.splat = a.splat.or(b.splat);
                a.origin = a.origin.min(b.origin);
                a.index = a.index.take().or_else(|| b.index.clone());
                a.mask = a.mask.take().or_else(|| b.mask.clone());
                a.seen = a.seen.take().or_else(|| b.seen.clone());
                a.bias = a.bias.take().or_else(|| b.bias.clone());
                DidMerge(*a != before, *a != b)
            }
            (a, b) => {
                if *a != b {
                    self.errors.push(format!("{a:?} and {b:?} were found equal"));
                }
                DidMerge(false, false)
            }
        }
    }

    /// A tensor of one known value is that constant, broadcast.
    fn modify(graph: &mut Graph, id: Id) {
        let Some(TensorFact { ty, splat: Some(value), .. }) = tensor(graph, id) else { return };
        let Some(dtype) = ty.dtype() else { return };
        let (shape, value) = (ty.shape.clone(), value.get());
        let constant = Head::Op(Op::Constant(Literal::scalar(dtype, value)));
        if graph[id].nodes.iter().any(|n| n.head == constant) {
            return;
        }
        let scalar = graph.add(Term::new(constant, []));
        if shape.is_empty() {
            graph.union(id, scalar);
            return;
        }
        if graph[id].nodes.iter().any(|n| n.is("broadcast") && n.children.first() == Some(&scalar)) {
            return;
        }
        let shape = graph.add(Term::attr(Attr::Shape(shape.to_vec())));
        let spread = graph.add(Term::new(Head::Named("broadcast"), [scalar, shape]));
        graph.union(id, spread);
    }
}

impl Fact {
    fn tensor(t: TensorFact) -> Self {
        Fact::Tensor(Box::new(t))
    }
}

impl TensorFact {
    /// Nothing but the type.
    pub fn of(ty: TensorType) -> Self {
        TensorFact {
            ty,
            fixed: false,
            narrow: None,
            splat: None,
            origin: Origin::None,
            index: None,
            mask: None,
            seen: None,
            bias: None,
        }
    }
}

/// The type of a term on its children.
fn typed(graph: &Graph, term: &Term) -> Result<TensorType, String> {
    if let Head::Notation(n) = term.head {
        return notation(graph, n, term).ok_or_else(|| format!("{n:?} does not accept its operands"));
    }
    let op = term.op(|c| attr(graph, c).cloned()).ok_or_else(|| format!("`{term}` lacks its attributes"))?;
    let mut types = Vec::with_capacity(term.children.len());
    for c in term.operands() {
        types.push(match &graph[*c].data {
            Fact::Tensor(t) => Type::Tensor(t.ty.clone()),
            Fact::Tuple(ts) => Type::Tuple(ts.clone()),
            other => return Err(format!("`{term}` on {other:?}")),
        });
    }
    let ty = op.infer(&types.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())?;
    ty.tensor().cloned().ok_or_else(|| format!("`{term}` is not a tensor"))
}

fn notation(graph: &Graph, notation: Notation, term: &Term) -> Option<TensorType> {
    let ty = |i: usize| term.children.get(i).and_then(|c| tensor(graph, *c)).map(|t| &t.ty);
    match notation {
        Notation::Repeat => {
            let (x, axis, n) = (ty(0)?, attr(graph, term.children[1])?, attr(graph, term.children[2])?);
            let (Attr::Axis(axis), Attr::Dim(n)) = (axis, n) else { return None };
            let mut shape = x.shape.to_vec();
            *shape.get_mut(*axis)? = x.shape[*axis].clone() * n.clone();
            Some(TensorType::new(x.storage, shape))
        }
        Notation::Scores => {
            let ([b, s, h, d], [_, t, hk, dk]) = (&ty(0)?.shape[..], &ty(1)?.shape[..]) else { return None };
            (d == dk && h.exact_div(hk).is_some())
                .then(|| TensorType::new(ty(0)?.storage, [b.clone(), h.clone(), s.clone(), t.clone()]).into())?
        }
        Notation::Weigh => {
            let ([b, h, s, t], [_, tv, hv, dv]) = (&ty(0)?.shape[..], &ty(1)?.shape[..]) else { return None };
            (t == tv && h.exact_div(hv).is_some())
                .then(|| TensorType::new(ty(1)?.storage, [b.clone(), s.clone(), h.clone(), dv.clone()]).into())?
        }
    }
}

/// What follows from the operands' facts.
fn derive(graph: &Graph, term: &Term, ty: TensorType) -> TensorFact {
    let mut fact = TensorFact::of(ty);
    let Some(op) = term.op(|c| attr(graph, c).cloned()) else { return fact };
    let operands: Vec<(Id, &TensorFact)> =
        term.operands().iter().filter_map(|c| Some((graph.find(*c), tensor(graph, *c)?))).collect();
    let known = |t: &TensorFact| if t.fixed { Binding::Load } else { Binding::Call };
    let binding = op.binding(&fact.ty.clone().into(), operands.iter().map(|(_, t)| known(t)));
    fact.fixed = binding == Binding::Load;
    if fact.fixed {
        fact.narrow = match op {
            Op::Cast(DType::F32) => operands[0].1.ty.dtype().filter(|d| d.is_half()),
            Op::Concat { .. } | Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } => {
                operands[0].1.narrow.filter(|d| operands.iter().all(|(_, t)| t.narrow == Some(*d)))
            }
            _ => None,
        };
        let mut origins: Vec<Origin> = operands.iter().map(|(_, t)| t.origin).filter(|o| *o != Origin::None).collect();
        origins.sort_unstable();
        origins.dedup();
        fact.origin = match origins[..] {
            [] => Origin::None,
            [one] if !matches!(op, Op::Concat { .. }) => one,
            // What is added to a weight makes another form of it.
            [first, ..] if matches!(op, Op::Binary(_)) => first,
            _ => Origin::Several,
        };
    }
    fact.splat = splat(&op, &operands, &fact.ty).map(Real::new);
    if fact.ty.dtype() == Some(DType::I64) {
        fact.index = affine(&op, &operands, &fact).map(|a| a.within(&fact.ty.shape));
    }
    fact.mask = mask(&op, &operands, &fact.ty);
    fact.seen = seen(&op, &operands);
    if fact.ty.dtype().is_some_and(DType::is_float) {
        fact.bias = bias(&op, &operands, &fact.ty);
    }
    fact
}

/// The value of all elements, rounded to the element type.
fn splat(op: &Op, operands: &[(Id, &TensorFact)], ty: &TensorType) -> Option<f64> {
    let value = |i: usize| operands.get(i).and_then(|(_, t)| t.splat).map(Real::get);
    let dtype = ty.dtype()?;
    let v = match op {
        Op::Constant(l) => l.splat()?,
        Op::DimSize(d) => d.as_const()? as f64,
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Slice { .. } | Op::Cast(_) => value(0)?,
        Op::Concat { .. } => {
            let first = value(0)?;
            (0..operands.len()).all(|i| value(i) == Some(first)).then_some(first)?
        }
        Op::Unary(u) => unary(*u, value(0)?)?,
        Op::Binary(b) => binary(*b, value(0)?, value(1)?, dtype)?,
        _ => return None,
    };
    // Integers are exact in f64 up to 2^53, and wrap nowhere below 2^31.
    match dtype {
        d if d.is_float() => Literal::scalar(d, v).splat(),
        DType::I64 | DType::I32 => (v.abs() < 2f64.powi(31) && v.fract() == 0.0).then_some(v),
        _ => matches!(op, Op::Constant(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_)).then_some(v),
    }
}

fn unary(op: UnaryOp, x: f64) -> Option<f64> {
    Some(match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Rsqrt => 1.0 / x.sqrt(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Erf | UnaryOp::Not => return None,
    })
}

fn binary(op: BinaryOp, a: f64, b: f64, dtype: DType) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Div if dtype.is_float() => a / b,
        BinaryOp::Pow if dtype.is_float() => a.powf(b),
        _ => return None,
    })
}

/// Where the axes of the operand are in the result of a movement.
fn axis_map(op: &Op, from: &[Dim]) -> Option<AxisMap> {
    match op {
        Op::Broadcast(to) => Some(index::broadcast(from, to)),
        Op::Reshape(to) => index::reshape(from, to),
        Op::Transpose(perm) => Some(index::transpose(perm)),
        _ => None,
    }
}

fn affine(op: &Op, operands: &[(Id, &TensorFact)], fact: &TensorFact) -> Option<Affine> {
    let rank = fact.ty.rank();
    if let Some(v) = fact.splat {
        return Some(Affine::constant(rank, Dim::constant(v.get() as i64)));
    }
    let of = |i: usize| operands.get(i).and_then(|(_, t)| t.index.as_ref());
    match op {
        Op::Iota { axis, .. } => Some(Affine::index(rank, *axis)),
        Op::DimSize(d) => Some(Affine::constant(rank, d.clone())),
        Op::Binary(BinaryOp::Add) => of(0)?.plus(of(1)?, 1),
        Op::Binary(BinaryOp::Sub) => of(0)?.plus(of(1)?, -1),
        Op::Slice { axis, start, .. } => of(0)?.shifted(*axis, start),
        _ => {
            let (id, operand) = operands.first()?;
            let map = axis_map(op, &operand.ty.shape)?;
            let vector = (operand.ty.rank() == 1).then(|| Affine::vector(*id));
            operand.index.as_ref().or(vector.as_ref())?.moved(&map, rank)
        }
    }
}

fn mask(op: &Op, operands: &[(Id, &TensorFact)], ty: &TensorType) -> Option<Mask> {
    let of = |i: usize| operands.get(i).and_then(|(_, t)| t.mask.as_ref());
    let index = |i: usize| operands.get(i).and_then(|(_, t)| t.index.as_ref());
    match op {
        Op::Compare(c) => Mask::compare(*c, index(0)?, index(1)?),
        Op::Binary(BinaryOp::And) => Some(of(0)?.and(of(1)?)),
        Op::Unary(UnaryOp::Not) => of(0)?.negated(),
        Op::Cast(_) => of(0).cloned(),
        _ => {
            let (id, operand) = operands.first()?;
            let map = axis_map(op, &operand.ty.shape)?;
            let matrix = (operand.ty.rank() == 2 && ty.dtype() == Some(DType::Bool)).then(|| Mask::given(*id));
            operand.mask.as_ref().or(matrix.as_ref())?.moved(&map, ty.rank())
        }
    }
}

fn seen(op: &Op, operands: &[(Id, &TensorFact)]) -> Option<Mask> {
    let (_, operand) = operands.first()?;
    let rank = operand.ty.rank();
    match op {
        // The last axis, reduced, is the one more.
        Op::Reduce { op: ReduceOp::Max, axis, keep } if axis + 1 == rank => {
            let rank = rank - usize::from(!*keep);
            let map = (0..*axis).map(Some).chain([Some(rank)]).collect();
            operand.mask.as_ref()?.moved(&map, rank + 1)
        }
        Op::Compare(c) => {
            let threshold = operands.get(1)?.1.splat?.get();
            let positive = match c {
                CompareOp::Ge | CompareOp::Eq => threshold == 1.0,
                CompareOp::Gt | CompareOp::Ne => threshold == 0.0,
                _ => false,
            };
            if positive { operand.seen.clone() } else { None }
        }
        _ => {
            let mut map = axis_map(op, &operand.ty.shape)?;
            let rank = match op {
                Op::Broadcast(to) | Op::Reshape(to) => to.len(),
                _ => rank,
            };
            map.push(Some(rank));
            operand.seen.as_ref()?.moved(&map, rank + 1)
        }
    }
}

/// Whether adding the value to a score hides it: softmax then gives it no weight.
pub fn hides(value: Real) -> bool {
    value.get() <= -1e4
}

fn bias(op: &Op, operands: &[(Id, &TensorFact)], ty: &TensorType) -> Option<Mask> {
    let of = |i: usize| operands.get(i).and_then(|(_, t)| t.bias.as_ref());
    match op {
        Op::Select => {
            let (condition, a, b) = (operands[0].1.mask.as_ref()?, operands[1].1.splat?, operands[2].1.splat?);
            match (a.get() == 0.0, b.get() == 0.0) {
                (true, false) if hides(b) => Some(condition.clone()),
                (false, true) if hides(a) => condition.negated(),
                _ => None,
            }
        }
        Op::Binary(BinaryOp::Add | BinaryOp::Min) => Some(of(0)?.and(of(1)?)),
        _ => {
            let (_, operand) = operands.first()?;
            operand.bias.as_ref()?.moved(&axis_map(op, &operand.ty.shape)?, ty.rank())
        }
    }
}
