//! Products: those with a matrix on the right go to the matmul kernel, with epilogues; the others are strided products.
//!
//! A static matrix is packed once, when the program is loaded. One that may change is packed for each call where there are many rows, and used
//! as it lies where there are few.

use super::{
    Lowering, Value,
    anchor::Anchor,
    emit::{self, Args, Body, Dest, Launch, Reads},
    lazy::{Builder, Lazy, Leaf, Source},
    rows::Rows,
};
use crate::PassError;
use kiln_core::{
    BinaryOp, Buffer, DType, Dim, DotSpec, KernelSpec, MatMulSpec, PackSpec, ReduceOp, RightSide, Size, Storage,
};
use kiln_ir::{DotDims, Node, NodeId, Op};
use std::sync::Arc;

/// A static matrix as `[columns, depth]` pieces.
struct Piece {
    node: NodeId,
    /// Whether the node is stored `[depth, columns]`.
    transposed: bool,
    columns: i64,
    /// f16 or bf16 where every value is one of that type.
    narrow: Option<DType>,
}

impl Lowering<'_, '_> {
    /// Whether a product is one for the matmul kernel.
    pub(super) fn is_packable(&self, lhs: NodeId, rhs: NodeId, d: &DotDims) -> bool {
        let depth = || self.ty(rhs).shape[d.rhs_contract[0]].as_const();
        self.is_matrix(lhs, rhs, d) && (!self.is_static(rhs) || !self.is_static(lhs) && depth().is_some())
    }

    /// Whether a product has f32 sums and one matrix of a known number of columns on the right.
    fn is_matrix(&self, lhs: NodeId, rhs: NodeId, d: &DotDims) -> bool {
        let rt = self.ty(rhs);
        self.ty(lhs).dtype() == Some(DType::F32)
            && rt.rank() == 2
            && d.rhs_batch.is_empty()
            && d.rhs_contract.len() == 1
            && rt.shape[1 - d.rhs_contract[0]].as_const().is_some_and(|n| n > 0)
            && rt.shape[d.rhs_contract[0]].as_const() != Some(0)
    }

    pub(super) fn dot(&mut self, id: NodeId, node: &Node, d: &DotDims) -> Result<Value, PassError> {
        let (lhs, rhs) = (node.operands[0], node.operands[1]);
        let (lt, rt) = (self.ty(lhs), self.ty(rhs));
        if lt.dtype() != Some(DType::F32) {
            return self.dot_by_rows(id, lhs, rhs, d).map(Value::Lazy);
        }
        if !self.is_packable(lhs, rhs, d) {
            return self.dot_strided(id, lhs, rhs, d).map(Value::Lazy);
        }
        let depth_axis = d.rhs_contract[0];
        let (k, transposed) = (rt.shape[depth_axis].clone(), depth_axis == 0);
        let n = rt.shape[1 - depth_axis].as_const().unwrap_or(0);
        let free = DotDims::free(lt.rank(), &[], &d.lhs_contract);
        let m: Dim = free.iter().map(|axis| lt.shape[*axis].clone()).product();
        let skinny = self.bound(&m)? <= MatMulSpec::SKINNY_ROWS;
        // Whatever the number of rows, a sum goes along its depth in one order.
        let as_it_lies = match skinny && !self.is_static(rhs) {
            true => self.columns(rhs, transposed, n, &k)?,
            false => None,
        };
        let (parts, b, right) = match as_it_lies {
            Some((b, storage)) => (1, b, RightSide::Columns(storage)),
            None => {
                let parts = if self.pair_halves(id, n) { 2 } else { 1 };
                let panel = self.shared.target.panel(n, parts);
                let (b, dtype) = match (self.is_static(rhs), k.as_const()) {
                    (true, Some(k)) => self.packed(rhs, transposed, n, k, panel, parts)?,
                    _ => self.packed_for_call(rhs, transposed, n, &k, panel, parts)?,
                };
                (parts, b, RightSide::Panels { panel, dtype })
            }
        };

        let perm = [&free[..], &d.lhs_contract[..1]].concat();
        let (a, found, rms_norm) = match self.value(lhs)? {
            Value::Norm(x, eps) if rows_of(&x).is_some() => {
                let rows = rows_of(&x);
                (x, rows, Some(eps))
            }
            Value::Lazy(l) if half_rows_of(&l.transpose(&perm)).is_some() => {
                let a = l.transpose(&perm);
                let rows = half_rows_of(&a);
                (a, rows, None)
            }
            _ => {
                let a = self.buffer(lhs)?.transpose(&perm);
                let rows = rows_of(&a);
                (a, rows, None)
            }
        };
        // A state may be overwritten before the product is emitted.
        let (a_buffer, a_stride, left) = match found {
            Some(found) if !a.reads_state() => found,
            _ => {
                let copy = self.copy(&a, DType::F32.into(), "copy".into());
                rows_of(&copy).ok_or_else(|| self.unsupported(id, "its left operand has no rows"))?
            }
        };
        let rows = a.shape[..a.shape.len() - 1].to_vec();
        let label = self.label(id);
        let anchor =
            Anchor { rows, n, k, parts, a: a_buffer, lhs: left, a_stride, b, rhs: right, rms_norm, skinny, label };
        let anchor = Arc::new(anchor);
        let accumulator = anchor.accumulator(0);
        let value = Value::Anchored(anchor, accumulator);
        // Only its halves may use a paired matmul; any other one is kept only for a single elementwise user, and one that reads its right
        // side as it lies is not kept at all: that may be a state.
        let users = &self.users[id.index()];
        let single = users.len() == 1 && self.results[id.index()] == 0 && self.f.node(users[0]).op.is_elementwise();
        if parts == 2 || single && matches!(right, RightSide::Panels { .. }) {
            return Ok(value);
        }
        self.values[id.index()] = Some(value);
        self.buffer(id).map(Value::Lazy)
    }

