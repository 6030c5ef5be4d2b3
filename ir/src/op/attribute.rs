//! Attributes as values: what the text format, the terms of the e-graph and the table of ops have in common.

use super::{AttentionAttrs, ConvAttrs, DotDims, Op, Real};
use crate::{graph::FuncId, literal::Literal};
use kiln_core::{BinaryOp, CompareOp, DType, Dim, ReduceOp, UnaryOp};
use std::{fmt, str::FromStr};

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attr {
    /// Sizes: `shape[b,s,8]`.
    Shape(Vec<Dim>),
    /// A permutation of axes: `perm[0,2,1,3]`.
    Perm(Vec<usize>),
    /// An axis, or a number of that kind: `2`.
    Axis(usize),
    /// One size: `dim[s-1]`.
    Dim(Dim),
    /// A real number: `1e-5`.
    Real(Real),
    /// `true`, `false`.
    Flag(bool),
    /// An element type: `f32`.
    DType(DType),
    /// A constant's elements; no text form of its own.
    Literal(Literal),
    /// Batch and summed axes of both operands: `dot[0,1;3|0,1;3]`.
    Dot(DotDims),
    /// Attributes of `attention`; no text form of their own.
    Attention(AttentionAttrs),
    /// Attributes of `conv`; no text form of their own.
    Conv(ConvAttrs),
}

/// What kind of attribute is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Attr::Shape`].
    Shape,
    /// [`Attr::Perm`].
    Perm,
    /// [`Attr::Axis`].
    Axis,
    /// [`Attr::Dim`].
    Dim,
    /// [`Attr::Real`].
    Real,
    /// [`Attr::Flag`].
    Flag,
    /// [`Attr::DType`].
    DType,
    /// [`Attr::Literal`].
    Literal,
    /// [`Attr::Dot`].
    Dot,
    /// [`Attr::Attention`].
    Attention,
    /// [`Attr::Conv`].
    Conv,
}

/// What an op is read from: its name, and its attributes in the order of the table.
pub trait Source {
    /// The op's name.
    fn name(&self) -> &str;

    /// The attribute of that name and kind.
    ///
    /// # Errors
    /// There is none, or it is of another kind.
    fn attr(&mut self, key: &'static str, kind: Kind) -> Result<Attr, String>;
}

/// The type of a field of an op.
pub trait Field: Sized {
    /// How many attributes it is: none if the op's name says it.
    const LEAVES: usize = 1;

    /// Its value as an attribute; `None` if the op's name says it.
    fn attr(&self) -> Option<Attr>;

