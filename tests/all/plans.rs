//! Plans whose numbers were changed under mended checksums, with the code as it was: they are refused, or they answer as before; no number
//! makes code leave its buffers.
//!
//! `KILN_PLANS=FROM..TO` runs those of these numbers and prints what became of them (`fuzz/README.md`). The code runs in a child process, since what
//! is looked for would end this one.

#[allow(dead_code)]
#[path = "../../fuzz/checks/mutate.rs"]
mod mutate;
#[path = "../../fuzz/checks/numbers.rs"]
mod numbers;

use crate::{golden, options};
use kiln::{ModelFiles, compile};
use numbers::{Fate, Program};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const ARTIFACT: &str = "KILN_PLANS_ARTIFACT";
const RANGE: &str = "KILN_PLANS";
/// How long a plan may take. What it does takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// In the child: runs the plans of a range, a line before and after each.
#[test]
#[ignore = "runs in a child of the test below"]
fn child() {
    let artifact = std::fs::read(std::env::var(ARTIFACT).expect("an artifact")).expect("reads");
    let program = Program::new(&artifact, numbers::decoder_calls());
    for number in range(&std::env::var(RANGE).expect("a range")) {
        let (plan, changes) = program.changed(number);
        println!("\nbegin {number} {changes}");
        let fate = match program.fate(&plan) {
            Fate::Refused(reason) => format!("refused {}", reason.replace('\n', " ")),
            Fate::Same => "same".into(),
            Fate::Different => "different".into(),
        };
        println!("\nend {number} {fate}");
    }
}

fn range(text: &str) -> std::ops::Range<u64> {
    let (from, to) = text.split_once("..").expect("FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[derive(Default)]
struct Report {
    refused: usize,
    same: usize,
    /// What was changed, by the kind of place.
    different: BTreeMap<String, Vec<String>>,
    died: Vec<String>,
    hung: Vec<String>,
}

impl Report {
    /// Runs a child from a number on; gives the number to go on with.
    fn child(&mut self, artifact: &str, from: u64, to: u64) -> u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["plans::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ARTIFACT, artifact)
            .env(RANGE, format!("{from}..{to}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let (send, received) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut open: Option<(u64, String)> = None;
        let mut next = from;
        loop {
            match received.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let mut parts = line.splitn(3, ' ');
                    match (parts.next(), parts.next().and_then(|n| n.parse().ok()), parts.next()) {
                        (Some("begin"), Some(number), Some(changes)) => open = Some((number, changes.into())),
                        (Some("end"), Some(number), Some(fate)) => {
                            let (_, changes) = open.take().expect("a beginning");
                            self.note(&changes, fate);
                            next = number + 1;
                        }
                        _ => {}
                    }
                }
                Err(error) => {
                    let hung = error == mpsc::RecvTimeoutError::Timeout;
                    if hung {
                        child.kill().expect("ends");
                    }
                    let status = child.wait().expect("ended");
                    return match open {
                        Some((number, changes)) => {
                            let list = if hung { &mut self.hung } else { &mut self.died };
                            list.push(format!("{number}, {status}: {changes}"));
                            number + 1
                        }
                        None => {
                            assert!(next == to, "the child ended at {next} of {to}: {status}");
                            next
                        }
                    };
                }
            }
        }
    }

    fn note(&mut self, changes: &str, fate: &str) {
        match fate {
            "same" => self.same += 1,
            "different" => {
                let places = changes.split("; ").map(|c| numbers::kind(c.split(": ").next().unwrap_or("")));
                self.different.entry(places.collect::<Vec<_>>().join(" and ")).or_default().push(changes.into());
            }
            _ => self.refused += 1,
        }
    }
}

#[test]
fn no_number_of_a_plan_makes_code_leave_its_buffers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.kiln");
    let files = ModelFiles::open_folder(&golden("llama")).expect("opens");
    compile(&files, &path, &options()).expect("compiles");
    let asked = std::env::var(RANGE).ok();
    let numbers = asked.as_deref().map_or(0..300, range);
    let mut report = Report::default();
    let mut next = numbers.start;
    while next < numbers.end {
        next = report.child(path.to_str().expect("UTF-8"), next, numbers.end);
    }
    if asked.is_some() {
        println!("{} refused, {} as before", report.refused, report.same);
        println!("{} died: {:#?}\n{} hung: {:#?}", report.died.len(), report.died, report.hung.len(), report.hung);
        for (place, changes) in &report.different {
            println!("{} differ: {place}, such as {}", changes.len(), changes[0]);
        }
    }
    assert!(report.died.is_empty() && report.hung.is_empty(), "{:#?} {:#?}", report.died, report.hung);
    assert!(report.refused > 0 && report.same > 0);
}
