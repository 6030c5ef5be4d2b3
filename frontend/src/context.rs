//! The [`Context`] that a model's definition gets: a hold on the graph under construction.

use crate::builder::Builder;
use kiln_ir::{Dim, SourceLine, Symbol};
use std::cell::RefCell;
use std::rc::Rc;

/// What is being traced. Clones share it.
#[derive(Clone, Default)]
pub struct Context {
    pub(crate) builder: Rc<RefCell<Builder>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

impl Context {
    /// Runs `f` on the builder. It must not call the user's code.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Builder) -> R) -> R {
        f(&mut self.builder.borrow_mut())
    }

    /// Records an error of the model's definition, at the caller's line.
    #[track_caller]
    pub fn fail(&self, reason: impl Into<String>) {
        let line = SourceLine::caller();
        self.with(|b| b.misuse(reason, line));
    }

    /// Declares a size symbol: by its bounds, `1..=512`, or by what kind of size it is too, `Symbol::batch(1..=64)`. The kind and the
    /// typical sizes tell the compiler where to take costs; the name tells it nothing.
    #[track_caller]
    pub fn symbol(&self, name: &str, symbol: impl Into<Symbol>) -> Dim {
        let (line, symbol) = (SourceLine::caller(), symbol.into());
        self.with(|b| {
            let (bounds, mut typical) = (symbol.bounds(), symbol.typical.iter());
            if bounds.min < 0 || bounds.min > bounds.max {
                b.misuse(format!("symbol `{name}`: bounds {}..={} hold no size", bounds.min, bounds.max), line);
            } else if let Some(size) = typical.find(|size| !(bounds.min..=bounds.max).contains(size)) {
                b.misuse(format!("symbol `{name}`: the typical size {size} is outside its bounds {bounds}"), line);
            }
            match b.symbols.get(name) {
                Some(before) if *before != symbol => {
                    b.misuse(format!("symbol `{name}` is declared twice, and differently"), line);
                }
                Some(_) => {}
                None => drop(b.symbols.insert(name.into(), symbol)),
            }
        });
        Dim::symbol(name)
    }
}
