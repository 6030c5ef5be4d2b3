//! A function as a graph for petgraph's algorithms: an edge goes from a node to each of its operands. Nothing is copied.
//!
//! The nodes of a function stand in topological order already, so a pass that decides each node from its operands walks
//! [`nodes`](Function::nodes) once. petgraph answers what concerns a part of the graph.

use crate::{Function, NodeId};
use petgraph::visit::{Dfs, GraphBase, IntoNeighbors, NodeFiltered, Visitable, Walker};
use std::collections::{BTreeSet, HashSet};

impl GraphBase for Function {
    type NodeId = NodeId;
    /// The user, and which of its operands.
    type EdgeId = (NodeId, usize);
}

impl<'f> IntoNeighbors for &'f Function {
    type Neighbors = std::iter::Copied<std::slice::Iter<'f, NodeId>>;

    fn neighbors(self, node: NodeId) -> Self::Neighbors {
        self.node(node).operands.iter().copied()
    }
}

impl Visitable for Function {
    type Map = HashSet<NodeId>;

    fn visit_map(&self) -> Self::Map {
        HashSet::new()
    }

    fn reset_map(&self, map: &mut Self::Map) {
        map.clear();
    }
}

impl Function {
    /// These nodes and all that they need, in order.
    pub fn needs(&self, nodes: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
        self.needs_within(nodes, |_| true)
    }

    /// These nodes and what they need, in order, as far as `within` holds: where it does not, the search ends before the node.
    pub fn needs_within(
        &self,
        nodes: impl IntoIterator<Item = NodeId>,
        within: impl Fn(NodeId) -> bool,
    ) -> BTreeSet<NodeId> {
        let starts: HashSet<NodeId> = nodes.into_iter().collect();
        let part = NodeFiltered::from_fn(self, |node| starts.contains(&node) || within(node));
        let search = Dfs::from_parts(starts.iter().copied().collect(), self.visit_map());
        search.iter(&part).collect()
    }
}
