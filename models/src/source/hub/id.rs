//! Ids of models on the hub.

use super::HubOptions;

/// `owner/name` with a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubId {
    pub(crate) id: String,
    pub(super) revision: String,
}

impl HubId {
    /// `None` if the text cannot be an id: ids are one or two parts of letters, digits, `-`, `_` and `.`. A revision in the text
    /// (after `@`) comes before that of the options.
    pub(crate) fn parse(text: &str, options: &HubOptions) -> Option<HubId> {
        let default = options.revision.as_deref().unwrap_or("main");
        let (id, revision) = text.split_once('@').unwrap_or((text, default));
        let part = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && !part.starts_with(['.', '-'])
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let sound = id.split('/').count() <= 2
            && id.split('/').all(part)
            && !id.ends_with(".gguf")
            && revision.split('/').all(part);
        sound.then(|| HubId { id: id.to_string(), revision: revision.to_string() })
    }

    /// The URL of the hub's API that says or does something of the revision.
    pub(super) fn api(&self, endpoint: &str, verb: &str) -> String {
        format!("{endpoint}/api/models/{}/{verb}/{}", self.id, self.revision.replace('/', "%2F"))
    }
}

#[cfg(test)]
mod tests {
    use super::{HubId, HubOptions};

    #[test]
    fn ids_are_told_from_paths() {
        let mut options = HubOptions { revision: None, ..HubOptions::from_env() };
        let id = |text, options: &_| HubId::parse(text, options).map(|id| (id.id, id.revision));
        let is = |id: &str, revision: &str| Some((id.to_string(), revision.to_string()));
        assert_eq!(id("gpt2", &options), is("gpt2", "main"));
        assert_eq!(id("a-b/C_d.1@v1.0", &options), is("a-b/C_d.1", "v1.0"));
        for path in [
            "",
            "/tmp/x",
            "./x",
            "../x",
            "a/b/c",
            "a//b",
            "model.gguf",
            "a/b.gguf",
            "a b",
            "~/x",
            "a/b@",
            "a/..",
            "a@../b",
        ] {
            assert_eq!(id(path, &options), None, "{path}");
        }
        options.revision = Some("refs/pr/1".to_string());
        assert_eq!(id("a/b", &options), is("a/b", "refs/pr/1"));
        assert_eq!(id("a/b@v2", &options), is("a/b", "v2"));
    }
}
