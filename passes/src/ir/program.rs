//! The analysed program: what the passes produce and the translator reads.
//!
//! A [`Program`] is a set of entity maps. Blocks are in order of pc, but for clones; the
//! instructions of a block are contiguous; the blocks of a chunk are contiguous, and so are its
//! entries. Within a block the EVM stack is lifted to [`Value`]s: `PUSH`, `DUP`, `SWAP`, `POP` and
//! their kin leave no instruction, only a final stack layout ([`BlockData::outputs`]). Between
//! blocks the stack is in memory.
//!
//! **Stack slots** are counted from the height at the block's entry: slot `-1` is the top
//! word at entry, `-2` the one below, slot `0` the first word pushed above it.

#[cfg(test)]
mod tests;

use super::entities::{Block, Chunk, Entry, Inst, Value};
use super::opcode::Opcode;
use alloy_primitives::U256;
use cranelift_entity::{PrimaryMap, packed_option::PackedOption};
use revm_primitives::hardfork::SpecId;

/// Most targets that are predicted for a jump.
pub const MAX_LIKELY_TARGETS: usize = 8;

/// Offsets from here on don't count as [`Program::initial_memory`]: real code begins with low ones.
const MAX_INITIAL_MEMORY: u32 = 1 << 16;

/// An analysed contract, ready for translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The fork whose opcodes and static gas the analysis used.
    pub spec_id: SpecId,
    /// Bytes of bytecode, without padding.
    pub code_len: u32,
    /// Basic blocks, in order of pc, a block's clones after it. The first is the contract's start.
    pub blocks: PrimaryMap<Block, BlockData>,
    /// Instructions of all blocks.
    pub insts: PrimaryMap<Inst, InstData>,
    /// Values of all blocks. A value is used only in the block that defines it.
    pub values: PrimaryMap<Value, ValueData>,
    /// Pool of instruction arguments.
    pub arg_pool: Vec<Value>,
    /// Pool of stack outputs.
    pub output_pool: Vec<Output>,
    /// Pool of likely jump targets.
    pub target_pool: Vec<Block>,
    /// Entry points, ordered by chunk, the block entered, and then by pc. Ordinal 0 is the
    /// contract's start. A JUMPDEST without one is entered by static jumps in its chunk only.
    pub entries: PrimaryMap<Entry, EntryData>,
    /// Units of compilation, in order of their first block.
    pub chunks: PrimaryMap<Chunk, ChunkData>,
    /// Opcodes decoded, unreachable ones included.
    pub opcode_count: u32,
}

impl Program {
    /// What is said of a contract that was compiled without an analysis: nothing is in it.
    pub fn without_blocks(spec_id: SpecId, code_len: u32, opcode_count: u32) -> Self {
        Self {
            spec_id,
            code_len,
            blocks: PrimaryMap::new(),
            insts: PrimaryMap::new(),
            values: PrimaryMap::new(),
            arg_pool: Vec::new(),
            output_pool: Vec::new(),
            target_pool: Vec::new(),
            entries: PrimaryMap::new(),
            chunks: PrimaryMap::new(),
            opcode_count,
        }
    }
}

/// A half-open range of keys or pool indices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First index.
    pub start: u32,
    /// One past the last index.
    pub end: u32,
}

/// A basic block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockData {
    /// Offset of the first byte in the bytecode.
    pub pc: u32,
    /// Offset one past the last byte of the first segment's last instruction (immediates included),
    /// at most `code_len`. An opcode that hands over counts as one byte.
    pub end_pc: u32,
    /// The block's instructions, as indices of [`Inst`]. The one of an `Exit` or `Suspend`
    /// terminator is the last.
    pub insts: Span,
    /// Slots whose content at the end differs from what memory held at entry, in
    /// `output_pool`, ascending by slot. For a block that ends in [`Terminator::Suspend`]
    /// or [`Terminator::Exit`] the layout is the one *before* the last instruction, arguments
    /// included.
    pub outputs: Span,
    /// Where the block's computed jump is likely to go, in `target_pool`; see
    /// [`Program::likely_targets`].
    pub likely_targets: Span,
    /// What the block needs of the stack and does to it.
    pub stack: StackEffect,
    /// Static gas of all the block's instructions, charged at its start. An instruction that
    /// hands over ([`Terminator::HandOver`]) isn't included.
    pub gas: u64,
    /// How the block ends.
    pub terminator: Terminator,
    /// The entry point at this block's start, if any.
    pub entry: PackedOption<Entry>,
    /// The chunk the block belongs to.
    pub chunk: Chunk,
    /// Whether the block begins with a JUMPDEST, hence is a valid jump target.
    pub is_jumpdest: bool,
    /// Whether the block is a copy that one other block of the program leads to.
    pub is_clone: bool,
    /// Whether the block isn't compiled, for it is unlikely to run: whatever leads to it hands
    /// over.
    pub is_cold: bool,
    /// The identical block that is entered and translated instead of this one, if any. Nothing
    /// but this block's entry point, which leads there too, refers to this block then.
    pub merged_into: PackedOption<Block>,
}

