//! What index and mask tensors say, whichever way they are spelled.
//!
//! A causal mask may be `le(iota, iota)` at full rank, a small triangle broadcast over heads, a comparison with positions that start
//! at an offset, or one of these as `0 / -inf` to be added. Rather than a law for each spelling, the analysis follows the
//! *meaning*: an i64 tensor as a linear function of its indices ([`Affine`]), a bool tensor as a conjunction of inequalities over them
//! ([`Mask`]).

use egg::Id;
use kiln_ir::{CompareOp, Dim};

/// `Σ coefficient[axis]·index[axis] + constant + sign·rows[index[axis]]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Affine {
    /// A coefficient for each axis.
    pub coefficients: Vec<i64>,
    /// The constant part.
    pub constant: Dim,
    /// One vector that is looked up along an axis.
    pub rows: Option<Rows>,
}

/// An i64 vector looked up along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rows {
    /// The vector's class.
    pub class: Id,
    /// The axis whose index is looked up.
    pub axis: usize,
    /// 1 or -1.
    pub sign: i64,
}

/// One condition of a mask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// True where the value is 0 or less.
    AtMostZero(Affine),
    /// A bool matrix looked up at the indices of two axes.
    Given {
        /// The matrix's class.
        class: Id,
        /// Its axes here.
        axes: [usize; 2],
    },
}

/// True where all conditions hold; sorted, without repetition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mask(pub Vec<Atom>);

/// Where each axis of an operand is in the result; `None` where it is nowhere by itself: dropped, merged, or repeated.
pub type AxisMap = Vec<Option<usize>>;

/// The axes of a reshape that are kept as they are.
pub fn reshape(from: &[Dim], to: &[Dim]) -> Option<AxisMap> {
    let mut map = vec![None; from.len()];
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        match (from.get(i), to.get(j)) {
            (Some(a), Some(b)) if a == b => {
                map[i] = Some(j);
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), _) if a.is(1) => i += 1,
            (_, Some(b)) if b.is(1) => j += 1,
            (Some(a), Some(b)) => {
                let (mut a, mut b) = (a.clone(), b.clone());
                (i, j) = (i + 1, j + 1);
                while a != b {
                    if b.exact_div(&a).is_some() {
                        a = a * from.get(i)?.clone();
                        i += 1;
                    } else if a.exact_div(&b).is_some() {
                        b = b * to.get(j)?.clone();
                        j += 1;
                    } else {
                        return None;
                    }
                }
            }
            _ => return None,
        }
    }
    Some(map)
}

/// The axes of a broadcast.
pub fn broadcast(from: &[Dim], to: &[Dim]) -> AxisMap {
    let skip = to.len().saturating_sub(from.len());
    // An axis that is repeated has one index, whose coefficient says nothing.
    (0..from.len()).map(|i| (!from[i].is(1) || to[i + skip].is(1)).then_some(i + skip)).collect()
}

/// The axes of a transpose.
pub fn transpose(perm: &[usize]) -> AxisMap {
    (0..perm.len()).map(|old| perm.iter().position(|p| *p == old)).collect()
}

impl Affine {
    /// A constant over `rank` axes.
    pub fn constant(rank: usize, constant: Dim) -> Self {
        Affine { coefficients: vec![0; rank], constant, rows: None }
    }

    /// The index along `axis`.
    pub fn index(rank: usize, axis: usize) -> Self {
        let mut a = Affine::constant(rank, 0.into());
        a.coefficients[axis] = 1;
        a
    }

    /// The elements of a vector.
    pub fn vector(class: Id) -> Self {
        Affine { rows: Some(Rows { class, axis: 0, sign: 1 }), ..Affine::constant(1, 0.into()) }
    }

    /// `self + sign·other`, where that has one looked-up vector at most.
    pub fn plus(&self, other: &Affine, sign: i64) -> Option<Affine> {
        let rows = match (self.rows, other.rows) {
            (Some(_), Some(_)) => return None,
            (Some(r), None) => Some(r),
            (None, Some(r)) => Some(Rows { sign: r.sign * sign, ..r }),
            (None, None) => None,
        };
        (self.coefficients.len() == other.coefficients.len()).then(|| Affine {
            coefficients: self.coefficients.iter().zip(&other.coefficients).map(|(a, b)| a + sign * b).collect(),
            constant: self.constant.clone() + other.constant.clone() * Dim::constant(sign),
            rows,
        })
    }

    /// The same value after a movement of axes.
    pub fn moved(&self, map: &AxisMap, rank: usize) -> Option<Affine> {
        let mut coefficients = vec![0; rank];
        for (i, c) in self.coefficients.iter().enumerate() {
            match map.get(i)? {
                Some(j) => coefficients[*j] = *c,
                None if *c == 0 => {}
                None => return None,
            }
        }
        let rows = match self.rows {
            Some(r) => Some(Rows { axis: (*map.get(r.axis)?)?, ..r }),
            None => None,
        };
        Some(Affine { coefficients, constant: self.constant.clone(), rows })
    }

