//! The values that a template works on: Python's, as far as templates meet them.
//!
//! Lists and dictionaries never change, as in the sandbox that transformers runs templates in; what a template may change are
//! namespaces. Containers know how deep they are nested, so that nothing that walks or drops them runs out of stack.

use super::Error;
use super::ast;
use super::global::Global;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How deep containers may be nested; JSON texts are read to 128.
const MAX_DEPTH: usize = 256;

/// A value.
#[derive(Clone)]
pub enum Value {
    /// Nothing was there; with what is said when it is used as a value.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    /// A text that is HTML already (`markupsafe.Markup`): texts that are joined to it are escaped.
    Markup(Arc<str>),
    List(Arc<Items>),
    Tuple(Arc<Items>),
    Dict(Arc<Dict>),
    /// `dict.items()` and the like.
    View(View, Arc<Dict>),
    Range(Range),
    /// What can be iterated once.
    Generator(Arc<Generator>),
    Namespace(Arc<Namespace>),
    /// A method with its receiver.
    Method(Arc<(Value, &'static str)>),
    Global(Global),
    Macro(Arc<Macro>),
    Loop(Arc<Loop>),
    Cycler(Arc<Cycler>),
    Joiner(Arc<Joiner>),
}

/// The values of a list or a tuple.
pub struct Items {
    values: Vec<Value>,
    depth: usize,
    /// Whether this is a tuple of `groupby`, which has names.
    pub is_group: bool,
}

impl std::ops::Deref for Items {
    type Target = [Value];
    fn deref(&self) -> &[Value] {
        &self.values
    }
}

/// What of a dictionary is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum View {
    Keys,
    Values,
    Items,
}

/// Python's `range`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub start: i128,
    pub stop: i128,
    /// Not zero.
    pub step: i128,
}

impl Range {
    pub fn len(self) -> usize {
        let (from, to) = if self.step > 0 { (self.start, self.stop) } else { (self.stop, self.start) };
        let step = self.step.unsigned_abs();
        usize::try_from(to.saturating_sub(from).max(0).unsigned_abs().div_ceil(step)).unwrap_or(usize::MAX)
    }

    pub fn values(self) -> impl Iterator<Item = Value> {
        (0..self.len()).map(move |i| Value::Int(self.start + self.step * i as i128))
    }
}

/// Values that are handed out once, and what went wrong after the last of them.
pub struct Generator {
    rest: Mutex<(std::vec::IntoIter<Value>, Option<Error>)>,
    depth: usize,
}

impl Generator {
    /// The next value.
    pub fn next(&self) -> Result<Option<Value>, Error> {
        let mut rest = locked(&self.rest);
        match rest.0.next() {
            Some(value) => Ok(Some(value)),
            None => rest.1.take().map_or(Ok(None), Err),
        }
    }

    /// All that are left.
    fn all(&self) -> Result<Vec<Value>, Error> {
        let mut rest = locked(&self.rest);
        let values = rest.0.by_ref().collect();
        rest.1.take().map_or(Ok(values), Err)
    }
}

/// What `namespace()` gives: the one thing with variables that can be set from inside a loop.
#[derive(Default)]
pub struct Namespace {
    variables: Mutex<HashMap<Arc<str>, Value>>,
}

impl Namespace {
    pub fn get(&self, name: &str) -> Option<Value> {
        locked(&self.variables).get(name).cloned()
    }

    pub fn set(&self, name: Arc<str>, value: Value) {
        // The old value is dropped when the lock is free again.
        let _old = locked(&self.variables).insert(name, value);
    }

    /// Takes all variables.
    pub fn take(&self) -> HashMap<Arc<str>, Value> {
        std::mem::take(&mut *locked(&self.variables))
    }
}

/// A macro with the variables it was defined among.
pub struct Macro {
    pub definition: Arc<ast::Macro>,
    pub scope: Arc<Scope>,
    /// Whether it was defined where what is printed is escaped.
    pub escapes: bool,
}