    /// The buffer of a matrix that lies as the kernel for few rows reads it, and how it is stored.
    fn columns(
        &mut self,
        rhs: NodeId,
        transposed: bool,
        n: i64,
        k: &Dim,
    ) -> Result<Option<(Buffer, Storage)>, PassError> {
        let Value::Lazy(lazy) = self.value(rhs)? else { return Ok(None) };
        if !lazy.is_widened_read() {
            return Ok(None);
        }
        Ok(match direct_source(&lazy, transposed, n, k) {
            Some(Direct { source: Source::Buffer(buffer), storage, transposed: false }) => Some((buffer, storage)),
            _ => None,
        })
    }

    /// The packed form of a matrix that may change, made by a step of its own, and how it is stored.
    fn packed_for_call(
        &mut self,
        rhs: NodeId,
        transposed: bool,
        n: i64,
        k: &Dim,
        panel: i64,
        parts: i64,
    ) -> Result<(Buffer, DType), PassError> {
        let label: Arc<str> = format!("pack {}", self.label(rhs)).into();
        let direct = match self.value(rhs)? {
            Value::Lazy(l) if l.is_widened_read() => direct_source(&l, transposed, n, k),
            _ => None,
        };
        let direct = match direct {
            Some(direct) => direct,
            None => {
                let lazy = self.lazy(rhs)?;
                let lazy = if transposed { lazy.transpose(&[1, 0]) } else { lazy };
                let copy = self.copy(&lazy, DType::F32.into(), label.clone());
                let source = copy.as_buffer().map_or(Source::Index, |l| l.source);
                Direct { source, storage: DType::F32.into(), transposed: false }
            }
        };
        // Values of 16 bits stay so: they are what they are.
        let dtype = direct.storage.dense().filter(|d| d.is_half()).unwrap_or(DType::F32);
        let Source::Buffer(source) = direct.source else {
            return Err(self.unsupported(rhs, "a matrix that is no buffer"));
        };
        let mut args = Args::default();
        let spec = PackSpec {
            n,
            k: args.size(k),
            storage: direct.storage,
            transposed: direct.transposed,
            column_scale: false,
            row_scale: false,
            column_offset: 0,
            n_total: n,
            panel,
            parts,
            packed: dtype,
        };
        let packed = self.temporary(dtype.into(), &[Dim::from(PackSpec::packed_len(n, 1, panel, parts)) * k.clone()]);
        self.launch(pack(spec, k, args.dims, vec![source, packed]), label);
        Ok((packed, dtype))
    }

    /// The largest value of a size in this variant.
    fn bound(&self, d: &Dim) -> Result<i64, PassError> {
        let guarded = self.range.guards.iter().find(|(g, _)| g == d).map(|(_, b)| b.max);
        Ok(guarded.unwrap_or(i64::MAX).min(d.upper_bound(&self.range.symbols)?))
    }

