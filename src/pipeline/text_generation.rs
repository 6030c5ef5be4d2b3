//! text-generation: how a text or a chat goes on.

use super::PipelineOptions;
use crate::{AutoModelForCausalLM, Chat, Error, GenerationConfig, PretrainedOptions, Result};
use serde::Serialize;
use serde_json::{Value, json};

const NAME: &str = "text-generation";

/// A text, or the messages of a chat.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationInput {
    /// A text to go on with.
    Text(String),
    /// A JSON list of messages to answer: `[{"role": "user", "content": "Hello"}]`.
    Chat(Value),
}

/// What was generated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generated {
    /// For a text, the text with what is new; for a chat, its messages with the answer as the last one. What is new alone with
    /// [`only_new_text`](PipelineOptions::only_new_text).
    pub generated_text: Value,
}

/// Continues texts and answers in chats.
pub struct TextGenerationPipeline {
    model: AutoModelForCausalLM,
}

impl std::fmt::Debug for TextGenerationPipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextGenerationPipeline").finish_non_exhaustive()
    }
}

impl TextGenerationPipeline {
    /// Loads a causal language model.
    ///
    /// # Errors
    /// A model that is none, one without a tokenizer, or whatever is wrong with its files.
    pub fn from_pretrained(model: &str, options: &PretrainedOptions) -> Result<Self> {
        let loaded = AutoModelForCausalLM::from_pretrained_with(model, options)?;
        match loaded.tokenizer() {
            Some(_) => Ok(Self { model: loaded }),
            None => Err(Error::NoTokenizer { model: model.into() }),
        }
    }

    /// For each input, `num_return_sequences` continuations. What neither the options nor the model's `generation_config.json` say is
    /// as in transformers' pipeline: sampling at temperature 0.7, at most 256 new tokens.
    ///
    /// # Errors
    /// A chat without messages or a model without a chat template; options that make no sense.
    pub fn run(&self, inputs: &[GenerationInput], options: &PipelineOptions) -> Result<Vec<Vec<Generated>>> {
        let config = config(self.model.generation_config(), options.generation_config.as_ref());
        inputs.iter().map(|input| self.generate(input, &config, options.only_new_text)).collect()
    }

    fn generate(&self, input: &GenerationInput, config: &GenerationConfig, only_new: bool) -> Result<Vec<Generated>> {
        let output = match input {
            GenerationInput::Text(text) => self.model.generate(text, config, |_| ())?,
            GenerationInput::Chat(messages) => {
                let chat = Chat::from_json(messages.to_string().as_bytes())?;
                self.model.chat(&chat, config, |_| ())?
            }
        };
        let rows = output.rows.into_iter().map(|row| row.text.unwrap_or_default());
        Ok(rows.map(|new| Generated { generated_text: joined(input, new, only_new) }).collect())
    }
}

/// The config of a call, with the pipeline's defaults for what neither the model nor the call say.
fn config(model: &GenerationConfig, call: Option<&GenerationConfig>) -> GenerationConfig {
    let default = GenerationConfig {
        max_new_tokens: Some(256),
        do_sample: Some(true),
        temperature: Some(0.7),
        ..GenerationConfig::default()
    };
    let own = default.overridden_by(model);
    call.map_or_else(|| own.clone(), |call| own.overridden_by(call))
}

/// The input with what is new.
fn joined(input: &GenerationInput, new: String, only_new: bool) -> Value {
    match input {
        _ if only_new => json!(new),
        GenerationInput::Text(text) => json!(format!("{text}{new}")),
        GenerationInput::Chat(messages) => {
            let mut messages = messages.as_array().cloned().unwrap_or_default();
            messages.push(json!({"role": "assistant", "content": new}));
            Value::Array(messages)
        }
    }
}

/// The inputs of a JSON value, and whether it is one and no list: a text, a list of messages, or a list of such.
pub(super) fn inputs(input: &Value) -> Result<(Vec<GenerationInput>, bool)> {
    let is_chat = |v: &Value| {
        v.as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().all(|m| m.get("role").is_some_and(Value::is_string)))
    };
    let one = |v: &Value| match v {
        Value::String(text) => Ok(GenerationInput::Text(text.clone())),
        chat if is_chat(chat) => Ok(GenerationInput::Chat(chat.clone())),
        other => Err(Error::Pipeline {
            pipeline: NAME,
            reason: format!(
                "expected a text, a list of messages with `role` and `content`, or a list of those, found {other}"
            ),
        }),
    };
    match input {
        Value::Array(items) if !is_chat(input) => Ok((items.iter().map(one).collect::<Result<_>>()?, false)),
        item => Ok((vec![one(item)?], true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_chats_are_told_apart() {
        let chat = json!([{"role": "user", "content": "Hello"}]);
        let both = inputs(&json!(["a text", chat.clone()])).unwrap();
        assert_eq!(both, (vec![GenerationInput::Text("a text".into()), GenerationInput::Chat(chat.clone())], false));
        let one = inputs(&chat).unwrap();
        assert_eq!((one.0.len(), one.1), (1, true));
        assert!(inputs(&json!([{"content": "Hello"}])).unwrap_err().to_string().contains("`role` and `content`"));
        let answered = joined(&GenerationInput::Chat(chat), "Hi".into(), false);
        assert_eq!(answered[1], json!({"role": "assistant", "content": "Hi"}));
        assert_eq!(joined(&GenerationInput::Text("a".into()), "b".into(), false), "ab");
        assert_eq!(joined(&GenerationInput::Text("a".into()), "b".into(), true), "b");
    }

    #[test]
    fn the_call_goes_over_the_model_and_the_model_over_the_pipeline() {
        let model = GenerationConfig { temperature: Some(0.2), ..GenerationConfig::default() };
        let call = GenerationConfig { do_sample: Some(false), ..GenerationConfig::default() };
        let config = config(&model, Some(&call));
        assert_eq!((config.max_new_tokens, config.do_sample, config.temperature), (Some(256), Some(false), Some(0.2)));
    }
}
