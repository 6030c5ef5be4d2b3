//! Compiled results against the interpreter, and against what transformers computed.

use crate::{Error, Result};
use kiln_core::{DType, Dim, SizeRole, Storage, Symbol};
use kiln_ir::{Arg, ArgKind, Module, interp};
use kiln_models::weights::{Checkpoint, from_safetensors};
use kiln_runtime::{Session, TensorView};
use std::path::Path;

/// One compared tensor.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Comparison {
    /// What was compared: `forward.logits against the interpreter`.
    pub name: String,
    /// `‖got − want‖ / ‖want‖`.
    pub relative_error: f64,
    /// The largest that is fine.
    pub tolerance: f64,
}

impl Comparison {
    /// Whether the error is within the tolerance; NaN is not.
    pub fn holds(&self) -> bool {
        self.relative_error <= self.tolerance
    }
}

/// What a whole model that computes in a type may be off by (`specs/numerics.md`).
pub fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-11,
        DType::F16 => 1e-2,
        DType::BF16 => 2e-2,
        _ => 1e-4,
    }
}

/// Tensors of a safetensors file whose names begin with `prefix`, without it.
///
/// # Errors
/// When the file does not parse or holds an element type that kiln has not.
pub fn read_tensors(path: &Path, prefix: &str) -> Result<Vec<(String, interp::Tensor)>> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let error = |reason: String| Error::Tensors { path: path.into(), reason };
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| error(e.to_string()))?;
    let mut out = vec![];
    for (name, view) in file.iter() {
        let Some(short) = name.strip_prefix(prefix) else { continue };
        let dtype = from_safetensors(view.dtype()).ok_or_else(|| {
            let known = DType::ALL.map(DType::name).join(" ");
            error(format!("tensor `{name}` is {:?}: expected one of {known}", view.dtype()))
        })?;
        let tensor = interp::Tensor::from_bytes(Storage::Dense(dtype), view.shape().to_vec(), view.data().to_vec())?;
        out.push((short.to_string(), tensor));
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

/// The inputs of `forward` that must be given, for one thing of that length: integers spread over the values that an input may have, floats
/// between -1 and 1, the same each time.
///
/// # Errors
/// An input whose size has no value, or whose elements fit no memory.
pub fn made_up_inputs(module: &Module, length: usize) -> Result<Vec<(String, interp::Tensor)>> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let of_role = |symbol: &Symbol| if symbol.role == SizeRole::Batch { symbol.nearest(1) } else { length };
    let lookup = |s: &str| module.symbols.get(s).map(of_role);
    let eval = |d: &Dim| d.eval(&lookup).map_err(kiln_passes::PassError::from);
    let args = module.find("forward").map_or(&[][..], |(_, f)| &f.args);
    let given = args.iter().filter(|a| a.kind == ArgKind::Input && a.default.is_none());
    let tensor = |(i, arg): (usize, &Arg)| {
        let dtype = arg.ty.dtype().unwrap_or(DType::U8);
        let shape = arg.ty.shape.iter().map(|d| Ok(usize::try_from(eval(d)?).unwrap_or(0)));
        let shape = shape.collect::<Result<Vec<usize>>>()?;
        let (min, max) = match &arg.range {
            Some(range) => (eval(&range.min)?, eval(&range.max)?),
            None => (0, 1),
        };
        let value = |n: usize| {
            let spread = n as i64 * 7919 + 13;
            match dtype.is_float() {
                true => (spread % 2001) as f64 / 1000.0 - 1.0,
                false => (min + spread % (max - min + 1).max(1)) as f64,
            }
        };
        let values: Vec<f64> = (i..i + shape.iter().product::<usize>()).map(value).collect();
        Ok((arg.name.to_string(), interp::Tensor::from_f64(dtype, shape, &values)?))
    };
    given.enumerate().map(tensor).collect()
}

/// Tensors by name, as a call takes them.
///
/// # Errors
/// [`Error::Option`] for one that is block-quantised.
pub fn views(inputs: &[(String, interp::Tensor)]) -> Result<Vec<(&str, TensorView<'_>)>> {
    let views = inputs.iter().map(|(name, t)| match t.dtype() {
        Some(dtype) => Ok((name.as_str(), TensorView { dtype, shape: t.shape(), bytes: t.bytes() })),
        None => Err(Error::Option(format!("input `{name}` is block-quantised: give it dense"))),
    });
    views.collect()
}