    /// Whether the two halves of a product's columns meet in one elementwise op (gate and up of a gated MLP), so that one
    /// epilogue can combine them.
    fn pair_halves(&mut self, dot: NodeId, n: i64) -> bool {
        let users = &self.users[dot.index()];
        let ([a, b], 0, 0) = (users.as_slice(), n % 2, self.results[dot.index()]) else { return false };
        let last = self.ty(dot).rank() - 1;
        let start_of = |id: NodeId| match &self.f.node(id).op {
            Op::Slice { axis, start, len } if *axis == last && len.is(n / 2) => start.as_const(),
            _ => None,
        };
        let (first, second) = match (start_of(*a), start_of(*b)) {
            (Some(0), Some(h)) if h == n / 2 => (*a, *b),
            (Some(h), Some(0)) if h == n / 2 => (*b, *a),
            _ => return false,
        };
        // The elementwise ops that alone use a value, one after the other.
        let chain = |id: NodeId| {
            let next = |n: &NodeId| match self.users[n.index()].as_slice() {
                [u] if self.results[n.index()] == 0 && self.f.node(*u).op.is_elementwise() => Some(*u),
                _ => None,
            };
            std::iter::successors(next(&id), next).collect::<Vec<_>>()
        };
        let second_chain = chain(second);
        let meet = chain(first).into_iter().any(|n| second_chain.contains(&n));
        if meet {
            self.halves.insert(first, (dot, 0));
            self.halves.insert(second, (dot, 1));
        }
        meet
    }

    /// Emits a matmul whose epilogue is `lazy`, stored at `dest`.
    pub(super) fn store_anchored(&mut self, anchor: &Arc<Anchor>, lazy: &Lazy, dest: &Dest) {
        let label = anchor.label.clone();
        let axes = anchor.rows.len();
        let merges = |leaf: &Leaf| leaf.merged_stride(&lazy.shape, 0..axes).is_some();
        let dest_leaf = Leaf {
            source: Source::Buffer(dest.buffer),
            storage: dest.storage,
            offset: dest.offset.clone(),
            strides: dest.strides.clone(),
            indirect: vec![],
        };
        let plain = dest.indirect.is_empty() && dest.condition.is_none();
        if plain && merges(&dest_leaf) && lazy.leaves.iter().all(merges) {
            let mut body = Body::new();
            let v = body.builder.import(lazy);
            body.store(v, dest);
            let launch = matmul(anchor, &lazy.shape, body);
            return self.launch(launch, label);
        }
        // The epilogue cannot walk rows as one axis: store the accumulators, and go on from there.
        let mut shape = anchor.rows.clone();
        shape.push(anchor.n.into());
        let buffer = self.temporary(DType::F32.into(), &shape);
        let whole = Lazy::leaf(&shape, Leaf::contiguous(buffer, DType::F32.into(), &shape));
        let half = Dim::from(anchor.n / anchor.parts);
        let part = |p: i64| whole.slice(axes, &(half.clone() * Dim::from(p)), &half);
        let mut body = Body::new();
        for p in 0..anchor.parts {
            let v = body.builder.given(p as u32, DType::F32);
            let leaf = part(p).leaves[0].clone();
            body.store(v, &Dest::from_leaf(&leaf, buffer));
        }
        let launch = matmul(anchor, &lazy.shape, body);
        self.launch(launch, label.clone());
        let parts: Vec<Lazy> = (0..anchor.parts).map(part).collect();
        let rest = replace_given(lazy, &parts);
        self.launch(emit::map(&rest.shape.clone(), &[(rest, dest.clone())]), label);
    }

