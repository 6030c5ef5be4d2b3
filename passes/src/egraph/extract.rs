//! The choice of one term per class, with sharing counted once.
//!
//! Three steps. *Tree costs* give a choice without cycles. *Cost sets* (per class, the set of classes that its best term needs) see sharing from
//! below. Neither ever picks one product for q, k and v: each of them alone is cheaper by itself, and the merged product pays only when all its
//! users switch together. So *moves* follow: switch one class, or all classes that could use some class at once, and keep the move if the whole
//! graph gets cheaper. Tests hold the result against an integer program.

use super::cost::Model;
use super::facts::{Fact, Graph, TensorFact, tensor};
use super::term::{Head, Term};
use egg::{Id, Language};
use fixedbitset::FixedBitSet;
use std::collections::{BTreeMap, BTreeSet};

/// A term that a class may be.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The term, with canonical children.
    pub term: Option<Term>,
    /// The classes that it needs, as indices, each once.
    pub needs: Vec<usize>,
    /// Seconds, its needs not counted.
    pub cost: f64,
}

/// The extraction problem of one e-graph.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The class of each index; `None` for the memory of a static tensor.
    pub ids: Vec<Option<Id>>,
    /// The candidates of each index, cheapest first.
    pub candidates: Vec<Vec<Candidate>>,
    /// The root.
    pub root: usize,
}

/// The chosen candidate of each index.
pub type Choice = Vec<usize>;

/// Smaller differences are none.
const EPSILON: f64 = 1e-15;
/// Most passes over all moves, and over all cost sets.
const PASSES: usize = 64;
/// Above this many classes, only tree costs and moves of groups are tried: cost sets and single moves take time that grows with the
/// square. A decoder block has some three hundred.
const LARGE: usize = 3000;

