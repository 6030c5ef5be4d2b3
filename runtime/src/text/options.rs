//! How texts become token ids, in the words of transformers' tokenizer call.

use serde::Deserialize;
use serde_json::Value;

/// What gives way where texts are longer than they may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Truncation {
    /// Nothing (`false`).
    DoNotTruncate,
    /// The end of the longer text, token by token (`true`).
    LongestFirst,
    /// The end of the first text.
    OnlyFirst,
    /// The end of the second text.
    OnlySecond,
}

/// How far texts are padded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Padding {
    /// Not at all (`false`).
    #[default]
    DoNotPad,
    /// To the longest one of the batch (`true`).
    Longest,
    /// To `max_length`.
    MaxLength,
}

/// A side of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The beginning.
    Left,
    /// The end.
    #[default]
    Right,
}

/// The options of [`Tokenizer::encode_batch`](super::Tokenizer::encode_batch).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncodeOptions {
    /// Whether to add the tokens that the model expects around a text. Default: true.
    pub add_special_tokens: bool,
    /// What gives way. Default: [`Truncation::LongestFirst`] where a `max_length` is given and no padding, else nothing.
    pub truncation: Option<Truncation>,
    /// The most tokens, special ones included. Default: the tokenizer's `model_max_length`; where it has none, nothing is cut, and
    /// nothing padded to it.
    pub max_length: Option<usize>,
    /// How many tokens a further piece of a text repeats of the one before.
    pub stride: usize,
    /// Whether what was cut off comes as further pieces.
    pub return_overflowing_tokens: bool,
    /// How far to pad.
    pub padding: Padding,
    /// Pad to a multiple of this.
    pub pad_to_multiple_of: Option<usize>,
    /// Where padding goes. Default: the tokenizer's `padding_side`, else right.
    pub padding_side: Option<Side>,
    /// Where texts are cut. Default: the tokenizer's `truncation_side`, else right.
    pub truncation_side: Option<Side>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        EncodeOptions {
            add_special_tokens: true,
            truncation: None,
            max_length: None,
            stride: 0,
            return_overflowing_tokens: false,
            padding: Padding::DoNotPad,
            pad_to_multiple_of: None,
            padding_side: None,
            truncation_side: None,
        }
    }
}

impl TryFrom<Value> for Truncation {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match (value.as_bool(), value.as_str()) {
            (Some(true), _) | (_, Some("longest_first")) => Ok(Truncation::LongestFirst),
            (Some(false), _) | (_, Some("do_not_truncate")) => Ok(Truncation::DoNotTruncate),
            (_, Some("only_first")) => Ok(Truncation::OnlyFirst),
            (_, Some("only_second")) => Ok(Truncation::OnlySecond),
            _ => Err(format!(
                "truncation: expected true, false, \"longest_first\", \"only_first\", \"only_second\" or \"do_not_truncate\", found {value}"
            )),
        }
    }
}

impl TryFrom<Value> for Padding {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match (value.as_bool(), value.as_str()) {
            (Some(true), _) | (_, Some("longest")) => Ok(Padding::Longest),
            (Some(false), _) | (_, Some("do_not_pad")) => Ok(Padding::DoNotPad),
            (_, Some("max_length")) => Ok(Padding::MaxLength),
            _ => Err(format!(
                "padding: expected true, false, \"longest\", \"max_length\" or \"do_not_pad\", found {value}"
            )),
        }
    }
}