/// The variable `loop`.
pub struct Loop {
    pub items: Vec<Value>,
    /// The iteration, from zero.
    pub at: Mutex<usize>,
    /// Loops around this one that are the same recursive one.
    pub depth: usize,
    /// What `changed` was called with last.
    pub changed: Mutex<Option<Vec<Value>>>,
    /// The loop itself, where it may be called.
    pub recursion: Option<(Arc<ast::For>, Arc<Scope>)>,
}

/// What `cycler()` gives: values that come round again.
pub struct Cycler {
    pub items: Vec<Value>,
    pub(super) at: Mutex<usize>,
}

/// What `joiner()` gives: nothing the first time, the separator from then on.
pub struct Joiner {
    pub(super) separator: Arc<str>,
    pub(super) used: Mutex<bool>,
}

/// The variables of one block, and those around it.
pub struct Scope {
    pub(super) variables: Mutex<HashMap<Arc<str>, Value>>,
    pub(super) parent: Option<Arc<Scope>>,
}

/// A lock; what a panic left behind is still good, since all that is done under locks here are single steps.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values by keys, in the order in which the keys came.
#[derive(Default)]
pub struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    pub(super) places: HashMap<Key, usize>,
    pub(super) depth: usize,
}

/// What can be a key, so that keys which Python calls equal are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Key {
    Undefined,
    None,
    Int(i128),
    Float(u64),
    Str(Arc<str>),
    Tuple(Vec<Key>),
}

impl Key {
    pub fn of(value: &Value) -> Result<Key, Error> {
        Ok(match value {
            Value::Undefined(_) => Key::Undefined,
            Value::None => Key::None,
            Value::Bool(b) => Key::Int((*b).into()),
            Value::Int(i) => Key::Int(*i),
            // Beyond this, the integers that are equal to a number are out of reach.
            Value::Float(f) if f.fract() == 0.0 && f.abs() < 1e30 => Key::Int(*f as i128),
            Value::Float(f) => Key::Float(f.to_bits()),
            Value::Str(s) | Value::Markup(s) => Key::Str(s.clone()),
            Value::Tuple(items) => Key::Tuple(items.iter().map(Key::of).collect::<Result<_, _>>()?),
            other => return Err(Error::new(format!("unhashable type: '{}'", other.type_name()))),
        })
    }
}

