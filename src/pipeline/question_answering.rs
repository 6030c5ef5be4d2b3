//! question-answering: where in a context the answer to a question stands.
//!
//! A context that is too long goes through the model in pieces that overlap. In each piece every span of tokens has the product of the
//! probabilities that it begins and ends there; spans of one text count together.

use super::PipelineOptions;
use super::input::{self, Inputs};
use super::save::saved;
use super::scores::softmax;
use super::table::{Row, Run, one_or_all};
use super::text_model::{Rows, TextModel};
use crate::{Error, LoadedModel, PretrainedOptions, Result};
use kiln_models::Task;
use kiln_runtime::text::{EncodeOptions, Encoding, Side, Truncation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const NAME: &str = "question-answering";

/// A question and the text that holds its answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The question.
    pub question: String,
    /// The text.
    pub context: String,
}

/// A part of a context.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Its probability.
    pub score: f32,
    /// Where it begins in the context, in characters.
    pub start: usize,
    /// Where it ends in the context, in characters.
    pub end: usize,
    /// Its text; empty for "no answer".
    pub answer: String,
}

/// Answers questions out of texts.
#[derive(Debug)]
pub struct QuestionAnsweringPipeline {
    pub(super) text_model: TextModel,
}

impl QuestionAnsweringPipeline {
    /// Loads a model that finds answers.
    ///
    /// # Errors
    /// A checkpoint without such a head or without a tokenizer, or whatever is wrong with its files.
    pub fn from_pretrained(model: &str, options: &PretrainedOptions) -> Result<Self> {
        Ok(Self { text_model: TextModel::load(model, Task::QuestionAnswering, options)? })
    }

    /// The likeliest answers to each question: `top_k` of them, one by default.
    ///
    /// # Errors
    /// An empty question or context, or lengths that leave no room for the context.
    pub fn run(&self, questions: &[Question], options: &PipelineOptions) -> Result<Vec<Vec<Answer>>> {
        questions.iter().map(|question| self.answer(question, options)).collect()
    }

    fn answer(&self, question: &Question, options: &PipelineOptions) -> Result<Vec<Answer>> {
        let error = |reason: String| Err(Error::Pipeline { pipeline: NAME, reason });
        for (field, text) in [("question", &question.question), ("context", &question.context)] {
            if text.is_empty() {
                return error(format!("expected a {field}, found an empty text"));
            }
        }
        let (top_k, max_answer_len) = (options.top_k.unwrap_or(1), options.max_answer_len.unwrap_or(15));
        if top_k == 0 || max_answer_len == 0 {
            return error(format!(
                "expected at least 1 for top_k and max_answer_len, found {top_k} and {max_answer_len}"
            ));
        }
        let max_seq_len = options.max_seq_len.unwrap_or(384.min(self.text_model.max_length()));
        let doc_stride = options.doc_stride.unwrap_or(128.min(max_seq_len / 2));
        if doc_stride > max_seq_len {
            return error(format!("expected a doc_stride of at most max_seq_len, {max_seq_len}, found {doc_stride}"));
        }
        let tokenizer = self.text_model.tokenizer();
        let question_first = tokenizer.padding_side() == Side::Right;
        let (texts, truncation) = match question_first {
            true => ((question.question.as_str(), Some(question.context.as_str())), Truncation::OnlySecond),
            false => ((question.context.as_str(), Some(question.question.as_str())), Truncation::OnlyFirst),
        };
        let pieces = EncodeOptions {
            truncation: Some(truncation),
            max_length: Some(max_seq_len),
            stride: doc_stride,
            return_overflowing_tokens: true,
            ..EncodeOptions::default()
        };
        let encodings = self.text_model.encode(&[texts], Some(&pieces))?;
        let rows = self.text_model.forward(&encodings, &["start_logits", "end_logits"], options.batch_size)?;

        let cls = tokenizer.special_token("cls_token").map(|(id, _)| id);
        let align_to_words = options.align_to_words.unwrap_or(true);
        // Aligned to words, several spans may become one.
        let spans_of_piece = if align_to_words { top_k.saturating_mul(2).saturating_add(10) } else { top_k };
        let mut answers = Answers { context: question.context.chars().collect(), found: vec![] };
        let mut null_score = f32::INFINITY;
        for (encoding, rows) in encodings.iter().zip(&rows) {
            let context = usize::from(question_first);
            let allowed: Vec<bool> = (encoding.ids.iter().zip(&encoding.sequence_ids))
                .map(|(id, sequence)| *sequence == Some(context) || Some(*id) == cls)
                .collect();
            let [start, end] = [&rows[0], &rows[1]].map(|logits| probabilities(logits, &allowed));
            let null = |p: &[f32]| p.first().copied().unwrap_or(0.0);
            null_score = null_score.min(null(&start) * null(&end));
            for (first, last, score) in spans(&start, &end, max_answer_len, spans_of_piece) {
                let (from, to) = characters(encoding, first, last, context, align_to_words);
                answers.add(from, to, score);
            }
        }
        let mut answers = answers.found;
        if options.handle_impossible_answer {
            answers.push(Answer { score: null_score, start: 0, end: 0, answer: String::new() });
        }
        answers.sort_by(|a, b| b.score.total_cmp(&a.score));
        answers.truncate(top_k);
        Ok(answers)
    }
}

