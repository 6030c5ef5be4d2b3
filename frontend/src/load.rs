//! Loading: every parameter of a model gets its name and form in a checkpoint.

use crate::{Context, LoadOptions, Mismatch, Module, ParamSource, Path};
use std::collections::BTreeSet;

/// Binds every parameter of `model`. A missing one is taken as stored in the compute type, so that tracing goes on and one error
/// names them all.
pub(crate) fn load(
    cx: &Context,
    model: &mut impl Module,
    source: &dyn ParamSource,
    options: LoadOptions,
) -> Vec<String> {
    let mut used = BTreeSet::new();
    model.visit_params_mut(&mut Path::default(), &mut |name, param| {
        let found_as = source.resolve(name);
        let first = used.insert(found_as.clone());
        let storage = match source.lookup(&found_as) {
            None => {
                if first {
                    cx.with(|b| match source.unsupported(&found_as) {
                        Some(found) => b.unsupported.push((found_as.clone(), found)),
                        None => b.missing.push(found_as.clone()),
                    });
                }
                options.dtype.into()
            }
            Some((storage, found)) => {
                if found != param.shape() || storage.dense().is_some_and(|d| !d.is_float()) {
                    let expected = param.shape().to_vec();
                    let mismatch = Mismatch { name: found_as.clone(), expected, found, storage };
                    cx.with(|b| b.mismatched.push(mismatch));
                }
                storage
            }
        };
        param.bind(&found_as, storage, options);
    });
    source.names().into_iter().filter(|name| !used.contains(name)).collect()
}
