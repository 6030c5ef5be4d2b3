//! Which rewrite rule makes a model's output wrong: rules are left out by halves until only those remain without which it is right.

use super::verify::{self, Comparison};
use crate::compile::{self, CompileOptions, trace};
use crate::{Error, LoadOptions, Result, Session, SessionOptions};
use kiln_ir::{Module, interp::Tensor};
use kiln_models::source::ModelFiles;
use kiln_passes::egraph::{self, Rule};
use std::path::PathBuf;

/// What is compared, and how.
#[derive(Clone, Debug)]
pub struct BisectOptions {
    /// How to compile.
    pub compile: CompileOptions,
    /// A folder with `golden.safetensors` to compare with; by default the interpreter says what is right.
    pub golden: Option<PathBuf>,
    /// Interpret the rewritten graph rather than compile it: slower for large models, and blind to what is wrong in a kernel.
    pub interpret: bool,
    /// Length of the random sequence.
    pub length: usize,
}

/// The rules that make the output wrong.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    /// Their names. Mostly it is one; of several, each is needed.
    pub rules: Vec<String>,
    /// The worst output with these rules alone.
    pub comparison: Comparison,
}

type Tensors = Vec<(String, Tensor)>;

/// Looks for the rules; `None` where the output is right with all of them. `told` hears of each try: how many rules, and the worst output.
///
/// # Errors
/// [`Error::Verify`] when the output is wrong without any rule, or whatever compiling and running give.
pub fn bisect(
    files: &ModelFiles,
    rules: &[Rule],
    options: &BisectOptions,
    mut told: impl FnMut(usize, &Comparison),
) -> Result<Option<Finding>> {
    let traced = trace(files, &options.compile)?;
    let (inputs, want) = match &options.golden {
        Some(folder) => {
            let file = folder.join("golden.safetensors");
            (verify::read_tensors(&file, "in.")?, verify::read_tensors(&file, "out.")?)
        }
        None => {
            let inputs = verify::made_up_inputs(&traced.module, options.length)?;
            let want = verify::interpret(&traced.module, "forward", &files.checkpoint, &inputs, &[])?;
            (inputs, want)
        }
    };
    let mut worst = |rules: &[Rule]| {
        let got = outputs(files, &traced.module, rules, &inputs, options)?;
        let tolerance = verify::tolerance(options.compile.dtype);
        let comparisons = verify::compare("forward", &got, &want, tolerance)?;
        let worst = comparisons.into_iter().max_by(|a, b| a.relative_error.total_cmp(&b.relative_error));
        let worst = worst.ok_or_else(|| Error::Verify("there is no output to compare".into()))?;
        told(rules.len(), &worst);
        Ok::<_, Error>(worst)
    };
    if worst(rules)?.holds() {
        return Ok(None);
    }
    let without = worst(&[])?;
    if !without.holds() {
        return Err(Error::Verify(format!(
            "{}: error {:.2e} exceeds {:.0e} with all rules off, too: what is wrong is not a rule, but the model, a kernel or the reference",
            without.name, without.relative_error, without.tolerance
        )));
    }
    let guilty = kiln_passes::minimal(rules, |part| Ok::<_, Error>(!part.is_empty() && !worst(part)?.holds()))?;
    let comparison = worst(&guilty)?;
    Ok(Some(Finding { rules: guilty.into_iter().map(|r| r.name).collect(), comparison }))
}

/// The outputs of the module, rewritten by these rules.
fn outputs(
    files: &ModelFiles,
    module: &Module,
    rules: &[Rule],
    inputs: &Tensors,
    options: &BisectOptions,
) -> Result<Tensors> {
    let (rewritten, _) =
        egraph::optimize_with(module, &options.compile.target, &options.compile.passes.rewriting(), rules)?;
    if options.interpret {
        return verify::interpret(&rewritten, "forward", &files.checkpoint, inputs, &[]);
    }
    let compile = options.compile.as_written();
    let model = compile::build(&rewritten, &compile)?.load(&compile, &LoadOptions::default(), |name, out| {
        files.checkpoint.write_to(name, out).map_err(std::io::Error::other)
    })?;
    let mut session = Session::new(&model, &SessionOptions::default())?;
    verify::call(&mut session, "forward", inputs)
}
