//! fill-mask: what may stand in a text's masked places.

use super::PipelineOptions;
use super::input::{self, Inputs};
use super::save::saved;
use super::scores::{ranking, softmax};
use super::table::{Row, Run, one_or_all};
use super::text_model::{Rows, TextModel};
use crate::{Error, LoadedModel, PretrainedOptions, Result};
use kiln_models::Task;
use kiln_runtime::text::Encoding;
use serde::Serialize;
use serde_json::Value;

const NAME: &str = "fill-mask";

/// A token for a masked place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilledMask {
    /// The token's probability.
    pub score: f32,
    /// Its id.
    pub token: u32,
    /// Its text.
    pub token_str: String,
    /// The text with the token in its place.
    pub sequence: String,
}

/// Fills in masked tokens.
#[derive(Debug)]
pub struct FillMaskPipeline {
    pub(super) text_model: TextModel,
    mask: (u32, String),
}

impl FillMaskPipeline {
    /// Loads a masked language model.
    ///
    /// # Errors
    /// A checkpoint without such a head, without a tokenizer, or whose tokenizer has no mask token.
    pub fn from_pretrained(model: &str, options: &PretrainedOptions) -> Result<Self> {
        let text_model = TextModel::load(model, Task::MaskedLm, options)?;
        let mask = text_model.tokenizer().special_token("mask_token").ok_or_else(|| Error::Pipeline {
            pipeline: NAME,
            reason: format!(
                "the tokenizer of `{model}` has no mask token: expected `mask_token` in tokenizer_config.json"
            ),
        })?;
        Ok(Self { text_model, mask })
    }

    /// The mask token, as it is written in a text.
    pub fn mask_token(&self) -> &str {
        &self.mask.1
    }

    /// For each text and each mask in it, the `top_k` (5) likeliest tokens, or those of `targets`, the likeliest first.
    ///
    /// # Errors
    /// A text without a mask.
    pub fn run(&self, texts: &[String], options: &PipelineOptions) -> Result<Vec<Vec<Vec<FilledMask>>>> {
        let mut encodings = vec![];
        for text in texts {
            let encoding = self.text_model.encode(&[(text, None)], options.tokenizer_kwargs.as_ref())?.swap_remove(0);
            if !encoding.ids.contains(&self.mask.0) {
                let length = self.text_model.max_length();
                return Err(self.error(format!(
                    "expected `{}` among the text's first {length} tokens, found none in `{text}`",
                    self.mask.1
                )));
            }
            encodings.push(encoding);
        }
        let targets = options.targets.as_deref().map(|t| self.targets(t)).transpose()?;
        let rows = self.text_model.forward(&encodings, &["logits"], options.batch_size)?;
        let filled = encodings.iter().zip(&rows);
        filled.map(|(e, r)| self.fill(e, &r[0], targets.as_deref(), options.top_k.unwrap_or(5))).collect()
    }

    fn fill(
        &self,
        encoding: &Encoding,
        logits: &Rows,
        targets: Option<&[u32]>,
        top_k: usize,
    ) -> Result<Vec<Vec<FilledMask>>> {
        let tokenizer = self.text_model.tokenizer();
        let padding = tokenizer.special_token("pad_token").map(|(id, _)| id);
        let single = encoding.ids.iter().filter(|&&id| id == self.mask.0).count() == 1;
        let mut masks = vec![];
        for (place, logits) in logits.iter().enumerate().filter(|(i, _)| encoding.ids[*i] == self.mask.0) {
            let filled = candidates(logits, targets, top_k).into_iter().map(|(token, score)| {
                let mut ids = encoding.ids.clone();
                ids[place] = token;
                ids.retain(|id| Some(*id) != padding);
                // With several masks the others stay, so that the text can be read.
                let sequence = tokenizer.decode(&ids, single)?;
                Ok(FilledMask { score, token, token_str: tokenizer.decode(&[token], false)?, sequence })
            });
            masks.push(filled.collect::<Result<Vec<_>>>()?);
        }
        Ok(masks)
    }

    /// The ids of target tokens: as the vocabulary has them, else the first token of the text, if it has any.
    fn targets(&self, targets: &[String]) -> Result<Vec<u32>> {
        let tokenizer = self.text_model.tokenizer();
        let mut ids = vec![];
        for target in targets {
            let id = match tokenizer.token_to_id(target) {
                Some(id) => Some(id),
                None => tokenizer.encode(target, false)?.first().copied(),
            };
            ids.extend(id);
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Err(self.error(format!("expected at least one target that is a token, found {targets:?}")));
        }
        Ok(ids)
    }

    fn error(&self, reason: String) -> Error {
        Error::Pipeline { pipeline: NAME, reason }
    }
}

saved!(FillMaskPipeline);

/// Its line of the table.
pub(super) const ROW: Row = Row {
    names: &["fill-mask"],
    load: |_, model, options| Ok(Box::new(FillMaskPipeline::from_pretrained(model, options)?)),
};

impl Run for FillMaskPipeline {
    fn name(&self) -> &'static str {
        NAME
    }

    fn model(&self) -> &LoadedModel {
        &self.text_model.model
    }

    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        let results = self.run(&input::texts(NAME, items)?, options)?;
        // A text with one mask has one list of tokens, not a list of lists.
        Ok(results.into_iter().map(one_or_all).collect())
    }

    fn gathered(&self, results: Vec<Value>, _inputs: &Inputs, _options: &PipelineOptions) -> Value {
        // A list of one is as one.
        one_or_all(results)
    }
}

/// The likeliest tokens by logits `[vocab]` with their probabilities, of all or of the targets.
fn candidates(logits: &[f32], targets: Option<&[u32]>, top_k: usize) -> Vec<(u32, f32)> {
    let scores = softmax(logits);
    let ids: Vec<usize> = match targets {
        Some(targets) => targets.iter().map(|&id| id as usize).filter(|&id| id < scores.len()).collect(),
        None => (0..scores.len()).collect(),
    };
    let chosen: Vec<f32> = ids.iter().map(|&id| scores[id]).collect();
    ranking(&chosen).into_iter().take(top_k).map(|i| (ids[i] as u32, chosen[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_keep_their_probability_among_all_tokens() {
        // 1 : 2 : 3 : 4
        let logits = [1f32, 2.0, 3.0, 4.0].map(f32::ln);
        let near = |got: Vec<(u32, f32)>, want: &[(u32, f32)]| {
            assert_eq!(got.len(), want.len(), "{got:?}");
            assert!(got.iter().zip(want).all(|(g, w)| g.0 == w.0 && (g.1 - w.1).abs() < 1e-6), "{got:?}");
        };
        near(candidates(&logits, None, 2), &[(3, 0.4), (2, 0.3)]);
        near(candidates(&logits, Some(&[0, 1]), 5), &[(1, 0.2), (0, 0.1)]);
        near(candidates(&logits, Some(&[2, 99]), 5), &[(2, 0.3)]);
    }
}
