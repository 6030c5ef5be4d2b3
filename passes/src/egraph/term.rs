//! Terms of the e-graph: an op of the graph with its operands, and with those attributes that a law binds as further children.
//!
//! A pattern variable stands for a class, so it can't bind data inside a node. Hence `transpose {perm}` becomes
//! `(transpose x perm[0,2,1,3])`, whose last child is a leaf; attributes that no law looks at stay inside the op.

use egg::{FromOp, Id, Language};
use kiln_ir::{AttentionAttrs, BinaryOp, CompareOp, DType, Dim, DotDims, Op, Real, ReduceOp, UnaryOp};
use std::fmt;

/// An attribute as a leaf.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attr {
    /// Sizes: `shape[b,s,8]`.
    Shape(Vec<Dim>),
    /// A permutation of axes: `perm[0,2,1,3]`.
    Perm(Vec<usize>),
    /// An axis: `2`.
    Axis(usize),
    /// One size: `dim[s-1]`.
    Dim(Dim),
    /// A real number: `1e-5`. On the left of a law it stands for any tensor all of whose elements have that value.
    Real(Real),
    /// `true`, `false`.
    Flag(bool),
    /// An element type: `f32`.
    DType(DType),
    /// Batch and summed axes of both operands: `dot[0,1;3|0,1;3]`.
    Dot(DotDims),
    /// Attributes of `attention`; no text form.
    Attention(AttentionAttrs),
    /// The absence of an optional operand: `none`.
    Absent,
    /// A word that a builder understands: `causal`, `cached`, `mask`.
    Word(&'static str),
}

/// What a term is made of, apart from its children.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    /// An op whose attributes, if any, no law binds.
    Op(Op),
    /// An op whose attributes are its last children ([`split`]).
    Named(&'static str),
    /// An attribute.
    Attr(Attr),
    /// A notation: it has a meaning and a type, but no op. Laws speak through it, and extraction never picks it.
    Notation(Notation),
    /// On the right of a law only: a term that a function builds from what its children are bound to.
    Build(&'static str),
    /// The results of a function, its root.
    Results,
}

/// What laws say that no op says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Notation {
    /// `(repeat x axis dim[n])`: each index of the axis n times, one after the other.
    Repeat,
    /// `(scores q k slots starts mask attributes)`, q `[b, s, h, d]` and k `[b, t, hk, d]`: the scaled and masked products `[b, h, s, t]`,
    /// as `attention` has them before its softmax.
    Scores,
    /// `(weigh p v)`, p `[b, h, s, t]` and v `[b, t, hk, d]`: the sums `[b, s, h, d]` of values weighted by p.
    Weigh,
}

