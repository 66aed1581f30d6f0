//! Every opcode, on every fork, with constant and with loaded operands, at edge values.

use alloy_primitives::U256;
use cranevm_tests::{
    assembly::Assembly,
    case::{Case, all_specs},
    check::Checker,
    engines::NativeSettings,
    parallel,
    programs::{
        one_byte::{calldata, one_byte, operand_sets},
        opcodes::{NULLARY, OF_ADDRESS, PURE, available},
        values::{PEERS, edges, few_edges},
    },
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

/// What runs straight-line code: hand-overs have nothing to add.
fn checker() -> Checker {
    Checker::of([NativeSettings::BASELINE, NativeSettings::OPTIMISED])
}

/// Opcodes of one and more operands whose results a program collects.
fn computing_opcodes() -> Vec<(u8, usize)> {
    let of_address = OF_ADDRESS.iter().map(|&(opcode, _)| (opcode, 1));
    let memory = [(MLOAD, 1), (KECCAK256, 2)];
    let pure = PURE.iter().map(|&(opcode, operands, _)| (opcode, operands));
    pure.chain(of_address).chain(memory).collect()
}

/// A program that applies `opcode` to every combination of `values`, and returns all results
/// followed by the gas left. Operand `i` is a constant if bit `i` of `constant` is set, else it is
/// loaded from calldata, which must hold `values`.
fn all_combinations(opcode: u8, operands: usize, constant: u32, values: &[U256]) -> Vec<u8> {
    let mut asm = Assembly::new();
    let combinations = values.len().pow(operands as u32);
    for index in 0..combinations {
        for operand in (0..operands).rev() {
            let value = index / values.len().pow(operand as u32) % values.len();
            asm = if constant >> operand & 1 == 1 {
                asm.push(values[value])
            } else {
                asm.push(32 * value).op(CALLDATALOAD)
            };
        }
        asm = asm.op(opcode).push(32 * index).op(MSTORE);
    }
    let end = 32 * combinations;
    asm.op(GAS).push(end).op(MSTORE).push(end + 32).push(0).op(RETURN).code()
}

/// Operands that make sense for opcodes that read memory: others would only run out of gas.
fn usable(opcode: u8, values: Vec<U256>) -> Vec<U256> {
    let bound = U256::from(1 << 16);
    let reads_memory = matches!(opcode, MLOAD | KECCAK256);
    values.into_iter().filter(|value| !reads_memory || *value < bound).collect()
}

fn run_matrix(jobs: &[(u8, usize, SpecId, Vec<U256>)]) {
    parallel::for_each(jobs.len(), checker, |checker, job| {
        let (opcode, operands, spec, ref values) = jobs[job];
        for constant in 0..1 << operands {
            let code = all_combinations(opcode, operands, constant, values);
            checker.check(&Case::new(spec, code).data(calldata(values)).gas(30_000_000));
        }
        checker.clear();
    });
}

#[test]
fn results_at_all_edges_on_the_newest_fork() {
    let jobs: Vec<_> = computing_opcodes()
        .into_iter()
        .map(|(opcode, operands)| {
            let values = match operands {
                1 => edges(),
                2 => few_edges(),
                _ => [0, 1, 5]
                    .map(U256::from)
                    .into_iter()
                    .chain([U256::MAX, U256::ONE << 255])
                    .collect(),
            };
            (opcode, operands, SpecId::NEXT, usable(opcode, values))
        })
        .collect();
    run_matrix(&jobs);
}

#[test]
fn results_at_few_edges_on_every_fork() {
    let values = || [U256::ZERO, U256::from(33), U256::ONE << 255, U256::MAX].to_vec();
    let of_fork = |spec| {
        computing_opcodes().into_iter().map(move |(opcode, operands)| {
            let values = if operands > 2 { values()[1..].to_vec() } else { values() };
            (opcode, operands, spec, usable(opcode, values))
        })
    };
    run_matrix(&all_specs().flat_map(of_fork).collect::<Vec<_>>());
}

#[test]
fn environment_on_every_fork() {
    let specs: Vec<_> = all_specs().collect();
    parallel::for_each(specs.len(), Checker::new, |checker, job| {
        for (opcode, _) in NULLARY {
            let code = Assembly::new().op(opcode).op(opcode).op(ADD).return_top().code();
            checker.check(&Case::new(specs[job], code).data([1, 2, 3]));
        }
    });
}

#[test]
fn every_byte_on_every_fork() {
    let specs: Vec<_> = all_specs().collect();
    let peer = Assembly::new().op(CALLER).op(CALLVALUE).op(ADD).return_top().code();
    parallel::for_each(specs.len() * 256, checker, |checker, job| {
        let (spec, byte) = (specs[job / 256], (job % 256) as u8);
        for operands in operand_sets() {
            for constant in [false, true] {
                let code = one_byte(byte, &operands, constant);
                let case = Case::new(spec, code).contract(PEERS[0], peer.clone());
                checker.check(&case.data(calldata(&operands)));
            }
        }
        checker.clear();
    });
}

#[test]
fn exchange_of_every_immediate() {
    let immediates: Vec<(u8, u8)> = [DUPN, SWAPN, EXCHANGE]
        .iter()
        .flat_map(|&op| (0..=255).map(move |imm| (op, imm)))
        .collect();
    parallel::for_each(immediates.len(), checker, |checker, job| {
        let (opcode, immediate) = immediates[job];
        for depth in [16, 18, 40, 236] {
            let mut asm = Assembly::new();
            for index in 0..depth {
                asm = asm.push(index);
            }
            asm = asm.raw([opcode, immediate, GAS]);
            // Every word is observed.
            for index in 0..depth {
                asm = asm.push(32 * index).op(MSTORE);
            }
            let code = asm.push(32 * depth).push(0).op(RETURN).code();
            checker.check(&Case::new(SpecId::AMSTERDAM, code));
        }
    });
}

#[test]
fn the_lists_name_every_opcode_once() {
    let listed = computing_opcodes().len() + NULLARY.len();
    let newest = (0..=255).filter(|&byte| available(byte, SpecId::NEXT)).count();
    // PUSH, DUP, SWAP and the opcodes without a result aren't in the lists.
    assert!(listed == 58 && newest == 154, "{listed} in the lists, {newest} on the newest fork");
}

/// Words that move, at every depth, with the top word wherever it may be: a constant, a word of one
/// register or of four, or on the stack. All words are returned.
#[test]
fn words_move_to_their_places() {
    const WORDS: u64 = 17;
    let with_top = |mut code: Assembly, top: u8| match top {
        0 => code.push(0xc0),
        1 => code.push(U256::MAX - U256::from(0xc1)),
        2 => code.op(CALLDATASIZE),
        3 => code.push(0).op(CALLDATALOAD),
        _ => {
            let label = code.new_label();
            code.push(0).op(CALLDATALOAD).label(label)
        }
    };
    let moves = |n: u8| {
        let (swap, dup) = (SWAP1 + n, DUP1 + n);
        [vec![swap], vec![swap, POP], vec![swap, POP, swap, POP], vec![dup, swap, POP]]
    };
    let checker = checker();
    for (top, n) in (0..5).flat_map(|top| (0..14).map(move |n| (top, n))) {
        for ops in moves(n) {
            let mut code = Assembly::new();
            for word in 1..=WORDS {
                code = code.push(U256::from(word) << (word * 13));
            }
            let label = code.new_label();
            code = with_top(code.label(label), top).ops(&ops);
            for at in 0..WORDS - 2 {
                code = code.push(32 * at).op(MSTORE);
            }
            let code = code.push(32 * WORDS).push(0).op(RETURN).code();
            let observed = checker.check(&Case::new(SpecId::OSAKA, code).data(vec![0xd7; 40]));
            assert!(observed.result().is_success(), "top {top}, {ops:x?}");
        }
    }
}
