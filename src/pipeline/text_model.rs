//! Texts through a model: tokens, batches padded on the right, and each text's part of what comes out.

use crate::{Error, Pretrained, PretrainedOptions, Result, TensorView};
use kiln_models::Task;
use kiln_runtime::text::{Encoding, Tokenizer, Truncate};
use serde_json::Value;

/// Texts of one pass: enough to keep the machine busy, few enough that padding to the longest costs little.
const BATCH: usize = 16;

/// A model with its tokenizer.
#[derive(Debug)]
pub(super) struct TextModel {
    pub model: Pretrained,
    tokenizer: Tokenizer,
    pad_token_id: u32,
    max_length: usize,
}

/// A text's part of an output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    /// Elements, row by row. Where the output has a row for each token, there are as many rows as the text has tokens.
    pub values: Vec<f32>,
    /// Elements of a row.
    pub width: usize,
}

impl Rows {
    /// The rows one by one.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks(self.width.max(1))
    }
}

impl TextModel {
    pub fn load(name: &str, task: Task, options: &PretrainedOptions) -> Result<Self> {
        let model = Pretrained::load(name, task, options)?;
        let whole = model.tokenizer().ok_or_else(|| Error::NoTokenizer { model: name.into() })?;
        let (_, largest) = model.largest_batch();
        // A limit above what a number holds stands for none.
        let stated = model.tokenizer_config().get("model_max_length").and_then(Value::as_u64);
        let stated = stated.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(usize::MAX);
        let max_length = largest.min(stated).min(positions(model.config()));
        let tokenizer = whole.truncated(max_length, 0, Truncate::LongestFirst)?;
        let from_config =
            || model.config().get("pad_token_id").and_then(Value::as_u64).and_then(|id| id.try_into().ok());
        let pad_token_id = special_token(&model, "pad_token").map(|(id, _)| id).or_else(from_config).unwrap_or(0);
        Ok(TextModel { tokenizer, pad_token_id, max_length, model })
    }

    /// The tokenizer, which cuts texts to [`max_length`](Self::max_length).
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The most tokens of a text, special ones included.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The tokens of a text or of a pair, cut to what the model takes.
    pub fn encode(&self, text: &str, pair: Option<&str>) -> Result<Encoding> {
        Ok(self.tokenizer.encode_pair(text, pair)?.swap_remove(0))
    }

    /// A special token by its name in `tokenizer_config.json`, such as `mask_token`: its id and its text.
    pub fn special_token(&self, name: &str) -> Option<(u32, String)> {
        special_token(&self.model, name)
    }

    /// The outputs of those names for each text: `result[text][output]`.
    pub fn forward(&self, encodings: &[Encoding], outputs: &[&str]) -> Result<Vec<Vec<Rows>>> {
        // A decoder's cache takes a row for each text; padding would not pay.
        let generates = !self.model.model().plan().states.is_empty();
        let rows = if generates { 1 } else { BATCH.min(self.model.largest_batch().0) };
        let mut results = vec![];
        for batch in encodings.chunks(rows.max(1)) {
            self.forward_batch(batch, outputs, &mut results)?;
        }
        Ok(results)
    }

    fn forward_batch(&self, batch: &[Encoding], outputs: &[&str], results: &mut Vec<Vec<Rows>>) -> Result<()> {
        // A tokenizer without special tokens makes nothing of an empty text; the model takes one token at least.
        let seq = batch.iter().map(|e| e.ids.len()).max().unwrap_or(0).max(1);
        let shape = [batch.len(), seq];
        let padded = |row: &dyn Fn(&Encoding) -> Vec<i64>, padding: u32| -> Vec<i64> {
            let rows = batch.iter().map(row);
            rows.flat_map(|row| row.into_iter().chain(std::iter::repeat(i64::from(padding))).take(seq)).collect()
        };
        let ids = padded(&|e| e.ids.iter().map(|&id| id.into()).collect(), self.pad_token_id);
        let mask = padded(&|e| vec![1; e.ids.len()], 0);
        let type_ids = padded(&|e| e.type_ids.iter().map(|&id| id.into()).collect(), 0);
        let mut inputs = vec![("input_ids", TensorView::new(&shape, &ids))];
        for (name, values) in [("attention_mask", &mask), ("token_type_ids", &type_ids)] {
            if self.model.takes(name) {
                inputs.push((name, TensorView::new(&shape, values)));
            }
        }
        let output = self.model.forward(&inputs)?;
        let tensors = outputs.iter().map(|name| output.get(name)).collect::<Result<Vec<_>>>()?;
        let values: Vec<Vec<f32>> = tensors.iter().map(|t| t.to_f32_vec()).collect();
        for (i, encoding) in batch.iter().enumerate() {
            let part = |(tensor, values): (&&kiln_ir::interp::Tensor, &Vec<f32>)| {
                let row = values.len() / batch.len();
                let per_token = tensor.shape().get(1) == Some(&seq) && self.is_per_token(tensor.shape());
                let width = if per_token { row / seq } else { row };
                let kept = if per_token { encoding.ids.len() * width } else { row };
                Rows { values: values[i * row..i * row + kept].to_vec(), width }
            };
            results.push(tensors.iter().zip(&values).map(part).collect());
        }
        Ok(())
    }

    /// Whether an output of that shape has a row for each token: all but those of a whole text, `[batch, labels]` or `[batch, hidden]`.
    fn is_per_token(&self, shape: &[usize]) -> bool {
        shape.len() == 3 || self.model.task() == Task::QuestionAnswering
    }
}

/// The tokens that a model has positions for. RoBERTa's begin after the padding's.
fn positions(config: &Value) -> usize {
    let number = |name: &str| config.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let positions = number("max_position_embeddings").unwrap_or(usize::MAX);
    match config.get("model_type").and_then(Value::as_str) {
        Some("roberta" | "xlm-roberta") => positions.saturating_sub(number("pad_token_id").unwrap_or(1) + 1),
        _ => positions,
    }
}

/// A special token by its name; without a `tokenizer_config.json` that has it, under the texts that are common for it.
fn special_token(model: &Pretrained, name: &str) -> Option<(u32, String)> {
    let tokenizer = model.tokenizer()?;
    let entry = model.tokenizer_config().get(name);
    let stated = entry.and_then(|e| e.as_str().or_else(|| e.get("content")?.as_str()));
    let common: &[&str] = match name {
        "mask_token" => &["[MASK]", "<mask>"],
        "pad_token" => &["[PAD]", "<pad>"],
        "unk_token" => &["[UNK]", "<unk>"],
        _ => &[],
    };
    let texts = stated.into_iter().chain(common.iter().copied());
    texts.filter_map(|text| Some((tokenizer.token_to_id(text)?, text.to_string()))).next()
}
