//! The config as a file, `generation_config.json`.

use super::validate::is_unsupported;
use super::{ConfigError, GenerationConfig};
use kiln_core::json;
use kiln_core::output::Output;
use serde_json::{Map, Value};
use std::path::Path;

/// The file's name in a model's folder.
pub const FILE_NAME: &str = "generation_config.json";

impl GenerationConfig {
    /// Reads the text of a `generation_config.json`. Fields it does not know are kept; the values are checked by [`Self::validate`]. `NaN`
    /// and infinities, which Python writes, are no numbers of any field.
    ///
    /// # Errors
    /// A text that is no JSON object, or a field of another type.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        object(json)?.try_into()
    }

    /// The config of a model, by the files that it has: `generation_config.json`, else what `config.json` says of generating.
    ///
    /// # Errors
    /// When the file's text is no config.
    pub fn of_model(generation_config: Option<&[u8]>, model_config: Option<&[u8]>) -> Result<Self, ConfigError> {
        match (generation_config, model_config) {
            (Some(json), _) => Self::from_json(json),
            (None, Some(json)) => Self::from_model_config(json),
            (None, None) => Ok(Self::default()),
        }
    }

    /// What a model's `config.json` says of generating, for models without a `generation_config.json`: the fields of the same names, and
    /// those of its decoder's or text model's config where its own say nothing. As in transformers, `task_specific_params` does not
    /// count.
    ///
    /// # Errors
    /// A text that is no JSON object, or a field of another type.
    pub fn from_model_config(json: &[u8]) -> Result<Self, ConfigError> {
        let mut fields = object(json)?;
        let nested = ["decoder", "generator", "text_config"].iter().find_map(|name| fields.remove(*name));
        let mut config = GenerationConfig::default();
        for fields in [nested, Some(fields.into())].into_iter().flatten() {
            if let Value::Object(fields) = fields {
                config = config.overridden_by(&fields.try_into()?);
            }
        }
        // The rest describes the model.
        config.other.retain(|field, _| is_unsupported(field));
        Ok(config)
    }

    /// The config as `generation_config.json` holds it: given fields only.
    pub fn to_json(&self) -> Result<String, ConfigError> {
        serde_json::to_string_pretty(self).map_err(|e| ConfigError::Json(e.to_string()))
    }

    /// Reads the config of a model's folder, or a file of that kind.
    ///
    /// # Errors
    /// When there is no such file, or its text is no config.
    pub fn from_pretrained(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_path_buf() };
        let failed = |reason: String| ConfigError::File { action: "read", path: path.clone(), reason };
        let json = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        Self::from_json(&json).map_err(|e| failed(e.to_string()))
    }

    /// Writes `generation_config.json` into a folder, which is made if it is not there. transformers reads it, and so does
    /// [`Self::from_pretrained`].
    ///
    /// # Errors
    /// When the folder cannot be made or the file cannot be written.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<(), ConfigError> {
        let path = folder.as_ref().join(FILE_NAME);
        let json = self.to_json()? + "\n";
        let written = std::fs::create_dir_all(folder.as_ref()).and_then(|()| Output::at(&path)?.write(json.as_bytes()));
        written.map_err(|e| ConfigError::File { action: "write", path, reason: e.to_string() })
    }
}

fn object(text: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    match json::from_slice(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(ConfigError::Json(format!("found {}", json::kind(&other)))),
        Err(e) => Err(ConfigError::Json(format!("found no JSON: {e}"))),
    }
}