    /// The packed form of a static matrix, prepared once, and how it is stored: as narrow as its values are.
    fn packed(
        &mut self,
        rhs: NodeId,
        transposed: bool,
        n: i64,
        k: i64,
        panel: i64,
        parts: i64,
    ) -> Result<(Buffer, DType), PassError> {
        let key = self.statics[rhs.index()].map(|key| (key, panel, parts));
        if let Some(b) = key.and_then(|k| self.shared.packed.get(&k)) {
            return Ok(*b);
        }
        let label: Arc<str> = format!("pack {}", self.label(rhs).split_once(' ').map_or("", |(_, names)| names)).into();
        let pieces = self.pieces(rhs, transposed, n, None);
        let narrow = pieces[0].narrow.filter(|d| pieces.iter().all(|p| p.narrow == Some(*d)));
        let storage = narrow.unwrap_or(DType::F32);
        let bytes = PackSpec::packed_len(n, k, panel, parts) * storage.size() as i64;
        let buffer = self.shared.prepared_buffer(label.to_string(), bytes);
        let outer = std::mem::replace(&mut self.in_prepare, true);
        let mut offset = 0;
        for piece in pieces {
            let whole = PackSpec {
                n: piece.columns,
                k: Size::Const(k),
                storage: DType::F32.into(),
                transposed: false,
                column_scale: false,
                row_scale: false,
                column_offset: offset,
                n_total: n,
                panel,
                parts,
                packed: storage,
            };
            self.pack_piece(&piece, whole, k, buffer, label.clone())?;
            offset += piece.columns;
        }
        self.in_prepare = outer;
        if let Some(key) = key {
            self.shared.packed.insert(key, (buffer, storage));
        }
        Ok((buffer, storage))
    }

    /// The matrices that lie side by side in a static matrix; `narrow` is the type that its values were rounded to.
    fn pieces(&self, node: NodeId, transposed: bool, columns: i64, narrow: Option<DType>) -> Vec<Piece> {
        let column_axis = usize::from(transposed);
        let narrow = self.ty(node).dtype().filter(|d| d.is_half()).or(narrow);
        match &self.f.node(node).op {
            // Widening leaves the values what they are.
            Op::Cast(DType::F32) if self.ty(self.f.node(node).operands[0]).dtype().is_some_and(DType::is_half) => {
                self.pieces(self.f.node(node).operands[0], transposed, columns, narrow)
            }
            Op::Concat { axis } if *axis == column_axis => {
                let operands = &self.f.node(node).operands;
                let size = |o: &NodeId| self.ty(*o).shape[column_axis].as_const().unwrap_or(0);
                operands.iter().flat_map(|o| self.pieces(*o, transposed, size(o), narrow)).collect()
            }
            _ => vec![Piece { node, transposed, columns, narrow }],
        }
    }

    fn pack_piece(
        &mut self,
        piece: &Piece,
        spec: PackSpec,
        k: i64,
        dst: Buffer,
        label: Arc<str>,
    ) -> Result<(), PassError> {
        let mut spec = spec;
        let mut operands = vec![];
        // A factor per depth index (a folded norm weight) is applied while packing.
        let (base, factor) = match self.depth_factor(piece) {
            Some((base, factor)) => {
                let factor = self.contiguous(factor)?;
                let narrow = factor.dtype() != DType::F32;
                (base, Some(if narrow { self.copy(&factor, DType::F32.into(), label.clone()) } else { factor }))
            }
            None => (piece.node, None),
        };
        let factor = factor.and_then(|l| l.as_buffer().map(|l| l.source));
        let direct = match self.value(base)? {
            Value::Lazy(l) => direct_source(&l, piece.transposed, spec.n, &k.into()),
            _ => None,
        };
        let source = match direct {
            Some(direct) => {
                (spec.storage, spec.transposed) = (direct.storage, direct.transposed);
                direct.source
            }
            None => {
                let lazy = self.lazy(base)?;
                let lazy = if piece.transposed { lazy.transpose(&[1, 0]) } else { lazy };
                let copy = self.copy(&lazy, DType::F32.into(), label.clone());
                copy.as_buffer().map(|l| l.source).unwrap_or(Source::Index)
            }
        };
        for s in [Some(source), factor].into_iter().flatten() {
            if let Source::Buffer(b) = s {
                operands.push(b);
            }
        }
        spec.column_scale = factor.is_some();
        operands.push(dst);
        self.launch(pack(spec, &k.into(), vec![], operands), label);
        Ok(())
    }

    /// `base * broadcast(factor)` with one factor per depth index.
    fn depth_factor(&self, piece: &Piece) -> Option<(NodeId, NodeId)> {
        let node = self.f.node(piece.node);
        if node.op != Op::Binary(BinaryOp::Mul) {
            return None;
        }
        let depth_axis = if piece.transposed { 0 } else { 1 };
        let k = &self.ty(piece.node).shape[depth_axis];
        let factor_of = |id: NodeId| {
            let n = self.f.node(id);
            let Op::Broadcast(_) = n.op else { return None };
            let from = self.ty(n.operands[0]);
            let along_depth = if piece.transposed {
                &*from.shape == [k.clone(), 1.into()].as_slice()
            } else {
                &*from.shape == std::slice::from_ref(k) || &*from.shape == [1.into(), k.clone()].as_slice()
            };
            (along_depth && from.dtype().is_some_and(|d| d.is_float() && d != DType::F64)).then_some(n.operands[0])
        };
        let (a, b) = (node.operands[0], node.operands[1]);
        factor_of(b).map(|f| (a, f)).or_else(|| factor_of(a).map(|f| (b, f)))
    }

