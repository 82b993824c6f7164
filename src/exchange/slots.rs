//! The slots of one nonce space: which part of the pool's extranonce2 is whose.

use std::collections::VecDeque;
use std::ops::Range;

use crate::proto::extranonce::{Extranonce1, SlotBytes, SlotPlan};

/// A slot that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub slot: u16,
    /// Whether the jobs on which its last owner worked are gone. A miner starts its counters at zero,
    /// so on one of those jobs it would repeat its predecessor's work.
    pub rested: bool,
}

#[derive(Debug)]
struct Freed {
    slot: u16,
    /// The newest job when it was freed.
    newest_job: u64,
}

/// Hands out slots in O(1): first what has rested, then what was never used, then what has rested
/// longest. Rest is a preference, not a wall: 65,536 miners that lose power and come back in ten
/// seconds are all served.
#[derive(Debug)]
pub struct Slots {
    /// Another exchange's: they go back to it.
    lent: bool,
    capacity: u32,
    live_max: u32,
    /// In use: by a miner, or lent.
    live: u32,
    /// Numbers that were never handed out, in the order in which they will be.
    fresh: VecDeque<Range<u32>>,
    freed: VecDeque<Freed>,
}

impl Slots {
    /// For `capacity` numbers (at most 65,536), of which `live_max` may be in use at once; `part` of
    /// `parts` is where to begin.
    ///
    /// A pool that gives the links of several shards one extranonce1 gives them one nonce space. Each
    /// shard begins in a part of its own, so their miners are apart as long as no shard has more than
    /// its part.
    #[must_use]
    pub fn new(capacity: u32, live_max: u32, (part, parts): (u32, u32)) -> Self {
        let capacity = capacity.min(1 << 16);
        let part = if cfg!(break_parts) { 0 } else { part };
        let first = capacity / parts.max(1) * part % capacity.max(1);
        let ranges = [first..capacity, 0..first];
        Self {
            lent: false,
            capacity,
            live_max: live_max.min(capacity),
            live: 0,
            fresh: ranges
                .into_iter()
                .filter(|range| !range.is_empty())
                .collect(),
            freed: VecDeque::new(),
        }
    }

    /// Those of a space of `capacity` numbers that another exchange lent.
    pub(crate) fn lent(capacity: u32, slots: Vec<Range<u32>>) -> Self {
        let mut lent = Self {
            lent: true,
            capacity: capacity.min(1 << 16),
            live_max: 0,
            live: 0,
            fresh: VecDeque::new(),
            freed: VecDeque::new(),
        };
        lent.add(slots);
        lent
    }

    /// Whether they are another exchange's.
    #[must_use]
    pub(crate) const fn are_lent(&self) -> bool {
        self.lent
    }

    /// Takes in more slots that were lent.
    pub(crate) fn add(&mut self, slots: Vec<Range<u32>>) {
        self.live_max += count(&slots);
        debug_assert!(self.live_max <= self.capacity);
        self.fresh.extend(slots);
    }

    /// How many are in use.
    #[must_use]
    pub const fn live(&self) -> u32 {
        self.live
    }

    /// How many may be in use at once.
    #[must_use]
    pub(crate) const fn room(&self) -> u32 {
        self.live_max
    }

    /// How many more may be in use.
    #[must_use]
    pub(crate) const fn free(&self) -> u32 {
        self.live_max.saturating_sub(self.live)
    }

