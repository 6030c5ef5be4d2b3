//! Each op's attributes as text, and back.

use crate::{AttentionAttrs, DotDims, Literal, Op, Real, Type, graph::FuncId};
use kiln_core::{BinaryOp, CompareOp, DType, Dim, ReduceOp, UnaryOp};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// Attributes by name, their values still text.
pub(super) type Attributes = BTreeMap<String, String>;

fn list<T: fmt::Display>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}

/// The attributes in printing order.
pub(super) fn print(op: &Op) -> Vec<(&'static str, String)> {
    match op {
        Op::Constant(l) => vec![("data", l.to_string())],
        Op::Iota { shape, axis } => vec![("shape", list(shape)), ("axis", axis.to_string())],
        Op::DimSize(d) => vec![("dim", d.to_string())],
        Op::Cast(d) | Op::Dequantize(d) => vec![("to", d.to_string())],
        Op::Reshape(shape) | Op::Broadcast(shape) => vec![("shape", list(shape))],
        Op::Transpose(perm) => vec![("perm", list(perm))],
        Op::Slice { axis, start, len } => {
            vec![("axis", axis.to_string()), ("start", start.to_string()), ("len", len.to_string())]
        }
        Op::Concat { axis }
        | Op::Take { axis }
        | Op::Gather { axis }
        | Op::Softmax { axis }
        | Op::LogSumExp { axis } => {
            vec![("axis", axis.to_string())]
        }
        Op::TopK { axis, k } => vec![("axis", axis.to_string()), ("k", k.to_string())],
        Op::Pad { axis, low, high, value } => vec![
            ("axis", axis.to_string()),
            ("low", low.to_string()),
            ("high", high.to_string()),
            ("value", value.to_string()),
        ],
        Op::Reduce { axis, keep, .. } => vec![("axis", axis.to_string()), ("keep", keep.to_string())],
        Op::DotGeneral(d) => vec![
            ("lhs_batch", list(&d.lhs_batch)),
            ("rhs_batch", list(&d.rhs_batch)),
            ("lhs_contract", list(&d.lhs_contract)),
            ("rhs_contract", list(&d.rhs_contract)),
        ],
        Op::RmsNorm { eps } | Op::LayerNorm { eps } => vec![("eps", eps.to_string())],
        Op::Gelu { tanh } => vec![("tanh", tanh.to_string())],
        Op::Attention(a) => {
            let mut out = vec![("scale", a.scale.to_string()), ("causal", a.causal.to_string())];
            out.extend(a.window.map(|w| ("window", w.to_string())));
            out.extend([("cached", a.cached.to_string()), ("mask", a.mask.to_string())]);
            out
        }
        Op::Get(i) => vec![("index", i.to_string())],
        Op::Arg(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Select
        | Op::CacheUpdate
        | Op::Sigmoid
        | Op::Silu
        | Op::Rope
        | Op::Call(_) => vec![],
    }
}

/// `add`, `reduce_sum {axis = 1, keep = true}`
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Op::Arg(i) => return write!(f, " {i}"),
            Op::Call(FuncId(i)) => return write!(f, " #{i}"),
            // A long constant would bury the message that names it.
            Op::Constant(l) if l.bytes().len() > 64 => return write!(f, " of {} bytes", l.bytes().len()),
            _ => {}
        }
        let attributes = print(self);
        if attributes.is_empty() {
            return Ok(());
        }
        let text: Vec<String> = attributes.iter().map(|(k, v)| format!("{k} = {v}")).collect();
        write!(f, " {{{}}}", text.join(", "))
    }
}

