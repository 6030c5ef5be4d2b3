//! What encoder-decoders have in common: three entries.
//!
//! - `forward` takes whole sequences: `input_ids` and `attention_mask` (ones if left out), i64 `[batch, seq]`, and `decoder_input_ids`, i64
//!   `[batch, decoder_seq]`; it gives `logits`, f32 `[batch, decoder_seq, vocab]`.
//! - `encode` takes the source of each sequence that is to be generated: `input_ids` and `attention_mask`, i64 `[b, source]`, and `slots`, i64
//!   `[b]`. It runs the encoder and leaves in each slot what the decoder needs of it: the states `cross_key_values.{layer}.key` and
//!   `.value`, `[rows, src, heads, head_dim]`, and `cross_attention_mask`, i64 `[rows, src]`.
//! - `step` continues sequences: `input_ids` i64 `[b, s]`, which are the decoder's, and `slots` and `starts`, i64 `[b]`, as [decoders
//!   alone](super::causal_lm) have them. It reads the states that `encode` left in the same slots, gives the `logits` of each row's last token, f32
//!   `[b, vocab]`, and updates the states `past_key_values.{layer}.key` and `.value`, `[rows, t, heads, head_dim]`.

use crate::traced::{TraceOptions, Traced};
use crate::{Error, Result, loss};
use kiln_frontend::nn::{KvCache, Memory, Past};
use kiln_frontend::{Context, DType, DefaultFill, Dim, Module, ParamSource, Symbol, Tensor, dims};

/// An encoder and a decoder.
pub(super) trait EncoderDecoder: Module {
    /// Token ids `[batch, seq]` and a bool mask of that shape, true where there is a token, to hidden states `[batch, seq, hidden]`.
    fn encode(&self, cx: &Context, ids: &Tensor, mask: &Tensor) -> Tensor;

    /// The keys and values `[batch, seq, heads, head_dim]` of the encoder's hidden states in each of the decoder's layers.
    fn cross_key_values(&self, encoded: &Tensor) -> Vec<(Tensor, Tensor)>;

    /// Token ids `[b, s]` at positions `[b, s]` to hidden states `[b, s, hidden]`; each layer has its past, and the encoder's keys and
    /// values.
    fn decode(&self, cx: &Context, ids: &Tensor, position_ids: &Tensor, layers: &[(Past, Memory)]) -> Tensor;

    /// Hidden states `[.., hidden]` to scores of all tokens.
    fn logits(&self, hidden: &Tensor) -> Tensor;
}

/// What [`trace`] must know of a model beside its parts.
pub(super) struct Sizes {
    pub decoder_layers: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub max_seq: i64,
}

/// Traces a model.
///
/// # Errors
/// Parameters that do not fit.
pub(super) fn trace<M: EncoderDecoder>(
    mut model: M,
    sizes: &Sizes,
    source: &dyn ParamSource,
    options: &TraceOptions,
) -> Result<Traced> {
    let (dtype, max_seq) = (options.dtype, sizes.max_seq);
    let mut unused_tensors = vec![];
    let module = kiln_frontend::trace(|cx| {
        unused_tensors = cx.load(&mut model, source, options.parameters());
        cx.entry("forward", |cx| {
            let (rows, logits) = forward(cx, &model, max_seq);
            cx.variants_by_rows(rows);
            cx.output("logits", &logits);
        });
        if options.training.is_some() {
            return cx.entry("loss", |cx| loss::tokens(cx, &forward(cx, &model, max_seq).1));
        }
        cx.entry("encode", |cx| encode(cx, &model, sizes, dtype));
        cx.entry("step", |cx| step(cx, &model, sizes, dtype));
    })
    .map_err(Error::Trace)?;
    Ok(Traced { module, unused_tensors, max_seq, cache_limit: None })
}

/// The inputs of `forward`; gives the axes of the source's rows, and the scores of all tokens.
fn forward(cx: &Context, model: &impl EncoderDecoder, max_seq: i64) -> ([Dim; 2], Tensor) {
    let batch = cx.symbol("batch", Symbol::batch(1..=64));
    let (seq, decoder_seq) = (cx.symbol("seq", 1..=max_seq), cx.symbol("decoder_seq", 1..=max_seq));
    let input_ids = cx.input("input_ids", DType::I64, dims![batch, seq]);
    let mask = cx.input_or("attention_mask", DType::I64, dims![batch, seq], DefaultFill::Ones).ne(0);
    let decoder_input_ids = cx.input("decoder_input_ids", DType::I64, dims![batch, decoder_seq]);

    let hidden = decode_whole(cx, model, [&input_ids, &mask, &decoder_input_ids]);
    (dims![batch, seq], model.logits(&hidden).to_dtype(DType::F32))
}