    /// The same value, knowing that the index along an axis of size 1 is 0.
    pub fn within(mut self, shape: &[Dim]) -> Affine {
        for (c, d) in self.coefficients.iter_mut().zip(shape) {
            if d.is(1) {
                *c = 0;
            }
        }
        self
    }

    /// The value after indices along `axis` begin at `start`.
    pub fn shifted(&self, axis: usize, start: &Dim) -> Option<Affine> {
        if self.rows.is_some_and(|r| r.axis == axis) {
            return None;
        }
        let by = Dim::constant(*self.coefficients.get(axis)?) * start.clone();
        Some(Affine { constant: self.constant.clone() + by, ..self.clone() })
    }
}

impl Mask {
    /// A bool matrix as it is.
    pub fn given(class: Id) -> Self {
        Mask(vec![Atom::Given { class, axes: [0, 1] }])
    }

    /// A comparison of two index tensors.
    pub fn compare(op: CompareOp, a: &Affine, b: &Affine) -> Option<Mask> {
        let (difference, strict) = match op {
            CompareOp::Le => (a.plus(b, -1)?, 0),
            CompareOp::Lt => (a.plus(b, -1)?, 1),
            CompareOp::Ge => (b.plus(a, -1)?, 0),
            CompareOp::Gt => (b.plus(a, -1)?, 1),
            CompareOp::Eq | CompareOp::Ne => return None,
        };
        let constant = difference.constant.clone() + Dim::constant(strict);
        Some(Mask(vec![Atom::AtMostZero(Affine { constant, ..difference })]))
    }

    /// Where both hold.
    pub fn and(&self, other: &Mask) -> Mask {
        let mut atoms = [&self.0[..], &other.0].concat();
        atoms.sort();
        atoms.dedup();
        Mask(atoms)
    }

    /// Where it does not hold, for a mask of one inequality.
    pub fn negated(&self) -> Option<Mask> {
        let [Atom::AtMostZero(a)] = &self.0[..] else { return None };
        let one = Affine::constant(a.coefficients.len(), 1.into());
        Some(Mask(vec![Atom::AtMostZero(one.plus(a, -1)?)]))
    }

    /// The same mask after a movement of axes.
    pub fn moved(&self, map: &AxisMap, rank: usize) -> Option<Mask> {
        let mut atoms: Vec<Atom> = Vec::with_capacity(self.0.len());
        for a in &self.0 {
            atoms.push(match a {
                Atom::AtMostZero(a) => Atom::AtMostZero(a.moved(map, rank)?),
                Atom::Given { class, axes: [i, j] } => {
                    Atom::Given { class: *class, axes: [(*map.get(*i)?)?, (*map.get(*j)?)?] }
                }
            });
        }
        atoms.sort();
        Some(Mask(atoms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_causal_mask_mean_the_same() {
        // le(iota[b, h, s, t] along t, iota along s)
        let wide = Mask::compare(CompareOp::Le, &Affine::index(4, 3), &Affine::index(4, 2));
        // ge(iota[s, t] along s, iota along t), reshaped to [1, 1, s, t] and broadcast
        let small = Mask::compare(CompareOp::Ge, &Affine::index(2, 0), &Affine::index(2, 1)).expect("a mask");
        let (b, s, t) = (Dim::symbol("b"), Dim::symbol("s"), Dim::symbol("t"));
        let unit = [1.into(), 1.into(), s.clone(), t.clone()];
        let map = reshape(&[s.clone(), t.clone()], &unit).expect("only units");
        let small = small.moved(&map, 4).and_then(|m| m.moved(&broadcast(&unit, &[b, 2.into(), s, t]), 4));
        assert_eq!(wide, small);
        // not(gt(j, i))
        let not = Mask::compare(CompareOp::Gt, &Affine::index(4, 3), &Affine::index(4, 2)).and_then(|m| m.negated());
        assert_eq!(wide, not);
    }

    #[test]
    fn only_axes_that_stay_whole_are_mapped() {
        let (s, t) = (Dim::symbol("s"), Dim::symbol("t"));
        assert_eq!(reshape(&[s.clone(), t.clone()], &[t.clone(), s.clone()]), None);
        assert_eq!(reshape(&[s.clone(), t.clone()], &[s.clone() * t.clone()]), Some(vec![None, None]));
        assert_eq!(reshape(&[6.into(), s.clone()], &[2.into(), 3.into(), s]), Some(vec![None, Some(2)]));
        assert_eq!(transpose(&[2, 0, 1]), [Some(1), Some(2), Some(0)]);
    }
}
