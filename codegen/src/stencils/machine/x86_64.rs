//! x86-64: see Intel's manual, volume 2.

use super::TooFar;
use crate::stencils::stencil::{Field, Link, LinkKind};
use std::ops::Range;

/// `push rbp; mov rbp, rsp`
pub(super) const PROLOGUE: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];
/// `mov rsp, rbp; pop rbp`
const EPILOGUE: [u8; 4] = [0x48, 0x89, 0xec, 0x5d];
/// `jmp rdx`
pub(super) const JUMP_TO_TOP: [u8; 2] = [0xff, 0xe2];
/// `test rdx, rdx; je` over `jmp rdx`
pub(super) const JUMP_TO_TOP_IF_ANY: [u8; 7] = [0x48, 0x85, 0xd2, 0x74, 0x02, 0xff, 0xe2];
/// `push rax`: calls want a stack at a multiple of 16.
pub(super) const CALLEE_BEGIN: [u8; 1] = [0x50];
/// `ret`
pub(super) const RETURN: [u8; 1] = [0xc3];
/// `pop rax; ret`
pub(super) const CALLEE_RETURN: [u8; 2] = [0x58, 0xc3];
/// `jmp rel32`
const JUMP: u8 = 0xe9;
/// `call rel32`
const CALL: u8 = 0xe8;
/// `int3`
const TRAP: u8 = 0xcc;

pub(super) fn tail_call(code: &[u8], relocation: usize) -> Option<Range<usize>> {
    let jump = relocation.checked_sub(1)?;
    let begin = jump.checked_sub(EPILOGUE.len())?;
    let is_one = *code.get(jump)? == JUMP && code[begin..jump] == EPILOGUE;
    (is_one && relocation + 4 <= code.len()).then_some(begin..relocation + 4)
}

/// `jcc rel32`, alone at the block's end or with a jump behind it.
pub(super) fn branch_to(code: &[u8], end: usize, target: usize) -> Option<Link> {
    let at = |end: usize| {
        let begin = end.checked_sub(6)?;
        let is_branch = code[begin] == 0x0f && code[begin + 1] & 0xf0 == 0x80;
        let leads_there = target as i64 == end as i64 + i64::from(read(code, end - 4));
        (is_branch && leads_there).then_some(Link { at: end as u32 - 4, kind: LinkKind::Far })
    };
    at(end).or_else(|| {
        let before = end.checked_sub(5)?;
        (code[before] == JUMP).then(|| at(before)).flatten()
    })
}

pub(super) fn jump_in(place: &mut [u8], at: usize) -> Link {
    place.fill(TRAP);
    place[0] = JUMP;
    Link { at: at as u32 + 1, kind: LinkKind::Far }
}

fn read(code: &[u8], at: usize) -> i32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&code[at..at + 4]);
    i32::from_le_bytes(bytes)
}

pub(super) fn field(
    codes: [&[u8]; 2],
    at: usize,
    values: [i64; 2],
) -> Option<(Field, usize, usize)> {
    let differs = |at: usize| codes[0].get(at) != codes[1].get(at);
    let small = values[0] < 1 << 7;
    if small {
        let found = codes.map(|code| i64::from(code[at] as i8));
        let is_own = !differs(at + 1);
        return match found {
            _ if !is_own => None,
            found if found == values => Some((Field::Byte { negated: false }, at, at + 1)),
            found if found == values.map(|value| -value) => {
                Some((Field::Byte { negated: true }, at, at + 1))
            }
            _ => None,
        };
    }
    if at + 4 > codes[0].len() || !(at..at + 4).all(differs) {
        return None;
    }
    let found = codes.map(|code| i64::from(read(code, at)));
    // As a displacement, with the place of a limb.
    [false, true].into_iter().find_map(|negated| {
        let values = values.map(|value| if negated { -value } else { value });
        let more = i8::try_from(found[0] - values[0]).ok()?;
        let is_same = found[1] - values[1] == i64::from(more);
        is_same.then_some((Field::Word { negated, more }, at, at + 4))
    })
}

pub(super) fn fill(code: &mut [u8], at: usize, field: Field, value: i64) {
    match field {
        Field::Byte { negated } => {
            // Where four bytes are written the others are those of a number that isn't zero.
            debug_assert!(!negated || value > 0);
            code[at] = (if negated { -value } else { value }) as i8 as u8;
        }
        Field::Word { negated, more } => {
            let value = (if negated { -value } else { value } + i64::from(more)) as i32;
            code[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        Field::Limb => code[at..at + 8].copy_from_slice(&value.to_le_bytes()),
    }
}

pub(super) fn link(code: &mut [u8], link: Link, target: usize) -> Result<(), TooFar> {
    let at = link.at as usize;
    let distance = target as i64 - (at as i64 + 4);
    let near = i32::try_from(distance).map_err(|_| TooFar { distance })?;
    code[at..at + 4].copy_from_slice(&near.to_le_bytes());
    Ok(())
}

pub(super) fn jump(code: &mut Vec<u8>) -> Link {
    code.push(JUMP);
    far(code)
}

pub(super) fn call(code: &mut Vec<u8>) -> Link {
    code.push(CALL);
    far(code)
}

fn far(code: &mut Vec<u8>) -> Link {
    let at = code.len() as u32;
    code.extend_from_slice(&[0; 4]);
    Link { at, kind: LinkKind::Far }
}
