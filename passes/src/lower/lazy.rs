//! Values that are not computed yet: a straight-line program over strided leaves.
//!
//! Every leaf is addressed by the value's own coordinates, so that views (transpose, broadcast, slice, most reshapes, gathers) only
//! change strides, and elementwise ops only append instructions. A value is computed when something needs its buffer.

use kiln_core::{BinaryOp, Buffer, CompareOp, DType, Dim, ElementOp, Inst, Storage, UnaryOp, ValueId};
use std::collections::HashMap;

/// What a leaf reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// An element of a buffer.
    Buffer(Buffer),
    /// The address itself, as an i64: iota and sizes.
    Index,
}

/// A strided read: element `offset + Σ strides[i] * coordinate[i] + Σ value * stride`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leaf {
    pub source: Source,
    pub storage: Storage,
    pub offset: Dim,
    pub strides: Vec<Dim>,
    /// Data-dependent terms: an earlier i64 instruction of the same program times a stride.
    pub indirect: Vec<(ValueId, Dim)>,
}

impl Leaf {
    /// A buffer's elements, row-major in that shape.
    pub fn contiguous(buffer: Buffer, storage: Storage, shape: &[Dim]) -> Leaf {
        Leaf { source: Source::Buffer(buffer), storage, offset: 0.into(), strides: row_major(shape), indirect: vec![] }
    }

    /// Whether the leaf reads its buffer's elements one after the other.
    pub fn is_contiguous(&self, shape: &[Dim]) -> bool {
        self.offset.is(0)
            && self.indirect.is_empty()
            && self.strides.iter().zip(row_major(shape)).zip(shape).all(|((a, b), n)| *a == b || n.is(1))
    }

    /// The strides after merging axes `axes` (adjacent, of these sizes) into one, if one stride can walk them.
    pub fn merged_stride(&self, shape: &[Dim], axes: std::ops::Range<usize>) -> Option<Dim> {
        let mut real = axes.filter(|a| !shape[*a].is(1)).rev();
        let Some(last) = real.next() else { return Some(0.into()) };
        let (stride, mut size) = (self.strides[last].clone(), shape[last].clone());
        for a in real {
            if self.strides[a] != stride.clone() * size.clone() {
                return None;
            }
            size = size * shape[a].clone();
        }
        Some(stride)
    }
}

/// Row-major strides of a shape.
pub(crate) fn row_major(shape: &[Dim]) -> Vec<Dim> {
    let mut strides = vec![Dim::constant(1); shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].clone() * shape[i].clone();
    }
    strides
}

/// A value that is not computed yet; its result is the last instruction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lazy {
    pub shape: Vec<Dim>,
    pub insts: Vec<Inst>,
    pub leaves: Vec<Leaf>,
}

impl Lazy {
    /// A read of a buffer, or of indices.
    pub fn leaf(shape: &[Dim], leaf: Leaf) -> Lazy {
        let dtype = load_dtype(&leaf);
        Lazy { shape: shape.to_vec(), insts: vec![Inst { op: ElementOp::Load(0), dtype }], leaves: vec![leaf] }
    }

    /// The same constant everywhere.
    pub fn splat(shape: &[Dim], dtype: DType, value: f64) -> Lazy {
        let insts = vec![Inst { op: ElementOp::Const(dtype.bits(value)), dtype }];
        Lazy { shape: shape.to_vec(), insts, leaves: vec![] }
    }

    /// The index along an axis, as i64.
    pub fn iota(shape: &[Dim], axis: usize) -> Lazy {
        let strides = (0..shape.len()).map(|a| Dim::from(usize::from(a == axis))).collect();
        Lazy::leaf(shape, Leaf::index(0.into(), strides))
    }

    /// A size, as an i64 everywhere.
    pub fn size(shape: &[Dim], value: Dim) -> Lazy {
        Lazy::leaf(shape, Leaf::index(value, vec![0.into(); shape.len()]))
    }

    /// The type of the result.
    pub fn dtype(&self) -> DType {
        self.insts.last().map_or(DType::F32, |i| i.dtype)
    }

    /// The leaf, if the value is nothing but a direct read of a dense buffer.
    pub fn as_buffer(&self) -> Option<&Leaf> {
        match (self.insts.as_slice(), self.leaves.as_slice()) {
            ([Inst { op: ElementOp::Load(0), .. }], [leaf])
                if leaf.source != Source::Index && leaf.indirect.is_empty() && leaf.storage.dense().is_some() =>
            {
                Some(leaf)
            }
            _ => None,
        }
    }

    /// Whether it reads a state, which later nodes may overwrite.
    pub fn reads_state(&self) -> bool {
        self.leaves.iter().any(|l| matches!(l.source, Source::Buffer(Buffer::State(_))))
    }

