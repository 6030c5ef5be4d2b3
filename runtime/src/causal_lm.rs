//! A language model for generation: the signatures `step` and, of an encoder-decoder, `encode` of an artifact behind [`CausalLm`].
//!
//! `step` takes `input_ids` i64 `[b, s]`, `slots` i64 `[b]` and `starts` i64 `[b]`, of some models `lengths` i64 `[b]` too, gives `logits`
//! f32 `[b, vocab]`, and keeps its cache in states `past_key_values.*` of shape `[rows, context, heads, dim]`.
//!
//! `encode` takes `input_ids` and `attention_mask`, i64 `[b, source]`, and `slots` i64 `[b]`, and leaves what `step` reads of the source in
//! states `cross_*` of shape `[rows, src, ..]`.

use crate::executor::{Model, Session, SessionOptions};
use crate::generate::{CausalLm, Encoder, GenerationConfig, Prompt, Step, StepError};
use crate::tensor::TensorView;
use crate::{Error, Result, Section};
use kiln_core::{DType, Dim, Plan, Signature, Storage};
use serde::Deserialize;
use std::sync::Arc;

/// The signature that takes a step.
pub const STEP: &str = "step";
/// The signature that takes the sources of an encoder-decoder.
pub const ENCODE: &str = "encode";
/// States whose names begin so are the cache.
pub const CACHE: &str = "past_key_values.";
/// States whose names begin so are what `encode` leaves.
pub const SOURCE: &str = "cross_";
/// The input of token ids, the first of both.
const IDS: &str = "input_ids";
/// The input that says which tokens of a source there are.
const MASK: &str = "attention_mask";
/// The input that names each row's slot of the states.
const SLOTS: &str = "slots";
/// The input of `step` that says how many tokens each row's slot holds.
pub const STARTS: &str = "starts";
/// The input of `step` that not every model has: each row's whole length.
pub const LENGTHS: &str = "lengths";

/// How large the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Sequences at a time.
    pub rows: usize,
    /// Tokens of each; by default as many as the artifact was compiled for.
    pub context: Option<usize>,
    /// Tokens that an encoder-decoder's encoder takes for each; by default as many as the artifact was compiled for.
    pub source: Option<usize>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions { rows: 1, context: None, source: None }
    }
}

/// A session that generates.
pub struct CausalSession {
    session: Session,
    vocab_size: usize,
    max_context: usize,
    max_rows: usize,
    max_chunk: usize,
    /// Whether `step` takes `lengths`.
    takes_lengths: bool,
    encoder: Option<Encoder>,
}

/// What generation asks of a `config.json`.
#[derive(Deserialize)]
struct ModelConfig {
    decoder_start_token_id: Option<u32>,
}

impl CausalSession {
    /// A session with an empty cache.
    ///
    /// # Errors
    /// When the artifact has no signatures of the form above, or was not compiled for a cache of that size.
    pub fn new(model: &Arc<Model>, options: &CacheOptions) -> Result<Self> {
        let plan = model.plan();
        let signature = plan.signature(STEP).ok_or_else(|| Error::UnknownSignature {
            name: STEP.into(),
            known: plan.signatures.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "),
        })?;
        let logits = signature.outputs.iter().find(|o| o.name == "logits");
        let vocab_size = match logits.map(|o| (o.storage, o.shape.as_slice())) {
            Some((Storage::Dense(DType::F32), [_, vocab])) => vocab.as_const().and_then(|n| usize::try_from(n).ok()),
            _ => None,
        };
        let vocab_size = vocab_size.ok_or_else(|| {
            let found = logits.map_or("none".into(), |o| format!("{} {}", o.storage, dims(&o.shape)));
            wrong("output `logits`", "f32 [b, vocab]", found)
        })?;
        let ids = signature.inputs.iter().find(|i| i.name == IDS);
        let Some([batch, chunk]) = ids.map(|i| i.shape.as_slice()) else {
            return Err(wrong("input `input_ids`", "i64 [b, s]", ids.map_or("none".into(), |i| dims(&i.shape))));
        };
        let takes_lengths = signature.inputs.iter().any(|i| i.name == LENGTHS);
        let cache = plan.states.iter().find(|s| s.name.starts_with(CACHE));
        let Some([rows, context, ..]) = cache.map(|s| s.shape.as_slice()) else {
            return Err(wrong("cache", "states `past_key_values.…` [rows, context, …]", "none".into()));
        };
        let source = match plan.signature(ENCODE) {
            Some(encode) => Some(source_dims(plan, encode)?),
            None => None,
        };
        let mut sizes = vec![];
        let mut fix = |dim: &Dim, size: Option<usize>| {
            if let (Some(symbol), Some(size)) = (dim.as_symbol(), size) {
                sizes.push((symbol.to_string(), i64::try_from(size).unwrap_or(i64::MAX)));
            }
        };
        fix(rows, Some(options.rows));
        fix(context, options.context);
        if let Some((_, kept)) = source {
            fix(kept, options.source);
        }
        let session = Session::new(model, &SessionOptions { sizes })?;
        let fixed = |dim: &Dim| {
            let value = dim.eval(&|s| session.fixed_size(s)).map_err(|e| wrong("cache", "a size", e.to_string()))?;
            usize::try_from(value).map_err(|_| wrong("cache", "a size", value.to_string()))
        };
        let (max_rows, max_context) = (fixed(rows)?, fixed(context)?);
        let encoder = match source {
            Some((taken, kept)) => Some(Encoder {
                max_source: fixed(kept)?.min(largest(plan, taken)),
                decoder_start_token_id: decoder_start(model)?,
            }),
            None => None,
        };
        Ok(CausalSession {
            vocab_size,
            max_context,
            max_rows: max_rows.min(largest(plan, batch)),
            max_chunk: largest(plan, chunk),
            takes_lengths,
            encoder,
            session,
        })
    }

