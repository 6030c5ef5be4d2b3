//! Seeing what the compiler does and what the machine makes of it: `kiln bench`, `calibrate`.

use crate::cli::{Bench, llama};
use serde_json::Value;

fn list<'v>(value: &'v Value, key: &str) -> &'v Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("`{key}` is a list in {value}"))
}

#[test]
fn calls_and_their_steps_are_timed() {
    let bench = Bench::new();
    let artifact = bench.artifact();
    let timed = bench.json(&["bench", &artifact, "--rounds", "3", "--threads", "1", "--json"]);
    let timings = list(&timed, "timings");
    // `forward` once, `step` as it reads a prompt and as it decodes; the golden's context is 256.
    let cases: Vec<&str> = timings.iter().filter_map(|t| t["case"].as_str()).collect();
    assert_eq!(timings.len(), 3, "{cases:?}");
    for case in ["forward, batch = 1, seq = 256", "step, prefill of 256", "step, one token after 255"] {
        assert!(cases.contains(&case), "{cases:?}");
    }
    for t in timings {
        let [min, median, max] = ["min_seconds", "median_seconds", "max_seconds"].map(|k| t[k].as_f64().expect(k));
        assert!(0.0 < min && min <= median && median <= max, "{t}");
        assert!(t["tokens_per_second"].as_f64().expect("a rate") > 0.0);
    }
    // One case of the sizes asked for.
    let one = ["bench", &artifact, "--signature", "step", "--sizes", "b=2,s=3", "--rounds", "1", "--no-mmap"];
    assert!(bench.works(&one).contains("step, b = 2, s = 3"));

    let profiled = bench.json(&["bench", &artifact, "--profile", "--rounds", "3", "--json"]);
    for p in list(&profiled, "profiles") {
        let steps = list(p, "steps");
        assert!(steps.iter().any(|s| s["template"] == "matmul"), "{p}");
        for s in steps {
            assert!(s["seconds"].as_f64() > Some(0.0) && s["roofline_seconds"].as_f64() > Some(0.0), "{s}");
        }
    }
    let table = bench.works(&["bench", &llama(), "--profile", "--rounds", "1", "--signature", "step"]);
    assert!(table.contains("GFLOP/s") && table.contains("roofline") && table.contains("matmul"), "{table}");
}

#[test]
fn bad_sizes_are_named() {
    let bench = Bench::new();
    let artifact = bench.artifact();
    for (args, words) in [
        (["--signature", "backward"], &["backward", "forward, step"][..]),
        (["--sizes", "q=3"], &["`q`", "one of b"]),
        (["--sizes", "s=9999"], &["`s` is 9999", "1 to 256"]),
    ] {
        bench.fails(&[&["bench", &artifact][..], &args].concat(), words);
    }
    for (args, word) in [(["--sizes", "s"], "NAME=NUMBER"), (["--rounds", "0"], "0 is not in")] {
        bench.ends(2, &[&["bench", &artifact][..], &args].concat(), &[word]);
    }
}

#[test]
fn a_calibrated_file_is_a_target() {
    let bench = Bench::new();
    let file = bench.arg("machine.toml");
    bench.works(&["calibrate", "-o", &file, "--threads", "1", "--name", "here"]);
    let text = std::fs::read_to_string(&file).expect("reads");
    let measured = kiln::target::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!((measured.name(), measured.rates().cores), ("here", 1));
    let out = bench.arg("m.kiln");
    bench.works(&["compile", &llama(), "-o", &out, "--target", &file]);
    let target = bench.json(&["inspect", &out, "--json"])["manifest"]["builds"][0]["target"].clone();
    assert_eq!(target["name"], "here");
    assert_eq!(target["rates"]["peak_flops"].as_f64(), Some(measured.rates().peak_flops));

    let none = bench.arg("out/m.kiln");
    let with = |target: &str, code: i32, words: &[&str]| {
        bench.ends(code, &["compile", &llama(), "-o", &none, "--target", target], words);
    };
    with("cuda:a100", 1, &["GPU `a100`", "--target cpu"]);
    with("cpu:pentium", 2, &["cpu:pentium", "cpu:zen4"]);
    with("nowhere.toml", 2, &["cannot read", "nowhere.toml"]);
    let broken = bench.arg("broken.toml");
    std::fs::write(&broken, text.replace("cores = 1", "cores = \"one\"")).expect("writes");
    with(&broken, 2, &["broken.toml", "cores", "expected"]);
    // 0 threads are as many as the machine has, as with every verb.
    let nowhere = bench.arg("nowhere/machine.toml");
    bench.fails(&["calibrate", "-o", &nowhere, "--threads", "0"], &["cannot write", "nowhere"]);
    bench.fails(&["calibrate", "--threads", "1000000"], &["1000000 threads"]);
}

