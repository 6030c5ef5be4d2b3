//! How fast a compiled model runs: whole calls, and each step of one beside what the machine could do.
//!
//! A [`Case`] is a call with made-up inputs. A signature that keeps a cache has two, a prompt (`prefill`) and one token after others
//! (`decode`); any other has one. Rounds take turns between the cases, so that whatever else the machine does meets all of them.

use super::verify::views;
use crate::{Error, Result};
use kiln_core::{DType, Dim, InputSpec, KernelSpec, Plan, Signature, SizeRole, Step, TargetSpec};
use kiln_ir::interp::Tensor;
use kiln_passes::CACHE_SHARE;
use kiln_runtime::causal_lm::CACHE;
use kiln_runtime::{Model, Session, SessionOptions, StepTime};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Tokens of a prompt, and before a decoded token, where the model takes so many.
const PROMPT: i64 = 512;

/// What is timed.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The signature; all of them if none is given.
    pub signature: Option<String>,
    /// Sizes by symbol. With any, each signature has one case, of these sizes.
    pub sizes: Vec<(String, i64)>,
    /// How often each case is timed.
    pub rounds: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        BenchOptions { signature: None, sizes: vec![], rounds: 9 }
    }
}

/// A call that is timed.
#[derive(Clone, Debug)]
pub struct Case {
    /// `step, prefill of 512`.
    pub name: String,
    /// The signature.
    pub signature: String,
    /// The sizes that its inputs have, by symbol.
    pub sizes: BTreeMap<String, i64>,
    /// The tokens that its cache holds before the call.
    start: i64,
    session: SessionOptions,
    inputs: Vec<(String, Tensor)>,
    /// The token ids among its inputs: of several such inputs, the first.
    tokens: Option<usize>,
}

/// What the rounds of a case took.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// The case.
    pub case: String,
    /// Its signature.
    pub signature: String,
    /// Its sizes.
    pub sizes: BTreeMap<String, i64>,
    /// Seconds of the median round.
    pub median_seconds: f64,
    /// Seconds of the fastest round.
    pub min_seconds: f64,
    /// Seconds of the slowest round.
    pub max_seconds: f64,
    /// Tokens of the call by the median's seconds, where it takes tokens.
    pub tokens_per_second: Option<f64>,
}

/// What a step of a case took, and what it could have taken.
#[derive(Clone, Debug, Serialize)]
pub struct StepProfile {
    /// What it is.
    pub label: String,
    /// Its kernel.
    pub kernel: String,
    /// The kernel's template.
    pub template: &'static str,
    /// Seconds of the median round.
    pub seconds: f64,
    /// Floating-point operations.
    pub flops: i64,
    /// Bytes read and written.
    pub bytes: i64,
    /// Seconds that it takes at least, by the target's rates.
    pub roofline_seconds: f64,
}

/// Where the time of a case goes.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// The case.
    pub case: String,
    /// Seconds of the median round, with the time between steps.
    pub seconds: f64,
    /// The steps, in order.
    pub steps: Vec<StepProfile>,
}

/// The cases of a model.
///
/// # Errors
/// When the signature or a size is unknown, or a size is out of bounds.
pub fn cases(model: &Model, options: &BenchOptions) -> Result<Vec<Case>> {
    let plan = model.plan();
    if let Some(name) = &options.signature
        && plan.signature(name).is_none()
    {
        let known = plan.signatures.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Error::Option(format!("there is no signature `{name}`: expected one of {known}")));
    }
    for (name, value) in &options.sizes {
        let Some(bounds) = plan.symbols.get(name.as_str()) else {
            let known = plan.symbols.keys().map(|s| s.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::Option(format!("there is no size `{name}`: expected one of {known}")));
        };
        if !bounds.bounds().contains(*value) {
            let (min, max) = (bounds.min, bounds.max);
            return Err(Error::Option(format!("the size `{name}` is {value}: expected {min} to {max}")));
        }
    }
    let chosen = plan.signatures.iter().filter(|s| options.signature.as_ref().is_none_or(|name| *name == s.name));
    let mut out = vec![];
    for signature in chosen {
        let cached = signature.inputs.iter().any(|i| meaning(plan, i) == Meaning::Position);
        match (options.sizes.is_empty(), cached) {
            (true, true) => {
                let context = context(plan).unwrap_or(PROMPT);
                let prompt = PROMPT.min(context);
                out.push(Case::new(model, signature, "prefill", &[], prompt, 0)?);
                out.push(Case::new(model, signature, "decode", &[], 1, prompt.min(context - 1))?);
            }
            (true, false) => out.push(Case::new(model, signature, "", &[], PROMPT, 0)?),
            (false, _) => out.push(Case::new(model, signature, "", &options.sizes, PROMPT, 0)?),
        }
    }
    Ok(out)
}

/// The positions that a cache has.
fn context(plan: &Plan) -> Option<i64> {
    cache(plan)?.upper_bound(&plan.symbols).ok()
}

fn cache(plan: &Plan) -> Option<&Dim> {
    let own = plan.states.iter().find(|s| s.name.starts_with(CACHE));
    own.or(plan.states.first())?.shape.get(1)
}