impl Notation {
    const ALL: [(&'static str, Notation); 3] =
        [("repeat", Notation::Repeat), ("scores", Notation::Scores), ("weigh", Notation::Weigh)];
}

/// The ops whose attributes are children, with the number of attributes.
const NAMED: [(&str, usize); 24] = [
    ("iota", 2),
    ("cast", 1),
    ("dequantize", 1),
    ("reshape", 1),
    ("transpose", 1),
    ("broadcast", 1),
    ("slice", 3),
    ("concat", 1),
    ("pad", 4),
    ("reduce_sum", 2),
    ("reduce_prod", 2),
    ("reduce_max", 2),
    ("reduce_min", 2),
    ("reduce_argmax", 2),
    ("take", 1),
    ("gather", 1),
    ("top_k", 2),
    ("dot_general", 1),
    ("rms_norm", 1),
    ("layer_norm", 1),
    ("softmax", 1),
    ("log_sum_exp", 1),
    ("gelu", 1),
    ("attention", 1),
];

/// The head of an op, and the attributes that follow the operands as children.
pub fn split(op: &Op) -> (Head, Vec<Attr>) {
    let attrs = match op {
        Op::Iota { shape, axis } => vec![Attr::Shape(shape.clone()), Attr::Axis(*axis)],
        Op::Cast(d) | Op::Dequantize(d) => vec![Attr::DType(*d)],
        Op::Reshape(s) | Op::Broadcast(s) => vec![Attr::Shape(s.clone())],
        Op::Transpose(p) => vec![Attr::Perm(p.clone())],
        Op::Slice { axis, start, len } => {
            vec![Attr::Axis(*axis), Attr::Dim(start.clone()), Attr::Dim(len.clone())]
        }
        Op::Concat { axis }
        | Op::Take { axis }
        | Op::Gather { axis }
        | Op::Softmax { axis }
        | Op::LogSumExp { axis } => {
            vec![Attr::Axis(*axis)]
        }
        Op::TopK { axis, k } => vec![Attr::Axis(*axis), Attr::Dim((*k).into())],
        Op::Pad { axis, low, high, value } => {
            vec![Attr::Axis(*axis), Attr::Dim(low.clone()), Attr::Dim(high.clone()), Attr::Real(*value)]
        }
        Op::Reduce { axis, keep, .. } => vec![Attr::Axis(*axis), Attr::Flag(*keep)],
        Op::DotGeneral(d) => vec![Attr::Dot(d.clone())],
        Op::RmsNorm { eps } | Op::LayerNorm { eps } => vec![Attr::Real(*eps)],
        Op::Gelu { tanh } => vec![Attr::Flag(*tanh)],
        Op::Attention(a) => vec![Attr::Attention(a.clone())],
        _ => return (Head::Op(op.clone()), vec![]),
    };
    (Head::Named(op.name()), attrs)
}

/// The op of that name with these attributes; `None` if they are not the ones it has.
fn join(name: &str, attrs: &[Attr]) -> Option<Op> {
    Some(match (name, attrs) {
        ("iota", [Attr::Shape(shape), Attr::Axis(axis)]) => Op::Iota { shape: shape.clone(), axis: *axis },
        ("cast", [Attr::DType(d)]) => Op::Cast(*d),
        ("dequantize", [Attr::DType(d)]) => Op::Dequantize(*d),
        ("reshape", [Attr::Shape(s)]) => Op::Reshape(s.clone()),
        ("broadcast", [Attr::Shape(s)]) => Op::Broadcast(s.clone()),
        ("transpose", [Attr::Perm(p)]) => Op::Transpose(p.clone()),
        ("slice", [Attr::Axis(axis), Attr::Dim(start), Attr::Dim(len)]) => {
            Op::Slice { axis: *axis, start: start.clone(), len: len.clone() }
        }
        ("concat", [Attr::Axis(axis)]) => Op::Concat { axis: *axis },
        ("take", [Attr::Axis(axis)]) => Op::Take { axis: *axis },
        ("gather", [Attr::Axis(axis)]) => Op::Gather { axis: *axis },
        ("top_k", [Attr::Axis(axis), Attr::Dim(k)]) => {
            Op::TopK { axis: *axis, k: usize::try_from(k.as_const()?).ok()? }
        }
        ("softmax", [Attr::Axis(axis)]) => Op::Softmax { axis: *axis },
        ("log_sum_exp", [Attr::Axis(axis)]) => Op::LogSumExp { axis: *axis },
        ("pad", [Attr::Axis(axis), Attr::Dim(low), Attr::Dim(high), Attr::Real(value)]) => {
            Op::Pad { axis: *axis, low: low.clone(), high: high.clone(), value: *value }
        }
        ("dot_general", [Attr::Dot(d)]) => Op::DotGeneral(d.clone()),
        ("rms_norm", [Attr::Real(eps)]) => Op::RmsNorm { eps: *eps },
        ("layer_norm", [Attr::Real(eps)]) => Op::LayerNorm { eps: *eps },
        ("gelu", [Attr::Flag(tanh)]) => Op::Gelu { tanh: *tanh },
        ("attention", [Attr::Attention(a)]) => Op::Attention(a.clone()),
        (_, [Attr::Axis(axis), Attr::Flag(keep)]) => {
            let op = ReduceOp::from_name(name.strip_prefix("reduce_")?)?;
            Op::Reduce { op, axis: *axis, keep: *keep }
        }
        _ => return None,
    })
}

/// An e-node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// What it is.
    pub head: Head,
    /// Operands, then attributes.
    pub children: Box<[Id]>,
}

impl Term {
    /// A term.
    pub fn new(head: Head, children: impl Into<Box<[Id]>>) -> Self {
        Term { head, children: children.into() }
    }

    /// An attribute leaf.
    pub fn attr(attr: Attr) -> Self {
        Term::new(Head::Attr(attr), [])
    }

    /// How many of the last children are attributes.
    pub fn attributes(&self) -> usize {
        match &self.head {
            Head::Named(name) => NAMED.iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count),
            Head::Notation(Notation::Repeat) => 2,
            Head::Notation(Notation::Scores) => 1,
            _ => 0,
        }
    }

    /// The children that are values.
    pub fn operands(&self) -> &[Id] {
        &self.children[..self.children.len().saturating_sub(self.attributes())]
    }

    /// The graph's op, its attributes looked up by `attr`; `None` for what is not an op.
    pub fn op(&self, attr: impl Fn(Id) -> Option<Attr>) -> Option<Op> {
        match &self.head {
            Head::Op(op) => Some(op.clone()),
            Head::Named(name) => {
                let attrs: Option<Vec<Attr>> =
                    self.children[self.operands().len()..].iter().map(|c| attr(*c)).collect();
                join(name, &attrs?)
            }
            _ => None,
        }
    }

    /// Whether this is the op of that name.
    pub fn is(&self, name: &str) -> bool {
        match &self.head {
            Head::Named(n) => *n == name,
            Head::Op(op) => op.name() == name,
            _ => false,
        }
    }
}

impl Language for Term {
    type Discriminant = Head;

