//! Side conditions of laws, by name.

use crate::egraph::{Attr, Condition, attr, hides as hides_value, is_value, splits_last, tensor};

/// The value depends on static parameters and constants only: it is computed once, by `prepare`.
pub fn fixed(x: &'static str) -> Condition {
    Condition::on("fixed", x, |g, x| tensor(g, x).is_some_and(|t| t.fixed))
}

/// The value depends on what is given at each call.
pub fn given(x: &'static str) -> Condition {
    Condition::on("given", x, |g, x| tensor(g, x).is_some_and(|t| !t.fixed))
}

/// All elements have one known value.
pub fn uniform(x: &'static str) -> Condition {
    Condition::on("uniform", x, |g, x| tensor(g, x).is_some_and(|t| t.splat.is_some()))
}

/// Not known to have one value.
pub fn varied(x: &'static str) -> Condition {
    Condition::on("varied", x, |g, x| tensor(g, x).is_some_and(|t| t.splat.is_none()))
}

/// All elements have one known value, a finite one that isn't 0.
pub fn nonzero(x: &'static str) -> Condition {
    Condition::on("nonzero", x, |g, x| {
        tensor(g, x).and_then(|t| t.splat).is_some_and(|v| v.get() != 0.0 && v.get().is_finite())
    })
}

/// Not known to be 1 for all elements.
pub fn not_one(x: &'static str) -> Condition {
    Condition::on("not_one", x, |g, x| !is_value(g, x, 1.0))
}

/// A tensor of floats.
pub fn float(x: &'static str) -> Condition {
    Condition::on("float", x, |g, x| tensor(g, x).and_then(|t| t.ty.dtype()).is_some_and(|d| d.is_float()))
}

/// A tensor of bool.
pub fn truth(x: &'static str) -> Condition {
    Condition::on("truth", x, |g, x| tensor(g, x).and_then(|t| t.ty.dtype()) == Some(kiln_ir::DType::Bool))
}

/// All elements are 1.
pub fn ones(x: &'static str) -> Condition {
    Condition::on("ones", x, |g, x| is_value(g, x, 1.0))
}

/// All elements are 0.
pub fn zeros(x: &'static str) -> Condition {
    Condition::on("zeros", x, |g, x| is_value(g, x, 0.0))
}

/// All elements are so negative that softmax gives such a score no weight.
pub fn hides(x: &'static str) -> Condition {
    Condition::on("hides", x, |g, x| tensor(g, x).and_then(|t| t.splat).is_some_and(hides_value))
}

/// Known to be 0 where a mask holds and to hide where it does not.
pub fn bias(x: &'static str) -> Condition {
    Condition::on("bias", x, |g, x| tensor(g, x).is_some_and(|t| t.bias.is_some()))
}

/// The permutation changes nothing.
pub fn identity(p: &'static str) -> Condition {
    Condition::on("identity", p, |g, p| matches!(attr(g, p), Some(Attr::Perm(p)) if p.iter().copied().eq(0..p.len())))
}

/// `[x, s]`: x has the sizes s.
pub fn has_shape(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("has_shape", vars, |g, v| match (tensor(g, v[0]), attr(g, v[1])) {
        (Some(x), Some(Attr::Shape(s))) => *x.ty.shape == **s,
        _ => false,
    })
}

/// `[x, d]`: x has elements of type d.
pub fn has_dtype(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("has_dtype", vars, |g, v| match (tensor(g, v[0]), attr(g, v[1])) {
        (Some(x), Some(Attr::DType(d))) => x.ty.dtype() == Some(*d),
        _ => false,
    })
}

/// `[a, b]`: the same type.
pub fn same_type(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("same_type", vars, |g, v| match (tensor(g, v[0]), tensor(g, v[1])) {
        (Some(a), Some(b)) => a.ty == b.ty,
        _ => false,
    })
}

/// `[x, a]`: a is the last axis of x.
pub fn last_axis(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("last_axis", vars, |g, v| match (tensor(g, v[0]), attr(g, v[1])) {
        (Some(x), Some(Attr::Axis(a))) => a + 1 == x.ty.rank(),
        _ => false,
    })
}

