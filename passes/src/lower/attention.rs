//! Attention: operands as strided buffers, one kernel.

use super::{
    Lowering,
    emit::{Args, Dest, Launch},
    lazy::{Lazy, Leaf},
};
use crate::PassError;
use kiln_core::{AttentionSpec, Buffer, DType, Dim, KernelSpec};
use kiln_ir::{AttentionAttrs, Node, NodeId, Op};

/// A step's cost takes one in so many positions of a cache as filled.
pub const CACHE_SHARE: i64 = 4;

impl Lowering<'_, '_> {
    pub(super) fn attention(&mut self, id: NodeId, node: &Node, a: &AttentionAttrs) -> Result<Lazy, PassError> {
        let ty = self.ty(id);
        if ty.dtype() == Some(DType::F64) {
            return Err(self.unsupported(id, "the attention template computes in f32"));
        }
        let constant = |d: &Dim| d.as_const();
        let (q_shape, k_shape) = (&self.ty(node.operands[0]).shape, &self.ty(node.operands[1]).shape);
        let heads = (constant(&q_shape[2]), constant(&k_shape[2]), constant(&q_shape[3]), constant(&ty.shape[3]));
        let (Some(q_heads), Some(kv_heads), Some(head_dim), Some(v_dim)) = heads else {
            return Err(self.unsupported(id, "numbers of heads and head sizes must be constants"));
        };
        let rows = &k_shape[0];
        let (queries, kv_len, batch) = (q_shape[1].clone(), k_shape[1].clone(), q_shape[0].clone());
        let mut leaves: Vec<Leaf> = vec![];
        for (i, o) in node.operands.iter().enumerate() {
            // Slots and starts are plain vectors; the others may be strided.
            let vector = a.cached && (i == 3 || i == 4);
            let mut operand = *o;
            // A cache of a narrow type needs no narrow queries.
            if i == 0 && matches!(self.f.node(*o).op, Op::Cast(d) if d.is_half()) {
                operand = self.f.node(*o).operands[0];
            }
            let lazy = if vector { self.contiguous(operand)? } else { self.buffer(operand)? };
            let leaf = lazy.as_buffer().cloned();
            leaves.push(leaf.ok_or_else(|| self.unsupported(id, "an operand is not in a buffer"))?);
        }
        // Nor narrow results, but where they are asked for.
        let dest = match self.in_prepare || self.output_of.contains_key(&id) {
            true => self.destination(id),
            false => Dest::contiguous(self.temporary(DType::F32.into(), &ty.shape), DType::F32.into(), &ty.shape),
        };
        let mut args = Args::default();
        let operands: Vec<Buffer> = leaves
            .iter()
            .filter_map(|l| match l.source {
                super::Source::Buffer(b) => Some(b),
                super::Source::Index => None,
            })
            .chain([dest.buffer])
            .collect();
        let out = Leaf::contiguous(dest.buffer, dest.storage, &ty.shape);
        let spec = AttentionSpec {
            batch: args.size(&batch),
            queries: args.size(&queries),
            kv_len: args.size(&kv_len),
            q_heads,
            kv_heads,
            head_dim,
            v_dim,
            scale: (a.scale.get() as f32).to_bits(),
            causal: a.causal,
            window: a.window,
            q: args.access(&leaves[0]),
            k: args.access(&leaves[1]),
            v: args.access(&leaves[2]),
            slots: a.cached.then(|| args.size(rows)),
            starts: a.cached,
            mask: a.mask.then(|| args.access(&leaves[leaves.len() - 1])),
            out: args.access(&out),
        };
        // Of a cache, how much is filled is not known here: a quarter of it stands for what is common. Half of a causal
        // square is hidden.
        let filled = if a.cached { kv_len.floor_div(&CACHE_SHARE.into()) } else { kv_len };
        let keys = match (a.cached, a.causal) {
            (true, true) => filled + queries.ceil_div(2),
            (false, true) => filled.ceil_div(2),
            (_, false) => filled,
        };
        let key_bytes = batch.clone() * keys.clone() * Dim::from(4 * kv_heads * (head_dim + v_dim));
        let pairs = batch * queries * keys * Dim::from(q_heads);
        let launch = Launch {
            spec: KernelSpec::Attention(spec),
            operands,
            args: args.dims,
            flops: pairs * Dim::from(2 * (head_dim + v_dim)),
            bytes: ty.bytes() * Dim::from(2) + key_bytes,
        };
        let label = self.label(id);
        self.launch(launch, label);
        Ok(self.stored(id, Leaf::contiguous(dest.buffer, dest.storage, &ty.shape)))
    }
}
