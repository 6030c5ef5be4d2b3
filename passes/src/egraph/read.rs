//! Terms as laws write them.

use super::build;
use super::term::{Attr, Head, MARKS, NAMED, Notation, PLAIN, Term};
use egg::{FromOp, Id};
use kiln_ir::Op;

impl FromOp for Term {
    type Error = String;

    fn from_op(text: &str, children: Vec<Id>) -> Result<Self, String> {
        let head = if let Some(i) = text.strip_prefix('$').and_then(|i| i.parse().ok()) {
            Head::Op(Op::Arg(i))
        } else if let Some((name, _)) = NAMED.get_key_value(text) {
            Head::Named(name)
        } else if let Some((_, n)) = Notation::ALL.iter().find(|(n, _)| *n == text) {
            Head::Notation(*n)
        } else if let Some(op) = PLAIN.get(text) {
            Head::Op(op.clone())
        } else if let Some(name) = build::name(text) {
            Head::Build(name)
        } else if let Some(word) = MARKS.iter().find(|word| **word == text) {
            Head::Mark(word)
        } else {
            Head::Attr(Attr::parse(text).ok_or_else(|| format!("`{text}` is no op, attribute or builder"))?)
        };
        if matches!(head, Head::Attr(_) | Head::Mark(_)) && !children.is_empty() {
            return Err(format!("the attribute `{text}` has no children"));
        }
        Ok(Term::new(head, children))
    }
}
