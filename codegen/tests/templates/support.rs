//! Compiling specs, calling them, and comparing with the reference.

use kiln_codegen::cpu::Image;
use kiln_codegen::{CompileOptions, EmitMode, compile_kernels, link_image};
use kiln_core::reference::eval_spec;
use kiln_core::{
    Access, CpuSpec, DType, ElementOp, Inst, KernelSpec, Program, RightSide, Size, Storage, ValueId, Write, call,
    reaches,
};
use std::ffi::c_void;

/// A small generator of test data (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// Uniform in -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8388608.0 - 1.0
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn f32s(&mut self, n: usize, scale: f32) -> Vec<u8> {
        (0..n).flat_map(|_| (self.unit() * scale).to_le_bytes()).collect()
    }
    /// Random elements of any type; block scales are small and finite.
    pub fn elements(&mut self, storage: Storage, n: usize) -> Vec<u8> {
        match storage {
            Storage::Dense(DType::F64) => (0..n).flat_map(|_| f64::from(self.unit() * 3.0).to_le_bytes()).collect(),
            Storage::Dense(DType::F32) => self.f32s(n, 3.0),
            Storage::Dense(d @ (DType::F16 | DType::BF16)) => {
                let mut out = vec![];
                (0..n).for_each(|_| d.write((self.unit() * 3.0).into(), &mut out));
                out
            }
            Storage::Dense(DType::I64) => (0..n).flat_map(|_| (self.below(41) as i64 - 20).to_le_bytes()).collect(),
            Storage::Dense(DType::I32) => (0..n).flat_map(|_| (self.below(41) as i32 - 20).to_le_bytes()).collect(),
            Storage::Dense(DType::Bool) => (0..n).map(|_| self.below(2) as u8).collect(),
            Storage::Dense(DType::I8 | DType::U8) => (0..n).map(|_| self.next() as u8).collect(),
            Storage::Block(format) => {
                assert!(n.is_multiple_of(format.block_len()));
                let mut out = vec![];
                for _ in 0..n / format.block_len() {
                    let mut block: Vec<u8> = (0..format.block_bytes()).map(|_| self.next() as u8).collect();
                    let mut put = |at: usize, value: f32| {
                        block[at..at + 2].copy_from_slice(&DType::F16.bits(value.into()).to_le_bytes()[..2]);
                    };
                    put(format.scale_offset(), self.unit() * 0.1);
                    if let Some(at) = format.minimum_offset() {
                        put(at, self.unit());
                    }
                    out.extend(block);
                }
                out
            }
        }
    }
}

/// An image mapped read and execute, as the runtime maps it.
pub struct Code {
    map: memmap2::Mmap,
    entries: Vec<u64>,
}

impl Code {
    pub fn new(image: &Image) -> Self {
        let mut map = memmap2::MmapMut::map_anon(image.code.len()).unwrap();
        map.copy_from_slice(&image.code);
        Code { map: map.make_exec().unwrap(), entries: image.entries.clone() }
    }

    /// Calls kernel `n` for each chunk.
    pub fn call(&self, n: usize, buffers: &mut [Vec<u8>], args: &[i64], chunks: u32) {
        // SAFETY: the entry was linked by `link_image` and has the documented type.
        let f: call::KernelFn = unsafe { std::mem::transmute(self.map.as_ptr().add(self.entries[n] as usize)) };
        let mut table: Vec<*mut c_void> = buffers.iter_mut().map(|b| b.as_mut_ptr().cast()).collect();
        let (mut sync, mut meta) = ([0; 2], call::meta(chunks, args, buffers.len()).collect::<Vec<_>>());
        // In any order.
        for chunk in (0..chunks).rev() {
            // SAFETY: the buffers are as large as the spec's accesses reach.
            unsafe { call::call(f, table.as_mut_ptr(), chunk, sync.as_mut_ptr(), meta.as_mut_ptr()) };
        }
        assert_eq!(sync, [0; 2], "kernels leave the words of barriers alone");
        assert!(call::meta(chunks, args, buffers.len()).eq(meta), "kernels do not write to their arguments");
    }
}

