//! text-generation: how a text or a chat goes on.

use super::PipelineOptions;
use super::input::{self, GenerationInput};
use super::save::saved;
use super::table::{Row, Run, values};
use crate::{AutoModelForCausalLM, Chat, Error, GenerationConfig, LoadedModel, PretrainedOptions, Result};
use kiln_runtime::text::EncodeOptions;
use serde::Serialize;
use serde_json::{Value, json};

/// What was generated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generated {
    /// For a text, the text with what is new; for a chat, its messages with the answer as the last one. What is new alone with
    /// [`return_full_text`](PipelineOptions::return_full_text) set to false.
    pub generated_text: Value,
}

/// Continues texts and answers in chats.
#[derive(Debug)]
pub struct TextGenerationPipeline {
    pub(super) model: AutoModelForCausalLM,
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
        let mut results = vec![];
        for batch in inputs.chunks(options.batch_size.unwrap_or(1).max(1)) {
            let prompts = batch.iter().map(|input| self.prompt(input, options)).collect::<Result<Vec<_>>>()?;
            let output = self.model.generate_ids(&prompts, &config, |_| ())?;
            let texts: Vec<String> = output.rows.into_iter().map(|row| row.text.unwrap_or_default()).collect();
            for (input, texts) in batch.iter().zip(texts.chunks(config.num_return_sequences())) {
                let full = options.return_full_text.unwrap_or(true);
                let whole = |new: &String| Generated { generated_text: joined(input, new, full) };
                results.push(texts.iter().map(whole).collect());
            }
        }
        Ok(results)
    }

    /// The tokens of an input.
    fn prompt(&self, input: &GenerationInput, options: &PipelineOptions) -> Result<Vec<u32>> {
        let Some(tokenizer) = self.model.tokenizer() else {
            return Err(Error::NoTokenizer { model: self.model.name().into() });
        };
        let (text, add_special_tokens) = match input {
            GenerationInput::Text(text) => (text.clone(), options.add_special_tokens.unwrap_or(true)),
            GenerationInput::Chat(messages) => {
                let chat = Chat::from_json(messages.to_string().as_bytes())?;
                let text = match is_unfinished(messages) {
                    true => self.model.apply_chat_template_unfinished(&chat)?,
                    false => self.model.apply_chat_template(&chat, true)?,
                };
                // The template writes the special tokens.
                (text, false)
            }
        };
        let own = options.tokenizer_kwargs.clone().unwrap_or_default();
        let encode = EncodeOptions { add_special_tokens: add_special_tokens && own.add_special_tokens, ..own };
        Ok(tokenizer.encode_batch(&[(&text, None)], &encode)?.swap_remove(0).ids)
    }
}

saved!(TextGenerationPipeline);

/// Its line of the table.
pub(super) const ROW: Row = Row {
    names: &["text-generation"],
    load: |_, model, options| Ok(Box::new(TextGenerationPipeline::from_pretrained(model, options)?)),
};

impl Run for TextGenerationPipeline {
    fn name(&self) -> &'static str {
        "text-generation"
    }

    fn model(&self) -> &LoadedModel {
        &self.model
    }

    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        Ok(values(self.run(&input::prompts(self.name(), items)?, options)?))
    }

    fn several(&self, input: &Value, _options: &PipelineOptions) -> Option<Vec<Value>> {
        input.as_array().filter(|_| !input::is_chat(input)).cloned()
    }

    fn usual_batch_size(&self) -> usize {
        1
    }
}

/// Whether a chat's last message is one of the assistant's, for the model to go on with.
fn is_unfinished(messages: &Value) -> bool {
    let last = messages.as_array().and_then(|messages| messages.last());
    last.and_then(|message| message.get("role")).is_some_and(|role| role == "assistant")
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

/// What is new, with `full` after the input.
fn joined(input: &GenerationInput, new: &str, full: bool) -> Value {
    match input {
        _ if !full => json!(new),
        GenerationInput::Text(text) => json!(format!("{text}{new}")),
        GenerationInput::Chat(all) => {
            let mut messages = all.as_array().cloned().unwrap_or_default();
            match messages.last_mut().filter(|_| is_unfinished(all)) {
                Some(last) => {
                    let begun = last.get("content").and_then(Value::as_str).unwrap_or_default();
                    last["content"] = json!(format!("{begun}{new}"));
                }
                None => messages.push(json!({"role": "assistant", "content": new})),
            }
            Value::Array(messages)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_comes_after_the_input() {
        let chat = json!([{"role": "user", "content": "Hello"}]);
        let answered = joined(&GenerationInput::Chat(chat), "Hi", true);
        assert_eq!(answered[1], json!({"role": "assistant", "content": "Hi"}));
        let continued = joined(&GenerationInput::Chat(answered), " there", true);
        assert_eq!(continued.as_array().map(Vec::len), Some(2));
        assert_eq!(continued[1], json!({"role": "assistant", "content": "Hi there"}));
        assert_eq!(joined(&GenerationInput::Text("a".into()), "b", true), "ab");
        assert_eq!(joined(&GenerationInput::Text("a".into()), "b", false), "b");
    }

    #[test]
    fn the_call_goes_over_the_model_and_the_model_over_the_pipeline() {
        let model = GenerationConfig { temperature: Some(0.2), ..GenerationConfig::default() };
        let call = GenerationConfig { do_sample: Some(false), ..GenerationConfig::default() };
        let config = config(&model, Some(&call));
        assert_eq!((config.max_new_tokens, config.do_sample, config.temperature), (Some(256), Some(false), Some(0.2)));
    }
}