/// Stack bounds of a block, in words relative to the height at its entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackEffect {
    /// Words that must be on the stack at entry.
    pub needed: u16,
    /// Highest height reached above the one at entry.
    pub growth: u16,
    /// Height at the end minus height at entry. For a `Suspend` or `Exit` block: before the
    /// last instruction pops its arguments.
    pub delta: i16,
}

/// The value of one stack slot at the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Slot relative to the height at entry; see the module documentation.
    pub slot: i16,
    /// Its content.
    pub value: Value,
}

/// How a block ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terminator {
    /// Goes on with another block.
    FallThrough(Block),
    /// `JUMP`.
    Jump(JumpTarget),
    /// `JUMPI`: to `target` when `condition` is not zero, else to `otherwise`.
    Branch {
        /// The condition word.
        condition: Value,
        /// Where a taken branch goes.
        target: JumpTarget,
        /// Where an untaken branch goes.
        otherwise: Block,
    },
    /// `STOP`, or the end of the code.
    Stop {
        /// Offset of the opcode, or of the byte behind the code's last instruction. Where that is a
        /// PUSH that lacks bytes, it is beyond the code.
        pc: u32,
    },
    /// `RETURN`, `REVERT` or `SELFDESTRUCT`: the delegated instruction ends the frame.
    Exit(Inst),
    /// `CALL*` or `CREATE*`: the delegated instruction suspends the frame (or pushes its result
    /// at once); execution goes on at the continuation, which is an entry point.
    Suspend {
        /// The suspending instruction.
        inst: Inst,
        /// Where the frame resumes.
        continuation: Block,
    },
    /// The opcode at `pc` isn't compiled (unknown, not activated, INVALID, an undecodable
    /// immediate, foreign): the interpreter goes on there. Its static gas isn't charged.
    HandOver {
        /// Offset of the opcode.
        pc: u32,
        /// Where the frame is expected to go on natively, an entry point, if the opcode is foreign.
        continuation: PackedOption<Block>,
    },
}

/// Where a jump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JumpTarget {
    /// A block that begins with JUMPDEST, or a clone of one.
    Block(Block),
    /// A target computed at run time.
    Dynamic(Value),
    /// A constant that isn't a JUMPDEST: the jump fails.
    Invalid,
}

/// How many jumps a program has, by what is known of their targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JumpStats {
    /// To a constant.
    pub constant: u32,
    /// Computed, with likely targets.
    pub resolved: u32,
    /// Computed, of which nothing is known.
    pub unresolved: u32,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstData {
    /// The EVM opcode.
    pub opcode: Opcode,
    /// Offset of the opcode in the bytecode.
    pub pc: u32,
    /// Arguments, top of stack first, in `arg_pool`.
    pub args: Span,
    /// The pushed value, if the opcode pushes one within the block. A suspending instruction
    /// has none: its result is found on the stack in memory, at the continuation.
    pub result: PackedOption<Value>,
    /// Height of the stack just before this instruction, arguments included, relative to
    /// the block's entry: the first argument is in slot `height - 1`.
    pub height: i16,
    /// Static gas of the block's instructions after this one, vanished ones included.
    pub gas_after: u64,
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueData {
    /// The definition.
    pub def: ValueDef,
    /// Uses as an argument, condition, jump target or output.
    pub uses: u32,
    /// The value is less than `2^bits`.
    pub bits: u16,
}

/// The definition of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueDef {
    /// The word in this slot at the block's entry; always negative.
    Input(i16),
    /// A constant, also one folded from `PC` or `CODESIZE`.
    Const(U256),
    /// The result of an instruction.
    Result(Inst),
    /// The result of an instruction that was dropped because nobody uses it.
    Unused,
}

/// An entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryData {
    /// The block entered.
    pub block: Block,
    /// The pc entered at: the block's, or that of a block merged into it.
    pub pc: u32,
    /// Whether a jump may go here.
    pub is_jumpdest: bool,
    /// Whether a frame begins here (the contract's start) or a suspended one resumes here.
    pub is_continuation: bool,
}

/// A unit of compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkData {
    /// Its blocks, cold ones included, as indices of [`Block`].
    pub blocks: Span,
    /// Its entry points, as indices of [`Entry`]. Includes every block that another chunk
    /// goes to.
    pub entries: Span,
    /// Opcodes in its blocks that are compiled.
    pub opcodes: u32,
}

impl BlockData {
    /// Whether the block is translated.
    pub fn is_compiled(&self) -> bool {
        !self.is_cold && self.merged_into.is_none()
    }
}

impl Program {
    /// The arguments of an instruction, top of stack first.
    pub fn args(&self, inst: Inst) -> &[Value] {
        let span = self.insts[inst].args;
        &self.arg_pool[span.start as usize..span.end as usize]
    }

    /// The stack outputs of a block, ascending by slot.
    pub fn outputs(&self, block: Block) -> &[Output] {
        let span = self.blocks[block].outputs;
        &self.output_pool[span.start as usize..span.end as usize]
    }

