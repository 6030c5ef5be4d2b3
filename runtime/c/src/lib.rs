//! kiln's runtime for C. `include/kiln.h` is the documentation; this is its other side.
//!
//! Each function does its work inside `guard`, so that neither an error nor a panic crosses into C.

use kiln_runtime::causal_lm::longest_prompt;
use kiln_runtime::generate::{GenerateError, GenerationConfig, Output, Prompt, Request, TokenEvent, generate};
use kiln_runtime::text::Tokenizer;
use kiln_runtime::{CausalSession, LoadOptions, Model};
use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A loaded model, `kiln_model` in C.
pub struct KilnModel {
    model: Arc<Model>,
    tokenizer: Option<Tokenizer>,
    config: GenerationConfig,
}

/// Takes a piece of text, `kiln_on_text` in C.
pub type OnText = unsafe extern "C" fn(piece: *const c_char, user: *mut c_void) -> c_int;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Runs `work`; where it fails or panics, keeps the message and returns `failed`.
fn guard<T>(failed: T, work: impl FnOnce() -> Result<T>) -> T {
    let message = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
            format!("a bug in kiln: {text}")
        }
    };
    LAST_ERROR.set(c_text(&message));
    failed
}

/// The text for C; it cannot hold zeros, so they are left out.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

/// # Safety
/// `text` is null or points to bytes that end with a zero and live for `'a`.
unsafe fn bytes<'a>(text: *const c_char, name: &str) -> Result<&'a [u8]> {
    if text.is_null() {
        return Err(format!("`{name}` is NULL: expected text that ends with a zero").into());
    }
    // SAFETY: not null, and the caller's word for the rest.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// # Safety
/// `model` is null or came from [`kiln_open`] and was not closed.
unsafe fn model_ref<'a>(model: *const KilnModel) -> Result<&'a KilnModel> {
    // SAFETY: the caller's word.
    unsafe { model.as_ref() }.ok_or_else(|| "`model` is NULL: expected one from kiln_open".into())
}

impl KilnModel {
    fn open(path: &[u8], threads: usize) -> Result<Self> {
        let options = LoadOptions { threads: (threads > 0).then_some(threads), ..LoadOptions::default() };
        let model = Model::open(OsStr::from_bytes(path), &options)?;
        let (tokenizer, config) = (model.artifact().tokenizer()?, model.artifact().generation_config()?);
        Ok(KilnModel { tokenizer, config, model })
    }

    fn generate(
        &self,
        prompt: Prompt,
        max_new_tokens: usize,
        on_token: impl FnMut(&TokenEvent) -> ControlFlow<()>,
    ) -> Result<Output> {
        let prompts = [prompt];
        let config = GenerationConfig { max_new_tokens: Some(max_new_tokens), ..self.config.clone() };
        let mut session = CausalSession::for_prompts(&self.model, &prompts, &config)?;
        let detokenizer = self.tokenizer.as_ref().map(|t| t as _);
        Ok(generate(&mut session, Request { detokenizer, ..Request::new(&prompts, &config) }, on_token)?)
    }
}

/// See `kiln.h`.
///
/// # Safety
/// `path` is null or points to bytes that end with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_open(path: *const c_char, threads: usize) -> *mut KilnModel {
    guard(std::ptr::null_mut(), || {
        // SAFETY: the caller's word.
        let path = unsafe { bytes(path, "path") }?;
        Ok(Box::into_raw(Box::new(KilnModel::open(path, threads)?)))
    })
}

/// See `kiln.h`.
///
/// # Safety
/// `model` is null or an open model, `prompt` null or bytes that end with a zero, `on_text` null or a function as `kiln.h`
/// describes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_generate(
    model: *const KilnModel,
    prompt: *const c_char,
    max_new_tokens: usize,
    on_text: Option<OnText>,
    user: *mut c_void,
) -> c_int {
    guard(-1, || {
        // SAFETY: the caller's word.
        let (model, prompt) = unsafe { (model_ref(model)?, bytes(prompt, "prompt")?) };
        let on_text = on_text.ok_or("`on_text` is NULL: expected a function")?;
        let prompt = std::str::from_utf8(prompt).map_err(|e| format!("`prompt` is not UTF-8: {e}"))?;
        let tokenizer = model.tokenizer.as_ref();
        let tokenizer = tokenizer.ok_or("the artifact has no tokenizer: call kiln_generate_ids with token ids")?;
        let prompt = Prompt::new(tokenizer.encode(prompt, true)?);
        model.generate(prompt, max_new_tokens, |event| {
            let piece = c_text(&event.text);
            // SAFETY: the caller's word; the text lives during the call.
            match piece.is_empty() || unsafe { on_text(piece.as_ptr(), user) } == 0 {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        Ok(0)
    })
}

/// See `kiln.h`.
///
/// # Safety
/// `model` is null or an open model; `ids` points to `count` ids and `out` to room for `capacity`, or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_generate_ids(
    model: *const KilnModel,
    ids: *const u32,
    count: usize,
    out: *mut u32,
    capacity: usize,
) -> isize {
    guard(-1, || {
        // SAFETY: the caller's word.
        let model = unsafe { model_ref(model) }?;
        if ids.is_null() || out.is_null() {
            return Err("`ids` or `out` is NULL: expected arrays of token ids".into());
        }
        if !ids.is_aligned() || !out.is_aligned() {
            return Err("`ids` or `out` is no address of an array of uint32_t: expected a multiple of 4".into());
        }
        // A count that is wrong is found before memory is read that is not there.
        let longest = longest_prompt(&model.model);
        if count > longest {
            return Err(GenerateError::PromptTooLong { row: 0, found: count, max_context: longest }.into());
        }
        // SAFETY: not null, aligned, and the caller's word for its length. Copied, so `out` may be the same array.
        let prompt = Prompt::new(unsafe { std::slice::from_raw_parts(ids, count) });
        let output = model.generate(prompt, capacity, |_| ControlFlow::Continue(()))?;
        let new = output.rows.into_iter().next().map(|row| row.token_ids).unwrap_or_default();
        if new.len() > capacity {
            return Err(format!("{} new tokens, expected at most {capacity}", new.len()).into());
        }
        // SAFETY: not null, and room for `capacity`, which is no less than that.
        unsafe { std::ptr::copy_nonoverlapping(new.as_ptr(), out, new.len()) };
        Ok(new.len().cast_signed())
    })
}

/// See `kiln.h`.
#[unsafe(no_mangle)]
pub extern "C" fn kiln_last_error() -> *const c_char {
    // The text stays where it is until the next failure of this thread replaces it.
    LAST_ERROR.with_borrow(|message| message.as_ptr())
}

/// See `kiln.h`.
///
/// # Safety
/// `model` is null or an open model that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_close(model: *mut KilnModel) {
    guard((), || {
        if !model.is_null() {
            // SAFETY: it came from `kiln_open`, by the caller's word, and is given up here.
            drop(unsafe { Box::from_raw(model) });
        }
        Ok(())
    });
}
