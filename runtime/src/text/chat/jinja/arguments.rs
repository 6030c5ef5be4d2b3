//! The arguments of a call, and how they meet the names that a function has for them.

use super::Error;
use super::value::Value;
use std::sync::Arc;

/// What a function is called with.
#[derive(Default)]
pub struct Arguments {
    pub positional: Vec<Value>,
    pub named: Vec<(Arc<str>, Value)>,
}

impl Arguments {
    /// The arguments by the function's names for them, of which the first `required` must be there.
    pub fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N], Error> {
        if self.positional.len() > N {
            let given = self.positional.len();
            return Err(Error::new(format!("{function}() takes at most {N} arguments, {given} were given")));
        }
        let mut bound = [const { None }; N];
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            let Some(at) = names.iter().position(|n| **n == *name) else {
                return Err(Error::new(format!("{function}() got an unexpected keyword argument '{name}'")));
            };
            if bound[at].replace(value).is_some() {
                return Err(Error::new(format!("{function}() got multiple values for argument '{name}'")));
            }
        }
        match bound.iter().take(required).position(Option::is_none) {
            Some(at) => Err(Error::new(format!("{function}() needs the argument '{}'", names[at]))),
            None => Ok(bound),
        }
    }

    /// Fails where there are any.
    pub fn none(self, function: &str) -> Result<(), Error> {
        self.bind::<0>(function, [], 0).map(|_| ())
    }
}

/// An argument that is a whole number, or what it is where it is not given or none.
pub fn int(value: Option<Value>, default: i128) -> Result<i128, Error> {
    match value {
        None | Some(Value::None) => Ok(default),
        Some(value) => {
            value.defined()?;
            let wrong = || Error::new(format!("'{}' object cannot be interpreted as an integer", value.type_name()));
            value.as_int().ok_or_else(wrong)
        }
    }
}

/// An argument that is a text, if it is given and not none.
pub fn text(value: Option<Value>) -> Result<Option<Arc<str>>, Error> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(Value::Str(text) | Value::Markup(text)) => Ok(Some(text)),
        Some(other) => {
            other.defined()?;
            Err(Error::new(format!("expected a str, found '{}' object", other.type_name())))
        }
    }
}

/// An argument that says yes or no.
pub fn flag(value: Option<Value>, default: bool) -> bool {
    value.map_or(default, |value| value.is_true())
}
