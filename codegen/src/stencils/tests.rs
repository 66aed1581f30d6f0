//! The set for each machine, its bounds, and what is refused.
//!
//! That stencils compute what revm's opcodes do is tested by running them, on all engines' tests.

use super::{
    key::{Action, Size, Top, keys},
    machine::Machine,
    set::StencilSet,
    stencil::{Field, Link, LinkKind},
};
use crate::{
    Assembler, CompileError, Compiler, CompilerOptions, NativeProgram, OpcodeSet,
    OptimizationLevel, Stencils,
    code_memory::CodeRegion,
    isa::{builder_for, finish_isa, host_isa, stencil_isa},
};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranevm_passes::AnalysisError;
use revm_primitives::hardfork::SpecId;
use std::collections::HashSet;

/// The set for a machine.
fn set(isa: &OwnedTargetIsa) -> StencilSet {
    let [inner, frames] = [false, true].map(|leaves| stencil_isa(&**isa, leaves).unwrap());
    let machine = Machine::of(isa.triple()).unwrap();
    StencilSet::make(&*inner, &*frames, machine).unwrap()
}

fn isas() -> Vec<OwnedTargetIsa> {
    let foreign = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin"];
    let foreign = foreign.map(|target| {
        let builder = builder_for(target.parse().unwrap()).unwrap();
        finish_isa(&CompilerOptions::default(), builder).unwrap()
    });
    foreign.into_iter().chain([host_isa().unwrap()]).collect()
}

#[test]
fn the_list_is_closed_and_made_whole_for_each_machine() {
    let all: Vec<_> = keys().collect();
    assert_eq!(all.len(), all.iter().collect::<HashSet<_>>().len(), "a key is twice in the list");
    for isa in isas() {
        let set = set(&isa);
        assert_eq!(set.len(), all.len());
        assert!(set.code_bytes() < 40_000, "{}: {} bytes", isa.triple(), set.code_bytes());
        for key in &all {
            assert!(set.find(key.action, key.top).is_some(), "{key:?}");
        }
    }
}

/// It is put where the top word may be in memory, in one register or in four.
#[test]
fn taking_gas_touches_the_gas_alone() {
    for isa in isas() {
        let set = set(&isa);
        for size in [Size::Byte, Size::Word] {
            let number = set.find(Action::Charge(size), Top::Wide).unwrap();
            let mut code = set.stencil(number).code.to_vec();
            for hole in &set.stencil(number).holes {
                set.machine.fill(&mut code, hole.at as usize, hole.field, 0x7f);
            }
            let expected: &[u8] = match (set.machine, size) {
                // add rsi, -0x7f
                (Machine::X86_64, Size::Byte) => &[0x48, 0x83, 0xc6, 0x81],
                (Machine::X86_64, Size::Word) => &[0x48, 0x81, 0xc6, 0x81, 0xff, 0xff, 0xff],
                // sub x3, x3, #0x7f
                (Machine::Aarch64, Size::Byte) => &[0x63, 0xfc, 0x01, 0xd1],
                // movz, movk of a register that nothing is kept in, and sub x3, x3
                (Machine::Aarch64, Size::Word) => &code[..0],
            };
            if expected.is_empty() {
                let words: Vec<_> = code.as_chunks::<4>().0.to_vec();
                let [low, _, sub] = words[..] else { panic!("{code:02x?}") };
                let register = low[0] & 0x1f;
                assert!(!(2..8).contains(&register), "x{register} holds something");
                assert_eq!(u32::from_le_bytes(sub) & !(0x1f << 16), 0xcb00_0063, "{code:02x?}");
            } else {
                let sub: &[u8] = if size == Size::Byte {
                    &[0x48, 0x83, 0xee, 0x7f]
                } else {
                    &[0x48, 0x81, 0xee, 0x7f, 0, 0, 0]
                };
                assert!(code == expected || code == sub, "{code:02x?}");
            }
        }
    }
}

