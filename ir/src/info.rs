//! What the verifier learns of a module. Later stages read it here and do not decide it again.

use crate::{Class, FuncId, NodeId, Op, Type};

/// When the value of a node is known. The earlier one is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binding {
    /// When an artifact is loaded: it follows from static parameters and constants, whatever the sizes.
    Load,
    /// When an entry is called.
    Call,
}

impl Op {
    /// When the result of type `ty` is known, given when the operands are. An argument is decided by its kind and not here.
    ///
    /// A result that depends on a size is known when the entry is called, even where its own type names no size: the slice of length 1
    /// that starts at `s - 1`, say. So is what a call or a state gives.
    pub fn binding(&self, ty: &Type, operands: impl IntoIterator<Item = Binding>) -> Binding {
        let Type::Tensor(tensor) = ty else { return Binding::Call };
        let sized = self.dims().into_iter().chain(tensor.shape.iter()).all(|d| d.as_const().is_some());
        match self.class() {
            _ if matches!(self, Op::Arg(_)) => Binding::Call,
            Class::Call | Class::Write => Binding::Call,
            _ if sized => operands.into_iter().max().unwrap_or(Binding::Load),
            _ => Binding::Call,
        }
    }
}

/// What is known of a function's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    pub(crate) bindings: Vec<Binding>,
    pub(crate) versions: Vec<Option<u32>>,
}

impl FunctionInfo {
    /// When the node's value is known.
    pub fn binding(&self, node: NodeId) -> Binding {
        self.bindings[node.index()]
    }

    /// Whether the node's value follows from static parameters and constants, whatever the sizes: `prepare` computes it.
    pub fn is_static(&self, node: NodeId) -> bool {
        self.binding(node) == Binding::Load
    }

    /// The number of the state argument that the node is a version of.
    pub fn version_of(&self, node: NodeId) -> Option<u32> {
        self.versions[node.index()]
    }
}

/// What is known of a module's functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    pub(crate) functions: Vec<FunctionInfo>,
}

impl ModuleInfo {
    /// What is known of a function.
    pub fn function(&self, id: FuncId) -> &FunctionInfo {
        &self.functions[id.index()]
    }

    /// What is known of a function, alone.
    pub fn into_function(mut self, id: FuncId) -> FunctionInfo {
        self.functions.swap_remove(id.index())
    }
}
