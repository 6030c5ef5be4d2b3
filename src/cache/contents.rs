//! What files hold, as hashes that are remembered: weights are many bytes, and most starts find them as the last one did.
//!
//! A hash is remembered under the file's device and number, with its size and the times of its last modification and last change. The
//! latter is set by the system at each write, rename and change of the other, and by nobody else. A file that was changed within the last
//! two seconds is not remembered: the system's clock ticks too slowly to tell that change from the next.
//!
//! Where a file system gives no such numbers, or nothing can be written, files are hashed at each start.

use kiln_core::output::Output;
use kiln_models::source::ModelFiles;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Bytes that one thread hashes at a time.
const CHUNK: usize = 4 << 20;
/// For so long after a change a file may change again without a sign.
const SETTLED: Duration = Duration::from_secs(2);
/// Most files that are remembered.
const MOST: usize = 4096;
/// No file of what is remembered has so many bytes.
const LONGEST: u64 = 1024;

/// Hashes of files.
pub(super) struct Contents {
    /// Where they are remembered.
    folder: Option<PathBuf>,
    /// What was given for a file: its state and hash.
    given: RefCell<HashMap<String, (String, String)>>,
}

/// What the system knows of a file that changes with its contents.
struct Stamp {
    /// Which file.
    file: String,
    /// Which state of it.
    state: String,
    settled: bool,
}

impl Contents {
    /// Hashes that are remembered beside the entries of a cache, or not at all.
    pub(super) fn remembered_in(cache: Option<&Path>) -> Contents {
        Contents { folder: cache.map(|cache| cache.join("contents")), given: RefCell::default() }
    }

    /// The hash of an open file, which `hash` takes only if it is not remembered.
    ///
    /// # Errors
    /// When `hash` fails.
    fn of(&self, file: &Metadata, hash: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
        // Before the bytes are read: what is written while they are shows in a later state.
        let Some(stamp) = stamp(file) else { return hash() };
        let hash = match self.recall(&stamp) {
            Some(hash) => hash,
            None => {
                let hash = hash()?;
                self.remember(&stamp, &hash);
                hash
            }
        };
        self.given.borrow_mut().insert(stamp.file, (stamp.state, hash.clone()));
        Ok(hash)
    }

    /// The hash of a file whose bytes are mapped.
    pub(super) fn of_mapped(&self, file: &Metadata, bytes: &[u8]) -> String {
        self.of(file, || Ok(sha256(bytes))).expect("nothing is read from the system")
    }

    /// The hash of the running program, of which the compiler is a part.
    pub(super) fn of_this_program(&self) -> String {
        // The link leads to the program that runs, also where another has taken its place.
        let link = Path::new("/proc/self/exe");
        let program = if link.exists() { Ok(link.to_path_buf()) } else { std::env::current_exe() };
        program.map(|program| self.of_program(&program)).unwrap_or_default()
    }

    /// The hash of a program; empty if it cannot be read, which starting it will say.
    pub(super) fn of_program(&self, program: &Path) -> String {
        let hash = || {
            let mut file = File::open(program)?;
            self.of(&file.metadata()?, || sha256_of(&mut file))
        };
        hash().unwrap_or_default()
    }

    /// Whether the weights of a model hold something else now than when their hashes were given.
    pub(super) fn changed(&self, files: &ModelFiles) -> bool {
        files.checkpoint.contents().any(|(path, _, bytes)| {
            // A file that was replaced or removed is still mapped as it was.
            let now = std::fs::metadata(path).ok().as_ref().and_then(stamp);
            let given = self.given.borrow();
            let given = now.and_then(|now| given.get(&now.file).filter(|(state, _)| *state != now.state));
            given.is_some_and(|(_, hash)| sha256(bytes) != *hash)
        })
    }

    /// Forgets all of it.
    pub(super) fn forget(&self) {
        if let Some(folder) = &self.folder {
            // What stays is right, and is asked for by nobody.
            let _ = std::fs::remove_dir_all(folder).or_else(|_| std::fs::remove_file(folder));
        }
    }

    fn recall(&self, stamp: &Stamp) -> Option<String> {
        let path = self.folder.as_ref()?.join(&stamp.file);
        // A few words of kiln's own: what is anything else is not opened, since a FIFO would wait and a device would never end.
        std::fs::symlink_metadata(&path).ok().filter(|m| m.is_file() && m.len() < LONGEST)?;
        let text = std::fs::read_to_string(path).ok()?;
        let (state, hash) = text.strip_suffix('\n')?.split_once('\n')?;
        let whole = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        (whole && state == stamp.state).then(|| hash.to_string())
    }

    /// Writes the hash down, where that is possible.
    fn remember(&self, stamp: &Stamp, hash: &str) {
        let Some(folder) = self.folder.as_ref().filter(|_| stamp.settled) else { return };
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(folder).or_else(|_| {
                self.forget();
                std::fs::create_dir_all(folder)
            })?;
            if std::fs::read_dir(folder)?.count() >= MOST {
                self.forget();
                std::fs::create_dir_all(folder)?;
            }
            let path = folder.join(&stamp.file);
            // Nothing is written to where a link leads, or into a stream.
            if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
                std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path))?;
            }
            Output::at(path)?.write(format!("{}\n{hash}\n", stamp.state).as_bytes())
        };
        if let Err(e) = write() {
            tracing::debug!("a hash is not remembered: {e}");
        }
    }
}

#[cfg(unix)]
fn stamp(metadata: &Metadata) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let changed = u64::try_from(metadata.ctime()).ok().map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s + 1));
    let settled = |time: SystemTime| SystemTime::now().duration_since(time).is_ok_and(|age| age > SETTLED);
    Some(Stamp {
        file: format!("{:x}-{:x}", metadata.dev(), metadata.ino()),
        state: format!(
            "{} bytes, modified {}.{:09}, changed {}.{:09}",
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        ),
        settled: changed.is_some_and(settled),
    })
}

