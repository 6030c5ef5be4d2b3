//! What all decoder-only language models have in common: two entries, an output projection, and how a checkpoint names them.
//!
//! - `forward` takes whole sequences: `input_ids`, `attention_mask` and `position_ids`, all i64 `[batch, seq]`, the last two optional;
//!   it gives `logits`, f32 `[batch, seq, vocab]`. This is transformers' `forward` without a cache. For [`Task::Base`] it gives
//!   `last_hidden_state`, f32 `[batch, seq, hidden]`, and there is no `step`.
//! - `step` continues sequences in a cache: `input_ids` i64 `[b, s]`, and for each of the b rows its slot in the cache and the number
//!   of tokens that stand there already, `slots` and `starts`, i64 `[b]`. A negative start says that the row begins with so many
//!   tokens of padding, which nobody sees. Where the rotary embedding follows the length of the sequence, there are `lengths` too, i64
//!   `[b]`: the number of tokens that a row's sequence has in the end of the step or, where the step is one of several that read a
//!   prompt, in the end of the last one; at least 1, and at most twice as many as the cache holds. It gives the `logits` of each row's last
//!   token, f32 `[b, vocab]`, and updates the states `past_key_values.{layer}.key` and `.value`, `[rows, t, kv_heads, head_dim]`.

use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Error, Result, Task, loss};
use kiln_frontend::nn::{Embedding, KvCache, Linear, Past, Positions};
use kiln_frontend::{
    Context, DType, DefaultFill, Dim, Module, Param, ParamSource, Path, Symbol, Tensor, ValueRange, dims,
};

/// The body of a decoder-only language model: from token ids to hidden states.
pub trait Decoder: Module {
    /// What the body is called in a checkpoint of the whole model. In a checkpoint of the body alone its parts have no prefix.
    const NAME: &'static str = "model";
    /// What the output projection is called.
    const HEAD: &'static str = "lm_head";
    /// Ends of the names of tensors that old checkpoints hold and no model reads: what is computed from the config.
    const IGNORED: &'static [&'static str] = &["rotary_emb.inv_freq"];

    /// The embedding of the tokens, which may also be the output projection. One of the module's fields.
    fn embedding(&self) -> &Embedding;

    /// Token ids `[batch, s]` at their positions to hidden states `[batch, s, hidden]` before the last norm; `past` gives each layer's.
    fn forward(&self, cx: &Context, ids: &Tensor, positions: &Positions, past: &dyn Fn(usize) -> Past) -> Tensor;

    /// The last norm of hidden states `[.., hidden]`.
    fn norm(&self, hidden: &Tensor) -> Tensor;

    /// What becomes of the output projection's logits.
    fn finish_logits(&self, logits: Tensor) -> Tensor {
        logits
    }
}

/// What must be known of a model besides its body.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Elements of a hidden state.
    pub hidden_size: usize,
    /// Key/value heads of each layer.
    pub num_key_value_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// Whether the embedding is the output projection.
    pub tie_word_embeddings: bool,
    /// As [`Traced::cache_limit`].
    pub cache_limit: Option<usize>,
}

/// A body, and for [`Task::CausalLm`] the output projection.
struct CausalLm<D> {
    decoder: D,
    lm_head: Option<Linear>,
}

impl<D: Decoder> Module for CausalLm<D> {
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param)) {
        path.field(D::NAME, |path| self.decoder.visit_params(path, visit));
        path.field(D::HEAD, |path| self.lm_head.visit_params(path, visit));
    }

    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param)) {
        path.field(D::NAME, |path| self.decoder.visit_params_mut(path, visit));
        path.field(D::HEAD, |path| self.lm_head.visit_params_mut(path, visit));
    }
}

/// Traces a model: for [`Task::Base`] its body alone, else with the output projection.
///
/// # Errors
/// Options that make no sense, and parameters that do not fit.
pub fn trace<D: Decoder>(
    task: Task,
    decoder: D,
    sizes: &Sizes,
    source: &dyn ParamSource,
    options: &TraceOptions,
) -> Result<Traced> {
    let max_seq = options.max_seq_or(sizes.max_position_embeddings)?;
    // Where the embedding is the output projection, both are the same parameter of the checkpoint.
    let tied = tied_parameters(&decoder, sizes.tie_word_embeddings);
    let checkpoint = Pretrained::new(source, D::NAME).tied(tied);
    let has_head = task != Task::Base;
    if options.training.is_some() && !has_head {
        return Err(Error::NoLoss { task });
    }
    let mut model =
        CausalLm { decoder, lm_head: has_head.then(|| Linear::new(sizes.hidden_size, sizes.vocab_size, false)) };
    let mut unused_tensors = vec![];
    let module = kiln_frontend::trace(|cx| {
        unused_tensors = cx.load(&mut model, &checkpoint, options.parameters());
        match &model.lm_head {
            None => cx.entry("forward", |cx| {
                let hidden = model.whole_sequences(cx, max_seq);
                cx.variants_by_rows(&hidden.shape()[..2]);
                cx.output("last_hidden_state", &hidden.to_dtype(DType::F32));
            }),
            Some(lm_head) => {
                cx.entry("forward", |cx| {
                    let hidden = model.whole_sequences(cx, max_seq);
                    cx.variants_by_rows(&hidden.shape()[..2]);
                    cx.output("logits", &model.logits(lm_head, &hidden));
                });
                if options.training.is_some() {
                    cx.entry("loss", |cx| {
                        let hidden = model.whole_sequences(cx, max_seq);
                        loss::causal_lm(cx, &model.logits(lm_head, &hidden));
                    });
                    return;
                }
                cx.entry("step", |cx| {
                    let last = model.step(cx, sizes, options.dtype, max_seq);
                    cx.output("logits", &model.logits(lm_head, &last));
                });
            }
        }
    })
    .map_err(|error| explained::<D>(task, error))?;
    // A body needs no output projection.
    let head = format!("{}.", D::HEAD);
    let ignored = |n: &str| D::IGNORED.iter().any(|end| n.ends_with(end)) || (!has_head && n.starts_with(&head));
    unused_tensors.retain(|n| !ignored(n));
    Ok(Traced { module, unused_tensors, max_seq, cache_limit: sizes.cache_limit })
}

