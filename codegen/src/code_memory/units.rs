//! Which units of memory are worth a huge page: those whose pages have all held something for long.
//!
//! A huge page is one entry of the table of addresses instead of 512, which code of many megabytes
//! gains by; but making one takes the system milliseconds, and a hole that is punched in it takes
//! it apart. So a unit has to be calm first: whole, and its pages the same, over two turns. One
//! that was taken apart, or refused, has to be calm for twice as many turns the next time, up to a
//! few hundred.
//! What is in the pages may come and go: a huge page is written to as others are.
//!
//! Cost: a byte or two for each unit, an addition for each that pages come or go in, and a walk
//! over all units a turn: a few microseconds for gigabytes.

use std::ops::Range;

/// Turns of calm that a unit needs the first time.
const TURNS: u16 = 2;

/// Times that the needed turns double.
const MOST_DOUBLINGS: u8 = 7;

/// What is known of each unit.
#[derive(Debug)]
pub(super) struct Units {
    units: Vec<Unit>,
    pages_per_unit: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Unit {
    /// Pages that hold something.
    full: u16,
    calm: Calm,
    /// Huge pages of it that were taken apart, or refused.
    broken: u8,
}

/// How long a unit has been as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calm {
    /// Turns over which it was whole, and no page came or went.
    Turns(u16),
    /// The system is being asked for a huge page.
    Asked,
    /// It is a huge page.
    Huge,
}

impl Default for Calm {
    fn default() -> Self {
        Self::Turns(0)
    }
}

impl Units {
    /// Units of so many pages, 1 to 65,535, all empty. A last one that isn't whole is no unit.
    pub(super) fn new(pages: usize, pages_per_unit: usize) -> Self {
        Self { units: vec![Unit::default(); pages / pages_per_unit], pages_per_unit }
    }

    /// These pages hold something now, and didn't before.
    pub(super) fn fill(&mut self, pages: Range<usize>) {
        self.change(pages, |unit, count| unit.full += count);
    }

    /// These pages hold nothing any more.
    pub(super) fn empty(&mut self, pages: Range<usize>) {
        self.change(pages, |unit, count| unit.full -= count);
    }

    fn change(&mut self, pages: Range<usize>, by: impl Fn(&mut Unit, u16)) {
        if pages.is_empty() {
            // What is in the pages changes all the time.
            return;
        }
        let per_unit = self.pages_per_unit;
        let touched = pages.start / per_unit..pages.end.div_ceil(per_unit).min(self.units.len());
        for index in touched {
            let start = pages.start.max(index * per_unit);
            let count = pages.end.min((index + 1) * per_unit) - start;
            let unit = &mut self.units[index];
            by(unit, u16::try_from(count).expect("a unit has that many pages"));
            if unit.calm == Calm::Huge {
                unit.broken = (unit.broken + 1).min(MOST_DOUBLINGS);
            }
            unit.calm = Calm::Turns(0);
        }
    }

    /// A turn: which units are to become huge pages now, `most` of them. Each is to be
    /// [`answered`](Self::answer).
    pub(super) fn turn(&mut self, most: usize) -> Vec<usize> {
        let mut asked = Vec::new();
        for (index, unit) in self.units.iter_mut().enumerate() {
            let Calm::Turns(turns) = unit.calm else { continue };
            if usize::from(unit.full) < self.pages_per_unit {
                continue;
            }
            let needed = TURNS << unit.broken;
            unit.calm = match turns >= needed && asked.len() < most {
                true => {
                    asked.push(index);
                    Calm::Asked
                }
                false => Calm::Turns(turns.saturating_add(1)),
            };
        }
        asked
    }

    /// Whether a unit that was asked for is a huge page; the system may be short of them. If its
    /// pages changed meanwhile, it counts as none, whether it is or not.
    pub(super) fn answer(&mut self, index: usize, is_huge: bool) {
        let unit = &mut self.units[index];
        if unit.calm == Calm::Asked {
            unit.calm = if is_huge { Calm::Huge } else { Calm::Turns(0) };
            if !is_huge {
                unit.broken = (unit.broken + 1).min(MOST_DOUBLINGS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns until a unit is asked for.
    fn turns(units: &mut Units) -> usize {
        (1..1000).find(|_| !units.turn(9).is_empty()).unwrap()
    }

    #[test]
    fn a_whole_unit_is_asked_for_once() {
        let mut units = Units::new(3 * 8 + 7, 8);
        units.fill(0..4);
        units.fill(20..31);
        for _ in 0..9 {
            assert_eq!(units.turn(9), [0; 0], "none is whole");
        }
        units.fill(4..20);
        assert_eq!(units.turn(9), [0; 0]);
        assert_eq!(units.turn(9), [0; 0]);
        assert_eq!(units.turn(2), [0, 1], "no more at once");
        units.answer(0, true);
        units.answer(1, true);
        assert_eq!(units.turn(9), [2]);
        units.answer(2, true);
        for _ in 0..999 {
            assert_eq!(units.turn(9), [0; 0]);
        }
    }

    #[test]
    fn what_is_taken_apart_waits_for_longer_each_time() {
        let mut units = Units::new(8, 8);
        units.fill(0..8);
        for needed in [3, 5, 9, 17, 33, 65, 129, 257, 257] {
            assert_eq!(turns(&mut units), needed);
            units.answer(0, true);
            units.empty(3..5);
            units.fill(3..5);
        }
    }

    #[test]
    fn a_unit_that_changed_meanwhile_is_none() {
        let mut units = Units::new(8, 8);
        units.fill(0..8);
        assert_eq!(turns(&mut units), 3);
        units.empty(0..1);
        units.answer(0, true);
        assert_eq!(units.turn(9), [0; 0]);
        units.fill(0..1);
        assert_eq!(turns(&mut units), 3, "it was never counted as one, so it wasn't taken apart");
    }

    #[test]
    fn what_the_system_refuses_is_asked_for_again_but_less_and_less_often() {
        let mut units = Units::new(8, 8);
        units.fill(0..8);
        for needed in [3, 5, 9, 17] {
            assert_eq!(turns(&mut units), needed);
            units.answer(0, false);
        }
    }

    #[test]
    fn nothing_changes_where_no_page_comes_or_goes() {
        let mut units = Units::new(8, 8);
        units.fill(0..8);
        for _ in 0..2 {
            assert_eq!(units.turn(9), [0; 0]);
            units.fill(5..5);
            units.empty(3..3);
        }
        assert_eq!(units.turn(9), [0]);
    }
}
