//! Linear layers and embeddings.

use crate::{Module, Param, Tensor};

/// `x · weightᵀ + bias` over the last axis.
#[derive(Clone, Debug, Module)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
}

impl Linear {
    /// From `inputs` to `outputs` features.
    pub fn new(inputs: usize, outputs: usize, bias: bool) -> Linear {
        Linear { weight: Param::new([outputs, inputs]), bias: bias.then(|| Param::new([outputs])) }
    }

    /// `[.., in]` to `[.., out]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let y = x.linear(&self.weight.beside(x));
        match &self.bias {
            Some(bias) => y + bias.beside(x),
            None => y,
        }
    }
}

/// A table of vectors, one for each id.
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[ids, features]`.
    pub weight: Param,
}

impl Embedding {
    /// A table of `count` vectors with `features` elements.
    pub fn new(count: usize, features: usize) -> Embedding {
        Embedding { weight: Param::new([count, features]) }
    }

    /// The vectors of i64 ids: `[..]` to `[.., features]`. Only the rows that are read are converted to the compute type.
    #[track_caller]
    pub fn forward(&self, ids: &Tensor) -> Tensor {
        let rows = self.weight.stored_beside(ids).index_select(0, ids);
        match self.weight.dtype() {
            Some(dtype) => rows.to_dtype(dtype),
            None => rows,
        }
    }

    /// The table as an output layer (tied embeddings): `[.., features]` to `[.., ids]`.
    #[track_caller]
    pub fn as_linear(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight.beside(x))
    }
}
