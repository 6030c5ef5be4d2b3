//! What a `tokenizer_config.json` says beside chat templates: lengths, sides, special tokens by name.

use super::fields::{Fields, TokenizerConfig};
use super::{Side, TextError, Tokenizer};
use kiln_core::json;
use serde_json::Value;

/// Files that leave a length open have a number above this, 1e30 mostly.
const NO_LENGTH: f64 = 1e20;

impl Tokenizer {
    /// A model's tokenizer, from its `tokenizer.json` and, if there is one, its `tokenizer_config.json`. Without the second some
    /// models' texts become other tokens.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes) and [`with_config`](Self::with_config).
    pub fn of_model(tokenizer: &[u8], tokenizer_config: Option<&[u8]>) -> Result<Self, TextError> {
        let tokenizer = Self::from_bytes(tokenizer)?;
        match tokenizer_config {
            Some(config) => tokenizer.with_config(config),
            None => Ok(tokenizer),
        }
    }

    /// This tokenizer, with what its `tokenizer_config.json` says. Tokens that it adds are not among that: a model's files have them in
    /// the `tokenizer.json` that is made when the model is opened.
    ///
    /// # Errors
    /// A text that is no JSON object, or a field of another type.
    pub fn with_config(mut self, tokenizer_config: &[u8]) -> Result<Self, TextError> {
        let json: Value = json::from_slice(tokenizer_config)
            .map_err(|e| TextError::Config(format!("expected a JSON object, found no JSON: {e}")))?;
        let fields = Fields::of(&json)?;
        // Special tokens in a text are then text.
        self.inner.set_encode_special_tokens(fields.split_special_tokens.unwrap_or(false));
        self.config = TokenizerConfig { fields, json };
        Ok(self)
    }

    /// The `tokenizer_config.json`; `null` without one.
    pub fn config(&self) -> &Value {
        &self.config.json
    }

    /// The id under which `tokenizer.json` has the token of an id.
    pub(super) fn known_id(&self, id: u32) -> u32 {
        self.config.fields.same_tokens.get(&id).copied().unwrap_or(id)
    }

    /// The most tokens that the model takes, if the config says.
    pub fn model_max_length(&self) -> Option<usize> {
        // Whole and below 1e20; what is above usize is cut to it.
        self.config.fields.model_max_length.filter(|n| (1.0..NO_LENGTH).contains(n)).map(|n| n as usize)
    }

    /// Where padding goes.
    pub fn padding_side(&self) -> Side {
        self.config.fields.padding_side.unwrap_or_default()
    }

    /// Where texts are cut.
    pub fn truncation_side(&self) -> Side {
        self.config.fields.truncation_side.unwrap_or_default()
    }

    /// Whether the model is given an input of that name; true where the config does not list them.
    pub fn gives(&self, input: &str) -> bool {
        self.config.fields.model_input_names.as_ref().is_none_or(|names| names.iter().any(|name| name == input))
    }

    /// A special token by its name, such as `mask_token`: its id and its text. Where the config does not speak of
    /// it, one of the texts that are common for it.
    pub fn special_token(&self, name: &str) -> Option<(u32, String)> {
        let entry = self.config.json.get(name);
        let stated = entry.and_then(|e| e.as_str().or_else(|| e.get("content")?.as_str()));
        let common: &[&str] = match name {
            "cls_token" => &["[CLS]", "<s>"],
            "mask_token" => &["[MASK]", "<mask>"],
            "pad_token" => &["[PAD]", "<pad>"],
            "unk_token" => &["[UNK]", "<unk>"],
            _ => &[],
        };
        let common = if entry.is_none() { common } else { &[] };
        let texts = stated.into_iter().chain(common.iter().copied());
        texts.filter_map(|text| Some((self.token_to_id(text)?, text.to_string()))).next()
    }

    pub(super) fn pad_token_type_id(&self) -> u32 {
        self.config.fields.pad_token_type_id.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::sentencepiece;
    use super::*;

    #[test]
    fn the_config_says_lengths_sides_and_tokens() {
        let plain = sentencepiece();
        assert_eq!((plain.model_max_length(), plain.padding_side()), (None, Side::Right));
        assert!(plain.gives("token_type_ids"));
        let config = br#"{"model_max_length": 1000000000000000019884624838656, "padding_side": "left",
            "model_input_names": ["input_ids"], "mask_token": {"content": "<s>"}, "pad_token": null}"#;
        let tokenizer = plain.clone().with_config(config).unwrap();
        assert_eq!((tokenizer.model_max_length(), tokenizer.padding_side()), (None, Side::Left));
        assert_eq!(tokenizer.special_token("mask_token"), Some((tokenizer.token_to_id("<s>").unwrap(), "<s>".into())));
        assert_eq!(tokenizer.special_token("pad_token"), None);
        assert!(tokenizer.gives("input_ids") && !tokenizer.gives("token_type_ids"));
        let tokenizer = plain.clone().with_config(br#"{"model_max_length": 64}"#).unwrap();
        assert_eq!(tokenizer.model_max_length(), Some(64));
        // Ids that the vocabulary has under others.
        let (the, last) = (tokenizer.token_to_id("▁a").unwrap(), tokenizer.vocab_size() as u32);
        let same = format!(r#"{{"same_tokens": {{"{last}": {the}}}}}"#);
        let twice = plain.clone().with_config(same.as_bytes()).unwrap();
        assert_eq!(twice.decode(&[last], false).unwrap(), plain.decode(&[the], false).unwrap());
        assert_eq!((twice.id_to_token(last), plain.id_to_token(last)), (plain.id_to_token(the), None));
        for (wrong, says) in [
            ("[]", "expected a JSON object, found a list"),
            ("null", "expected a JSON object, found null"),
            ("{", "expected a JSON object, found no JSON"),
            (r#"{"padding_side": "top"}"#, r#"`padding_side`: expected "left" or "right", found "top""#),
            (r#"{"truncation_side": 1}"#, r#"`truncation_side`: expected "left" or "right", found 1"#),
            (r#"{"model_max_length": "long"}"#, r#"`model_max_length`: expected a number of tokens, found "long""#),
            (
                r#"{"model_max_length": Infinity}"#,
                r#"`model_max_length`: expected a number of tokens, found "Infinity""#,
            ),
            (r#"{"model_input_names": "input_ids"}"#, "`model_input_names`: expected a list of names, found"),
            (r#"{"model_input_names": [1]}"#, "`model_input_names`: expected a list of names, found [1]"),
            (r#"{"pad_token_type_id": -1}"#, "`pad_token_type_id`: expected a whole number from 0, found -1"),
            (r#"{"split_special_tokens": "no"}"#, "`split_special_tokens`: expected true or false, found"),
        ] {
            let message = plain.clone().with_config(wrong.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with(&format!("tokenizer_config.json: {says}")), "{wrong}: {message}");
        }
    }
}