    /// Whether another one may be handed out.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.live < self.live_max
    }

    /// Hands out a slot; `oldest_job` is the oldest job that is still known. `None` when full.
    pub fn take(&mut self, oldest_job: u64) -> Option<Taken> {
        if !self.has_room() {
            return None;
        }
        let rested = self
            .freed
            .front()
            .is_some_and(|freed| freed.newest_job < oldest_job);
        let fresh = if rested { None } else { self.take_fresh() };
        let taken = match fresh {
            Some(slot) => Taken { slot, rested: true },
            None => Taken {
                slot: self.freed.pop_front()?.slot,
                rested,
            },
        };
        self.live += 1;
        Some(taken)
    }

    fn take_fresh(&mut self) -> Option<u16> {
        let range = self.fresh.front_mut()?;
        let slot = u16::try_from(range.start).ok()?;
        range.start += 1;
        if range.start == range.end {
            self.fresh.pop_front();
        }
        Some(slot)
    }

    /// Takes a slot back; `newest_job` is the newest job that its owner may have worked on.
    pub fn give_back(&mut self, slot: u16, newest_job: u64) {
        debug_assert!(self.live > 0 && u32::from(slot) < self.capacity);
        self.live -= 1;
        self.freed.push_back(Freed { slot, newest_job });
    }

    /// Takes out as many as `wanted`, for another exchange to hand out. In the order of [`Slots::new`], so
    /// that a shard stays within its part for as long as it can.
    pub(crate) fn deal(&mut self, wanted: u32) -> Vec<Range<u32>> {
        let wanted = wanted.min(self.free());
        let (mut dealt, mut left) = (Vec::new(), wanted);
        while left > 0 {
            if let Some(range) = self.fresh.front_mut() {
                let end = range.start + left.min(range.end - range.start);
                dealt.push(range.start..end);
                left -= end - range.start;
                range.start = end;
                if range.start == range.end {
                    self.fresh.pop_front();
                }
            } else if let Some(freed) = self.freed.pop_front() {
                let slot = u32::from(freed.slot);
                dealt.push(slot..slot + 1);
                left -= 1;
            } else {
                debug_assert!(false, "what is free is fresh or was freed");
                break;
            }
        }
        self.live += wanted - left;
        dealt
    }

    /// Takes back what was dealt; `newest_job` as for [`Slots::give_back`].
    pub(crate) fn take_back(&mut self, slots: &[Range<u32>], newest_job: u64) {
        for slot in slots.iter().cloned().flatten() {
            if let Ok(slot) = u16::try_from(slot) {
                self.give_back(slot, newest_job);
            }
        }
    }

    /// Whether none was ever taken out.
    pub(crate) fn are_untouched(&self) -> bool {
        self.live == 0 && self.freed.is_empty()
    }

    /// Keeps those of these back that were never taken out, until they are taken back.
    pub(crate) fn withhold(&mut self, slots: &[Range<u32>]) {
        let fresh = std::mem::take(&mut self.fresh);
        for range in fresh {
            let left = without(std::slice::from_ref(&range), slots);
            self.live += range.end - range.start - count(&left);
            self.fresh.extend(left);
        }
    }

    /// Takes out of what was lent as many as `wanted`, to be given back: nobody here uses them.
    pub(crate) fn part_with(&mut self, wanted: u32) -> Vec<Range<u32>> {
        let dealt = self.deal(wanted);
        let count = count(&dealt);
        self.live -= count;
        self.live_max -= count;
        dealt
    }
}

/// How many slots these are.
pub(crate) fn count(slots: &[Range<u32>]) -> u32 {
    slots.iter().map(|range| range.end - range.start).sum()
}

/// Some slots without others, in ascending order. Within either no slot stands twice.
pub(crate) fn without(slots: &[Range<u32>], gone: &[Range<u32>]) -> Vec<Range<u32>> {
    let sorted = |slots: &[Range<u32>]| {
        let mut slots = slots.to_vec();
        slots.sort_unstable_by_key(|range| range.start);
        slots
    };
    let (gone, mut first, mut left) = (sorted(gone), 0, Vec::new());
    for mut range in sorted(slots) {
        // Those that end before this one begins are before all that follow.
        while gone.get(first).is_some_and(|gone| gone.end <= range.start) {
            first += 1;
        }
        let cuts = gone.iter().skip(first);
        for cut in cuts.take_while(|cut| cut.start < range.end) {
            left.push(range.start..cut.start.max(range.start));
            range.start = cut.end.min(range.end);
        }
        left.push(range);
    }
    left.retain(|range| !range.is_empty());
    left
}

/// The nonce space that a pool gave a link. Two links that were given the same one share it.
#[derive(Debug)]
pub(crate) struct NonceSpace {
    /// The pool that gave it.
    pub(crate) pool: usize,
    /// The bytes that the pool fixes.
    pub(crate) extranonce1: Extranonce1,
    /// What the pool calls the session, where shares must say so.
    pub(crate) share_session: Option<Box<[u8]>>,
    /// How the rest is divided.
    pub(crate) plan: SlotPlan,
    /// Who has which part.
    pub(crate) slots: Slots,
}

