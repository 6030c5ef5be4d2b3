//! Products that share an input become one (q, k and v; gate and up), and so do products that share a weight.

use super::law::class::reassociates;
use crate::egraph::{Attr, Graph, Origin, Rule, Structural, add_op, attr, conclude, constant, tensor};
use egg::Id;
use kiln_ir::{BinaryOp, Dim, DotDims, Op};
use std::collections::{BTreeMap, BTreeSet};

/// The table.
pub fn rules() -> Vec<Rule> {
    vec![
        Rule::structural("merge-products", reassociates, MergeProducts),
        Rule::structural("batch-products", reassociates, BatchProducts),
    ]
}

/// `x W₁, x W₂, …` are slices of `x [W₁ W₂ …]`, and `x Wᵢ + bᵢ` of `x [W₁ …] + [b₁ …]`.
///
/// Only static weights of two axes, each from one parameter of its own: a merged weight is merged no further, and two forms of one
/// parameter (scaled, say) stand for each other in a merge rather than beside each other. Without these guards merges of merges
/// never end, and weights that depend on the products make true cycles. A product that ends in an activation keeps to itself, but for
/// the gates of a gated MLP.
struct MergeProducts;

/// A product that can be merged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    weight: Id,
    product: Id,
    columns: i64,
}

/// Most forms of one parameter, and most combinations of forms, that are tried.
const FORMS: usize = 3;
const COMBINATIONS: usize = 8;
/// Most sums of a product that are looked at.
const SUMS: usize = 16;

/// The products over `x`: by the summed axis of their weights and that axis's type, then by parameter.
type Groups = BTreeMap<usize, BTreeMap<u32, Vec<Member>>>;

fn groups(graph: &Graph, x: Id) -> Groups {
    let mut groups = Groups::new();
    let Some(rank) = tensor(graph, x).filter(|t| !t.fixed && t.ty.rank() > 0).map(|t| t.ty.rank()) else {
        return groups;
    };
    for parent in graph[x].parents() {
        let term = &graph.nodes()[usize::from(parent)];
        if !term.is("dot_general") || graph.find(term.children[0]) != x {
            continue;
        }
        let weight = graph.find(term.children[1]);
        let Some(Attr::Dot(d)) = attr(graph, term.children[2]) else { continue };
        let Some(w) = tensor(graph, weight).filter(|w| w.fixed && w.ty.rank() == 2) else { continue };
        let linear = d.lhs_batch.is_empty() && d.lhs_contract == [rank - 1];
        let (true, Origin::Arg(parameter)) = (linear, w.origin) else { continue };
        if feeds_products_only(graph, graph.find(parent)) {
            continue;
        }
        let Some(columns) = w.ty.shape[1 - d.rhs_contract[0]].as_const() else { continue };
        let members = groups.entry(d.rhs_contract[0]).or_default().entry(parameter).or_default();
        let member = Member { weight, product: graph.find(parent), columns };
        if !members.contains(&member) {
            members.push(member);
        }
    }
    for members in groups.values_mut() {
        let products = members.values().flatten().map(|m| m.product);
        let own: BTreeMap<Id, BTreeSet<Id>> = products.map(|p| (p, sums(graph, p))).collect();
        let values: BTreeSet<Id> = own.values().flatten().copied().collect();
        for forms in members.values_mut() {
            forms.retain(|m| !is_activated_alone(graph, &own[&m.product], &values));
        }
        members.retain(|_, forms| !forms.is_empty());
    }
    groups.retain(|_, members| members.len() > 1);
    groups.values_mut().flat_map(BTreeMap::values_mut).for_each(|forms| {
        forms.sort_unstable();
        forms.truncate(FORMS);
    });
    groups
}

/// Whether a product is the left operand of products and nothing else: a link of a chain, which another law shortens.
fn feeds_products_only(graph: &Graph, product: Id) -> bool {
    let mut users = graph[product].parents().map(|p| &graph.nodes()[usize::from(p)]).peekable();
    users.peek().is_some() && users.all(|n| n.is("dot_general") && graph.find(n.children[0]) == product)
}

/// A product, and its sums with static vectors: a bias, or what a norm's bias becomes.
fn sums(graph: &Graph, product: Id) -> BTreeSet<Id> {
    let (mut found, mut pending) = (BTreeSet::new(), vec![product]);
    while let Some(id) = pending.pop() {
        if found.len() < SUMS && found.insert(id) {
            let adds = graph[id].parents().map(|p| (&graph.nodes()[usize::from(p)], graph.find(p)));
            let fixed = |id: Id| tensor(graph, id).is_some_and(|t| t.fixed);
            let is_static = |c: &Id| graph[*c].nodes.iter().any(|n| n.is("broadcast") && fixed(n.children[0]));
            pending.extend(adds.filter(|(t, _)| t.is("add") && t.children.iter().any(is_static)).map(|(_, sum)| sum));
        }
    }
    found
}

