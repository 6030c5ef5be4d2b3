//! The runner of `tests/filetests`; its README says what such a file is.

use kiln_core::TargetSpec;
use kiln_ir::{sample, text};
use kiln_passes::egraph::Numerics;
use kiln_passes::rules::up_to;
use kiln_passes::{Pipeline, pipeline};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const HEADER: &str = "// passes: ";
const DIVIDER: &str = "// ----";
const BLESS: &str = "KILN_BLESS=1 cargo nextest run --release --workspace --features kiln/cli -E 'test(filetests)'";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/filetests")
}

/// The files of a folder and its folders, by path.
fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "kir") {
            out.push(path);
        }
    }
}

/// What the passes in the first line make of the module: its text or its plan's, or the error; and what is wrong with the file itself.
fn result(source: &str) -> Result<String, String> {
    let first = source.lines().next().unwrap_or_default();
    let passes = first.strip_prefix(HEADER).ok_or(format!("its first line is not `{HEADER}…`"))?;
    let pipeline = Pipeline::parse(passes).map_err(|e| e.to_string())?;
    let module = match text::parse(source) {
        Ok(module) => module,
        Err(e) => return Ok(format!("error: {e}\n")),
    };
    let outcome = match pipeline.run(module, &TargetSpec::x86_64_v3()) {
        Ok(outcome) => outcome,
        Err(e) => return Ok(format!("error: {e}\n")),
    };
    // A file about a law that never found anything is about nothing.
    for law in pipeline.named_rules() {
        if !outcome.passes.iter().any(|p| p.rules().contains_key(law)) {
            return Err(format!("the law `{law}` found nothing"));
        }
    }
    Ok(outcome.compiled.map_or_else(|| outcome.module.to_string(), |c| c.plan.to_string()))
}

/// Text as comment lines.
fn commented(text: &str) -> String {
    text.lines().map(|l| if l.is_empty() { "//\n".into() } else { format!("// {l}\n") }).collect()
}

/// The file as it should be: what it says up to the divider, and what the passes say after it.
fn blessed(contents: &str) -> Result<String, String> {
    let lines: Vec<&str> = contents.lines().take_while(|l| *l != DIVIDER).collect();
    let source = lines.join("\n");
    Ok(format!("{}\n\n{DIVIDER}\n{}", source.trim_end(), commented(&result(&source)?)))
}

#[test]
fn every_file_gives_what_it_says() {
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut paths = vec![];
    files(&folder(), &mut paths);
    assert!(!paths.is_empty(), "{} is empty", folder().display());
    let mut failures = vec![];
    for path in paths {
        let name = path.strip_prefix(folder()).expect("within").display().to_string();
        let contents = std::fs::read_to_string(&path).expect("reads");
        match blessed(&contents) {
            Err(e) => failures.push(format!("{name}: {e}")),
            Ok(new) if new == contents => {}
            Ok(new) if bless => std::fs::write(&path, new).expect("writes"),
            Ok(new) => {
                let diff = similar::TextDiff::from_lines(&contents, &new);
                let diff = diff.unified_diff().header("the file says", "the passes give").to_string();
                failures.push(format!("{name}:\n{diff}"));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} files in tests/filetests fail; if they should say this, {BLESS}\n\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_op_has_a_file_that_uses_it() {
    let ops: BTreeSet<&str> = sample::op_cases(0)
        .iter()
        .flat_map(|m| m.functions.iter().flat_map(|f| f.nodes().map(|(_, n)| n.op.name())))
        .collect();
    for op in ops {
        let path = folder().join("ops").join(op).with_extension("kir");
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let module = text::parse(&source).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let used = module.functions.iter().flat_map(|f| f.nodes()).any(|(_, n)| n.op.name() == op);
        assert!(used, "{} does not use `{op}`", path.display());
    }
}

#[test]
fn every_gradient_has_a_file_that_shows_it() {
    let mut paths = vec![];
    files(&folder().join("gradients"), &mut paths);
    let mut shown = BTreeSet::new();
    for path in paths {
        let module = text::parse(&std::fs::read_to_string(&path).expect("reads"));
        let module = module.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        shown.extend(module.functions.iter().flat_map(|f| f.nodes()).map(|(_, n)| n.op.name()));
    }
    // Of bools, and of what is no number on the way: they have no gradient to show.
    let without = ["not", "and", "or", "reduce_argmax", "cumulative_argmax", "cumulative_prod", "cumulative_min"];
    for info in kiln_ir::Op::table().iter().filter(|info| info.gradient) {
        let left: Vec<_> = info.names.iter().filter(|n| !shown.contains(*n) && !without.contains(n)).collect();
        assert!(left.is_empty(), "no file in tests/filetests/gradients shows {left:?}");
    }
}

#[test]
fn every_law_has_a_file_that_names_it() {
    let mut paths = vec![];
    files(&folder().join("rules"), &mut paths);
    let first_line = |path: &PathBuf| std::fs::read_to_string(path).expect("reads").lines().next().map(str::to_string);
    let lines: Vec<String> = paths.iter().filter_map(first_line).collect();
    let named: BTreeSet<&str> = lines.iter().flat_map(|l| l.split(['(', ')', ',', ' '])).collect();
    let laws = up_to(Numerics::Approximate, &[]);
    let left: Vec<&str> = laws.iter().map(|r| r.name.as_str()).filter(|name| !named.contains(name)).collect();
    assert!(left.is_empty(), "no file in tests/filetests/rules names {left:?}");
}

#[test]
fn passes_are_read_by_name() {
    for (name, _) in pipeline::PASSES {
        assert_eq!(Pipeline::parse(name).expect(name).to_string(), *name);
    }
    let both = Pipeline::parse("egraph(neg-neg, mul-one, numerics = exact),simplify").expect("two passes");
    assert_eq!(both.to_string(), "egraph(neg-neg, mul-one, numerics = exact), simplify");
    assert_eq!(both.named_rules().collect::<Vec<_>>(), ["neg-neg", "mul-one"]);
    for (text, word) in [
        ("bake", "there is no pass `bake`: the passes are verify,"),
        ("lower, inline", "`lower` gives a plan"),
        ("inline(now)", "`inline` takes no options"),
        ("egraph(tables=", "expected `)`"),
        ("egraph(tables=metal)", "there is no table `metal`: the tables are arithmetic,"),
        ("egraph(no-such-law)", "there is no law `no-such-law`"),
        ("egraph(without=no-such-law)", "there is no law `no-such-law`"),
        ("egraph(numerics=wild)", "expected exact, reassociates or approximate"),
        ("egraph(nodes=many)", "`nodes=many`: invalid digit"),
        ("egraph(seconds=1)", "expected a law, tables="),
    ] {
        let error = Pipeline::parse(text).err().expect(text).to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}
