//! A small program to run: a hand-written plan whose kernels are Rust functions.
//!
//! `step` is a caricature of a decoder: it stores each token at its position of its slot, and its logits are the sum of what the
//! slot holds times a prepared weight. `forward` has inputs of every kind of default.

use kiln_core::{
    Access, BinaryOp, Buffer, CompareOp, CpuSpec, DType, DefaultFill, Dim, DimBounds, ElementOp, InputSpec, Inst,
    KernelEntry, KernelSpec, Launch, MapSpec, OutputSpec, Phase, Plan, PreparedSpec, Program, ReduceOp, RowSpec,
    Schedule, Signature, Size, StateSpec, Step, Storage, TargetSpec, Temporary, ValueId, Variant, WeightSpec, Write,
    call,
};
use kiln_runtime::artifact::Build;
use kiln_runtime::device::KernelFn;
use kiln_runtime::{Artifact, ArtifactWriter, LoadOptions, Manifest, Model, OpenOptions, Section};
use std::ffi::c_void;
use std::sync::Arc;

pub const WEIGHTS: [f32; 5] = [1.0, 0.5, -2.0, 0.25, 3.0];

pub fn dim(text: &str) -> Dim {
    text.parse().unwrap()
}

fn dims<const N: usize>(texts: [&str; N]) -> Vec<Dim> {
    texts.map(dim).to_vec()
}

pub fn dense(dtype: DType) -> Storage {
    Storage::Dense(dtype)
}

fn access(dtype: DType, offset: i64, strides: &[Size]) -> Access {
    Access { storage: dense(dtype), offset: Size::Const(offset), strides: strides.to_vec(), indirect: vec![] }
}

/// A program: each instruction with its type.
fn program(insts: &[(ElementOp, DType)]) -> Program {
    Program { insts: insts.iter().map(|(op, dtype)| Inst { op: *op, dtype: *dtype }).collect() }
}

fn kernel(symbol: &str, extents: &[Size], reads: Vec<Access>, program: Program, write: Write) -> KernelEntry {
    let spec = MapSpec { extents: extents.to_vec(), reads, program, writes: vec![write] };
    KernelEntry { symbol: symbol.into(), spec: KernelSpec::Map(spec), entry: 0 }
}

/// What the functions below touch: what they make of it is more than a map can say.
fn kernels() -> Vec<KernelEntry> {
    use DType::{Bool, F32, I64};
    use ElementOp::{Binary, Compare, Const, Coord, Load};
    let [one, none, b, s, t] = [Size::Const(1), Size::Const(0), Size::Arg(0), Size::Arg(1), Size::Arg(2)];
    let loads = |dtypes: &[DType]| program(&dtypes.iter().zip(0..).map(|(d, n)| (Load(n), *d)).collect::<Vec<_>>());
    let plain = |access| Write { access, value: ValueId(0), condition: None };
    let v = ValueId;
    // The position is slots[b] in 0..rows and starts[b] + j in 0..t.
    let position = program(&[
        (Load(0), I64),
        (Load(1), I64),
        (Load(2), I64),
        (Coord(1), I64),
        (Binary(BinaryOp::Add, v(2), v(3)), I64),
        (Const(0), I64),
        (ElementOp::Size(Size::Arg(3)), I64),
        (ElementOp::Size(t), I64),
        (Compare(CompareOp::Ge, v(1), v(5)), Bool),
        (Compare(CompareOp::Lt, v(1), v(6)), Bool),
        (Compare(CompareOp::Ge, v(4), v(5)), Bool),
        (Compare(CompareOp::Lt, v(4), v(7)), Bool),
        (Binary(BinaryOp::And, v(8), v(9)), Bool),
        (Binary(BinaryOp::And, v(10), v(11)), Bool),
        (Binary(BinaryOp::And, v(12), v(13)), Bool),
    ]);
    let cache = Access { indirect: vec![(v(1), t), (v(4), one)], ..access(F32, 0, &[none, none]) };
    let sum = RowSpec {
        rows: vec![b],
        len: t,
        reads: vec![access(F32, 0, &[none, one]), access(I64, 0, &[one, none]), access(I64, 0, &[one, none])],
        phases: vec![
            Phase::Reduce { program: loads(&[F32]), value: v(0), op: ReduceOp::Sum },
            Phase::Scalar {
                program: program(&[
                    (ElementOp::Given(0), F32),
                    (Load(1), I64),
                    (Load(2), I64),
                    (ElementOp::Size(s), I64),
                ]),
                exports: vec![],
                writes: vec![plain(access(F32, 0, &[one, none]))],
            },
        ],
    };
    vec![
        kernel("double", &[b], vec![access(F32, 0, &[one])], loads(&[F32]), plain(access(F32, 0, &[one]))),
        kernel(
            "store",
            &[b, s],
            vec![access(I64, 0, &[s, one]), access(I64, 0, &[one, none]), access(I64, 0, &[one, none])],
            position,
            Write { access: cache, value: v(0), condition: Some(v(14)) },
        ),
        KernelEntry { symbol: "sum".into(), spec: KernelSpec::Row(sum), entry: 0 },
        kernel(
            "outer",
            &[b, Size::Const(5)],
            vec![access(F32, 0, &[one, none]), access(F32, 0, &[none, one])],
            loads(&[F32, F32]),
            plain(access(F32, 0, &[Size::Const(5), one])),
        ),
        kernel(
            "fused",
            &[b, s],
            vec![
                access(F32, 0, &[s, one]),
                access(Bool, 0, &[s, one]),
                access(I64, 0, &[s, one]),
                access(F32, 1, &[none, Size::Const(2)]),
            ],
            loads(&[F32, Bool, I64, F32]),
            plain(access(F32, 0, &[s, one])),
        ),
    ]
}

