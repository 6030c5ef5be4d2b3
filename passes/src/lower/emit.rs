//! Lazies to kernel specs: axes that can be walked as one are merged, sizes become constants or runtime arguments, index leaves become
//! arithmetic on coordinates, and each kernel gets its cost and its number of chunks.

use super::lazy::{Builder, Lazy, Leaf, Source};
use kiln_core::{
    Access, BinaryOp, Buffer, CudaSpec, DType, Dim, ElementOp, Inst, KernelSpec, MapSpec, Program, Size, Storage,
    TargetSpec, ValueId, Write,
};

/// Where a value is stored, addressed by the value's own coordinates.
#[derive(Clone, Debug)]
pub(crate) struct Dest {
    pub buffer: Buffer,
    pub storage: Storage,
    pub offset: Dim,
    pub strides: Vec<Dim>,
    /// Data-dependent terms: an i64 lazy in the value's space, times a stride.
    pub indirect: Vec<(Lazy, Dim)>,
    /// Stored only where this bool lazy holds.
    pub condition: Option<Lazy>,
}

impl Dest {
    /// A whole buffer, row-major.
    pub fn contiguous(buffer: Buffer, storage: Storage, shape: &[Dim]) -> Dest {
        Dest::from_leaf(&Leaf::contiguous(buffer, storage, shape), buffer)
    }

    pub fn from_leaf(leaf: &Leaf, buffer: Buffer) -> Dest {
        Dest {
            buffer,
            storage: leaf.storage,
            offset: leaf.offset.clone(),
            strides: leaf.strides.clone(),
            indirect: vec![],
            condition: None,
        }
    }
}

/// A launch before its kernel has a number.
pub(crate) struct Launch {
    pub spec: KernelSpec,
    pub operands: Vec<Buffer>,
    pub args: Vec<Dim>,
    pub flops: Dim,
    pub bytes: Dim,
}

/// The runtime arguments of a kernel under construction.
#[derive(Default)]
pub(crate) struct Args {
    pub dims: Vec<Dim>,
    /// Whether offsets are arguments even where they are constants, so that launches that differ in nothing else share a kernel.
    pub offsets: bool,
}

impl Args {
    pub fn size(&mut self, d: &Dim) -> Size {
        if let Some(n) = d.as_const() {
            return Size::Const(n);
        }
        let i = self.dims.iter().position(|a| a == d).unwrap_or_else(|| {
            self.dims.push(d.clone());
            self.dims.len() - 1
        });
        Size::Arg(i as u32)
    }

    pub fn offset(&mut self, d: &Dim) -> Size {
        if !self.offsets || d.is(0) {
            return self.size(d);
        }
        self.dims.push(d.clone());
        Size::Arg(self.dims.len() as u32 - 1)
    }

    pub fn sizes(&mut self, ds: &[Dim]) -> Vec<Size> {
        ds.iter().map(|d| self.size(d)).collect()
    }

    /// An access without data-dependent terms.
    pub fn access(&mut self, leaf: &Leaf) -> Access {
        Access {
            storage: leaf.storage,
            offset: self.offset(&leaf.offset),
            strides: self.sizes(&leaf.strides),
            indirect: vec![],
        }
    }
}

/// What the programs of one kernel read, in operand order.
#[derive(Default)]
pub(crate) struct Reads {
    pub accesses: Vec<Access>,
    pub buffers: Vec<Buffer>,
}

/// A program under construction over the kernel's coordinates, and where it stores.
pub(crate) struct Body {
    pub builder: Builder,
    pub stores: Vec<Store>,
}

/// A value that a body stores.
#[derive(Clone)]
pub(crate) struct Store {
    pub buffer: Buffer,
    pub storage: Storage,
    pub offset: Dim,
    pub strides: Vec<Dim>,
    pub indirect: Vec<(ValueId, Dim)>,
    pub condition: Option<ValueId>,
    pub value: ValueId,
}

impl Body {
    pub fn new() -> Body {
        Body { builder: Builder::default(), stores: vec![] }
    }

    /// Stores a value, converted to the destination's element type.
    pub fn store(&mut self, value: ValueId, dest: &Dest) {
        let value = match dest.storage {
            Storage::Dense(d) => self.builder.cast(value, d),
            Storage::Block(_) => value,
        };
        let indirect = dest.indirect.iter().map(|(v, s)| (self.builder.import(v), s.clone())).collect();
        let condition = dest.condition.as_ref().map(|c| self.builder.import(c));
        self.stores.push(Store {
            buffer: dest.buffer,
            storage: dest.storage,
            offset: dest.offset.clone(),
            strides: dest.strides.clone(),
            indirect,
            condition,
            value,
        });
    }
}

