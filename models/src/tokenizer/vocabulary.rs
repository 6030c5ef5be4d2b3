//! The vocabulary of a folder's tokenizer: of its `tokenizer.json`, or of the files of older forms.

use super::added::AddedToken;
use super::class::Class;
use super::merges;
use super::names::{BPE, FILES, MERGES, SENTENCEPIECE, WORDS};
use super::sentencepiece::{CONTROL, SentencePiece, UNIGRAM, USER_DEFINED};
use crate::json::bytes as read;
use crate::{Error, Result};
use base64::Engine;
use kiln_core::json::shown;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The tokens that a class builds its tokenizer of.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// `vocab` of a `tokenizer.json`: ids by token, for Unigram a list of tokens with scores.
    pub vocab: Value,
    /// Of BPE.
    pub merges: Value,
    /// SentencePiece's table of what characters are replaced by, in base64.
    pub charsmap: Option<String>,
    /// The file that it is from, where that is one of SentencePiece.
    pub model: Option<SentencePiece>,
}

impl Vocabulary {
    /// The tokens that SentencePiece's model keeps apart: those that are never in a text, which are special, and those of the user.
    pub fn added(&self) -> Option<Vec<AddedToken>> {
        let pieces = self.model.as_ref()?.pieces.iter();
        let added = pieces.filter(|piece| matches!(piece.kind, CONTROL | USER_DEFINED));
        let token = |text: &str, special| AddedToken { normalized: false, ..AddedToken::new(text, special) };
        Some(added.map(|piece| token(&piece.text, piece.kind == CONTROL)).collect())
    }
}

/// The vocabulary of a `tokenizer.json`, taken out of it, for a class that builds the rest anew. `None` for a class that takes the file
/// as it is, and for a file of another kind of model than the class is of.
pub(super) fn of_json(class: Class, json: &mut Value) -> Option<(Class, Vocabulary)> {
    let kind = class.model()?;
    let model = &json["model"];
    // Older files do not name the kind.
    let found = model["type"].as_str().or_else(|| match (&model["vocab"], &model["merges"]) {
        (Value::Array(_), _) => Some("Unigram"),
        (_, Value::Array(_)) => Some("BPE"),
        (_, _) => model.get("continuing_subword_prefix").map(|_| "WordPiece"),
    });
    if found != Some(kind) {
        tracing::warn!(
            "tokenizer.json holds a tokenizer of the kind {}, and its class {class:?} is of the kind {kind}; it is taken as it is",
            found.unwrap_or("that it does not name")
        );
        return None;
    }
    let charsmap = charsmap(&json["normalizer"]);
    let model = &mut json["model"];
    Some((class, Vocabulary { vocab: model["vocab"].take(), merges: model["merges"].take(), charsmap, model: None }))
}

fn charsmap(normalizer: &Value) -> Option<String> {
    let parts = normalizer["normalizers"].as_array().map_or(std::slice::from_ref(normalizer), Vec::as_slice);
    parts.iter().find_map(|part| Some(part.get("precompiled_charsmap")?.as_str()?.to_string()))
}

/// The vocabulary of a folder without `tokenizer.json`; `None` where it has none, or one that nothing here makes a tokenizer of.
pub(super) fn of_files(folder: &Path, class: Class, model: &Value) -> Result<Option<(Class, Vocabulary)>> {
    // The general class knows SentencePiece's files only: for others, the class of the model's type.
    let class = match class {
        Class::General if !folder.join(SENTENCEPIECE).exists() => Class::registered(model).unwrap_or(class),
        class => class,
    };
    let found = match class.files() {
        [] => None,
        [WORDS] => words(&folder.join(WORDS))?,
        [BPE, ..] => bpe(folder)?,
        files => match files.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
            Some(path) => sentencepiece(path, class)?,
            None => None,
        },
    };
    if found.is_none()
        && let Some(name) = FILES.iter().find(|name| folder.join(name).exists())
    {
        tracing::warn!(
            "{}: no tokenizer is made of {name}, since kiln does not know how transformers' class for it splits text; going on without \
             a tokenizer. Save the tokenizer with transformers, which writes tokenizer.json",
            folder.display()
        );
    }
    Ok(found.map(|vocabulary| (class, vocabulary)))
}

fn words(path: &Path) -> Result<Option<Vocabulary>> {
    let Some(text) = text(path)? else { return Ok(None) };
    let ids: Map<String, Value> =
        text.lines().enumerate().map(|(id, line)| (line.trim_end().to_string(), json!(id))).collect();
    Ok(Some(Vocabulary { vocab: ids.into(), ..Vocabulary::default() }))
}

fn bpe(folder: &Path) -> Result<Option<Vocabulary>> {
    let path = folder.join(BPE);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let mut ids: HashMap<String, usize> = HashMap::new();
    for (token, id) in crate::json::object::<Map<String, Value>>(&path, &bytes)? {
        let number = id.as_u64().and_then(|id| usize::try_from(id).ok()).ok_or_else(|| Error::CorruptTokenizer {
            path: path.clone(),
            problem: format!("token {token:?}: expected the number of a token, found {}", shown(&id)),
        })?;
        ids.insert(token, number);
    }
    let merges_path = folder.join(MERGES);
    let text = text(&merges_path)?.ok_or_else(|| Error::MissingFile {
        folder: folder.to_path_buf(),
        expected: MERGES,
        advice: format!("{BPE} says the tokens, and {MERGES} how they are put together: copy both, or tokenizer.json"),
    })?;
    let corrupt = |problem: String| Error::CorruptTokenizer { path: merges_path.clone(), problem };
    let mut merges = vec![];
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with("#version")) {
        let (left, right) = line
            .split_once(' ')
            .ok_or_else(|| corrupt(format!("line {} is {line:?}, expected two tokens with a space between", n + 1)))?;
        let joined = format!("{left}{right}");
        if let Some(absent) = [left, right, &joined].into_iter().find(|token| !ids.contains_key(*token)) {
            return Err(corrupt(format!("line {} ({line:?}) needs the token {absent:?}, which {BPE} has not", n + 1)));
        }
        merges.push(json!([left, right]));
    }
    Ok(Some(Vocabulary { vocab: json!(ids), merges: merges.into(), ..Vocabulary::default() }))
}

fn sentencepiece(path: PathBuf, class: Class) -> Result<Option<Vocabulary>> {
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let model = SentencePiece::parse(&bytes).map_err(|problem| Error::CorruptTokenizer {
        path,
        problem: format!("it is no sound SentencePiece model: {problem}"),
    })?;
    let kind = class.model().unwrap_or(if model.model_type == UNIGRAM { "Unigram" } else { "BPE" });
    let (vocab, merges) = match kind {
        "Unigram" => (model.pieces.iter().map(|piece| json!([piece.text, piece.score])).collect(), Value::Null),
        _ => {
            let ids: HashMap<&str, usize> =
                model.pieces.iter().enumerate().map(|(id, piece)| (piece.text.as_str(), id)).collect();
            (json!(ids), json!(merges::by_rank(&ids)))
        }
    };
    let charsmap =
        (!model.charsmap.is_empty()).then(|| base64::engine::general_purpose::STANDARD.encode(&model.charsmap));
    Ok(Some(Vocabulary { vocab, merges, charsmap, model: Some(model) }))
}

fn text(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|e| Error::CorruptTokenizer {
        path: path.to_path_buf(),
        problem: format!("its bytes are no UTF-8 from byte {} on", e.utf8_error().valid_up_to()),
    })
}