    /// Whether computing it again for each user costs less than storing it.
    pub fn is_cheap(&self) -> bool {
        let work = self.insts.iter().map(|i| match i.op {
            ElementOp::Unary(UnaryOp::Neg | UnaryOp::Not | UnaryOp::Abs, _) => 1,
            ElementOp::Unary(..) | ElementOp::Binary(BinaryOp::Div | BinaryOp::Pow | BinaryOp::Rem, ..) => 10,
            ElementOp::Binary(..) | ElementOp::Compare(..) | ElementOp::Select(..) => 1,
            _ => 0,
        });
        let reads = self.leaves.iter().filter(|l| l.source != Source::Index).count();
        work.sum::<u32>() <= 8 && reads <= 1
    }

    /// Whether it is a constant, or one read that is converted at most.
    pub fn is_trivial(&self) -> bool {
        self.leaves.len() <= 1
            && self.insts.iter().all(|i| matches!(i.op, ElementOp::Load(_) | ElementOp::Const(_) | ElementOp::Cast(_)))
    }

    /// Whether it is one read of floats as f32, widened at most: with the values of its buffer.
    pub fn is_widened_read(&self) -> bool {
        let casts = self.insts.iter().filter(|i| matches!(i.op, ElementOp::Cast(_))).count();
        self.leaves.len() == 1 && self.is_trivial() && self.dtype() == DType::F32 && casts <= 1
    }

    pub fn transpose(&self, perm: &[usize]) -> Lazy {
        let pick = |v: &[Dim]| perm.iter().map(|p| v[*p].clone()).collect::<Vec<_>>();
        self.map_leaves(pick(&self.shape), |l| pick(&l.strides))
    }

    pub fn broadcast(&self, shape: &[Dim]) -> Lazy {
        let skip = shape.len() - self.shape.len();
        let from = self.shape.clone();
        self.map_leaves(shape.to_vec(), |l| {
            (0..shape.len())
                .map(|a| match a.checked_sub(skip) {
                    Some(a) if !from[a].is(1) || shape[a + skip].is(1) => l.strides[a].clone(),
                    _ => 0.into(),
                })
                .collect()
        })
    }

    /// The value in a space with the axis repeated `size` times at that place.
    pub fn insert_axis(&self, axis: usize, size: Dim) -> Lazy {
        let insert = |v: &[Dim], x: Dim| {
            let mut v = v.to_vec();
            v.insert(axis, x);
            v
        };
        self.map_leaves(insert(&self.shape, size), |l| insert(&l.strides, 0.into()))
    }

    pub fn slice(&self, axis: usize, start: &Dim, len: &Dim) -> Lazy {
        let mut out = self.clone();
        out.shape[axis] = len.clone();
        for l in &mut out.leaves {
            l.offset = l.offset.clone() + start.clone() * l.strides[axis].clone();
        }
        out
    }

    /// The value with an axis walked backwards.
    pub fn flip(&self, axis: usize) -> Lazy {
        let mut out = self.clone();
        let last = self.shape[axis].clone() - 1.into();
        for l in &mut out.leaves {
            l.offset = l.offset.clone() + last.clone() * l.strides[axis].clone();
            l.strides[axis] = Dim::from(-1) * l.strides[axis].clone();
        }
        out
    }

    /// Where these indices are at least 0 and below a size.
    pub fn is_below(&self, size: &Dim) -> Lazy {
        let mut b = Builder::default();
        let index = b.import(self);
        let zero = b.constant(DType::I64, 0.0);
        let size = b.import(&Lazy::size(&self.shape, size.clone()));
        let low = b.compare(CompareOp::Ge, index, zero);
        let high = b.compare(CompareOp::Lt, index, size);
        let both = b.push(ElementOp::Binary(BinaryOp::And, low, high), DType::Bool);
        b.finish_with(self.shape.clone(), both)
    }

    /// The value in another shape, if every leaf can be walked so.
    pub fn reshape(&self, shape: &[Dim]) -> Option<Lazy> {
        let groups = match_axes(&self.shape, shape)?;
        let mut out = Lazy { shape: shape.to_vec(), ..self.clone() };
        for leaf in &mut out.leaves {
            let old = leaf.clone();
            leaf.strides = vec![0.into(); shape.len()];
            for (from, to) in &groups {
                let mut stride = old.merged_stride(&self.shape, from.clone())?;
                for a in to.clone().rev() {
                    leaf.strides[a] = stride.clone();
                    stride = stride * shape[a].clone();
                }
            }
        }
        Some(out)
    }

