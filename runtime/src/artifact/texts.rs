//! What an artifact's texts say: the model's generation config, tokenizer and chat templates.

use super::{Artifact, Section};
use crate::generate::{ConfigError, GenerationConfig};
#[cfg(feature = "text")]
use crate::text::{ChatTemplates, TextError, Tokenizer};

impl Artifact {
    /// The model's generation config: its `generation_config.json`, else what its `config.json` says of generating.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn generation_config(&self) -> Result<GenerationConfig, ConfigError> {
        GenerationConfig::of_model(self.section(Section::GenerationConfig), self.section(Section::Config))
    }

    /// The model's tokenizer, with what its config says over it; `None` if it has none.
    ///
    /// # Errors
    /// When either does not parse.
    #[cfg(feature = "text")]
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>, TextError> {
        let Some(json) = self.section(Section::Tokenizer) else { return Ok(None) };
        Tokenizer::of_model(json, self.section(Section::TokenizerConfig)).map(Some)
    }

    /// The model's chat templates; `None` if it has none.
    ///
    /// # Errors
    /// When one does not parse.
    #[cfg(feature = "text")]
    pub fn chat_templates(&self) -> Result<Option<ChatTemplates>, TextError> {
        let own = self.section(Section::ChatTemplate).map(String::from_utf8_lossy);
        ChatTemplates::new(self.section(Section::TokenizerConfig), own.as_deref())
    }
}

#[cfg(all(test, feature = "text"))]
mod tests {
    use super::*;
    use crate::text::fixtures::{EOS, byte_level_json};
    use crate::{ArtifactWriter, Manifest, OpenOptions};
    use kiln_core::Plan;

    fn artifact(texts: &[(Section, &str)]) -> Artifact {
        let mut w = ArtifactWriter::in_memory().unwrap();
        w.manifest(&Manifest::default()).unwrap();
        w.section(Section::Image, &[0xc3]).unwrap();
        w.plan(0, &Plan::default()).unwrap();
        for (section, text) in texts {
            w.section(*section, text.as_bytes()).unwrap();
        }
        Artifact::from_bytes(w.finish().unwrap(), &OpenOptions::default()).unwrap()
    }

    #[test]
    fn the_tokenizer_is_what_its_config_makes_of_it() {
        let json = byte_level_json();
        let plain = artifact(&[(Section::Tokenizer, &json)]);
        let config = r#"{"split_special_tokens": true}"#;
        let split = artifact(&[(Section::Tokenizer, &json), (Section::TokenizerConfig, config)]);
        let encode = |a: &Artifact| a.tokenizer().unwrap().unwrap().encode("<|end|>", true).unwrap();
        assert_eq!(encode(&plain), [EOS]);
        assert!(encode(&split).len() > 1, "special tokens in a text are text");
        assert!(artifact(&[]).tokenizer().unwrap().is_none());
        assert!(artifact(&[(Section::Tokenizer, "{}")]).tokenizer().is_err());
    }

    #[test]
    fn the_generation_config_falls_back_to_the_models() {
        let model = (Section::Config, r#"{"eos_token_id": 2}"#);
        let own = (Section::GenerationConfig, r#"{"eos_token_id": 3}"#);
        let eos = |texts: &[_]| artifact(texts).generation_config().unwrap().eos_token_ids().to_vec();
        assert_eq!((eos(&[model]), eos(&[model, own]), eos(&[])), (vec![2], vec![3], vec![]));
        assert!(artifact(&[]).chat_templates().unwrap().is_none());
    }
}
