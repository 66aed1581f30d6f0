//! Compiling on a stack that suffices, whatever the caller's is.
//!
//! The compiler's frames and recursion are bounded, since chunks are, but not by what small threads
//! have: an overflow of the stack ends the process. How much of its stack a thread has left can't
//! be told in portable, safe code. So what compiles runs on a thread of its own, unless the calling
//! thread was started to compile. Starting and joining it takes 33 us of processor time (Linux on
//! x86-64), and a caller waits 40 to 110 us for that on a busy machine.

use crate::CompileError;
use std::{cell::Cell, panic::resume_unwind, thread};

/// Stack of a thread that does little else than compile, in bytes: Cranelift recurses over what it
/// compiles. The worst code known takes less than a hundredth.
pub const COMPILER_STACK: usize = 16 << 20;

thread_local! {
    /// Whether this thread has [`COMPILER_STACK`].
    static IS_DEEP: Cell<bool> = const { Cell::new(false) };
}

/// Says that the calling thread was started with [`COMPILER_STACK`], so that
/// [`on_deep_stack`] needs no other.
pub fn mark_deep_stack() {
    IS_DEEP.set(true);
}

/// Does `work` with a stack of [`COMPILER_STACK`]: here if the thread is known to have it, or on
/// one that ends with it. A panic of `work` goes on here.
///
/// # Errors
/// [`CompileError::Thread`] if the system refuses a thread.
pub fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, CompileError> {
    if IS_DEEP.get() {
        return Ok(work());
    }
    on_stack_of(COMPILER_STACK, || {
        mark_deep_stack();
        work()
    })
}

fn on_stack_of<T: Send>(
    stack_bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, CompileError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("compiler".into()).stack_size(stack_bytes);
        match builder.spawn_scoped(scope, work) {
            Ok(thread) => Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic))),
            Err(error) => Err(CompileError::Thread { problem: error.to_string() }),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn a_refused_thread_is_a_typed_error() {
        // More stack than there is address space.
        let refused = on_stack_of(1 << 60, || unreachable!("it didn't start"));
        assert!(matches!(refused, Err::<(), _>(CompileError::Thread { .. })), "{refused:?}");
    }

    #[test]
    fn another_thread_is_taken_only_where_the_stack_isnt_known_to_suffice() {
        let here = thread::current().id();
        let id = || thread::current().id();
        assert_ne!(on_deep_stack(id).unwrap(), here);
        // Work that hands over work.
        let [outer, inner] = on_deep_stack(|| [id(), on_deep_stack(id).unwrap()]).unwrap();
        assert!(outer == inner && outer != here);
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        let panic = catch_unwind(|| on_deep_stack(|| panic!("deep"))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"deep"));
    }

    #[test]
    fn the_work_has_its_stack() {
        /// Frames of a page each.
        fn descend(depth: usize) -> u8 {
            let page = std::hint::black_box([depth as u8; 4096]);
            if depth == 0 { page[0] } else { descend(depth - 1) ^ page[1] }
        }
        let small = thread::Builder::new().stack_size(64 << 10);
        let handle = small.spawn(|| on_deep_stack(|| descend(1000)).unwrap()).unwrap();
        handle.join().unwrap();
    }
}
