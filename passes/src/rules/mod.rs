//! The laws, one table per topic.
//!
//! A line reads `rw!("name", class; "left" => "right" if condition if condition)`: wherever a term matches the left and the conditions
//! hold, the right is equal to it, up to its numeric class. Terms are those of the text format, attributes after the operands;
//! `?x` is any class; a number on the left is any tensor of that value; names on the right that are no ops are
//! [builders](crate::egraph::build). Laws run in one direction, and equalities that need both are two laws.

pub mod activation;
pub mod arithmetic;
pub mod attention;
pub mod conditions;
mod law;
pub mod merge;
pub mod movement;
pub mod norm;
pub mod projection;

use crate::egraph::{Numerics, Rule};

/// A table: its name and its laws.
pub type Table = (&'static str, fn() -> Vec<Rule>);

/// Every table.
#[rustfmt::skip]
pub const TABLES: &[Table] = &[
    ("arithmetic", arithmetic::rules),
    ("movement",   movement::rules),
    ("activation", activation::rules),
    ("norm",       norm::rules),
    ("attention",  attention::rules),
    ("projection", projection::rules),
    ("merge",      merge::rules),
];

/// The laws up to a numeric class, in the order of the tables, without the tables and laws named in `without`.
pub fn up_to(numerics: Numerics, without: &[String]) -> Vec<Rule> {
    TABLES
        .iter()
        .filter(|(name, _)| !without.iter().any(|w| w == name))
        .flat_map(|(_, rules)| rules())
        .filter(|r| r.numerics <= numerics && !without.contains(&r.name))
        .collect()
}

/// The laws a compilation admits, as text, one a line: what an artifact's manifest holds the hash of.
pub fn listing(options: &crate::egraph::Options) -> String {
    let lines = up_to(options.numerics, &options.without).into_iter().map(|r| format!("{:?} {r}\n", r.numerics));
    lines.collect()
}
