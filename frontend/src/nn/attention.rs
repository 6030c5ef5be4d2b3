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
            key: self.key.cache_update(&key.to_dtype(self.key.dtype()), &self.slots, &self.starts),
            value: self.value.cache_update(&value.to_dtype(self.value.dtype()), &self.slots, &self.starts),
            ..self.clone()
        }
    }
}

/// Keys and values of another sequence, which a decoder attends to at every step, and which of them may be seen.
#[derive(Clone, Debug)]
pub struct Memory {
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    /// Where keys and values are states: the rows of the batch in them, and how many tokens the decoder holds.
    rows: Option<(Tensor, Tensor)>,
}

impl Memory {
    /// Keys and values `[batch, t, kv_heads, dim]` and a bool mask `[batch, t]`, true where a key may be seen.
    pub fn new(key: Tensor, value: Tensor, mask: Tensor) -> Memory {
        Memory { key, value, mask, rows: None }
    }

    /// Of states `[rows, t, kv_heads, dim]`: batch row b reads row `slots[b]`. `starts` is i64 `[batch]` too, and of no influence.
    pub fn of_states(key: Tensor, value: Tensor, mask: Tensor, slots: &Tensor, starts: &Tensor) -> Memory {
        Memory { key, value, mask, rows: Some((slots.clone(), starts.clone())) }
    }
}

/// Attention to keys and values in states, whose type may be narrower than the query's, which is the result's.
#[track_caller]
fn over_states(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    operands: &[&Tensor],
    attributes: AttentionAttrs,
) -> Tensor {
    query.to_dtype(key.dtype()).attention(key, value, operands, attributes).to_dtype(query.dtype())
}

impl Attention {
    /// What each query `[batch, s, heads, dim]` gathers from another sequence: `[batch, s, heads, dim]`. Neither `causal` nor `window`
    /// has a meaning there.
    #[track_caller]
    pub fn forward_memory(&self, query: &Tensor, memory: &Memory) -> Tensor {
        let Memory { key, value, mask, rows } = memory;
        let cached = rows.is_some();
        let attributes =
            AttentionAttrs { scale: Real::new(self.scale), causal: false, window: None, cached, mask: true };
        match rows {
            Some((slots, starts)) => over_states(query, key, value, &[slots, starts, mask], attributes),
            None => query.attention(key, value, &[mask], attributes),
        }
    }

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
                over_states(query, &key, &value, &[&slots, &starts], attributes(true, false))
            }
        }
    }
    /// As [`forward`](Self::forward), where `change` makes other scores of the scaled ones, f32 `[batch, kv_heads, group, s, t]`, before
    /// the mask and the softmax, and a query sees only those keys that `near`, bool `[s, t]`, shows too. It is written out, so that all
    /// scores exist at once: what [`forward`](Self::forward) can say, it says faster. With a cache, what a query of padding gathers has no meaning.
    #[track_caller]
    pub fn forward_with(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        past: &Past,
        near: Option<&Tensor>,
        change: impl FnOnce(Tensor) -> Tensor,
    ) -> Tensor {
        let [batch, s, heads, dim] = query.dims();
        let cx = query.context();
        // Positions of the queries, [batch or 1, s].
        let tokens = cx.arange(&s).unsqueeze(0);
        let (key, value, positions, mask) = match past {
            Past::None { mask } => (key.clone(), value.clone(), tokens, mask.clone()),
            Past::Cache(cache) => {
                let KvCache { key, value, slots, starts } = cache.update(key, value);
                let rows = |state: Tensor| state.index_select(0, &slots).to_dtype(query.dtype());
                (rows(key), rows(value), starts.unsqueeze(-1) + tokens, None)
            }
        };
        let [_, t, kv_heads, value_dim] = value.dims();
        // The query heads of one key head are rows of one product.
        let by_key_head = query.reshape(dims![batch, s, kv_heads, -1, dim]).permute(&[0, 2, 3, 1, 4]);
        let group = by_key_head.dim(2);
        let queries = by_key_head.reshape(dims![batch, kv_heads, group.clone() * s.clone(), dim]);
        let scores = queries.matmul(&key.permute(&[0, 2, 3, 1])).to_dtype(DType::F32) * self.scale;
        let mut scores = change(scores.reshape(dims![batch, kv_heads, group, s, t]));
        if let Some(visible) = self.visible(&positions, &cx.arange(&t), mask.as_ref(), near) {
            // A sum, as transformers has it: the value is that of a choice, the gradient of a query that sees no key is not.
            let hidden = visible.where_cond(&cx.scalar(DType::F32, 0.0), f64::from(f32::MIN));
            scores = scores + hidden.unsqueeze(1).unsqueeze(1);
        }
        let weights = scores.softmax(-1).to_dtype(value.dtype());
        let weights = weights.reshape(dims![batch, kv_heads, group.clone() * s.clone(), t]);
        let gathered = weights.matmul(&value.permute(&[0, 2, 1, 3]));
        gathered
            .reshape(dims![batch, kv_heads, group, s, value_dim])
            .permute(&[0, 3, 1, 2, 4])
            .reshape(dims![batch, s, heads, value_dim])
    }

    /// Which of the keys, i64 `[t]`, the queries at `positions`, i64 `[batch, s]`, see: bool `[batch, s, t]`; `None` for all of them.
    #[track_caller]
    fn visible(
        &self,
        positions: &Tensor,
        keys: &Tensor,
        mask: Option<&Tensor>,
        near: Option<&Tensor>,
    ) -> Option<Tensor> {
        let positions = positions.unsqueeze(-1);
        let not_later = self.causal.then(|| positions.ge(keys));
        let within = self.window.map(|window| (&positions - keys).lt(window as i64));
        let masked = mask.map(|mask| mask.unsqueeze(1));
        let shown = near.map(|near| near.unsqueeze(0));
        [not_later, within, masked, shown].into_iter().flatten().reduce(|a, b| a.logical_and(&b))
    }
}