/// `[c, x]`: the value of c is 1 over the size of x's last axis.
pub fn mean_factor(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("mean_factor", vars, |g, v| {
        let size = tensor(g, v[1]).and_then(|x| x.ty.shape.last()?.as_const());
        size.is_some_and(|n| n > 0 && is_value(g, v[0], 1.0 / n as f64))
    })
}

/// `[m, a]`: m has size 1 along axis a.
pub fn single_along(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("single_along", vars, |g, v| match (tensor(g, v[0]), attr(g, v[1])) {
        (Some(m), Some(Attr::Axis(a))) => m.ty.shape.get(*a).is_some_and(|d| d.is(1)),
        _ => false,
    })
}

/// `[m, s]`: a tensor of as many axes as the sizes s.
pub fn same_rank(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("same_rank", vars, |g, v| match (tensor(g, v[0]), attr(g, v[1])) {
        (Some(m), Some(Attr::Shape(s))) => m.ty.rank() == s.len(),
        _ => false,
    })
}

/// A vector.
pub fn vector(x: &'static str) -> Condition {
    Condition::on("vector", x, |g, x| tensor(g, x).is_some_and(|t| t.ty.rank() == 1))
}

/// `[g, x]`: a vector as long as x's last axis.
pub fn along_last(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("along_last", vars, |g, v| match (tensor(g, v[0]), tensor(g, v[1])) {
        (Some(w), Some(x)) => w.ty.rank() == 1 && x.ty.shape.last() == Some(&w.ty.shape[0]),
        _ => false,
    })
}

/// `[r, x]`: r has x's axes, and one factor for each of x's rows.
pub fn factor_of_rows(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("factor_of_rows", vars, |g, v| match (tensor(g, v[0]), tensor(g, v[1])) {
        (Some(r), Some(x)) => r.ty.rank() == x.ty.rank() && r.ty.shape.last().is_some_and(|d| d.is(1)),
        _ => false,
    })
}

/// `[x, s, p]`: with x's last axis split as in the sizes s, the permutation p moves parts of that axis only.
pub fn within_last(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("within_last", vars, |g, v| match (tensor(g, v[0]), attr(g, v[1]), attr(g, v[2])) {
        (Some(x), Some(Attr::Shape(s)), Some(Attr::Perm(p))) => splits_last(&x.ty.shape, s, p),
        _ => false,
    })
}

/// `[x, s, y, t]`: the sizes s and t split the last axes of x and y alike.
pub fn same_split(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("same_split", vars, |g, v| {
        let parts = |x: usize| match (tensor(g, v[x]), attr(g, v[x + 1])) {
            (Some(x), Some(Attr::Shape(s))) => s.get(x.ty.rank() - 1..),
            _ => None,
        };
        parts(0).is_some() && parts(0) == parts(2)
    })
}

/// `[x, a, s, l]`: from s, l of the indices along a are all there are.
pub fn whole(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("whole", vars, |g, v| match (tensor(g, v[0]), attr(g, v[1]), attr(g, v[2]), attr(g, v[3])) {
        (Some(x), Some(Attr::Axis(a)), Some(Attr::Dim(s)), Some(Attr::Dim(l))) => {
            s.is(0) && x.ty.shape.get(*a) == Some(l)
        }
        _ => false,
    })
}

/// `[x, a, s1, l1, s2, l2]`: the two parts are the first and the second half of x's last axis a.
pub fn halves(vars: &'static [&'static str]) -> Condition {
    Condition::on_all("halves", vars, |g, v| {
        let dim = |i: usize| match attr(g, v[i]) {
            Some(Attr::Dim(d)) => Some(d),
            _ => None,
        };
        let (Some(x), Some(Attr::Axis(a))) = (tensor(g, v[0]), attr(g, v[1])) else { return false };
        let half = x.ty.shape.last().and_then(|d| d.exact_div(&2.into()));
        half.is_some_and(|h| {
            a + 1 == x.ty.rank() && dim(2).is_some_and(|d| d.is(0)) && [3, 4, 5].into_iter().all(|i| dim(i) == Some(&h))
        })
    })
}
