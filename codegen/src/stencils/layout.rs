//! Where the code of a contract lies: copies of stencils, one after the other as control flows, and
//! behind them, once each, what is called or jumped to.
//!
//! A long stencil without holes, or with one that is the same in all of a contract, is a **body**:
//! it is called, and returns. On its way out of the frame it doesn't: the frame's own end takes
//! down what was called in it.

use super::{
    key::{Action, Leave, Top},
    machine::TooFar,
    set::{Number, StencilSet},
    stencil::{Link, Stencil},
    writer::Symbol,
};

/// Where a jump or call leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The block of the JUMPDEST with this number.
    Label(u32),
    /// What hands over at a JUMPDEST that no code is made for.
    Absent {
        /// Its number.
        jumpdest: u32,
        /// Its pc.
        pc: u32,
    },
    /// A stencil behind the contract's own code.
    Body(Number),
    /// What hands over at the block with this number of those that may refuse.
    Refusal(u32),
    /// An offset in the code.
    Offset(u32),
}

/// The code of a contract, while it grows.
pub(super) struct Layout<'a> {
    set: &'a StencilSet,
    /// Longest stencil that is copied from here on if it can be called, in bytes.
    pub(super) most_copied: usize,
    code: Vec<u8>,
    links: Vec<(Link, Target)>,
    /// Offsets of blocks, by the number of their JUMPDEST.
    labels: Vec<u32>,
    /// The pcs of blocks that may refuse.
    refusals: Vec<u32>,
}

/// No offset: code isn't that long.
const NOWHERE: u32 = u32::MAX;

impl<'a> Layout<'a> {
    pub(super) fn new(set: &'a StencilSet, bytes: usize, jumpdests: usize) -> Self {
        Self {
            set,
            most_copied: 0,
            code: Vec::with_capacity(bytes * 13 + 4096),
            links: Vec::with_capacity(bytes),
            labels: vec![NOWHERE; jumpdests],
            refusals: Vec::new(),
        }
    }

    /// Where the next stencil will be.
    pub(super) fn here(&self) -> u32 {
        self.code.len() as u32
    }

    /// The block of this JUMPDEST begins here.
    pub(super) fn label(&mut self, jumpdest: usize) {
        self.labels[jumpdest] = self.here();
    }

    /// What hands over at a block.
    pub(super) fn refusal(&mut self, pc: u32) -> Target {
        if self.refusals.last() != Some(&pc) {
            self.refusals.push(pc);
        }
        Target::Refusal(self.refusals.len() as u32 - 1)
    }

    /// Adds a jump.
    pub(super) fn jump(&mut self, target: Target) {
        let link = self.set.machine.jump(&mut self.code);
        self.links.push((link, target));
    }

    /// Adds a jump to the address that is the top word.
    pub(super) fn jump_to_top(&mut self) {
        self.set.machine.jump_to_top(&mut self.code);
    }

    /// Adds a jump to the address that is the top word, unless that is zero.
    pub(super) fn jump_to_top_if_any(&mut self) {
        self.set.machine.jump_to_top_if_any(&mut self.code);
    }

    /// Adds a stencil: a copy with these numbers, or a call of its body. `elsewhere` is where its
    /// branch or refusal leads. Where the top word is behind it.
    pub(super) fn put(
        &mut self,
        number: Number,
        numbers: [i64; 4],
        elsewhere: Option<Target>,
    ) -> Top {
        let stencil = self.set.stencil(number);
        let after = stencil.after.unwrap_or(Top::Memory);
        // What has a number that is the contract's own gets that in its body.
        let is_long = stencil.code.len() > self.most_copied || !stencil.holes.is_empty();
        if stencil.is_body && is_long {
            let link = self.set.machine.call(&mut self.code);
            self.links.push((link, Target::Body(number)));
            return after;
        }
        self.copy(stencil, numbers, elsewhere);
        after
    }