impl Case {
    /// A call of one sequence of `length` (as far as the model takes it) whose first token stands at `start`, but for the `sizes` given.
    fn new(
        model: &Model,
        signature: &Signature,
        phase: &str,
        sizes: &[(String, i64)],
        length: i64,
        start: i64,
    ) -> Result<Case> {
        let plan = model.plan();
        let given = |name: &str| sizes.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        let mut values: BTreeMap<String, i64> = BTreeMap::new();
        for input in &signature.inputs {
            for dim in &input.shape {
                dim.for_each_symbol(&mut |s| {
                    let Some(symbol) = plan.symbols.get(s) else { return };
                    let usual = if symbol.role == SizeRole::Batch { 1 } else { length };
                    let value = given(s).unwrap_or(usual).clamp(symbol.min, symbol.max);
                    values.entry(s.to_string()).or_insert(value);
                });
            }
        }
        // What the inputs' shapes do not say belongs to the states.
        let fixed: Vec<(String, i64)> = sizes.iter().filter(|(n, _)| !values.contains_key(n)).cloned().collect();
        let cache = cache(plan).and_then(Dim::as_symbol);
        let is_length = |s: &&Arc<str>| plan.symbols.get(*s).is_some_and(|s| s.role == SizeRole::Length);
        let tokens = signature.inputs.first().and_then(|i| i.shape.iter().filter_map(Dim::as_symbol).find(is_length));
        let tokens = tokens.and_then(|s| values.get(&**s).copied()).unwrap_or(1);
        let start = match cache.and_then(|s| given(s)) {
            Some(context) => (context - tokens).max(0),
            None => start,
        };
        let positions = start..start + tokens;
        let mut inputs = vec![];
        for spec in signature.inputs.iter().filter(|i| i.default.is_none() || meaning(plan, i) == Meaning::Position) {
            inputs.push((spec.name.clone(), input(plan, signature, spec, &values, &positions)?));
        }
        let ids = signature.inputs.iter().find(|i| i.shape.len() == 2 && meaning(plan, i) == Meaning::Address);
        let ids = ids.and_then(|ids| inputs.iter().find(|(name, _)| *name == ids.name));
        let ids = ids.map(|(_, ids)| ids.shape().iter().product());
        let sizes = values.iter().map(|(n, v)| format!("{n} = {v}")).collect::<Vec<_>>().join(", ");
        let name = match phase {
            "prefill" => format!("{}, prefill of {tokens}", signature.name),
            "decode" => format!("{}, one token after {start}", signature.name),
            _ => format!("{}, {sizes}", signature.name),
        };
        let session = SessionOptions { sizes: fixed };
        Ok(Case { name, signature: signature.name.clone(), sizes: values, start, session, inputs, tokens: ids })
    }

    /// A session for calls of this case.
    ///
    /// # Errors
    /// When memory is short.
    pub fn session(&self, model: &Arc<Model>) -> Result<Session> {
        Ok(Session::new(model, &self.session)?)
    }

    /// One call.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn call(&self, session: &mut Session) -> Result<()> {
        session.call(&self.signature, &views(&self.inputs)?)?;
        Ok(())
    }

    /// One call, with the time of each step.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn call_profiled(&self, session: &mut Session) -> Result<Vec<StepTime>> {
        Ok(session.call_profiled(&self.signature, &views(&self.inputs)?)?.1)
    }

    /// Operations and bytes of each step. A plan does not know how much of a cache is filled, and takes a share of it; a case does know.
    fn work(&self, plan: &Plan, steps: &[StepTime]) -> Vec<(i64, i64)> {
        let cache = cache(plan).and_then(Dim::as_symbol);
        let lookup = |s: &str| match cache {
            Some(name) if **name == *s => Some(CACHE_SHARE * self.start),
            _ => self.sizes.get(s).copied(),
        };
        let variant = plan.signature(&self.signature).and_then(|s| s.variant(&lookup).ok().flatten());
        let planned = variant.map_or(&[][..], |(_, v)| &v.schedule.steps);
        let work = |(i, s): (usize, &StepTime)| {
            let cached =
                |p: &&Step| matches!(&plan.kernels[p.kernel as usize].spec, KernelSpec::Attention(a) if a.starts);
            let exact = planned.get(i).filter(cached).map(|p| (p.flops.eval(&lookup), p.bytes.eval(&lookup)));
            if let Some((Ok(flops), Ok(bytes))) = exact { (flops, bytes) } else { (s.flops, s.bytes) }
        };
        steps.iter().enumerate().map(work).collect()
    }
}

/// What the values of an input are, as its range tells.
#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    /// Rows of the cache, no two the same.
    Row,
    /// Where in the cache the first token stands.
    Position,
    /// Rows of some table: token ids.
    Address,
    /// They address nothing.
    Other,
}

fn meaning(plan: &Plan, input: &InputSpec) -> Meaning {
    let Some(range) = &input.range else { return Meaning::Other };
    let mut in_cache = false;
    if let Some(context) = cache(plan).and_then(Dim::as_symbol) {
        range.max.for_each_symbol(&mut |s| in_cache |= s == context);
    }
    match (range.distinct, in_cache) {
        (true, _) => Meaning::Row,
        (false, true) => Meaning::Position,
        (false, false) => Meaning::Address,
    }
}