/// Token ids `[batch, seq]`, their mask, and the decoder's token ids `[batch, decoder_seq]` to the decoder's hidden states
/// `[batch, decoder_seq, hidden]`.
pub(super) fn decode_whole(
    cx: &Context,
    model: &impl EncoderDecoder,
    [input_ids, mask, decoder_input_ids]: [&Tensor; 3],
) -> Tensor {
    let encoded = model.encode(cx, input_ids, mask);
    let layer = |(key, value)| (Past::None { mask: None }, Memory::new(key, value, mask.clone()));
    let layers: Vec<_> = model.cross_key_values(&encoded).into_iter().map(layer).collect();
    let [batch, seq] = decoder_input_ids.dims();
    let position_ids = cx.iota(dims![batch, seq], 1);
    model.decode(cx, decoder_input_ids, &position_ids, &layers)
}

/// The states that `encode` leaves.
struct CrossStates {
    shape: [Dim; 4],
    dtype: DType,
}

impl CrossStates {
    fn new(cx: &Context, sizes: &Sizes, dtype: DType) -> Self {
        let rows = cx.symbol("rows", Symbol::batch(1..=64));
        let src = cx.symbol("src", Symbol::context(1..=sizes.max_seq));
        CrossStates { shape: dims![rows, src, sizes.heads, sizes.head_dim], dtype }
    }

    fn key_value(&self, cx: &Context, layer: usize) -> [Tensor; 2] {
        ["key", "value"].map(|part| cx.state(&format!("cross_key_values.{layer}.{part}"), self.dtype, &self.shape))
    }

    /// 1 where a slot has a token, else 0.
    fn mask(&self, cx: &Context) -> Tensor {
        cx.state("cross_attention_mask", DType::I64, &self.shape[..2])
    }
}

fn encode(cx: &Context, model: &impl EncoderDecoder, sizes: &Sizes, dtype: DType) {
    let b = cx.symbol("b", Symbol::batch(1..=64));
    // Nobody encodes a single token.
    let source = Symbol::length(1..=sizes.max_seq).typically([Symbol::TYPICAL.min(sizes.max_seq)]);
    let source = cx.symbol("source", source);
    let input_ids = cx.input("input_ids", DType::I64, dims![b, source]);
    let mask = cx.input_or("attention_mask", DType::I64, dims![b, source], DefaultFill::Ones).ne(0);
    let slots = cx.input("slots", DType::I64, dims![b]);
    cx.variants_by_rows(dims![b, source]);

    let states = CrossStates::new(cx, sizes, dtype);
    let starts = cx.scalar(DType::I64, 0.0).broadcast_to(dims![b]);
    let encoded = model.encode(cx, &input_ids, &mask);
    for (layer, (key, value)) in model.cross_key_values(&encoded).into_iter().enumerate() {
        let [keys, values] = states.key_value(cx, layer);
        keys.cache_update(&key.to_dtype(dtype), &slots, &starts);
        values.cache_update(&value.to_dtype(dtype), &slots, &starts);
    }
    // A slot may hold a longer source from before: what lies behind this one is hidden.
    let places = cx.arange(&states.shape[1]);
    let within = places.lt(&cx.dim_size(&source));
    let whole = mask.index_select(1, &places).logical_and(&within).to_dtype(DType::I64);
    states.mask(cx).cache_update(&whole, &slots, &starts);
}

fn step(cx: &Context, model: &impl EncoderDecoder, sizes: &Sizes, dtype: DType) {
    let b = cx.symbol("b", Symbol::batch(1..=64));
    let s = cx.symbol("s", 1..=sizes.max_seq.min(512));
    let rows = cx.symbol("rows", Symbol::batch(1..=64));
    let t = cx.symbol("t", Symbol::context(1..=sizes.max_seq));
    let input_ids = cx.input("input_ids", DType::I64, dims![b, s]);
    let slots = cx.input("slots", DType::I64, dims![b]);
    let starts = cx.input("starts", DType::I64, dims![b]);
    cx.variants_by_rows(dims![b, s]);

    let states = CrossStates::new(cx, sizes, dtype);
    let mask = states.mask(cx).index_select(0, &slots).ne(0);
    let cache = dims![rows, t, sizes.heads, sizes.head_dim];
    let layer = |i| {
        let [keys, values] = states.key_value(cx, i);
        let past = Past::Cache(KvCache::new(cx, i, dtype, cache.clone(), &slots, &starts));
        (past, Memory::of_states(keys, values, mask.clone(), &slots, &starts))
    };
    let layers: Vec<_> = (0..sizes.decoder_layers).map(layer).collect();
    // Padding stands before position 0; which position it gets does not matter.
    let position_ids = (starts.unsqueeze(-1) + cx.arange(&s)).maximum(0);
    let hidden = model.decode(cx, &input_ids, &position_ids, &layers);
    let last = hidden.narrow(1, s - Dim::from(1), 1).squeeze(1);
    cx.output("logits", &model.logits(&last).to_dtype(DType::F32));
}
