//! The addresses that emulated code calls and returns to: a page of aarch64 code.
//!
//! A stub puts its number in a register and raises an exception, on which the emulator acts; then
//! it returns to its caller. One more stub is where a run returns to.

use cranevm_codegen::abi::emulation::BUILTINS;
use std::{ptr, sync::LazyLock};

/// The number of the stub that ends a run.
pub(super) const EXIT: u64 = BUILTINS as u64;

/// Instructions of a stub, with padding that makes it 16 bytes.
const STUB_WORDS: usize = 4;

/// A page, so that emulated code writes to no data beside it, which would cost it its translation.
const PAGE_WORDS: usize = 1024;
const _: () = assert!((BUILTINS + 1) * STUB_WORDS <= PAGE_WORDS);

#[repr(C, align(4096))]
struct Page([u32; PAGE_WORDS]);

/// Where the stubs are.
pub(super) struct Stubs {
    /// Of the builtins, in the order of their table.
    pub(super) builtins: [u64; BUILTINS],
    /// What a run returns to.
    pub(super) exit: u64,
}

/// The stubs of all threads.
pub(super) fn stubs() -> &'static Stubs {
    static STUBS: LazyLock<Stubs> = LazyLock::new(|| {
        let mut page = Box::new(Page([0; PAGE_WORDS]));
        for (number, words) in page.0.chunks_exact_mut(STUB_WORDS).take(BUILTINS + 1).enumerate() {
            words.copy_from_slice(&stub(number as u32));
        }
        // Emulated code holds their addresses.
        let page: &'static Page = Box::leak(page);
        let address = |number: usize| ptr::from_ref(&page.0[number * STUB_WORDS]).addr() as u64;
        Stubs { builtins: std::array::from_fn(address), exit: address(BUILTINS) }
    });
    &STUBS
}

/// `movz x16, #number; svc #0; ret; udf #0`
const fn stub(number: u32) -> [u32; STUB_WORDS] {
    [0xd280_0010 | number << 5, 0xd400_0001, 0xd65f_03c0, 0]
}
