//! What a term costs: a roofline, `max(flops / peak, bytes / bandwidth)` plus the launch of a step, summed over the points that the
//! module's symbols declare.
//! Weights and caches of keys and values are read from memory; what a step before wrote, from the nearest cache that holds it.
//!
//! Extraction comes before fusion, so ops that fusion puts into a neighbour's kernel cost a share of a launch and of their bytes.
//! What depends on static parameters only is computed once, by `prepare`; what counts then is that its result must stay in memory
//! beside whatever else is made from the same parameter.

use super::facts::{Graph, TensorFact, attr, tensor};
use super::term::{Head, Term};
use kiln_core::Rates;
use kiln_ir::{Dim, DotDims, Op, SizeRole, Symbol, Symbols};
use std::{collections::BTreeMap, sync::Arc};

/// Sizes at which a function is costed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point(BTreeMap<Arc<str>, i64>);

impl Point {
    /// The points that the symbols declare: each symbol's first typical size, each one's second, and so on. A symbol that has fewer
    /// than others keeps its last.
    pub fn typical(symbols: &Symbols) -> Vec<Point> {
        let typical: Vec<(&Arc<str>, Vec<i64>)> = symbols.iter().map(|(name, s)| (name, s.typical_sizes())).collect();
        let points = typical.iter().map(|(_, sizes)| sizes.len()).max().unwrap_or(1);
        let at = |i: usize| typical.iter().map(move |(name, sizes)| ((*name).clone(), sizes[i.min(sizes.len() - 1)]));
        (0..points).map(|i| Point(at(i).collect())).collect()
    }

    /// One thing of a batch, of that length and beside that context, as far as the symbols' bounds allow.
    pub fn at(symbols: &Symbols, length: i64, context: i64) -> Point {
        let size = |symbol: &Symbol| match symbol.role {
            SizeRole::Length => symbol.nearest(length),
            SizeRole::Batch => symbol.nearest(1),
            SizeRole::Context => symbol.nearest(context),
        };
        Point(symbols.iter().map(|(name, symbol)| (name.clone(), size(symbol))).collect())
    }

    /// The value of each symbol.
    pub fn sizes(&self) -> Vec<(String, i64)> {
        self.0.iter().map(|(name, size)| (name.to_string(), *size)).collect()
    }
}

/// The share of a launch and of its bytes that an op costs which another op's kernel takes in.
const FUSED: f64 = 0.1;
/// The share of a launch that a view costs: addresses.
const VIEW: f64 = 0.01;
/// The cost of a byte that stays in memory, in bytes that are read.
const RESIDENT: f64 = 0.01;
/// The cost of a byte that `prepare` computes, in bytes that are read.
const PREPARED: f64 = 1e-6;
/// Every term costs something, so that among equals the smaller is chosen.
const TERM: f64 = 1e-12;

/// The cost model of one module on one target.
pub struct Model<'a> {
    /// Rates.
    pub rates: &'a Rates,
    /// Where costs are taken.
    pub points: &'a [Point],
}

