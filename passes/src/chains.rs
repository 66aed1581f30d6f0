//! Instructions of chosen basic blocks alone, for who compiles only these.
//!
//! A **chain** is a sequence of chosen blocks each of which control may fall into from the one
//! before: by the untaken way of branches, from calls on, and into JUMPDESTs.
//!
//! Whatever is chosen, a chain is what the interpreter would execute from its begin on, as far as
//! it goes; also where no instruction of the contract begins there.
//!
//! Cost: that of decoding what is chosen, and a bit for each byte of code.

use crate::decode::{Form, Instruction, decode_at};
use crate::ir::opcode::{Opcode, OpcodeSet};
use revm_primitives::hardfork::SpecId;

/// Chains of instructions.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    /// One chain after the other.
    pub instructions: Vec<Instruction>,
    /// Where each ends among these.
    pub ends: Vec<usize>,
}

/// Decodes what is chosen: chains that begin at these pcs, in their order, and go on as long as
/// `is_chosen` says so of the pc where the next block begins. No block is in two of them.
pub fn decode_chains(
    code: &[u8],
    spec: SpecId,
    foreign: OpcodeSet,
    heads: &[u32],
    is_chosen: impl Fn(usize) -> bool,
) -> Chains {
    let mut taken = vec![0u64; code.len() / 64 + 1];
    let mut take = |pc: usize| {
        let (word, bit) = (&mut taken[pc / 64], 1 << (pc % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    };
    let mut chains = Chains::default();
    for &head in heads {
        let mut pc = head as usize;
        if pc >= code.len() || !take(pc) {
            continue;
        }
        loop {
            let instruction = decode_at(code, pc, spec, foreign);
            chains.instructions.push(instruction);
            pc = instruction.end() as usize;
            let (may_go_on, ends) = match instruction.form {
                // A call or creation that fails at once goes on, too.
                Form::Branch | Form::Suspend | Form::Foreign => (true, true),
                form => (!form.ends_block(), false),
            };
            let Some(next) = code.get(pc).copied().filter(|_| may_go_on) else { break };
            let begins = ends || next == Opcode::JUMPDEST.get();
            if begins && !(is_chosen(pc) && take(pc)) {
                break;
            }
        }
        chains.ends.push(chains.instructions.len());
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pcs of each chain.
    fn chains(code: &[u8], heads: &[u32], chosen: &[usize]) -> Vec<Vec<u32>> {
        let is_chosen = |pc| chosen.contains(&pc);
        let chains = decode_chains(code, SpecId::OSAKA, OpcodeSet::ZERO, heads, is_chosen);
        let mut begin = 0;
        let of = |end: &usize| {
            let pcs = chains.instructions[begin..*end].iter().map(|instruction| instruction.pc);
            begin = *end;
            pcs.collect()
        };
        chains.ends.iter().map(of).collect()
    }

    #[test]
    fn chains_go_on_where_control_falls_into_what_is_chosen() {
        // PUSH0 PUSH1 7 JUMPI | PUSH0 STOP | (unreachable) | JUMPDEST PUSH0 | JUMPDEST STOP
        let code = [0x5f, 0x60, 7, 0x57, 0x5f, 0x00, 0xfe, 0x5b, 0x5f, 0x5b, 0x00];
        assert_eq!(chains(&code, &[0], &[0]), [vec![0, 1, 3]]);
        assert_eq!(chains(&code, &[0], &[0, 4]), [vec![0, 1, 3, 4, 5]]);
        assert_eq!(chains(&code, &[0, 7], &[0, 7]), [vec![0, 1, 3], vec![7, 8]]);
        assert_eq!(chains(&code, &[7, 0, 9], &[0, 7, 9]), [vec![7, 8, 9, 10], vec![0, 1, 3]]);
        assert_eq!(chains(&code, &[9, 7], &[7, 9]), [vec![9, 10], vec![7, 8]]);
        assert_eq!(chains(&code, &[0, 0, 99], &[0]), [vec![0, 1, 3]]);
        // CREATE | POP
        assert_eq!(chains(&[0xf0, 0x50], &[0, 1], &[0, 1]), [vec![0, 1]]);
        assert_eq!(chains(&[0xf0, 0x50], &[1, 0], &[0, 1]), [vec![1], vec![0]]);
    }

    #[test]
    fn a_chain_ends_with_the_code() {
        assert_eq!(chains(&[0x5f], &[0], &[0]), [vec![0]]);
        assert_eq!(chains(&[0x61], &[0], &[0]), [vec![0]]);
        assert_eq!(chains(&[0x5f, 0x5f, 0x57], &[0], &[0, 3]), [vec![0, 1, 2]]);
        assert!(chains(&[], &[0], &[0]).is_empty());
    }
}
