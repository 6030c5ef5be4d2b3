//! [`trace()`], and what a model's definition says to its [`Context`]: entries and blocks, what goes in and what comes out.

use crate::{
    Context, Error, LoadOptions, Module, ParamSource, Tensor, Values,
    builder::{Builder, Frame, Value},
    load,
};
use kiln_ir::{
    Arg, ArgKind, DType, DefaultFill, Dim, DimBounds, Literal, Op, SizeRange, SourceLine, TensorType, ValueRange,
    variants,
};
use std::ops::RangeInclusive;

/// Traces a program: `define` declares symbols, loads models and makes entries. Inputs whose values address something, such as token ids, get
/// the range of values that the graph tells ([`kiln_ir::ranges`]); calls with others are refused.
///
/// # Errors
/// The parameters that do not fit the checkpoint, else the first error of the definition, with its line.
pub fn trace(define: impl FnOnce(&Context)) -> Result<kiln_ir::Module, Error> {
    let cx = Context::default();
    define(&cx);
    let b = cx.builder.take();
    if !b.unsupported.is_empty() {
        return Err(Error::UnsupportedTypes { tensors: b.unsupported });
    }
    if !b.missing.is_empty() || !b.mismatched.is_empty() {
        return Err(Error::Parameters { missing: b.missing, mismatched: b.mismatched });
    }
    if let Some(error) = b.error {
        return Err(error);
    }
    let mut module = kiln_ir::Module { symbols: b.symbols, functions: b.functions };
    kiln_ir::verify(&module)?;
    kiln_ir::ranges::declare(&mut module);
    Ok(module)
}

impl Context {
    /// Names the model's parameters by the paths of their fields, and finds each in the checkpoint, shapes compared. Returns the names
    /// of the checkpoint's tensors that the model does not use.
    pub fn load(&self, model: &mut impl Module, source: &dyn ParamSource, options: LoadOptions) -> Vec<String> {
        load::load(self, model, source, options)
    }

    /// Traces an entry of the program: what `define` makes with [`input`](Self::input), [`state`](Self::state) and
    /// [`output`](Self::output) is its signature.
    #[track_caller]
    pub fn entry(&self, name: &str, define: impl FnOnce(&Context)) {
        let line = SourceLine::caller();
        let proper = self.with(|b| {
            if !b.frames.is_empty() {
                b.misuse(format!("entry `{name}` stands inside of another one"), line);
            } else if b.functions.iter().any(|f| *f.name == *name) {
                b.misuse(format!("there are two functions named `{name}`"), line);
            } else {
                b.frames.push(Frame::new(name, true));
                return true;
            }
            false
        });
        if proper {
            define(self);
            self.with(Builder::finish_entry);
        }
    }

    /// Traces a block: a part of an entry that becomes a function of its own, and one function for all blocks that are equal but for
    /// the values they use. Tensors from outside become its arguments; what `define` returns, and the next versions of the states that
    /// it updates, become its results.
    #[track_caller]
    pub fn block<R: Values>(&self, name: &str, define: impl FnOnce() -> R) -> R {
        let line = SourceLine::caller();
        let inside = self.with(|b| {
            let Some(entry) = b.frames.first().map(|f| f.function.name.clone()) else {
                b.misuse(format!("block `{name}` stands outside of every entry"), line);
                return false;
            };
            b.frames.push(Frame::new(&format!("{entry}.{name}"), false));
            true
        });
        let results = define();
        if !inside {
            return results;
        }
        let mut tensors: Vec<Tensor> = vec![];
        let results = results.map(&mut |t| {
            tensors.push(t.clone());
            t
        });
        let values: Option<Vec<Value>> = tensors.iter().map(Tensor::value).collect();
        let outside = self.with(|b| match values {
            Some(values) if b.error.is_none() => b.finish_block(&values, line),
            _ => {
                b.frames.pop();
                None
            }
        });
        let mut outside = outside.unwrap_or_default().into_iter();
        results.map(&mut |t| match outside.next() {
            Some(value) => Tensor::new(self, value, t.ty().clone()),
            None => Tensor::poisoned(self),
        })
    }

    /// An input of the entry.
    #[track_caller]
    pub fn input(&self, name: &str, dtype: DType, shape: impl AsRef<[Dim]>) -> Tensor {
        self.arg(name, dtype, shape.as_ref(), ArgKind::Input, None, SourceLine::caller())
    }

    /// An input of the entry whose values lie in a range that the graph does not tell: calls with others are refused.
    #[track_caller]
    pub fn input_within(&self, name: &str, dtype: DType, shape: impl AsRef<[Dim]>, range: ValueRange) -> Tensor {
        let input = self.arg(name, dtype, shape.as_ref(), ArgKind::Input, None, SourceLine::caller());
        self.with(|b| {
            let args = b.frames.first_mut().map(|entry| &mut entry.function.args);
            if let Some(arg) = args.and_then(|args| args.iter_mut().find(|arg| &*arg.name == name)) {
                kiln_ir::ranges::narrow(&mut arg.range, &range);
            }
        });
        input
    }

    /// An input of the entry that callers may leave out.
    #[track_caller]
    pub fn input_or(&self, name: &str, dtype: DType, shape: impl AsRef<[Dim]>, default: DefaultFill) -> Tensor {
        self.arg(name, dtype, shape.as_ref(), ArgKind::Input, Some(default), SourceLine::caller())
    }