    /// Rows of the value along `axis`, one for each index; indices are clamped.
    pub fn take(&self, axis: usize, indices: &Lazy) -> Lazy {
        let mut shape = self.shape[..axis].to_vec();
        shape.extend(indices.shape.iter().cloned());
        shape.extend(self.shape[axis + 1..].iter().cloned());
        let (rank, inserted) = (shape.len(), indices.shape.len());
        let spread = indices.map_leaves(shape, |l| {
            let mut s = vec![Dim::constant(0); rank];
            s[axis..axis + inserted].clone_from_slice(&l.strides);
            s
        });
        self.indexed(axis, &spread, |strides| {
            let mut to = strides[..axis].to_vec();
            to.extend(vec![Dim::constant(0); inserted]);
            to.extend(strides[axis + 1..].iter().cloned());
            to
        })
    }

    /// Along `axis`, the elements at the indices, which have the result's shape; indices are clamped.
    pub fn gather(&self, axis: usize, indices: &Lazy) -> Lazy {
        self.indexed(axis, indices, |strides| {
            let mut to = strides.to_vec();
            to[axis] = 0.into();
            to
        })
    }

    /// The value in the space of the indices, which stand for its coordinate along `axis`; `restride` gives the strides of its other
    /// coordinates there.
    fn indexed(&self, axis: usize, indices: &Lazy, restride: impl Fn(&[Dim]) -> Vec<Dim>) -> Lazy {
        let shape = indices.shape.clone();
        let mut b = Builder::default();
        let index = b.import(indices);
        let last = b.import(&Lazy::size(&shape, self.shape[axis].clone() - 1.into()));
        let zero = b.constant(DType::I64, 0.0);
        let index = b.binary(BinaryOp::Min, index, last);
        let index = b.binary(BinaryOp::Max, index, zero);
        let result = b.import_with(
            self,
            |l| Leaf { strides: restride(&l.strides), ..l.clone() },
            |l, original| {
                let stride = original.strides[axis].clone();
                if !stride.is(0) {
                    l.indirect.push((index, stride));
                }
            },
        );
        b.finish_with(shape, result)
    }

    /// The same program over leaves with other strides.
    pub fn map_leaves(&self, shape: Vec<Dim>, strides: impl Fn(&Leaf) -> Vec<Dim>) -> Lazy {
        let leaves = self.leaves.iter().map(|l| Leaf { strides: strides(l), ..l.clone() }).collect();
        Lazy { shape, insts: self.insts.clone(), leaves }
    }
}

impl Leaf {
    /// Whether it reads that buffer.
    pub fn reads(&self, buffer: Buffer) -> bool {
        self.source == Source::Buffer(buffer)
    }

    fn index(offset: Dim, strides: Vec<Dim>) -> Leaf {
        Leaf { source: Source::Index, storage: DType::I64.into(), offset, strides, indirect: vec![] }
    }
}

/// The type that loading a leaf gives: block storage is dequantised to f32.
pub(crate) fn load_dtype(leaf: &Leaf) -> DType {
    leaf.storage.dense().unwrap_or(DType::F32)
}

/// Pairs runs of axes of two shapes of equal products, as short as possible.
fn match_axes(from: &[Dim], to: &[Dim]) -> Option<Vec<(std::ops::Range<usize>, std::ops::Range<usize>)>> {
    let mut groups = vec![];
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (i0, j0) = (i, j);
        // The quotient of the two runs' products, kept as a fraction of dims without common factors.
        let (mut a, mut b) = (Dim::constant(1), Dim::constant(1));
        loop {
            if a == b && (i > i0 || j > j0) {
                break;
            }
            let take_from = if i >= from.len() {
                false
            } else if j >= to.len() {
                true
            } else {
                // Grow the side that divides the other: that one is the smaller.
                i == i0 || b.exact_div(&a).is_some_and(|q| !q.is(1))
            };
            if take_from {
                a = a * from[i].clone();
                i += 1;
            } else if j < to.len() {
                b = b * to[j].clone();
                j += 1;
            } else {
                return None;
            }
        }
        groups.push((i0..i, j0..j));
    }
    Some(groups)
}

/// Builds a program out of lazies over one space, sharing equal leaves and instructions.
#[derive(Default)]
pub(crate) struct Builder {
    insts: Vec<Inst>,
    leaves: Vec<Leaf>,
    known: HashMap<Inst, ValueId>,
}

impl Builder {
    pub fn push(&mut self, op: ElementOp, dtype: DType) -> ValueId {
        let inst = Inst { op, dtype };
        if let Some(v) = self.known.get(&inst) {
            return *v;
        }
        let id = ValueId(self.insts.len() as u32);
        self.insts.push(inst);
        self.known.insert(inst, id);
        id
    }

    pub fn constant(&mut self, dtype: DType, v: f64) -> ValueId {
        self.push(ElementOp::Const(dtype.bits(v)), dtype)
    }