fn step(kernel: u32, label: &str, chunks: &str, args: Vec<Dim>, operands: &[Buffer]) -> Step {
    Step {
        kernel,
        operands: operands.to_vec(),
        args,
        launch: Launch::Chunks(dim(chunks)),
        label: label.into(),
        flops: dim("b"),
        bytes: dim("4*b"),
    }
}

fn input(name: &str, dtype: DType, shape: Vec<Dim>, default: Option<DefaultFill>) -> InputSpec {
    InputSpec { name: name.into(), storage: dense(dtype), shape, default, range: None }
}

fn output(name: &str, shape: Vec<Dim>) -> OutputSpec {
    OutputSpec { name: name.into(), storage: dense(DType::F32), shape }
}

pub fn plan() -> Plan {
    use Buffer::{Input, Output, Prepared, State, Weight};
    let decoder = Schedule {
        steps: vec![
            step(1, "store tokens", "b", dims(["b", "s", "t", "rows"]), &[Input(0), Input(1), Input(2), State(0)]),
            step(2, "sum of slot", "1", dims(["b", "s", "t"]), &[State(0), Input(1), Input(2), Buffer::Temporary(0)]),
            step(3, "logits", "5", dims(["b"]), &[Buffer::Temporary(0), Prepared(0), Output(0)]),
        ],
        slots: vec![dim("4*b")],
        temporaries: vec![Temporary { slot: 0, bytes: dim("4*b") }],
    };
    let guarded = |min, max| Variant { guards: vec![(dim("s"), DimBounds { min, max })], schedule: decoder.clone() };
    Plan {
        symbols: [("b", 3), ("s", 8), ("rows", 4), ("t", 16)].map(|(s, max)| (s.into(), (1..=max).into())).into(),
        kernels: kernels(),
        weights: vec![WeightSpec { name: "w".into(), storage: dense(DType::F32), shape: vec![5], offset: 0 }],
        prepared: vec![PreparedSpec { name: "w, doubled".into(), bytes: 20 }],
        states: vec![StateSpec {
            name: "past_key_values.0.key".into(),
            storage: dense(DType::F32),
            shape: dims(["rows", "t"]),
            initial: None,
        }],
        prepare: Schedule {
            steps: vec![step(0, "double w", "2", dims(["5"]), &[Weight(0), Prepared(0)])],
            ..Schedule::default()
        },
        signatures: vec![
            Signature {
                name: "step".into(),
                inputs: vec![
                    input("input_ids", DType::I64, dims(["b", "s"]), None),
                    input("slots", DType::I64, dims(["b"]), Some(DefaultFill::Iota)),
                    input("starts", DType::I64, dims(["b"]), Some(DefaultFill::Zeros)),
                ],
                outputs: vec![output("logits", dims(["b", "5"]))],
                variants: vec![guarded(1, 1), guarded(2, 4)],
            },
            Signature {
                name: "forward".into(),
                inputs: vec![
                    input("x", DType::F32, dims(["b", "s"]), None),
                    input("mask", DType::Bool, dims(["b", "s"]), Some(DefaultFill::Ones)),
                    input("positions", DType::I64, dims(["b", "s"]), Some(DefaultFill::Iota)),
                    input("pairs", DType::F32, dims(["2*s"]), Some(DefaultFill::Zeros)),
                ],
                outputs: vec![output("y", dims(["b", "s"]))],
                variants: vec![Variant {
                    guards: vec![],
                    schedule: Schedule {
                        steps: vec![step(
                            4,
                            "fused",
                            "b",
                            dims(["b", "s"]),
                            &[Input(0), Input(1), Input(2), Input(3), Output(0)],
                        )],
                        ..Schedule::default()
                    },
                }],
            },
        ],
    }
}