    /// Blocks that the computed jump of a block is likely to go to, ascending; none if it has no
    /// such jump, or nothing is known. The jump may go anywhere else. A target may be merged: then
    /// its pc is its own, and execution goes on at its [`goal`](Self::goal).
    pub fn likely_targets(&self, block: Block) -> &[Block] {
        let span = self.blocks[block].likely_targets;
        &self.target_pool[span.start as usize..span.end as usize]
    }

    /// Sets the likely targets: by block, its part of the pool.
    pub(crate) fn set_likely_targets(&mut self, spans: Vec<Span>, pool: Vec<Block>) {
        for (data, span) in self.blocks.values_mut().zip(spans) {
            data.likely_targets = span;
        }
        self.target_pool = pool;
    }

    /// Counts the jumps of all blocks that are compiled.
    pub fn jump_stats(&self) -> JumpStats {
        let mut stats = JumpStats::default();
        for (block, data) in self.blocks.iter().filter(|(_, data)| data.is_compiled()) {
            let target = match data.terminator {
                Terminator::Jump(target) | Terminator::Branch { target, .. } => target,
                _ => continue,
            };
            let is_resolved = !self.likely_targets(block).is_empty();
            let counter = match target {
                JumpTarget::Dynamic(_) if is_resolved => &mut stats.resolved,
                JumpTarget::Dynamic(_) => &mut stats.unresolved,
                JumpTarget::Block(_) | JumpTarget::Invalid => &mut stats.constant,
            };
            *counter += 1;
        }
        stats
    }

    /// The instructions of a block, in order.
    pub fn block_insts(&self, block: Block) -> impl DoubleEndedIterator<Item = Inst> + use<> {
        let span = self.blocks[block].insts;
        (span.start..span.end).map(Inst::from_u32)
    }

    /// The blocks of a chunk, in order of pc.
    pub fn chunk_blocks(&self, chunk: Chunk) -> impl DoubleEndedIterator<Item = Block> + use<> {
        let span = self.chunks[chunk].blocks;
        (span.start..span.end).map(Block::from_u32)
    }

    /// The blocks that a jump may lead to but that have no entry point: the interpreter goes on
    /// there.
    pub fn absent_targets(&self) -> impl Iterator<Item = &BlockData> {
        self.blocks.values().filter(|data| data.is_jumpdest && data.entry.is_none())
    }

    /// Bytes of memory that there are wherever compiled code is, but in the first block: what that
    /// block accesses at constant offsets.
    ///
    /// Who comes from the first block has executed all of it, and memory never shrinks. Who comes
    /// from outside may not have: such a frame is entered only if its memory reaches so far.
    pub fn initial_memory(&self) -> u32 {
        let mut len = 0;
        for inst in self.block_insts(Block::from_u32(0)) {
            let width = match self.insts[inst].opcode {
                Opcode::MLOAD | Opcode::MSTORE => 32,
                Opcode::MSTORE8 => 1,
                _ => continue,
            };
            let offset = self.as_const(self.args(inst)[0]).and_then(|at| u32::try_from(at).ok());
            let offset = offset.filter(|&offset| offset < MAX_INITIAL_MEMORY);
            len = len.max(offset.map_or(0, |offset| offset + width));
        }
        len.next_multiple_of(32)
    }

    /// The block that an edge to this one leads to: itself unless it is merged into another.
    pub fn goal(&self, block: Block) -> Block {
        self.blocks[block].merged_into.expand().unwrap_or(block)
    }

    /// The constant that a value is, if it is one.
    pub fn as_const(&self, value: Value) -> Option<U256> {
        match self.values[value].def {
            ValueDef::Const(word) => Some(word),
            _ => None,
        }
    }
}

impl Terminator {
    /// The block that this one goes on with other than by a jump, if it does.
    pub const fn next_block(&self) -> Option<Block> {
        match *self {
            Self::FallThrough(next)
            | Self::Branch { otherwise: next, .. }
            | Self::Suspend { continuation: next, .. } => Some(next),
            _ => None,
        }
    }

    /// The block that a jump or a taken branch goes to, if it is known.
    pub const fn static_target(&self) -> Option<Block> {
        match *self {
            Self::Jump(JumpTarget::Block(target))
            | Self::Branch { target: JumpTarget::Block(target), .. } => Some(target),
            _ => None,
        }
    }

    /// The values used: a branch's condition, a computed target.
    pub fn values(&self) -> impl Iterator<Item = Value> + use<> {
        let (condition, target) = match *self {
            Self::Jump(target) => (None, Some(target)),
            Self::Branch { condition, target, .. } => (Some(condition), Some(target)),
            _ => (None, None),
        };
        let target = match target {
            Some(JumpTarget::Dynamic(value)) => Some(value),
            _ => None,
        };
        condition.into_iter().chain(target)
    }

    /// The block at which the frame resumes after the interpreter has executed what ends this one.
    pub fn continuation(&self) -> Option<Block> {
        match *self {
            Self::Suspend { continuation, .. } => Some(continuation),
            Self::HandOver { continuation, .. } => continuation.expand(),
            _ => None,
        }
    }
}

impl Span {
    /// Number of indices in the range.
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the range is empty.
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}