    fn copy(&mut self, stencil: &Stencil, numbers: [i64; 4], elsewhere: Option<Target>) {
        let begin = self.here();
        self.code.extend_from_slice(&stencil.code);
        let end = self.here();
        for hole in &stencil.holes {
            let at = (begin + hole.at) as usize;
            let value = numbers[usize::from(hole.number)];
            self.set.machine.fill(&mut self.code, at, hole.field, value);
        }
        for &(link, symbol) in &stencil.links {
            let target = match symbol {
                Symbol::Next => Target::Offset(end),
                Symbol::Leave(leave) => self.leave(leave),
                Symbol::Taken | Symbol::Refused => {
                    elsewhere.expect("who puts a branch or a check says where it leads")
                }
            };
            self.links.push((Link { at: begin + link.at, ..link }, target));
        }
    }

    fn leave(&self, leave: Leave) -> Target {
        Target::Body(self.set.leave(leave).expect("the list has all ways out"))
    }

    /// Adds what is called or jumped to, and leads all jumps and calls to their targets.
    pub(super) fn finish(mut self, code_len: u32) -> Result<Vec<u8>, TooFar> {
        let refusals = self.add_refusals();
        self.add_absent();
        let bodies = self.add_bodies(code_len);
        let Self { set, mut code, links, labels, .. } = self;
        for (link, target) in links {
            let place = match target {
                Target::Label(number) | Target::Absent { jumpdest: number, .. } => {
                    labels[number as usize]
                }
                Target::Body(number) => bodies[number.index()],
                Target::Refusal(number) => refusals[number as usize],
                Target::Offset(offset) => offset,
            };
            set.machine.link(&mut code, link, place as usize)?;
        }
        code.shrink_to_fit();
        Ok(code)
    }

    /// Where the hand-overs of blocks that may refuse are.
    fn add_refusals(&mut self) -> Vec<u32> {
        let mut places = Vec::with_capacity(self.refusals.len());
        for pc in std::mem::take(&mut self.refusals) {
            places.push(self.here());
            self.leave_at(pc, Leave::HandOver);
        }
        places
    }

    /// Hands over at the JUMPDESTs that jumps lead to and no code is made for, where their blocks
    /// would be.
    fn add_absent(&mut self) {
        for at in 0..self.links.len() {
            if let Target::Absent { jumpdest, pc } = self.links[at].1
                && self.labels[jumpdest as usize] == NOWHERE
            {
                self.label(jumpdest as usize);
                self.leave_at(pc, Leave::Absent);
            }
        }
    }

    /// Leaves the frame at a pc.
    fn leave_at(&mut self, pc: u32, leave: Leave) {
        let action = if pc == 0 { Action::Zero } else { Action::Small };
        let number = self.set.find(action, Top::Memory).expect("the list has constants");
        self.put(number, [i64::from(pc), 0, 0, 0], None);
        let leave = self.leave(leave);
        self.jump(leave);
    }

    /// Where each body is. What bodies lead to is added as well.
    fn add_bodies(&mut self, code_len: u32) -> Vec<u32> {
        let mut places = vec![NOWHERE; self.set.len()];
        let mut at = 0;
        while at < self.links.len() {
            if let Target::Body(number) = self.links[at].1
                && places[number.index()] == NOWHERE
            {
                places[number.index()] = self.here();
                self.add_body(number, code_len);
            }
            at += 1;
        }
        places
    }

    fn add_body(&mut self, number: Number, code_len: u32) {
        let (set, stencil) = (self.set, self.set.stencil(number));
        let machine = set.machine;
        if stencil.is_leave {
            self.code.extend_from_slice(machine.unwind());
            self.copy(stencil, [0; 4], None);
        } else {
            self.code.extend_from_slice(machine.callee_begin(stencil.calls));
            self.copy(stencil, [code_len.into(), 0, 0, 0], None);
            self.code.extend_from_slice(machine.callee_return(stencil.calls));
        }
    }
}
