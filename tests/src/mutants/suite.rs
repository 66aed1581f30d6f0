//! The programs that should show a wrong entry: its opcode between others that owe gas, tell gas
//! or the size of memory, move words, begin and end blocks.

use crate::{
    case::Case,
    check::Checker,
    engines::NativeSettings,
    programs::{
        one_byte::{calldata, one_byte, operand_sets},
        opcodes::{activation, available},
        values::PEERS,
    },
    small::{Bench, Effort, Finding},
};
use alloy_primitives::hex;
use cranevm_passes::{
    PassOptions, analyze,
    ir::{
        opcode::{
            Opcode,
            overrides::{Change, Mutant},
        },
        program::Terminator,
    },
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

/// What is executed before the opcode.
const BEFORE: [&[u8]; 5] =
    [&[], &[DUP1, SLOAD, POP], &[JUMPDEST], &[PUSH1, 64, MLOAD, POP], &[CALLDATASIZE, DUP1]];

/// What is executed after it.
const AFTER: [&[u8]; 7] = [
    &[],
    &[ISZERO, ISZERO, JUMPDEST, PUSH1, 0, POP],
    &[DUP1, SLOAD, POP],
    &[MSIZE],
    &[GAS],
    &[POP, POP],
    &[SWAP1, DUP2],
];

/// Ways to the opcode's operands: what lies there, small constants, a word that isn't known.
const OPERANDS: [&[u8]; 4] = [&[], &[PUSH1, 0], &[PUSH1, 40], &[CALLDATASIZE]];

/// What all end with: somewhere to jump to, and some gas that is charged ahead.
const END: [u8; 44] = [JUMPDEST; 44];

/// Immediates, for those that read them.
const IMMEDIATE: [u8; 34] = [0x80; 34];

/// Words to which DUPN, SWAPN and EXCHANGE reach with that immediate (EIP-8024).
const DEEP: usize = 18;

/// What of a mutant a program shows, if one does.
pub fn find(mutant: Mutant) -> Option<String> {
    mutant.apply();
    let opcode = mutant.opcode.get();
    let specs = specs(mutant);
    let leaves = || specs.iter().find_map(|&spec| leaves_natively(opcode, spec));
    leaves().or_else(|| specs.iter().find_map(|&spec| in_frames(opcode, spec))).or_else(|| {
        let checker = Checker::of([NativeSettings::BASELINE, NativeSettings::OPTIMISED]);
        specs.iter().find_map(|&spec| in_transactions(opcode, spec, &checker))
    })
}

/// What the programs show of an opcode that is as it should be: nothing.
pub fn find_nothing(opcode: Opcode) -> Option<String> {
    let (opcode, spec) = (opcode.get(), SpecId::AMSTERDAM);
    leaves_natively(opcode, spec).or_else(|| in_frames(opcode, spec))
}

/// The forks in which a mutant may show.
fn specs(mutant: Mutant) -> Vec<SpecId> {
    let since = activation(mutant.opcode.get()).unwrap_or(SpecId::FRONTIER);
    match mutant.change {
        Change::Since(changed) => vec![since.min(changed)],
        Change::Gas(spec, _) => vec![spec],
        _ => vec![since.max(SpecId::OSAKA), SpecId::AMSTERDAM],
    }
}

/// A difference between frames, or that none ended natively.
fn in_frames(opcode: u8, spec: SpecId) -> Option<String> {
    let inputs = OpCode::new(opcode).map_or(0, |opcode| usize::from(opcode.inputs()));
    let reach = if matches!(opcode, DUPN | SWAPN | EXCHANGE) { DEEP } else { inputs };
    let effort = Effort { low: reach + 3, limits: 40, always: 2 };
    let mut bench = Bench::new(spec);
    for (turn, code) in programs(opcode).iter().enumerate() {
        bench.run(code, effort, turn);
        if turn % 8 == 0 && bench.differs() {
            break;
        }
    }
    let found = bench.summary().findings.into_iter().next();
    found.map(|Finding { code, text }| format!("{}: {text}", hex::encode(code)))
}

/// Whether compiled code goes back to who entered it where it should go on by itself.
fn leaves_natively(opcode: u8, spec: SpecId) -> Option<String> {
    let calls = [CREATE, CREATE2, CALL, CALLCODE, DELEGATECALL, STATICCALL];
    if opcode == INVALID || !available(opcode, spec) {
        return None;
    }
    let options = PassOptions { spec_id: spec, compile_all: true, ..PassOptions::default() };
    let program = match analyze(&[&[opcode][..], &IMMEDIATE].concat(), &options) {
        Ok(program) => program,
        Err(error) => return Some(error.to_string()),
    };
    let first = &program.blocks.values().next()?.terminator;
    let leaves = match first {
        Terminator::HandOver { .. } => true,
        Terminator::Suspend { .. } => !calls.contains(&opcode),
        _ => false,
    };
    leaves.then(|| format!("in {spec:?} it ends in {first:?}"))
}

/// The small programs of an opcode.
fn programs(opcode: u8) -> Vec<Vec<u8>> {
    let info = OpCode::new(opcode);
    let inputs = info.map_or(0, |opcode| usize::from(opcode.inputs()));
    let immediate = info.map_or(0, |opcode| usize::from(opcode.info().immediate_size()));
    let instruction = [&[opcode][..], &IMMEDIATE[..immediate]].concat();
    let ways = if inputs == 0 { 1 } else { OPERANDS.len() };
    let mut programs = Vec::new();
    for before in BEFORE {
        for operand in &OPERANDS[..ways] {
            for after in AFTER {
                let operands = operand.repeat(inputs.min(7));
                programs.push([before, &operands, &instruction, after, &END].concat());
            }
        }
    }
    // Twice, and in a block of its own that is jumped to.
    let twice = [instruction.clone(), instruction.clone(), END.to_vec()].concat();
    let jumped = [&[PUSH1, 4, JUMP, STOP, JUMPDEST][..], &instruction, &END].concat();
    // What looks like a jump's target after it, and isn't one.
    let hidden = [&[PUSH1, 1, PUSH1, 0, JUMPI][..], &instruction, &[PUSH1, JUMPDEST], &END];
    let mut hidden = hidden.concat();
    hidden[3] = (6 + instruction.len()) as u8;
    programs.extend([twice, jumped, hidden, instruction]);
    programs
}

/// A difference between transactions.
fn in_transactions(opcode: u8, spec: SpecId, checker: &Checker) -> Option<String> {
    let peer = [CALLER, CALLVALUE, ADD, PUSH1, 0, MSTORE, PUSH1, 32, PUSH1, 0, RETURN];
    for operands in operand_sets() {
        for constant in [false, true] {
            let code = one_byte(opcode, &operands, constant);
            let case = Case::new(spec, code).contract(PEERS[0], peer).data(calldata(&operands));
            if let Some(mismatch) = checker.find_mismatch(&case) {
                return Some(format!("{}: {}", mismatch.engine, mismatch.diff));
            }
        }
    }
    None
}