/// Values without a pattern, the same each time: addresses within the input's range, floats between -1 and 1. Where a signature keeps
/// a cache, its call is that of `positions`: the first is where the rows start, and the end what whole numbers without a range say,
/// which are the rows' lengths.
fn input(
    plan: &Plan,
    signature: &Signature,
    spec: &InputSpec,
    sizes: &BTreeMap<String, i64>,
    positions: &Range<i64>,
) -> Result<Tensor> {
    // What a call leaves open has its largest value.
    let size = |s: &str| sizes.get(s).copied().or_else(|| Some(plan.symbols.get(s)?.max));
    let shape: std::result::Result<Vec<usize>, _> =
        spec.shape.iter().map(|d| d.eval(&size).map(|n| n.max(0) as usize)).collect();
    let shape = shape.map_err(kiln_passes::PassError::from)?;
    let range = spec.range.as_ref().map(|range| range.bind(&size)).transpose().map_err(kiln_passes::PassError::from)?;
    let (first, count) = range.map_or((0, 1), |r| (r.min, r.max.saturating_sub(r.min).saturating_add(1).max(1)));
    let of_rows = signature.inputs.iter().any(|i| meaning(plan, i) == Meaning::Position && i.shape == spec.shape);
    let dtype = spec.storage.dense().unwrap_or(DType::U8);
    let scattered = |i: usize| (i as u32).wrapping_mul(1_664_525).wrapping_add(1_013_904_223) >> 8;
    let value = |i: usize| match meaning(plan, spec) {
        Meaning::Row => (first + i as i64) as f64,
        Meaning::Position => positions.start as f64,
        Meaning::Address => (first + i64::from(scattered(i)) % count) as f64,
        Meaning::Other if dtype.is_float() => f64::from(scattered(i)) / f64::from(1 << 23) - 1.0,
        Meaning::Other if dtype.is_int() && of_rows => positions.end as f64,
        Meaning::Other => 0.0,
    };
    let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
    Ok(Tensor::from_f64(dtype, shape, &values)?)
}

/// Times each case.
///
/// # Errors
/// As [`Session::call`].
pub fn time(model: &Arc<Model>, cases: &[Case], rounds: usize) -> Result<Vec<Timing>> {
    let mut sessions = cases.iter().map(|c| c.session(model)).collect::<Result<Vec<_>>>()?;
    let mut seconds = vec![vec![]; cases.len()];
    for round in 0..=rounds.max(1) {
        for ((case, session), seconds) in cases.iter().zip(&mut sessions).zip(&mut seconds) {
            let start = Instant::now();
            case.call(session)?;
            // The first round binds and warms up.
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let timing = |(case, mut seconds): (&Case, Vec<f64>)| {
        let median = median(&mut seconds);
        Timing {
            case: case.name.clone(),
            signature: case.signature.clone(),
            sizes: case.sizes.clone(),
            median_seconds: median,
            min_seconds: seconds[0],
            max_seconds: seconds[seconds.len() - 1],
            tokens_per_second: case.tokens.map(|n| n as f64 / median),
        }
    };
    Ok(cases.iter().zip(seconds).map(timing).collect())
}

/// Times each step of each case, and holds it against the target's roofline.
///
/// # Errors
/// As [`Session::call`].
pub fn profile(model: &Arc<Model>, cases: &[Case], rounds: usize, target: &TargetSpec) -> Result<Vec<Profile>> {
    let templates: BTreeMap<&str, &'static str> =
        model.plan().kernels.iter().map(|k| (&*k.symbol, k.spec.template())).collect();
    let mut out = vec![];
    for case in cases {
        let mut session = case.session(model)?;
        case.call(&mut session)?;
        let (mut walls, mut times): (Vec<f64>, Vec<Vec<StepTime>>) = (vec![], vec![]);
        for _ in 0..rounds.max(1) {
            let start = Instant::now();
            let steps = case.call_profiled(&mut session)?;
            walls.push(start.elapsed().as_secs_f64());
            times.push(steps);
        }
        let work = case.work(model.plan(), &times[0]);
        let step = |(i, s): (usize, &StepTime)| {
            let (flops, bytes) = work[i];
            let mut seconds: Vec<f64> = times.iter().map(|t| t[i].nanoseconds as f64 * 1e-9).collect();
            let cores = model.threads().min(usize::try_from(s.width).unwrap_or(1));
            StepProfile {
                label: s.label.to_string(),
                kernel: s.kernel.clone(),
                template: templates.get(&*s.kernel).copied().unwrap_or("?"),
                seconds: median(&mut seconds),
                flops,
                bytes,
                roofline_seconds: target.rates().roofline(flops as f64, bytes as f64, s.streams, cores),
            }
        };
        let steps = times[0].iter().enumerate().map(step).collect();
        out.push(Profile { case: case.name.clone(), seconds: median(&mut walls), steps });
    }
    Ok(out)
}

/// The median; sorts the values, of which there is one at least.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [5.0]), 5.0);
    }
}
