//! Pipelines as folders: the model with its configs, and its tokenizer.

/// Gives a pipeline `save_pretrained`.
macro_rules! saved {
    ($pipeline:ident) => {
        impl $pipeline {
            /// Writes the model and its tokenizer into a folder, which this pipeline and transformers' read
            /// ([`LoadedModel::save_pretrained`](crate::LoadedModel::save_pretrained)).
            ///
            /// # Errors
            /// When a file cannot be written; for a model that was loaded from an artifact, which holds no checkpoint.
            pub fn save_pretrained(&self, folder: impl AsRef<std::path::Path>) -> crate::Result<()> {
                $crate::pipeline::table::Run::model(self).save_pretrained(folder)
            }
        }
    };
}

pub(super) use saved;
