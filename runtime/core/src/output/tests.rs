use super::*;

fn written(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Output::at(path)?.create()?;
    file.write_all(bytes)?;
    file.finish()
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_appears_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let mut file = Output::at(&path).unwrap().create().unwrap();
    file.write_all(b"some").unwrap();
    assert!(!path.exists());
    drop(file);
    assert_eq!(names(folder.path()), [""; 0]);
    written(&path, b"one").unwrap();
    written(&path, b"two").unwrap();
    Output::at(folder.path().join("text")).unwrap().write(b"three").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(names(folder.path()), ["out", "text"]);
}

#[test]
fn names_may_be_as_long_as_the_system_allows() {
    let folder = tempfile::tempdir().unwrap();
    for length in [200, 245, 255] {
        written(&folder.path().join("n".repeat(length)), b"x").unwrap();
    }
    assert!(written(&folder.path().join("n".repeat(256)), b"x").is_err());
}

#[cfg(unix)]
#[test]
fn links_are_written_through() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::write(at("sub/real"), "old").unwrap();
    symlink("sub/real", at("first")).unwrap();
    symlink(at("first"), at("second")).unwrap();
    symlink("sub/new", at("dangling")).unwrap();
    for (link, real) in [("first", "sub/real"), ("second", "sub/real"), ("dangling", "sub/new")] {
        written(&at(link), link.as_bytes()).unwrap();
        assert!(at(link).is_symlink() && !at(real).is_symlink(), "{link}");
        assert_eq!(fs::read(at(real)).unwrap(), link.as_bytes());
    }
    symlink("loop", at("loop")).unwrap();
    assert!(Output::at(at("loop")).unwrap_err().to_string().contains("links lead from one to the next"));
}

#[cfg(unix)]
#[test]
fn a_file_that_is_replaced_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    written(&path, b"x").unwrap();
    let usual = mode();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    written(&path, b"y").unwrap();
    assert_eq!((mode(), fs::read(&path).unwrap()), (0o600, b"y".to_vec()));
    // A new one has what the user's mask leaves, as any file.
    fs::write(folder.path().join("other"), "").unwrap();
    assert_eq!(usual, fs::metadata(folder.path().join("other")).unwrap().permissions().mode() & 0o777);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_stays_what_it_is() {
    use std::os::unix::fs::FileTypeExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let fifo = at("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("sub")).unwrap();
    for (name, what) in [("fifo", "a FIFO"), ("socket", "a socket"), ("sub", "a folder"), ("sub/", "a folder")] {
        let message = Output::at(at(name)).unwrap_err().to_string();
        assert!(message.contains(what), "{name}: {message}");
    }
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    for (path, why) in [("none/out", "its folder"), ("new/", "it names no file"), ("..", "a folder")] {
        let message = Output::at(at(path)).unwrap_err().to_string();
        assert!(message.contains(why), "{path}: {message}");
    }
    // A device takes bytes, but no file that is put together out of order.
    Output::at("/dev/null").unwrap().write(b"away").unwrap();
    assert!(Output::at("/dev/null").unwrap().create().unwrap_err().to_string().contains("a stream"));
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
    if Path::new("/dev/stdout").exists() {
        assert!(matches!(Output::at("/dev/stdout").unwrap().0, Place::Descriptor(_, 1)));
    }
}

#[cfg(unix)]
#[test]
fn an_input_is_known_by_any_path() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("in"), "x").unwrap();
    fs::write(at("other"), "x").unwrap();
    fs::hard_link(at("in"), at("hard")).unwrap();
    std::os::unix::fs::symlink("in", at("soft")).unwrap();
    fs::create_dir(at("sub")).unwrap();
    for path in ["in", "hard", "soft", "sub/../in"] {
        let message = Output::at(at(path)).unwrap().not_among([at("missing"), at("in")]).unwrap_err().to_string();
        assert!(message.contains("which is read"), "{path}: {message}");
    }
    Output::at(at("other")).unwrap().not_among([at("in")]).unwrap();
    Output::at(at("new")).unwrap().not_among([at("in")]).unwrap();
}

#[cfg(unix)]
#[test]
fn a_descriptor_is_written_as_it_was_opened() {
    use std::os::fd::AsRawFd;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let output = |file: &File| Output::at(format!("/dev/fd/{}", file.as_raw_fd()));
    fs::write(&path, "read").unwrap();
    let reading = File::open(&path).unwrap();
    let message = output(&reading).unwrap_err().to_string();
    assert!(message.contains("open for reading only"), "{message}");
    // One that may be written to: at its position, and not if the file is read besides.
    let mut both = File::options().read(true).write(true).open(&path).unwrap();
    let message = output(&both).unwrap().not_among([&path]).unwrap_err().to_string();
    assert!(message.contains("which is read"), "{message}");
    both.seek(SeekFrom::Start(2)).unwrap();
    output(&both).unwrap().not_among([folder.path().join("other")]).unwrap().write(b"st").unwrap();
    both.write_all(b"!").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"rest!");
    // A pipe has one file number at both ends, and loses nothing.
    let (_reader, writer) = io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    output(&file).unwrap().not_among([format!("/dev/fd/{}", file.as_raw_fd())]).unwrap().write(b"x").unwrap();
    let message = Output::at("/dev/fd/987654").unwrap_err().to_string();
    assert!(message.contains("no open descriptor 987654"), "{message}");
}

#[test]
fn what_a_dead_process_left_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in [".kiln-1-0.part", ".kiln-99-7.part", ".kiln-note", "kiln-1-0.part", "model.part"] {
        fs::write(at(name), "x").unwrap();
    }
    // One that lives, under the number of another process.
    let lives = File::options().write(true).open(at(".kiln-99-7.part")).unwrap();
    lives.lock().unwrap();
    written(&at("out"), b"x").unwrap();
    assert_eq!(names(folder.path()), [".kiln-99-7.part", ".kiln-note", "kiln-1-0.part", "model.part", "out"]);
    drop(lives);
    clear_abandoned(folder.path());
    assert_eq!(names(folder.path()), [".kiln-note", "kiln-1-0.part", "model.part", "out"]);
}

/// The form of it for systems that have no unnamed files.
#[test]
fn a_part_with_a_name_is_locked_until_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let make = |part: &Path| File::options().read(true).write(true).create_new(true).open(part);
    let parts = [0, 1].map(|_| with_name(make, folder.path()).unwrap());
    assert_ne!(parts[0].1, parts[1].1);
    clear_abandoned(folder.path());
    assert_eq!(names(folder.path()).len(), 2);
    let [first, second] = parts.map(|(file, part)| OutputFile { file, part: Some(part), target: target.clone() });
    drop(first);
    second.finish().unwrap();
    assert_eq!(names(folder.path()), ["out"]);
}
