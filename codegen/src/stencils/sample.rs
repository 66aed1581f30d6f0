//! Some blocks of a contract in some order, for tests: whatever the set, code of it does what the
//! interpreter does.

use crate::{OpcodeSet, Reached};
use cranevm_passes::decode::{Form, decode};
use revm_primitives::hardfork::SpecId;

/// Five in eight of the blocks that there are.
pub(crate) fn sample(code: &[u8], spec_id: SpecId, foreign: OpcodeSet, seed: u32) -> Reached {
    let mut reached = Reached::new(code);
    let instructions = decode(code, spec_id, foreign).instructions;
    let behind = |form| instructions.iter().filter(move |i| i.form == form).map(|i| i.end());
    let is_chosen = |pc: &u32| mix(*pc, seed) % 8 < 5;
    for pc in behind(Form::Branch).filter(is_chosen) {
        reached.fall(code, pc as usize);
    }
    let jumpdests = instructions.iter().filter(|i| i.is_jumpdest()).map(|i| i.pc);
    let continuations = behind(Form::Suspend).chain(behind(Form::Foreign));
    let mut heads: Vec<_> = jumpdests.chain(continuations).filter(is_chosen).collect();
    heads.sort_unstable_by_key(|&pc| mix(pc, seed ^ 1));
    heads.into_iter().for_each(|pc| reached.enter(code, pc as usize));
    reached
}

/// A number that follows from these, as if by chance.
fn mix(pc: u32, seed: u32) -> u32 {
    let mixed = (u64::from(pc) << 32 | u64::from(seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as u32
}