    fn discriminant(&self) -> Head {
        self.head.clone()
    }

    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// The head alone: `add`, `perm[0,2,1,3]`.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.head {
            Head::Op(Op::Arg(i)) => write!(f, "${i}"),
            Head::Op(op) => f.write_str(op.name()),
            Head::Named(name) | Head::Build(name) => f.write_str(name),
            Head::Attr(a) => a.fmt(f),
            Head::Notation(n) => {
                f.write_str(Notation::ALL.iter().find(|(_, m)| m == n).map_or("notation", |(name, _)| *name))
            }
            Head::Results => f.write_str("results"),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|i| i.to_string().replace(' ', "")).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Shape(s) => write!(f, "shape[{}]", list(s)),
            Attr::Perm(p) => write!(f, "perm[{}]", list(p)),
            Attr::Axis(a) => write!(f, "{a}"),
            Attr::Dim(d) => write!(f, "dim[{}]", list(std::slice::from_ref(d))),
            Attr::Real(r) => write!(f, "{r}"),
            Attr::Flag(b) => write!(f, "{b}"),
            Attr::DType(d) => write!(f, "{d}"),
            Attr::Dot(d) => write!(
                f,
                "dot[{};{}|{};{}]",
                list(&d.lhs_batch),
                list(&d.lhs_contract),
                list(&d.rhs_batch),
                list(&d.rhs_contract)
            ),
            Attr::Attention(_) => f.write_str("attention[..]"),
            Attr::Absent => f.write_str("none"),
            Attr::Word(w) => f.write_str(w),
        }
    }
}

fn items<T: std::str::FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| t.parse().ok()).collect()
}

impl Attr {
    /// Reads what `Display` prints.
    fn parse(text: &str) -> Option<Attr> {
        if let Some((kind, inner)) = text.strip_suffix(']').and_then(|t| t.split_once('[')) {
            return match kind {
                "shape" => items(inner).map(Attr::Shape),
                "perm" => items(inner).map(Attr::Perm),
                "dim" => inner.parse().ok().map(Attr::Dim),
                "dot" => {
                    let (lhs, rhs) = inner.split_once('|')?;
                    let ((lb, lc), (rb, rc)) = (lhs.split_once(';')?, rhs.split_once(';')?);
                    let [lhs_batch, lhs_contract, rhs_batch, rhs_contract] = [lb, lc, rb, rc].map(items::<usize>);
                    Some(Attr::Dot(DotDims {
                        lhs_batch: lhs_batch?,
                        rhs_batch: rhs_batch?,
                        lhs_contract: lhs_contract?,
                        rhs_contract: rhs_contract?,
                    }))
                }
                _ => None,
            };
        }
        match text {
            "true" => return Some(Attr::Flag(true)),
            "false" => return Some(Attr::Flag(false)),
            "none" => return Some(Attr::Absent),
            "causal" => return Some(Attr::Word("causal")),
            "cached" => return Some(Attr::Word("cached")),
            "mask" => return Some(Attr::Word("mask")),
            _ => {}
        }
        if let Ok(axis) = text.parse::<usize>() {
            return Some(Attr::Axis(axis));
        }
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return text.parse().ok().map(|v| Attr::Real(Real::new(v)));
        }
        text.parse().ok().map(Attr::DType)
    }
}

impl FromOp for Term {
    type Error = String;

    fn from_op(text: &str, children: Vec<Id>) -> Result<Self, String> {
        let head = if let Some(i) = text.strip_prefix('$').and_then(|i| i.parse().ok()) {
            Head::Op(Op::Arg(i))
        } else if let Some((name, _)) = NAMED.iter().find(|(n, _)| *n == text) {
            Head::Named(name)
        } else if let Some((_, n)) = Notation::ALL.iter().find(|(n, _)| *n == text) {
            Head::Notation(*n)
        } else if let Some(op) = UnaryOp::from_name(text) {
            Head::Op(Op::Unary(op))
        } else if let Some(op) = BinaryOp::from_name(text) {
            Head::Op(Op::Binary(op))
        } else if let Some(op) = CompareOp::from_name(text) {
            Head::Op(Op::Compare(op))
        } else if let Some(name) = super::build::name(text) {
            Head::Build(name)
        } else {
            match text {
                "select" => Head::Op(Op::Select),
                "cache_update" => Head::Op(Op::CacheUpdate),
                "sigmoid" => Head::Op(Op::Sigmoid),
                "silu" => Head::Op(Op::Silu),
                "rope" => Head::Op(Op::Rope),
                _ => Head::Attr(Attr::parse(text).ok_or_else(|| format!("`{text}` is no op, attribute or builder"))?),
            }
        };
        if matches!(head, Head::Attr(_)) && !children.is_empty() {
            return Err(format!("the attribute `{text}` has no children"));
        }
        Ok(Term::new(head, children))
    }
}
