//! Regions: which blocks of a chunk are entered through one block only, at one height of the stack.
//!
//! A region is a set of blocks of a chunk with one **leader**. Every way into the region goes
//! through the leader, and each of its blocks begins at one height of the stack relative to the
//! leader's. What holds at the leader, and what it computes, so holds in all its blocks: the
//! stack's bounds are checked there once for all of them, and the stack pointer is that of the
//! leader.
//!
//! Leaders are the blocks with an entry point, and those that two regions lead to, or one at two
//! heights. The solution is found optimistically: blocks join the region that leads to them, and a
//! block becomes a leader when a way into it contradicts that, which may contradict more blocks in
//! turn. After a few rounds all blocks with several ways in become leaders instead.
//!
//! Cost: a bounded number of rounds, each linear in the blocks of the chunk.

use crate::ir::entities::{Block, Chunk};
use crate::ir::program::{BlockData, Program};
use cranelift_entity::EntityRef;

/// Rounds before blocks with several predecessors become leaders.
const MAX_ROUNDS: usize = 3;

/// Heights beyond this make a leader: offsets from the leader's stack pointer stay small.
const MAX_HEIGHT: i32 = 2048;

/// How a block of a chunk is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Not from anywhere, or not compiled.
    #[default]
    Absent,
    /// From outside its region.
    Leader,
    /// Only from this block of the region, by its position in the chunk.
    Single(u32),
    /// From several blocks of the region.
    Merge,
}

/// A block's place in its region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// How it is entered.
    pub kind: Kind,
    /// Position in the chunk of its region's leader.
    pub leader: u32,
    /// Height of the stack at its start, relative to the leader's start.
    pub height: i16,
    /// Ways into the block from blocks of the chunk.
    pub predecessors: u32,
}

/// The regions of a chunk. Blocks are named by their position in the chunk.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    /// The place of each block.
    pub places: Vec<Place>,
    /// All blocks that aren't absent: region after region, each after those that lead to it,
    /// but for the ends of loops.
    pub order: Vec<u32>,
}

impl Regions {
    /// Finds the regions of a chunk.
    pub fn find(program: &Program, chunk: Chunk) -> Self {
        Self::find_split(program, chunk, |_| false)
    }

    /// [`find`](Self::find), where the blocks that `is_split` names are leaders as well. Any may be
    /// one: a region that is split knows less, and checks more.
    pub fn find_split(
        program: &Program,
        chunk: Chunk,
        mut is_split: impl FnMut(u32) -> bool,
    ) -> Self {
        let mut search = Search::new(program, chunk);
        let order = search.reachable();
        for &block in order.iter().filter(|&&block| is_split(block)) {
            search.is_leader[block as usize] = true;
        }
        search.count_predecessors(&order);
        search.solve(&order);
        search.finish()
    }
}

/// Where a block goes within its chunk.
#[derive(Clone, Copy, Default)]
struct Successors {
    /// The jump's target, and the next block.
    blocks: [Option<u32>; 2],
    /// Height of the stack at the block's end, relative to its start.
    delta: i32,
}

/// Region and height of a block, while they are looked for.
type Guess = Option<(u32, i32)>;

struct Search {
    successors: Vec<Successors>,
    is_leader: Vec<bool>,
    predecessors: Vec<Vec<u32>>,
    guesses: Vec<Guess>,
}

impl Search {
    fn new(program: &Program, chunk: Chunk) -> Self {
        let first = program.chunks[chunk].blocks.start;
        let inside = |block: Block| {
            let data = &program.blocks[block];
            (data.chunk == chunk && data.is_compiled()).then(|| block.as_u32() - first)
        };
        let successors = |data: &BlockData| {
            if !data.is_compiled() {
                return Successors::default();
            }
            let blocks = [data.terminator.static_target(), data.terminator.next_block()]
                .map(|block| block.and_then(inside));
            Successors { blocks, delta: data.stack.delta.into() }
        };
        let blocks = || program.chunk_blocks(chunk).map(|block| &program.blocks[block]);
        let count = program.chunks[chunk].blocks.len();
        Self {
            successors: blocks().map(successors).collect(),
            is_leader: blocks().map(|data| data.entry.is_some() && data.is_compiled()).collect(),
            predecessors: vec![Vec::new(); count],
            guesses: vec![None; count],
        }
    }

    /// The blocks that entry points lead to, in reverse postorder.
    fn reachable(&self) -> Vec<u32> {
        let mut walk = Walk::new(self.successors.len());
        let roots = (0..self.is_leader.len() as u32).rev();
        for root in roots.filter(|&root| self.is_leader[root as usize]) {
            walk.visit(root, |block| self.successors[block as usize].blocks);
        }
        walk.finish()
    }

    fn count_predecessors(&mut self, order: &[u32]) {
        for &block in order {
            for successor in self.successors[block as usize].blocks.into_iter().flatten() {
                self.predecessors[successor as usize].push(block);
            }
        }
    }

