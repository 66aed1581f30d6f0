//! What an emulator needs that runs another machine's code inside this process: for tests.
//!
//! The other machine's code sees this process's memory, at the same addresses. It is what that
//! machine itself would run, and so are artifacts of it; only when a program is loaded, a function
//! of this machine (`entry`) takes the trampoline's place: it calls the emulator with the context
//! and the trampoline, which the emulator runs until that returns. Builtins stay this machine's:
//! the emulator gives the context a table of addresses that it knows ([`replace_builtins`]), and
//! when emulated code calls one, comes back with [`HostBuiltins::call`].
//!
//! Needs from the emulator that it runs one context on one thread at a time, and that it forgets
//! translations of code when [`code_memory::loads`](crate::code_memory::loads) has changed. Costs
//! programs of this machine nothing, and others a page for good for each trampoline that differs.

use super::{EvmContext, STATUS_PANICKED};
use crate::{
    CompileError,
    builtins::{Builtin, BuiltinResults, BuiltinTable},
    isa::host_isa,
    translate::entry::{begin, entry_signature},
};
use cranelift_codegen::{
    Context,
    control::ControlPlane,
    ir::{AbiParam, InstBuilder, types},
};
use cranelift_frontend::FunctionBuilderContext;
use std::{
    ptr::NonNull,
    sync::{Mutex, PoisonError},
};

/// Runs the other machine's `trampoline` on a context, to its end; its status. Doesn't unwind.
///
/// Called with a context that is ready to be run, and the trampoline's first instruction.
pub type EnterEmulator =
    unsafe extern "C" fn(context: NonNull<EvmContext<'_>>, trampoline: NonNull<u8>) -> u64;

/// Another machine, and what runs its code here.
#[derive(Clone, Copy, Debug)]
pub struct Emulator {
    /// Target triple of the other machine.
    pub target: &'static str,
    /// What is called to enter its programs.
    pub enter: EnterEmulator,
}

impl PartialEq for Emulator {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target && std::ptr::fn_addr_eq(self.enter, other.enter)
    }
}

impl Eq for Emulator {}

/// Number of builtins.
pub const BUILTINS: usize = size_of::<BuiltinTable>() / size_of::<usize>();

/// The builtins of a context as it came, which are this machine's.
#[derive(Clone, Copy, Debug)]
pub struct HostBuiltins(*const BuiltinTable);

/// Gives a context another table of builtins, addresses of the other machine's code in the same
/// order. Returns the table that it had.
///
/// # Safety
/// `context` must be one that an [`EnterEmulator`] was called with and that hasn't run yet. Only
/// the other machine's code may run on it from now on.
pub unsafe fn replace_builtins(
    context: NonNull<EvmContext<'_>>,
    stubs: &'static [u64; BUILTINS],
) -> HostBuiltins {
    let context = context.as_ptr();
    // SAFETY: the caller's promise: the context is valid, and nobody has a reference to it.
    // `grow_word` is written as the number that it is to compiled code, and this machine calls it
    // nowhere.
    unsafe {
        let host = HostBuiltins((*context).builtins);
        (*context).builtins = stubs.as_ptr().cast();
        (&raw mut (*context).grow_word).cast::<u64>().write(stubs[Builtin::GrowWord as usize]);
        host
    }
}

impl HostBuiltins {
    /// Calls the builtin at `index` with the words that emulated code has in its registers for
    /// arguments. `None` if there is no such builtin.
    ///
    /// # Safety
    /// `self` must be of the context that runs on this thread, and the call one that its compiled
    /// code makes.
    pub unsafe fn call(self, index: usize, arguments: [u64; 5]) -> Option<BuiltinResults> {
        // SAFETY: tables of builtins are constants; the rest is the caller's promise.
        unsafe { (*self.0).call(index, arguments) }
    }
}

