//! The names of files in a model's folder.

/// The tokenizer. Whatever else the files say of tokens is applied, and where there is no such file it is made of the vocabulary's own.
pub const TOKENIZER: &str = "tokenizer.json";
/// The tokenizer's config, with the chat templates of the folder `additional_chat_templates` among its named ones, and the special
/// tokens by name, whichever file has them.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The chat template: the file of that name, or the default one in the tokenizer's config.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// What the names of other processors' configs end in: `preprocessor_config.json`, `video_preprocessor_config.json`,
/// `processor_config.json`.
pub const PROCESSOR_CONFIG: &str = "processor_config.json";

/// Where transformers saves chat templates besides the default one, each as `NAME.jinja`.
pub(crate) const MORE_TEMPLATES: &str = "additional_chat_templates";