    /// Finds a leader and a height for each block, such that all ways in agree.
    fn solve(&mut self, order: &[u32]) {
        for _ in 0..MAX_ROUNDS {
            if !self.round(order) {
                return;
            }
        }
        for &block in order {
            if self.predecessors[block as usize].len() > 1 {
                self.is_leader[block as usize] = true;
            }
        }
        // Now every other block has one predecessor, which comes before it.
        self.round(order);
    }

    /// One round; whether there are more leaders now.
    fn round(&mut self, order: &[u32]) -> bool {
        // The first predecessor comes before the block, so that its guess is this round's.
        for &block in order {
            self.guesses[block as usize] = self.guess(block);
        }
        let mut changed = false;
        for &block in order {
            let guess = self.guesses[block as usize];
            let agrees = |&before: &u32| self.leads_in(before) == guess;
            let index = block as usize;
            if !self.is_leader[index] && !self.predecessors[index].iter().all(agrees) {
                self.is_leader[index] = true;
                changed = true;
            }
        }
        changed
    }

    /// What the first predecessor with a guess makes of a block.
    fn guess(&mut self, block: u32) -> Guess {
        let index = block as usize;
        if !self.is_leader[index] {
            let guess = self.predecessors[index].iter().find_map(|&before| self.leads_in(before));
            match guess {
                Some((_, height)) if height.abs() <= MAX_HEIGHT => return guess,
                _ => self.is_leader[index] = true,
            }
        }
        Some((block, 0))
    }

    /// The region and height in which a block ends.
    fn leads_in(&self, block: u32) -> Guess {
        let delta = self.successors[block as usize].delta;
        self.guesses[block as usize].map(|(leader, height)| (leader, height + delta))
    }

    /// The places, and an order in which each region is in one piece.
    fn finish(self) -> Regions {
        let places: Vec<Place> = (0..self.guesses.len()).map(|index| self.place(index)).collect();
        let inside = |block: u32| {
            self.successors[block as usize].blocks.map(|successor| {
                successor.filter(|&successor| places[successor as usize].kind != Kind::Leader)
            })
        };
        let mut order = Vec::with_capacity(places.len());
        let mut walk = Walk::new(places.len());
        for (index, place) in places.iter().enumerate() {
            if place.kind == Kind::Leader {
                walk.visit(index as u32, inside);
                order.extend(walk.take());
            }
        }
        Regions { places, order }
    }

    fn place(&self, index: usize) -> Place {
        let Some((leader, height)) = self.guesses[index] else { return Place::default() };
        let kind = match &*self.predecessors[index] {
            _ if self.is_leader[index] => Kind::Leader,
            &[before] => Kind::Single(before),
            _ => Kind::Merge,
        };
        let predecessors = self.predecessors[index].len() as u32;
        Place { kind, leader, height: height as i16, predecessors }
    }
}

/// A depth-first walk, of which the reverse postorder is wanted. Doesn't recurse.
struct Walk {
    seen: Vec<bool>,
    /// Blocks on the way, and how many of their successors are visited.
    path: Vec<(u32, usize)>,
    postorder: Vec<u32>,
}

impl Walk {
    fn new(blocks: usize) -> Self {
        Self { seen: vec![false; blocks], path: Vec::new(), postorder: Vec::new() }
    }

    /// Walks from a block. The last successor follows its predecessor in the order, if it can.
    fn visit(&mut self, root: u32, successors: impl Fn(u32) -> [Option<u32>; 2]) {
        self.enter(root);
        while let Some((block, visited)) = self.path.last_mut() {
            match successors(*block).get(*visited) {
                Some(successor) => {
                    *visited += 1;
                    successor.iter().for_each(|&successor| self.enter(successor));
                }
                None => {
                    self.postorder.push(*block);
                    self.path.pop();
                }
            }
        }
    }

    fn enter(&mut self, block: u32) {
        if !std::mem::replace(&mut self.seen[block as usize], true) {
            self.path.push((block, 0));
        }
    }

    /// The reverse postorder of what was visited since the last call.
    fn take(&mut self) -> impl Iterator<Item = u32> + '_ {
        self.postorder.drain(..).rev()
    }

    fn finish(mut self) -> Vec<u32> {
        self.take().collect()
    }
}

impl Place {
    /// Whether two blocks are in one region.
    pub fn is_with(&self, other: &Self) -> bool {
        self.kind != Kind::Absent && other.kind != Kind::Absent && self.leader == other.leader
    }
}

