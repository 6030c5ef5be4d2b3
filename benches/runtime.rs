//! What loading and launching cost, without a compiler and without a model: `cargo bench --package kiln-runtime --bench runtime`.

#[allow(dead_code)]
#[path = "../runtime/tests/all/toy.rs"]
mod toy;

use kiln_core::{Buffer, DType, KernelSpec, Launch, Plan, PreparedSpec, Schedule, Temporary, WeightSpec};
use kiln_runtime::device::KernelFn;
use kiln_runtime::{
    Artifact, ArtifactWriter, LoadOptions, Model, OpenOptions, Pool, Section, Session, SessionOptions, TensorView,
    Workers,
};
use std::ffi::c_void;
use std::time::{Duration, Instant};

fn best<T>(repeats: usize, mut f: impl FnMut() -> T) -> Duration {
    let times = (0..repeats).map(|_| {
        let start = Instant::now();
        std::hint::black_box(f());
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

fn launches() {
    for threads in [1, 2] {
        let pool = Pool::new(threads).unwrap();
        for chunks in [1, 2, 8, 64] {
            let launches = 100_000;
            let mut time = Duration::ZERO;
            pool.during_call(&mut || {
                let run = || pool.run(chunks, &|i| assert!(std::hint::black_box(i) < 64));
                time = best(7, || (0..launches).for_each(|_| run()));
            });
            println!("{threads} threads, {chunks} chunks: {:.0} ns a launch", time.as_nanos() as f64 / launches as f64);
        }
    }
}

/// Calls of so many callers together, each of twenty launches with some arithmetic in each chunk.
fn callers() {
    fn call(pool: &Pool) {
        let chunk = |seed: u32| {
            let sum = (0..10_000).fold(seed as f32, |sum, i| std::hint::black_box(sum * 0.999 + i as f32));
            assert!(std::hint::black_box(sum).is_finite());
        };
        pool.during_call(&mut || (0..20).for_each(|_| pool.run(8, &chunk)));
    }
    const CALLS: u32 = 64;
    for threads in [1, 2] {
        for callers in [1, 2, 4, 8] {
            // One model, or with one thread each, as many as there are callers: they do not wait for each other either.
            let pool = Pool::new(threads).unwrap();
            let time = best(3, || {
                std::thread::scope(|scope| {
                    for _ in 0..callers {
                        scope.spawn(|| (0..CALLS / callers).for_each(|_| call(&pool)));
                    }
                });
            });
            let rate = f64::from(CALLS) / time.as_secs_f64();
            println!("{threads} threads, {callers} callers: {rate:.1} calls a second together");
        }
    }
}

unsafe extern "C" fn nothing(
    _: *mut *mut c_void,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: *mut u32,
    _: *mut u64,
) {
}

/// Fills its share of a prepared tensor, as packing does: the source is read once, the target written once.
unsafe extern "C" fn expand(
    operands: *mut *mut c_void,
    _: u32,
    _: u32,
    _: u32,
    chunk: u32,
    _: u32,
    _: u32,
    _: *mut u32,
    meta: *mut u64,
) {
    // SAFETY: the plan below gives a weight of `n` u16 and a prepared tensor of `n` f32.
    unsafe {
        let (chunks, n) = (*meta as usize, *meta.add(1) as usize);
        let (source, target) = ((*operands).cast::<u16>(), (*operands.add(1)).cast::<f32>());
        for i in chunk as usize * n / chunks..(chunk as usize + 1) * n / chunks {
            *target.add(i) = f32::from(*source.add(i));
        }
    }
}

/// As many steps, weights and bytes as a language model of 135 million parameters has, stored in 2 bytes and used in 4.
fn large() -> Plan {
    const TENSORS: usize = 270;
    const ELEMENTS: usize = 500_000;
    let mut plan = toy::plan();
    let name = |i: usize| format!("model.layers.{}.self_attn.q_proj.weight.{i}", i / 9);
    plan.weights = (0..TENSORS)
        .map(|i| WeightSpec { name: name(i), storage: DType::BF16.into(), shape: vec![ELEMENTS], offset: 0 })
        .collect();
    plan.prepared = (0..TENSORS).map(|i| PreparedSpec { name: name(i), bytes: 4 * ELEMENTS as u64 }).collect();
    let pack = plan.prepare.steps.remove(0);
    for i in 0..TENSORS as u32 {
        let mut step = pack.clone();
        step.operands = vec![Buffer::Weight(i), Buffer::Prepared(i)];
        step.args = vec![ELEMENTS.into()];
        step.launch = Launch::Chunks(16.into());
        plan.prepare.steps.push(step);
    }
    let forward = &mut plan.signatures[1];
    let step = &mut forward.variants[0].schedule.steps[0];
    step.launch = Launch::Chunks(2.into());
    step.args = ["max(b, floordiv(b, 8))", "floordiv(16*s + 15, 16)"].map(toy::dim).to_vec();
    let result = step.operands.pop();
    let mut steps = vec![step.clone(); 250];
    for (step, t) in steps.iter_mut().zip(0..) {
        step.operands.push(Buffer::Temporary(t));
    }
    if let (Some(last), Some(result)) = (steps.last_mut(), result) {
        last.operands.pop();
        last.operands.push(result);
    }
    let temporaries = vec![Temporary { slot: 0, bytes: toy::dim("4*b*s") }; 249];
    forward.variants[0].schedule = Schedule { steps, slots: vec![toy::dim("max(4*b*s, 64)")], temporaries };
    forward.variants = vec![forward.variants[0].clone(); 5];
    if let KernelSpec::Map(double) = &mut plan.kernels[0].spec {
        double.reads[0].storage = DType::BF16.into();
    }
    plan.kernels = (0..40).flat_map(|_| plan.kernels.clone()).collect();
    plan
}

fn loading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.kiln");
    let mut plan = large();
    let start = Instant::now();
    let mut w = ArtifactWriter::create(&path).unwrap();
    w.manifest(&toy::manifest()).unwrap();
    for spec in &mut plan.weights {
        let bytes: Vec<u8> = (0..spec.shape[0] * 2).map(|i| (i * 31 / 32) as u8).collect();
        w.weight(spec, |out| out.write_all(&bytes)).unwrap();
    }
    w.plan(0, &plan).unwrap();
    w.finish().unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    println!("write {} MB: {:?}", size / 1_000_000, start.elapsed());
    for threads in [1, 2] {
        let open = |trust_weights| {
            let options = OpenOptions { threads: Some(threads), trust_weights, ..OpenOptions::default() };
            best(9, || Artifact::open(&path, &options).unwrap())
        };
        let (checked, trusted) = (open(false), open(true));
        let rate = size as f64 / checked.as_secs_f64() / 1e9;
        println!("open, {threads} threads: {checked:?} ({rate:.1} GB/s), weights trusted {trusted:?}");
    }
    let artifact = Artifact::open(&path, &OpenOptions::default()).unwrap();
    let json = artifact.section(Section::Plan).unwrap().len();
    println!("parse the plan ({} KB, 1250 steps): {:?}", json / 1000, best(9, || artifact.plan(0).unwrap()));
    let mut kernels: Vec<KernelFn> = vec![nothing; plan.kernels.len()];
    kernels[0] = expand;
    for threads in [1, 2] {
        let options = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
        let load = || {
            let artifact =
                Artifact::open(&path, &OpenOptions { threads: Some(threads), ..OpenOptions::default() }).unwrap();
            Model::with_kernels(artifact, kernels.clone(), &options).unwrap()
        };
        let bytes = load().memory(&[]).unwrap().prepared;
        println!("open, check, prepare {} MB, {threads} threads: {:?}", bytes / 1_000_000, best(5, load));
        let model = load();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let lines: Vec<_> = status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("Rss")).collect();
        println!("{}", lines.join(", "));
        let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
        let mut call = |b: usize| {
            let x = [0f32; 24];
            session.call("forward", &[("x", TensorView::new(&[b, 8], &x[..b * 8]))]).unwrap();
        };
        let first = best(1, || call(1));
        println!("call of 250 empty steps, {threads} threads: first {first:?}, then {:?}", best(2000, || call(1)));
    }
}

fn main() {
    launches();
    callers();
    loading();
}
