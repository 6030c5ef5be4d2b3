//! Programs whose plan was changed under mended checksums, run with their code: what becomes of them.

#![allow(dead_code)]

use fastrand::Rng;
use kiln_runtime::{Artifact, ArtifactWriter, LoadOptions, Model, OpenOptions, Session, SessionOptions, TensorView};
use serde_json::Value;

/// An artifact, taken apart, and what its program answers.
pub struct Program {
    sections: Vec<(String, Vec<u8>)>,
    plan: Value,
    calls: Vec<Call>,
    answers: Vec<Vec<u8>>,
}

/// A call of a signature, with inputs by name.
pub struct Call {
    pub signature: &'static str,
    pub inputs: Vec<(&'static str, Vec<usize>, Vec<i64>)>,
}

/// What became of a changed plan.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was refused.
    Refused(String),
    /// It answers as before.
    Same,
    /// It answers something else.
    Different,
}

impl Program {
    pub fn new(artifact: &[u8], calls: Vec<Call>) -> Self {
        let whole = Artifact::from_bytes(artifact.to_vec(), &OpenOptions::default()).expect("a sound artifact");
        let section = |name: &str| whole.named_section(name).map(<[u8]>::to_vec).unwrap_or_default();
        let sections = whole.sections().iter().map(|s| (s.name.clone(), section(&s.name))).collect();
        let plan = serde_json::from_slice(&section("plan")).expect("a plan");
        let mut program = Program { sections, plan, calls, answers: vec![] };
        program.answers = program.answer(&program.plan).expect("the plan as it is");
        program
    }

    /// The plan of that number, and what was changed.
    pub fn changed(&self, number: u64) -> (Value, String) {
        let mut random = Rng::with_seed(number);
        let mut plan = self.plan.clone();
        let changes: Vec<String> = (0..random.usize(1..=2)).map(|_| change(&mut plan, &mut random)).collect();
        (plan, changes.join("; "))
    }

    /// Loads a plan in place of the program's own, and makes all calls.
    pub fn fate(&self, plan: &Value) -> Fate {
        match self.answer(plan) {
            Err(reason) => Fate::Refused(reason),
            Ok(answers) if answers == self.answers => Fate::Same,
            Ok(_) => Fate::Different,
        }
    }

    /// The section `kernels` as if the code had been compiled for another plan.
    fn kernels(&self, plan: &str) -> String {
        let bytes = self.sections.iter().find(|(name, _)| name == "kernels").map(|(_, bytes)| &bytes[..]);
        let mut kernels: Value = serde_json::from_slice(bytes.unwrap_or_default()).expect("JSON");
        kernels["plan"] = kiln_runtime::artifact::plan_digest(plan.as_bytes()).into();
        kernels.to_string()
    }

    fn answer(&self, plan: &Value) -> Result<Vec<Vec<u8>>, String> {
        let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
        let changed = plan.to_string();
        let run = || -> kiln_runtime::Result<Vec<Vec<u8>>> {
            let mut w = ArtifactWriter::in_memory()?;
            for (name, bytes) in &self.sections {
                match name.as_str() {
                    "plan" => w.named_section(name, changed.as_bytes())?,
                    "kernels" => w.named_section(name, self.kernels(&changed).as_bytes())?,
                    _ => w.named_section(name, bytes)?,
                }
            }
            let model = Model::from_bytes(w.finish()?, &options)?;
            let mut session = Session::new(&model, &SessionOptions::default())?;
            let mut answers = vec![];
            for call in &self.calls {
                let views: Vec<_> = call
                    .inputs
                    .iter()
                    .map(|(name, shape, values)| (*name, TensorView::new(shape, values.as_slice())))
                    .collect();
                let outputs = session.call(call.signature, &views)?;
                answers.extend(outputs.iter().map(|(name, t)| [name.as_bytes(), t.bytes].concat()));
            }
            Ok(answers)
        };
        run().map_err(|e| e.to_string())
    }
}