/// A block's position in its chunk.
pub fn position(program: &Program, block: Block) -> u32 {
    let chunk = program.blocks[block].chunk;
    (block.index() as u32) - program.chunks[chunk].blocks.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PassOptions, analyze};

    /// A branch to two blocks that meet.
    const DIAMOND: [u8; 13] =
        [0x36, 0x60, 0x08, 0x57, 0x34, 0x60, 0x0a, 0x56, 0x5b, 0x33, 0x5b, 0x54, 0x00];

    #[test]
    fn any_block_can_be_a_leader() {
        let program = analyze(&DIAMOND, &PassOptions::default()).expect("short code");
        let chunk = Chunk::from_u32(0);
        let leaders = |split: Option<u32>| {
            let regions = Regions::find_split(&program, chunk, |block| Some(block) == split);
            assert_eq!(regions.order.len(), 4, "{program}");
            let kinds = regions.places.iter().map(|place| place.kind);
            kinds.map(|kind| kind == Kind::Leader).collect::<Vec<_>>()
        };
        assert_eq!(leaders(None), [true, false, false, false]);
        assert_eq!(leaders(Some(0)), leaders(None));
        // Two regions lead to the last block then.
        assert_eq!(leaders(Some(1)), [true, true, false, true]);
        assert_eq!(leaders(Some(2)), [true, false, true, true]);
        assert_eq!(leaders(Some(3)), [true, false, false, true]);
    }

    #[test]
    fn blocks_are_together_that_have_one_leader() {
        let program = analyze(&DIAMOND, &PassOptions::default()).expect("short code");
        let regions = Regions::find_split(&program, Chunk::from_u32(0), |block| block == 1);
        let is_with =
            |one: usize, other: usize| regions.places[one].is_with(&regions.places[other]);
        assert!(is_with(0, 2) && is_with(1, 1), "{program}");
        assert!(!is_with(0, 1) && !is_with(2, 3), "{program}");
        // Nobody is with who isn't there, though its leader has the number of the first block.
        let absent = Place::default();
        assert!(!regions.places[0].is_with(&absent) && !absent.is_with(&regions.places[0]));
    }

    /// Regions of made-up blocks, each given by what it leads to and its delta. The first is
    /// entered.
    fn regions_of(blocks: &[(&[u32], i32)]) -> Regions {
        let successors = |&(to, delta): &(&[u32], i32)| Successors {
            blocks: [to.first().copied(), to.get(1).copied()],
            delta,
        };
        let mut search = Search {
            successors: blocks.iter().map(successors).collect(),
            is_leader: (0..blocks.len()).map(|index| index == 0).collect(),
            predecessors: vec![Vec::new(); blocks.len()],
            guesses: vec![None; blocks.len()],
        };
        let order = search.reachable();
        search.count_predecessors(&order);
        search.solve(&order);
        search.finish()
    }

    #[test]
    fn far_from_its_leader_a_block_is_one_itself() {
        for up in [1, -1] {
            let half = up * MAX_HEIGHT / 2;
            let chain = |last| regions_of(&[(&[1], half), (&[2], half), (&[3], last), (&[], 0)]);
            assert_eq!(leaders(&chain(0)), [0]);
            assert_eq!(leaders(&chain(up)), [0, 3]);
        }
    }

    fn leaders(regions: &Regions) -> Vec<usize> {
        let places = regions.places.iter().enumerate();
        let leaders = places.filter(|(_, place)| place.kind == Kind::Leader);
        leaders.map(|(index, _)| index).collect()
    }

    /// The blocks 1 to `joins` are each joined by the one before it and by a block of the first
    /// one's region; the first of them at two heights, so that it is a leader, and then the second.
    /// The last blocks are a diamond.
    fn chain_of_joins(joins: u32) -> Regions {
        // Block 0 leads to 1 and to the first of the others, which each lead to a join.
        let other = |join: u32| joins + join;
        let delta = |join| [0, 1, -1].get(join as usize).copied().unwrap_or(0);
        let mut edges: Vec<(Vec<u32>, i32)> = vec![(vec![1, other(1)], 0)];
        edges.extend((1..joins).map(|join| (vec![join + 1], 0)));
        edges.push((vec![], 0));
        edges.extend((1..=joins).map(|join| (vec![join, other(join + 1)], delta(join))));
        let diamond = other(joins + 1);
        edges.extend([(vec![diamond + 1, diamond + 2], 0), (vec![diamond + 2], 0), (vec![], 0)]);
        let blocks: Vec<(&[u32], i32)> = edges.iter().map(|(to, delta)| (&**to, *delta)).collect();
        regions_of(&blocks)
    }

    #[test]
    fn after_some_rounds_all_that_have_several_ways_in_are_leaders() {
        assert_eq!(leaders(&chain_of_joins(MAX_ROUNDS as u32 - 1)), [0, 1, 2]);
        // Not so the diamond's second block, which has one way in, nor its first.
        let last = 2 * MAX_ROUNDS + 3;
        assert_eq!(leaders(&chain_of_joins(MAX_ROUNDS as u32)), [0, 1, 2, 3, last]);
    }
}
