//! Files that are written: where a path leads, and a file that appears there only when it is whole.
//!
//! [`Output`] looks at the path before any work is done. A link is followed, and what it leads to is written. A folder, a FIFO, a socket
//! and a block device are refused. A character device (`/dev/null`, a terminal) and a descriptor of this process (`/dev/stdout`,
//! `/dev/fd/3`) are streams: they take bytes as they come and cannot hold a file that is put together out of order. What is written to a
//! descriptor goes where its position is, and one that was opened for reading takes nothing, whatever it leads to.
//!
//! [`OutputFile`] is written without a name where the system can (Linux: `O_TMPFILE`), so that a process that is killed leaves nothing
//! behind. Elsewhere, and for the moment between naming and moving, it is called `.kiln-PID-N.part`, beside its place, and is locked for as
//! long as its writer lives: one that is not locked was left by a process that died, and the next writer in that folder removes it.

mod folder;

pub use folder::TemporaryFolder;

use std::fs::{self, File, TryLockError};
use std::io::{self, Error, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const PREFIX: &str = ".kiln-";
const SUFFIX: &str = ".part";
/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// Where an output goes.
#[derive(Debug)]
pub struct Output(Place);

#[derive(Debug)]
enum Place {
    /// A file that is there or will be, links followed.
    File(PathBuf),
    /// A character device.
    Device(PathBuf),
    /// A descriptor of this process: a duplicate of it, with its position and rights, and its number.
    Descriptor(File, i32),
}

impl Output {
    /// Looks at what a path is; nothing is written.
    ///
    /// # Errors
    /// A path that no output can go to, which the message says.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Output> {
        let path = follow(path.as_ref())?;
        if let Some(number) = descriptor(&path) {
            return Ok(Output(Place::Descriptor(writable(number)?, number)));
        }
        match fs::metadata(&path) {
            Ok(meta) => match kind(&meta.file_type()) {
                Kind::File => Ok(Output(Place::File(path))),
                Kind::Stream => Ok(Output(Place::Device(path))),
                Kind::Other(what) => Err(refused(format!("it is {what}: give the path of a file"))),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => {
                if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                    return Err(refused("it names no file: give the path of a file".into()));
                }
                match fs::metadata(folder_of(&path)) {
                    Ok(_) => Ok(Output(Place::File(path))),
                    Err(e) => Err(Error::new(e.kind(), format!("its folder, {}: {e}", folder_of(&path).display()))),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// The same, unless it is one of these files, by whatever path, link or descriptor: writing there would destroy what is read.
    ///
    /// # Errors
    /// The file that it is.
    pub fn not_among(self, inputs: impl IntoIterator<Item = impl AsRef<Path>>) -> io::Result<Output> {
        let (path, meta) = match &self.0 {
            Place::File(path) => (path.as_path(), fs::metadata(path)),
            Place::Descriptor(file, _) => (Path::new(""), file.metadata()),
            Place::Device(_) => return Ok(self),
        };
        // A terminal or a pipe loses nothing.
        let Some(meta) = meta.ok().filter(fs::Metadata::is_file) else { return Ok(self) };
        for input in inputs {
            let input = input.as_ref();
            if fs::metadata(input).is_ok_and(|other| same(path, &meta, input, &other)) {
                return Err(refused(format!(
                    "it is {}, which is read: give another path for what is written",
                    input.display()
                )));
            }
        }
        Ok(self)
    }

    /// Whether it takes bytes as they come, and so no file that is put together out of order.
    pub fn is_stream(&self) -> bool {
        !matches!(self.0, Place::File(_))
    }

    /// Begins the file.
    ///
    /// # Errors
    /// When the folder cannot be written to, or the output is a stream.
    pub fn create(self) -> io::Result<OutputFile> {
        match self.0 {
            Place::File(target) => OutputFile::begin(target),
            Place::Device(_) | Place::Descriptor(..) => Err(refused(
                "it is a stream, and the file's parts are not written in order: give the path of a file".into(),
            )),
        }
    }

    /// Writes all of it: a file that appears when it is whole, or the bytes into a stream.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self.0 {
            Place::File(target) => {
                let mut file = OutputFile::begin(target)?;
                file.write_all(bytes)?;
                file.finish()
            }
            // After what is printed there and waits to be written.
            Place::Descriptor(_, 1) => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Place::Descriptor(_, 2) => io::stderr().write_all(bytes),
            Place::Descriptor(mut file, _) => file.write_all(bytes),
            Place::Device(path) => fs::OpenOptions::new().write(true).open(path)?.write_all(bytes),
        }
    }
}

/// A file that appears at its place when it is [finished](Self::finish). Dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    /// Its name meanwhile, where it has one.
    part: Option<PathBuf>,
    target: PathBuf,
}

impl OutputFile {
    fn begin(target: PathBuf) -> io::Result<OutputFile> {
        let folder = folder_of(&target);
        clear_abandoned(folder);
        if let Some(file) = unnamed(folder) {
            return Ok(OutputFile { file, part: None, target });
        }
        let (file, part) =
            with_name(|part| File::options().read(true).write(true).create_new(true).open(part), folder)?;
        Ok(OutputFile { file, part: Some(part), target })
    }

    /// Makes sure that the disk has all of it, and moves it to its place.
    ///
    /// # Errors
    /// When the system refuses; nothing is at the place then that was not there before.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.part.is_none() {
            let (_, part) = with_name(|part| link(&self.file, part), folder_of(&self.target))?;
            self.part = Some(part);
        }
        if let Some(part) = &self.part {
            // Who may read the file that is replaced may read this one.
            if let Ok(old) = fs::metadata(&self.target) {
                let _ = self.file.set_permissions(old.permissions());
            }
            fs::rename(part, &self.target)?;
            self.part = None;
        }
        Ok(())
    }

    /// The file that is written.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // Nothing more can be done if this fails too.
            let _ = fs::remove_file(part);
        }
    }
}