/// The op of that name with these attributes; `ty` is the type that the text gives its value.
pub(super) fn parse(name: &str, attributes: &mut Attributes, ty: &Type) -> Result<Op, String> {
    let mut a = Reader(attributes);
    let op = match name {
        "constant" => {
            let t = ty.tensor().ok_or("a constant is a tensor")?;
            let dtype = t.dtype().ok_or("a constant is not block-quantised")?;
            let shape: Option<Vec<usize>> =
                t.shape.iter().map(|d| d.as_const().and_then(|n| usize::try_from(n).ok())).collect();
            let shape = shape.ok_or("a constant has a constant shape")?;
            Op::Constant(Literal::parse(dtype, shape, &a.text("data")?)?)
        }
        "iota" => Op::Iota { shape: a.list("shape")?, axis: a.get("axis")? },
        "dim_size" => Op::DimSize(a.get("dim")?),
        "select" => Op::Select,
        "cast" => Op::Cast(a.get("to")?),
        "dequantize" => Op::Dequantize(a.get::<DType>("to")?),
        "reshape" => Op::Reshape(a.list("shape")?),
        "broadcast" => Op::Broadcast(a.list("shape")?),
        "transpose" => Op::Transpose(a.list("perm")?),
        "slice" => Op::Slice { axis: a.get("axis")?, start: a.get::<Dim>("start")?, len: a.get("len")? },
        "concat" => Op::Concat { axis: a.get("axis")? },
        "pad" => Op::Pad { axis: a.get("axis")?, low: a.get("low")?, high: a.get("high")?, value: a.real("value")? },
        "take" => Op::Take { axis: a.get("axis")? },
        "gather" => Op::Gather { axis: a.get("axis")? },
        "top_k" => Op::TopK { axis: a.get("axis")?, k: a.get("k")? },
        "dot_general" => Op::DotGeneral(DotDims {
            lhs_batch: a.list("lhs_batch")?,
            rhs_batch: a.list("rhs_batch")?,
            lhs_contract: a.list("lhs_contract")?,
            rhs_contract: a.list("rhs_contract")?,
        }),
        "cache_update" => Op::CacheUpdate,
        "rms_norm" => Op::RmsNorm { eps: a.real("eps")? },
        "layer_norm" => Op::LayerNorm { eps: a.real("eps")? },
        "softmax" => Op::Softmax { axis: a.get("axis")? },
        "log_sum_exp" => Op::LogSumExp { axis: a.get("axis")? },
        "sigmoid" => Op::Sigmoid,
        "silu" => Op::Silu,
        "gelu" => Op::Gelu { tanh: a.get("tanh")? },
        "rope" => Op::Rope,
        "attention" => Op::Attention(AttentionAttrs {
            scale: a.real("scale")?,
            causal: a.get("causal")?,
            window: a.optional("window")?,
            cached: a.get("cached")?,
            mask: a.get("mask")?,
        }),
        "get" => Op::Get(a.get("index")?),
        _ => {
            let reduce = name.strip_prefix("reduce_").and_then(ReduceOp::from_name);
            if let Some(op) = reduce {
                Op::Reduce { op, axis: a.get("axis")?, keep: a.get("keep")? }
            } else if let Some(op) = UnaryOp::from_name(name) {
                Op::Unary(op)
            } else if let Some(op) = BinaryOp::from_name(name) {
                Op::Binary(op)
            } else if let Some(op) = CompareOp::from_name(name) {
                Op::Compare(op)
            } else {
                return Err(format!("unknown op `{name}`"));
            }
        }
    };
    match attributes.keys().next() {
        Some(extra) => Err(format!("`{name}` has no attribute `{extra}`")),
        None => Ok(op),
    }
}

struct Reader<'a>(&'a mut Attributes);

impl Reader<'_> {
    fn text(&mut self, key: &str) -> Result<String, String> {
        self.0.remove(key).ok_or_else(|| format!("the attribute `{key}` is missing"))
    }

    fn get<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Result<T, String> {
        let text = self.text(key)?;
        text.parse().map_err(|e| format!("`{key} = {text}`: {e}"))
    }

    fn optional<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Result<Option<T>, String> {
        if self.0.contains_key(key) { self.get(key).map(Some) } else { Ok(None) }
    }

    fn real(&mut self, key: &str) -> Result<Real, String> {
        // Of all NaNs the text has one.
        self.get(key).map(|v: f64| Real::new(if v.is_nan() { f64::NAN } else { v }))
    }

    fn list<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Result<Vec<T>, String> {
        let text = self.text(key)?;
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let inner = inner.ok_or_else(|| format!("`{key} = {text}`: expected a list in brackets"))?;
        super::parse::split(inner).map(|item| item.parse().map_err(|e| format!("`{key} = {text}`: {e}"))).collect()
    }
}
