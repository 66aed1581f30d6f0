//! What is made of panics: of the compiler, and of what clients hand in.

use crate::error::CompileFailure;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs a compilation, and makes a panic of it a failure.
///
/// Unwind safety is the caller's: what `compilation` has touched when it panics is dropped by the
/// unwinding, or whole.
pub(crate) fn contain_panic<T>(
    compilation: impl FnOnce() -> Result<T, CompileFailure>,
) -> Result<T, CompileFailure> {
    catch_unwind(AssertUnwindSafe(compilation))
        .unwrap_or_else(|panic| Err(CompileFailure::Panic { message: panic_message(&*panic) }))
}

/// The message of a caught panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a message".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_messages() {
        assert_eq!(panic_message(&"text"), "text");
        assert_eq!(panic_message(&String::from("owned")), "owned");
        assert_eq!(panic_message(&1), "a panic without a message");
    }
}
