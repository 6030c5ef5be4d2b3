//! [`Module`]: structs with parameters, and the names that their fields give.

use crate::Param;

/// A part of a model: a struct whose fields are parameters and other modules. `#[derive(Module)]` implements it; a parameter's name is
/// the path of fields that leads to it, as in a checkpoint (`model.layers.0.self_attn.q_proj.weight`).
///
/// Fields may be [`Param`]s, modules, vectors and options of modules, and plain numbers, which are modules without parameters.
/// `#[module(rename = "LayerNorm")]` gives a field another name; `#[module(skip)]` leaves it out of the walk. In a crate that knows this one under
/// another path, `#[module(crate = "some::path")]` on the struct says which.
///
/// ```
/// use kiln_frontend::{Module, nn};
///
/// #[derive(Module)]
/// struct Mlp {
///     up_proj: nn::Linear,
///     down_proj: nn::Linear,
/// }
///
/// let mlp = Mlp { up_proj: nn::Linear::new(8, 32, false), down_proj: nn::Linear::new(32, 8, true) };
/// let names: Vec<String> = mlp.parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["up_proj.weight", "down_proj.weight", "down_proj.bias"]);
/// ```
pub trait Module {
    /// Calls `visit` with the name of each parameter, in the order of the fields.
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param));

    /// As [`visit_params`](Self::visit_params), to change the parameters.
    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param));

    /// The module, with parameters that compute in f32 where the model computes in a type of 16 bits. What it is given and what it
    /// gives must have that type, then.
    fn in_f32(mut self) -> Self
    where
        Self: Sized,
    {
        self.visit_params_mut(&mut Path::default(), &mut |_, param| param.set_in_f32());
        self
    }

    /// The parameters with their names, in the order of the fields.
    fn parameters(&self) -> Vec<(String, &Param)> {
        let mut all = vec![];
        self.visit_params(&mut Path::default(), &mut |name, param| all.push((name.to_string(), param)));
        all
    }
}

/// The way from a model to one of its fields: names with dots between them.
#[derive(Clone, Debug, Default)]
pub struct Path(String);

impl Path {
    /// Runs `f` with the path of a field of the module that this is the path of.
    pub fn field(&mut self, name: &str, f: impl FnOnce(&mut Path)) {
        let len = self.0.len();
        if len > 0 {
            self.0.push('.');
        }
        self.0.push_str(name);
        f(self);
        self.0.truncate(len);
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Module for Param {
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param)) {
        visit(path.as_str(), self);
    }

    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param)) {
        visit(path.as_str(), self);
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param)) {
        for (i, module) in self.iter().enumerate() {
            path.field(&i.to_string(), |path| module.visit_params(path, visit));
        }
    }

    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param)) {
        for (i, module) in self.iter_mut().enumerate() {
            path.field(&i.to_string(), |path| module.visit_params_mut(path, visit));
        }
    }
}

impl<M: Module> Module for Option<M> {
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param)) {
        self.iter().for_each(|m| m.visit_params(path, visit));
    }

    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param)) {
        self.iter_mut().for_each(|m| m.visit_params_mut(path, visit));
    }
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param)) {
        (**self).visit_params(path, visit);
    }

    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param)) {
        (**self).visit_params_mut(path, visit);
    }
}

macro_rules! without_parameters {
    ($($t:ty),*) => {$(
        impl Module for $t {
            fn visit_params<'a>(&'a self, _: &mut Path, _: &mut dyn FnMut(&str, &'a Param)) {}
            fn visit_params_mut(&mut self, _: &mut Path, _: &mut dyn FnMut(&str, &mut Param)) {}
        }
    )*};
}
without_parameters!(bool, f32, f64, i32, i64, u32, u64, usize, String);
