use super::*;

fn of(vars: &[(&str, &str)]) -> HubOptions {
    let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
    HubOptions::from_vars(var, Some("/home/me".into()))
}

fn cache(vars: &[(&str, &str)]) -> String {
    of(vars).cache_dir.to_str().unwrap().to_string()
}

#[test]
fn the_cache_is_where_huggingface_hub_has_it() {
    let (xdg, home, own) = (("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c"));
    let old = ("HUGGINGFACE_HUB_CACHE", "/o");
    assert_eq!(cache(&[]), "/home/me/.cache/huggingface/hub");
    assert_eq!(cache(&[xdg]), "/x/huggingface/hub");
    assert_eq!(cache(&[xdg, home]), "/h/hub");
    assert_eq!(cache(&[xdg, home, old]), "/o");
    assert_eq!(cache(&[xdg, home, old, own]), "/c");
    assert_eq!(cache(&[("HF_HOME", "~/models"), ("HF_HUB_CACHE", "")]), "/home/me/models/hub");
    // transformers read it until version 5.
    assert_eq!(cache(&[("TRANSFORMERS_CACHE", "/t")]), "/home/me/.cache/huggingface/hub");
}

/// What Python's os.path gives for the same.
#[test]
fn variables_and_homes_in_paths_are_expanded() {
    let root = ("ROOT", "/data");
    for (value, want) in [
        ("$ROOT/hub", "/data/hub"),
        ("${ROOT}/hub", "/data/hub"),
        ("/a/${ROOT}x$ROOT", "/a//datax/data"),
        ("$ROOTS/hub", "$ROOTS/hub"),
        ("${NONE}/$/${ROOT", "${NONE}/$/${ROOT"),
        ("~", "/home/me"),
        ("~/x/$ROOT", "/home/me/x//data"),
        ("/x/~", "/x/~"),
        ("~root/x", "/root/x"),
        ("~nobody-of-that-name/x", "~nobody-of-that-name/x"),
        ("relative/$ROOT", "relative//data"),
        ("$NEST", "$ROOT"),
        ("$TILDE", "~/x"),
        ("$ÄROOT", "$ÄROOT"),
    ] {
        let more = [root, ("NEST", "$ROOT"), ("TILDE", "~/x")];
        assert_eq!(cache(&[&more[..], &[("HF_HUB_CACHE", value)]].concat()), want, "{value}");
        assert_eq!(cache(&[&more[..], &[("HUGGINGFACE_HUB_CACHE", value)]].concat()), want, "{value}");
    }
    assert_eq!(cache(&[root, ("HF_HOME", "${ROOT}/hf")]), "/data/hf/hub");
    assert_eq!(cache(&[root, ("XDG_CACHE_HOME", "$ROOT/cache")]), "/data/cache/huggingface/hub");
}

#[cfg(unix)]
#[test]
fn a_path_need_not_be_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let path = OsString::from_vec(b"/caf\xe9".to_vec());
    let var = |name: &str| (name == "HF_HUB_CACHE").then(|| path.clone());
    assert_eq!(HubOptions::from_vars(var, None).cache_dir, PathBuf::from(path.clone()));
}

#[test]
fn the_token_comes_from_variable_or_file_and_stays_out_of_logs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
    std::fs::write(folder.path().join("other"), "hf_other").unwrap();
    let home = ("HF_HOME", folder.path().to_str().unwrap());
    let other = folder.path().join("other");
    let path = ("HF_TOKEN_PATH", other.to_str().unwrap());
    let token = |vars: &[(&str, &str)]| of(vars).token;
    assert_eq!(token(&[home]).as_deref(), Some("hf_file"));
    assert_eq!(token(&[home, path]).as_deref(), Some("hf_other"));
    let within = [("WHERE", folder.path().to_str().unwrap()), ("HF_TOKEN_PATH", "$WHERE/other")];
    assert_eq!(token(&within).as_deref(), Some("hf_other"));
    let (old, new) = (("HUGGING_FACE_HUB_TOKEN", "hf_old"), ("HF_TOKEN", " hf_var "));
    assert_eq!(token(&[home, path, old]).as_deref(), Some("hf_old"));
    assert_eq!(token(&[home, path, old, new]).as_deref(), Some("hf_var"));
    assert_eq!(token(&[home, new, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    assert_eq!(token(&[("HF_HOME", "/nowhere")]), None);
    assert!(!format!("{:?}", of(&[home])).contains("hf_file"));
}

#[test]
fn server_and_offline() {
    let plain = of(&[]);
    assert_eq!((plain.endpoint.as_str(), plain.local_files_only), ("https://huggingface.co", false));
    assert_eq!(of(&[("HF_ENDPOINT", "http://hub.local/")]).endpoint, "http://hub.local");
    for (value, offline) in [("1", true), ("TRUE", true), ("yes", true), ("0", false), ("", false)] {
        assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).local_files_only, offline, "{value:?}");
        assert_eq!(of(&[("TRANSFORMERS_OFFLINE", value)]).local_files_only, offline, "{value:?}");
    }
    let both = [("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")];
    assert!(!of(&both).local_files_only);
}