pub fn target() -> CpuSpec {
    CpuSpec::level("x86-64-v3").unwrap()
}

pub fn options() -> CompileOptions {
    CompileOptions { mode: EmitMode::Worker(env!("CARGO_BIN_EXE_kiln-emit").into()), jobs: 0 }
}

/// The levels that this machine runs, the default one first.
fn levels() -> Vec<CpuSpec> {
    #[cfg(target_arch = "x86_64")]
    let runs = |name: &str| match name {
        "x86-64-v2" => is_x86_feature_detected!("sse4.2"),
        "x86-64-v3" => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        "x86-64-v4" => is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512dq"),
        _ => false,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let runs = |name: &str| name == std::env::consts::ARCH;
    let mut levels: Vec<_> = CpuSpec::LEVELS.iter().filter(|name| runs(name)).collect();
    levels.sort_by_key(|name| **name != "x86-64-v3");
    levels.into_iter().map(|name| CpuSpec::level(name).unwrap()).collect()
}

pub fn build(specs: &[KernelSpec]) -> Code {
    build_for(specs, &target())
}

fn build_for(specs: &[KernelSpec], target: &CpuSpec) -> Code {
    let kernels = compile_kernels(specs, target, &options()).unwrap_or_else(|e| panic!("{e}"));
    Code::new(&link_image(&kernels).unwrap_or_else(|e| panic!("{e}")))
}

/// One launch to check.
pub struct Case {
    pub name: String,
    pub spec: KernelSpec,
    /// All operands; written ones hold what they hold before.
    pub buffers: Vec<Vec<u8>>,
    pub args: Vec<i64>,
    /// Largest `‖got - want‖ / ‖want‖` of a written float operand.
    pub tolerance: f64,
}

fn floats(storage: Storage, bytes: &[u8]) -> Option<Vec<f64>> {
    let dtype = storage.dense().filter(|d| d.is_float())?;
    Some(bytes.chunks(dtype.size()).map(|element| dtype.read(element)).collect())
}

/// What the reference makes of a case, in buffers that end where the kernel's reach ends.
fn expected(case: &Case) -> Vec<Vec<u8>> {
    // A gather that nothing clamps may lead anywhere: that its indices are right is the case's word.
    let unclamped = matches!(&case.spec, KernelSpec::Map(s) if s.reads.iter().any(|a| !a.indirect.is_empty()));
    let reaches = match reaches(&case.spec, &case.args) {
        Ok(reaches) => reaches,
        Err(_) if unclamped => {
            let mut whole = case.buffers.clone();
            eval_spec(&case.spec, &mut whole, &case.args);
            return whole;
        }
        Err(e) => panic!("{}: {e}", case.name),
    };
    let storages: Vec<Storage> = case.spec.operands();
    let mut cut = case.buffers.clone();
    for (n, (reach, storage)) in reaches.operands.iter().zip(storages).enumerate() {
        let end = reach.elements.map_or(Some(0), |(_, last)| storage.end_of(last)).expect(&case.name) as usize;
        assert!(end <= cut[n].len(), "{}: operand {n} reaches to {end} of {}", case.name, cut[n].len());
        cut[n].truncate(end);
    }
    eval_spec(&case.spec, &mut cut, &case.args);
    cut.into_iter().zip(&case.buffers).map(|(cut, whole)| [&cut[..], &whole[cut.len()..]].concat()).collect()
}

/// Whether a target's vectors make the panels of a spec. Which panels it has is for the target to say.
fn has_panels(spec: &KernelSpec, target: &CpuSpec) -> bool {
    let KernelSpec::MatMul(s) = spec else { return true };
    let RightSide::Panels { panel, .. } = s.rhs else { return true };
    let lanes = target.vector_lanes as i64;
    panel % (lanes * s.parts) == 0 && panel <= lanes * target.vector_registers as i64 / 4
}

/// Compiles all specs for every level that this machine runs, and compares; of many cases, the default level takes all, and the others
/// every third.
pub fn check(cases: Vec<Case>) {
    for (n, target) in levels().iter().enumerate() {
        let few = n == 0 || cases.len() < 30;
        let chosen = cases.iter().enumerate().filter(|(i, _)| few || i % 3 == n % 3);
        let chosen: Vec<&Case> = chosen.map(|(_, case)| case).filter(|case| has_panels(&case.spec, target)).collect();
        assert!(!chosen.is_empty(), "no case for {}", target.name);
        check_on(&chosen, target);
    }
}

/// Compiles all specs for a target, runs each with 1, 2 and 5 chunks, and compares.
fn check_on(cases: &[&Case], target: &CpuSpec) {
    let mut specs: Vec<KernelSpec> = vec![];
    for case in cases {
        if !specs.contains(&case.spec) {
            specs.push(case.spec.clone());
        }
    }
    let code = build_for(&specs, target);
    let mut failures = vec![];
    for case in cases {
        let kernel = specs.iter().position(|s| *s == case.spec).unwrap();
        let want = expected(case);
        let runs: Vec<Vec<Vec<u8>>> = [1, 2, 5]
            .map(|chunks| {
                let mut got = case.buffers.clone();
                code.call(kernel, &mut got, &case.args, chunks);
                got
            })
            .into();
        let reads = case.spec.reads().len();
        for (n, storage) in case.spec.writes().into_iter().enumerate() {
            let (got, want) = (&runs[0][reads + n], &want[reads + n]);
            if runs.iter().any(|r| r[reads + n] != *got) {
                failures.push(format!("{}: write {n} depends on the number of chunks", case.name));
            }
            match floats(storage, got) {
                None if got != want => {
                    let at = got.iter().zip(want).position(|(a, b)| a != b);
                    failures.push(format!("{}: write {n} differs at byte {at:?}: {got:?}\n{want:?}", case.name));
                }
                None => {}
                Some(got) => {
                    let want = floats(storage, want).unwrap();
                    let (mut error, mut norm) = (0.0, 0.0);
                    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                        if g.is_nan() != w.is_nan() || (w.is_infinite() || g.is_infinite()) && g != w {
                            failures.push(format!("{}: write {n} element {i}: got {g}, want {w}", case.name));
                            break;
                        }
                        if w.is_finite() {
                            error += (g - w) * (g - w);
                            norm += w * w;
                        }
                    }
                    let relative = (error / norm.max(1e-30)).sqrt();
                    if relative > case.tolerance {
                        let at = got.iter().zip(&want).position(|(g, w)| (g - w).abs() > 0.1 * w.abs().max(1e-3));
                        failures.push(format!(
                            "{}: write {n} is off by {relative:e} (first large difference at {at:?} of {})",
                            case.name,
                            got.len()
                        ));
                    }
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{}: {}",
        target.name,
        failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
}

/// An access with constant strides.
pub fn access(dtype: DType, strides: &[i64]) -> Access {
    access_sized(dtype, &strides.iter().map(|s| Size::Const(*s)).collect::<Vec<_>>())
}

pub fn access_sized(dtype: DType, strides: &[Size]) -> Access {
    Access { storage: dtype.into(), offset: Size::Const(0), strides: strides.to_vec(), indirect: vec![] }
}

pub fn store(access: Access, value: ValueId) -> Write {
    Write { access, value, condition: None }
}

/// Builds a program line by line.
#[derive(Default)]
pub struct P(pub Program);

impl P {
    pub fn add(&mut self, op: ElementOp, dtype: DType) -> ValueId {
        self.0.insts.push(Inst { op, dtype });
        ValueId(self.0.insts.len() as u32 - 1)
    }
    pub fn load(&mut self, n: u32, dtype: DType) -> ValueId {
        self.add(ElementOp::Load(n), dtype)
    }
    pub fn f32(&mut self, x: f32) -> ValueId {
        self.add(ElementOp::Const(u64::from(x.to_bits())), DType::F32)
    }
}

pub fn zeros(dtype: DType, n: usize) -> Vec<u8> {
    vec![0; dtype.size() * n]
}