impl NonceSpace {
    /// Whether the two are one: a miner of either may search what one of the other does. Not where shares
    /// name the session: it ends with its connection, and another one has other jobs, whatever its name.
    #[must_use]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.pool == other.pool
            && self.extranonce1 == other.extranonce1
            && self.share_session.is_none()
            && other.share_session.is_none()
            && self.plan == other.plan
    }

    /// What tells it from the others of its pool, for people: the pool's bytes, or what it calls the session
    /// where shares must say that.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        match &self.share_session {
            Some(session) => String::from_utf8_lossy(session)
                .trim_matches('"')
                .to_owned(),
            None => format!("{:?}", self.extranonce1),
        }
    }

    /// Those of our slots whose miners may search what one of these does, which are another space's.
    pub(crate) fn overlap(&self, other: &Self, slots: &[Range<u32>]) -> Vec<Range<u32>> {
        if self.pool != other.pool || self.share_session.is_some() || other.share_session.is_some()
        {
            return Vec::new();
        }
        let theirs = slots.iter().cloned().flatten();
        let theirs = theirs.filter_map(|slot| u16::try_from(slot).ok());
        let mut found: Vec<Range<u32>> = theirs
            .map(|slot| self.slots_at(other.extranonce1_of(slot).as_bytes()))
            .filter(|range| !range.is_empty())
            .collect();
        found.sort_unstable_by_key(|range| range.start);
        // Several of theirs may be in one of ours.
        found.dedup_by(|next, last| {
            let meets = next.start <= last.end;
            if meets {
                last.end = last.end.max(next.end);
            }
            meets
        });
        found
    }

    /// The slots whose miners may search what one does whose nonces begin with these bytes: a pool may fix
    /// fewer of them than before, or we.
    fn slots_at(&self, prefix: &[u8]) -> Range<u32> {
        let own = self.extranonce1.as_bytes();
        if !own.iter().zip(prefix).all(|(own, theirs)| own == theirs) {
            return 0..0;
        }
        let mut rest = prefix.iter().skip(own.len());
        let (mut first, mut count) = (0, 1);
        for _ in 0..self.plan.slot_len {
            let byte = rest.next();
            first = first << 8 | byte.map_or(0, |&byte| u32::from(byte));
            count <<= if byte.is_some() { 0 } else { 8 };
        }
        first..first + count
    }

    /// The bytes that we fix for the miner with this slot.
    #[must_use]
    pub(crate) const fn slot_bytes(&self, slot: u16) -> SlotBytes {
        SlotBytes::new(slot, self.plan.slot_len)
    }

    /// What the miner with this slot is told: the pool's bytes and its own.
    #[must_use]
    pub(crate) fn extranonce1_of(&self, slot: u16) -> Extranonce1 {
        // The plan takes the slot off the bytes that may follow, so it fits.
        self.extranonce1
            .with_slot(self.slot_bytes(slot))
            .unwrap_or(self.extranonce1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_slots_can_be_freed_and_taken_again_at_once() {
        let mut slots = Slots::new(1 << 16, 1 << 16, (1, 3));
        for round in 0..3 {
            let mut taken = vec![false; 1 << 16];
            for _ in 0..1 << 16 {
                let next = slots.take(1).unwrap();
                assert_eq!(next.rested, round == 0);
                assert!(!std::mem::replace(&mut taken[usize::from(next.slot)], true));
            }
            assert_eq!(slots.take(1), None);
            for slot in 0..=u16::MAX {
                slots.give_back(slot, 1);
            }
        }
    }

    #[test]
    fn shards_that_share_a_space_begin_apart() {
        let firsts = [0, 1, 2].map(|part| Slots::new(256, 256, (part, 3)).take(1).unwrap().slot);
        assert_eq!(firsts, [0, 85, 170]);
    }

    #[test]
    fn a_freed_slot_rests_until_the_jobs_of_its_time_are_gone() {
        let mut slots = Slots::new(256, 256, (0, 1));
        let first = slots.take(5).unwrap().slot;
        slots.give_back(first, 7);
        assert_ne!(slots.take(7).unwrap().slot, first);
        let again = slots.take(8).unwrap();
        assert_eq!((again.slot, again.rested), (first, true));
    }

    #[test]
    fn fewer_may_live_than_there_are_numbers() {
        let mut slots = Slots::new(256, 2, (0, 1));
        let first = slots.take(1).unwrap().slot;
        slots.take(1).unwrap();
        assert_eq!(slots.take(1), None);
        slots.give_back(first, 1);
        assert_ne!(
            slots.take(1).unwrap().slot,
            first,
            "a fresh one while the first rests"
        );
    }

    #[test]
    fn what_is_dealt_is_nobody_elses() {
        let mut slots = Slots::new(256, 200, (1, 4));
        let mut owners = vec![0; 256];
        for _ in 0..50 {
            owners[usize::from(slots.take(1).unwrap().slot)] += 1;
        }
        let first = slots.deal(100);
        assert_eq!(count(&first), 100);
        let mut guest = Slots::lent(256, first);
        let second = slots.deal(100);
        assert_eq!(count(&second), 50, "no more than may live at once");
        assert!(!slots.has_room() && slots.deal(1).is_empty());
        guest.add(second);
        while let Some(taken) = guest.take(1) {
            owners[usize::from(taken.slot)] += 1;
        }
        assert!(owners.iter().all(|&owners| owners <= 1));
        assert_eq!(owners.iter().sum::<i32>(), 200);
    }

    #[test]
    fn what_was_dealt_and_is_taken_back_is_handed_out_again() {
        let mut slots = Slots::new(256, 256, (0, 1));
        let dealt = slots.deal(256);
        assert!(slots.take(1).is_none());
        let mut guest = Slots::lent(256, dealt);
        let used = guest.take(1).unwrap().slot;
        let surplus = guest.part_with(1000);
        assert_eq!((count(&surplus), guest.free()), (255, 0));
        slots.take_back(&surplus, 4);
        let taken = slots.take(9).unwrap();
        assert!(taken.rested && taken.slot != used);
        assert_eq!(slots.free(), 254);
        let freed = slots.deal(254);
        assert_eq!(count(&freed), 254, "what was freed is dealt too");
    }

    #[test]
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "slots are lists of ranges, and some have one"
    )]
    fn slots_are_cut_out_of_ranges() {
        let left = without(&[20..30, 0..10], &[20..22, 5..6, 29..30]);
        assert_eq!(left, [0..5, 6..10, 22..29]);
        assert_eq!(without(&left, &left), []);
        assert_eq!(without(&[0..4, 4..8], &[2..6]), [0..2, 6..8]);
        assert_eq!(without(&[3..5], &[]), [3..5]);
    }

    #[test]
    fn what_is_withheld_is_handed_out_when_it_was_taken_back() {
        let mut slots = Slots::new(256, 256, (1, 2));
        slots.withhold(&[120..130, 0..100]);
        assert_eq!((slots.live(), slots.free()), (110, 146));
        let taken: Vec<u16> = std::iter::from_fn(|| Some(slots.take(1)?.slot)).collect();
        let expected: Vec<u16> = (130..=255).chain(100..120).collect();
        assert_eq!(taken, expected);
        slots.take_back(&[0..100, 120..130], 1);
        assert_eq!(slots.take(2).map(|taken| taken.slot), Some(0));
        assert_eq!(slots.free(), 109);
    }

    fn space(digits: &str, slot_len: u8) -> NonceSpace {
        NonceSpace {
            pool: 0,
            extranonce1: Extranonce1::parse(digits.as_bytes()).unwrap(),
            share_session: None,
            plan: SlotPlan {
                slot_len,
                extranonce2_len: 20,
            },
            slots: Slots::new(1 << (8 * slot_len), 65_536, (0, 1)),
        }
    }

    #[test]
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "slots are lists of ranges, and some have one"
    )]
    fn spaces_overlap_whatever_their_lengths() {
        let overlap = |new: (&str, u8), old: (&str, u8), slots: &[Range<u32>]| {
            space(new.0, new.1).overlap(&space(old.0, old.1), slots)
        };
        let old = ("a1b2", 1);
        let some = [7..9, 3..4];
        assert_eq!(overlap(old, old, &some), [3..4, 7..9]);
        assert_eq!(overlap(("a1b3", 1), old, &some), []);
        assert_eq!(
            overlap(("a1b2", 2), old, &some),
            [0x300..0x400, 0x700..0x900]
        );
        assert_eq!(overlap(("a1b2", 0), old, &some), [0..1]);
        assert_eq!(overlap(("a1", 1), old, &some), [0xb2..0xb3]);
        assert_eq!(
            overlap(("a1", 2), old, &some),
            [0xb203..0xb204, 0xb207..0xb209]
        );
        assert_eq!(overlap(("a1b203", 2), old, &some), [0..65_536]);
        assert_eq!(overlap(("a1b204", 2), old, &some), []);
        assert_eq!(overlap(("a1b2", 1), ("a1b2", 2), &[0x2ff..0x501]), [2..6]);
        let mut named = space("a1b2", 1);
        named.share_session = Some(b"1".as_slice().into());
        assert_eq!(named.overlap(&space("a1b2", 1), &some), []);
    }

    #[test]
    fn a_space_of_one_holds_one() {
        let mut slots = Slots::new(1, 65_536, (7, 8));
        assert_eq!(
            slots.take(0),
            Some(Taken {
                slot: 0,
                rested: true
            })
        );
        assert_eq!(slots.take(0), None);
        slots.give_back(0, 3);
        assert_eq!(
            slots.take(2),
            Some(Taken {
                slot: 0,
                rested: false
            })
        );
    }
}
