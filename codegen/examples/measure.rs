//! Times the templates at SmolLM2's sizes: `cargo run --release -p kiln-codegen --example measure [filter]`.

use kiln_codegen::{CompileOptions, compile_kernels, link_image, maybe_run_worker};
use kiln_core::*;
use std::{ffi::c_void, time::Instant};

fn dense(strides: &[i64]) -> Access {
    Access {
        storage: DType::F32.into(),
        offset: Size::Const(0),
        strides: strides.iter().map(|s| Size::Const(*s)).collect(),
        indirect: vec![],
    }
}

struct Measure {
    name: String,
    spec: KernelSpec,
    buffers: Vec<Vec<u8>>,
    args: Vec<i64>,
    flops: f64,
    bytes: f64,
    values: f64,
}

fn floats(n: usize) -> Vec<u8> {
    (0..n).flat_map(|i| (((i * 7919) % 1000) as f32 / 1000.0 - 0.5).to_le_bytes()).collect()
}

fn matmul(m: i64, k: i64, n: i64, panel: i64, parts: i64) -> Measure {
    let width = n / parts;
    let mut program = Program::default();
    program.insts.push(Inst { op: ElementOp::Given(0), dtype: DType::F32 });
    let mut value = ValueId(0);
    if parts == 2 {
        let ops = [
            ElementOp::Given(1),
            ElementOp::Unary(UnaryOp::Neg, ValueId(0)),
            ElementOp::Unary(UnaryOp::Exp, ValueId(2)),
            ElementOp::Const(u64::from(1f32.to_bits())),
            ElementOp::Binary(BinaryOp::Add, ValueId(3), ValueId(4)),
            ElementOp::Binary(BinaryOp::Div, ValueId(0), ValueId(5)),
            ElementOp::Binary(BinaryOp::Mul, ValueId(6), ValueId(1)),
        ];
        program.insts.extend(ops.map(|op| Inst { op, dtype: DType::F32 }));
        value = ValueId(7);
    }
    let skinny = m <= 8;
    let spec = MatMulSpec {
        m: Size::Arg(0),
        n,
        k: Size::Const(k),
        skinny,
        lhs: DType::F32.into(),
        a_stride: Size::Const(k),
        rhs: RightSide::Panels { panel, dtype: DType::F32 },
        parts,
        rms_norm: None,
        reads: vec![],
        program,
        writes: vec![Write { access: dense(&[width, 1]), value, condition: None }],
    };
    Measure {
        name: format!("matmul {m}x{k}x{n} panel {panel} parts {parts}"),
        spec: KernelSpec::MatMul(spec),
        buffers: vec![
            floats((m * k) as usize),
            floats(PackSpec::packed_len(n, k, panel, parts) as usize),
            vec![0; (m * width * 4) as usize],
        ],
        args: vec![m],
        flops: 2.0 * (m * n * k) as f64,
        bytes: 4.0 * (n * k) as f64,
        values: 0.0,
    }
}

fn pack(n: i64, k: i64, storage: Storage, panel: i64, parts: i64) -> Measure {
    let spec = PackSpec {
        n,
        k: Size::Const(k),
        storage,
        transposed: false,
        column_scale: true,
        row_scale: false,
        column_offset: 0,
        n_total: n,
        panel,
        parts,
        packed: DType::F32,
    };
    let bytes = storage.bytes((n * k) as usize).expect("whole blocks");
    Measure {
        name: format!("pack {storage} {n}x{k} panel {panel} parts {parts}"),
        spec: KernelSpec::Pack(spec),
        buffers: vec![
            (0..bytes).map(|i| (i * 31 % 61) as u8).collect(),
            floats(k as usize),
            vec![0; 4 * PackSpec::packed_len(n, k, panel, parts) as usize],
        ],
        args: vec![],
        flops: 0.0,
        bytes: (4 * n * k) as f64,
        values: (n * k) as f64,
    }
}

