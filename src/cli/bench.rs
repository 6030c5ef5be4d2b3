//! `kiln bench`: how long calls take, and where the time goes.

use super::{CompileArgs, blocks, load, module, outln};
use crate::lab::ablation::{self, ablation};
use crate::lab::bench::{self, BenchOptions, Profile, StepProfile, Timing};
use crate::lab::costs::{BlockCosts, Pairs, costs};
use crate::{Error, LoadOptions, Result};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Args)]
pub struct BenchArgs {
    /// A hub id, a folder, a .gguf file or a .kiln artifact.
    model: String,
    #[command(flatten)]
    options: CompileArgs,
    /// The signature to call; all of them by default.
    #[arg(long)]
    signature: Option<String>,
    /// Sizes by symbol, `b=1,s=512`; by default a prompt of 512 tokens, and one token after it.
    #[arg(long, value_delimiter = ',', value_parser = size)]
    sizes: Vec<(String, i64)>,
    /// How often each call is timed.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads that compute; by default, and for 0, as many as the machine has.
    #[arg(long)]
    threads: Option<usize>,
    /// Read the artifact into memory instead of mapping it: for a file that may be changed, truncated or unmounted meanwhile.
    #[arg(long)]
    no_mmap: bool,
    /// Which of the artifact's programs runs, by its target's name; by default the one that makes most of this machine.
    #[arg(long, value_name = "TARGET")]
    code: Option<String>,
    /// Where the time goes, beside the roofline of the target: what its rates allow at best.
    #[arg(long)]
    profile: bool,
    /// Compile and measure several forms of each block, and hold the cost model's prediction against the clock. Needs the model itself.
    #[arg(long, conflicts_with_all = ["profile", "signature", "sizes"])]
    costs: bool,
    /// Compile and time the model with no rules, with each table of rules left out, and with all, as a table. Needs the model itself.
    #[arg(long, conflicts_with_all = ["profile", "signature", "sizes", "costs"])]
    rules: bool,
    /// With --costs: the block; all of them by default.
    #[arg(long, requires = "costs")]
    block: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// `s=512`
fn size(text: &str) -> std::result::Result<(String, i64), String> {
    let wrong = || format!("`{text}` is not a size: expected NAME=NUMBER, such as s=512");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.trim().to_string(), value.trim().parse().map_err(|_| wrong())?))
}

impl BenchArgs {
    fn load_options(&self) -> LoadOptions {
        LoadOptions { threads: self.threads, copy: self.no_mmap, target: self.code.clone(), ..LoadOptions::default() }
    }
}

pub fn run(args: &BenchArgs) -> Result<()> {
    if args.costs {
        return run_costs(args);
    }
    if args.rules {
        return run_rules(args);
    }
    let (model, _) = load(&args.model, &args.options, &args.load_options())?;
    let options =
        BenchOptions { signature: args.signature.clone(), sizes: args.sizes.clone(), rounds: args.rounds as usize };
    let cases = bench::cases(&model, &options)?;
    if cases.is_empty() {
        return Err(Error::Option("the artifact has no signatures".into()));
    }
    let threads = model.threads();
    if args.profile {
        // The machine it was compiled for, unless another is named: a target file says what this one gives.
        let target = match args.options.is_default_target() {
            true => model.target(),
            false => &args.options.target.spec,
        };
        let profiles = bench::profile(&model, &cases, options.rounds, target)?;
        match args.json {
            true => outln!("{}", json!({ "threads": threads, "target": target, "profiles": profiles }))?,
            false => profiles.iter().try_for_each(print_profile)?,
        }
        return Ok(());
    }
    let timings = bench::time(&model, &cases, options.rounds)?;
    match args.json {
        true => outln!("{}", json!({ "threads": threads, "rounds": options.rounds, "timings": timings }))?,
        false => {
            outln!("medians of {} rounds, {threads} threads", options.rounds)?;
            timings.iter().try_for_each(print_timing)?;
        }
    }
    Ok(())
}

fn print_timing(t: &Timing) -> Result<()> {
    let rate = t.tokens_per_second.map(|r| format!("{r:>9.1} tokens/s")).unwrap_or_default();
    let ms = |seconds: f64| seconds * 1e3;
    let (median, min, max) = (ms(t.median_seconds), ms(t.min_seconds), ms(t.max_seconds));
    outln!("{:<36}{median:>9.3} ms  ({min:.3}..{max:.3}){rate}", t.case)
}