/// Calls a signature on tensors by name.
///
/// # Errors
/// As [`Session::call`].
pub fn call(
    session: &mut Session,
    signature: &str,
    inputs: &[(String, interp::Tensor)],
) -> Result<Vec<(String, interp::Tensor)>> {
    let outputs = session.call(signature, &views(inputs)?)?;
    outputs
        .iter()
        .map(|(name, t)| {
            let tensor = interp::Tensor::from_bytes(Storage::Dense(t.dtype), t.shape.to_vec(), t.bytes.to_vec())?;
            Ok((name.to_string(), tensor))
        })
        .collect()
}

/// What the interpreter makes of an entry's inputs, with parameters from a checkpoint. Inputs that are not given take their
/// defaults; states begin as zeros of the sizes given.
///
/// # Errors
/// As [`interp::run`].
pub fn interpret(
    module: &Module,
    entry: &str,
    checkpoint: &Checkpoint,
    inputs: &[(String, interp::Tensor)],
    sizes: &[(&str, i64)],
) -> Result<Vec<(String, interp::Tensor)>> {
    let (_, f) = module.find(entry).ok_or_else(|| Error::Option(format!("there is no entry `{entry}`")))?;
    let mut bound: Vec<(String, i64)> = sizes.iter().map(|(n, v)| (n.to_string(), *v)).collect();
    for arg in &f.args {
        if let Some((_, t)) = inputs.iter().find(|(n, _)| **n == *arg.name) {
            for (d, n) in arg.ty.shape.iter().zip(t.shape()) {
                if let Some(s) = d.as_symbol().filter(|s| !bound.iter().any(|(b, _)| **b == ***s)) {
                    bound.push((s.to_string(), *n as i64));
                }
            }
        }
    }
    let lookup = |s: &str| bound.iter().find(|(n, _)| n == s).map(|(_, v)| *v);
    let mut args = vec![];
    for arg in &f.args {
        let given = inputs.iter().find(|(n, _)| **n == *arg.name);
        args.push(match (arg.kind, given) {
            (ArgKind::Param { .. }, _) => {
                let shape = &checkpoint.entry(&arg.name)?.shape;
                interp::Tensor::from_bytes(arg.ty.storage, shape.clone(), checkpoint.bytes(&arg.name)?.into_owned())?
            }
            (_, Some((_, t))) => t.clone(),
            _ => {
                let shape: std::result::Result<Vec<usize>, _> =
                    arg.ty.shape.iter().map(|d| d.eval(&lookup).map(|n| n.max(0) as usize)).collect();
                let shape = shape.map_err(kiln_passes::PassError::from)?;
                let n: usize = shape.iter().product();
                let last = shape.last().copied().unwrap_or(1).max(1);
                use kiln_core::DefaultFill::{Iota, Ones, Zeros};
                let value = |i: usize| match arg.default {
                    Some(Ones) => 1.0,
                    Some(Iota) => (i % last) as f64,
                    Some(Zeros) | None => 0.0,
                };
                if arg.default.is_none() && arg.kind == ArgKind::Input {
                    return Err(Error::Option(format!("the input `{}` of `{entry}` is missing", arg.name)));
                }
                let dtype = arg.ty.dtype().unwrap_or(DType::F32);
                interp::Tensor::from_f64(dtype, shape, &(0..n).map(value).collect::<Vec<_>>())?
            }
        });
    }
    let given: Vec<(&str, i64)> = bound.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    let results = interp::run(module, entry, &args, &given)?;
    let named = f.outputs.iter().zip(results).filter(|(o, _)| o.updates.is_none());
    Ok(named.map(|(o, t)| (o.name.to_string(), t)).collect())
}

/// Compares tensors of the same names, each of which may be off by `tolerance`.
///
/// # Errors
/// [`Error::Verify`] when a tensor is missing or has another shape.
pub fn compare(
    what: &str,
    got: &[(String, interp::Tensor)],
    want: &[(String, interp::Tensor)],
    tolerance: f64,
) -> Result<Vec<Comparison>> {
    let mut out = vec![];
    for (name, w) in want {
        let Some((_, g)) = got.iter().find(|(n, _)| n == name) else {
            return Err(Error::Verify(format!("{what}: there is no output `{name}`")));
        };
        if g.shape() != w.shape() {
            return Err(Error::Verify(format!("{what}: `{name}` has shape {:?}, expected {:?}", g.shape(), w.shape())));
        }
        out.push(Comparison {
            name: format!("{what}: {name}"),
            relative_error: interp::relative_error(g, w),
            tolerance,
        });
    }
    Ok(out)
}
