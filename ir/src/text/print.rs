//! Module to text.

use super::attributes;
use crate::{ArgKind, Function, Module, Op};
use kiln_core::{DefaultFill, SizeRole};
use std::fmt;

/// The module as text.
pub fn print(module: &Module) -> String {
    module.to_string()
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, b) in &self.symbols {
            write!(f, "sym {name} in {}..={}", b.min, b.max)?;
            if b.role != SizeRole::default() {
                write!(f, " {}", b.role.name())?;
            }
            for (i, size) in b.typical.iter().enumerate() {
                write!(f, "{} {size}", if i > 0 { "," } else { " typically" })?;
            }
            writeln!(f)?;
        }
        for (i, function) in self.functions.iter().enumerate() {
            if i > 0 || !self.symbols.is_empty() {
                writeln!(f)?;
            }
            print_function(self, function, f)?;
        }
        Ok(())
    }
}

fn print_function(module: &Module, function: &Function, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{} @{}(", if function.entry { "entry" } else { "func" }, function.name)?;
    let mut first = true;
    for (id, node) in function.nodes() {
        let Op::Arg(i) = node.op else { continue };
        let Some(arg) = function.args.get(i as usize) else { continue };
        let kind = match arg.kind {
            ArgKind::Input => "input",
            ArgKind::Param { live: false } => "param",
            ArgKind::Param { live: true } => "live",
            ArgKind::State => "state",
        };
        write!(f, "{}\n  {id}: {} {kind} {}", if first { "" } else { "," }, arg.ty, quoted(&arg.name))?;
        first = false;
        match arg.default {
            None => {}
            Some(DefaultFill::Zeros) => f.write_str(" default zeros")?,
            Some(DefaultFill::Ones) => f.write_str(" default ones")?,
            Some(DefaultFill::Iota) => f.write_str(" default iota")?,
        }
        if let Some(range) = &arg.range {
            write!(f, " in {range}")?;
        }
    }
    write!(f, "{})", if first { "" } else { "\n" })?;
    for (i, range) in function.variants.iter().enumerate() {
        write!(f, "{} {range}", if i > 0 { "," } else { " variants" })?;
    }
    f.write_str(" {\n")?;
    for (id, node) in function.nodes() {
        if matches!(node.op, Op::Arg(_)) {
            continue;
        }
        write!(f, "  {id}: {} = {}", node.ty, node.op.name())?;
        if let Op::Call(callee) = &node.op {
            write!(f, " @{}", module.function(*callee).name)?;
        }
        for (i, o) in node.operands.iter().enumerate() {
            write!(f, "{} {o}", if i > 0 { "," } else { "" })?;
        }
        writeln!(f, "{}", attributes(&node.op))?;
    }
    f.write_str("  return")?;
    for (i, o) in function.outputs.iter().enumerate() {
        write!(f, "{} {} {}", if i > 0 { "," } else { "" }, quoted(&o.name), o.value)?;
        if let Some(a) = o.updates {
            write!(f, " updates {a}")?;
        }
    }
    f.write_str("\n}\n")
}

/// A name between quotes, with the escapes that the format has.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
