//! Text to module.
//!
//! By hand and not by winnow: its errors say neither what was found nor which line was read last. With errors of our own on top the words
//! of the format take as many lines as here, and the grammar, which looks up names and adds nodes as it reads, is the same.

use super::attributes::{self, Attributes};
use super::split::split;
use crate::{
    Arg, ArgKind, DimBounds, Function, IrError, Module, Node, NodeId, Op, Output, SizeRange, TensorType, Type,
};
use kiln_core::{DefaultFill, Dim, SizeRole, Storage, Symbol, ValueRange};
use std::collections::HashMap;

type Result<T> = std::result::Result<T, String>;

/// Parses a module. What it says of types is checked by [`verify`](crate::verify()), not here.
///
/// # Errors
/// [`IrError::Parse`] with the line number.
pub fn parse(text: &str) -> std::result::Result<Module, IrError> {
    let mut p = Parser { text, pos: 0, module: Module::default() };
    p.module().map_err(|reason| {
        let end = p.pos.min(text.len());
        IrError::Parse { line: text[..end].matches('\n').count() + 1, reason }
    })?;
    Ok(p.module)
}

struct Parser<'a> {
    text: &'a str,
    pos: usize,
    module: Module,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }

    /// Skips white space and comments (`//` to the end of the line).
    fn skip(&mut self) {
        loop {
            self.pos = self.text.len() - self.rest().trim_start().len();
            if !self.rest().starts_with("//") {
                return;
            }
            self.pos += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    /// Takes the token if it comes next; else the position stays, so that an error names the line of what was read last.
    fn eat(&mut self, token: &str) -> bool {
        let before = self.pos;
        self.skip();
        let found = self.rest().starts_with(token);
        self.pos = if found { self.pos + token.len() } else { before };
        found
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected `{token}`, found {}", self.found())) }
    }

    fn found(&mut self) -> String {
        self.skip();
        match self.rest().split_whitespace().next() {
            Some(word) => format!("`{word}`"),
            None => "the end of the text".into(),
        }
    }

    fn word(&mut self) -> Result<&'a str> {
        self.skip();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))).unwrap_or(rest.len());
        if end == 0 {
            return Err(format!("expected a name, found {}", self.found()));
        }
        self.pos += end;
        Ok(&rest[..end])
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self) -> Result<T> {
        self.skip();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(rest.len());
        self.pos += end;
        rest[..end].parse().map_err(|e| format!("`{}`: {e}", &rest[..end]))
    }

    fn quoted(&mut self) -> Result<String> {
        self.expect("\"")?;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.pos += i + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, c)) => out.push(c),
                    None => break,
                },
                c => out.push(c),
            }
        }
        Err("a quoted name does not end".into())
    }

    /// The text up to the bracket that closes the one just eaten.
    fn until_closing(&mut self, open: char, close: char) -> Result<&'a str> {
        let rest = self.rest();
        let mut depth = 1;
        for (i, c) in rest.char_indices() {
            depth += i32::from(c == open) - i32::from(c == close);
            if depth == 0 {
                self.pos += i + close.len_utf8();
                return Ok(&rest[..i]);
            }
        }
        Err(format!("`{open}` is not closed"))
    }

    fn module(&mut self) -> Result<()> {
        loop {
            self.skip();
            if self.rest().is_empty() {
                return Ok(());
            }
            match self.word()? {
                "sym" => {
                    let name = self.word()?;
                    self.expect("in")?;
                    let min = self.number()?;
                    self.expect("..=")?;
                    let mut symbol = Symbol::length(min..=self.number()?);
                    symbol.role = SizeRole::ALL.into_iter().find(|r| self.eat(r.name())).unwrap_or_default();
                    if self.eat("typically") {
                        symbol.typical.push(self.number()?);
                        while self.eat(",") {
                            symbol.typical.push(self.number()?);
                        }
                    }
                    if self.module.symbols.insert(name.into(), symbol).is_some() {
                        return Err(format!("the symbol `{name}` is declared twice"));
                    }
                }
                kind @ ("entry" | "func") => {
                    let f = self.function(kind == "entry")?;
                    if self.module.find(&f.name).is_some() {
                        return Err(format!("the function @{} is defined twice", f.name));
                    }
                    self.module.functions.push(f);
                }
                other => return Err(format!("expected sym, func or entry, found `{other}`")),
            }
        }
    }

    fn function(&mut self, entry: bool) -> Result<Function> {
        self.expect("@")?;
        let mut f = Function::new(self.word()?, entry);
        let mut names: HashMap<u32, NodeId> = HashMap::new();
        self.expect("(")?;
        while !self.eat(")") {
            let name = self.value_name()?;
            self.expect(":")?;
            let ty = self.tensor_type()?;
            let kind = match self.word()? {
                "input" => ArgKind::Input,
                "param" => ArgKind::Param { live: false },
                "live" => ArgKind::Param { live: true },
                "state" => ArgKind::State,
                other => return Err(format!("expected input, param, live or state, found `{other}`")),
            };
            let arg_name = self.quoted()?;
            let default = if self.eat("default") {
                Some(match self.word()? {
                    "zeros" => DefaultFill::Zeros,
                    "ones" => DefaultFill::Ones,
                    "iota" => DefaultFill::Iota,
                    other => return Err(format!("expected zeros, ones or iota, found `{other}`")),
                })
            } else {
                None
            };
            let range = if self.eat("in") { Some(self.range()?) } else { None };
            let id = f.add_arg(Arg { name: arg_name.into(), ty, kind, default, range });
            define(&mut names, name, id)?;
            if !self.eat(",") {
                self.expect(")")?;
                break;
            }
        }
        if self.eat("variants") {
            f.variants.push(self.size_range()?);
            while self.eat(",") {
                f.variants.push(self.size_range()?);
            }
        }
        self.expect("{")?;
        while !self.eat("return") {
            self.skip();
            if !self.rest().starts_with('%') {
                return Err(format!(
                    "expected a value such as `%1: f32[2] = neg %0`, or `return`, found {}",
                    self.found()
                ));
            }
            let name = self.value_name()?;
            self.expect(":")?;
            let ty = self.ty()?;
            self.expect("=")?;
            let node = self.node(ty, &names)?;
            define(&mut names, name, f.push(node))?;
        }
        while !self.eat("}") {
            let name = self.quoted()?;
            let value = self.operand(&names)?;
            let updates = if self.eat("updates") { Some(self.number()?) } else { None };
            f.outputs.push(Output { name: name.into(), value, updates });
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(f)
    }

    /// `[0, rows - 1] distinct`
    fn range(&mut self) -> Result<ValueRange> {
        self.expect("[")?;
        let ends: Result<Vec<Dim>> = split(self.until_closing('[', ']')?).map(str::parse).collect();
        match <[Dim; 2]>::try_from(ends?) {
            Ok([min, max]) => Ok(ValueRange { min, max, distinct: self.eat("distinct") }),
            Err(ends) => Err(format!("expected a range such as `[0, 9]`, found {} numbers", ends.len())),
        }
    }

    /// `(b in 1..=1, s in 1..=1)`
    fn size_range(&mut self) -> Result<SizeRange> {
        self.expect("(")?;
        let sizes = split(self.until_closing('(', ')')?).map(|item| {
            let wrong = || format!("expected a size and its bounds such as `b*s in 1..=8`, found `{item}`");
            let (size, bounds) = item.rsplit_once(" in ").ok_or_else(wrong)?;
            let (min, max) = bounds.split_once("..=").ok_or_else(wrong)?;
            let number = |text: &str| text.trim().parse().map_err(|_| wrong());
            Ok((size.parse()?, DimBounds { min: number(min)?, max: number(max)? }))
        });
        Ok(SizeRange(sizes.collect::<Result<_>>()?))
    }

    fn node(&mut self, ty: Type, names: &HashMap<u32, NodeId>) -> Result<Node> {
        let name = self.word()?;
        let callee = if name == "call" {
            self.expect("@")?;
            let callee = self.word()?;
            let found = self.module.find(callee).map(|(id, _)| id);
            Some(found.ok_or_else(|| format!("there is no function @{callee} before this one"))?)
        } else {
            None
        };
        let mut operands = vec![];
        self.skip();
        if self.rest().starts_with('%') {
            operands.push(self.operand(names)?);
            while self.eat(",") {
                operands.push(self.operand(names)?);
            }
        }
        let mut attributes = Attributes::new();
        if self.eat("{") {
            for item in split(self.until_closing('{', '}')?) {
                let (key, value) =
                    item.split_once('=').ok_or_else(|| format!("expected `name = value`, found `{item}`"))?;
                if attributes.insert(key.trim().into(), value.trim().into()).is_some() {
                    return Err(format!("the attribute `{}` is given twice", key.trim()));
                }
            }
        }
        let op = match callee {
            Some(id) => Op::Call(id),
            None => attributes::parse(name, &mut attributes, &ty)?,
        };
        Ok(Node { op, operands, ty, source: None })
    }

    fn value_name(&mut self) -> Result<u32> {
        self.expect("%")?;
        self.number()
    }

    fn operand(&mut self, names: &HashMap<u32, NodeId>) -> Result<NodeId> {
        let name = self.value_name()?;
        names.get(&name).copied().ok_or_else(|| format!("%{name} is not defined before this"))
    }

    fn ty(&mut self) -> Result<Type> {
        if !self.eat("(") {
            return self.tensor_type().map(Type::Tensor);
        }
        let mut types = vec![];
        while !self.eat(")") {
            types.push(self.tensor_type()?);
            if !self.eat(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(Type::Tuple(types.into()))
    }

    fn tensor_type(&mut self) -> Result<TensorType> {
        let storage: Storage = self.word()?.parse()?;
        self.expect("[")?;
        let shape: Result<Vec<Dim>> = split(self.until_closing('[', ']')?).map(str::parse).collect();
        Ok(TensorType::new(storage, shape?))
    }
}

fn define(names: &mut HashMap<u32, NodeId>, name: u32, id: NodeId) -> Result<()> {
    match names.insert(name, id) {
        Some(_) => Err(format!("%{name} is defined twice")),
        None => Ok(()),
    }
}
