//! token-classification: names and the like in a text.
//!
//! The meaning of the strategies is transformers': labels may begin with `B-` and `I-`, a word is a token with those that continue it.

use super::save::saved;
use super::scores::{best, softmax};
use super::table::{Row, Run, values};
use super::text_model::TextModel;
use super::{AggregationStrategy, PipelineOptions, input};
use crate::{Error, LoadedModel, PretrainedOptions, Result};
use kiln_models::Task;
use kiln_runtime::text::{EncodeOptions, Encoding, Tokenizer, Truncation};
use serde::Serialize;
use serde_json::Value;

const NAME: &str = "token-classification";

/// A token or a group of tokens with its class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entity {
    /// The class of a token; without aggregation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The class of a group, without `B-` and `I-`; with aggregation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_group: Option<String>,
    /// The probability of the class, the mean over a group.
    pub score: f32,
    /// The token's place, special tokens counted; without aggregation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The token as the vocabulary has it, or the group's text.
    pub word: String,
    /// Where it begins in the text, in characters.
    pub start: usize,
    /// Where it ends in the text, in characters.
    pub end: usize,
}

/// Classifies the tokens of texts.
#[derive(Debug)]
pub struct TokenClassificationPipeline {
    pub(super) text_model: TextModel,
}

impl TokenClassificationPipeline {
    /// Loads a model that classifies tokens.
    ///
    /// # Errors
    /// A checkpoint without such a head or without a tokenizer, or whatever is wrong with its files.
    pub fn from_pretrained(model: &str, options: &PretrainedOptions) -> Result<Self> {
        Ok(Self { text_model: TextModel::load(model, Task::TokenClassification, options)? })
    }

    /// The entities of each text, in its order.
    ///
    /// # Errors
    /// A text that the tokenizer cannot split, or a stride without aggregation.
    pub fn run(&self, texts: &[String], options: &PipelineOptions) -> Result<Vec<Vec<Entity>>> {
        let inputs: Vec<_> = texts.iter().map(|text| (text.as_str(), None)).collect();
        let encodings = self.text_model.encode(&inputs, pieces(options)?.as_ref())?;
        self.classify(texts, &encodings, options)
    }

    /// As [`run`](Self::run), of texts that come as words; places are in the text of the words with
    /// [`delimiter`](PipelineOptions::delimiter) between them.
    ///
    /// # Errors
    /// The same.
    pub fn run_words(&self, texts: &[Vec<String>], options: &PipelineOptions) -> Result<Vec<Vec<Entity>>> {
        let delimiter = options.delimiter.as_deref().unwrap_or(" ");
        let joined: Vec<String> = texts.iter().map(|words| words.join(delimiter)).collect();
        let mut encodings = self.text_model.encode_words(texts, pieces(options)?.as_ref())?;
        for encoding in &mut encodings {
            let mut start = 0;
            let mut starts = vec![];
            for word in &texts[encoding.input] {
                starts.push(start);
                start += word.chars().count() + delimiter.chars().count();
            }
            for (offsets, word) in encoding.offsets.iter_mut().zip(&encoding.word_ids) {
                if let Some(start) = word.and_then(|word| starts.get(word as usize)) {
                    *offsets = (offsets.0 + start, offsets.1 + start);
                }
            }
        }
        self.classify(&joined, &encodings, options)
    }