#[test]
fn blocks_are_explained() {
    let bench = Bench::new();
    let explained = bench.json(&["explain", &llama(), "--block", "step.layer", "--check", "--json"]);
    let function = &list(&explained, "functions")[0];
    let steps = list(function, "steps");
    assert!(steps.len() > 5 && function["complete"] == true, "{function}");
    assert!(function["cost_after"].as_f64() < function["cost_before"].as_f64());
    for step in steps {
        assert!(step["form_error"].as_f64() < Some(1e-5), "{step}");
    }
    let text = bench.works(&["explain", &llama()]);
    assert!(text.contains("@forward.layer: ") && text.contains("µs") && text.contains("law "), "{text}");

    bench.fails(&["explain", &llama(), "--block", "Nothing"], &["`Nothing`", "expected one of"]);
    bench.fails(&["explain", "m.kiln"], &["compiled already"]);
    bench.fails(&["explain", "nowhere.kir"], &["cannot read nowhere.kir"]);
    std::fs::write(bench.path("bad.kir"), "entry @f(").expect("writes");
    bench.fails(&["explain", &bench.arg("bad.kir")], &["1:"]);
}

#[test]
fn a_planted_rule_is_named() {
    use kiln::lab::bisect::{BisectOptions, bisect};
    use kiln_passes::egraph::{Numerics, Rule};
    let files = kiln::ModelFiles::open_folder(&crate::golden("llama")).expect("opens");
    let all = || kiln_passes::rules::up_to(Numerics::default(), &[]);
    let options = |interpret| BisectOptions { compile: crate::options(), golden: None, interpret, length: 5 };
    // Well-typed and wrong: a residual is dropped.
    let planted = || Rule::pattern("planted", Numerics::Exact, "(add ?x (dot_general ?y ?w ?d))", "?x", vec![]);
    // Compiling takes longer, so there the planted rule is among fewer.
    let few = || kiln_passes::rules::norm::rules();
    for (interpret, mut rules, at) in [(true, all(), 20), (false, few(), 3)] {
        rules.insert(at, planted());
        let mut tries = 0;
        let found = bisect(&files, &rules, &options(interpret), |_, _| tries += 1).expect("searches").expect("finds");
        assert_eq!(found.rules, ["planted"]);
        assert!(found.comparison.relative_error > 1e-3, "{found:?}");
        assert!(tries < 4 + 3 * rules.len().ilog2(), "{tries} tries for {} rules", rules.len());
    }
    // Rules that are wrong only together: one makes what the other gets wrong.
    let mut rules = all();
    rules.push(Rule::pattern("first", Numerics::Exact, "(silu ?x)", "(mul ?x (sigmoid ?x))", vec![]));
    rules.push(Rule::pattern("second", Numerics::Exact, "(mul ?x (sigmoid ?x))", "?x", vec![]));
    let found = bisect(&files, &rules, &options(true), |_, _| ()).expect("searches").expect("finds");
    assert_eq!(found.rules, ["first", "second"]);
    assert!(bisect(&files, &all(), &options(true), |_, _| ()).expect("searches").is_none());
}

#[test]
fn bisect_says_where_there_is_nothing_to_find() {
    let bench = Bench::new();
    assert!(bench.works(&["bisect", &llama(), "--interpret"]).contains("right with all"));
    let right = bench.json(&["bisect", &llama(), "--interpret", "--golden", &llama(), "--json"]);
    assert!(right["finding"].is_null() && right["rules"].as_u64() > Some(50), "{right}");
    bench.fails(&["bisect", "m.kiln"], &["not an artifact"]);
    // A golden of another model is wrong without any rule.
    let other = crate::golden("mistral-window");
    let other = other.to_str().expect("UTF-8");
    bench.fails(&["bisect", &llama(), "--interpret", "--golden", other], &["with all rules off"]);
}

/// Debian's browser, if it is installed: `scripts/setup.sh` installs it for the tests.
fn chromium(home: &str, args: &[&str]) -> Option<std::process::Output> {
    let mut command = std::process::Command::new("chromium");
    crate::without_environment(&mut command).env("HOME", home).arg(format!("--user-data-dir={home}"));
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]).args(args);
    match command.output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        output => Some(output.expect("chromium runs")),
    }
}

