//! Where a contract's blocks begin that frames were seen in: noted in few instructions by who
//! interprets, and sorted out by who makes code.

use cranevm_codegen::Reached;

/// Places that are kept before they are sorted out.
const MOST_NOTED: usize = 512;

/// Set in a place where a frame comes in, which a jump or a branch doesn't lead to.
const COMES_IN: u32 = 1 << 31;

/// The blocks of one contract.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Not sorted out yet, some of them many times.
    noted: Vec<u32>,
    /// Sorted out.
    reached: Option<Reached>,
}

impl Places {
    /// Notes pcs where blocks begin that a frame has come to by a jump, a JUMPI not taken, or of
    /// itself. `code` is the contract's.
    pub(crate) fn note(&mut self, code: &[u8], pcs: impl IntoIterator<Item = u32>) {
        let mut pcs = pcs.into_iter().peekable();
        while pcs.peek().is_some() {
            if self.noted.len() >= MOST_NOTED {
                self.sort_out(code);
            }
            let room = MOST_NOTED - self.noted.len();
            self.noted.extend(pcs.by_ref().take(room));
        }
    }

    /// Notes the pc where a frame comes in.
    pub(crate) fn note_entry(&mut self, code: &[u8], pc: usize) {
        self.note(code, [pc as u32 | COMES_IN]);
    }

    fn sort_out(&mut self, code: &[u8]) {
        let reached = self.reached.get_or_insert_with(|| Reached::new(code));
        for place in self.noted.drain(..) {
            let pc = (place & !COMES_IN) as usize;
            match place & COMES_IN {
                0 => reached.fall(code, pc),
                _ => reached.enter(code, pc),
            }
        }
    }

    /// The blocks, if any are known. `code` is the contract's.
    pub(crate) fn sorted_out(&mut self, code: &[u8]) -> Option<&Reached> {
        if !self.noted.is_empty() {
            self.sort_out(code);
        }
        self.reached.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_sorted_out() {
        // PUSH0 JUMPDEST STOP JUMPDEST, and many bytes.
        let mut code = vec![0x5f, 0x5b, 0x00, 0x5b];
        code.resize(4000, 0x00);
        let mut places = Places::default();
        assert!(places.sorted_out(&code).is_none());
        places.note_entry(&code, 0);
        places.note(&code, [1, 3, 1]);
        assert_eq!(places.sorted_out(&code).unwrap().heads(), [0, 1, 3]);
        places.note(&code, 4..2000);
        places.note_entry(&code, 2500);
        assert!(places.noted.len() <= MOST_NOTED);
        let reached = places.sorted_out(&code).unwrap();
        assert_eq!(reached.heads(), [0, 1, 3, 2500]);
        assert!((0..2000).filter(|&pc| pc != 2).all(|pc| reached.contains(pc)));
    }
}
