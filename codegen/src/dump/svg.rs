//! A drawing of a control-flow graph, without Graphviz.
//!
//! Blocks stand in rows by their distance from the first (those that nothing leads to begin rows of
//! their own), left to right in order of pc. Ways down are straight; ways to the same row or up are
//! curves. Good enough to find one's way in a contract of some hundred blocks; of larger ones the
//! first [`MAX_NODES`] blocks are drawn. Linear in the blocks and edges.

use super::graph::{Edge, EdgeKind, Graph, Node, NodeKind};
use std::{collections::VecDeque, fmt::Write as _};

/// Most blocks that are drawn.
const MAX_NODES: usize = 1500;

/// Most blocks in a row; what is too much goes to the next.
const MAX_IN_ROW: usize = 12;

const WIDTH: usize = 190;
const HEIGHT: usize = 58;
const GAP_X: usize = 30;
const GAP_Y: usize = 54;
const MARGIN: usize = 40;

/// Draws a graph as an SVG file.
pub(super) fn draw(graph: &Graph) -> String {
    let count = graph.nodes.len().min(MAX_NODES);
    let edges: Vec<Edge> =
        graph.edges.iter().copied().filter(|edge| edge.from < count && edge.to < count).collect();
    let places = place(count, &edges);
    let rows = places.iter().map(|place| place.row + 1).max().unwrap_or(0);
    let columns = places.iter().map(|place| place.column + 1).max().unwrap_or(0);
    let width = 2 * MARGIN + columns * (WIDTH + GAP_X);
    let height = 2 * MARGIN + rows * (HEIGHT + GAP_Y);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"12\">\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    if count < graph.nodes.len() {
        // Writing to a string can't fail, here and below.
        let note = format!("the first {count} of {} blocks", graph.nodes.len());
        let _ = writeln!(text, "<text x=\"{MARGIN}\" y=\"20\">{note}</text>");
    }
    edges.iter().for_each(|edge| draw_edge(&mut text, edge, &places));
    for (node, place) in graph.nodes.iter().zip(&places) {
        draw_node(&mut text, node, place);
    }
    text.push_str("</svg>\n");
    text
}

/// Where a block is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    row: usize,
    column: usize,
}

impl Place {
    fn x(&self) -> usize {
        MARGIN + self.column * (WIDTH + GAP_X)
    }

    fn y(&self) -> usize {
        MARGIN + self.row * (HEIGHT + GAP_Y)
    }
}

/// Puts the blocks into rows.
fn place(count: usize, edges: &[Edge]) -> Vec<Place> {
    let levels = levels(count, edges);
    let mut by_level: Vec<usize> = (0..count).collect();
    by_level.sort_by_key(|&node| levels[node]);
    let mut places = vec![Place::default(); count];
    let mut row = 0;
    for level in by_level.chunk_by(|&a, &b| levels[a] == levels[b]) {
        for part in level.chunks(MAX_IN_ROW) {
            for (column, &node) in part.iter().enumerate() {
                places[node] = Place { row, column };
            }
            row += 1;
        }
    }
    places
}

/// The distance of each block from the first, or from one that nothing before leads to.
fn levels(count: usize, edges: &[Edge]) -> Vec<usize> {
    let mut levels = vec![None; count];
    let (mut queue, mut next_level) = (VecDeque::new(), 0);
    for root in 0..count {
        if levels[root].is_none() {
            levels[root] = Some(next_level);
            queue.push_back(root);
        }
        while let Some(node) = queue.pop_front() {
            let level = levels[node].unwrap_or(0) + 1;
            next_level = next_level.max(level);
            // The edges are in order of their origins.
            let start = edges.partition_point(|edge| edge.from < node);
            for edge in edges[start..].iter().take_while(|edge| edge.from == node) {
                if levels[edge.to].is_none() {
                    levels[edge.to] = Some(level);
                    queue.push_back(edge.to);
                }
            }
        }
        next_level += 1;
    }
    levels.into_iter().map(Option::unwrap_or_default).collect()
}

fn draw_node(text: &mut String, node: &Node, place: &Place) {
    let (x, y) = (place.x(), place.y());
    let (fill, stroke) = match node.kind {
        NodeKind::Compiled => ("#ffffff", "stroke=\"black\""),
        NodeKind::Entry => ("#e6f0ff", "stroke=\"black\" stroke-width=\"2\""),
        NodeKind::Cold => ("#eeeeee", "stroke=\"gray\" stroke-dasharray=\"6 3\""),
        NodeKind::Merged => ("#f8f8f8", "stroke=\"gray\" stroke-dasharray=\"2 3\""),
    };
    let _ = writeln!(
        text,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"{fill}\" {stroke}/>"
    );
    for (index, line) in node.lines.iter().enumerate() {
        let at = y + 17 + 16 * index;
        let _ = writeln!(text, "<text x=\"{}\" y=\"{at}\">{line}</text>", x + 8);
    }
}

fn draw_edge(text: &mut String, edge: &Edge, places: &[Place]) {
    let (from, to) = (places[edge.from], places[edge.to]);
    let (x0, y0) = (from.x() + WIDTH / 2, from.y() + HEIGHT);
    let (x1, y1) = (to.x() + WIDTH / 2, to.y());
    let path = if to.row > from.row {
        format!("M{x0} {y0}L{x1} {y1}")
    } else {
        // Out at the bottom, around the right side, and in at the top.
        let side = from.x().max(to.x()) + WIDTH + GAP_X;
        let (below, above) = (y0 + GAP_Y, y1.saturating_sub(GAP_Y));
        format!("M{x0} {y0}C{side} {below} {side} {above} {x1} {y1}")
    };
    let style = match edge.kind {
        EdgeKind::Next => "stroke=\"black\"",
        EdgeKind::Jump => "stroke=\"blue\"",
        EdgeKind::Resume => "stroke=\"black\" stroke-dasharray=\"6 3\"",
        EdgeKind::Likely => "stroke=\"blue\" stroke-dasharray=\"2 3\"",
    };
    let _ = writeln!(text, "<path d=\"{path}\" fill=\"none\" {style} marker-end=\"url(#arrow)\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: usize, to: usize) -> Edge {
        Edge { from, to, kind: EdgeKind::Next }
    }

    #[test]
    fn blocks_stand_below_those_that_lead_to_them() {
        // A diamond, a loop back, and a block that nothing leads to.
        let edges = [edge(0, 1), edge(0, 2), edge(1, 3), edge(2, 3), edge(3, 0), edge(4, 3)];
        let places = place(5, &edges);
        let rows: Vec<usize> = places.iter().map(|place| place.row).collect();
        assert_eq!(rows[..4], [0, 1, 1, 2]);
        assert!(rows[4] > 2);
        assert_ne!(places[1], places[2]);
    }

    #[test]
    fn no_two_blocks_are_at_one_place() {
        let wide: Vec<Edge> = (1..100).map(|to| edge(0, to)).collect();
        let mut places = place(100, &wide);
        places.sort_by_key(|place| (place.row, place.column));
        places.dedup();
        assert_eq!(places.len(), 100);
        assert!(places.iter().all(|place| place.column < MAX_IN_ROW));
    }
}