    pub fn given(&mut self, n: u32, dtype: DType) -> ValueId {
        self.push(ElementOp::Given(n), dtype)
    }

    pub fn unary(&mut self, op: UnaryOp, x: ValueId) -> ValueId {
        self.push(ElementOp::Unary(op, x), self.dtype(x))
    }

    pub fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.push(ElementOp::Binary(op, a, b), self.dtype(a))
    }

    pub fn compare(&mut self, op: CompareOp, a: ValueId, b: ValueId) -> ValueId {
        self.push(ElementOp::Compare(op, a, b), DType::Bool)
    }

    pub fn select(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> ValueId {
        self.push(ElementOp::Select(condition, a, b), self.dtype(a))
    }

    pub fn cast(&mut self, x: ValueId, to: DType) -> ValueId {
        if self.dtype(x) == to { x } else { self.push(ElementOp::Cast(x), to) }
    }

    pub fn dtype(&self, v: ValueId) -> DType {
        self.insts[v.0 as usize].dtype
    }

    /// Appends a lazy of the same space; gives its result.
    pub fn import(&mut self, lazy: &Lazy) -> ValueId {
        self.import_with(lazy, Leaf::clone, |_, _| {})
    }

    /// As `import`, with template values replaced.
    pub fn import_given(&mut self, lazy: &Lazy, given: &[ValueId]) -> ValueId {
        self.import_all(lazy, Leaf::clone, |_, _| {}, given)
    }

    /// As `import`, with leaves changed: first by `change`, then, when their data-dependent terms are in terms of this
    /// program, by `extend`, which also gets the leaf as it was.
    pub fn import_with(
        &mut self,
        lazy: &Lazy,
        change: impl Fn(&Leaf) -> Leaf,
        extend: impl Fn(&mut Leaf, &Leaf),
    ) -> ValueId {
        self.import_all(lazy, change, extend, &[])
    }

    fn import_all(
        &mut self,
        lazy: &Lazy,
        change: impl Fn(&Leaf) -> Leaf,
        extend: impl Fn(&mut Leaf, &Leaf),
        given: &[ValueId],
    ) -> ValueId {
        let mut renamed: Vec<ValueId> = Vec::with_capacity(lazy.insts.len());
        for inst in &lazy.insts {
            let r = |v: ValueId| renamed[v.0 as usize];
            let op = match inst.op {
                ElementOp::Load(n) => {
                    let original = &lazy.leaves[n as usize];
                    let mut leaf = change(original);
                    leaf.indirect = original.indirect.iter().map(|(v, s)| (r(*v), s.clone())).collect();
                    extend(&mut leaf, original);
                    let n = self.leaves.iter().position(|l| *l == leaf).unwrap_or_else(|| {
                        self.leaves.push(leaf);
                        self.leaves.len() - 1
                    });
                    ElementOp::Load(n as u32)
                }
                ElementOp::Unary(o, x) => ElementOp::Unary(o, r(x)),
                ElementOp::Binary(o, a, b) => ElementOp::Binary(o, r(a), r(b)),
                ElementOp::Compare(o, a, b) => ElementOp::Compare(o, r(a), r(b)),
                ElementOp::Select(c, a, b) => ElementOp::Select(r(c), r(a), r(b)),
                ElementOp::Cast(x) => ElementOp::Cast(r(x)),
                ElementOp::Given(n) if (n as usize) < given.len() => {
                    renamed.push(given[n as usize]);
                    continue;
                }
                op @ (ElementOp::Coord(_) | ElementOp::Size(_) | ElementOp::Const(_) | ElementOp::Given(_)) => op,
            };
            renamed.push(self.push(op, inst.dtype));
        }
        renamed.last().copied().unwrap_or(ValueId(0))
    }

    /// The program so far as a lazy; its result is the last instruction appended, so `v` is moved there.
    pub fn finish_with(mut self, shape: Vec<Dim>, v: ValueId) -> Lazy {
        if v.0 as usize + 1 != self.insts.len() {
            let inst = self.insts[v.0 as usize];
            self.insts.push(inst);
        }
        self.finish(shape)
    }

    fn finish(self, shape: Vec<Dim>) -> Lazy {
        Lazy { shape, insts: self.insts, leaves: self.leaves }
    }

    /// The parts: instructions and leaves.
    pub fn into_parts(self) -> (Vec<Inst>, Vec<Leaf>) {
        (self.insts, self.leaves)
    }
}

impl Builder {
    /// Changes the strides of every leaf.
    pub fn restride(&mut self, change: impl Fn(&[Dim]) -> Vec<Dim>) {
        self.leaves.iter_mut().for_each(|l| l.strides = change(&l.strides));
    }

    /// The leaves read so far.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }
}
