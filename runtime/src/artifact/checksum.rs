//! The checksum of a section: a tree of two levels, so that it is made while streaming and checked on many threads.
//!
//! The bytes are cut into chunks of [`CHUNK`]; the checksum is XXH3-64 over the chunks' XXH3-64 digests (8 bytes little endian
//! each, in order). It tells accidents from intact files. It does not tell who wrote them: anyone can make a file that passes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes that one digest covers.
pub(super) const CHUNK: usize = 1 << 20;

/// The digest of one chunk.
pub(super) fn digest(chunk: &[u8]) -> u64 {
    xxh3_64(chunk)
}

/// The checksum, from the chunks' digests.
pub(super) fn root(digests: &[u64]) -> u64 {
    xxh3_64(&digests.iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<u8>>())
}

/// The checksum of bytes in memory.
pub(super) fn of(bytes: &[u8]) -> u64 {
    root(&bytes.chunks(CHUNK).map(digest).collect::<Vec<_>>())
}

/// [`of`], by up to `threads` threads.
pub(super) fn parallel(bytes: &[u8], threads: usize) -> u64 {
    let chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
    let threads = threads.min(chunks.len() / 4);
    if threads < 2 {
        return of(bytes);
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut done = vec![];
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            match chunks.get(i) {
                Some(c) => done.push((i, digest(c))),
                None => return done,
            }
        }
    };
    let mut digests = vec![0; chunks.len()];
    std::thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mine = work();
        let theirs = others.into_iter().flat_map(|t| {
            t.join().unwrap_or_else(|_| {
                failed.store(true, Ordering::Relaxed);
                vec![]
            })
        });
        for (i, d) in mine.into_iter().chain(theirs) {
            digests[i] = d;
        }
    });
    // Hashing does not panic; should it ever, the answer still comes from one thread.
    if failed.into_inner() { of(bytes) } else { root(&digests) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_do_not_change_it() {
        let bytes: Vec<u8> = (0..9 * CHUNK + 5).map(|i| (i * 7919 / 8) as u8).collect();
        for len in [0, 1, CHUNK, CHUNK + 1, bytes.len()] {
            for threads in [1, 2, 5] {
                assert_eq!(parallel(&bytes[..len], threads), of(&bytes[..len]));
            }
        }
    }
}