saved!(QuestionAnsweringPipeline);

/// Its line of the table.
pub(super) const ROW: Row = Row {
    names: &["question-answering"],
    load: |_, model, options| Ok(Box::new(QuestionAnsweringPipeline::from_pretrained(model, options)?)),
};

impl Run for QuestionAnsweringPipeline {
    fn name(&self) -> &'static str {
        NAME
    }

    fn model(&self) -> &LoadedModel {
        &self.text_model.model
    }

    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        let questions: Vec<Question> = input::all(NAME, items, "an object with `question` and `context`")?;
        Ok(self.run(&questions, options)?.into_iter().map(one_or_all).collect())
    }

    fn several(&self, input: &Value, _options: &PipelineOptions) -> Option<Vec<Value>> {
        input::questions(input)
    }

    fn gathered(&self, results: Vec<Value>, _inputs: &Inputs, _options: &PipelineOptions) -> Value {
        // A list of one is as one.
        one_or_all(results)
    }
}

/// Softmax over the tokens that an answer may hold; the others have 0.
fn probabilities(logits: &Rows, allowed: &[bool]) -> Vec<f32> {
    let masked: Vec<f32> =
        logits.values.iter().zip(allowed).map(|(x, allowed)| if *allowed { *x } else { f32::NEG_INFINITY }).collect();
    softmax(&masked)
}

/// The likeliest spans of at most `longest` tokens, the first token of all (no answer) left out: begin, end and probability, the likeliest first.
fn spans(start: &[f32], end: &[f32], longest: usize, top_k: usize) -> Vec<(usize, usize, f32)> {
    let mut spans = vec![];
    for (first, p) in start.iter().enumerate().skip(1) {
        for (last, q) in end.iter().enumerate().skip(first).take(longest) {
            if p * q > 0.0 {
                spans.push((first, last, p * q));
            }
        }
    }
    spans.sort_by(|a, b| b.2.total_cmp(&a.2));
    spans.truncate(top_k);
    spans
}

/// Where a span of tokens stands in the context, in characters; with `align_to_words`, widened to whole words.
fn characters(encoding: &Encoding, first: usize, last: usize, context: usize, align_to_words: bool) -> (usize, usize) {
    let word = |token: usize| -> Option<(usize, usize)> {
        let word = encoding.word_ids[token]?;
        let is_of_word = |i: &usize| encoding.sequence_ids[*i] == Some(context) && encoding.word_ids[*i] == Some(word);
        let mut tokens = (0..encoding.ids.len()).filter(is_of_word);
        let first = tokens.next()?;
        Some((encoding.offsets[first].0, encoding.offsets[tokens.next_back().unwrap_or(first)].1))
    };
    let words = if align_to_words { word(first).zip(word(last)) } else { None };
    let (first, last) = words.unwrap_or((encoding.offsets[first], encoding.offsets[last]));
    (first.0, last.1)
}

/// Answers, those of the same text together.
struct Answers {
    context: Vec<char>,
    found: Vec<Answer>,
}

impl Answers {
    fn add(&mut self, start: usize, end: usize, score: f32) {
        let answer: String = self.context.get(start..end).unwrap_or_default().iter().collect();
        let lower = answer.to_lowercase();
        match self.found.iter_mut().find(|a| a.answer.to_lowercase() == lower) {
            Some(same) => same.score += score,
            None => self.found.push(Answer { score, start, end, answer }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_ranked_and_bounded() {
        let (start, end) = ([0.9, 0.5, 0.1, 0.0], [0.9, 0.1, 0.2, 0.7]);
        let ranked: Vec<_> = spans(&start, &end, 2, 3).iter().map(|s| (s.0, s.1)).collect();
        assert_eq!(ranked, [(1, 2), (2, 3), (1, 1)], "0.1, 0.07, 0.05; (1, 3) is too long, 0 is no answer");
    }

    #[test]
    fn answers_of_the_same_text_count_together() {
        let mut answers = Answers { context: "The cat and the Cat".chars().collect(), found: vec![] };
        answers.add(4, 7, 0.25);
        answers.add(16, 19, 0.5);
        answers.add(0, 3, 0.125);
        let found: Vec<_> = answers.found.iter().map(|a| (a.answer.as_str(), a.start, a.score)).collect();
        assert_eq!(found, [("cat", 4, 0.75), ("The", 0, 0.125)]);
    }

    #[test]
    fn tokens_widen_to_words() {
        // [CLS] q | one two-token word, one more
        let encoding = Encoding {
            ids: vec![0, 5, 6, 7, 8],
            sequence_ids: vec![None, Some(0), Some(1), Some(1), Some(1)],
            word_ids: vec![None, Some(0), Some(0), Some(0), Some(1)],
            offsets: vec![(0, 0), (0, 1), (0, 3), (3, 5), (6, 9)],
            ..Encoding::default()
        };
        assert_eq!(characters(&encoding, 3, 4, 1, true), (0, 9));
        assert_eq!(characters(&encoding, 3, 4, 1, false), (3, 9));
        assert_eq!(characters(&encoding, 0, 3, 1, true), (0, 5), "special tokens are of no word");
    }
}
