//! Shapes: writing them, and how two of them broadcast.

use kiln_ir::Dim;

/// Something that can stand for a size: a [`Dim`] or an integer.
pub trait ToDim {
    /// The size.
    fn to_dim(&self) -> Dim;
}

impl ToDim for Dim {
    fn to_dim(&self) -> Dim {
        self.clone()
    }
}

macro_rules! to_dim {
    ($($t:ty),*) => {$(
        impl ToDim for $t {
            fn to_dim(&self) -> Dim {
                Dim::from(*self)
            }
        }
    )*};
}
to_dim!(i32, i64, usize);

impl<T: ToDim> ToDim for &T {
    fn to_dim(&self) -> Dim {
        (**self).to_dim()
    }
}

/// A shape of symbols and integers: `dims![b, s, 64]`.
#[macro_export]
macro_rules! dims {
    ($($size:expr),* $(,)?) => { [$($crate::ToDim::to_dim(&$size)),*] };
}

/// The shape that both broadcast to: aligned at the last axis, sizes equal or 1.
pub(crate) fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let one = Dim::constant(1);
    let at = |shape: &[Dim], i: usize| (i + shape.len()).checked_sub(rank).map_or(one.clone(), |i| shape[i].clone());
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (x, y) if x.is(1) => Some(y),
            (x, y) if y.is(1) => Some(x),
            _ => None,
        })
        .collect()
}

/// The shape with its one size of -1, if there is one, replaced so that it holds `elements`.
pub(crate) fn with_inferred(shape: &[Dim], elements: &Dim) -> Result<Vec<Dim>, String> {
    let unknown: Vec<usize> = (0..shape.len()).filter(|i| shape[*i].is(-1)).collect();
    match unknown[..] {
        [] => Ok(shape.to_vec()),
        [at] => {
            let rest: Dim = shape.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, d)| d.clone()).product();
            let size = if rest.is(0) { None } else { elements.exact_div(&rest) };
            let size =
                size.ok_or_else(|| format!("{elements} elements do not divide by {rest}, the sizes beside -1"))?;
            let mut shape = shape.to_vec();
            shape[at] = size;
            Ok(shape)
        }
        _ => Err("at most one size is -1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_in_numpy() {
        let s = Dim::symbol("s");
        assert_eq!(broadcast(&dims![s, 1, 4], &dims![3, 1]), Some(dims![s, 3, 4].to_vec()));
        assert_eq!(broadcast(&[], &dims![s]), Some(dims![s].to_vec()));
        assert_eq!(broadcast(&dims![s], &dims![4]), None);
    }

    #[test]
    fn one_size_is_inferred() {
        let s = Dim::symbol("s");
        assert_eq!(with_inferred(&dims![s, -1, 8], &(s.clone() * 64.into())), Ok(dims![s, 8, 8].to_vec()));
        assert!(with_inferred(&dims![-1, -1], &s).is_err());
        assert!(with_inferred(&dims![-1, 3], &s).is_err());
        assert!(with_inferred(&dims![-1, 0], &0.into()).is_err());
    }
}