impl Model<'_> {
    fn size(&self, point: &Point, d: &Dim) -> f64 {
        d.eval(&|s| point.0.get(s).copied()).map_or(f64::MAX.sqrt(), |n| n.max(0) as f64)
    }

    fn bytes(&self, point: &Point, t: &TensorFact) -> f64 {
        match t.narrow {
            _ if t.splat.is_some() => 0.0,
            Some(d) => self.size(point, &t.ty.elements()) * d.size() as f64,
            None => self.size(point, &t.ty.bytes()),
        }
    }

    /// Seconds to read or write a tensor once.
    fn seconds(&self, point: &Point, t: &TensorFact) -> f64 {
        let bytes = self.bytes(point, t);
        bytes / if t.fixed { self.rates.bandwidth } else { self.rates.bandwidth_of(bytes) }
    }

    /// Seconds to read or write a tensor once, where it was just made.
    fn near(&self, point: &Point, t: &TensorFact) -> f64 {
        let rate = if t.fixed { self.rates.bandwidth } else { self.rates.bandwidth_of(0.0) };
        self.bytes(point, t) / rate
    }

    /// Seconds that a static tensor costs by being there, each time it would be read otherwise.
    pub fn resident(&self, t: &TensorFact) -> f64 {
        self.points.iter().map(|p| RESIDENT * self.bytes(p, t) / self.rates.bandwidth).sum()
    }

    /// Seconds of a term of a class, over all points; `None` for what can't be computed.
    pub fn term(&self, graph: &Graph, class: &TensorFact, term: &Term) -> Option<f64> {
        if matches!(term.head, Head::Notation(_) | Head::Build(_) | Head::Attr(_) | Head::Mark(_)) {
            return None;
        }
        let op = term.op(|c| attr(graph, c).cloned())?;
        let operands: Vec<&TensorFact> = term.operands().iter().filter_map(|c| tensor(graph, *c)).collect();
        let seconds: f64 = self.points.iter().map(|p| self.at(p, &op, class, &operands)).sum();
        Some(seconds + TERM)
    }

    fn at(&self, p: &Point, op: &Op, out: &TensorFact, operands: &[&TensorFact]) -> f64 {
        let Rates { machine_flops: peak, bandwidth, launch_seconds: launch, .. } = *self.rates;
        let view = matches!(op, Op::Reshape(_) | Op::Broadcast(_) | Op::Slice { .. } | Op::Get(_));
        if matches!(op, Op::Arg(_) | Op::Constant(_)) {
            return 0.0;
        }
        if out.fixed {
            let moved = self.bytes(p, out) + operands.iter().map(|t| self.bytes(p, t)).sum::<f64>();
            return if view { 0.0 } else { PREPARED * moved / bandwidth };
        }
        let written = self.seconds(p, out);
        let moved = written + operands.iter().map(|t| self.seconds(p, t)).sum::<f64>();
        // What a neighbour's kernel takes in stays near it, so that one op on a whole costs no more than one on each part.
        let near = operands.iter().chain([&out]).map(|t| self.near(p, t)).sum::<f64>();
        let elements = self.size(p, &out.ty.elements());
        match op {
            _ if view => VIEW * launch,
            Op::Iota { .. } | Op::DimSize(_) => VIEW * launch,
            Op::Transpose(_) => 0.3 * launch + 0.5 * moved,
            Op::DotGeneral(d) => {
                let lhs = operands
                    .first()
                    .map_or(0.0, |t| d.lhs_contract.iter().map(|a| self.size(p, &t.ty.shape[*a])).product::<f64>());
                launch + (2.0 * elements * lhs / peak).max(moved) + strided(d) * launch
            }
            Op::Attention(a) => {
                let (q, k) = (operands.first(), operands.get(1));
                let keys = k.map_or(0.0, |k| self.size(p, &k.ty.shape[1]));
                let flops = 4.0 * elements * keys * if a.causal { 0.5 } else { 1.0 };
                let moved = match (a.cached, q, k) {
                    // Of a cache, which comes from memory, the rows of this batch.
                    (true, Some(q), Some(k)) => {
                        let rows = self.size(p, &q.ty.shape[0]) / self.size(p, &k.ty.shape[0]).max(1.0);
                        let cache: f64 = operands[1..3].iter().map(|t| self.bytes(p, t)).sum();
                        self.seconds(p, q) + written + rows.min(1.0) * cache / bandwidth
                    }
                    _ => moved,
                };
                launch + (flops / peak).max(moved)
            }
            Op::RmsNorm { .. } | Op::LayerNorm { .. } | Op::Softmax { .. } => {
                let affine = operands.iter().skip(1).filter(|t| t.splat.is_none()).count() as f64;
                // A row is in the nearest cache when it is read again, scaled and written: half of what ops of their own would cost.
                let rows = operands.first().map_or(0.0, |x| self.seconds(p, x));
                let scaled = 0.5 * FUSED * affine * (launch + 2.0 * self.near(p, out));
                launch + (6.0 * elements / peak).max(rows) + scaled
            }
            Op::Reduce { .. } => launch + moved,
            Op::Conv(_) => {
                let weight =
                    operands.get(1).map_or(1.0, |w| self.size(p, &w.ty.elements()) / self.size(p, &w.ty.shape[0]));
                launch + (2.0 * elements * weight / peak).max(moved)
            }
            Op::ScatterAdd { .. } => 2.0 * launch + moved + written,
            Op::Write => launch + near,
            Op::CacheUpdate => launch + 2.0 * operands.get(1).map_or(0.0, |t| self.seconds(p, t)),
            // What is picked from, a table or a cache, lies in memory.
            Op::Take { .. } | Op::Gather { .. } => launch + written + self.bytes(p, out) / bandwidth,
            // Two passes over a row for each of the k, all but the first in the nearest cache.
            Op::TopK { k, .. } => launch + (1.0 + 0.1 * *k as f64) * moved,
            Op::Call(_) => 10.0 * launch,
            op if op.is_elementwise() => FUSED * (launch + near),
            Op::Rope => FUSED * 2.0 * (launch + near),
            _ => launch + moved,
        }
    }
}

/// The share of a launch by which a product of strided operands costs more than one with a packed weight.
fn strided(d: &DotDims) -> f64 {
    if d.lhs_batch.is_empty() { 0.0 } else { 0.5 }
}
