//! Parameters: where they come from, and how a model names and uses them.

use crate::Tensor;
use kiln_ir::{Arg, ArgKind, DType, Dim, SourceLine, Storage, TensorType};
use std::sync::Arc;

/// The tensors that a checkpoint holds: names, forms and shapes, without their contents.
pub trait ParamSource {
    /// How the tensor of that name is stored, and its shape in PyTorch's order.
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)>;

    /// The name under which the source has what a model calls `name`, where the two differ: what a checkpoint was saved from may have
    /// other names than what it is loaded into. The graph's parameters have the source's names.
    fn resolve(&self, name: &str) -> String {
        name.to_string()
    }

    /// Every name, so that tensors which the model leaves out can be told.
    fn names(&self) -> Vec<String> {
        vec![]
    }

    /// The type of a tensor that is there, but that [`lookup`](Self::lookup) does not give, since nothing is computed in its type.
    fn unsupported(&self, _name: &str) -> Option<String> {
        None
    }

    /// Whether there is a tensor of that name, of whatever type.
    fn has(&self, name: &str) -> bool {
        self.lookup(name).is_some() || self.unsupported(name).is_some()
    }

    /// Whether two tensors that are there hold different values. A source without contents knows of no difference.
    fn differ(&self, _one: &str, _other: &str) -> bool {
        false
    }

    /// The method by which a library quantised the weights, if there are signs of one: where tensors are missing, that is why.
    fn quantized(&self) -> Option<String> {
        None
    }
}

/// How parameters are bound.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// The type that the model computes in: parameters stored otherwise are converted where they are used.
    pub dtype: DType,
    /// Whether they may change between calls (training); static ones may be folded and packed by the compiler.
    pub live: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { dtype: DType::F32, live: false }
    }
}

/// A parameter of a module: a shape, and after [`Context::load`](crate::Context::load) a name and a place in the checkpoint.
///
/// Clones are the same parameter, and so are two parameters of one name: the graph has it once.
#[derive(Clone, Debug)]
pub struct Param {
    shape: Vec<usize>,
    in_f32: bool,
    buffer: bool,
    bound: Option<Bound>,
}

#[derive(Clone, Debug)]
struct Bound {
    name: Arc<str>,
    storage: Storage,
    options: LoadOptions,
}

impl Param {
    /// A parameter of that shape.
    pub fn new(shape: impl Into<Vec<usize>>) -> Param {
        Param { shape: shape.into(), in_f32: false, buffer: false, bound: None }
    }

    /// A buffer in PyTorch's words: a tensor of the checkpoint that no training changes.
    pub fn buffer(shape: impl Into<Vec<usize>>) -> Param {
        Param { buffer: true, ..Param::new(shape) }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its name, once it is loaded.
    pub fn name(&self) -> Option<&str> {
        self.bound.as_ref().map(|b| &*b.name)
    }

    /// Makes it compute in f32 where the model computes in a type of 16 bits.
    pub fn set_in_f32(&mut self) {
        self.in_f32 = true;
    }

    /// The type that it computes in, once it is loaded.
    pub fn dtype(&self) -> Option<DType> {
        self.bound.as_ref().map(|b| b.options.dtype)
    }

    /// Gives it its name and form in the checkpoint.
    pub(crate) fn bind(&mut self, name: &str, storage: Storage, options: LoadOptions) {
        let dtype = if self.in_f32 && options.dtype.is_half() { DType::F32 } else { options.dtype };
        let options = LoadOptions { dtype, ..options };
        self.bound = Some(Bound { name: name.into(), storage, options });
    }

    /// Its value in the compute type, for use beside `x`.
    #[track_caller]
    pub fn beside(&self, x: &Tensor) -> Tensor {
        self.tensor(x, true, SourceLine::caller())
    }

    /// Its value as the checkpoint stores it, perhaps in quantised blocks, for use beside `x`.
    #[track_caller]
    pub fn stored_beside(&self, x: &Tensor) -> Tensor {
        self.tensor(x, false, SourceLine::caller())
    }

    fn tensor(&self, x: &Tensor, convert: bool, line: SourceLine) -> Tensor {
        let Some(bound) = &self.bound else {
            let reason = format!("a parameter of shape {:?} was not loaded: call `Context::load` first", self.shape);
            x.context().with(|b| b.misuse(reason, line));
            return Tensor::poisoned(x.context());
        };
        let shape: Vec<Dim> = self.shape.iter().map(|n| Dim::from(*n)).collect();
        let arg = Arg {
            name: bound.name.clone(),
            ty: TensorType::new(bound.storage, shape),
            kind: ArgKind::Param { live: bound.options.live && !self.buffer },
            default: None,
            range: None,
        };
        x.context().param(arg, convert.then_some(bound.options.dtype), line)
    }
}
