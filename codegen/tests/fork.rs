//! A child that is forked and doesn't exec: it has no part in its parent's code memory.
//!
//! A program of its own, so that nothing else runs when it forks.

#![cfg(all(feature = "cranelift", target_os = "linux"))]

use cranevm_codegen::code_memory::{CodeMemoryError, CodeRegion, LoadedCode, Way};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::Arc,
};

/// Machine code of a function that returns `value`.
fn returning(value: u8) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    let code = vec![0xb8, value, 0, 0, 0, 0xc3]; // mov eax, value; ret
    #[cfg(target_arch = "aarch64")]
    let code = [0x5280_0000 | u32::from(value) << 5, 0xd65f_03c0_u32] // mov w0, #value; ret
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    code
}

fn call(code: &LoadedCode) -> u32 {
    // SAFETY: the address is that of a complete function of this signature, alive as long as
    // `code`.
    let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(code.address(0)) };
    function()
}

/// Runs `work` in a child; whether it neither panicked nor was killed.
fn in_a_child(work: impl FnOnce()) -> bool {
    // SAFETY: this thread alone runs tests, and the child does what a process may after a fork.
    match unsafe { libc::fork() } {
        0 => {
            let result = catch_unwind(AssertUnwindSafe(work));
            // SAFETY: ends the child without what its parent would do at its end.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        child => {
            let mut status = -1;
            // SAFETY: the child is this process's, and `status` is written to.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status == 0
        }
    }
}

/// What a child does with what it has of a region: nothing comes of it.
fn use_up(region: Arc<CodeRegion>, held: Vec<LoadedCode>, is_shared: bool) {
    let error = region.load(&[&returning(9)]).unwrap_err();
    assert!(matches!(error, CodeMemoryError::Forked), "{error}");
    assert!(held.iter().all(|code| code.code().is_empty() && code.function(0).is_none()));
    let (base, len) = (held[0].address(0).cast_mut(), 4096);
    if is_shared {
        // What the child has where its parent has the region isn't the region's.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: a new mapping, which replaces nothing.
        let own = unsafe {
            libc::mmap(base.cast(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        assert_eq!(own.cast(), base, "the mapping isn't inherited");
    }
    drop(held);
    drop(region);
    if is_shared {
        // SAFETY: mapped above.
        assert_eq!(unsafe { ptr::read_volatile(base) }, 0);
    }
    let own = CodeRegion::new(1 << 20).unwrap();
    assert_eq!(call(&own.load(&[&returning(8)]).unwrap()), 8);
}

#[test]
fn r13_a_child_leaves_its_parents_code_alone() {
    for way in [Way::Any, Way::Private] {
        let region = CodeRegion::with_way(1 << 20, way).unwrap();
        let load = |value| region.load(&[&returning(value)]).unwrap();
        let held: Vec<_> = (0..100).map(load).collect();
        let is_shared = region.how().starts_with("a file");
        assert!(is_shared || way == Way::Private, "NOT RUN: only {}", region.how());
        let before = (region.mapped_bytes(), region.used_bytes());
        let region_of_child = Arc::clone(&region);
        // The child's copies of the handles: those of the parent are leaked into it.
        let handles = ptr::from_ref(&held);
        assert!(in_a_child(|| {
            // SAFETY: the child never uses `held` itself.
            let held = unsafe { ptr::read(handles) };
            use_up(region_of_child, held, is_shared);
        }));
        assert_eq!((region.mapped_bytes(), region.used_bytes()), before);
        assert!(held.iter().enumerate().all(|(n, code)| call(code) == n as u32));
        drop(held);
        let again = load(7);
        assert_eq!((call(&again), region.used_bytes()), (7, again.len()));
    }
}