impl Value {
    pub fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Str(text.into())
    }

    /// A list, if that is not nested too deep.
    pub fn list(values: Vec<Value>) -> Result<Value, Error> {
        Ok(Value::List(items(values, false)?))
    }

    pub fn tuple(values: Vec<Value>) -> Result<Value, Error> {
        Ok(Value::Tuple(items(values, false)?))
    }

    /// A tuple with the names of `groupby`'s.
    pub fn group(grouper: Value, list: Value) -> Result<Value, Error> {
        Ok(Value::Tuple(items(vec![grouper, list], true)?))
    }

    pub fn dict(dict: Dict) -> Result<Value, Error> {
        check_depth(dict.depth)?;
        Ok(Value::Dict(Arc::new(dict)))
    }

    /// What hands out the values, and then the error where one ended them.
    pub fn generator(values: Vec<Value>, end: Option<Error>) -> Result<Value, Error> {
        let depth = depth_of(&values);
        check_depth(depth)?;
        Ok(Value::Generator(Arc::new(Generator { rest: Mutex::new((values.into_iter(), end)), depth })))
    }

    pub fn method(receiver: Value, name: &'static str) -> Result<Value, Error> {
        check_depth(receiver.depth())?;
        Ok(Value::Method(Arc::new((receiver, name))))
    }

    pub fn undefined(why: impl Into<Arc<str>>) -> Value {
        Value::Undefined(why.into())
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) | Value::Markup(s) => Some(s),
            _ => None,
        }
    }

    /// The value as a whole number, as Python's `__index__`.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Value::Bool(b) => Some((*b).into()),
            Value::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// What Python calls the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Markup(_) => "Markup",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::View(View::Keys, _) => "dict_keys",
            Value::View(View::Values, _) => "dict_values",
            Value::View(View::Items, _) => "dict_items",
            Value::Range(_) => "range",
            Value::Generator(_) => "generator",
            Value::Namespace(_) => "Namespace",
            Value::Method(_) => "builtin_function_or_method",
            Value::Global(_) => "function",
            Value::Macro(_) => "Macro",
            Value::Loop(_) => "LoopContext",
            Value::Cycler(_) => "Cycler",
            Value::Joiner(_) => "Joiner",
        }
    }

    /// Whether an `if` takes it.
    pub fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            other => other.len().is_none_or(|len| len != 0),
        }
    }

    /// Python's `len`, of what has one.
    pub fn len(&self) -> Option<usize> {
        match self {
            Value::Undefined(_) => Some(0),
            Value::Str(s) | Value::Markup(s) => Some(s.chars().count()),
            Value::List(items) | Value::Tuple(items) => Some(items.len()),
            Value::Dict(dict) | Value::View(_, dict) => Some(dict.len()),
            Value::Range(range) => Some(range.len()),
            Value::Loop(the_loop) => Some(the_loop.items.len()),
            _ => None,
        }
    }

    /// The values that a loop over it sees; a generator has none left afterwards.
    pub fn values(&self) -> Result<Vec<Value>, Error> {
        Ok(match self {
            Value::Undefined(_) => vec![],
            Value::Str(s) | Value::Markup(s) => s.chars().map(|c| Value::text(c.to_string())).collect(),
            Value::List(items) | Value::Tuple(items) => items.to_vec(),
            Value::Dict(dict) | Value::View(View::Keys, dict) => dict.iter().map(|(key, _)| key.clone()).collect(),
            Value::View(View::Values, dict) => dict.iter().map(|(_, value)| value.clone()).collect(),
            Value::View(View::Items, dict) => {
                let pair = |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
                dict.iter().map(pair).collect::<Result<_, _>>()?
            }
            Value::Range(range) => range.values().collect(),
            Value::Generator(generator) => generator.all()?,
            other => return Err(Error::new(format!("'{}' object is not iterable", other.type_name()))),
        })
    }

    pub fn is_iterable(&self) -> bool {
        matches!(self, Value::Generator(_)) || (self.len().is_some() && !matches!(self, Value::Loop(_)))
    }

    /// Fails where it is undefined, with what is said then.
    pub fn defined(&self) -> Result<(), Error> {
        match self {
            Value::Undefined(why) => Err(Error::new(why.to_string())),
            _ => Ok(()),
        }
    }

    /// How deep containers are nested in it.
    pub(super) fn depth(&self) -> usize {
        match self {
            Value::List(items) | Value::Tuple(items) => items.depth + 1,
            Value::Dict(dict) | Value::View(_, dict) => dict.depth + 1,
            Value::Generator(generator) => generator.depth + 1,
            Value::Method(method) => method.0.depth() + 1,
            Value::Cycler(cycler) => depth_of(&cycler.items) + 1,
            _ => 0,
        }
    }
}

fn items(values: Vec<Value>, is_group: bool) -> Result<Arc<Items>, Error> {
    let depth = depth_of(&values);
    check_depth(depth)?;
    Ok(Arc::new(Items { values, depth, is_group }))
}

fn depth_of(values: &[Value]) -> usize {
    values.iter().map(Value::depth).max().unwrap_or(0)
}

fn check_depth(depth: usize) -> Result<(), Error> {
    match depth < MAX_DEPTH {
        true => Ok(()),
        false => Err(Error::new(format!("values are nested more than {MAX_DEPTH} deep"))),
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Int(value as i128)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::text(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::text(value)
    }
}
