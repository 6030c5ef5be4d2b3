//! Where everything goes: ops in layers within their box, boxes in layers within their panel.

use super::{KernelBox, OpLabel, Panel};
use rust_sugiyama::{configure::Config, from_vertices_and_edges};

/// Width of a character of the labels.
pub const CHARACTER: f64 = 6.1;
/// Height of an op.
pub const OP_HEIGHT: f64 = 28.0;
/// Height of a box's title, and its margin.
pub const TITLE: f64 = 20.0;
const MARGIN: f64 = 8.0;
const OP_SPACING: f64 = 12.0;
const BOX_SPACING: f64 = 26.0;

/// A rectangle: the left upper corner, and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// A panel laid out.
pub struct Layout {
    /// Of each box, in the panel.
    pub boxes: Vec<Place>,
    /// Of each op of each box, in the panel.
    pub ops: Vec<Vec<Place>>,
    pub width: f64,
    pub height: f64,
}

pub fn panel(panel: &Panel) -> Layout {
    let inner: Vec<(Vec<Place>, f64, f64)> = panel.boxes.iter().map(ops).collect();
    let sizes: Vec<(f64, f64)> = panel
        .boxes
        .iter()
        .zip(&inner)
        .map(|(b, (_, width, height))| {
            let title = b.heading().chars().count() as f64 * CHARACTER;
            let top = if b.title.is_empty() { 0.0 } else { TITLE };
            (width.max(title) + 2.0 * MARGIN, height + 2.0 * MARGIN + top)
        })
        .collect();
    let (boxes, width, height) = layers(&sizes, &panel.edges, BOX_SPACING);
    let moved = |(b, place): (usize, &Place)| {
        let (ops, width, _) = &inner[b];
        let top = if panel.boxes[b].title.is_empty() { 0.0 } else { TITLE };
        let (dx, dy) = (place.x + (place.width - width) / 2.0, place.y + MARGIN + top);
        ops.iter().map(|o| Place { x: o.x + dx, y: o.y + dy, ..*o }).collect()
    };
    let ops = boxes.iter().enumerate().map(moved).collect();
    Layout { boxes, ops, width, height }
}

fn ops(kernel: &KernelBox) -> (Vec<Place>, f64, f64) {
    let size = |o: &OpLabel| {
        let longest = o.name.chars().count().max(o.detail.chars().count());
        (longest as f64 * CHARACTER + 10.0, OP_HEIGHT)
    };
    let sizes: Vec<(f64, f64)> = kernel.ops.iter().map(size).collect();
    layers(&sizes, &kernel.edges, OP_SPACING)
}

/// Vertices of these sizes, operands above their users; parts that nothing connects stand side by side. With the whole's width and height.
fn layers(sizes: &[(f64, f64)], edges: &[(usize, usize)], spacing: f64) -> (Vec<Place>, f64, f64) {
    let vertices: Vec<(u32, (f64, f64))> = sizes.iter().enumerate().map(|(i, s)| (i as u32, *s)).collect();
    let edges: Vec<(u32, u32)> = edges.iter().map(|(a, b)| (*a as u32, *b as u32)).collect();
    let config = Config { vertex_spacing: spacing, ..Config::default() };
    let mut places = vec![Place::default(); sizes.len()];
    let (mut right, mut height) = (0.0f64, 0.0f64);
    for (part, ..) in from_vertices_and_edges(&vertices, &edges, &config) {
        // The library gives centres.
        let corner = |(i, (x, y)): &(usize, (f64, f64))| (x - sizes[*i].0 / 2.0, y - sizes[*i].1 / 2.0);
        let left = part.iter().map(|v| corner(v).0).fold(f64::INFINITY, f64::min);
        let top = part.iter().map(|v| corner(v).1).fold(f64::INFINITY, f64::min);
        let start = if right > 0.0 { right + spacing } else { 0.0 };
        for v in &part {
            let ((x, y), (width, own)) = (corner(v), sizes[v.0]);
            let place = Place { x: x - left + start, y: y - top, width, height: own };
            right = right.max(place.x + width);
            height = height.max(place.y + own);
            places[v.0] = place;
        }
    }
    (places, right, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_stand_below_their_operands_and_nothing_overlaps() {
        let sizes: Vec<(f64, f64)> =
            (0..9).map(|i| (40.0 + 30.0 * f64::from(i % 3), 20.0 + 15.0 * f64::from(i % 4))).collect();
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (0, 4), (5, 6), (6, 7)];
        let (places, width, height) = layers(&sizes, &edges, 10.0);
        for (a, b) in edges {
            assert!(places[a].y + places[a].height <= places[b].y, "{a} above {b}: {places:?}");
        }
        for (i, a) in places.iter().enumerate() {
            assert!(a.x >= 0.0 && a.y >= 0.0 && a.x + a.width <= width + 1e-6 && a.y + a.height <= height + 1e-6);
            for b in &places[i + 1..] {
                let apart =
                    a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
                assert!(apart, "{a:?} and {b:?}");
            }
        }
    }
}