#[test]
fn other_shapes_are_refused() {
    for machine in [Machine::X86_64, Machine::Aarch64] {
        assert_eq!(machine.prologue(&[0; 16]), None);
        assert_eq!(machine.tail_call(&[0; 32], 16), None);
        assert_eq!(machine.tail_call(&[0; 32], 0), None);
        assert!(machine.branch_to(&[0; 32], 32, 0).is_none());
        let (first, second) = ([1; 32], [2; 32]);
        assert!(machine.field([&first, &second], 8, [0x1234_5678, 0x2345_6789]).is_none());
        assert!(machine.field([&first, &second], 8, [0x55, 0x2a]).is_none());
    }
}

#[test]
fn numbers_are_found_where_they_are_written() {
    let code = |number: i32| [&[0x48, 0x81, 0xee][..], &number.to_le_bytes()].concat();
    let codes = [code(-0x1b2c_3d4e), code(-0x6a7b_0c1d)];
    let found = Machine::X86_64.field([&codes[0], &codes[1]], 3, [0x1b2c_3d4e, 0x6a7b_0c1d]);
    let field = Field::Word { negated: true, more: 0 };
    assert_eq!(found, Some((field, 3, 7)));
    let mut filled = codes[0].clone();
    Machine::X86_64.fill(&mut filled, 3, field, 7);
    assert_eq!(filled, code(-7));
}

#[test]
fn what_is_too_far_is_a_typed_error() {
    let mut code = vec![0; 64];
    let near = Link { at: 0, kind: LinkKind::Near };
    let far = Link { at: 0, kind: LinkKind::Far };
    assert!(Machine::Aarch64.link(&mut code, near, (1 << 20) - 4).is_ok());
    assert_eq!(Machine::Aarch64.link(&mut code, near, 1 << 20).unwrap_err().distance, 1 << 20);
    assert!(Machine::Aarch64.link(&mut code, far, 1 << 20).is_ok());
    assert!(Machine::Aarch64.link(&mut code, far, 1 << 27).is_err());
    assert!(Machine::X86_64.link(&mut code, far, 1 << 27).is_ok());
}

/// Code of more than a mebibyte, over which heads' branches to what is behind it don't reach.
#[test]
fn long_code_is_made_shorter_where_branches_reach_less() {
    let target = "aarch64-unknown-linux-gnu".parse().unwrap();
    let options = CompilerOptions {
        opt_level: OptimizationLevel::None,
        stencils: Stencils::Copied,
        ..Default::default()
    };
    let mut compiler = Compiler::for_target(options, target).unwrap();
    let mut code = vec![0x5f, 0x5f];
    code.resize(48 << 10, 0x90);
    let compiled = compiler.compile(&code, SpecId::OSAKA).unwrap();
    assert!(compiled.code_bytes() < 1 << 19, "{}", compiled.code_bytes());
    assert_eq!(compiled.report.clif_instructions, 0, "it isn't translated");
}

#[test]
fn too_many_entry_points_are_a_typed_error() {
    let options = CompilerOptions { opt_level: OptimizationLevel::None, ..Default::default() };
    let mut compiler = Compiler::new(options).unwrap();
    let error = compiler.compile(&vec![0x5b; 70_000], SpecId::OSAKA).unwrap_err();
    assert!(matches!(
        error,
        CompileError::Analysis(AnalysisError::TooManyEntries { found: 70_000, .. })
    ));
}

/// Of code that means nothing, too.
#[test]
fn any_blocks_are_put_together() {
    let region = CodeRegion::new(1 << 26).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for length in 0..2000 {
        let code: Vec<u8> = (0..length % 100)
            .map(|_| {
                random = random.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
                [0x5b, 0x57, 0x60, 0x56, 0xf1, 0x5f, 0x00, (random >> 56) as u8]
                    [(random >> 40) as usize % 8]
            })
            .collect();
        let options = CompilerOptions {
            opt_level: OptimizationLevel::None,
            stencils: Stencils::Sampled(length),
            ..Default::default()
        };
        let compiled =
            Assembler::new(options).unwrap().compile(&code, SpecId::OSAKA, OpcodeSet::ZERO);
        let compiled = compiled.unwrap_or_else(|error| panic!("{code:02x?}: {error}"));
        assert_eq!(compiled.entries.first().map(|entry| entry.pc), Some(0), "{code:02x?}");
        let loaded = NativeProgram::load(&compiled, &region).map(drop);
        loaded.unwrap_or_else(|error| panic!("{code:02x?}: {error}, {:?}", compiled.entries));
    }
}