/// Where the output projection alone is missing, the checkpoint was made for another task, and the message says so.
fn explained<D: Decoder>(task: Task, error: kiln_frontend::Error) -> Error {
    let is_head = |name: &String| name.split('.').next().is_some_and(|first| first == D::HEAD || first == "lm_head");
    match error {
        kiln_frontend::Error::Parameters { missing, mismatched }
            if mismatched.is_empty() && missing.iter().all(is_head) =>
        {
            Error::MissingHead { task, missing }
        }
        other => Error::Trace(other),
    }
}

/// Parameters that are one, each beside the other's name.
fn tied_parameters<D: Decoder>(decoder: &D, tie_word_embeddings: bool) -> Vec<(String, String)> {
    let head = format!("{}.weight", D::HEAD);
    // What transformers calls every model's output projection by now.
    let mut tied = vec![("lm_head.weight".to_string(), head.clone())];
    if tie_word_embeddings {
        let mut path = Path::default();
        path.field(D::NAME, |path| {
            decoder.visit_params(path, &mut |name, param| {
                if std::ptr::eq(param, &decoder.embedding().weight) {
                    tied.push((head.clone(), name.to_string()));
                }
            });
        });
    }
    tied.retain(|(one, other)| one != other);
    tied
}

impl<D: Decoder> CausalLm<D> {
    fn logits(&self, lm_head: &Linear, hidden: &Tensor) -> Tensor {
        self.decoder.finish_logits(lm_head.forward(hidden)).to_dtype(DType::F32)
    }

    /// The inputs of `forward`, and the hidden states of whole sequences after the last norm.
    fn whole_sequences(&self, cx: &Context, max_seq: i64) -> Tensor {
        let batch = cx.symbol("batch", Symbol::batch(1..=64));
        let seq = cx.symbol("seq", 1..=max_seq);
        let shape = dims![batch, seq];
        let input_ids = cx.input("input_ids", DType::I64, &shape);
        let attention_mask = cx.input_or("attention_mask", DType::I64, &shape, DefaultFill::Ones);
        let position_ids = cx.input_or("position_ids", DType::I64, &shape, DefaultFill::Iota);

        let past = Past::None { mask: Some(attention_mask.ne(0)) };
        self.decoder.norm(&self.decoder.forward(cx, &input_ids, &Positions::whole(&position_ids), &|_| past.clone()))
    }

    /// The inputs and states of `step`, and the hidden state of each row's last token after the last norm.
    fn step(&self, cx: &Context, sizes: &Sizes, dtype: DType, max_seq: i64) -> Tensor {
        let b = cx.symbol("b", Symbol::batch(1..=64));
        let s = cx.symbol("s", 1..=max_seq.min(512));
        let rows = cx.symbol("rows", Symbol::batch(1..=64));
        let t = cx.symbol("t", Symbol::context(1..=max_seq));
        let input_ids = cx.input("input_ids", DType::I64, dims![b, s]);
        let slots = cx.input("slots", DType::I64, dims![b]);
        let starts = cx.input("starts", DType::I64, dims![b]);
        cx.variants_by_rows(dims![b, s]);

        // Padding stands before position 0; where it is turned to does not matter.
        let position_ids = (starts.unsqueeze(-1) + cx.arange(&s)).maximum(0);
        let cache = dims![rows, t, sizes.num_key_value_heads, sizes.head_dim];
        let past = |layer| Past::Cache(KvCache::new(cx, layer, dtype, cache.clone(), &slots, &starts));
        // All rows of a generation have the length of the longest, which may have ended when it filled the cache: until another one has
        // filled it too, they go on by as many tokens as it holds, at most.
        let lengths = ValueRange { min: 1.into(), max: t.clone() + t.clone(), distinct: false };
        let positions = Positions::part(cx, &position_ids, &b, lengths);
        let hidden = self.decoder.forward(cx, &input_ids, &positions, &past);
        let last = hidden.narrow(1, s - Dim::from(1), 1).squeeze(1);
        self.decoder.norm(&last)
    }
}
