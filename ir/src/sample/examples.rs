//! Examples in the documents under `specs/`, which tests run.
//!
//! A fenced block marked `kir` holds a module. A comment line in it states a result of one of its functions:
//!
//! ```text
//! // f([1.0, -2.5]) = [-1.0, 2.5]            these bits
//! // f([1.0]) ~ [2.7182817]                  within 1e-5 of each element (and 1e-6 near zero)
//! // b = 1, s = 2: f([1, 2]) = [3]           with values for the size symbols
//! // f(hex(0038 01 ff 00*30), [0.5*32]) = …  bytes of block storage; `*n` repeats
//! ```
//!
//! Elements are listed row-major in one list per tensor, several results separated by commas. A block marked `kir error` holds a
//! module that is refused when it is parsed or verified, and a line `// error: …` with a part of the message.

use crate::{Module, TensorType, interp::Tensor, text};
use kiln_core::Storage;

/// A fenced block.
pub struct Example {
    /// Line number of the block's first line.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// What the message of a module that is refused has in it.
    pub error: Option<String>,
    /// What its functions give.
    pub calls: Vec<ExampleCall>,
}

/// One stated result.
pub struct ExampleCall {
    /// Line number.
    pub line: usize,
    /// The function's name.
    pub function: String,
    /// Values of size symbols.
    pub sizes: Vec<(String, i64)>,
    /// Arguments, in order.
    pub args: Vec<Tensor>,
    /// Results, in order.
    pub results: Vec<Tensor>,
    /// Whether the bits must be those.
    pub exact: bool,
}

impl ExampleCall {
    /// Whether these results are the stated ones.
    pub fn accepts(&self, got: &[Tensor]) -> bool {
        let near = |g: f64, w: f64| g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-5 * w.abs() + 1e-6;
        got.len() == self.results.len()
            && got.iter().zip(&self.results).all(|(g, w)| {
                let same_type = g.storage() == w.storage() && g.shape() == w.shape();
                let pairs = || g.to_f64_vec().into_iter().zip(w.to_f64_vec());
                let close = if self.exact {
                    g == w || pairs().all(|(g, w)| g.to_bits() == w.to_bits() || (g.is_nan() && w.is_nan()))
                } else {
                    pairs().all(|(g, w)| near(g, w))
                };
                same_type && close
            })
    }
}

/// The examples of a Markdown document, or what is wrong with one, with its line number.
///
/// # Errors
/// A sentence with the line number: a module that does not parse, or a result that does not fit its function.
pub fn examples(markdown: &str) -> Result<Vec<Example>, String> {
    let mut out = vec![];
    let mut lines = markdown.lines().enumerate();
    while let Some((i, line)) = lines.next() {
        let refused = line.trim() == "```kir error";
        if !refused && line.trim() != "```kir" {
            continue;
        }
        let body: Vec<&str> = lines.by_ref().map(|(_, l)| l).take_while(|l| l.trim() != "```").collect();
        let mut example = Example { line: i + 2, text: body.join("\n") + "\n", error: None, calls: vec![] };
        let comments =
            body.iter().enumerate().filter_map(|(j, l)| Some((i + 2 + j, l.trim().strip_prefix("//")?.trim())));
        if refused {
            example.error = comments.into_iter().find_map(|(_, c)| c.strip_prefix("error:")).map(|m| m.trim().into());
        } else {
            let module = text::parse(&example.text).map_err(|e| format!("block at line {}: {e}", i + 2))?;
            for (line, comment) in comments {
                if comment.contains(" = ") || comment.contains(" ~ ") {
                    example.calls.push(call(&module, line, comment).map_err(|e| format!("line {line}: {e}"))?);
                }
            }
        }
        out.push(example);
    }
    Ok(out)
}

fn call(module: &Module, line: usize, text: &str) -> Result<ExampleCall, String> {
    let (left, right, exact) = match (text.split_once(") = "), text.split_once(") ~ ")) {
        (Some((l, r)), _) => (l, r, true),
        (None, Some((l, r))) => (l, r, false),
        _ => return Err(format!("expected `f(…) = …` or `f(…) ~ …`, found `{text}`")),
    };
    let (sizes, left) = left.split_once(": ").unwrap_or(("", left));
    let sizes: Result<Vec<(String, i64)>, String> = sizes
        .split(',')
        .filter(|s| !s.trim().is_empty())
        .map(|s| {
            let (name, v) = s.split_once('=').ok_or_else(|| format!("expected `symbol = value`, found `{s}`"))?;
            Ok((name.trim().into(), v.trim().parse().map_err(|e| format!("`{s}`: {e}"))?))
        })
        .collect();
    let sizes = sizes?;
    let (function, args) = left.split_once('(').ok_or("expected `(`")?;
    let (_, f) = module.find(function).ok_or_else(|| format!("there is no function @{function}"))?;
    let arg_types: Vec<&TensorType> = f.args.iter().map(|a| &a.ty).collect();
    let result_types: Vec<&TensorType> = f.outputs.iter().map(|o| f.tensor(o.value)).collect();
    let args = tensors(args, &arg_types, &sizes)?;
    let results = tensors(right, &result_types, &sizes)?;
    Ok(ExampleCall { line, function: function.into(), sizes, args, results, exact })
}

fn tensors(text: &str, types: &[&TensorType], sizes: &[(String, i64)]) -> Result<Vec<Tensor>, String> {
    let items: Vec<&str> = text::split(text).collect();
    if items.len() != types.len() {
        return Err(format!("expected {} tensors, found {} in `{text}`", types.len(), items.len()));
    }
    items.iter().zip(types).map(|(item, ty)| tensor(item, ty, sizes)).collect()
}

/// `a*3, b` as `a, a, a, b`.
fn repeated<'a>(items: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, String> {
    let mut out = vec![];
    for item in items.map(str::trim).filter(|i| !i.is_empty()) {
        match item.split_once('*') {
            Some((v, n)) => out.extend(std::iter::repeat_n(v, n.parse().map_err(|e| format!("`{item}`: {e}"))?)),
            None => out.push(item),
        }
    }
    Ok(out)
}

fn tensor(text: &str, ty: &TensorType, sizes: &[(String, i64)]) -> Result<Tensor, String> {
    let mut shape = vec![];
    for d in ty.shape.iter() {
        let v = d.eval(&|s| sizes.iter().find(|(name, _)| name == s).map(|(_, v)| *v)).map_err(|e| e.to_string())?;
        shape.push(usize::try_from(v).map_err(|_| format!("the size {d} is {v}"))?);
    }
    let Storage::Dense(dtype) = ty.storage else {
        let inner = text.strip_prefix("hex(").and_then(|t| t.strip_suffix(')')).ok_or("block storage is `hex(…)`")?;
        let digits = repeated(inner.split_whitespace())?.concat();
        let byte = |i: usize| digits.get(i..i + 2).and_then(|d| u8::from_str_radix(d, 16).ok());
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
        let bytes = bytes.ok_or_else(|| format!("`{text}` is not hexadecimal"))?;
        return Tensor::from_bytes(ty.storage, shape, bytes).map_err(|e| e.to_string());
    };
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or("expected a list in brackets")?;
    let list = format!("[{}]", repeated(inner.split(','))?.join(", "));
    crate::Literal::parse(dtype, shape, &list).map(|l| (&l).into())
}
