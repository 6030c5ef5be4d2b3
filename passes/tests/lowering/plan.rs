//! Runs a plan by the reference meaning of its kernels.

use kiln_core::{Buffer, DType, Dim, Schedule, Storage, reference::eval_spec};
use kiln_ir::{Function, interp::Tensor};
use kiln_passes::Compiled;

fn eval(d: &Dim, sizes: &[(&str, i64)]) -> i64 {
    d.eval(&|s| sizes.iter().find(|(n, _)| *n == s).map(|(_, v)| *v)).expect("sizes are bound")
}

fn shape(dims: &[Dim], sizes: &[(&str, i64)]) -> Vec<usize> {
    dims.iter().map(|d| eval(d, sizes) as usize).collect()
}

/// Values for every argument: small integers for i64 (so that they index), spread floats, mixed bools, valid blocks.
pub fn random_args(f: &Function, sizes: &[(&str, i64)], seed: u64) -> Vec<Tensor> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let tensors = f.args.iter().map(|a| {
        let shape = shape(&a.ty.shape, sizes);
        let n: usize = shape.iter().product();
        match a.ty.storage {
            Storage::Block(b) => {
                let mut bytes: Vec<u8> =
                    (0..n / b.block_len() * b.block_bytes()).map(|_| (next() * 256.0) as u8).collect();
                // Scales and minima must be tame halves.
                for block in bytes.chunks_mut(b.block_bytes()) {
                    let mut put = |at: usize, value| {
                        block[at..at + 2].copy_from_slice(&DType::F16.bits(value).to_le_bytes()[..2])
                    };
                    put(b.scale_offset(), next() * 0.1);
                    if let Some(at) = b.minimum_offset() {
                        put(at, next() - 0.5);
                    }
                }
                Tensor::from_bytes(a.ty.storage, shape, bytes).expect("a tensor")
            }
            Storage::Dense(d) => {
                let values: Vec<f64> = (0..n)
                    .map(|i| match (d, &*a.name) {
                        (DType::I64, "slots") => ((n - 1 - i) % 4) as f64,
                        (DType::I64, "starts") => i as f64 * 3.0 - 1.0,
                        (DType::I64, _) => (next() * 6.0).floor(),
                        (DType::Bool, _) => f64::from(u8::from(next() > 0.5)),
                        _ => next() * 2.0 - 1.0,
                    })
                    .collect();
                Tensor::from_f64(d, shape, &values).expect("a tensor")
            }
        }
    });
    tensors.collect()
}

struct Memory<'a> {
    sizes: &'a [(&'a str, i64)],
    weights: Vec<Vec<u8>>,
    prepared: Vec<Vec<u8>>,
    states: Vec<Vec<u8>>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    slots: Vec<Vec<u8>>,
}

impl Memory<'_> {
    fn get(&mut self, b: Buffer, schedule: &Schedule) -> &mut Vec<u8> {
        match b {
            Buffer::Weight(i) => &mut self.weights[i as usize],
            Buffer::Prepared(i) => &mut self.prepared[i as usize],
            Buffer::State(i) => &mut self.states[i as usize],
            Buffer::Input(i) => &mut self.inputs[i as usize],
            Buffer::Output(i) => &mut self.outputs[i as usize],
            Buffer::Temporary(i) => &mut self.slots[schedule.temporaries[i as usize].slot as usize],
        }
    }

    fn run(&mut self, compiled: &Compiled, schedule: &Schedule) {
        self.slots = schedule.slots.iter().map(|d| vec![0xA5; eval(d, self.sizes) as usize]).collect();
        for step in &schedule.steps {
            let spec = &compiled.plan.kernels[step.kernel as usize].spec;
            let args: Vec<i64> = step.args.iter().map(|d| eval(d, self.sizes)).collect();
            let reads = spec.reads().len();
            assert_eq!(step.args.len(), spec.arguments(), "{}: arguments", step.label);
            assert_eq!(step.operands.len(), spec.operands().len(), "{}: operands", step.label);
            let mut operands: Vec<Vec<u8>> = step.operands.iter().map(|b| self.get(*b, schedule).clone()).collect();
            // Several writes to one buffer (concat, rope) must see each other.
            let mut unique: Vec<Buffer> = step.operands[reads..].to_vec();
            unique.sort();
            unique.dedup();
            if unique.len() == step.operands.len() - reads {
                eval_spec(spec, &mut operands, &args);
                for (b, bytes) in step.operands.iter().zip(operands).skip(reads) {
                    *self.get(*b, schedule) = bytes;
                }
                continue;
            }
            let before = operands.clone();
            eval_spec(spec, &mut operands, &args);
            for ((b, new), old) in step.operands.iter().zip(&operands).zip(&before).skip(reads) {
                let target = self.get(*b, schedule);
                for ((t, n), o) in target.iter_mut().zip(new).zip(old) {
                    if n != o {
                        *t = *n;
                    }
                }
            }
        }
    }
}

/// The results of an entry, in order.
pub fn run_plan(compiled: &Compiled, f: &Function, args: &[Tensor], sizes: &[(&str, i64)]) -> Vec<Tensor> {
    let plan = &compiled.plan;
    let signature = plan.signature(&f.name).expect("the entry");
    let named = |name: &str| {
        let i = f.args.iter().position(|a| &*a.name == name).expect(name);
        args[i].bytes().to_vec()
    };
    let bytes =
        |storage: Storage, dims: &[Dim]| storage.bytes(shape(dims, sizes).iter().product()).expect("whole blocks");
    let mut memory = Memory {
        sizes,
        weights: plan
            .weights
            .iter()
            .map(|w| if w.name.starts_with("const.") { vec![] } else { named(&w.name) })
            .collect(),
        prepared: plan.prepared.iter().map(|p| vec![0xA5; p.bytes as usize]).collect(),
        states: plan.states.iter().map(|s| named(&s.name)).collect(),
        inputs: signature.inputs.iter().map(|i| named(&i.name)).collect(),
        outputs: signature.outputs.iter().map(|o| vec![0xA5; bytes(o.storage, &o.shape)]).collect(),
        slots: vec![],
    };
    for c in &compiled.constants {
        memory.weights[c.weight as usize] = c.bytes.to_vec();
    }
    let steps = || plan.signatures.iter().flat_map(|s| &s.variants).flat_map(|v| &v.schedule.steps);
    for (i, p) in plan.prepared.iter().enumerate() {
        let read = steps().any(|s| s.operands.contains(&Buffer::Prepared(i as u32)));
        assert!(read, "prepared `{}` is read by `prepare` only", p.name);
    }
    memory.run(compiled, &plan.prepare);
    let size = |name: &str| sizes.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let (_, variant) = signature.variant(&size).expect("sizes").expect("a variant");
    memory.run(compiled, &variant.schedule);
    let mut outputs = memory.outputs.into_iter();
    let results = f.outputs.iter().map(|o| {
        let ty = f.tensor(o.value);
        let data = match o.updates {
            Some(arg) => {
                assert!(f.args[arg as usize].kind.is_written());
                let i = plan.states.iter().position(|s| s.name == *f.args[arg as usize].name).expect("the state");
                memory.states[i].clone()
            }
            None => outputs.next().expect("an output"),
        };
        Tensor::from_bytes(ty.storage, shape(&ty.shape, sizes), data).expect("a tensor")
    });
    results.collect()
}