#[test]
fn blocks_are_drawn() {
    let bench = Bench::new();
    let svg = bench.arg("llama.svg");
    let printed = bench.works(&["graph", &llama(), "-o", &svg]);
    assert!(printed.contains("@step.layer: ") && printed.contains("kernels"), "{printed}");
    let image = std::fs::read_to_string(&svg).expect("reads");
    for word in ["@step.layer", "as written", "rewritten", "matmul · ", "attention", "q_proj.weight", "</svg>"] {
        assert!(image.contains(word), "{word}");
    }
    assert!(!image.contains("NaN") && !image.contains("inf"));
    // A graph as text: a chain of elementwise ops is one kernel.
    let text = "sym s in 1..=8\nentry @f(%0: f32[s, 4] input \"x<y\") {\n  %1: f32[s, 4] = exp %0\n  %2: f32[s, 4] = neg %1\n  return \"y\" %2\n}\n";
    std::fs::write(bench.path("f.kir"), text).expect("writes");
    let (file, page) = (bench.arg("f.kir"), bench.arg("f.html"));
    assert!(bench.works(&["graph", &file, "-o", &page, "--rows", "8"]).contains("@f: 1 -> 1 kernels"));
    let html = std::fs::read_to_string(&page).expect("reads");
    assert!(html.contains("x&lt;y") && !html.contains("x<y"));

    bench.fails(&["graph", &llama(), "-o", &bench.arg("out/g.png")], &["g.png", ".svg or .html"]);
    bench.fails(&["graph", &llama(), "-o", &bench.arg("out/g.svg"), "--block", "x"], &["`x`", "step.layer"]);
    bench.fails(&["graph", &llama(), "-o", &bench.arg("nowhere/g.svg")], &["cannot write", "nowhere"]);
}

#[test]
fn the_page_works_offline_in_a_browser() {
    let bench = Bench::new();
    let page = bench.arg("llama.html");
    bench.works(&["graph", &llama(), "-o", &page]);
    let html = std::fs::read_to_string(&page).expect("reads");
    // Nothing is fetched: the one address is the name of SVG's namespace.
    let addresses: std::collections::BTreeSet<&str> =
        html.match_indices("http").map(|(at, _)| html[at..].split('"').next().unwrap_or_default()).collect();
    assert_eq!(addresses.into_iter().collect::<Vec<_>>(), ["http://www.w3.org/2000/svg"]);
    let home = bench.arg("browser");
    let address = format!("file://{page}");
    let Some(output) = chromium(&home, &["--virtual-time-budget=2000", "--dump-dom", &address]) else {
        eprintln!("skipped: there is no chromium on this machine (scripts/setup.sh installs it for the tests)");
        return;
    };
    let dom = String::from_utf8_lossy(&output.stdout);
    // The script ran to its end, and found kernels in every picture.
    let drawn = dom.split("data-drawn=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let drawn: Vec<u32> = drawn.split(',').map(|n| n.parse().unwrap_or(0)).collect();
    assert!(drawn.len() >= 2 && drawn.iter().all(|n| *n > 4), "{drawn:?}: {}", String::from_utf8_lossy(&output.stderr));
    let image = bench.arg("llama.png");
    let shot = format!("--screenshot={image}");
    chromium(&home, &[&shot, "--window-size=1600,1000", &address]);
    assert!(std::fs::metadata(&image).expect("a screenshot").len() > 20_000);
}

#[test]
fn predictions_stand_beside_measurements() {
    let bench = Bench::new();
    let costs = bench.json(&["bench", &llama(), "--costs", "--block", "step.layer", "--rounds", "2", "--json"]);
    let blocks = list(&costs, "blocks");
    // One token and a prompt.
    assert_eq!(blocks.iter().map(|b| &b["rows"]).collect::<Vec<_>>(), [1, 64]);
    for block in blocks {
        let forms = list(block, "alternatives");
        let named = |name: &str| forms.iter().any(|f| f["name"].as_str().is_some_and(|n| n.contains(name)));
        assert!(forms.len() > 4 && named("chosen") && named("as written") && named("without merge"), "{block}");
        assert!(forms.iter().all(|f| f["predicted"].as_f64() > Some(0.0) && f["measured"].as_f64() > Some(0.0)));
    }
    let [distinct, equal] = ["distinct", "equal"].map(|k| costs["pairs"][k].as_u64().expect(k));
    let all: u64 = blocks.iter().map(|b| list(b, "alternatives").len() as u64).map(|n| n * (n - 1) / 2).sum();
    assert_eq!(distinct + equal, all);
    bench.fails(&["bench", &llama(), "--costs", "--block", "x"], &["`x`", "step.layer"]);
    bench.fails(&["bench", "m.kiln", "--costs"], &["compiled already"]);
    bench.ends(2, &["bench", &llama(), "--costs", "--profile"], &["cannot be used with"]);
}

#[test]
fn tables_of_rules_are_left_out_one_by_one() {
    let bench = Bench::new();
    let rules = bench.json(&["bench", &llama(), "--rules", "--rounds", "1", "--json"]);
    let rows = list(&rules, "rows");
    assert_eq!(rows.len(), kiln_passes::rules::TABLES.len() + 2);
    let row = |name: &str| rows.iter().find(|r| r["rules"] == name).unwrap_or_else(|| panic!("{name}"));
    let decode = |name: &str, key: &str| list(row(name), "cases")[1][key].as_f64().expect("a number");
    // With all rules there is less to do than with none, and without merging more to launch.
    for key in ["steps", "predicted"] {
        assert!(decode("all", key) < decode("none", key), "{key}");
        assert!(decode("all", key) < decode("without merge", key), "{key}");
    }
}