/// A finished body.
pub(crate) struct Finished {
    pub program: Program,
    pub writes: Vec<Write>,
    pub write_buffers: Vec<Buffer>,
    /// New numbers of the values asked for.
    pub values: Vec<ValueId>,
    pub flops_per_point: i64,
}

/// Turns a body into a program: index leaves become arithmetic, sizes become arguments, leaves become accesses.
pub(crate) fn finish(body: Body, keep: &[ValueId], args: &mut Args, reads: &mut Reads) -> Finished {
    let (insts, leaves) = body.builder.into_parts();
    let mut program = Program::default();
    let mut renamed: Vec<ValueId> = Vec::with_capacity(insts.len());
    let mut push = |op, dtype| {
        program.insts.push(Inst { op, dtype });
        ValueId(program.insts.len() as u32 - 1)
    };
    for inst in &insts {
        let r = |v: ValueId| renamed[v.0 as usize];
        let id = match inst.op {
            ElementOp::Load(n) => {
                let leaf = &leaves[n as usize];
                match leaf.source {
                    Source::Buffer(buffer) => {
                        let mut access = args.access(leaf);
                        access.indirect = leaf.indirect.iter().map(|(v, s)| (r(*v), args.size(s))).collect();
                        let known = reads.accesses.iter().zip(&reads.buffers);
                        let found = known.clone().position(|(a, b)| *a == access && *b == buffer);
                        let n = found.unwrap_or_else(|| {
                            reads.accesses.push(access);
                            reads.buffers.push(buffer);
                            reads.buffers.len() - 1
                        });
                        push(ElementOp::Load(n as u32), inst.dtype)
                    }
                    Source::Index => {
                        let i64 = DType::I64;
                        let mut sum = push(ElementOp::Size(args.size(&leaf.offset)), i64);
                        for (axis, stride) in leaf.strides.iter().enumerate().filter(|(_, s)| !s.is(0)) {
                            let mut term = push(ElementOp::Coord(axis as u32), i64);
                            if !stride.is(1) {
                                let s = push(ElementOp::Size(args.size(stride)), i64);
                                term = push(ElementOp::Binary(BinaryOp::Mul, term, s), i64);
                            }
                            sum = push(ElementOp::Binary(BinaryOp::Add, sum, term), i64);
                        }
                        for (v, stride) in &leaf.indirect {
                            let s = push(ElementOp::Size(args.size(stride)), i64);
                            let term = push(ElementOp::Binary(BinaryOp::Mul, r(*v), s), i64);
                            sum = push(ElementOp::Binary(BinaryOp::Add, sum, term), i64);
                        }
                        sum
                    }
                }
            }
            ElementOp::Unary(o, x) => push(ElementOp::Unary(o, r(x)), inst.dtype),
            ElementOp::Binary(o, a, b) => push(ElementOp::Binary(o, r(a), r(b)), inst.dtype),
            ElementOp::Compare(o, a, b) => push(ElementOp::Compare(o, r(a), r(b)), inst.dtype),
            ElementOp::Select(c, a, b) => push(ElementOp::Select(r(c), r(a), r(b)), inst.dtype),
            ElementOp::Cast(x) => push(ElementOp::Cast(r(x)), inst.dtype),
            op => push(op, inst.dtype),
        };
        renamed.push(id);
    }
    let flops = program
        .insts
        .iter()
        .filter(|i| matches!(i.op, ElementOp::Unary(..) | ElementOp::Binary(..)) && i.dtype.is_float());
    let flops_per_point = flops.count() as i64;
    let r = |v: &ValueId| renamed[v.0 as usize];
    let writes = body.stores.iter().map(|s| Write {
        access: Access {
            storage: s.storage,
            offset: args.offset(&s.offset),
            strides: args.sizes(&s.strides),
            indirect: s.indirect.iter().map(|(v, stride)| (r(v), args.size(stride))).collect(),
        },
        value: r(&s.value),
        condition: s.condition.as_ref().map(r),
    });
    let writes = writes.collect();
    Finished {
        writes,
        write_buffers: body.stores.iter().map(|s| s.buffer).collect(),
        values: keep.iter().map(r).collect(),
        flops_per_point,
        program,
    }
}

/// An elementwise kernel that stores each value at its destination; all are in the space `shape`.
pub(crate) fn map(shape: &[Dim], values: &[(Lazy, Dest)]) -> Launch {
    let mut body = Body::new();
    for (value, dest) in values {
        let v = body.builder.import(value);
        body.store(v, dest);
    }
    map_body(shape, body)
}

