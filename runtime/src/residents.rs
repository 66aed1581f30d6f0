//! The resident programs, in an order of their own: so that who looks for one to evict needn't go
//! over all of them.
//!
//! A **hand** goes round. Who evicts looks at the next few, and takes the one that is used least;
//! the hand passes the others. So what that costs doesn't depend on how many there are, each is
//! looked at once in a round, and where they were put says nothing of when they go. The order is
//! that of publication, but where one leaves, the last takes its place.
//!
//! Beside that, the bytes that all of them hold, kept as they come and go.
//!
//! Lock: one, for a few loads and stores. Frames take it only where they ask for a compilation.

use crate::{locks::lock, lookup::RuntimeCacheKey};
use std::sync::{
    Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// Names a resident as long as it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(usize);

/// Which programs are resident.
#[derive(Debug, Default)]
pub(crate) struct Residents {
    table: Mutex<Table>,
    /// As in the table, for who needs them at one glance.
    bytes: AtomicU64,
    len: AtomicUsize,
    /// Entries that [`next`](Self::next) gave.
    #[cfg(test)]
    pub(crate) looked_at: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    /// Where the entries of seats are. Those of vacant ones mean nothing.
    places: Vec<usize>,
    vacant: Vec<Seat>,
    /// Where the hand is: an entry, unless there is none.
    hand: usize,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    key: RuntimeCacheKey,
    seat: Seat,
    bytes: u64,
}

impl Residents {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Bytes that they hold.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Adds one that holds so much.
    pub(crate) fn insert(&self, key: RuntimeCacheKey, bytes: u64) -> Seat {
        self.change(|table| table.insert(key, bytes))
    }

    /// Notes what one holds, which `bytes` tells: asked here, so that of two who add to a program
    /// the later one's answer holds.
    pub(crate) fn resize(&self, seat: Seat, bytes: impl FnOnce() -> u64) {
        self.change(|table| table.resize(seat, bytes()));
    }

    /// Takes one out.
    pub(crate) fn remove(&self, seat: Seat) {
        self.change(|table| table.remove(seat));
    }

    /// The next ones that the hand will pass, at most so many. Who looks them up may find that they
    /// have gone.
    pub(crate) fn next(&self, count: usize) -> Vec<(RuntimeCacheKey, Seat)> {
        let table = lock(&self.table);
        let (passed, coming) = table.entries.split_at(table.hand);
        let next = coming.iter().chain(passed).take(count);
        let next: Vec<_> = next.map(|entry| (entry.key, entry.seat)).collect();
        #[cfg(test)]
        self.looked_at.fetch_add(next.len() as u64, Relaxed);
        next
    }

    /// Has the hand pass so many.
    pub(crate) fn pass(&self, count: usize) {
        let mut table = lock(&self.table);
        if let Some(place) = (table.hand + count).checked_rem(table.entries.len()) {
            table.hand = place;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = lock(&self.table);
        let result = change(&mut table);
        self.bytes.store(table.bytes, Relaxed);
        self.len.store(table.entries.len(), Relaxed);
        result
    }
}

impl Table {
    fn insert(&mut self, key: RuntimeCacheKey, bytes: u64) -> Seat {
        let place = self.entries.len();
        let seat = match self.vacant.pop() {
            Some(Seat(seat)) => {
                self.places[seat] = place;
                Seat(seat)
            }
            None => {
                self.places.push(place);
                Seat(self.places.len() - 1)
            }
        };
        self.entries.push(Entry { key, seat, bytes });
        self.bytes += bytes;
        seat
    }

    fn resize(&mut self, seat: Seat, bytes: u64) {
        let entry = &mut self.entries[self.places[seat.0]];
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
    }

    fn remove(&mut self, seat: Seat) {
        let place = self.places[seat.0];
        let removed = self.entries.swap_remove(place);
        self.bytes -= removed.bytes;
        self.vacant.push(seat);
        if let Some(moved) = self.entries.get(place) {
            self.places[moved.seat.0] = place;
        }
        if self.hand >= self.entries.len() {
            self.hand = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use revm::primitives::hardfork::SpecId;
    use std::collections::HashMap;

    fn key(n: usize) -> RuntimeCacheKey {
        let code_hash = B256::left_padding_from(&n.to_be_bytes());
        RuntimeCacheKey { code_hash, spec_id: SpecId::CANCUN }
    }

    /// Whether the table says what a plain map does.
    fn check(residents: &Residents, expected: &HashMap<usize, (Seat, u64)>) {
        let all = residents.next(usize::MAX);
        assert_eq!((all.len(), residents.len()), (expected.len(), expected.len()));
        assert_eq!(residents.bytes(), expected.values().map(|(_, bytes)| bytes).sum::<u64>());
        for (n, (seat, _)) in expected {
            assert!(all.contains(&(key(*n), *seat)), "{n}");
        }
    }

    #[test]
    fn what_comes_grows_and_goes_is_kept() {
        let (residents, mut expected) = (Residents::default(), HashMap::new());
        let mut random = 0x2545_f491_4f6c_dd1du64;
        for step in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let (n, bytes) = ((random >> 20) as usize % 50, random >> 50);
            match (random % 4, expected.remove(&n)) {
                (0, Some((seat, _))) => residents.remove(seat),
                (1, Some((seat, _))) => {
                    residents.resize(seat, || bytes);
                    expected.insert(n, (seat, bytes));
                }
                (_, Some(kept)) => drop(expected.insert(n, kept)),
                (_, None) => {
                    let seat = residents.insert(key(n), bytes);
                    expected.insert(n, (seat, bytes));
                }
            }
            residents.pass((random >> 30) as usize % 7);
            if step % 100 == 0 {
                check(&residents, &expected);
            }
        }
        expected.drain().for_each(|(_, (seat, _))| residents.remove(seat));
        check(&residents, &expected);
        residents.pass(3);
        assert!(residents.next(3).is_empty());
    }

    #[test]
    fn the_hand_passes_each_once_a_round() {
        let residents = Residents::default();
        for n in 0..10 {
            residents.insert(key(n), 1);
        }
        let mut seen = Vec::new();
        for _ in 0..5 {
            let next = residents.next(2);
            assert_eq!(residents.next(2), next, "who looks moves nothing");
            seen.extend(next.into_iter().map(|(key, _)| key));
            residents.pass(2);
        }
        assert_eq!(seen, (0..10).map(key).collect::<Vec<_>>());
        let all = residents.next(100);
        assert_eq!(all.len(), 10, "each once");
    }
}
