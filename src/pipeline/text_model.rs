//! Texts through a model: tokens, batches padded on the right, and each text's part of what comes out.

use crate::{Error, Pretrained, PretrainedOptions, Result, TensorView};
use kiln_models::Task;
use kiln_runtime::text::{EncodeOptions, Encoding, Tokenizer, Truncation};
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
        let tokenizer = model.tokenizer().ok_or_else(|| Error::NoTokenizer { model: name.into() })?;
        let (_, largest) = model.largest_batch();
        let stated = tokenizer.model_max_length().unwrap_or(usize::MAX);
        let max_length = largest.min(stated).min(positions(model.config()));
        let from_config =
            || model.config().get("pad_token_id").and_then(Value::as_u64).and_then(|id| id.try_into().ok());
        let pad_token_id = tokenizer.special_token("pad_token").map(|(id, _)| id).or_else(from_config).unwrap_or(0);
        Ok(TextModel { tokenizer: tokenizer.clone(), pad_token_id, max_length, model })
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The most tokens of a text, special ones included.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The tokens of texts or pairs, cut to what the model takes unless the options say how.
    pub fn encode(&self, texts: &[(&str, Option<&str>)], options: Option<&EncodeOptions>) -> Result<Vec<Encoding>> {
        Ok(self.tokenizer.encode_batch(texts, &self.limited(options))?)
    }

    /// As [`encode`](Self::encode), of texts that come as words.
    pub fn encode_words(&self, texts: &[Vec<String>], options: Option<&EncodeOptions>) -> Result<Vec<Encoding>> {
        Ok(self.tokenizer.encode_words(texts, &self.limited(options))?)
    }

    fn limited(&self, options: Option<&EncodeOptions>) -> EncodeOptions {
        let mut options = options.cloned().unwrap_or_default();
        if options.max_length.is_none() {
            options.max_length = Some(self.max_length);
            // What is padded to a multiple may be cut at one only: that is left to the caller.
            if options.pad_to_multiple_of.is_none() {
                options.truncation = options.truncation.or(Some(Truncation::LongestFirst));
            }
        }
        options
    }

    /// The outputs of those names for each text: `result[text][output]`. Texts go through the model by batches of `batch_size`.
    ///
    /// # Errors
    /// A text of more tokens than the model takes.
    pub fn forward(
        &self,
        encodings: &[Encoding],
        outputs: &[&str],
        batch_size: Option<usize>,
    ) -> Result<Vec<Vec<Rows>>> {
        let (most_rows, most_tokens) = self.model.largest_batch();
        if let Some(long) = encodings.iter().find(|e| e.ids.len() > most_tokens) {
            return Err(Error::Option(format!(
                "a text has {} tokens, expected at most {most_tokens}, as many as `{}` takes: give a shorter `max_length` with `truncation`",
                long.ids.len(),
                self.model.name()
            )));
        }
        // A decoder's cache takes a row for each text; padding would not pay.
        let generates = !self.model.model().plan().states.is_empty();
        let rows = if generates { 1 } else { batch_size.unwrap_or(BATCH).min(most_rows) };
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
        let mask = padded(&|e| e.attention_mask.iter().map(|&m| m.into()).collect(), 0);
        let type_ids = padded(&|e| e.type_ids.iter().map(|&id| id.into()).collect(), 0);
        let mut inputs = vec![("input_ids", TensorView::new(&shape, &ids))];
        for (name, values) in [("attention_mask", &mask), ("token_type_ids", &type_ids)] {
            if self.model.takes(name) && self.tokenizer.gives(name) {
                inputs.push((name, TensorView::new(&shape, values)));
            }
        }
        let output = self.model.forward(&inputs)?;
        let tensors = outputs.iter().map(|name| output.get(name)).collect::<Result<Vec<_>>>()?;
        let values: Vec<Vec<f32>> = tensors.iter().map(|t| t.to_f32_vec()).collect();
        for (i, encoding) in batch.iter().enumerate() {
            let part = |(tensor, values): (&TensorView<'_>, &Vec<f32>)| {
                let row = values.len() / batch.len();
                let per_token = tensor.shape.get(1) == Some(&seq) && self.is_per_token(tensor.shape);
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
    let number = |name: &str| config.get(name).and_then(Value::as_i64);
    let positions = number("max_position_embeddings").and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    match config.get("model_type").and_then(Value::as_str) {
        // -1 is no token: positions begin at 0 then.
        Some("roberta" | "xlm-roberta") => {
            let first = number("pad_token_id").unwrap_or(1).saturating_add(1);
            positions.saturating_sub(usize::try_from(first).unwrap_or(0))
        }
        _ => positions,
    }
}
