//! aarch64: see the Arm architecture reference manual, part C6.

use super::TooFar;
use crate::stencils::stencil::{Field, Link, LinkKind};
use std::ops::Range;

/// `stp fp, lr, [sp, #-16]!; mov fp, sp`
pub(super) const PROLOGUE: [u8; 8] = [0xfd, 0x7b, 0xbf, 0xa9, 0xfd, 0x03, 0x00, 0x91];
/// `pacibz`: what signs return addresses in the `tail` convention, by no stack pointer.
pub(super) const SIGN: [u8; 4] = 0xd503_235f_u32.to_le_bytes();
/// `ldp fp, lr, [sp], #16`
const EPILOGUE: u32 = 0xa8c1_7bfd;
/// `br x4`
pub(super) const JUMP_TO_TOP: [u8; 4] = 0xd61f_0080_u32.to_le_bytes();
/// `cbz x4` over `br x4`
pub(super) const JUMP_TO_TOP_IF_ANY: [u8; 8] = [0x44, 0x00, 0x00, 0xb4, 0x80, 0x00, 0x1f, 0xd6];
/// `str lr, [sp, #-16]!`
pub(super) const CALLEE_BEGIN: [u8; 4] = 0xf81f_0ffe_u32.to_le_bytes();
/// `ret`
pub(super) const RETURN: [u8; 4] = 0xd65f_03c0_u32.to_le_bytes();
/// `ldr lr, [sp], #16; ret`
pub(super) const CALLEE_RETURN: [u8; 8] = [0xfe, 0x07, 0x41, 0xf8, 0xc0, 0x03, 0x5f, 0xd6];
/// `mov sp, fp`
pub(super) const UNWIND: [u8; 4] = 0x9100_03bf_u32.to_le_bytes();
/// `b`
const JUMP: u32 = 0x1400_0000;
/// `bl`
const CALL: u32 = 0x9400_0000;
/// `udf #0`
const TRAP: u32 = 0;

fn read(code: &[u8], at: usize) -> Option<u32> {
    code.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
}

fn write(code: &mut [u8], at: usize, word: u32) {
    code[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

pub(super) fn tail_call(code: &[u8], relocation: usize) -> Option<Range<usize>> {
    let begin = relocation.checked_sub(4)?;
    let is_jump = read(code, relocation)? & 0xfc00_0000 == JUMP;
    (is_jump && read(code, begin)? == EPILOGUE).then_some(begin..relocation + 4)
}

/// `b.cond`, `cbz` and `cbnz`, which reach 1 MiB, alone at the block's end or with a jump behind.
/// What `tbz` and `tbnz` reach may be too little.
pub(super) fn branch_to(code: &[u8], end: usize, target: usize) -> Option<Link> {
    let at = |at: usize| {
        let word = read(code, at)?;
        let is_branch = word & 0xff00_0010 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000;
        let distance = i64::from(((word << 8) as i32) >> 13) * 4;
        let leads_there = at as i64 + distance == target as i64;
        (is_branch && leads_there).then_some(Link { at: at as u32, kind: LinkKind::Near })
    };
    let last = end.checked_sub(4)?;
    at(last).or_else(|| {
        let is_jump = read(code, last)? & 0xfc00_0000 == JUMP;
        is_jump.then(|| at(last.checked_sub(4)?)).flatten()
    })
}

pub(super) fn jump_in(place: &mut [u8], at: usize) -> Link {
    write(place, 0, JUMP);
    for at in (4..place.len()).step_by(4) {
        write(place, at, TRAP);
    }
    Link { at: at as u32, kind: LinkKind::Far }
}

/// Below 2^7: the immediate of an addition, subtraction or comparison. Else a `movz` of the lower
/// half and a `movk` of the upper one.
pub(super) fn field(
    codes: [&[u8]; 2],
    at: usize,
    values: [i64; 2],
) -> Option<(Field, usize, usize)> {
    let at = at / 4 * 4;
    let words = [read(codes[0], at)?, read(codes[1], at)?];
    if values[0] < 1 << 7 {
        let is_arithmetic = words.iter().all(|word| word & 0x1fc0_0000 == 0x1100_0000);
        let found = words.map(|word| i64::from(word >> 10 & 0xfff));
        let is_own = words[0] & !0x003f_fc00 == words[1] & !0x003f_fc00;
        let found = is_arithmetic && is_own && found == values;
        return found.then_some((Field::Byte { negated: false }, at, at + 4));
    }
    let uppers = [read(codes[0], at + 4)?, read(codes[1], at + 4)?];
    let is_own = words[0] & !0x001f_ffe0 == words[1] & !0x001f_ffe0
        && uppers[0] & !0x001f_ffe0 == uppers[1] & !0x001f_ffe0;
    // To one register, of 32 or 64 bits; the upper half goes to bits 16 to 31.
    let is_pair = words[0] & 0x7fe0_0000 == 0x5280_0000
        && uppers[0] & 0x7fe0_0000 == 0x72a0_0000
        && words[0] & 0x1f == uppers[0] & 0x1f;
    let half = |word: u32| i64::from(word >> 5 & 0xffff);
    let found = [0, 1].map(|making: usize| half(uppers[making]) << 16 | half(words[making]));
    (is_own && is_pair && found == values).then_some((
        Field::Word { negated: false, more: 0 },
        at,
        at + 8,
    ))
}

pub(super) fn fill(code: &mut [u8], at: usize, field: Field, value: i64) {
    let put = |code: &mut [u8], at: usize, shift: u32, mask: u32, value: u32| {
        let word = read(code, at).unwrap_or(TRAP);
        write(code, at, word & !(mask << shift) | (value & mask) << shift);
    };
    match field {
        Field::Byte { .. } => put(code, at, 10, 0xfff, value as u32),
        Field::Word { .. } => {
            put(code, at, 5, 0xffff, value as u32);
            put(code, at + 4, 5, 0xffff, (value as u32) >> 16);
        }
        Field::Limb => code[at..at + 8].copy_from_slice(&value.to_le_bytes()),
    }
}

pub(super) fn link(code: &mut [u8], link: Link, target: usize) -> Result<(), TooFar> {
    let at = link.at as usize;
    let distance = target as i64 - at as i64;
    let (bits, shift) = match link.kind {
        LinkKind::Near => (19, 5),
        LinkKind::Far => (26, 0),
    };
    let words = distance / 4;
    if words >= 1 << (bits - 1) || words < -(1 << (bits - 1)) {
        return Err(TooFar { distance });
    }
    let mask = (1_u32 << bits) - 1;
    let word = read(code, at).unwrap_or(TRAP);
    write(code, at, word & !(mask << shift) | (words as u32 & mask) << shift);
    Ok(())
}

pub(super) fn jump(code: &mut Vec<u8>) -> Link {
    far(code, JUMP)
}

pub(super) fn call(code: &mut Vec<u8>) -> Link {
    far(code, CALL)
}

fn far(code: &mut Vec<u8>, word: u32) -> Link {
    let at = code.len() as u32;
    code.extend_from_slice(&word.to_le_bytes());
    Link { at, kind: LinkKind::Far }
}