    fn classify(
        &self,
        texts: &[String],
        encodings: &[Encoding],
        options: &PipelineOptions,
    ) -> Result<Vec<Vec<Entity>>> {
        let rows = self.text_model.forward(encodings, &["logits"], options.batch_size)?;
        let outside = ["O".to_string()];
        let ignored = options.ignore_labels.as_deref().unwrap_or(&outside);
        let tokenizer = self.text_model.tokenizer();
        let unk = tokenizer.special_token("unk_token").map(|(id, _)| id);
        let id2label = self.text_model.model.id2label();
        let join = |words: &[String]| Ok(tokenizer.join(words)?);
        let (mut results, mut pieces) = (vec![vec![]; texts.len()], vec![0; texts.len()]);
        for (encoding, rows) in encodings.iter().zip(&rows) {
            let scores: Vec<Vec<f32>> = rows[0].iter().map(softmax).collect();
            let tokens = tokens(&texts[encoding.input], encoding, scores, tokenizer, unk);
            let mut entities = aggregate(tokens, options.aggregation_strategy, id2label, &join)?;
            entities.retain(|e| {
                let label = e.entity.as_ref().or(e.entity_group.as_ref());
                label.is_none_or(|label| !ignored.contains(label))
            });
            results[encoding.input].extend(entities);
            pieces[encoding.input] += 1;
        }
        let each = results.into_iter().zip(pieces);
        Ok(each.map(|(entities, pieces)| if pieces > 1 { without_overlap(entities) } else { entities }).collect())
    }
}

saved!(TokenClassificationPipeline);

/// Its line of the table.
pub(super) const ROW: Row = Row {
    names: &["token-classification", "ner"],
    load: |_, model, options| Ok(Box::new(TokenClassificationPipeline::from_pretrained(model, options)?)),
};

impl Run for TokenClassificationPipeline {
    fn name(&self) -> &'static str {
        "token-classification"
    }

    fn model(&self) -> &LoadedModel {
        &self.text_model.model
    }

    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        match options.is_split_into_words {
            true => Ok(values(self.run_words(&input::all(self.name(), items, "a list of words")?, options)?)),
            false => Ok(values(self.run(&input::texts(self.name(), items)?, options)?)),
        }
    }

    fn several(&self, input: &Value, options: &PipelineOptions) -> Option<Vec<Value>> {
        let items = input.as_array()?;
        // The words of one text count as a list of one text.
        match options.is_split_into_words && !items.iter().all(Value::is_array) {
            true => Some(vec![input.clone()]),
            false => Some(items.clone()),
        }
    }
}

/// How longer texts come in pieces, if they do.
fn pieces(options: &PipelineOptions) -> Result<Option<EncodeOptions>> {
    let Some(stride) = options.stride else { return Ok(None) };
    if options.aggregation_strategy == AggregationStrategy::None {
        return Err(Error::Pipeline {
            pipeline: NAME,
            reason: "with a stride, expected an aggregation_strategy other than none: tokens that pieces share would come twice".into(),
        });
    }
    let truncation = Some(Truncation::LongestFirst);
    Ok(Some(EncodeOptions { truncation, stride, return_overflowing_tokens: true, ..EncodeOptions::default() }))
}

/// Of entities of overlapping pieces that overlap, the longest, and of equally long ones the surest.
fn without_overlap(mut entities: Vec<Entity>) -> Vec<Entity> {
    entities.sort_by_key(|entity| entity.start);
    let mut kept: Vec<Entity> = vec![];
    for entity in entities {
        let length = |e: &Entity| e.end.saturating_sub(e.start);
        match kept.last_mut().filter(|last| entity.start < last.end) {
            None => kept.push(entity),
            Some(last) => {
                if (length(&entity), entity.score) > (length(last), last.score) {
                    *last = entity;
                }
            }
        }
    }
    kept
}

/// A token of a text with the probabilities of its classes.
#[derive(Clone, Debug)]
struct Token {
    word: String,
    scores: Vec<f32>,
    start: usize,
    end: usize,
    index: usize,
    /// Whether it continues the word before it.
    is_subword: bool,
}

/// Tokens or words, each with one class.
struct Labelled {
    label: String,
    score: f32,
    index: usize,
    word: String,
    start: usize,
    end: usize,
}

/// The tokens of a text, without special ones.
fn tokens(
    text: &str,
    encoding: &Encoding,
    scores: Vec<Vec<f32>>,
    tokenizer: &Tokenizer,
    unk: Option<u32>,
) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let marks = tokenizer.marks_subwords();
    let mut tokens = vec![];
    for (index, scores) in scores.into_iter().enumerate().filter(|(i, _)| !encoding.special[*i]) {
        let (start, end) = encoding.offsets[index];
        let mut word = tokenizer.id_to_token(encoding.ids[index]).unwrap_or_default();
        let mut is_subword = if marks {
            // `##` makes the token longer than its text.
            word.chars().count() != end.saturating_sub(start)
        } else {
            start > 0 && !chars[start - 1..chars.len().min(start + 1)].contains(&' ')
        };
        if Some(encoding.ids[index]) == unk {
            word = chars[start..end].iter().collect();
            is_subword = false;
        }
        tokens.push(Token { word, scores, start, end, index, is_subword });
    }
    tokens
}

