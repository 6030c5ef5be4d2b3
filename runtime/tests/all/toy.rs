//! A small program to run: a hand-written plan whose kernels are Rust functions.
//!
//! `step` is a caricature of a decoder: it stores each token at its position of its slot, and its logits are the sum of what the
//! slot holds times a prepared weight. `forward` has inputs of every kind of default.

use kiln_core::{
    Access, Buffer, DType, DefaultFill, Dim, DimBounds, InputSpec, KernelEntry, KernelSpec, MapSpec, OutputSpec, Plan,
    PreparedSpec, Program, Schedule, Signature, Size, StateSpec, Step, Storage, TargetSpec, Temporary, ValueId,
    Variant, WeightSpec, Write,
};
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

/// A spec with that many operands; the test kernels compute something of their own.
fn kernel(symbol: &str, reads: usize, writes: usize) -> KernelEntry {
    let access =
        Access { storage: dense(DType::F32), offset: Size::Const(0), strides: vec![Size::Const(1)], indirect: vec![] };
    let write = Write { access: access.clone(), value: ValueId(0), condition: None };
    let spec = MapSpec {
        extents: vec![Size::Arg(0)],
        reads: vec![access; reads],
        program: Program::default(),
        writes: vec![write; writes],
    };
    KernelEntry { symbol: symbol.into(), spec: KernelSpec::Map(spec), entry: 0 }
}

fn step(kernel: u32, label: &str, chunks: &str, args: Vec<Dim>, operands: &[Buffer]) -> Step {
    Step {
        kernel,
        operands: operands.to_vec(),
        args,
        chunks: dim(chunks),
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
    let bounds = |max| DimBounds { min: 1, max };
    let decoder = Schedule {
        steps: vec![
            step(1, "store tokens", "b", dims(["b", "s", "t"]), &[Input(0), Input(1), Input(2), State(0)]),
            step(2, "sum of slot", "1", dims(["b", "s", "t"]), &[State(0), Input(1), Input(2), Buffer::Temporary(0)]),
            step(3, "logits", "5", dims(["b"]), &[Buffer::Temporary(0), Prepared(0), Output(0)]),
        ],
        slots: vec![dim("4*b")],
        temporaries: vec![Temporary { slot: 0, bytes: dim("4*b") }],
    };
    let guarded = |min, max| Variant { guards: vec![(dim("s"), DimBounds { min, max })], schedule: decoder.clone() };
    Plan {
        symbols: [("b", 3), ("s", 8), ("rows", 4), ("t", 16)].map(|(s, max)| (s.into(), bounds(max))).into(),
        kernels: vec![
            kernel("double", 1, 1),
            kernel("store", 3, 1),
            kernel("sum", 3, 1),
            kernel("outer", 2, 1),
            kernel("fused", 4, 1),
        ],
        weights: vec![WeightSpec { name: "w".into(), storage: dense(DType::F32), shape: vec![5], offset: 0 }],
        prepared: vec![PreparedSpec { name: "w, doubled".into(), bytes: 20 }],
        states: vec![StateSpec {
            name: "past_key_values.0.key".into(),
            storage: dense(DType::F32),
            shape: dims(["rows", "t"]),
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
    plan.symbols.extend([("source", 5), ("src", 6)].map(|(s, max)| (s.into(), DimBounds { min: 1, max })));
    plan.states.extend(["cross_key_values.0.key", "cross_attention_mask"].map(|name| StateSpec {
        name: name.into(),
        storage: dense(DType::F32),
        shape: dims(["rows", "src"]),
    }));
    let store = |label, input, state| {
        step(1, label, "b", dims(["b", "source", "src"]), &[Input(input), Input(2), Input(3), State(state)])
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
        model: Default::default(),
        rules_sha256: String::new(),
        ir_sha256: String::new(),
        // Nothing that the test's machine could lack.
        target: TargetSpec {
            triple: format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
            features: vec![],
            ..TargetSpec::x86_64_v3()
        },
        memory: Default::default(),
    }
}

/// The artifact of a plan whose only weight is `w`.
pub fn artifact_of(mut plan: Plan, manifest: &Manifest, image: &[u8]) -> Vec<u8> {
    let mut w = ArtifactWriter::in_memory().unwrap();
    w.manifest(manifest).unwrap();
    w.section(Section::Image, image).unwrap();
    for spec in &mut plan.weights {
        w.weight(spec, |out| out.write_all(bytemuck::cast_slice(&WEIGHTS))).unwrap();
    }
    w.plan(&plan).unwrap();
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
        unsafe { *self.meta.add(1 + i) as usize }
    }

    fn operand<T>(&self, i: usize) -> *mut T {
        // SAFETY: the plan above gives that many operands.
        let p = unsafe { *self.operands.add(i) }.cast::<T>();
        assert!(p.addr().is_multiple_of(64), "operands are aligned");
        p
    }

    /// The items of this chunk.
    fn items(&self, items: usize) -> std::ops::Range<usize> {
        // SAFETY: the first word is the number of chunks.
        let chunks = unsafe { *self.meta } as usize;
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
