//! What a call gives back.

use super::bound::Place;
use crate::device::Staging;
use crate::tensor::{Element, TensorView};
use kiln_core::OutputSpec;
use std::sync::Arc;

/// The outputs of a call, in the session's memory until its next call. They borrow the session for themselves.
pub struct Outputs<'a> {
    pub(super) specs: &'a [OutputSpec],
    pub(super) places: &'a [Place],
    /// What the places lie in.
    pub(super) io: &'a Staging,
}

/// What one step of a call took.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The step's label.
    pub label: Arc<str>,
    /// Its kernel.
    pub kernel: String,
    /// Wall-clock nanoseconds.
    pub nanoseconds: u64,
    /// Floating-point operations.
    pub flops: i64,
    /// Bytes read and written.
    pub bytes: i64,
    /// Whether it reads weights or states, which come from memory, rather than only what steps before it wrote.
    pub streams: bool,
    /// How many cores could take part: the pieces that its work was cut into.
    pub width: i64,
}

impl Outputs<'_> {
    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        let i = self.specs.iter().position(|o| o.name == name)?;
        self.at(i)
    }

    /// All outputs with their names, in the signature's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TensorView<'_>)> {
        self.specs.iter().enumerate().filter_map(|(i, spec)| Some((spec.name.as_str(), self.at(i)?)))
    }

    fn at(&self, i: usize) -> Option<TensorView<'_>> {
        let place = &self.places[i];
        let at = self.io.at(place.at, place.bytes);
        // SAFETY: the place lies within `io`; the call is over, and the next one needs the session that this borrows.
        let bytes = unsafe { std::slice::from_raw_parts(at, place.bytes as usize) };
        Some(TensorView { dtype: self.specs[i].storage.dense()?, shape: &place.shape, bytes })
    }
}

impl<'a> Outputs<'a> {
    /// The elements of one output, to read and to overwrite; `None` if there is none of that name and type. `bool` is not for
    /// writing.
    pub fn into_mut<T: Element + bytemuck::AnyBitPattern>(self, name: &str) -> Option<&'a mut [T]> {
        let i = self.specs.iter().position(|o| o.name == name && o.storage.dense() == Some(T::DTYPE))?;
        let place = &self.places[i];
        let at = self.io.at(place.at, place.bytes);
        // SAFETY: as in `at`, and the session stays exclusively borrowed for as long as the slice lives.
        let bytes = unsafe { std::slice::from_raw_parts_mut(at, place.bytes as usize) };
        bytemuck::try_cast_slice_mut(bytes).ok()
    }
}