fn attention(queries: i64, keys: i64, heads: i64, kv: i64, d: i64) -> Measure {
    let spec = AttentionSpec {
        batch: Size::Const(1),
        queries: if queries == 1 { Size::Const(1) } else { Size::Arg(0) },
        kv_len: Size::Arg(1),
        q_heads: heads,
        kv_heads: kv,
        head_dim: d,
        v_dim: d,
        scale: (d as f32).sqrt().recip().to_bits(),
        causal: true,
        window: None,
        q: dense(&[0, heads * d, d, 1]),
        k: dense(&[0, kv * d, d, 1]),
        v: dense(&[0, kv * d, d, 1]),
        slots: None,
        starts: true,
        mask: None,
        out: dense(&[0, heads * d, d, 1]),
    };
    let seen: i64 = (0..queries).map(|j| keys - queries + j + 1).sum();
    Measure {
        name: format!("attention {queries}q {keys}k {heads}/{kv} heads of {d}"),
        spec: KernelSpec::Attention(spec),
        buffers: vec![
            floats((queries * heads * d) as usize),
            floats((keys * kv * d) as usize),
            floats((keys * kv * d) as usize),
            (keys - queries).to_le_bytes().to_vec(),
            vec![0; (queries * heads * d * 4) as usize],
        ],
        args: vec![queries, keys],
        flops: (4 * seen * heads * d) as f64,
        bytes: (8 * keys * kv * d) as f64,
        values: 0.0,
    }
}

fn norm(rows: i64, len: i64) -> Measure {
    let inst = |op, dtype| Inst { op, dtype };
    let f = DType::F32;
    let square = vec![inst(ElementOp::Load(0), f), inst(ElementOp::Binary(BinaryOp::Mul, ValueId(0), ValueId(0)), f)];
    let root = vec![
        inst(ElementOp::Given(0), f),
        inst(ElementOp::Const(u64::from((1.0 / len as f32).to_bits())), f),
        inst(ElementOp::Binary(BinaryOp::Mul, ValueId(0), ValueId(1)), f),
        inst(ElementOp::Unary(UnaryOp::Rsqrt, ValueId(2)), f),
    ];
    let scale = vec![
        inst(ElementOp::Load(0), f),
        inst(ElementOp::Given(1), f),
        inst(ElementOp::Binary(BinaryOp::Mul, ValueId(0), ValueId(1)), f),
    ];
    let spec = RowSpec {
        rows: vec![Size::Arg(0)],
        len: Size::Const(len),
        reads: vec![dense(&[len, 1])],
        phases: vec![
            Phase::Reduce { program: Program { insts: square }, value: ValueId(1), op: ReduceOp::Sum },
            Phase::Scalar { program: Program { insts: root }, exports: vec![ValueId(3)], writes: vec![] },
            Phase::Map {
                program: Program { insts: scale },
                writes: vec![Write { access: dense(&[len, 1]), value: ValueId(2), condition: None }],
            },
        ],
    };
    Measure {
        name: format!("rms norm {rows}x{len}"),
        spec: KernelSpec::Row(spec),
        buffers: vec![floats((rows * len) as usize), vec![0; (rows * len * 4) as usize]],
        args: vec![rows],
        flops: 0.0,
        bytes: (8 * rows * len) as f64,
        values: (rows * len) as f64,
    }
}

fn unary(op: UnaryOp, n: i64) -> Measure {
    let program = Program {
        insts: vec![
            Inst { op: ElementOp::Load(0), dtype: DType::F32 },
            Inst { op: ElementOp::Unary(op, ValueId(0)), dtype: DType::F32 },
        ],
    };
    Measure {
        name: format!("{op} {n}"),
        spec: KernelSpec::Map(MapSpec {
            extents: vec![Size::Arg(0)],
            reads: vec![dense(&[1])],
            program,
            writes: vec![Write { access: dense(&[1]), value: ValueId(1), condition: None }],
        }),
        buffers: vec![floats(n as usize), vec![0; n as usize * 4]],
        args: vec![n],
        flops: 0.0,
        bytes: (8 * n) as f64,
        values: n as f64,
    }
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
}

/// CPU time of this thread: other work on the machine does not count.
fn thread_seconds() -> f64 {
    let mut time = [0i64; 2];
    // SAFETY: CLOCK_THREAD_CPUTIME_ID (3 on Linux) into a timespec of two 64-bit words.
    unsafe { clock_gettime(3, &mut time) };
    time[0] as f64 + time[1] as f64 * 1e-9
}