/// The same with an `encode` that stores sources and their masks in their slots; `step` does not read them.
pub fn encoder_decoder() -> Plan {
    use Buffer::{Input, State};
    let mut plan = plan();
    plan.symbols.extend([("source", 5), ("src", 6)].map(|(s, max)| (s.into(), (1..=max).into())));
    plan.states.extend(["cross_key_values.0.key", "cross_attention_mask"].map(|name| StateSpec {
        name: name.into(),
        storage: dense(DType::F32),
        shape: dims(["rows", "src"]),
        initial: None,
    }));
    let store = |label, input, state| {
        step(1, label, "b", dims(["b", "source", "src", "rows"]), &[Input(input), Input(2), Input(3), State(state)])
    };
    let schedule =
        Schedule { steps: vec![store("store source", 0, 1), store("store mask", 1, 2)], ..Schedule::default() };
    plan.signatures.push(Signature {
        name: "encode".into(),
        inputs: vec![
            input("input_ids", DType::I64, dims(["b", "source"]), None),
            input("attention_mask", DType::I64, dims(["b", "source"]), Some(DefaultFill::Ones)),
            input("slots", DType::I64, dims(["b"]), None),
            input("starts", DType::I64, dims(["b"]), Some(DefaultFill::Zeros)),
        ],
        outputs: vec![],
        variants: vec![Variant { guards: vec![], schedule }],
    });
    plan
}

pub fn manifest() -> Manifest {
    Manifest {
        kiln: "0.1.0".into(),
        compilers: vec!["toy 1".into()],
        builds: vec![Build::for_target(TargetSpec::Cpu(target()))],
        ..Manifest::default()
    }
}

/// A target that needs nothing that the test's machine could lack.
pub fn target() -> CpuSpec {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    CpuSpec { triple, features: vec![], ..CpuSpec::level("x86-64-v3").unwrap() }
}