#[cfg(not(unix))]
fn stamp(_: &Metadata) -> Option<Stamp> {
    None
}

/// The SHA-256 of the chunks' SHA-256, which several threads take.
fn sha256(bytes: &[u8]) -> String {
    let chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = vec![];
        while let Some((i, chunk)) = chunks.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((i, Sha256::digest(chunk)));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(chunks.len());
    let mut digests = std::thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().expect("hashing does not panic"));
        }
        all
    });
    digests.sort_by_key(|(i, _)| *i);
    of_digests(digests.into_iter().map(|(_, digest)| digest))
}

/// [`sha256`] of what is read.
fn sha256_of(file: &mut impl Read) -> io::Result<String> {
    let mut digests = vec![];
    let mut chunk = vec![];
    while file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)? > 0 {
        digests.push(Sha256::digest(&chunk));
        chunk.clear();
    }
    Ok(of_digests(digests))
}

fn of_digests(digests: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hash = Sha256::new();
    digests.into_iter().for_each(|digest| hash.update(digest));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`Contents::of`] gives of a file, and whether it had to read it.
    fn of(contents: &Contents, path: &Path) -> (String, bool) {
        let mut read = false;
        let metadata = std::fs::metadata(path).expect("is there");
        let hash = contents.of(&metadata, || {
            read = true;
            sha256_of(&mut File::open(path)?)
        });
        (hash.expect("a hash"), read)
    }

    #[test]
    fn threads_do_not_change_a_hash() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 5).map(|i| (i * 7919 / 8) as u8).collect();
        for len in [0, 1, CHUNK, CHUNK + 1, bytes.len()] {
            let mut hash = Sha256::new();
            bytes[..len].chunks(CHUNK).for_each(|chunk| hash.update(Sha256::digest(chunk)));
            let want: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(sha256(&bytes[..len]), want);
            assert_eq!(sha256_of(&mut &bytes[..len]).expect("reads"), want);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_hash_is_remembered_for_a_file_that_has_settled() {
        let folder = tempfile::tempdir().expect("a folder");
        let (cache, path) = (folder.path().join("cache"), folder.path().join("weights"));
        std::fs::write(&path, "one").expect("writes");
        let contents = || Contents::remembered_in(Some(&cache));
        // Just written: it may be written again within the same tick of the clock.
        let one = of(&contents(), &path).0;
        assert_eq!(of(&contents(), &path), (one.clone(), true));

        // A file of long ago, as most are. The time of change is the system's to set, so an old file is looked for.
        let old = std::env::current_exe().expect("this program");
        let wait = || of(&contents(), &old).1.then(|| std::thread::sleep(Duration::from_millis(100)));
        assert!((0..60).any(|_| wait().is_none()), "is remembered once it has settled");
        let (hash, read) = of(&contents(), &old);
        assert!(!read);
        assert_eq!(hash, sha256(&std::fs::read(&old).expect("reads")));

        // What is remembered is of use only if it is whole and of this state.
        let kept = std::fs::read_dir(cache.join("contents")).expect("reads").flatten().next().expect("one").path();
        let text = std::fs::read_to_string(&kept).expect("reads");
        for damaged in [&text[..text.len() - 2], "", "\n\n", &text.replace("bytes", "octets")] {
            std::fs::write(&kept, damaged).expect("writes");
            assert_eq!(of(&contents(), &old), (hash.clone(), true));
        }
        assert!(!of(&contents(), &old).1);
        // What is no file is not read: it may never end, or be a user's. Nor is anything written to where it leads. It is replaced.
        let (users, none) = (folder.path().join("a user's"), folder.path().join("none"));
        std::fs::write(&users, "words").expect("writes");
        for target in [Path::new("/dev/zero"), Path::new("/dev/null"), &kept, &users, &none] {
            std::fs::remove_file(&kept).expect("removes");
            std::os::unix::fs::symlink(target, &kept).expect("links");
            assert_eq!(of(&contents(), &old), (hash.clone(), true));
            assert_eq!(of(&contents(), &old), (hash.clone(), false), "{}", target.display());
        }
        assert!(std::fs::read_to_string(&users).expect("reads") == "words" && !none.exists());
        std::fs::remove_file(&kept).expect("removes");
        std::fs::create_dir_all(kept.join("inside")).expect("a folder");
        assert_eq!([of(&contents(), &old).1, of(&contents(), &old).1], [true, false]);
        // Nor is the folder anything else.
        std::fs::remove_dir_all(cache.join("contents")).expect("removes");
        std::fs::write(cache.join("contents"), "nonsense").expect("writes");
        assert_eq!([of(&contents(), &old).1, of(&contents(), &old).1], [true, false]);
        contents().forget();
        assert!(of(&contents(), &old).1);
        assert!(of(&Contents::remembered_in(None), &old).1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_equal_size_and_time_has_another_state() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weights");
        let state = |text: &str, replace: bool| {
            if replace {
                std::fs::remove_file(&path).expect("removes");
            }
            std::fs::write(&path, text).expect("writes");
            let file = File::options().write(true).open(&path).expect("opens");
            file.set_modified(SystemTime::UNIX_EPOCH).expect("sets the time");
            // Longer than a tick of the clock.
            std::thread::sleep(Duration::from_millis(20));
            let stamp = stamp(&std::fs::metadata(&path).expect("is there")).expect("a stamp");
            (stamp.file, stamp.state)
        };
        let states = [state("one", false), state("two", false), state("six", true)];
        assert!(states[0] != states[1] && states[1] != states[2] && states[0] != states[2], "{states:?}");
    }
}