/// Removes the parts in a folder whose writers died. What cannot be looked at stays.
pub fn clear_abandoned(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let is_part = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).is_some_and(|n| n.ends_with(SUFFIX));
        if is_part && let Ok(file) = File::options().read(true).write(true).open(entry.path()) {
            // Its writer holds the lock for as long as it lives, whichever namespace its process id is of.
            if file.try_lock().is_ok() {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Makes a locked file by a name that nothing else has.
fn with_name(make: impl Fn(&Path) -> io::Result<File>, folder: &Path) -> io::Result<(File, PathBuf)> {
    let mut number = 0u32;
    loop {
        let path = folder.join(format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id()));
        match make(&path) {
            Ok(file) => match file.try_lock() {
                // Between making and locking another process may have taken it for abandoned.
                Ok(()) if is_at(&file, &path) => return Ok((file, path)),
                // Where nothing can be locked, nothing is taken for abandoned.
                Err(TryLockError::Error(_)) => return Ok((file, path)),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
            },
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        number = number.checked_add(1).ok_or_else(|| Error::other("no name is free for a part"))?;
    }
}

/// Whether the path still names the open file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    same(path, &open, path, &there)
}

/// A file in the folder that has no name, where the system has such and can name it later.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).open(folder).ok()?;
    fs::metadata(descriptor_path(&file)).is_ok().then_some(file)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path) -> Option<File> {
    None
}

#[cfg(target_os = "linux")]
fn descriptor_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Gives an unnamed file a name.
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<File> {
    use std::os::unix::ffi::OsStrExt;
    let no_nul = |bytes: &[u8]| std::ffi::CString::new(bytes).map_err(|_| refused("the path contains a NUL".into()));
    let (from, to) = (no_nul(descriptor_path(file).as_os_str().as_bytes())?, no_nul(path.as_os_str().as_bytes())?);
    // The lock is the open file's, and so is there before the name.
    match file.try_lock() {
        Ok(()) | Err(TryLockError::Error(_)) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::other("an unnamed file is locked by another process")),
    }
    // SAFETY: both paths are NUL-terminated strings that live until after the call.
    let linked =
        unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    if linked == 0 { file.try_clone() } else { Err(Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<File> {
    Err(Error::from(ErrorKind::Unsupported))
}

enum Kind {
    File,
    Stream,
    Other(&'static str),
}

#[cfg(unix)]
fn kind(of: &fs::FileType) -> Kind {
    use std::os::unix::fs::FileTypeExt;
    if of.is_file() {
        Kind::File
    } else if of.is_char_device() {
        Kind::Stream
    } else if of.is_dir() {
        Kind::Other("a folder")
    } else if of.is_fifo() {
        Kind::Other("a FIFO")
    } else if of.is_block_device() {
        Kind::Other("a block device")
    } else if of.is_socket() {
        Kind::Other("a socket")
    } else {
        Kind::Other("no regular file")
    }
}

#[cfg(not(unix))]
fn kind(of: &fs::FileType) -> Kind {
    if of.is_dir() { Kind::Other("a folder") } else { Kind::File }
}

#[cfg(unix)]
fn same(_: &Path, a: &fs::Metadata, _: &Path, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same(a: &Path, _: &fs::Metadata, b: &Path, _: &fs::Metadata) -> bool {
    fs::canonicalize(a).ok().is_some_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// Where a path leads: its links followed one by one, as far as to a descriptor of this process.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        if descriptor(&path).is_some() {
            return Ok(path);
        }
        match fs::read_link(&path) {
            Ok(to) => path = folder_of(&path).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(refused(format!("more than {MOST_LINKS} links lead from one to the next")))
}

/// The number of the open descriptor that a path is, such as `/proc/self/fd/1`.
fn descriptor(path: &Path) -> Option<i32> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let folder = fs::canonicalize(folder_of(path)).ok()?;
    let own = folder == Path::new("/dev/fd") || fs::canonicalize("/proc/self/fd").is_ok_and(|fd| fd == folder);
    own.then_some(number)
}

/// A duplicate of a descriptor, if that may be written to.
#[cfg(unix)]
fn writable(number: i32) -> io::Result<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the call takes any number, and says of one that is no open descriptor that it is none.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    if flags < 0 {
        return Err(refused(format!("there is no open descriptor {number}: {}", Error::last_os_error())));
    }
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(refused(format!(
            "descriptor {number} is open for reading only: give one that is open for writing"
        )));
    }
    // SAFETY: as above.
    let duplicate = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if duplicate < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else's.
    Ok(unsafe { File::from_raw_fd(duplicate) })
}

#[cfg(not(unix))]
fn writable(_: i32) -> io::Result<File> {
    Err(Error::from(ErrorKind::Unsupported))
}

/// The folder that a path is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests;