/// An elementwise kernel from a body in the space `shape`.
pub(crate) fn map_body(shape: &[Dim], mut body: Body) -> Launch {
    let groups = merge_axes(shape, &body);
    body.builder.restride(|strides| regroup(shape, strides, &groups));
    body.stores.iter_mut().for_each(|s| s.strides = regroup(shape, &s.strides, &groups));
    let shape: Vec<Dim> = groups.iter().map(|g| shape[g.clone()].iter().cloned().product()).collect();
    let (mut args, mut reads) = (Args::default(), Reads::default());
    let extents = args.sizes(&shape);
    let bytes = traffic(&shape, body.builder.leaves(), &body.stores);
    let done = finish(body, &[], &mut args, &mut reads);
    let points: Dim = shape.iter().cloned().product();
    let operands = reads.buffers.iter().chain(&done.write_buffers).copied().collect();
    let spec = MapSpec { extents, reads: reads.accesses, program: done.program, writes: done.writes };
    Launch {
        spec: KernelSpec::Map(spec),
        operands,
        args: args.dims,
        flops: points * Dim::from(done.flops_per_point),
        bytes,
    }
}

/// Adjacent axes that every operand can walk as one; axes of size 1 vanish. At least one group.
fn merge_axes(shape: &[Dim], body: &Body) -> Vec<std::ops::Range<usize>> {
    let strides = || {
        let leaves = body.builder.leaves().iter().map(|l| &l.strides);
        leaves.chain(body.stores.iter().map(|s| &s.strides))
    };
    let mut groups: Vec<std::ops::Range<usize>> = vec![];
    for axis in 0..shape.len() {
        let joins = groups.last().is_some_and(|g| {
            // The last axis of the group that is not of size 1 decides.
            let Some(outer) = g.clone().rev().find(|a| !shape[*a].is(1)) else { return true };
            shape[axis].is(1) || strides().all(|s| s[outer] == s[axis].clone() * shape[axis].clone())
        });
        match groups.last_mut() {
            Some(g) if joins => g.end = axis + 1,
            _ => groups.push(axis..axis + 1),
        }
    }
    if groups.is_empty() {
        // A scalar: one axis of size 1 (an empty product).
        groups.push(0..0);
    }
    groups
}

/// One stride per group: that of its last axis that is not of size 1.
fn regroup(shape: &[Dim], strides: &[Dim], groups: &[std::ops::Range<usize>]) -> Vec<Dim> {
    let moving = |g: &std::ops::Range<usize>| g.clone().rev().find(|a| !shape[*a].is(1));
    groups.iter().map(|g| moving(g).map_or_else(|| 0.into(), |a| strides[a].clone())).collect()
}

/// Bytes read and written once: elements along the axes that an operand moves along.
fn traffic(shape: &[Dim], leaves: &[Leaf], stores: &[Store]) -> Dim {
    let of = |storage: Storage, strides: &[Dim]| {
        let moved = shape.iter().zip(strides).filter(|(_, s)| !s.is(0)).map(|(n, _)| n.clone());
        let elements: Dim = moved.product();
        match storage {
            Storage::Dense(d) => elements * Dim::from(d.size()),
            Storage::Block(b) => elements * Dim::from(b.block_bytes().div_ceil(b.block_len())),
        }
    };
    let reads = leaves.iter().filter(|l| l.source != Source::Index).map(|l| of(l.storage, &l.strides));
    reads.chain(stores.iter().map(|s| of(s.storage, &s.strides))).fold(0.into(), |a, b| a + b)
}

/// How a launch is shared out: pieces of about four microseconds each on one core (one thread of a GPU), by the target's rates.
pub(crate) fn shared_out(launch: &Launch, target: &TargetSpec) -> kiln_core::Launch {
    const GRAIN_SECONDS: f64 = 4e-6;
    /// Most blocks of a grid along one axis.
    const MOST_BLOCKS: i64 = 65535;
    let rates = target.rates();
    let pieces = |flops: f64, bytes: f64| {
        let part = |work: &Dim, rate: f64| work.floor_div(&((rate * GRAIN_SECONDS) as i64).max(1).into());
        part(&launch.flops, flops).maximum(&part(&launch.bytes, bytes)).maximum(&1.into())
    };
    match target {
        TargetSpec::Cpu(cpu) => {
            let chunks = pieces(rates.peak_flops, rates.bandwidth / 2.0);
            kiln_core::Launch::Chunks(chunks.minimum(&cpu.max_chunks.into()))
        }
        TargetSpec::Cuda(_) => {
            let threads = i64::from(CudaSpec::THREADS);
            let each = threads as f64;
            let pieces = pieces(rates.peak_flops / each, rates.bandwidth / (each * rates.cores.max(1) as f64));
            let blocks = (pieces + (threads - 1).into()).floor_div(&threads.into());
            kiln_core::Launch::Grid { blocks: blocks.minimum(&MOST_BLOCKS.into()), threads: CudaSpec::THREADS }
        }
    }
}