/// Changes one thing in a JSON value; says what.
fn change(plan: &mut Value, random: &mut Rng) -> String {
    let mut leaves = vec![];
    paths(plan, &mut String::new(), &mut leaves);
    let path = leaves[random.usize(..leaves.len())].clone();
    let other = leaves[random.usize(..leaves.len())].clone();
    let other = plan.pointer(&other).cloned().unwrap_or_default();
    let Some(value) = plan.pointer_mut(&path) else { return path };
    let before = short(value);
    match value {
        Value::Number(n) => {
            let n = n.as_i64().unwrap_or(0);
            let huge = [i64::MAX, i64::MIN, 1 << 40, 1 << 32, -1, 0, 1, 2, 64];
            *value = match random.usize(..6) {
                0 => n.wrapping_add(1).into(),
                1 => n.wrapping_sub(1).into(),
                2 => n.wrapping_mul(2).into(),
                3 => (n / 2).into(),
                4 if other.is_number() => other,
                _ => huge[random.usize(..huge.len())].into(),
            };
        }
        Value::String(text) => {
            let text = text.clone();
            *value = match random.usize(..8) {
                0 => format!("{text} + 1"),
                1 => format!("{text} - 1"),
                2 => format!("2*max({text}, 0)"),
                3 => "0".into(),
                4 => "1".into(),
                5 => "4611686018427387904".into(),
                6 => format!("{text} + 1099511627776"),
                _ => other.as_str().map_or("s".into(), str::to_string),
            }
            .into();
        }
        Value::Array(items) if !items.is_empty() => {
            let (a, b) = (random.usize(..items.len()), random.usize(..items.len()));
            match random.usize(..3) {
                0 => items.swap(a, b),
                1 => drop(items.remove(a)),
                _ => items.insert(b, items[a].clone()),
            }
        }
        _ => *value = Value::Null,
    }
    format!("{path}: {before} to {}", short(plan.pointer(&path).unwrap_or(&Value::Null)))
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

/// The JSON pointers of all that can be changed: numbers, texts and lists.
fn paths(value: &Value, at: &mut String, out: &mut Vec<String>) {
    let len = at.len();
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                // Names for people change nothing.
                if matches!(name.as_str(), "label" | "flops" | "bytes") && at.contains("/steps/") {
                    continue;
                }
                at.push('/');
                at.push_str(name);
                paths(field, at, out);
                at.truncate(len);
            }
        }
        Value::Array(items) => {
            out.push(at.clone());
            for (i, item) in items.iter().enumerate() {
                at.push_str(&format!("/{i}"));
                paths(item, at, out);
                at.truncate(len);
            }
        }
        _ => out.push(at.clone()),
    }
}

/// A path without its numbers: the kind of place.
pub fn kind(path: &str) -> String {
    path.split('/').map(|part| if part.parse::<u64>().is_ok() { "N" } else { part }).collect::<Vec<_>>().join("/")
}

/// Calls that a decoder answers.
pub fn decoder_calls() -> Vec<Call> {
    let step = |inputs: [(&'static str, &[usize], &[i64]); 3]| Call {
        signature: "step",
        inputs: inputs.map(|(name, shape, values)| (name, shape.to_vec(), values.to_vec())).to_vec(),
    };
    vec![
        step([("input_ids", &[2, 3], &[0, 5, 9, 7, 8, 3]), ("slots", &[2], &[1, 0]), ("starts", &[2], &[-1, 0])]),
        step([("input_ids", &[1, 1], &[11]), ("slots", &[1], &[1]), ("starts", &[1], &[2])]),
        step([("input_ids", &[1, 9], &[1, 2, 3, 4, 5, 6, 7, 8, 9]), ("slots", &[1], &[0]), ("starts", &[1], &[3])]),
        Call { signature: "forward", inputs: vec![("input_ids", vec![1, 10], (20..30).collect())] },
    ]
}