impl Problem {
    /// The problem: every class that can be computed. `original` are the terms that were there before any law; among equals they win.
    pub fn new(graph: &Graph, root: Id, model: &Model<'_>, original: &BTreeSet<Term>) -> Self {
        let mut ids: Vec<Id> =
            graph.classes().filter(|c| !matches!(c.data, Fact::Attr(_) | Fact::Mark(_))).map(|c| c.id).collect();
        ids.sort_unstable();
        let mut index: BTreeMap<Id, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        let mut all: Vec<Option<Id>> = ids.iter().copied().map(Some).collect();
        let mut candidates: Vec<Vec<Candidate>> = vec![vec![]; ids.len()];
        // What is static is needed at run time through the memory that holds it.
        let mut memory: BTreeMap<Id, usize> = BTreeMap::new();
        for id in &ids {
            if let Some(t) = tensor(graph, *id).filter(|t| t.fixed) {
                memory.insert(*id, all.len());
                all.push(None);
                let cost = model.resident(t);
                candidates.push(vec![Candidate { term: None, needs: vec![index[id]], cost }]);
            }
        }
        for id in &ids {
            let own = &mut candidates[index[id]];
            for term in &graph[*id].nodes {
                own.extend(candidate(graph, *id, term, model, &index, &memory));
            }
            let rank = |c: &Candidate| c.term.as_ref().is_some_and(|t| original.contains(t));
            own.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(rank(b).cmp(&rank(a))).then(a.term.cmp(&b.term)));
        }
        let root = index.remove(&graph.find(root)).unwrap_or(0);
        Problem { ids: all, candidates, root }
    }

    /// The cheapest choice found, and its cost; `None` if the root can't be computed.
    pub fn solve(&self) -> Option<(f64, Choice)> {
        let (mut cost, mut choice) = self.greedy()?;
        self.moves(&mut cost, &mut choice);
        Some((cost, choice))
    }

    /// As [`solve`](Self::solve), without moves: no class and no group of classes switches because all of them would gain together.
    pub fn greedy(&self) -> Option<(f64, Choice)> {
        let trees = self.trees()?;
        let sets = if self.candidates.len() > LARGE { trees.clone() } else { self.sets(&trees) };
        let mut best: Option<(f64, Choice)> = None;
        for start in [trees, sets] {
            if let Some(cost) = self.cost(&start)
                && best.as_ref().is_none_or(|(b, _)| cost < b - EPSILON)
            {
                best = Some((cost, start));
            }
        }
        best
    }

    /// The cost of a choice, each needed class once; `None` if it needs itself.
    pub fn cost(&self, choice: &Choice) -> Option<f64> {
        // A search of our own, since petgraph's that tells of cycles is recursive, and functions may be long.
        // 0 not seen, 1 on the path, 2 done
        let mut state = vec![0u8; self.candidates.len()];
        let mut stack = vec![(self.root, 0)];
        let mut total = 0.0;
        state[self.root] = 1;
        while let Some((class, next)) = stack.pop() {
            let chosen = self.candidates[class].get(choice[class])?;
            match chosen.needs.get(next) {
                Some(need) => {
                    stack.push((class, next + 1));
                    match state[*need] {
                        0 => {
                            state[*need] = 1;
                            stack.push((*need, 0));
                        }
                        1 => return None,
                        _ => {}
                    }
                }
                None => {
                    state[class] = 2;
                    total += chosen.cost;
                }
            }
        }
        Some(total)
    }

    /// By the sum of costs over the whole tree: sharing isn't seen, but no class needs itself.
    fn trees(&self) -> Option<Choice> {
        let mut best: Vec<(f64, usize)> = vec![(f64::INFINITY, 0); self.candidates.len()];
        loop {
            let mut changed = false;
            for (class, candidates) in self.candidates.iter().enumerate() {
                for (i, c) in candidates.iter().enumerate() {
                    let total = c.cost + c.needs.iter().map(|n| best[*n].0).sum::<f64>();
                    if total < best[class].0 && total < best[class].0 * (1.0 - 1e-12) {
                        best[class] = (total, i);
                        changed = true;
                    }
                }
            }
            if !changed {
                return best[self.root].0.is_finite().then(|| best.into_iter().map(|(_, i)| i).collect());
            }
        }
    }

    /// By the set of classes that each class needs, improved from a first choice.
    fn sets(&self, first: &Choice) -> Choice {
        let n = self.candidates.len();
        let mut choice = first.clone();
        let mut sets: Vec<Option<(f64, FixedBitSet)>> = vec![None; n];
        let mut set = FixedBitSet::with_capacity(n);
        for _ in 0..PASSES {
            let mut changed = false;
            for class in 0..n {
                'candidates: for (i, c) in self.candidates[class].iter().enumerate() {
                    set.clear();
                    set.insert(class);
                    for need in &c.needs {
                        match &sets[*need] {
                            Some((_, s)) if !s.contains(class) => set.union_with(s),
                            _ => continue 'candidates,
                        }
                    }
                    let of = |k: usize| if k == class { c.cost } else { self.candidates[k][choice[k]].cost };
                    let total: f64 = set.ones().map(of).sum();
                    if sets[class].as_ref().is_none_or(|(t, _)| total < t - EPSILON) {
                        sets[class] = Some((total, set.clone()));
                        choice[class] = i;
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        choice
    }

    fn moves(&self, cost: &mut f64, choice: &mut Choice) {
        let mut users: Vec<BTreeMap<usize, usize>> = vec![BTreeMap::new(); self.candidates.len()];
        for (class, candidates) in self.candidates.iter().enumerate() {
            for (i, c) in candidates.iter().enumerate() {
                // Candidates are sorted: the first that needs it is the cheapest.
                for n in &c.needs {
                    users[*n].entry(class).or_insert(i);
                }
            }
        }
        let groups: Vec<Vec<(usize, usize)>> =
            users.into_iter().filter(|u| u.len() > 1).map(|u| u.into_iter().collect()).collect();
        for _ in 0..PASSES {
            let alone = if self.candidates.len() > LARGE { 0 } else { self.candidates.len() };
            let singles = (0..alone).flat_map(|c| (0..self.candidates[c].len()).map(move |i| vec![(c, i)]));
            let mut improved = false;
            for switch in groups.iter().cloned().chain(singles) {
                let before: Vec<(usize, usize)> = switch.iter().map(|(c, _)| (*c, choice[*c])).collect();
                if before == switch {
                    continue;
                }
                switch.iter().for_each(|(c, i)| choice[*c] = *i);
                match self.cost(choice) {
                    Some(new) if new < *cost - EPSILON => {
                        *cost = new;
                        improved = true;
                    }
                    _ => before.iter().for_each(|(c, i)| choice[*c] = *i),
                }
            }
            if !improved {
                return;
            }
        }
    }
}

fn candidate(
    graph: &Graph,
    id: Id,
    term: &Term,
    model: &Model<'_>,
    index: &BTreeMap<Id, usize>,
    memory: &BTreeMap<Id, usize>,
) -> Option<Candidate> {
    let mut term = term.clone();
    term.update_children(|c| graph.find(c));
    let fixed = tensor(graph, id).is_some_and(|t| t.fixed);
    let cost = match (&graph[id].data, &term.head) {
        (Fact::Results, _) => 0.0,
        (Fact::Tuple(ts), _) => model.term(graph, &TensorFact::of(ts.first()?.clone()), &term)?,
        (Fact::Tensor(t), _) => model.term(graph, t, &term)?,
        _ => return None,
    };
    let values = if matches!(term.head, Head::Results) { &term.children[..] } else { term.operands() };
    let mut needs = Vec::with_capacity(values.len());
    for v in values {
        needs.push(match memory.get(v) {
            // A static class is computed from static ones.
            Some(m) if !fixed => *m,
            None if fixed => return None,
            _ => *index.get(v)?,
        });
    }
    needs.sort_unstable();
    needs.dedup();
    Some(Candidate { term: Some(term), needs, cost })
}
