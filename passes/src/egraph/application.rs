//! What laws did.

use egg::{Id, Var};

/// A place where a law made two classes one.
#[derive(Clone, Debug)]
pub struct Application {
    /// The law's name.
    pub rule: String,
    /// The class that it was found in, by its oldest term.
    pub class: Id,
    /// What its variables were bound to, by the oldest terms of those classes.
    pub bound: Vec<(Var, Id)>,
}
