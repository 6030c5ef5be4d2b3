//! Sentence embeddings, as sentence-transformers defines them: what becomes of a text's hidden states to be one vector.

use crate::config::Fields;
use crate::{Error, Result};
use kiln_frontend::{DType, Tensor};
use serde_json::Value;

/// The modules that a sentence-transformers model has after its transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentenceEmbedding {
    /// How tokens become one vector; with several ways, their vectors stand one after the other. At least one.
    pub pooling: Vec<Pooling>,
    /// Whether the vector is brought to length 1.
    pub normalize: bool,
}

/// A way from the tokens of a text to one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first token.
    Cls,
    /// The largest value of each element.
    Max,
    /// The mean.
    Mean,
    /// The sum, over the root of the number of tokens.
    MeanSqrtLen,
}

/// In the order in which several are concatenated: their names, and their switches in older files.
const POOLINGS: [(&str, &str, Pooling); 4] = [
    ("cls", "pooling_mode_cls_token", Pooling::Cls),
    ("max", "pooling_mode_max_tokens", Pooling::Max),
    ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
    ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
];
const SUPPORTED: &str = "cls, max, mean or mean_sqrt_len_tokens";

impl SentenceEmbedding {
    /// Reads the entries of a `modules.json`, each with the contents of its folder's `config.json` as `config`.
    ///
    /// # Errors
    /// [`Error::InvalidField`] for modules and ways of pooling that are not supported, and for what is no such file.
    pub fn from_json(modules: &Value) -> Result<SentenceEmbedding> {
        let refused = |expected: &str, found: &Value| Error::InvalidField {
            model_type: "sentence-transformers",
            field: "type of a module in modules.json".to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
        };
        let all = modules.as_array().ok_or_else(|| refused("a list of modules", modules))?;
        let mut embedding = SentenceEmbedding { pooling: vec![], normalize: false };
        for (i, module) in all.iter().enumerate() {
            // The last part of a Python path such as `sentence_transformers.models.Pooling`.
            let kind = module["type"].as_str().and_then(|path| path.rsplit('.').next());
            match (i, kind) {
                (0, Some("Transformer")) => {}
                (1, Some("Pooling")) => embedding.pooling = poolings(&module["config"])?,
                (2.., Some("Normalize")) => embedding.normalize = true,
                _ => {
                    return Err(refused("Transformer, then Pooling, then perhaps Normalize", &module["type"]));
                }
            }
        }
        match embedding.pooling.is_empty() {
            true => Err(refused("Transformer, then Pooling", modules)),
            false => Ok(embedding),
        }
    }

    /// Hidden states `[batch, seq, hidden]` and a bool mask `[batch, seq]`, true where there is a token, to f32
    /// `[batch, hidden]` (times the number of poolings).
    #[track_caller]
    pub fn forward(&self, hidden: &Tensor, mask: &Tensor) -> Tensor {
        let hidden = hidden.to_dtype(DType::F32);
        let pooled: Vec<Tensor> = self.pooling.iter().map(|pooling| pooling.forward(&hidden, mask)).collect();
        let embedding = match &pooled[..] {
            [one] => one.clone(),
            [first, rest @ ..] => first.cat(&rest.iter().collect::<Vec<_>>(), -1),
            [] => {
                hidden.context().fail("a sentence embedding needs a way of pooling");
                return hidden;
            }
        };
        match self.normalize {
            true => &embedding / (&embedding * &embedding).sum_keepdim(-1).sqrt().maximum(1e-12),
            false => embedding,
        }
    }
}

impl Pooling {
    /// `[batch, seq, hidden]` and a bool mask `[batch, seq]` to `[batch, hidden]`.
    #[track_caller]
    pub(crate) fn forward(self, hidden: &Tensor, mask: &Tensor) -> Tensor {
        let seen = mask.unsqueeze(-1);
        let weight = seen.to_dtype(hidden.dtype());
        let sum = || (hidden * &weight).sum(1);
        // A text without tokens gives zeros.
        let count = || weight.sum(1).maximum(1e-9);
        match self {
            Pooling::Cls => hidden.narrow(1, 0, 1).squeeze(1),
            Pooling::Max => seen.where_cond(hidden, -1e9).max(1),
            Pooling::Mean => sum() / count(),
            Pooling::MeanSqrtLen => sum() / count().sqrt(),
        }
    }
}

/// `pooling_mode`, a name or a list of them, or a switch for each of them.
fn poolings(config: &Value) -> Result<Vec<Pooling>> {
    let fields = Fields::of("sentence-transformers", config)?;
    let named = match fields.get("pooling_mode") {
        Some(Value::Array(names)) => names.iter().collect(),
        Some(name) => vec![name],
        None => return switched(&fields),
    };
    let found = |name: &&Value| POOLINGS.iter().find(|(n, ..)| name.as_str() == Some(n)).map(|(.., pooling)| *pooling);
    named.iter().map(|name| found(name).ok_or_else(|| fields.invalid("pooling_mode", SUPPORTED, name))).collect()
}

fn switched(fields: &Fields) -> Result<Vec<Pooling>> {
    for other in ["pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"] {
        if fields.bool(other, false)? {
            return Err(fields.invalid(other, &format!("false, since pooling is by {SUPPORTED}"), &Value::Bool(true)));
        }
    }
    let mut on = vec![];
    for (_, switch, pooling) in POOLINGS {
        if fields.bool(switch, pooling == Pooling::Mean)? {
            on.push(pooling);
        }
    }
    match on.is_empty() {
        true => Err(fields.contradictory("no way of pooling is switched on".to_string())),
        false => Ok(on),
    }
}