    /// A product of two f32 buffers, neither packed.
    fn dot_strided(&mut self, id: NodeId, lhs: NodeId, rhs: NodeId, d: &DotDims) -> Result<Lazy, PassError> {
        let (a, groups_a) = self.arranged(lhs, &d.lhs_batch, &d.lhs_contract, false)?;
        let (b, groups_b) = self.arranged(rhs, &d.rhs_batch, &d.rhs_contract, true)?;
        let dest = self.destination(id);
        let batch = d.lhs_batch.len();
        let sizes = |l: &Lazy, g: &std::ops::Range<usize>| l.shape[g.clone()].iter().cloned().product::<Dim>();
        let (m, k, n) = (sizes(&a, &groups_a[0]), sizes(&a, &groups_a[1]), sizes(&b, &groups_b[1]));
        let mut args = Args::default();
        let merged = |l: &Lazy, groups: &[std::ops::Range<usize>; 2]| -> Option<Leaf> {
            let leaf = l.as_buffer()?;
            let mut strides = leaf.strides[..batch].to_vec();
            for g in groups {
                strides.push(leaf.merged_stride(&l.shape, g.clone())?);
            }
            Some(Leaf { strides, ..leaf.clone() })
        };
        let no_rows = || self.unsupported(id, "an operand's axes cannot be walked as rows and columns");
        let (leaf_a, leaf_b) = (merged(&a, &groups_a).ok_or_else(no_rows)?, merged(&b, &groups_b).ok_or_else(no_rows)?);
        let batch_shape = a.shape[..batch].to_vec();
        let mut out_shape = batch_shape.clone();
        out_shape.extend([m.clone(), n.clone()]);
        let out = Leaf::contiguous(dest.buffer, DType::F32.into(), &out_shape);
        let spec = DotSpec {
            batch: args.sizes(&batch_shape),
            m: args.size(&m),
            n: args.size(&n),
            k: args.size(&k),
            a: args.access(&leaf_a),
            b: args.access(&leaf_b),
            out: args.access(&out),
        };
        let mut operands = vec![];
        for s in [leaf_a.source, leaf_b.source] {
            if let Source::Buffer(b) = s {
                operands.push(b);
            }
        }
        operands.push(dest.buffer);
        let points: Dim = out_shape.iter().cloned().product();
        let bytes =
            (a.shape.iter().cloned().product::<Dim>() + b.shape.iter().cloned().product() + points.clone()) * 4.into();
        let launch =
            Launch { spec: KernelSpec::Dot(spec), operands, args: args.dims, flops: points * k * Dim::from(2), bytes };
        let label = self.label(id);
        self.launch(launch, label);
        Ok(self.in_destination(id, &dest))
    }

    /// An operand with its axes in the order batch, free, summed (summed before free for the right-hand side), copied if its
    /// rows or columns cannot be walked with one stride each; and the two groups of axes.
    fn arranged(
        &mut self,
        id: NodeId,
        batch: &[usize],
        contract: &[usize],
        summed_first: bool,
    ) -> Result<(Lazy, [std::ops::Range<usize>; 2]), PassError> {
        let rank = self.ty(id).rank();
        let free = DotDims::free(rank, batch, contract);
        let (first, second) = if summed_first { (contract, &free[..]) } else { (&free[..], contract) };
        let perm = [batch, first, second].concat();
        let middle = batch.len() + first.len();
        let groups = [batch.len()..middle, middle..rank];
        let lazy = self.buffer(id)?.transpose(&perm);
        let walkable = lazy.as_buffer().is_some_and(|l| {
            l.storage == Storage::Dense(DType::F32)
                && groups.iter().all(|g| l.merged_stride(&lazy.shape, g.clone()).is_some())
        });
        let lazy = if walkable { lazy } else { self.copy(&lazy, DType::F32.into(), "copy".into()) };
        Ok((lazy, groups))
    }