    /// Reads it.
    ///
    /// # Errors
    /// What the source says.
    fn read(key: &'static str, source: &mut dyn Source) -> Result<Self, String>;

    /// The names that it has in the text format, where its own is `key`.
    fn keys(key: &'static str) -> Vec<&'static str> {
        vec![key]
    }

    /// Appends the sizes in it.
    fn dims<'a>(&'a self, _: &mut Vec<&'a Dim>) {}

    /// As [`dims`](Self::dims), to change them.
    fn dims_mut<'a>(&'a mut self, _: &mut Vec<&'a mut Dim>) {}
}

fn wrong<T>(key: &str, found: &Attr) -> Result<T, String> {
    Err(format!("the attribute `{key}` is not {found:?}"))
}

/// A field whose value is one kind of attribute.
macro_rules! field {
    ($ty:ty, $kind:ident, |$value:ident| $wrap:expr, |$inner:ident| $unwrap:expr $(, $more:item)*) => {
        impl Field for $ty {
            fn attr(&self) -> Option<Attr> {
                let $value = self;
                Some(Attr::$kind($wrap))
            }

            fn read(key: &'static str, source: &mut dyn Source) -> Result<Self, String> {
                match source.attr(key, Kind::$kind)? {
                    Attr::$kind($inner) => $unwrap,
                    found => wrong(key, &found),
                }
            }

            $($more)*
        }
    };
}

field!(
    Vec<Dim>,
    Shape,
    |v| v.clone(),
    |v| Ok(v),
    fn dims<'a>(&'a self, out: &mut Vec<&'a Dim>) {
        out.extend(self);
    },
    fn dims_mut<'a>(&'a mut self, out: &mut Vec<&'a mut Dim>) {
        out.extend(self);
    }
);
field!(
    Dim,
    Dim,
    |v| v.clone(),
    |v| Ok(v),
    fn dims<'a>(&'a self, out: &mut Vec<&'a Dim>) {
        out.push(self);
    },
    fn dims_mut<'a>(&'a mut self, out: &mut Vec<&'a mut Dim>) {
        out.push(self);
    }
);
field!(Vec<usize>, Perm, |v| v.clone(), |v| Ok(v));
field!(usize, Axis, |v| *v, |v| Ok(v));
field!(u32, Axis, |v| *v as usize, |v| u32::try_from(v).map_err(|_| format!("{v} is too large")));
field!(FuncId, Axis, |v| v.index(), |v| u32::try_from(v).map(FuncId).map_err(|_| format!("{v} is too large")));
field!(bool, Flag, |v| *v, |v| Ok(v));
field!(Real, Real, |v| *v, |v| Ok(v));
field!(DType, DType, |v| *v, |v| Ok(v));
field!(Literal, Literal, |v| v.clone(), |v| Ok(v));
field!(
    DotDims,
    Dot,
    |v| v.clone(),
    |v| Ok(v),
    fn keys(_: &'static str) -> Vec<&'static str> {
        vec!["lhs_batch", "rhs_batch", "lhs_contract", "rhs_contract"]
    }
);
field!(
    AttentionAttrs,
    Attention,
    |v| v.clone(),
    |v| Ok(v),
    fn keys(_: &'static str) -> Vec<&'static str> {
        vec!["scale", "causal", "window?", "cached", "mask"]
    }
);
field!(
    ConvAttrs,
    Conv,
    |v| v.clone(),
    |v| Ok(v),
    fn keys(_: &'static str) -> Vec<&'static str> {
        vec!["strides", "dilations", "low", "high", "groups"]
    }
);

/// A scalar operation, which is the last word of the op's name or all of it.
macro_rules! named {
    ($($ty:ty),+) => {$(
        impl Field for $ty {
            const LEAVES: usize = 0;

            fn attr(&self) -> Option<Attr> {
                None
            }

            fn read(_: &'static str, source: &mut dyn Source) -> Result<Self, String> {
                let name = source.name();
                let word = name.rsplit_once('_').map_or(name, |(_, word)| word);
                <$ty>::from_name(word).ok_or_else(|| format!("unknown op `{name}`"))
            }

            fn keys(_: &'static str) -> Vec<&'static str> {
                vec![]
            }
        }
    )+};
}

named!(UnaryOp, BinaryOp, CompareOp, ReduceOp);

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|i| i.to_string().replace(' ', "")).collect::<Vec<_>>().join(",")
}

/// The form that laws are written in.
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
            Attr::Literal(_) => f.write_str("constant[..]"),
            Attr::Attention(_) => f.write_str("attention[..]"),
            Attr::Conv(_) => f.write_str("conv[..]"),
        }
    }
}

fn items<T: FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| t.parse().ok()).collect()
}

impl Attr {
    /// Reads what `Display` prints.
    pub fn parse(text: &str) -> Option<Attr> {
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

/// `add`, `reduce_sum {axis = 1, keep = true}`
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Op::Arg(i) => return write!(f, " {i}"),
            Op::Call(FuncId(i)) => return write!(f, " #{i}"),
            // A long constant would bury the message that names it.
            Op::Constant(l) if l.bytes().len() > 64 => return write!(f, " of {} bytes", l.bytes().len()),
            _ => {}
        }
        f.write_str(&crate::text::attributes(self))
    }
}
