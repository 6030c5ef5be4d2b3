//! Scaled dot-product attention with grouped heads, over the sequence itself or over a cache.

use crate::{Context, Tensor, dims};
use kiln_ir::{AttentionAttrs, DType, Dim, Real};

/// Attention; queries are `[batch, s, heads, dim]`, keys and values `[batch, s, kv_heads, dim]`, where `kv_heads` divides `heads`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Factor on the scores: `1 / sqrt(dim)` as a rule.
    pub scale: f64,
    /// Whether a query sees no later keys.
    pub causal: bool,
    /// Most keys that a query sees, counted back from its own position.
    pub window: Option<usize>,
}

/// What stands before a sequence, and which of its keys may be seen.
#[derive(Clone, Debug)]
pub enum Past {
    /// Nothing. The mask is bool `[batch, s]`, true where a key may be seen.
    None {
        /// The mask.
        mask: Option<Tensor>,
    },
    /// What a cache holds.
    Cache(KvCache),
}

/// Keys and values of one layer: `[rows, t, kv_heads, dim]`.
#[derive(Clone, Debug)]
pub struct KvCache {
    key: Tensor,
    value: Tensor,
    slots: Tensor,
    starts: Tensor,
}

impl KvCache {
    /// The states `past_key_values.{layer}.key` and `.value` of the entry, of that shape. Batch row b lies in row `slots[b]`, where
    /// `starts[b]` tokens stand already; a negative number says that the sequence begins with so many tokens of padding.
    #[track_caller]
    pub fn new(
        cx: &Context,
        layer: usize,
        dtype: DType,
        [rows, t, kv_heads, head_dim]: [Dim; 4],
        slots: &Tensor,
        starts: &Tensor,
    ) -> KvCache {
        let shape = dims![rows, t, kv_heads, head_dim];
        KvCache {
            key: cx.state(&format!("past_key_values.{layer}.key"), dtype, &shape),
            value: cx.state(&format!("past_key_values.{layer}.value"), dtype, &shape),
            slots: slots.clone(),
            starts: starts.clone(),
        }
    }

    /// The cache with the keys and values `[batch, s, kv_heads, dim]` of new tokens added.
    #[track_caller]
    pub fn update(&self, key: &Tensor, value: &Tensor) -> KvCache {
        KvCache {
            key: self.key.cache_update(key, &self.slots, &self.starts),
            value: self.value.cache_update(value, &self.slots, &self.starts),
            ..self.clone()
        }
    }
}

impl Attention {
    /// What each query gathers from the values: `[batch, s, heads, dim]`. With a cache, the new keys and values are added to it first.
    #[track_caller]
    pub fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor, past: &Past) -> Tensor {
        let attributes = |cached, mask| AttentionAttrs {
            scale: Real::new(self.scale),
            causal: self.causal,
            window: self.window.map(|w| w as i64),
            cached,
            mask,
        };
        match past {
            Past::None { mask: None } => query.attention(key, value, &[], attributes(false, false)),
            Past::None { mask: Some(mask) } => query.attention(key, value, &[mask], attributes(false, true)),
            Past::Cache(cache) => {
                let KvCache { key, value, slots, starts } = cache.update(key, value);
                query.attention(&key, &value, &[&slots, &starts], attributes(true, false))
            }
        }
    }
}
