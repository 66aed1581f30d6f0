//! The control-flow graph of a program, and its text in Graphviz' language.
//!
//! One node a block, and one for all computed jumps whose target isn't known. Linear in the blocks.

use cranelift_entity::EntityRef;
use cranevm_passes::ir::{
    entities::Block,
    program::{JumpTarget, Program, Terminator},
};
use std::fmt::Write as _;

/// How one block leads to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeKind {
    /// By going on behind its end.
    Next,
    /// By a jump, or a branch that is taken.
    Jump,
    /// After a call or creation, when the frame is resumed.
    Resume,
    /// By a computed jump that is likely to lead there.
    Likely,
}

/// What becomes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// It is compiled.
    Compiled,
    /// It is compiled, and entered from outside its chunk.
    Entry,
    /// It is left to the interpreter.
    Cold,
    /// Another is compiled instead.
    Merged,
}

/// A block.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its name, its pcs, its gas and how it ends.
    pub(super) lines: [String; 3],
    pub(super) kind: NodeKind,
}

/// An edge between blocks, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) kind: EdgeKind,
}

/// The blocks by number, and the ways between them, in order of their origins.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

impl Graph {
    pub(super) fn of(program: &Program) -> Self {
        let nodes = program.blocks.keys().map(|block| node(program, block)).collect();
        let mut edges = Vec::new();
        for (block, data) in program.blocks.iter() {
            let mut add = |to: Block, kind| {
                edges.push(Edge { from: block.index(), to: to.index(), kind });
            };
            if let Some(goal) = data.merged_into.expand() {
                add(goal, EdgeKind::Next);
                continue;
            }
            if let Some(continuation) = data.terminator.continuation() {
                add(continuation, EdgeKind::Resume);
            } else if let Some(next) = data.terminator.next_block() {
                add(next, EdgeKind::Next);
            }
            if let Some(target) = data.terminator.static_target() {
                add(target, EdgeKind::Jump);
            }
            for &target in program.likely_targets(block) {
                add(target, EdgeKind::Likely);
            }
        }
        Self { nodes, edges }
    }

    /// The graph in Graphviz' language.
    pub(super) fn to_dot(&self) -> String {
        let mut text = String::from("digraph contract {\n  node [shape=box fontname=monospace];\n");
        for (number, node) in self.nodes.iter().enumerate() {
            let style = match node.kind {
                NodeKind::Compiled => "",
                NodeKind::Entry => " penwidth=2",
                NodeKind::Cold => " style=dashed",
                NodeKind::Merged => " style=dotted",
            };
            // Writing to a string can't fail. Labels have neither quotes nor backslashes.
            let _ = writeln!(text, "  b{number} [label=\"{}\"{style}];", node.lines.join("\\n"));
        }
        for Edge { from, to, kind } in &self.edges {
            let style = match kind {
                EdgeKind::Next => "",
                EdgeKind::Jump => " [color=blue]",
                EdgeKind::Resume => " [style=dashed]",
                EdgeKind::Likely => " [color=blue style=dotted]",
            };
            let _ = writeln!(text, "  b{from} -> b{to}{style};");
        }
        text.push_str("}\n");
        text
    }
}

fn node(program: &Program, block: Block) -> Node {
    let data = &program.blocks[block];
    let kind = match () {
        () if data.merged_into.is_some() => NodeKind::Merged,
        () if data.is_cold => NodeKind::Cold,
        () if data.entry.is_some() => NodeKind::Entry,
        () => NodeKind::Compiled,
    };
    let ending = match &data.terminator {
        Terminator::FallThrough(_) => "goes on".into(),
        Terminator::Jump(JumpTarget::Invalid) => "invalid jump".into(),
        Terminator::Jump(JumpTarget::Dynamic(_)) => "computed jump".into(),
        Terminator::Branch { target: JumpTarget::Dynamic(_), .. } => "computed branch".into(),
        Terminator::Jump(JumpTarget::Block(_)) => "jump".into(),
        Terminator::Branch { .. } => "branch".into(),
        Terminator::Stop { .. } => "stop".into(),
        Terminator::Exit(inst) | Terminator::Suspend { inst, .. } => {
            program.insts[*inst].opcode.to_string()
        }
        Terminator::HandOver { .. } => "hand-over".to_owned(),
    };
    let lines = [
        format!("{block} in {}", data.chunk),
        format!("{:#06x}..{:#06x}", data.pc, data.end_pc),
        format!("gas {}: {ending}", data.gas),
    ];
    Node { lines, kind }
}
