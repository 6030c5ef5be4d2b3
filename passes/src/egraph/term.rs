//! Terms of the e-graph: an op of the graph with its operands, and with those attributes that a law binds as further children.
//!
//! A pattern variable stands for a class, so it can't bind data inside a node. Hence `transpose {perm}` becomes
//! `(transpose x perm[0,2,1,3])`, whose last child is a leaf; attributes that no law looks at stay inside the op.

use egg::{Id, Language};
pub use kiln_ir::Attr;
use kiln_ir::{Class, Kind, Op, Source};
use std::{collections::BTreeMap, fmt, sync::LazyLock};

/// What a term is made of, apart from its children.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    /// An op whose attributes, if any, no law binds.
    Op(Op),
    /// An op whose attributes are its last children ([`split`]).
    Named(&'static str),
    /// An attribute. A real number on the left of a law stands for any tensor all of whose elements have that value.
    Attr(Attr),
    /// A word that builders understand: one of `MARKS`.
    Mark(&'static str),
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
    pub(super) const ALL: [(&'static str, Notation); 3] =
        [("repeat", Notation::Repeat), ("scores", Notation::Scores), ("weigh", Notation::Weigh)];
}

/// In place of an optional operand that is absent.
pub const ABSENT: &str = "none";
/// The words of [`Head::Mark`].
pub(super) const MARKS: [&str; 4] = [ABSENT, "causal", "cached", "mask"];

/// Whether an op's attributes, if it has any, are its last children. Those of arguments, constants, sizes and calls are no law's
/// matter.
fn is_split(class: Class, name: &str) -> bool {
    class != Class::Call && (class != Class::Source || name == "iota")
}

/// The ops whose attributes are children, with the number of attributes.
pub(super) static NAMED: LazyLock<BTreeMap<&'static str, usize>> = LazyLock::new(|| {
    let named = Op::table().into_iter().filter(|op| op.leaves > 0 && is_split(op.class, op.names[0]));
    named.flat_map(|op| op.names.into_iter().map(move |name| (name, op.leaves))).collect()
});

/// The ops without attributes.
pub(super) static PLAIN: LazyLock<BTreeMap<&'static str, Op>> = LazyLock::new(|| {
    let plain = Op::table().into_iter().filter(|op| op.leaves == 0 && op.class != Class::Call);
    let read = |name| Op::read(&mut Leaves { name, attrs: [].iter() }).ok().map(|op| (name, op));
    plain.flat_map(|op| op.names).filter_map(read).collect()
});

/// The head of an op, and the attributes that follow the operands as children.
pub fn split(op: &Op) -> (Head, Vec<Attr>) {
    let attrs = if is_split(op.class(), op.name()) { op.attributes() } else { vec![] };
    if attrs.is_empty() {
        return (Head::Op(op.clone()), vec![]);
    }
    (Head::Named(op.name()), attrs.into_iter().map(|(_, attr)| attr).collect())
}

/// An op's name with its attributes in order.
struct Leaves<'a> {
    name: &'a str,
    attrs: std::slice::Iter<'a, Attr>,
}

impl Source for Leaves<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn attr(&mut self, key: &'static str, _: Kind) -> Result<Attr, String> {
        self.attrs.next().cloned().ok_or_else(|| format!("`{}` lacks its attribute `{key}`", self.name))
    }
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

    /// A word that builders understand.
    pub fn mark(word: &'static str) -> Self {
        Term::new(Head::Mark(word), [])
    }

    /// How many of the last children are attributes.
    pub fn attributes(&self) -> usize {
        match &self.head {
            Head::Named(name) => NAMED.get(name).copied().unwrap_or(0),
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
                Op::read(&mut Leaves { name, attrs: attrs?.iter() }).ok()
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
            Head::Named(name) | Head::Build(name) | Head::Mark(name) => f.write_str(name),
            Head::Attr(a) => a.fmt(f),
            Head::Notation(n) => {
                f.write_str(Notation::ALL.iter().find(|(_, m)| m == n).map_or("notation", |(name, _)| *name))
            }
            Head::Results => f.write_str("results"),
        }
    }
}
