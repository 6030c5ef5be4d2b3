//! What a pass of a model gives: tensors by name.

use crate::{Error, Result};
use kiln_core::DType;
use kiln_runtime::{Outputs, TensorView};

/// The tensors that a pass gives, by the names of transformers' output fields.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOutput {
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    /// The elements, and zeros to the end of the last word: they lie so that they can be read as what they are.
    words: Vec<u64>,
    /// Bytes of the elements.
    len: usize,
}

impl Field {
    fn new(name: &str, tensor: &TensorView<'_>) -> Field {
        let len = tensor.bytes.len();
        let mut words = vec![0; len.div_ceil(size_of::<u64>())];
        bytemuck::cast_slice_mut(&mut words)[..len].copy_from_slice(tensor.bytes);
        Field { name: name.to_string(), dtype: tensor.dtype, shape: tensor.shape.to_vec(), words, len }
    }

    fn view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: &self.shape, bytes: &bytemuck::cast_slice(&self.words)[..self.len] }
    }
}

impl ModelOutput {
    /// A copy of what a call gave.
    pub(super) fn of(outputs: &Outputs<'_>) -> ModelOutput {
        ModelOutput { fields: outputs.iter().map(|(name, tensor)| Field::new(name, &tensor)).collect() }
    }

    /// The tensor of a field: `logits`. Its elements are [`TensorView::as_slice`], as numbers [`TensorView::to_f32_vec`].
    ///
    /// # Errors
    /// [`Error::Option`] with the fields that there are.
    pub fn get(&self, field: &str) -> Result<TensorView<'_>> {
        self.fields.iter().find(|f| f.name == field).map(Field::view).ok_or_else(|| {
            let known = self.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::Option(format!("the model gives no `{field}`: expected one of {known}"))
        })
    }

    /// All fields with their names, in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TensorView<'_>)> {
        self.fields.iter().map(|f| (f.name.as_str(), f.view()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tensors: &[(&str, TensorView<'_>)]) -> ModelOutput {
        ModelOutput { fields: tensors.iter().map(|(name, tensor)| Field::new(name, tensor)).collect() }
    }

    #[test]
    fn elements_are_read_as_what_they_are_wherever_they_came_from() {
        let logits: Vec<u8> =
            [0u8].into_iter().chain([0.5f32, -2.0, 3.0].into_iter().flat_map(f32::to_le_bytes)).collect();
        // What a call gives may lie anywhere: here no two such tensors are aligned for f32.
        let given = TensorView { dtype: DType::F32, shape: &[1, 3], bytes: &logits[1..] };
        let output = of(&[
            ("logits", given),
            ("ids", TensorView::new(&[2], &[7i64, -1])),
            ("none", TensorView::new::<f32>(&[0], &[])),
        ]);
        let logits = output.get("logits").expect("logits");
        assert_eq!((logits.dtype, logits.shape), (DType::F32, &[1, 3][..]));
        assert_eq!(logits.as_slice::<f32>(), Some(&[0.5, -2.0, 3.0][..]));
        assert_eq!(logits.as_slice::<i64>(), None, "of another type");
        assert_eq!(output.get("ids").expect("ids").as_slice::<i64>(), Some(&[7, -1][..]));
        assert_eq!(output.get("none").expect("none").as_slice::<f32>(), Some(&[][..]));
        assert_eq!(output.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["logits", "ids", "none"]);
    }

    #[test]
    fn a_field_that_is_not_there_is_named_with_those_that_are() {
        let output =
            of(&[("start_logits", TensorView::new(&[1], &[1f32])), ("end_logits", TensorView::new(&[1], &[1f32]))]);
        let error = output.get("logits").expect_err("missing").to_string();
        assert_eq!(error, "the model gives no `logits`: expected one of start_logits, end_logits");
    }
}
