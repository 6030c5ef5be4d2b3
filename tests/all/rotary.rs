//! Generation where rotary embedding follows the length of the sequence, against tests/goldens/rotary.py.

use crate::{golden, options};
use kiln::{CompileOptions, LoadOptions, Model, ModelFiles, compile};
use kiln_runtime::generate::{GenerationConfig, OneOrMany, Prompt, Request, generate};
use kiln_runtime::{CacheOptions, CausalSession};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

#[derive(Deserialize)]
struct Case {
    model: String,
    config: Map<String, Value>,
    /// Tokens of each prompt.
    prompts: Vec<usize>,
    /// Columns before all of them.
    padding: usize,
    new_tokens: usize,
    options: Options,
    ids: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Options {
    num_beams: Option<usize>,
    num_return_sequences: Option<usize>,
    eos_token_id: Option<u32>,
}

/// The tokens of prompt `row`.
fn tokens(row: usize, len: usize) -> Vec<u32> {
    (0..len).map(|i| 3 + (i * i * 7 + i * 31 + row * 101) as u32 % 381).collect()
}

/// The golden under the case's config, compiled.
fn open(case: &Case) -> (tempfile::TempDir, Arc<Model>) {
    let mut files = ModelFiles::open_folder(&golden(&case.model)).expect("opens");
    files.config.as_object_mut().expect("an object").extend(case.config.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.kiln");
    compile(&files, &path, &CompileOptions { max_seq: Some(1200), ..options() }).expect("compiles");
    let model = Model::open(&path, &LoadOptions::default()).expect("loads");
    (folder, model)
}

#[test]
fn the_length_is_that_of_the_whole_sequence() {
    let cases = std::fs::read(golden("rotary.json")).expect("rotary.json");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("JSON");
    let mut models = BTreeMap::new();
    for case in &cases {
        let key = format!("{} {:?}", case.model, case.config);
        let (_, model) = models.entry(key).or_insert_with(|| open(case));
        let config = GenerationConfig {
            max_new_tokens: Some(case.new_tokens),
            num_beams: case.options.num_beams,
            num_return_sequences: case.options.num_return_sequences,
            eos_token_id: case.options.eos_token_id.map(OneOrMany::One),
            pad_token_id: Some(0),
            ..GenerationConfig::default()
        };
        let width = case.prompts.iter().max().unwrap_or(&0) + case.padding;
        let padded = |(row, len): (usize, &usize)| {
            let ids = [vec![0; width - len], tokens(row, *len)].concat();
            Prompt { ids, padding: width - len, stream: None }
        };
        let mut batches: Vec<Vec<Prompt>> = vec![case.prompts.iter().enumerate().map(padded).collect()];
        if case.padding == 0 {
            // The rows need no padding of the caller's.
            batches.push(case.prompts.iter().enumerate().map(|(row, len)| Prompt::new(tokens(row, *len))).collect());
        }
        for prompts in batches {
            let rows = prompts.len() * config.rows_per_prompt();
            let options = CacheOptions { rows, ..CacheOptions::default() };
            let mut session = CausalSession::new(model, &options).expect("a session");
            let out = generate(&mut session, Request::new(&prompts, &config), |_| ControlFlow::Continue(()));
            for (row, want) in out.expect("generates").rows.iter().zip(&case.ids) {
                // After a row's end transformers pads it.
                let (new, padding) = want.split_at(row.token_ids.len());
                assert_eq!(row.token_ids, new, "{} {:?}: {:?}", case.model, case.config, case.prompts);
                assert!(padding.iter().all(|id| *id == 0), "{:?}", case.prompts);
            }
        }
    }
    assert_eq!(models.len(), 3, "a model is compiled once");
}
