//! A page that a child process finds full of zeros.

use super::{super::fork_guard::Flags, mapping::Mapping, page_size};
use std::{ops::Deref, ptr::NonNull};

/// Flags in a page of their own. If the system has none to give, in memory like any other.
#[derive(Debug)]
pub(in super::super) struct WipedPage {
    flags: NonNull<Flags>,
    /// Where they are, unless they were leaked.
    _page: Option<Mapping>,
    is_wiped: bool,
}

// SAFETY: the flags are atomics, and live as long as this value.
unsafe impl Send for WipedPage {}
// SAFETY: as for `Send`.
unsafe impl Sync for WipedPage {}

impl WipedPage {
    pub(in super::super) fn new(flags: Flags) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let len = page_size().unwrap_or(0);
        let page = Mapping::anonymous(len, protection, 0).ok();
        let Some(page) = page else {
            return Self {
                flags: NonNull::from(Box::leak(Box::new(flags))),
                _page: None,
                is_wiped: false,
            };
        };
        // SAFETY: the page is this value's alone, and nothing is in it yet.
        let result =
            unsafe { libc::madvise(page.base().as_ptr().cast(), len, libc::MADV_WIPEONFORK) };
        let place = page.base().cast::<Flags>();
        // SAFETY: the page is writable, larger than flags, and aligned to more than they are.
        unsafe { place.write(flags) };
        Self { flags: place, _page: Some(page), is_wiped: result == 0 }
    }

    #[inline]
    pub(in super::super) const fn is_wiped(&self) -> bool {
        self.is_wiped
    }
}

impl Deref for WipedPage {
    type Target = Flags;

    #[inline(always)]
    fn deref(&self) -> &Flags {
        // SAFETY: written by `new`, and in memory that lives as long as this value. In a child the
        // kernel has written zeros, which are flags too.
        unsafe { self.flags.as_ref() }
    }
}
