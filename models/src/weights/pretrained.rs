//! [`Pretrained`]: a checkpoint's tensors under the names that a model gives them.

use kiln_frontend::{ParamSource, Storage};
use std::collections::{BTreeMap, BTreeSet};

/// A checkpoint as transformers' `from_pretrained` looks at it. The body of a model with a head has a prefix (`bert.`) that the body
/// saved alone lacks, and either may be loaded from either; a wrapper may have put it before all names once more; old checkpoints call LayerNorm's parameters `gamma` and `beta`; and of
/// parameters that are one, such as an embedding that is the output projection too, a checkpoint may hold any or all.
pub(crate) struct Pretrained<'a> {
    source: &'a dyn ParamSource,
    /// `bert`, without the dot.
    prefix: &'static str,
    /// The tensor of each parameter that is one with others.
    tied: BTreeMap<String, String>,
}

impl<'a> Pretrained<'a> {
    /// A checkpoint of a model whose body has that prefix.
    pub(crate) fn new(source: &'a dyn ParamSource, prefix: &'static str) -> Self {
        Pretrained { source, prefix, tied: BTreeMap::new() }
    }

    /// With parameters that are one, in pairs: a parameter, and the one that it is tied to, as transformers' `_tied_weights_keys` have
    /// them in that order.
    ///
    /// As in transformers' `tie_weights`, values decide. A parameter that the checkpoint does not have is the other of its pair, whichever
    /// that is; two that are there and differ stay two, whatever the config says.
    pub(crate) fn tied<T: AsRef<str>>(mut self, pairs: impl IntoIterator<Item = (T, T)>) -> Self {
        let pairs: Vec<(T, T)> = pairs.into_iter().collect();
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(target, source)| (target.as_ref(), source.as_ref())).collect();
        let names = pairs.iter().flat_map(|(target, source)| [*target, *source]);
        let mut found: BTreeMap<&str, Option<String>> = names.map(|name| (name, self.find(name))).collect();
        for (i, (target, source)) in pairs.iter().enumerate() {
            match (found[target].clone(), found[source].clone()) {
                (Some(own), Some(shared)) if self.source.differ(&own, &shared) => {
                    tracing::info!("`{own}` and `{shared}` differ, so they are not tied");
                }
                (_, Some(shared)) => drop(found.insert(*target, Some(shared))),
                (Some(own), None) => drop(found.insert(*source, Some(own))),
                // A later one that is tied to the same may be there.
                (None, None) => {
                    let mut others = pairs[i + 1..].iter().filter(|(_, of)| of == source);
                    let other = others.find_map(|(other, _)| found[other].clone());
                    drop(found.insert(*target, other));
                }
            }
        }
        // What is nowhere is missing under the name that transformers saves it by.
        self.tied = (found.into_iter())
            .map(|(name, tensor)| {
                let saved_as = pairs.iter().find(|(target, _)| *target == name).map_or(name, |(_, source)| *source);
                (name.to_string(), tensor.unwrap_or_else(|| saved_as.to_string()))
            })
            .collect();
        self
    }

    /// Whether the checkpoint has a tensor for a model's parameter.
    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.source.has(&self.resolve(name))
    }

    /// What follows the prefix in the name of a parameter of the body.
    pub(crate) fn within_body<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(self.prefix)?.strip_prefix('.')
    }

    /// The checkpoint's name of a parameter, if it is there.
    fn find(&self, name: &str) -> Option<String> {
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
        let wrapped = format!("{}.{name}", self.prefix);
        let candidates =
            [Some(name.to_string()), Some(other.clone()), old(name), old(&other), old(&wrapped), Some(wrapped)];
        let mut found = candidates.into_iter().flatten().map(|n| self.source.resolve(&n));
        found.find(|n| self.source.has(n))
    }
}

impl ParamSource for Pretrained<'_> {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        self.source.lookup(name)
    }

    fn resolve(&self, name: &str) -> String {
        self.tied.get(name).cloned().or_else(|| self.find(name)).unwrap_or_else(|| name.to_string())
    }

    /// Without those of tied parameters: one that is there again is no sign of anything.
    fn names(&self) -> Vec<String> {
        let tied: BTreeSet<String> = self.tied.keys().filter_map(|name| self.find(name)).collect();
        self.source.names().into_iter().filter(|name| !tied.contains(name)).collect()
    }

    fn unsupported(&self, name: &str) -> Option<String> {
        self.source.unsupported(name)
    }

    fn differ(&self, one: &str, other: &str) -> bool {
        self.source.differ(one, other)
    }
}
