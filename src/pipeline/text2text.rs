//! summarization, translation and text2text-generation: a text of a text, by an encoder-decoder.
//!
//! What to do stands in `task_specific_params` of the model's config, where it has them: a prefix for the text, as T5 expects, and options
//! for generating.

use super::PipelineOptions;
use super::input::{self, Inputs};
use super::save::saved;
use super::table::{Row, Run, stands_for};
use crate::{AutoModelForSeq2SeqLM, Error, GenerationConfig, LoadedModel, PretrainedOptions, Result};
use serde_json::{Map, Value, json};

/// Makes texts of texts.
#[derive(Debug)]
pub struct Text2TextGenerationPipeline {
    pub(super) model: AutoModelForSeq2SeqLM,
    kind: Text2Text,
    prefix: String,
    /// The pipeline's defaults, the model's config, the task's.
    config: GenerationConfig,
}

/// Which of the three it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text2Text {
    /// `text2text-generation`.
    Generation,
    /// `summarization`.
    Summarization,
    /// `translation`, `translation_xx_to_yy`.
    Translation,
}

impl Text2Text {
    /// The pipeline of a task's name.
    fn of_task(task: &str) -> Option<Self> {
        match task {
            "text2text-generation" => Some(Text2Text::Generation),
            "summarization" => Some(Text2Text::Summarization),
            "translation" => Some(Text2Text::Translation),
            _ => stands_for(LANGUAGES, task).then_some(Text2Text::Translation),
        }
    }

    /// The pipeline's name.
    fn name(self) -> &'static str {
        match self {
            Text2Text::Generation => "text2text-generation",
            Text2Text::Summarization => "summarization",
            Text2Text::Translation => "translation",
        }
    }

    /// The field of the result.
    fn field(self) -> &'static str {
        match self {
            Text2Text::Generation => "generated_text",
            Text2Text::Summarization => "summary_text",
            Text2Text::Translation => "translation_text",
        }
    }
}

/// Translation from one language to another.
const LANGUAGES: &str = "translation_xx_to_yy";

impl Text2TextGenerationPipeline {
    /// Loads an encoder-decoder for a task: `text2text-generation`, `summarization`, `translation`, or `translation_en_to_fr` and the
    /// like. `translation` alone is the first one by name that the model's config has.
    ///
    /// # Errors
    /// A task of another name, a model that is no encoder-decoder or has no tokenizer, or whatever is wrong with its files.
    pub fn from_pretrained(task: &str, model: &str, options: &PretrainedOptions) -> Result<Self> {
        let kind = Text2Text::of_task(task).ok_or_else(|| {
            Error::Option(format!(
                "`{task}` makes no text of a text: expected text2text-generation, summarization, translation or translation_xx_to_yy"
            ))
        })?;
        let name = model;
        let model = AutoModelForSeq2SeqLM::from_pretrained_with(name, options)?;
        if model.tokenizer().is_none() {
            return Err(Error::NoTokenizer { model: name.into() });
        }
        let default = GenerationConfig { max_new_tokens: Some(256), num_beams: Some(4), ..GenerationConfig::default() };
        let mut config = default.overridden_by(model.generation_config());
        let mut prefix = model.config().get("prefix").and_then(Value::as_str).unwrap_or_default().to_string();
        if let Some(mut params) = task_params(model.config(), task) {
            if let Some(Value::String(own)) = params.remove("prefix") {
                prefix = own;
            }
            config = config.overridden_by(&params.try_into()?);
        }
        Ok(Self { model, kind, prefix, config })
    }

    /// Which of the three it is.
    pub fn kind(&self) -> Text2Text {
        self.kind
    }

