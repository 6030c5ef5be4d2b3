//! PyTorch's archives (since version 1.6), for files with a type that `pytorch-reader` stops at.

use super::pickle::{self, Described};
use kiln_core::DType;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// What stands before `data.pkl` and `data/`.
    root: String,
    /// Each with its name, by name.
    pub tensors: Vec<(String, Described)>,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Archive, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| e.to_string())?;
        let is_pickle = |name: &str| name == "data.pkl" || name.ends_with("/data.pkl");
        let pickle = zip.file_names().flatten().find(|name| is_pickle(name)).map(|name| name.into_owned());
        let pickle = pickle.ok_or("it holds no data.pkl")?;
        let root = pickle.trim_end_matches("data.pkl").to_string();
        let mut tensors = pickle::tensors(&entry(&mut zip, &pickle)?)?;
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        // The last of a name counts, as in a dict.
        tensors.reverse();
        tensors.dedup_by(|(a, _), (b, _)| a == b);
        tensors.reverse();
        Ok(Archive { zip, root, tensors })
    }

    /// A tensor's elements, row-major.
    pub fn read(&mut self, tensor: &Described, dtype: DType) -> Result<Vec<u8>, String> {
        let stored = entry(&mut self.zip, &format!("{}data/{}", self.root, tensor.storage))?;
        gather(&stored, tensor, dtype.size())
            .ok_or_else(|| format!("storage `{}` has no place for shape {:?}", tensor.storage, tensor.shape))
    }
}

fn entry(zip: &mut ZipArchive<BufReader<File>>, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = vec![];
    let mut entry = zip.by_name(name).map_err(|e| format!("`{name}`: {e}"))?;
    if entry.compression() != CompressionMethod::Stored {
        return Err(format!("`{name}` is compressed, which torch.save does not do"));
    }
    entry.read_to_end(&mut bytes).map_err(|e| format!("`{name}`: {e}"))?;
    Ok(bytes)
}

/// The elements of a view of a storage; `None` where they are not all there.
fn gather(stored: &[u8], tensor: &Described, size: usize) -> Option<Vec<u8>> {
    let Described { offset, shape, strides, .. } = tensor;
    let count = shape.iter().try_fold(1usize, |count, n| count.checked_mul(*n))?;
    // A view that repeats elements could be of any size.
    if count > stored.len() / size || strides.len() != shape.len() {
        return None;
    }
    let mut out = Vec::with_capacity(count * size);
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        let mut steps = index.iter().zip(strides).map(|(i, stride): (&usize, _)| i.checked_mul(*stride));
        let at = steps.try_fold(*offset, |at, step| at.checked_add(step?))?.checked_mul(size)?;
        out.extend(stored.get(at..at.checked_add(size)?)?);
        for (i, n) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *n {
                break;
            }
            *i = 0;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Archive {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/torch_types.bin");
        Archive::open(&path).unwrap()
    }

    #[test]
    fn a_pickle_with_any_byte_changed_or_cut_anywhere_is_read_or_refused() {
        let Archive { mut zip, root, tensors } = golden();
        let whole = entry(&mut zip, &format!("{root}data.pkl")).unwrap();
        assert_eq!(pickle::tensors(&whole).unwrap().len(), tensors.len());
        let mut refused = 0;
        for at in 0..whole.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                match pickle::tensors(&bytes) {
                    Ok(tensors) => tensors.iter().for_each(|(_, tensor)| drop(gather(&[0; 64], tensor, 4))),
                    Err(_) => refused += 1,
                }
            }
            assert!(pickle::tensors(&whole[..at]).is_err(), "cut at {at}");
        }
        assert!(refused > whole.len(), "{refused}");
    }

    #[test]
    fn views_stay_in_their_storage() {
        let view = |offset: usize, shape: &[usize], strides: &[usize]| {
            let tensor = Described { offset, shape: shape.to_vec(), strides: strides.to_vec(), ..Described::default() };
            gather(&[0, 1, 2, 3, 4, 5, 6, 7], &tensor, 2)
        };
        assert_eq!(view(0, &[2, 2], &[2, 1]), Some(vec![0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(view(0, &[2, 2], &[1, 2]), Some(vec![0, 1, 4, 5, 2, 3, 6, 7]));
        assert_eq!(view(3, &[], &[]), Some(vec![6, 7]));
        assert_eq!(view(9, &[0, 3], &[3, 1]), Some(vec![]));
        assert_eq!(
            [view(1, &[4], &[1]), view(0, &[2], &[usize::MAX]), view(0, &[5], &[0]), view(0, &[2], &[])],
            [const { None }; 4]
        );
        assert_eq!(view(0, &[usize::MAX, 2], &[1, 1]), None);
    }
}