/// Entities of tokens by a strategy; `join` makes a text of tokens.
fn aggregate(
    tokens: Vec<Token>,
    strategy: AggregationStrategy,
    id2label: &[String],
    join: &dyn Fn(&[String]) -> Result<String>,
) -> Result<Vec<Entity>> {
    let label = |i: usize| id2label.get(i).cloned().unwrap_or_else(|| format!("LABEL_{i}"));
    let labelled = |scores: &[f32], word: String, tokens: &[Token]| {
        let i = best(scores).unwrap_or(0);
        Labelled {
            label: label(i),
            score: scores.get(i).copied().unwrap_or(0.0),
            index: tokens[0].index,
            word,
            start: tokens[0].start,
            end: tokens[tokens.len() - 1].end,
        }
    };
    if matches!(strategy, AggregationStrategy::None | AggregationStrategy::Simple) {
        let each = tokens.iter().map(|t| labelled(&t.scores, t.word.clone(), std::slice::from_ref(t)));
        if strategy == AggregationStrategy::Simple {
            return group(each.collect(), join);
        }
        let entity = |l: Labelled| Entity {
            entity: Some(l.label),
            entity_group: None,
            score: l.score,
            index: Some(l.index),
            word: l.word,
            start: l.start,
            end: l.end,
        };
        return Ok(each.map(entity).collect());
    }
    let mut words = vec![];
    for word in tokens.chunk_by(|_, next| next.is_subword) {
        let texts: Vec<String> = word.iter().map(|t| t.word.clone()).collect();
        words.push(labelled(&word_scores(word, strategy), join(&texts)?, word));
    }
    group(words, join)
}

/// The scores that count for a word of one or more tokens.
fn word_scores(word: &[Token], strategy: AggregationStrategy) -> Vec<f32> {
    let top = |t: &Token| t.scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    match strategy {
        AggregationStrategy::Average => {
            let mean = |class: usize| word.iter().map(|t| t.scores[class]).sum::<f32>() / word.len() as f32;
            (0..word[0].scores.len()).map(mean).collect()
        }
        AggregationStrategy::Max => {
            let surest = word[1..].iter().fold(&word[0], |best, t| if top(t) > top(best) { t } else { best });
            surest.scores.clone()
        }
        _ => word[0].scores.clone(),
    }
}

/// Whether a label begins an entity, and the label without `B-` or `I-`.
fn tag(label: &str) -> (bool, &str) {
    match label.strip_prefix("B-") {
        Some(tag) => (true, tag),
        None => (false, label.strip_prefix("I-").unwrap_or(label)),
    }
}