/// Whether an activation is applied to a product or one of its sums, its own values, and the result does not gate another of the values. As an epilogue
/// of the product it costs nothing; of a part of a merged one it is a step of its own.
fn is_activated_alone(graph: &Graph, own: &BTreeSet<Id>, values: &BTreeSet<Id>) -> bool {
    let users = |id: Id| graph[id].parents().map(|p| (&graph.nodes()[usize::from(p)], graph.find(p)));
    let gates = |activated: Id| {
        let other = |c: &Id| *c != activated && !own.contains(c) && values.contains(c);
        users(activated).any(|(t, _)| t.is("mul") && t.children.iter().map(|c| graph.find(*c)).any(|c| other(&c)))
    };
    let mut activated = own.iter().flat_map(|v| users(*v)).filter(|(t, _)| t.is("gelu") || t.is("silu"));
    activated.any(|(_, activated)| !gates(activated))
}

/// One form of each parameter, in all combinations.
fn combinations(members: &BTreeMap<u32, Vec<Member>>) -> Vec<Vec<Member>> {
    let mut all = vec![vec![]];
    for forms in members.values() {
        all = all
            .iter()
            .flat_map(|chosen: &Vec<Member>| forms.iter().map(move |m| [&chosen[..], &[*m]].concat()))
            .take(COMBINATIONS)
            .collect();
    }
    all
}

/// `product + bias`, where there is one: its class, and the static vector.
fn biased(graph: &Graph, product: Id) -> Option<(Id, Id)> {
    let columns = tensor(graph, product)?.ty.shape.last()?.clone();
    let mut found: Vec<(Id, Id)> = vec![];
    for parent in graph[product].parents() {
        let term = &graph.nodes()[usize::from(parent)];
        if !term.is("add") || graph.find(term.children[0]) != product {
            continue;
        }
        let vectors = graph[graph.find(term.children[1])].nodes.iter().filter(|n| n.is("broadcast"));
        let bias = vectors
            .map(|n| graph.find(n.children[0]))
            .find(|b| tensor(graph, *b).is_some_and(|b| b.fixed && *b.ty.shape == [columns.clone()]));
        found.extend(bias.map(|b| (graph.find(parent), b)));
    }
    found.into_iter().min()
}

impl Structural for MergeProducts {
    fn finds(&self, graph: &Graph, class: Id) -> bool {
        !groups(graph, class).is_empty()
    }

    fn apply(&self, graph: &mut Graph, x: Id, rule: &str) -> Vec<Id> {
        let mut changed = vec![];
        for (summed, members) in groups(graph, x) {
            for chosen in combinations(&members) {
                changed.extend(merge(graph, x, summed, &chosen, rule).unwrap_or_default());
            }
        }
        changed
    }
}

fn merge(graph: &mut Graph, x: Id, summed: usize, members: &[Member], rule: &str) -> Option<Vec<Id>> {
    let rank = tensor(graph, x)?.ty.rank();
    let weights: Vec<Id> = members.iter().map(|m| m.weight).collect();
    let weight = add_op(graph, &Op::Concat { axis: 1 - summed }, &weights);
    let dims = DotDims { rhs_contract: vec![summed], ..DotDims::linear(rank) };
    let product = add_op(graph, &Op::DotGeneral(dims), &[x, weight]);
    let shape = tensor(graph, product)?.ty.shape.to_vec();
    let parts = |graph: &mut Graph, whole: Id| -> Vec<Id> {
        let mut start = 0;
        let slice = |m: &Member| {
            let op = Op::Slice { axis: rank - 1, start: Dim::constant(start), len: Dim::constant(m.columns) };
            start += m.columns;
            add_op(graph, &op, &[whole])
        };
        members.iter().map(slice).collect()
    };
    let mut changed = vec![];
    // Biases are looked up before classes change.
    let biases: Vec<Option<(Id, Id)>> = members.iter().map(|m| biased(graph, graph.find(m.product))).collect();
    for (member, part) in members.iter().zip(parts(graph, product)) {
        changed.extend(conclude(graph, member.product, part, rule));
    }
    if biases.iter().any(Option::is_some) {
        let mut vectors = Vec::with_capacity(members.len());
        for (bias, member) in biases.iter().zip(members) {
            vectors.push(match bias {
                Some((_, b)) => *b,
                None => {
                    let dtype = tensor(graph, product)?.ty.dtype()?;
                    constant(graph, dtype, &[usize::try_from(member.columns).ok()?], 0.0)?
                }
            });
        }
        let bias = add_op(graph, &Op::Concat { axis: 0 }, &vectors);
        let bias = add_op(graph, &Op::Broadcast(shape), &[bias]);
        let sum = add_op(graph, &Op::Binary(BinaryOp::Add), &[product, bias]);
        for ((member, bias), part) in members.iter().zip(&biases).zip(parts(graph, sum)) {
            changed.extend(conclude(graph, bias.map_or(member.product, |(class, _)| class), part, rule));
        }
    }
    Some(changed)
}

