//! Inputs to begin with, and what becomes of them: for the tests that run without a fuzzer.

use fastrand::Rng;
use std::path::{Path, PathBuf};

/// The files of folders and their folders, by path; folders are given relative to the repository.
pub fn inputs(folders: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|a| a.join("fuzz/corpus").is_dir());
    let root = root.expect("the repository");
    let mut pending: Vec<PathBuf> = folders.iter().map(|f| root.join(f)).collect();
    let mut found = vec![];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).expect("a folder").map(|e| e.expect("an entry").path()));
        } else {
            found.push((path.clone(), std::fs::read(&path).expect("reads")));
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folders:?} are empty");
    found
}

/// Numbers at which arithmetic goes wrong.
const NUMBERS: [&str; 10] = [
    "0",
    "1",
    "-1",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "99999999999999999999",
    "1e400",
    "NaN",
];

/// One to four small changes: bytes, numbers, parts of other inputs.
pub fn mutate(input: &[u8], others: &[(PathBuf, Vec<u8>)], random: &mut Rng) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=out.len());
        let end = (at + random.usize(..40)).min(out.len());
        match random.usize(..7) {
            0 if at < out.len() => out[at] ^= 1 << random.usize(..8),
            1 => out.insert(at, random.u8(..128)),
            2 => drop(out.drain(at..end)),
            3 => {
                let part = out[at..end].to_vec();
                let to = random.usize(..=out.len());
                out.splice(to..to, part);
            }
            4 => {
                let other = &others[random.usize(..others.len())].1;
                let from = random.usize(..=other.len());
                let to = (from + random.usize(..60)).min(other.len());
                out.splice(at..end, other[from..to].iter().copied());
            }
            // The number at or after this place.
            _ => {
                let digit = |b: &u8| b.is_ascii_digit();
                let Some(start) = out[at..].iter().position(digit).map(|i| at + i) else { continue };
                let len = out[start..].iter().take_while(|b| digit(b)).count();
                out.splice(start..start + len, NUMBERS[random.usize(..NUMBERS.len())].bytes());
            }
        }
    }
    out
}