/// Ends a run that the emulator can't go on with: a panic with this message, once compiled code
/// is left. Returns the status to end it with.
///
/// # Safety
/// `context` must be the one that an [`EnterEmulator`] was called with.
pub unsafe fn fail(context: NonNull<EvmContext<'_>>, message: String) -> u64 {
    // SAFETY: the caller's promise; compiled code holds no reference.
    unsafe { (*context.as_ptr()).panic = Some(Box::new(message)) };
    STATUS_PANICKED
}

/// Bytes of what emulators hold translations of: a page.
const PAGE: usize = 4096;

/// Code on pages of its own, so that no data that emulated code writes to is on them.
#[repr(C, align(4096))] // PAGE
#[derive(Clone, Copy, PartialEq, Eq)]
struct Page([u8; PAGE]);

/// A trampoline that was handed to an emulator. Never dropped: programs refer to its pages, and no
/// program holds them.
struct Kept {
    emulator: Emulator,
    trampoline: Vec<Page>,
    /// This machine's function, which calls the emulator with the trampoline.
    entry: Vec<u8>,
}

/// This machine's function in the place of another machine's `trampoline`: calls the emulator with
/// the context and the trampoline.
///
/// # Errors
/// If this machine has no compiler.
pub(super) fn entry(emulator: Emulator, trampoline: &[u8]) -> Result<&'static [u8], CompileError> {
    static KEPT: Mutex<Vec<&Kept>> = Mutex::new(Vec::new());
    let mut pages = vec![Page([0; PAGE]); trampoline.len().div_ceil(PAGE).max(1)];
    for (page, bytes) in pages.iter_mut().zip(trampoline.chunks(PAGE)) {
        page.0[..bytes.len()].copy_from_slice(bytes);
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let is_same = |known: &&&Kept| known.emulator == emulator && known.trampoline == pages;
    if let Some(known) = kept.iter().find(is_same) {
        return Ok(&known.entry);
    }
    let entry = compile_entry(emulator, NonNull::from(pages.as_slice()).cast())?;
    let known: &Kept = Box::leak(Box::new(Kept { emulator, trampoline: pages, entry }));
    kept.push(known);
    Ok(&known.entry)
}

fn compile_entry(emulator: Emulator, trampoline: NonNull<u8>) -> Result<Vec<u8>, CompileError> {
    let isa = host_isa()?;
    let signature = entry_signature(isa.default_call_conv());
    let mut callee = signature.clone();
    callee.params.push(AbiParam::new(types::I64));
    let (mut context, mut scratch) = (Context::new(), FunctionBuilderContext::new());
    let (mut b, block) = begin(&mut context.func, signature, &mut scratch);
    let signature = b.import_signature(callee);
    let enter = b.ins().iconst(types::I64, emulator.enter as usize as i64);
    let mut arguments = b.block_params(block).to_vec();
    arguments.push(b.ins().iconst(types::I64, trampoline.as_ptr() as usize as i64));
    let call = b.ins().call_indirect(signature, enter, &arguments);
    let status = b.inst_results(call)[0];
    b.ins().return_(&[status]);
    b.seal_all_blocks();
    b.finalize(isa.frontend_config());
    let compiled = context.compile(&*isa, &mut ControlPlane::default());
    let failed = |message| CompileError::Cranelift { chunk: 0, pc: 0, message };
    Ok(compiled.map_err(|error| failed(error.inner.to_string()))?.code_buffer().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn first(_: NonNull<EvmContext<'_>>, _: NonNull<u8>) -> u64 {
        1
    }

    unsafe extern "C" fn second(_: NonNull<EvmContext<'_>>, _: NonNull<u8>) -> u64 {
        2
    }

    #[test]
    fn equal_trampolines_have_one_entry() {
        let one = Emulator { target: "aarch64-unknown-linux-gnu", enter: first };
        let two = Emulator { enter: second, ..one };
        let [a, b, c] = [(one, [1, 2]), (one, [2, 1]), (two, [1, 2])]
            .map(|(emulator, code)| entry(emulator, &code).expect("this machine has a compiler"));
        assert!(std::ptr::eq(entry(one, &[1, 2]).unwrap(), a));
        assert!(a != b && b != c && a != c);
    }
}