fn run_costs(args: &BenchArgs) -> Result<()> {
    let module = module(&args.model, &args.options)?;
    if let Some(name) = &args.block {
        blocks(&module, Some(name))?;
    }
    let (options, load) = (args.options.options(), args.load_options());
    let all = costs(&module, args.block.as_deref(), &options, &load, args.rounds as usize)?;
    let mut sum = Pairs::default();
    for pairs in all.iter().map(BlockCosts::pairs) {
        sum.distinct += pairs.distinct;
        sum.right += pairs.right;
        sum.equal += pairs.equal;
    }
    if args.json {
        outln!("{}", json!({ "target": options.target.name(), "blocks": all, "pairs": sum }))?;
        return Ok(());
    }
    for block in &all {
        let Pairs { distinct, right, .. } = block.pairs();
        outln!(
            "@{}, {} rows, {} keys: {right} of {distinct} pairs ordered right",
            block.block,
            block.rows,
            block.context
        )?;
        outln!("{:>12} {:>12} {:>9}  form", "predicted ms", "measured ms", "again")?;
        let mut forms: Vec<_> = block.alternatives.iter().collect();
        forms.sort_by(|a, b| a.measured.total_cmp(&b.measured));
        for f in forms {
            outln!("{:>12.4} {:>12.4} {:>9.4}  {}", f.predicted * 1e3, f.measured * 1e3, f.again * 1e3, f.name)?;
        }
        outln!("")?;
    }
    outln!(
        "{} of {} pairs ordered right ({:.0}%) on {}; {} more the clock does not tell apart",
        sum.right,
        sum.distinct,
        100.0 * sum.right as f64 / sum.distinct.max(1) as f64,
        options.target.name(),
        sum.equal
    )?;
    Ok(())
}

fn run_rules(args: &BenchArgs) -> Result<()> {
    let files = args.options.files_for("bench --rules", &args.model)?;
    let module = crate::compile::trace(&files, &args.options.options())?.module;
    let (options, load) = (args.options.options(), args.load_options());
    let rows = ablation(&files, &module, &options, &load, args.rounds as usize)?;
    if args.json {
        outln!("{}", json!({ "target": options.target.name(), "rows": rows }))?;
        return Ok(());
    }
    let cases = rows.first().map(|r| r.cases.iter().map(|c| c.name.as_str()).collect::<Vec<_>>()).unwrap_or_default();
    let heads: Vec<String> = cases.iter().map(|c| format!(" {c}: steps | MB | predicted ms | measured ms |")).collect();
    outln!("| {} | nodes | kernels |{}", files.id, heads.concat())?;
    outln!("|---|---|---|{}", "---|---|---|---|".repeat(cases.len()))?;
    for row in &rows {
        let case = |c: &ablation::Case| {
            let (mb, predicted, measured) = (c.bytes as f64 * 1e-6, c.predicted * 1e3, c.measured * 1e3);
            format!(" {} | {mb:.1} | {predicted:.3} | {measured:.3} |", c.steps)
        };
        let cells: Vec<String> = row.cases.iter().map(case).collect();
        outln!("| {} | {} | {} |{}", row.rules, row.nodes, row.kernels, cells.concat())?;
    }
    Ok(())
}

/// The steps of one kernel. Layers that are alike share theirs.
#[derive(Default)]
struct Group<'a> {
    steps: Vec<&'a StepProfile>,
    seconds: f64,
}

fn print_profile(profile: &Profile) -> Result<()> {
    let mut groups: BTreeMap<(&str, String), Group<'_>> = BTreeMap::new();
    for step in &profile.steps {
        let group = groups.entry((&step.kernel, without_numbers(&step.label))).or_default();
        group.seconds += step.seconds;
        group.steps.push(step);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    let total: f64 = profile.steps.iter().map(|s| s.seconds).sum();
    let best: f64 = profile.steps.iter().map(|s| s.roofline_seconds).sum();
    let (wall, kernels) = (profile.seconds * 1e3, total * 1e3);
    outln!("{}: {wall:.3} ms, of which {kernels:.3} ms in {} steps", profile.case, profile.steps.len())?;
    outln!(
        "{:>9} {:>6} {:>5} {:>9} {:>7} {:>9}  template   what",
        "ms",
        "share",
        "steps",
        "GFLOP/s",
        "GB/s",
        "roofline"
    )?;
    for ((_, label), group) in groups {
        let sum = |of: fn(&StepProfile) -> f64| group.steps.iter().map(|s| of(s)).sum::<f64>();
        outln!(
            "{:>9.3} {:>5.1}% {:>5} {:>9.1} {:>7.1} {:>8.0}%  {:<10} {label}",
            group.seconds * 1e3,
            group.seconds / total * 100.0,
            group.steps.len(),
            sum(|s| s.flops as f64) / group.seconds * 1e-9,
            sum(|s| s.bytes as f64) / group.seconds * 1e-9,
            sum(|s| s.roofline_seconds) / group.seconds * 100.0,
            group.steps[0].template,
        )?;
    }
    outln!("all steps at their roofline: {:.3} ms, {:.0}% of what they took\n", best * 1e3, best / total * 100.0)
}

/// `layers.12.mlp` and `layers.3.mlp` are the same work.
fn without_numbers(label: &str) -> String {
    let parts = label.split('.').map(|part| if part.bytes().all(|b| b.is_ascii_digit()) { "*" } else { part });
    parts.collect::<Vec<_>>().join(".")
}