    /// Gives the entry code of its own for calls in which each of these sizes lies within its bounds. The ranges of an entry are tried in
    /// the order of their declaration; a call outside of all of them runs the code for any size.
    #[track_caller]
    pub fn variant<const N: usize>(&self, sizes: [(&Dim, RangeInclusive<i64>); N]) {
        let bounds = |range: RangeInclusive<i64>| DimBounds { min: *range.start(), max: *range.end() };
        let range = SizeRange(sizes.map(|(size, range)| (size.clone(), bounds(range))).into());
        self.add_variants(vec![range], SourceLine::caller());
    }

    /// Gives the entry code of its own for one row and for few, where its rows lie along these axes: products of few rows are computed in
    /// another way than those of many.
    #[track_caller]
    pub fn variants_by_rows(&self, axes: impl AsRef<[Dim]>) {
        self.add_variants(variants::by_rows(axes.as_ref()), SourceLine::caller());
    }

    fn add_variants(&self, ranges: Vec<SizeRange>, line: SourceLine) {
        self.with(|b| match b.frames.first_mut() {
            Some(entry) => entry.function.variants.extend(ranges),
            None => b.misuse("a variant is declared outside of every entry", line),
        });
    }

    /// The current version of a state of the entry: a buffer that lives from call to call. An op that updates it
    /// ([`Tensor::write`], [`Tensor::cache_update`]) returns its next version, and the last version is returned by the entry without
    /// further ado; older versions cannot be used any more.
    #[track_caller]
    pub fn state(&self, name: &str, dtype: DType, shape: impl AsRef<[Dim]>) -> Tensor {
        let (line, ty) = (SourceLine::caller(), TensorType::new(dtype, shape.as_ref()));
        let known = self.with(|b| {
            let known = b.latest(name)?;
            let declared = b.frames.iter().find(|f| f.id == known.frame)?.function.tensor(known.node).clone();
            if declared != ty {
                b.misuse(format!("state `{name}` is {declared}, and again {ty}"), line);
            }
            Some(known)
        });
        match known {
            Some(value) => Tensor::new(self, value, ty),
            None => self.arg(name, dtype, shape.as_ref(), ArgKind::State, None, line),
        }
    }

    fn arg(
        &self,
        name: &str,
        dtype: DType,
        shape: &[Dim],
        kind: ArgKind,
        default: Option<DefaultFill>,
        line: SourceLine,
    ) -> Tensor {
        let ty = TensorType::new(dtype, shape);
        let arg = Arg { name: name.into(), ty: ty.clone(), kind, default, range: None };
        let made = self.with(|b| {
            let Some(entry) = b.frames.first_mut() else {
                b.misuse(format!("`{name}` is declared outside of every entry"), line);
                return None;
            };
            if entry.has_name(name) {
                b.misuse(format!("the entry has two arguments named `{name}`"), line);
                return None;
            }
            let node = if kind == ArgKind::State { entry.add_state(name.into(), arg) } else { entry.add_arg(arg) };
            Some(Value { frame: entry.id, node })
        });
        made.map_or_else(|| Tensor::poisoned(self), |value| Tensor::new(self, value, ty))
    }

    /// Makes a tensor a result of the entry.
    #[track_caller]
    pub fn output(&self, name: &str, tensor: &Tensor) {
        let line = SourceLine::caller();
        let Some(value) = tensor.value() else { return };
        self.with(|b| {
            if b.error.is_some() {
                return;
            }
            let [entry] = &mut b.frames[..] else {
                return b.misuse(format!("output `{name}` stands in a block or outside of every entry"), line);
            };
            if entry.id != value.frame {
                return b
                    .misuse(format!("output `{name}` is a tensor of another entry or of a block that ended"), line);
            }
            if entry.state_of(value.node).is_some() {
                return b.misuse(format!("output `{name}` is a state: states are returned by themselves"), line);
            }
            if entry.function.outputs.iter().any(|o| *o.name == *name) {
                return b.misuse(format!("the entry has two outputs named `{name}`"), line);
            }
            entry.function.add_output(name, value.node, None);
        });
    }

    /// A scalar.
    #[track_caller]
    pub fn scalar(&self, dtype: DType, value: f64) -> Tensor {
        self.apply(Op::Constant(Literal::scalar(dtype, value)), &[])
    }

    /// A constant tensor; the number of values must be that of the shape.
    #[track_caller]
    pub fn constant(&self, dtype: DType, shape: &[usize], values: &[f64]) -> Tensor {
        match Literal::from_f64(dtype, shape.to_vec(), values) {
            Some(literal) => self.apply(Op::Constant(literal), &[]),
            None => {
                self.fail(format!("constant: {} values do not fill the shape {shape:?}", values.len()));
                Tensor::poisoned(self)
            }
        }
    }

    /// i64 indices along an axis of that shape.
    #[track_caller]
    pub fn iota(&self, shape: impl AsRef<[Dim]>, axis: usize) -> Tensor {
        self.apply(Op::Iota { shape: shape.as_ref().to_vec(), axis }, &[])
    }

    /// `0, 1, …, n - 1`, as i64.
    #[track_caller]
    pub fn arange(&self, n: impl crate::ToDim) -> Tensor {
        self.iota([n.to_dim()], 0)
    }

    /// The value of a size, as an i64 scalar.
    #[track_caller]
    pub fn dim_size(&self, dim: &Dim) -> Tensor {
        self.apply(Op::DimSize(dim.clone()), &[])
    }
}
