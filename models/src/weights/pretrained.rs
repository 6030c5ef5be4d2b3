//! [`Pretrained`]: a checkpoint's tensors under the names that a model gives them.

use kiln_frontend::{ParamSource, Storage};

/// A checkpoint as transformers' `from_pretrained` looks at it. The body of a model with a head has a prefix (`bert.`) that the body
/// saved alone lacks, and either may be loaded from either; and old checkpoints call LayerNorm's parameters `gamma` and `beta`.
pub(crate) struct Pretrained<'a> {
    pub(crate) source: &'a dyn ParamSource,
    /// `bert`, without the dot.
    pub(crate) prefix: &'static str,
}

impl Pretrained<'_> {
    /// Whether the checkpoint has a tensor for a model's parameter.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lookup(&self.resolve(name)).is_some()
    }

    /// What follows the prefix in the name of a parameter of the body.
    pub(crate) fn within_body<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(self.prefix)?.strip_prefix('.')
    }
}

impl ParamSource for Pretrained<'_> {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        self.source.lookup(name)
    }

    fn resolve(&self, name: &str) -> String {
        let other = match self.within_body(name) {
            Some(rest) => rest.to_string(),
            None => format!("{}.{name}", self.prefix),
        };
        let old = |name: &str| {
            let (module, parameter) = name.rsplit_once("LayerNorm.")?;
            let parameter = match parameter {
                "weight" => "gamma",
                "bias" => "beta",
                _ => return None,
            };
            Some(format!("{module}LayerNorm.{parameter}"))
        };
        let candidates = [Some(name.to_string()), Some(other.clone()), old(name), old(&other)];
        let found = candidates.into_iter().flatten().map(|n| self.source.resolve(&n));
        found.into_iter().find(|n| self.source.lookup(n).is_some()).unwrap_or_else(|| name.to_string())
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }
}
