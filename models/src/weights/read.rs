//! Reading tensors out of a [`Checkpoint`]: borrowed, streamed, or as f32.

use super::{Checkpoint, Conversion, TensorEntry};
use crate::{Error, Result};
use std::borrow::Cow;
use std::io::Write;

impl Checkpoint {
    /// The bytes of a tensor, row-major in PyTorch order; block-quantised rows stay blocks.
    ///
    /// Borrowed from the map, except for a tensor with a [`Conversion`] to undo, which is copied.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let entry = self.entry(name)?;
        let stored = self.stored(entry);
        Ok(match entry.conversion {
            Conversion::None => Cow::Borrowed(stored),
            Conversion::OnePlus => Cow::Owned(less_one(stored)),
            Conversion::InterleavedPairs { .. } | Conversion::PartsFirst { .. } => {
                Cow::Owned(rows(entry, stored).flatten().copied().collect())
            }
        })
    }

    /// Writes a tensor's bytes, the same ones that [`bytes`](Self::bytes) gives, without a copy of the tensor in memory; the
    /// pages that were read are given back to the system afterwards, so that a whole checkpoint streams through little memory.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], and [`Error::Io`] when `out` refuses.
    pub fn write_to(&self, name: &str, out: &mut dyn Write) -> Result<()> {
        let entry = self.entry(name)?;
        let stored = self.stored(entry);
        let written = match entry.conversion {
            Conversion::None => out.write_all(stored),
            Conversion::OnePlus => out.write_all(&less_one(stored)),
            Conversion::InterleavedPairs { .. } | Conversion::PartsFirst { .. } => {
                rows(entry, stored).try_for_each(|row| out.write_all(row))
            }
        };
        self.release(entry);
        written.map_err(Error::io("write the weights of", self.path()))
    }

    /// A tensor's values as f32, row-major: dense types converted, blocks dequantised, bools 0 and 1.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let storage = self.entry(name)?.storage;
        Ok(storage.to_f32(&self.bytes(name)?))
    }

    /// Whether two tensors have the same shape, type and values. Values are read only where all else is equal.
    pub fn same_values(&self, one: &str, other: &str) -> bool {
        let (Some(one), Some(other)) = (self.get(one), self.get(other)) else { return false };
        let form = |entry: &TensorEntry| (entry.storage, entry.conversion, entry.bytes);
        if form(one) != form(other) || one.shape != other.shape {
            return false;
        }
        if (one.file, one.offset) == (other.file, other.offset) {
            return true;
        }
        let same = self.stored(one) == self.stored(other);
        self.release(one);
        self.release(other);
        same
    }

    /// The bytes in the file; opening has checked that they are there.
    fn stored(&self, entry: &TensorEntry) -> &[u8] {
        &self.files[entry.file].map[entry.offset..entry.offset + entry.bytes]
    }

    /// Lets the system take back the pages of a tensor.
    #[cfg(unix)]
    fn release(&self, entry: &TensorEntry) {
        const PAGE: usize = 64 * 1024; // a multiple of every page size in use
        let first = entry.offset.next_multiple_of(PAGE);
        let last = (entry.offset + entry.bytes) / PAGE * PAGE;
        if first < last {
            // SAFETY: the map is a read-only view of a file and no page of it was written, so a page that is dropped comes back
            // with the same bytes when it is next touched.
            let advised = unsafe {
                self.files[entry.file].map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    first,
                    last - first,
                )
            };
            if let Err(error) = advised {
                tracing::debug!(%error, "the system keeps the pages of a tensor that was streamed");
            }
        }
    }

    #[cfg(not(unix))]
    fn release(&self, _: &TensorEntry) {}
}

/// f32 values that are stored with 1 added.
fn less_one(stored: &[u8]) -> Vec<u8> {
    stored.as_chunks().0.iter().flat_map(|b| (f32::from_le_bytes(*b) - 1.0).to_le_bytes()).collect()
}

/// The rows of a tensor in Hugging Face order. A vector counts as rows of one element.
fn rows<'a>(entry: &'a TensorEntry, stored: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let count = entry.shape.first().copied().unwrap_or(1).max(1);
    let length = stored.len() / count;
    (0..count).map(move |row| {
        let at = entry.conversion.stored_row(row) * length;
        &stored[at..at + length]
    })
}
