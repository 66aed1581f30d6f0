//! Sets of opcodes, entry points and functions of an artifact.
//!
//! What `NativeProgram::load` and the entry into code rely on, and [`read`] therefore checks of
//! every artifact:
//!
//! - there are a trampoline and a stub of absent chunks, and neither is empty;
//! - there are 1 to 65,535 entry points, so that an ordinal fits 16 bits;
//! - the first is the contract's start, at pc 0;
//! - no pc is beyond the bytecode (a frame may resume right behind it), and a JUMPDEST is within;
//! - each entry point is in a function that there is, other than the trampoline: at its begin, or
//!   within the one function that there is of stencils, which have no chunks that could be absent;
//! - no two at which frames come in have the same pc;
//! - frames come in at all that are of stencils, which are in order of pc: their code takes the rank
//!   of an entry point for its ordinal;
//! - the bytecode is no longer than what is analysed, which bounds the index of entry points.
//!
//! That the code in the functions fits the entry points is what the content hash is for.

use super::{ArtifactError, Expected, Header, wire::Reader};
use crate::{
    CompileTimings, CompiledCode, OpcodeSet,
    compiled::{CompiledEntry, FIRST_CHUNK},
};

#[cfg(feature = "cranelift")]
use cranevm_passes::{MAX_CODE_LEN, MAX_ENTRIES};

/// Without the analysis nothing is within its limits.
#[cfg(not(feature = "cranelift"))]
const MAX_CODE_LEN: usize = 0;
#[cfg(not(feature = "cranelift"))]
const MAX_ENTRIES: usize = 0;

/// Bytes of an entry point.
const ENTRY_LEN: usize = 13;
/// Bytes of a function's length.
const LENGTH_LEN: usize = 4;

/// Bytes of the two sets of opcodes.
const SETS_LEN: usize = 2 * SET_LEN;
const SET_LEN: usize = 32;

const IS_JUMPDEST: u8 = 1;
const IS_CONTINUATION: u8 = 2;

/// Bytes that [`write`] appends.
pub(super) fn encoded_len(code: &CompiledCode) -> usize {
    SETS_LEN
        + code.entries.len() * ENTRY_LEN
        + code.functions.len() * LENGTH_LEN
        + code.code_bytes()
}

