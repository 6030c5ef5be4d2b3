//! Parts that several encoders are made of: embeddings, the layers of BERT, and heads.

use super::bert_config::BertConfig;
use crate::Task;
use crate::sentence::Pooling;
use kiln_frontend::nn::{Activation, Attention, Embedding, LayerNorm, Linear, Past};
use kiln_frontend::{Module, Param, Path, Tensor, dims};

/// The sum of a token's word, position and token type embeddings, normalised.
#[derive(Debug, Module)]
pub(super) struct Embeddings {
    pub word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    #[module(rename = "LayerNorm")]
    layer_norm: LayerNorm,
}

impl Embeddings {
    pub fn new(c: &BertConfig) -> Self {
        Embeddings {
            word_embeddings: Embedding::new(c.vocab_size, c.embedding_size),
            position_embeddings: Embedding::new(c.max_position_embeddings, c.embedding_size),
            token_type_embeddings: Embedding::new(c.type_vocab_size, c.embedding_size),
            layer_norm: LayerNorm::new(c.embedding_size, c.layer_norm_eps),
        }
    }

    /// i64 `[batch, seq]`, three times, to `[batch, seq, embedding]`.
    pub fn forward(&self, ids: &Tensor, position_ids: &Tensor, token_type_ids: &Tensor) -> Tensor {
        let sum = self.word_embeddings.forward(ids)
            + self.token_type_embeddings.forward(token_type_ids)
            + self.position_embeddings.forward(position_ids);
        self.layer_norm.forward(&sum)
    }
}

/// BERT's stack of layers.
#[derive(Debug, Module)]
pub(super) struct Layers {
    layer: Vec<Layer>,
}

#[derive(Debug, Module)]
struct Layer {
    attention: LayerAttention,
    intermediate: Intermediate,
    output: Output,
}

#[derive(Debug, Module)]
struct LayerAttention {
    #[module(rename = "self")]
    projections: Projections,
    output: Output,
}

#[derive(Debug, Module)]
struct Projections {
    query: Linear,
    key: Linear,
    value: Linear,
    heads: usize,
}

#[derive(Debug, Module)]
struct Intermediate {
    dense: Linear,
    #[module(skip)]
    activation: Activation,
}

#[derive(Debug, Module)]
struct Output {
    dense: Linear,
    #[module(rename = "LayerNorm")]
    layer_norm: LayerNorm,
}

impl Layers {
    pub fn new(c: &BertConfig) -> Self {
        let square = || Linear::new(c.hidden_size, c.hidden_size, true);
        let output = |inputs| Output {
            dense: Linear::new(inputs, c.hidden_size, true),
            layer_norm: LayerNorm::new(c.hidden_size, c.layer_norm_eps),
        };
        let layer = |_| Layer {
            attention: LayerAttention {
                projections: Projections {
                    query: square(),
                    key: square(),
                    value: square(),
                    heads: c.num_attention_heads,
                },
                output: output(c.hidden_size),
            },
            intermediate: Intermediate {
                dense: Linear::new(c.hidden_size, c.intermediate_size, true),
                activation: c.hidden_act.into(),
            },
            output: output(c.intermediate_size),
        };
        Layers { layer: (0..c.num_hidden_layers).map(layer).collect() }
    }

    /// `[batch, seq, hidden]` to the same.
    pub fn forward(&self, hidden: Tensor, mask: &Tensor) -> Tensor {
        let cx = hidden.context().clone();
        self.layer.iter().fold(hidden, |hidden, layer| cx.block("layer", || layer.forward(&hidden, mask)))
    }
}

impl Layer {
    fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        let p = &self.attention.projections;
        let attended = self_attention([&p.query, &p.key, &p.value].map(|l| l.forward(x)), p.heads, mask);
        let x = self.attention.output.forward(&attended, x);
        let inner = self.intermediate.activation.forward(&self.intermediate.dense.forward(&x));
        self.output.forward(&inner, &x)
    }
}

impl Output {
    fn forward(&self, x: &Tensor, residual: &Tensor) -> Tensor {
        self.layer_norm.forward(&(self.dense.forward(x) + residual))
    }
}

/// Attention of a sequence to its own tokens: queries, keys and values, `[batch, seq, hidden]`, to the same.
pub(super) fn self_attention(projected: [Tensor; 3], heads: usize, mask: &Tensor) -> Tensor {
    let [q, k, v] = projected.map(|x| split_heads(&x, heads));
    let (attention, past) = attention_to_all(&q, mask);
    attention.forward(&q, &k, &v, &past).flatten(2, 3)
}

/// Attention of queries `[batch, seq, heads, dim]` to each token that the mask shows.
pub(super) fn attention_to_all(query: &Tensor, mask: &Tensor) -> (Attention, Past) {
    let scale = query.dim(-1).as_const().map_or(1.0, |dim| (dim as f64).powf(-0.5));
    (Attention { scale, causal: false, window: None }, Past::None { mask: Some(mask.clone()) })
}

/// `[batch, seq, hidden]` to `[batch, seq, heads, dim]`.
pub(super) fn split_heads(x: &Tensor, heads: usize) -> Tensor {
    let [batch, seq, _] = x.dims();
    x.reshape(dims![batch, seq, heads, -1])
}

/// The first token's hidden state through a layer: `[batch, seq, hidden]` to `[batch, hidden]`.
#[derive(Debug, Module)]
pub(super) struct Pooler {
    dense: Linear,
}

impl Pooler {
    pub fn new(hidden: usize) -> Self {
        Pooler { dense: Linear::new(hidden, hidden, true) }
    }

    pub fn forward(&self, hidden: &Tensor, mask: &Tensor) -> Tensor {
        self.dense.forward(&Pooling::Cls.forward(hidden, mask)).tanh()
    }
}

/// The head that classifies texts or tokens, where one is unlike the other.
#[derive(Debug)]
pub(super) enum Classifier {
    Text(ClassificationHead),
    Tokens(Linear),
}

/// Two layers over the first token's hidden state.
#[derive(Debug, Module)]
pub(super) struct ClassificationHead {
    dense: Linear,
    out_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Classifier {
    /// `None` for a task that classifies nothing.
    pub fn new(task: Task, hidden: usize, labels: usize, activation: Activation) -> Option<Self> {
        let out_proj = Linear::new(hidden, labels, true);
        match task {
            Task::SequenceClassification => {
                let dense = Linear::new(hidden, hidden, true);
                Some(Classifier::Text(ClassificationHead { dense, out_proj, activation }))
            }
            Task::TokenClassification => Some(Classifier::Tokens(out_proj)),
            _ => None,
        }
    }

    /// `[batch, seq, hidden]` to `[batch, labels]` or `[batch, seq, labels]`.
    pub fn forward(&self, hidden: &Tensor, mask: &Tensor) -> Tensor {
        match self {
            Classifier::Text(head) => {
                let x = head.activation.forward(&head.dense.forward(&Pooling::Cls.forward(hidden, mask)));
                head.out_proj.forward(&x)
            }
            Classifier::Tokens(head) => head.forward(hidden),
        }
    }
}

impl Module for Classifier {
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param)) {
        match self {
            Classifier::Text(head) => head.visit_params(path, visit),
            Classifier::Tokens(head) => head.visit_params(path, visit),
        }
    }

    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param)) {
        match self {
            Classifier::Text(head) => head.visit_params_mut(path, visit),
            Classifier::Tokens(head) => head.visit_params_mut(path, visit),
        }
    }
}
