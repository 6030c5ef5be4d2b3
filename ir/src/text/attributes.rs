//! Attributes as text, and back: `{axis = 1, keep = true}`.

use super::split::split;
use crate::{AttentionAttrs, Attr, ConvAttrs, DotDims, Kind, Literal, Op, Real, Source, Type};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// Attributes by name, their values still text.
pub(super) type Attributes = BTreeMap<String, String>;

fn list<T: fmt::Display>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}

/// The attributes in braces, after a blank; nothing for an op that has none, or that says them elsewhere (`arg`, `call`).
pub fn attributes(op: &Op) -> String {
    if matches!(op, Op::Arg(_) | Op::Call(_)) {
        return String::new();
    }
    let mut items: Vec<(&str, String)> = vec![];
    for (key, attr) in op.attributes() {
        let mut add = |key: &'static str, value: String| items.push((key, value));
        match attr {
            Attr::Shape(shape) => add(key, list(&shape)),
            Attr::Perm(perm) => add(key, list(&perm)),
            Attr::Axis(n) => add(key, n.to_string()),
            Attr::Dim(d) => add(key, d.to_string()),
            Attr::Real(r) => add(key, r.to_string()),
            Attr::Flag(b) => add(key, b.to_string()),
            Attr::DType(d) => add(key, d.to_string()),
            Attr::Literal(l) => add(key, l.to_string()),
            Attr::Dot(d) => {
                add("lhs_batch", list(&d.lhs_batch));
                add("rhs_batch", list(&d.rhs_batch));
                add("lhs_contract", list(&d.lhs_contract));
                add("rhs_contract", list(&d.rhs_contract));
            }
            Attr::Attention(a) => {
                add("scale", a.scale.to_string());
                add("causal", a.causal.to_string());
                if let Some(window) = a.window {
                    add("window", window.to_string());
                }
                add("cached", a.cached.to_string());
                add("mask", a.mask.to_string());
            }
            Attr::Conv(c) => {
                add("strides", list(&c.strides));
                add("dilations", list(&c.dilations));
                add("low", list(&c.low));
                add("high", list(&c.high));
                add("groups", c.groups.to_string());
            }
        }
    }
    if items.is_empty() {
        return String::new();
    }
    let items: Vec<String> = items.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!(" {{{}}}", items.join(", "))
}

/// The op of that name with these attributes; `ty` is the type that the text gives its value.
pub(super) fn parse(name: &str, attributes: &mut Attributes, ty: &Type) -> Result<Op, String> {
    if name == "arg" {
        return Err("unknown op `arg`: arguments are written in the function's head".into());
    }
    let op = Op::read(&mut Reader { name, attributes, ty })?;
    match attributes.keys().next() {
        Some(extra) => Err(format!("`{name}` has no attribute `{extra}`")),
        None => Ok(op),
    }
}

struct Reader<'a> {
    name: &'a str,
    attributes: &'a mut Attributes,
    ty: &'a Type,
}

impl Source for Reader<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn attr(&mut self, key: &'static str, kind: Kind) -> Result<Attr, String> {
        Ok(match kind {
            Kind::Shape => Attr::Shape(self.list(key)?),
            Kind::Perm => Attr::Perm(self.list(key)?),
            Kind::Axis => Attr::Axis(self.get(key)?),
            Kind::Dim => Attr::Dim(self.get(key)?),
            Kind::Real => Attr::Real(self.real(key)?),
            Kind::Flag => Attr::Flag(self.get(key)?),
            Kind::DType => Attr::DType(self.get(key)?),
            Kind::Literal => {
                let t = self.ty.tensor().ok_or("a constant is a tensor")?;
                let dtype = t.dtype().ok_or("a constant is not block-quantised")?;
                let shape: Option<Vec<usize>> =
                    t.shape.iter().map(|d| d.as_const().and_then(|n| usize::try_from(n).ok())).collect();
                let shape = shape.ok_or("a constant has a constant shape")?;
                Attr::Literal(Literal::parse(dtype, shape, &self.text(key)?)?)
            }
            Kind::Dot => Attr::Dot(DotDims {
                lhs_batch: self.list("lhs_batch")?,
                rhs_batch: self.list("rhs_batch")?,
                lhs_contract: self.list("lhs_contract")?,
                rhs_contract: self.list("rhs_contract")?,
            }),
            Kind::Attention => Attr::Attention(AttentionAttrs {
                scale: self.real("scale")?,
                causal: self.get("causal")?,
                window: self.optional("window")?,
                cached: self.get("cached")?,
                mask: self.get("mask")?,
            }),
            Kind::Conv => Attr::Conv(ConvAttrs {
                strides: self.list("strides")?,
                dilations: self.list("dilations")?,
                low: self.list("low")?,
                high: self.list("high")?,
                groups: self.get("groups")?,
            }),
        })
    }
}

impl Reader<'_> {
    fn text(&mut self, key: &str) -> Result<String, String> {
        self.attributes.remove(key).ok_or_else(|| format!("the attribute `{key}` is missing"))
    }

    fn get<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Result<T, String> {
        let text = self.text(key)?;
        text.parse().map_err(|e| format!("`{key} = {text}`: {e}"))
    }

    fn optional<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Result<Option<T>, String> {
        if self.attributes.contains_key(key) { self.get(key).map(Some) } else { Ok(None) }
    }

    fn real(&mut self, key: &str) -> Result<Real, String> {
        // Of all NaNs the text has one.
        self.get(key).map(|v: f64| Real::new(if v.is_nan() { f64::NAN } else { v }))
    }

    fn list<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Result<Vec<T>, String> {
        let text = self.text(key)?;
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let inner = inner.ok_or_else(|| format!("`{key} = {text}`: expected a list in brackets"))?;
        split(inner).map(|item| item.parse().map_err(|e| format!("`{key} = {text}`: {e}"))).collect()
    }
}