/// Neighbours of one label as one entity, unless the later one begins another.
fn group(entities: Vec<Labelled>, join: &dyn Fn(&[String]) -> Result<String>) -> Result<Vec<Entity>> {
    let continues = |last: &Labelled, next: &Labelled| {
        let (begins, label) = tag(&next.label);
        !begins && label == tag(&last.label).1
    };
    let mut groups = vec![];
    for group in entities.chunk_by(continues) {
        let words: Vec<String> = group.iter().map(|e| e.word.clone()).collect();
        let label = &group[0].label;
        groups.push(Entity {
            entity: None,
            entity_group: Some(label.split_once('-').map_or(label.as_str(), |(_, rest)| rest).to_string()),
            score: group.iter().map(|e| e.score).sum::<f32>() / group.len() as f32,
            index: None,
            word: join(&words)?,
            start: group[0].start,
            end: group[group.len() - 1].end,
        });
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `micro|soft com|pany in Rome` with classes O, B-ORG, I-ORG, B-LOC.
    fn run(strategy: AggregationStrategy) -> Vec<(String, String, f32, usize, usize)> {
        let labels = ["O", "B-ORG", "I-ORG", "B-LOC"].map(str::to_string);
        let token = |index, word: &str, start, end, scores: [f32; 4]| Token {
            word: word.into(),
            scores: scores.to_vec(),
            start,
            end,
            index,
            is_subword: word.starts_with("##"),
        };
        let tokens = vec![
            token(1, "micro", 0, 5, [0.1, 0.6, 0.2, 0.1]),
            token(2, "##soft", 5, 9, [0.8, 0.0, 0.1, 0.1]),
            token(3, "com", 10, 13, [0.3, 0.1, 0.5, 0.1]),
            token(4, "##pany", 13, 17, [0.0, 0.0, 0.7, 0.3]),
            token(5, "in", 18, 20, [0.9, 0.0, 0.0, 0.1]),
            token(6, "Rome", 21, 25, [0.2, 0.0, 0.0, 0.8]),
        ];
        let join = |words: &[String]| Ok(words.join(" ").replace(" ##", ""));
        let entities = aggregate(tokens, strategy, &labels, &join).unwrap();
        let name = |e: &Entity| e.entity.clone().or(e.entity_group.clone()).unwrap();
        entities.iter().map(|e| (name(e), e.word.clone(), e.score, e.start, e.end)).collect()
    }

    fn check(strategy: AggregationStrategy, want: &[(&str, &str, f32, usize, usize)]) {
        let got = run(strategy);
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (g, w) in got.iter().zip(want) {
            assert_eq!((g.0.as_str(), g.1.as_str(), g.3, g.4), (w.0, w.1, w.3, w.4), "{strategy:?}");
            assert!((g.2 - w.2).abs() < 1e-6, "{strategy:?}: {g:?}, expected {w:?}");
        }
    }

    #[test]
    fn without_aggregation_each_token_stands_alone() {
        let got = run(AggregationStrategy::None);
        let labels: Vec<&str> = got.iter().map(|g| g.0.as_str()).collect();
        assert_eq!(labels, ["B-ORG", "O", "I-ORG", "I-ORG", "O", "B-LOC"]);
        assert_eq!(got[1].1, "##soft");
    }

    #[test]
    fn neighbours_of_one_label_are_one_entity() {
        check(
            AggregationStrategy::Simple,
            &[
                ("ORG", "micro", 0.6, 0, 5),
                ("O", "##soft", 0.8, 5, 9),
                ("ORG", "company", 0.6, 10, 17),
                ("O", "in", 0.9, 18, 20),
                ("LOC", "Rome", 0.8, 21, 25),
            ],
        );
    }

    #[test]
    fn of_overlapping_entities_the_longest_stays() {
        let entity = |start, end, score| Entity {
            entity: None,
            entity_group: Some("A".into()),
            score,
            index: None,
            word: String::new(),
            start,
            end,
        };
        let entities =
            vec![entity(0, 4, 0.5), entity(9, 12, 0.1), entity(2, 8, 0.1), entity(9, 12, 0.7), entity(8, 9, 0.2)];
        let kept: Vec<_> = without_overlap(entities).iter().map(|e| (e.start, e.end, e.score)).collect();
        assert_eq!(kept, [(2, 8, 0.1), (8, 9, 0.2), (9, 12, 0.7)]);
    }

    #[test]
    fn words_have_one_label() {
        let rest = [("O", "in", 0.9, 18, 20), ("LOC", "Rome", 0.8, 21, 25)];
        let with = |first: &[(&'static str, &'static str, f32, usize, usize)]| [first, &rest].concat();
        check(AggregationStrategy::First, &with(&[("ORG", "microsoft company", 0.55, 0, 17)]));
        check(AggregationStrategy::Max, &with(&[("O", "microsoft", 0.8, 0, 9), ("ORG", "company", 0.7, 10, 17)]));
        check(AggregationStrategy::Average, &with(&[("O", "microsoft", 0.45, 0, 9), ("ORG", "company", 0.6, 10, 17)]));
    }
}