    /// For each text, `num_return_sequences` texts. What neither the options nor the model's configs say is as in transformers'
    /// pipelines: four beams, at most 256 new tokens.
    ///
    /// # Errors
    /// A text longer than the encoder takes, or options that make no sense.
    pub fn run(&self, texts: &[String], options: &PipelineOptions) -> Result<Vec<Vec<String>>> {
        let call = options.generation_config.as_ref();
        let config = call.map_or_else(|| self.config.clone(), |call| self.config.overridden_by(call));
        let Some(tokenizer) = self.model.tokenizer() else {
            return Err(Error::NoTokenizer { model: self.model.name().into() });
        };
        let encode = options.tokenizer_kwargs.clone().unwrap_or_default();
        let mut results = vec![];
        for batch in texts.chunks(options.batch_size.unwrap_or(1).max(1)) {
            let prompts: Vec<String> = batch.iter().map(|text| format!("{}{text}", self.prefix)).collect();
            let prompts: Vec<_> = prompts.iter().map(|text| (text.as_str(), None)).collect();
            let encodings = tokenizer.encode_batch(&prompts, &encode)?;
            let ids: Vec<Vec<u32>> = encodings.into_iter().map(|encoding| encoding.ids).collect();
            let output = self.model.generate_ids(&ids, &config, |_| ())?;
            let rows: Vec<String> = output.rows.into_iter().map(|row| row.text.unwrap_or_default()).collect();
            results.extend(rows.chunks(config.num_return_sequences()).map(<[String]>::to_vec));
        }
        Ok(results)
    }
}

saved!(Text2TextGenerationPipeline);

/// Its line of the table.
pub(super) const ROW: Row = Row {
    names: &["text2text-generation", "summarization", "translation", LANGUAGES],
    load: |task, model, options| Ok(Box::new(Text2TextGenerationPipeline::from_pretrained(task, model, options)?)),
};

impl Run for Text2TextGenerationPipeline {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn model(&self) -> &LoadedModel {
        &self.model
    }

    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        let object = |text: &String| json!({ self.kind.field(): text });
        let results = self.run(&input::texts(self.name(), items)?, options)?;
        Ok(results.iter().map(|texts| texts.iter().map(object).collect()).collect())
    }

    fn gathered(&self, mut results: Vec<Value>, inputs: &Inputs, _options: &PipelineOptions) -> Value {
        if inputs.is_one && results.len() == 1 {
            return results.swap_remove(0);
        }
        // Each text of a list has one text, or a list of several.
        let single = |result: &Value| result.as_array().is_some_and(|texts| texts.len() == 1);
        match results.iter().all(single) {
            true => results.iter().map(|result| result[0].clone()).collect(),
            false => json!(results),
        }
    }

    fn usual_batch_size(&self) -> usize {
        1
    }
}

/// What a config says of a task, `translation` being the first one of that kind by name.
fn task_params(config: &Value, task: &str) -> Option<Map<String, Value>> {
    let all = config.get("task_specific_params")?.as_object()?;
    let own = match task {
        "translation" => all.iter().find(|(name, _)| name.starts_with("translation")).map(|(_, params)| params),
        _ => all.get(task),
    };
    own?.as_object().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_known_by_name() {
        assert_eq!(Text2Text::of_task("translation_en_to_fr"), Some(Text2Text::Translation));
        assert_eq!(Text2Text::of_task("summarization").map(Text2Text::field), Some("summary_text"));
        for wrong in ["translation_en", "translation_en_to_", "translation_a_b_to_c", "translate"] {
            assert_eq!(Text2Text::of_task(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_config_says_what_a_task_asks_for() {
        let config = json!({"task_specific_params": {
            "summarization": {"prefix": "summarize: "}, "translation_en_to_de": {"num_beams": 2}, "translation_en_to_fr": {"num_beams": 3}
        }});
        let param = |task: &str, name: &str| task_params(&config, task).and_then(|params| params.get(name).cloned());
        assert_eq!(param("summarization", "prefix"), Some(json!("summarize: ")));
        assert_eq!(param("translation_en_to_fr", "num_beams"), Some(json!(3)));
        assert_eq!(param("translation", "num_beams"), Some(json!(2)), "the first one");
        assert_eq!(task_params(&config, "text2text-generation"), None);
        assert_eq!(task_params(&json!({}), "summarization"), None);
    }
}