    /// A session with the cache that `prompts` take under `config`, but no larger than the artifact was compiled for: where they take
    /// more, the generation says so.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_prompts(model: &Arc<Model>, prompts: &[Prompt], config: &GenerationConfig) -> Result<Self> {
        let plan = model.plan();
        let rows = prompts.len().saturating_mul(config.rows_per_prompt());
        // The decoder looks at all of it, so no more than is needed.
        let source = prompts.iter().map(|prompt| prompt.tokens().len()).max().unwrap_or(0);
        let options = CacheOptions {
            rows: rows.min(largest_of(plan, CACHE, 0)).max(1),
            context: None,
            source: Some(source.min(largest_of(plan, SOURCE, 1)).max(1)),
        };
        Self::new(model, &options)
    }

    /// The session, to call other signatures, profile or cancel.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// The most tokens of a prompt that a model takes: of a source, where it has an encoder, else of the cache.
pub fn longest_prompt(model: &Model) -> usize {
    let plan = model.plan();
    match plan.signature(ENCODE).map(|encode| source_dims(plan, encode)) {
        Some(Ok((taken, _))) => largest(plan, taken).min(largest_of(plan, SOURCE, 1)),
        _ => largest_of(plan, CACHE, 1),
    }
}

/// How many tokens of a source `encode` takes, and how many the states keep.
fn source_dims<'p>(plan: &'p Plan, encode: &'p Signature) -> Result<(&'p Dim, &'p Dim)> {
    let ids = encode.inputs.iter().find(|i| i.name == IDS);
    let states = plan.states.iter().find(|s| s.name.starts_with(SOURCE));
    match (ids.map(|i| i.shape.as_slice()), states.map(|s| s.shape.as_slice())) {
        (Some([_, taken]), Some([_, kept, ..])) => Ok((taken, kept)),
        (ids, states) => Err(Error::Plan {
            what: format!("signature `{ENCODE}`"),
            expected: "input `input_ids` [b, source] and states `cross_…` [rows, src, …]".into(),
            found: format!("{} and {}", ids.map_or("none".into(), dims), states.map_or("none".into(), dims)),
        }),
    }
}

/// `decoder_start_token_id` of the artifact's `config.json`.
fn decoder_start(model: &Model) -> Result<Option<u32>> {
    let artifact = model.artifact();
    let Some(json) = artifact.section(Section::Config) else { return Ok(None) };
    let config: ModelConfig = serde_json::from_slice(json).map_err(|e| Error::Malformed {
        file: artifact.name().into(),
        section: Section::Config.name().into(),
        reason: e.to_string(),
    })?;
    Ok(config.decoder_start_token_id)
}

fn wrong(what: &str, expected: &str, found: String) -> Error {
    Error::Plan { what: format!("signature `{STEP}`, {what}"), expected: expected.into(), found }
}

fn dims(shape: &[Dim]) -> String {
    format!("[{}]", shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}

/// The largest value of a dim, 1 if it has none.
fn largest(plan: &Plan, dim: &Dim) -> usize {
    dim.upper_bound(&plan.symbols).ok().and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
}

/// The largest size of an axis of the states whose names begin so, 1 without any.
fn largest_of(plan: &Plan, states: &str, axis: usize) -> usize {
    let state = plan.states.iter().find(|s| s.name.starts_with(states));
    state.and_then(|s| s.shape.get(axis)).map_or(1, |dim| largest(plan, dim))
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

    fn cache_limit(&self) -> Option<usize> {
        self.session.model().artifact().manifest().model.cache_limit
    }

    fn step(&mut self, step: Step<'_>) -> Result<&mut [f32], StepError> {
        let Step { tokens, seq, slots, starts, lengths } = step;
        let shape = [slots.len(), seq];
        let rows = &shape[..1];
        let inputs = [
            (IDS, TensorView::new(&shape, tokens)),
            (SLOTS, TensorView::new(rows, slots)),
            (STARTS, TensorView::new(rows, starts)),
            (LENGTHS, TensorView::new(rows, lengths)),
        ];
        let inputs = if self.takes_lengths { &inputs[..] } else { &inputs[..3] };
        let outputs = self.session.call(STEP, inputs)?;
        // `new` has seen that there is such an output.
        Ok(outputs.into_mut("logits").unwrap_or_default())
    }

    fn copy_slot(&mut self, from: usize, to: usize, len: usize) -> Result<(), StepError> {
        Ok(self.session.copy_state_rows(CACHE, from, to, len)?)
    }

    fn encoder(&self) -> Option<Encoder> {
        self.encoder
    }

    fn encode(&mut self, tokens: &[i64], mask: &[i64], seq: usize, slots: &[i64]) -> Result<(), StepError> {
        let max_source = self.encoder.map_or(0, |encoder| encoder.max_source);
        if seq > max_source {
            return Err(Box::new(Error::Input {
                signature: ENCODE.into(),
                input: IDS.into(),
                expected: format!("at most {max_source} tokens"),
                found: seq.to_string(),
            }));
        }
        let shape = [slots.len(), seq];
        let inputs = [
            (IDS, TensorView::new(&shape, tokens)),
            (MASK, TensorView::new(&shape, mask)),
            (SLOTS, TensorView::new(&shape[..1], slots)),
        ];
        self.session.call(ENCODE, &inputs)?;
        Ok(())
    }

    fn copy_source(&mut self, from: usize, to: usize) -> Result<(), StepError> {
        let max_source = self.encoder.map_or(0, |encoder| encoder.max_source);
        Ok(self.session.copy_state_rows(SOURCE, from, to, max_source)?)
    }
}
