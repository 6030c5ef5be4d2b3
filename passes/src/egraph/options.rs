//! What rewriting may do.

use super::cost::Point;
use super::rule::Numerics;
use kiln_ir::Module;

/// What rewriting may do, and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The laws that are admitted.
    pub numerics: Numerics,
    /// Tables that are left out, by name.
    pub without: Vec<String>,
    /// Most iterations of all laws.
    pub iterations: usize,
    /// Most nodes of an e-graph; checked after each law, so that one law may overshoot.
    pub nodes: usize,
    /// Where costs are taken; `None` for where the module's symbols say.
    pub points: Option<Vec<Point>>,
    /// Choose terms by moves of groups, too, and not greedily alone.
    pub moves: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            numerics: Numerics::default(),
            without: vec![],
            iterations: 40,
            nodes: 50_000,
            points: None,
            moves: true,
        }
    }
}

impl Options {
    /// Where costs of the module's functions are taken.
    pub fn points(&self, module: &Module) -> Vec<Point> {
        self.points.clone().unwrap_or_else(|| Point::typical(&module.symbols))
    }
}