    /// A product in any element type: rows of products, summed.
    fn dot_by_rows(&mut self, id: NodeId, lhs: NodeId, rhs: NodeId, d: &DotDims) -> Result<Lazy, PassError> {
        let arrange =
            |this: &mut Self, id: NodeId, batch: &[usize], contract: &[usize]| -> Result<(Lazy, usize), PassError> {
                let free = DotDims::free(this.ty(id).rank(), batch, contract);
                let perm = [batch, &free, contract].concat();
                let lazy = this.buffer(id)?.transpose(&perm);
                let kept = batch.len() + free.len();
                // One summed axis, of size 1 where there is none.
                let mut shape = lazy.shape[..kept].to_vec();
                shape.push(lazy.shape[kept..].iter().cloned().product());
                let storage = this.ty(id).storage;
                let lazy = match lazy.reshape(&shape) {
                    Some(l) => l,
                    None => this.copy(&lazy, storage, "copy".into()).reshape(&shape).unwrap_or(lazy),
                };
                Ok((lazy, free.len()))
            };
        let (a, free_a) = arrange(self, lhs, &d.lhs_batch, &d.lhs_contract)?;
        let (b, free_b) = arrange(self, rhs, &d.rhs_batch, &d.rhs_contract)?;
        let batch = d.lhs_batch.len();
        let mut space = a.shape[..batch + free_a].to_vec();
        space.extend(b.shape[batch..].iter().cloned());
        let rank = space.len();
        let a = a.map_leaves(space.clone(), |l| {
            let mut s = l.strides[..batch + free_a].to_vec();
            s.extend(vec![Dim::constant(0); free_b]);
            s.push(l.strides[batch + free_a].clone());
            s
        });
        let b = b.map_leaves(space.clone(), |l| {
            let mut s = l.strides[..batch].to_vec();
            s.extend(vec![Dim::constant(0); free_a]);
            s.extend(l.strides[batch..].iter().cloned());
            s
        });
        let wide = self.ty(id).dtype().map_or(DType::F32, DType::computed_in);
        let dest = self.destination(id);
        let mut rows = Rows::new(&space);
        let sum = rows.reduce(ReduceOp::Sum, |p: &mut Builder| {
            let (x, y) = (p.import(&a), p.import(&b));
            let (x, y) = (p.cast(x, wide), p.cast(y, wide));
            p.binary(BinaryOp::Mul, x, y)
        });
        let mut strides = dest.strides.clone();
        strides.push(0.into());
        debug_assert_eq!(strides.len(), rank);
        rows.store_row(&Dest { strides, ..dest.clone() }, |p| p.given(sum, wide));
        let label = self.label(id);
        self.launch(rows.finish(), label);
        Ok(self.in_destination(id, &dest))
    }
}

/// A matrix that is read as it is: a plain read, widened at most.
struct Direct {
    source: Source,
    storage: Storage,
    /// Whether it is stored `[depth, columns]` instead of `[columns, depth]`.
    transposed: bool,
}

/// Where a matrix of `n` columns and depth `k` is, if it can be read as it is; `transposed` says that the lazy is `[depth, columns]`.
fn direct_source(l: &Lazy, transposed: bool, n: i64, k: &Dim) -> Option<Direct> {
    let ([leaf], true) = (l.leaves.as_slice(), l.is_trivial()) else { return None };
    let floats = [DType::F32, DType::F16, DType::BF16];
    let readable = floats.contains(&l.dtype())
        && (matches!(leaf.storage, Storage::Block(_)) || floats.map(Storage::Dense).contains(&leaf.storage));
    if !readable || leaf.source == Source::Index || !leaf.indirect.is_empty() || !leaf.offset.is(0) {
        return None;
    }
    let leaf = if transposed {
        Leaf { strides: leaf.strides.iter().rev().cloned().collect(), ..leaf.clone() }
    } else {
        leaf.clone()
    };
    let direct = |transposed| Some(Direct { source: leaf.source, storage: leaf.storage, transposed });
    if leaf.is_contiguous(&[Dim::from(n), k.clone()]) {
        return direct(false);
    }
    let columns_first = [Dim::from(1), Dim::from(n)];
    if leaf.strides == columns_first && leaf.storage.dense().is_some() {
        return direct(true);
    }
    None
}