fn main() {
    if maybe_run_worker() {
        return;
    }
    let filter = std::env::args().nth(1).unwrap_or_default();
    let mut all = vec![];
    for (m, k, n, parts) in [
        (512, 576, 960, 1),
        (512, 576, 576, 1),
        (512, 576, 3072, 2),
        (512, 1536, 576, 1),
        (33, 576, 576, 1),
        (9, 576, 576, 1),
        (512, 768, 3072, 1),
        (1, 576, 960, 1),
        (1, 576, 3072, 2),
        (1, 1536, 576, 1),
        (4, 576, 3072, 2),
        (8, 576, 3072, 2),
        (1, 576, 49152, 1),
        (3, 576, 49152, 1),
        (8, 576, 49152, 1),
    ] {
        for panel in if parts == 1 { vec![16, 24] } else { vec![16, 32] } {
            all.push(matmul(m, k, n, panel, parts));
        }
    }
    for storage in ["q4_1", "q8_0", "q4_0", "f32", "bf16", "f16"] {
        all.push(pack(49152, 576, storage.parse().expect("a storage"), 16, 1));
    }
    all.push(pack(1536, 576, "q4_1".parse().expect("a storage"), 16, 2));
    all.push(attention(512, 512, 9, 3, 64));
    all.push(attention(512, 512, 12, 4, 48));
    all.push(attention(64, 64, 9, 3, 64));
    all.push(attention(9, 9, 9, 3, 64));
    all.push(attention(1, 512, 9, 3, 64));
    all.push(attention(1, 512, 12, 12, 80));
    all.push(norm(512, 576));
    for op in [UnaryOp::Exp, UnaryOp::Tanh, UnaryOp::Erf, UnaryOp::Sin, UnaryOp::Log] {
        all.push(unary(op, 16384));
    }
    all.retain(|m| m.name.contains(&filter));
    let specs: Vec<KernelSpec> = all.iter().map(|m| m.spec.clone()).collect();
    let start = Instant::now();
    let options = CompileOptions::default();
    let kernels = compile_kernels(&specs, &CpuSpec::level("x86-64-v3").expect("a level"), &options)
        .unwrap_or_else(|e| panic!("{e}"));
    let image = link_image(&kernels).unwrap_or_else(|e| panic!("{e}"));
    println!("{} kernels in {:.2?}, image {} bytes", specs.len(), start.elapsed(), image.code.len());
    let mut map = memmap2::MmapMut::map_anon(image.code.len().max(1)).expect("memory");
    map.copy_from_slice(&image.code);
    let map = map.make_exec().expect("executable memory");
    for (m, entry) in all.iter_mut().zip(&image.entries) {
        // SAFETY: linked just now, of the documented type.
        let f: call::KernelFn = unsafe { std::mem::transmute(map.as_ptr().add(*entry as usize)) };
        let mut table: Vec<*mut c_void> = m.buffers.iter_mut().map(|b| b.as_mut_ptr().cast()).collect();
        let (mut sync, mut meta) = ([0; 2], call::meta(1, &m.args, table.len()).collect::<Vec<_>>());
        let mut best = f64::MAX;
        let began = Instant::now();
        let mut runs = 0;
        while runs < 5 || (began.elapsed().as_secs_f64() < 0.25 && runs < 1000) {
            let t = thread_seconds();
            // SAFETY: the buffers are as large as the spec's accesses reach.
            unsafe { call::call(f, table.as_mut_ptr(), 0, sync.as_mut_ptr(), meta.as_mut_ptr()) };
            best = best.min(thread_seconds() - t);
            runs += 1;
        }
        let per = |x: f64, unit: &str| if x > 0.0 { format!(" {x:8.2} {unit}") } else { String::new() };
        println!(
            "{:48} {:10.1} us{}{}{}",
            m.name,
            best * 1e6,
            per(m.flops / best / 1e9, "GFLOP/s"),
            per(m.bytes / best / 1e9, "GB/s"),
            if m.values > 0.0 { per(best * 1e9 / m.values, "ns/value") } else { String::new() }
        );
    }
}