/// The artifact of a plan whose only weight is `w`.
pub fn artifact_of(mut plan: Plan, manifest: &Manifest, image: &[u8]) -> Vec<u8> {
    let mut w = ArtifactWriter::in_memory().unwrap();
    w.manifest(manifest).unwrap();
    w.section(Section::Image, image).unwrap();
    for spec in &mut plan.weights {
        w.weight(spec, |out| out.write_all(bytemuck::cast_slice(&WEIGHTS))).unwrap();
    }
    w.plan(0, &plan).unwrap();
    w.section(Section::Tokenizer, b"{}").unwrap();
    w.section(Section::Config, br#"{"model_type": "toy", "decoder_start_token_id": 3}"#).unwrap();
    w.finish().unwrap()
}

pub fn artifact() -> Vec<u8> {
    artifact_of(plan(), &manifest(), &[0xc3])
}

pub const KERNELS: [KernelFn; 5] = [double, store, sum, outer, fused];

pub fn load(plan: Plan, options: &LoadOptions) -> kiln_runtime::Result<Arc<Model>> {
    let artifact = Artifact::from_bytes(artifact_of(plan, &manifest(), &[0xc3]), &OpenOptions::default())?;
    Model::with_kernels(artifact, KERNELS.to_vec(), options)
}

/// What a kernel is given, unpacked.
struct Call {
    operands: *mut *mut c_void,
    meta: *mut u64,
    chunk: u64,
}

impl Call {
    fn arg(&self, i: usize) -> usize {
        // SAFETY: the plan above gives that many arguments.
        unsafe { *self.meta.add(call::ARGUMENTS + i) as usize }
    }

    fn operand<T>(&self, i: usize) -> *mut T {
        // SAFETY: the plan above gives that many operands.
        let p = unsafe { *self.operands.add(i) }.cast::<T>();
        assert!(p.addr().is_multiple_of(64), "operands are aligned");
        p
    }

    /// The items of this chunk.
    fn items(&self, items: usize) -> std::ops::Range<usize> {
        // SAFETY: that word is there.
        let chunks = unsafe { *self.meta.add(call::CHUNKS) } as usize;
        let chunk = self.chunk as usize;
        assert!(chunk < chunks);
        chunk * items / chunks..(chunk + 1) * items / chunks
    }
}

macro_rules! kernels {
    ($($name:ident($call:ident) $body:block)*) => {
        $(unsafe extern "C" fn $name(
            operands: *mut *mut c_void, x: u32, y: u32, z: u32, chunk: u32, b: u32, c: u32, sync: *mut u32, meta: *mut u64,
        ) {
            assert_eq!((x, y, z, b, c), (1, 1, 1, 0, 0));
            // SAFETY: the calling convention gives two zero words.
            assert_eq!(unsafe { (*sync, *sync.add(1)) }, (0, 0));
            let $call = Call { operands, meta, chunk: chunk.into() };
            // SAFETY: the plan's buffers are as large as these loops ask for.
            unsafe { $body }
        })*
    };
}

kernels! {
    double(c) {
        for i in c.items(c.arg(0)) {
            *c.operand::<f32>(1).add(i) = 2.0 * *c.operand::<f32>(0).add(i);
        }
    }
    store(c) {
        let (seq, context) = (c.arg(1), c.arg(2));
        for b in c.items(c.arg(0)) {
            for j in 0..seq {
                let position = *c.operand::<i64>(2).add(b) + j as i64;
                if position >= 0 {
                    let at = *c.operand::<i64>(1).add(b) as usize * context + position as usize;
                    *c.operand::<f32>(3).add(at) = *c.operand::<i64>(0).add(b * seq + j) as f32;
                }
            }
        }
    }
    sum(c) {
        let (seq, context) = (c.arg(1), c.arg(2));
        for b in c.items(c.arg(0)) {
            let end = *c.operand::<i64>(2).add(b) + seq as i64;
            let row = *c.operand::<i64>(1).add(b) as usize * context;
            *c.operand::<f32>(3).add(b) = (0..end as usize).map(|j| *c.operand::<f32>(0).add(row + j)).sum();
        }
    }
    outer(c) {
        for i in c.items(c.arg(0) * 5) {
            *c.operand::<f32>(2).add(i) = *c.operand::<f32>(0).add(i / 5) * *c.operand::<f32>(1).add(i % 5);
        }
    }
    fused(c) {
        let seq = c.arg(1);
        for b in c.items(c.arg(0)) {
            for i in b * seq..(b + 1) * seq {
                let x = *c.operand::<f32>(0).add(i) * f32::from(*c.operand::<u8>(1).add(i));
                *c.operand::<f32>(4).add(i) = x + *c.operand::<i64>(2).add(i) as f32 + *c.operand::<f32>(3).add(2 * (i % seq) + 1);
            }
        }
    }
}