/// Appends sets of opcodes, entry points and functions.
pub(super) fn write(code: &CompiledCode, out: &mut Vec<u8>) {
    for set in [code.opcodes, code.foreign] {
        out.extend_from_slice(&set.to_le_bytes::<SET_LEN>());
    }
    for &CompiledEntry { pc, function, offset, is_jumpdest, is_continuation } in &code.entries {
        out.extend_from_slice(&pc.to_le_bytes());
        out.extend_from_slice(&function.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        let jumpdest = if is_jumpdest { IS_JUMPDEST } else { 0 };
        let continuation = if is_continuation { IS_CONTINUATION } else { 0 };
        out.push(jumpdest | continuation);
    }
    for function in &code.functions {
        out.extend_from_slice(&(function.len() as u32).to_le_bytes());
    }
    for function in &code.functions {
        out.extend_from_slice(function);
    }
}

/// Reads and checks what [`write`] wrote, under a header that was checked.
pub(super) fn read(
    bytes: &[u8],
    header: &Header,
    expected: &Expected<'_>,
) -> Result<CompiledCode, ArtifactError> {
    if header.code_len as usize > MAX_CODE_LEN {
        return Err(ArtifactError::Malformed("more bytecode than can be analysed"));
    }
    let mut reader = Reader::new(bytes, "tables beyond the end");
    let opcodes = OpcodeSet::from_le_bytes(reader.array::<SET_LEN>()?);
    let foreign = OpcodeSet::from_le_bytes(reader.array::<SET_LEN>()?);
    check_opcodes(opcodes, expected.options.foreign)?;
    let entries = reader.items(header.entries, ENTRY_LEN)?;
    let lengths = reader.items(header.functions, LENGTH_LEN)?;
    let functions = read_functions(lengths, &mut reader)?;
    reader.finish()?;
    let is_of_stencils = !expected.options.opt_level.optimises();
    let entries = read_entries(entries, header.code_len, &functions, is_of_stencils)?;
    Ok(CompiledCode {
        id: 0,
        spec_id: expected.spec_id,
        code_len: header.code_len,
        single_error: expected.options.single_error,
        force_hand_over: expected.options.force_hand_over,
        opcodes,
        foreign,
        functions,
        entries,
        jumpdests: Box::default(),
        initial_memory: header.initial_memory,
        #[cfg(feature = "cranelift")]
        emulator: expected.options.emulator,
        timings: CompileTimings::default(),
        report: Default::default(),
    })
}

/// Code is right for who has these foreign opcodes if it executes none of them, whichever were
/// foreign when it was compiled.
fn check_opcodes(opcodes: OpcodeSet, foreign: OpcodeSet) -> Result<(), ArtifactError> {
    match (opcodes & foreign).trailing_zeros() {
        OpcodeSet::BITS => Ok(()),
        opcode => Err(ArtifactError::Options {
            found: format!("revm's instruction 0x{opcode:02x}"),
            expected: "a foreign one".to_owned(),
        }),
    }
}

fn read_functions(lengths: &[u8], code: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, ArtifactError> {
    let lengths = lengths.as_chunks::<LENGTH_LEN>().0;
    let functions: Vec<Vec<u8>> = lengths
        .iter()
        .map(|&length| Ok(code.take(u32::from_le_bytes(length) as usize)?.to_vec()))
        .collect::<Result<_, ArtifactError>>()?;
    let is_there = |function: usize| functions.get(function).is_some_and(|code| !code.is_empty());
    if (0..FIRST_CHUNK).all(is_there) {
        Ok(functions)
    } else {
        Err(ArtifactError::Malformed("no trampoline, or no stub of absent chunks"))
    }
}

fn read_entries(
    bytes: &[u8],
    code_len: u32,
    functions: &[Vec<u8>],
    is_of_stencils: bool,
) -> Result<Vec<CompiledEntry>, ArtifactError> {
    let malformed = |what| Err(ArtifactError::Malformed(what));
    let mut seen = Places::new(code_len);
    let mut entries: Vec<CompiledEntry> = Vec::with_capacity(bytes.len() / ENTRY_LEN);
    for &[p0, p1, p2, p3, f0, f1, f2, f3, o0, o1, o2, o3, flags] in bytes.as_chunks::<ENTRY_LEN>().0
    {
        let entry = CompiledEntry {
            pc: u32::from_le_bytes([p0, p1, p2, p3]),
            function: u32::from_le_bytes([f0, f1, f2, f3]),
            offset: u32::from_le_bytes([o0, o1, o2, o3]),
            is_jumpdest: flags & IS_JUMPDEST != 0,
            is_continuation: flags & IS_CONTINUATION != 0,
        };
        if flags & !(IS_JUMPDEST | IS_CONTINUATION) != 0 {
            return malformed("an entry point with unknown flags");
        }
        if entry.function < CompiledCode::ABSENT_STUB || entry.function as usize >= functions.len()
        {
            return malformed("an entry point in no chunk");
        }
        // Stencils are one function, entered within, and have no stub in place of code.
        let is_within = match is_of_stencils {
            false => entry.offset == 0,
            true => {
                entry.function as usize == FIRST_CHUNK
                    && functions.len() == FIRST_CHUNK + 1
                    && (entry.offset as usize) < functions[FIRST_CHUNK].len()
            }
        };
        if !is_within {
            return malformed("an entry point elsewhere than its function may be entered");
        }
        if entry.pc > code_len || (entry.is_jumpdest && entry.pc == code_len) {
            return malformed("an entry point beyond the bytecode");
        }
        let comes_in = entry.is_jumpdest || entry.is_continuation;
        if comes_in && !seen.insert(entry.pc) {
            return malformed("two entry points at one place");
        }
        let follows = comes_in && entries.last().is_none_or(|last| last.pc < entry.pc);
        if is_of_stencils && !follows {
            return malformed("entry points of stencils out of order");
        }
        entries.push(entry);
    }
    match entries.first() {
        Some(start) if start.pc == 0 && entries.len() <= MAX_ENTRIES => Ok(entries),
        _ => malformed("no entry point at the start, or too many"),
    }
}

/// A set of offsets in the bytecode, its end included.
struct Places(Vec<u64>);

impl Places {
    fn new(code_len: u32) -> Self {
        Self(vec![0; code_len as usize / 64 + 1])
    }

    /// `false` if it was in the set.
    fn insert(&mut self, pc: u32) -> bool {
        let (word, bit) = (&mut self.0[pc as usize / 64], 1u64 << (pc % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