/// The buffer and row stride of a left operand whose rows are contiguous and evenly spaced from the buffer's start, and its storage: f32.
fn rows_of(a: &Lazy) -> Option<(Buffer, Dim, Storage)> {
    let leaf = a.as_buffer()?;
    (leaf.storage == Storage::Dense(DType::F32)).then(|| even_rows(a, leaf)).flatten()
}

/// The same of an operand that is a widened read of f16 or bf16.
fn half_rows_of(a: &Lazy) -> Option<(Buffer, Dim, Storage)> {
    let ([leaf], true) = (a.leaves.as_slice(), a.is_widened_read()) else { return None };
    let half = leaf.storage.dense().is_some_and(DType::is_half) && leaf.indirect.is_empty();
    half.then(|| even_rows(a, leaf)).flatten()
}

fn even_rows(a: &Lazy, leaf: &Leaf) -> Option<(Buffer, Dim, Storage)> {
    let last = a.shape.len() - 1;
    let Source::Buffer(buffer) = leaf.source else { return None };
    let contiguous = leaf.strides[last].is(1) || a.shape[last].is(1);
    let stride = leaf.merged_stride(&a.shape, 0..last)?;
    (contiguous && leaf.offset.is(0)).then_some((buffer, stride, leaf.storage))
}

/// The packing of a matrix of depth `k`.
fn pack(spec: PackSpec, k: &Dim, args: Vec<Dim>, operands: Vec<Buffer>) -> Launch {
    let values = Dim::from(spec.n) * k.clone();
    let (flops, bytes) = (values.clone() * Dim::from(2), values * Dim::from(8));
    Launch { spec: KernelSpec::Pack(spec), operands, args, flops, bytes }
}

/// A matmul with this body as its epilogue; the body is in the space of the product (of one part of it).
fn matmul(anchor: &Anchor, shape: &[Dim], mut body: Body) -> Launch {
    let rows = anchor.rows.len();
    let two = |strides: &[Dim]| {
        let leaf = Leaf {
            source: Source::Index,
            storage: DType::I64.into(),
            offset: 0.into(),
            strides: strides.to_vec(),
            indirect: vec![],
        };
        vec![leaf.merged_stride(shape, 0..rows).unwrap_or_else(|| 0.into()), strides[rows].clone()]
    };
    body.builder.restride(two);
    body.stores.iter_mut().for_each(|s| s.strides = two(&s.strides));
    let m: Dim = anchor.rows.iter().cloned().product();
    let (mut args, mut reads) = (Args::default(), Reads::default());
    let m_size: Size = args.size(&m);
    let a_stride = args.size(&anchor.a_stride);
    let k = args.size(&anchor.k);
    let done = emit::finish(body, &[], &mut args, &mut reads);
    let mut operands = vec![anchor.a, anchor.b];
    operands.extend(&reads.buffers);
    operands.extend(&done.write_buffers);
    let columns = Dim::from(anchor.n / anchor.parts);
    let epilogue = m.clone() * columns * Dim::from(4 * (reads.buffers.len() + done.write_buffers.len()));
    let stored = |values: Dim, storage: Storage| match storage {
        Storage::Dense(d) => values * Dim::from(d.size()),
        Storage::Block(b) => (values * Dim::from(b.block_bytes())).floor_div(&Dim::from(b.block_len())),
    };
    let bytes = stored(m.clone() * anchor.k.clone(), anchor.lhs)
        + stored(Dim::from(anchor.n) * anchor.k.clone(), anchor.rhs.storage())
        + epilogue;
    let spec = MatMulSpec {
        m: m_size,
        n: anchor.n,
        k,
        skinny: anchor.skinny,
        lhs: anchor.lhs,
        a_stride,
        rhs: anchor.rhs,
        parts: anchor.parts,
        rms_norm: anchor.rms_norm.map(f32::to_bits),
        reads: reads.accesses,
        program: done.program,
        writes: done.writes,
    };
    Launch {
        spec: KernelSpec::MatMul(spec),
        operands,
        args: args.dims,
        flops: m * Dim::from(2 * anchor.n) * anchor.k.clone(),
        bytes,
    }
}

/// The lazy with each `Given(n)` replaced by `parts[n]`.
fn replace_given(lazy: &Lazy, parts: &[Lazy]) -> Lazy {
    let mut b = Builder::default();
    let given: Vec<_> = parts.iter().map(|p| b.import(p)).collect();
    let result = b.import_given(lazy, &given);
    b.finish_with(lazy.shape.clone(), result)
}
