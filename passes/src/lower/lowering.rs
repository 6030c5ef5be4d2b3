//! What is known while an entry is lowered.

use super::anchor::Anchor;
use super::lazy::Lazy;
use super::shared::{Shared, StaticKey, Steps};
use crate::{PassError, variants};
use kiln_ir::{Function, FunctionInfo, NodeId};
use std::{collections::HashMap, sync::Arc};

/// A node's value so far.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Leaves and a program.
    Lazy(Lazy),
    /// As lazy, over the accumulators of a matmul that is not emitted yet.
    Anchored(Arc<Anchor>, Lazy),
    /// An RMS norm of a buffer's rows with this epsilon, without weights, that is not emitted yet: matmuls have it as their prologue.
    Norm(Lazy, f32),
    /// A rotation that is not emitted yet, so that it can be stored straight where it is wanted: x, cos, sin.
    Rope([Lazy; 3]),
}

pub(super) struct Lowering<'s, 't> {
    pub(super) shared: &'s mut Shared<'t>,
    pub(super) f: &'s Function,
    /// The entry itself, with the sizes that have one value in this variant as symbols still.
    pub(super) entry: &'s Function,
    pub(super) info: &'s FunctionInfo,
    pub(super) range: &'s variants::VariantRange,
    pub(super) users: Vec<Vec<NodeId>>,
    /// How often each node is a result.
    pub(super) results: Vec<usize>,
    pub(super) statics: Vec<Option<StaticKey>>,
    pub(super) values: Vec<Option<Value>>,
    /// Slices of a matmul whose two halves meet in one epilogue: the matmul, and which half.
    pub(super) halves: HashMap<NodeId, (NodeId, u32)>,
    pub(super) steps: Steps,
    /// For each step, the node whose value it stores.
    pub(super) origins: Vec<NodeId>,
    /// The nodes being lowered or stored, the innermost last.
    pub(super) open: Vec<NodeId>,
    /// Whether the node being lowered is static: its launches go to `prepare`.
    pub(super) in_prepare: bool,
    /// The output buffer that a node's value may be written to directly.
    pub(super) output_of: HashMap<NodeId, u32>,
}

impl<'s, 't> Lowering<'s, 't> {
    pub(super) fn new(
        shared: &'s mut Shared<'t>,
        f: &'s Function,
        entry: &'s Function,
        info: &'s FunctionInfo,
        range: &'s variants::VariantRange,
    ) -> Result<Self, PassError> {
        let statics = shared.static_keys(f, info)?;
        let mut results = vec![0; f.len()];
        let mut output_of = HashMap::new();
        let mut number = 0;
        for o in &f.outputs {
            results[o.value.index()] += 1;
            if o.updates.is_none() {
                output_of.entry(o.value).or_insert(number);
                number += 1;
            }
        }
        Ok(Lowering {
            users: f.users(),
            values: vec![None; f.len()],
            results,
            statics,
            halves: HashMap::new(),
            steps: Steps::default(),
            origins: vec![],
            open: vec![],
            in_prepare: false,
            output_of,
            shared,
            f,
            entry,
            info,
            range,
        })
    }
}
