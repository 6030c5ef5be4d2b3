//! A language model for generation: the signature `step` of an artifact behind [`CausalLm`].
//!
//! `step` takes `input_ids` i64 `[b, s]`, `slots` i64 `[b]` and `starts` i64 `[b]`, gives `logits` f32 `[b, vocab]`, and keeps its
//! cache in states `past_key_values.*` of shape `[rows, context, heads, dim]`.

use crate::executor::{Model, Session, SessionOptions};
use crate::generate::{CausalLm, GenerationConfig, StepError};
use crate::tensor::TensorView;
use crate::{Error, Result};
use kiln_core::{DType, Dim, Plan, Storage};
use std::sync::Arc;

/// The signature that takes a step.
pub const STEP: &str = "step";
/// States whose names begin so are the cache.
pub const CACHE: &str = "past_key_values.";

/// How large the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Sequences at a time.
    pub rows: usize,
    /// Tokens of each; by default as many as the artifact was compiled for.
    pub context: Option<usize>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions { rows: 1, context: None }
    }
}

/// A session that generates.
pub struct CausalSession {
    session: Session,
    vocab_size: usize,
    max_context: usize,
    max_rows: usize,
    max_chunk: usize,
}

impl CausalSession {
    /// A session with an empty cache.
    ///
    /// # Errors
    /// When the artifact has no signature `step` of the form above, or was not compiled for a cache of that size.
    pub fn new(model: &Arc<Model>, options: &CacheOptions) -> Result<Self> {
        let plan = model.plan();
        let signature = plan.signature(STEP).ok_or_else(|| Error::UnknownSignature {
            name: STEP.into(),
            known: plan.signatures.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "),
        })?;
        let wrong = |what: &str, expected: &str, found: String| Error::Plan {
            what: format!("signature `{STEP}`, {what}"),
            expected: expected.into(),
            found,
        };
        let dims = |d: &[Dim]| format!("[{}]", d.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "));
        let logits = signature.outputs.iter().find(|o| o.name == "logits");
        let vocab_size = match logits.map(|o| (o.storage, o.shape.as_slice())) {
            Some((Storage::Dense(DType::F32), [_, vocab])) => vocab.as_const().and_then(|n| usize::try_from(n).ok()),
            _ => None,
        };
        let vocab_size = vocab_size.ok_or_else(|| {
            let found = logits.map_or("none".into(), |o| format!("{} {}", o.storage, dims(&o.shape)));
            wrong("output `logits`", "f32 [b, vocab]", found)
        })?;
        let ids = signature.inputs.iter().find(|i| i.name == "input_ids");
        let Some([batch, chunk]) = ids.map(|i| i.shape.as_slice()) else {
            return Err(wrong("input `input_ids`", "i64 [b, s]", ids.map_or("none".into(), |i| dims(&i.shape))));
        };
        let cache = plan.states.iter().find(|s| s.name.starts_with(CACHE));
        let Some([rows, context, ..]) = cache.map(|s| s.shape.as_slice()) else {
            return Err(wrong("cache", "states `past_key_values.…` [rows, context, …]", "none".into()));
        };
        let mut sizes = vec![];
        let mut fix = |dim: &Dim, size: Option<usize>| {
            if let (Some(symbol), Some(size)) = (dim.as_symbol(), size) {
                sizes.push((symbol.to_string(), i64::try_from(size).unwrap_or(i64::MAX)));
            }
        };
        fix(rows, Some(options.rows));
        fix(context, options.context);
        let session = Session::new(model, &SessionOptions { sizes })?;
        let fixed = |dim: &Dim| {
            let value = dim.eval(&|s| session.fixed_size(s)).map_err(|e| wrong("cache", "a size", e.to_string()))?;
            usize::try_from(value).map_err(|_| wrong("cache", "a size", value.to_string()))
        };
        let (max_rows, max_context) = (fixed(rows)?, fixed(context)?);
        Ok(CausalSession {
            vocab_size,
            max_context,
            max_rows: max_rows.min(largest(plan, batch)),
            max_chunk: largest(plan, chunk),
            session,
        })
    }

    /// A session with the cache rows that so many prompts take under `config`, but no more than the artifact was compiled for: where
    /// they take more, the generation says so.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_prompts(model: &Arc<Model>, prompts: usize, config: &GenerationConfig) -> Result<Self> {
        let plan = model.plan();
        let rows = plan.states.iter().find(|s| s.name.starts_with(CACHE)).and_then(|s| s.shape.first());
        let most = rows.map_or(1, |dim| largest(plan, dim));
        let needed = prompts.saturating_mul(config.rows_per_prompt());
        Self::new(model, &CacheOptions { rows: needed.clamp(1, most), context: None })
    }

    /// The session, to call other signatures, profile or cancel.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn check(&self, tokens: &[i64], seq: usize, slots: &[i64], starts: &[i64]) -> Result<()> {
        let wrong = |input: &str, expected: String, found: String| {
            Err(Error::Input { signature: STEP.into(), input: input.into(), expected, found })
        };
        if let Some(id) = tokens.iter().find(|id| !(0..self.vocab_size as i64).contains(*id)) {
            return wrong("input_ids", format!("token ids below {}", self.vocab_size), id.to_string());
        }
        if let Some(slot) = slots.iter().find(|s| !(0..self.max_rows as i64).contains(*s)) {
            return wrong("slots", format!("slots below {}", self.max_rows), slot.to_string());
        }
        let room = self.max_context as i64 - seq as i64;
        if let Some(start) = starts.iter().find(|s| **s > room) {
            let found = format!("{seq} tokens from {start}");
            return wrong("starts", format!("positions below the context of {}", self.max_context), found);
        }
        Ok(())
    }
}

/// The largest value of a dim, 1 if it has none.
fn largest(plan: &Plan, dim: &Dim) -> usize {
    dim.upper_bound(&plan.symbols).ok().and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
}

impl CausalLm for CausalSession {
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn max_context(&self) -> usize {
        self.max_context
    }

    fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn max_chunk(&self) -> usize {
        self.max_chunk
    }

    fn step(&mut self, tokens: &[i64], seq: usize, slots: &[i64], starts: &[i64]) -> Result<&mut [f32], StepError> {
        self.check(tokens, seq, slots, starts)?;
        let shape = [slots.len(), seq];
        let rows = &shape[..1];
        let inputs = [
            ("input_ids", TensorView::new(&shape, tokens)),
            ("slots", TensorView::new(rows, slots)),
            ("starts", TensorView::new(rows, starts)),
        ];
        let outputs = self.session.call(STEP, &inputs)?;
        // `new` has seen that there is such an output.
        Ok(outputs.into_mut("logits").unwrap_or_default())
    }

    fn copy_slot(&mut self, from: usize, to: usize, len: usize) -> Result<(), StepError> {
        Ok(self.session.copy_state_rows(CACHE, from, to, len)?)
    }
}
