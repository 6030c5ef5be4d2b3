//! The functions that every template has.

/// A function of the environment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Global {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

impl Global {
    /// The function of that name.
    pub fn named(name: &str) -> Option<Global> {
        Some(match name {
            "range" => Global::Range,
            "dict" => Global::Dict,
            "namespace" => Global::Namespace,
            "cycler" => Global::Cycler,
            "joiner" => Global::Joiner,
            "raise_exception" => Global::RaiseException,
            "strftime_now" => Global::StrftimeNow,
            _ => return None,
        })
    }
}