/// `x W, y W, …` are slices of `[x; y; …] W`: the weight is read once for all rows.
///
/// The inputs have one type, and none depends on another's product, which would make a true cycle. What this law concatenated is an
/// input of the same weight again, and is left alone. (Products of different inputs by different weights, if their shapes are equal, could
/// become one product with a batch axis, too; it would read the same bytes, and no faster, since packed weights have no batch axes.)
struct BatchProducts;

/// The inputs of the products by `w`, each with its product; by the attribute that says which axes are summed.
fn inputs(graph: &Graph, w: Id) -> BTreeMap<Id, Vec<(Id, Id)>> {
    let mut inputs: BTreeMap<Id, Vec<(Id, Id)>> = BTreeMap::new();
    if tensor(graph, w).is_none_or(|w| w.ty.rank() != 2) {
        return inputs;
    }
    for parent in graph[w].parents() {
        let term = &graph.nodes()[usize::from(parent)];
        if !term.is("dot_general") || graph.find(term.children[1]) != w {
            continue;
        }
        let (x, dims) = (graph.find(term.children[0]), graph.find(term.children[2]));
        let Some(t) = tensor(graph, x).filter(|t| !t.fixed && t.ty.rank() > 1) else { continue };
        let linear = matches!(attr(graph, dims), Some(Attr::Dot(d))
            if d.lhs_batch.is_empty() && d.lhs_contract == [t.ty.rank() - 1]);
        let concatenated = graph[x].nodes.iter().any(|n| n.is("concat"));
        let found = inputs.entry(dims).or_default();
        let pair = (x, graph.find(parent));
        if linear && !concatenated && !found.contains(&pair) {
            found.push(pair);
        }
    }
    inputs.values_mut().for_each(|pairs| {
        pairs.sort_unstable();
        pairs.dedup_by_key(|(x, _)| *x);
        let first = pairs.first().and_then(|(x, _)| tensor(graph, *x)).map(|t| t.ty.clone());
        pairs.retain(|(x, _)| tensor(graph, *x).map(|t| &t.ty) == first.as_ref());
    });
    inputs.retain(|_, pairs| pairs.len() > 1);
    inputs
}

/// Whether some term of the class, or of one that it needs, needs one of the others.
fn depends(graph: &Graph, class: Id, others: &BTreeSet<Id>) -> bool {
    let (mut seen, mut stack) = (BTreeSet::new(), vec![graph.find(class)]);
    while let Some(id) = stack.pop() {
        if others.contains(&id) {
            return true;
        }
        if seen.insert(id) {
            stack.extend(graph[id].nodes.iter().flat_map(|n| n.children.iter().map(|c| graph.find(*c))));
        }
    }
    false
}

impl Structural for BatchProducts {
    fn finds(&self, graph: &Graph, class: Id) -> bool {
        !inputs(graph, class).is_empty()
    }

    fn apply(&self, graph: &mut Graph, w: Id, rule: &str) -> Vec<Id> {
        let mut changed = vec![];
        for (dims, pairs) in inputs(graph, w) {
            let products: BTreeSet<Id> = pairs.iter().map(|(_, product)| *product).collect();
            if pairs.iter().any(|(x, _)| depends(graph, *x, &products)) {
                continue;
            }
            let (Some(Attr::Dot(d)), Some(first)) = (attr(graph, dims).cloned(), tensor(graph, pairs[0].0)) else {
                continue;
            };
            let rows = first.ty.shape[0].clone();
            let xs: Vec<Id> = pairs.iter().map(|(x, _)| *x).collect();
            let all = add_op(graph, &Op::Concat { axis: 0 }, &xs);
            let product = add_op(graph, &Op::DotGeneral(d), &[all, w]);
            for (i, (_, own)) in pairs.iter().enumerate() {
                let start = rows.clone() * Dim::from(i);
                let part = add_op(graph, &Op::Slice { axis: 0, start, len: rows.clone() }, &[product]);
                changed.extend(conclude(graph, *own, part, rule));
            }
        }
        changed
    }
}
