//! A link that serves the miners of several shards: the side that has the link.
//!
//! A *host* lends a part of its link's slots to a *guest*, the exchange of another shard, and tells it
//! what its own miners are told: jobs, targets, other bytes in front. The guest's shares come as whole
//! lines; each is sent on under the next request id of the link, and the pool's answer goes back under the
//! guest's own number. What the guest's side does is in `leases.rs`.
//!
//! What is lent belongs to an epoch of the link. When that is over, so is the lease, and the guest asks
//! again. Nobody else gets its slots before it has said that it has left them (`recalls.rs`).

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::{Exchange, Fact, GuestSays, HostSays, LeaseId, Letter, LinkKey, ShareEnd, Terms};
use crate::exchange::link::{Link, Role};
use crate::exchange::pending::{Owner, Pending};
use crate::exchange::slots::{self, NonceSpace, without};
use crate::proto::job::Job;
use crate::proto::share::Reject;
use crate::proto::target::Target;
use crate::proto::time::Now;
use crate::proto::version_mask::VersionMask;
use crate::wire::encode;
use crate::wire::request_id::RequestId;

/// Slots that a guest gets beyond those that it needs at once, of 65,536. Each of them may lie idle while
/// another shard is out of slots.
const SPARE_SLOTS: u32 = 64;

/// An exchange that borrows a part of a link.
#[derive(Debug)]
pub(crate) struct Guest {
    shard: usize,
    pub(super) lease: LeaseId,
    /// The guest's name for it.
    request: LinkKey,
    /// How many nonce spaces were lent to it: the link may get another one within its session.
    pub(super) spaces: u32,
    /// The last one.
    pub(super) space: Rc<RefCell<NonceSpace>>,
    /// Its slots there.
    pub(super) slots: Vec<Range<u32>>,
    /// How many more it asked for and waits for.
    pub(super) wants: Option<u32>,
    /// What became of its shares and was not told yet.
    answers: Vec<(u64, ShareEnd)>,
}

/// An exchange that waits for something to borrow.
#[derive(Debug)]
pub(crate) struct Borrower {
    shard: usize,
    request: LinkKey,
    slots: u32,
}

/// The slots that a guest may keep beyond those that it needs, of a link with room for so many miners.
pub(super) fn spare_slots(room: u32) -> u32 {
    (room / 256).clamp(1, SPARE_SLOTS)
}

impl Exchange {
    /// A guest has something to say.
    pub(super) fn handle_guest(&mut self, now: Now, shard: usize, says: GuestSays) {
        match says {
            GuestSays::Borrow {
                request,
                pool,
                slots,
            } => self.handle_borrow(now, shard, request, pool, slots),
            GuestSays::Shares { lease, lines } => self.handle_guest_shares(now, lease, &lines),
            GuestSays::MoreSlots { lease, slots } => self.handle_more_slots(lease, slots),
            GuestSays::FewerSlots {
                lease,
                space,
                slots,
            } => self.handle_fewer_slots(lease, space, &slots),
            GuestSays::Left { lease, space } => self.release(now, lease, space),
            GuestSays::GiveBack { lease } => {
                if let Some((index, place)) = self.find_guest(lease) {
                    let guest = self.links[index].guests.swap_remove(place);
                    guest.take_back(&guest.slots, self.sequence);
                }
                self.release(now, lease, u32::MAX);
            }
        }
    }

    fn find_guest(&self, lease: LeaseId) -> Option<(usize, usize)> {
        self.links.iter().enumerate().find_map(|(index, link)| {
            let place = link.guests.iter().position(|guest| guest.lease == lease)?;
            Some((index, place))
        })
    }

    fn handle_borrow(
        &mut self,
        now: Now,
        shard: usize,
        request: LinkKey,
        pool: Option<usize>,
        slots: u32,
    ) {
        self.borrowers.retain(|borrower| borrower.shard != shard);
        if self.shutting_down {
            return self.decline(shard, request);
        }
        let borrower = Borrower {
            shard,
            request,
            slots,
        };
        if let Some(pool) = pool {
            // It has a pool to go to itself: it is told at once.
            let has_link = |link: &Link| link.can_lend() && link.pool == pool && link.has_work();
            match self.links.iter().position(has_link) {
                Some(index) => self.lend(index, borrower),
                None => self.decline(shard, request),
            }
            return;
        }
        self.borrowers.push(borrower);
        self.serve_borrowers();
        if !self.borrowers.is_empty() && self.primary().is_none() {
            self.open_link(now, false);
        }
    }

    fn decline(&mut self, shard: usize, request: LinkKey) {
        self.write_to(shard, HostSays::Declined { request });
    }

    fn write_to(&mut self, shard: usize, says: HostSays) {
        self.letters.push_back((shard, Letter::Host(says)));
    }

    /// Lends to those that wait for it, if there is a link.
    pub(super) fn serve_borrowers(&mut self) {
        while !self.borrowers.is_empty() {
            let best = self.links.iter().filter(|link| link.can_lend());
            if let Some(index) = best.min_by_key(|link| link.pool).map(|link| link.key.index) {
                let borrower = self.borrowers.remove(0);
                self.lend(index, borrower);
                continue;
            }
            let up = || self.serving().filter(|link| link.is_up());
            // A link that is full has nothing to wait for but slots that are to come back, and says so to its
            // miners.
            if up().next().is_some() && !up().any(|link| self.expects_slots(link)) {
                for Borrower { shard, request, .. } in std::mem::take(&mut self.borrowers) {
                    self.decline(shard, request);
                }
            }
            return;
        }
    }

    fn lend(&mut self, index: usize, borrower: Borrower) {
        let Borrower {
            shard,
            request,
            slots: wanted,
        } = borrower;
        let slots = self.deal(index, wanted);
        let Some(space) = self.links[index]
            .space
            .clone()
            .filter(|_| !slots.is_empty())
        else {
            return self.decline(shard, request);
        };
        self.leases += 1;
        let lease = LeaseId(self.leases);
        let (pool, count) = (self.links[index].pool, slots::count(&slots));
        self.links[index].guests.push(Guest {
            shard,
            lease,
            request,
            spaces: 1,
            space,
            slots: slots.clone(),
            wants: None,
            answers: Vec::new(),
        });
        self.fact(Fact::Lent {
            pool,
            shard,
            slots: count,
        });
        self.tell_terms(index, shard, request, lease, slots);
    }

    /// Takes slots for a guest out of a link's space.
    fn deal(&mut self, index: usize, wanted: u32) -> Vec<Range<u32>> {
        let Some(space) = &self.links[index].space else {
            return Vec::new();
        };
        let mut space = space.borrow_mut();
        let spare = spare_slots(space.slots.room());
        space.slots.deal(wanted.saturating_add(spare))
    }

    fn tell_terms(
        &mut self,
        index: usize,
        shard: usize,
        request: LinkKey,
        lease: LeaseId,
        slots: Vec<Range<u32>>,
    ) {
        let link = &self.links[index];
        let Some(space) = &link.space else {
            return;
        };
        let space = space.borrow();
        // Of a job that the link has yet to announce a guest can send no share.
        let newest = link.jobs.announced();
        let in_force = newest.and_then(|known| known.pool_target);
        let terms = Box::new(Terms {
            pool: space.pool,
            extranonce1: space.extranonce1,
            share_session: space.share_session.clone(),
            plan: space.plan,
            version_mask: link.version_mask,
            slots,
            job: newest.map(|known| (known.job.clone(), known.pool_target)),
            next_target: link.target.filter(|_| link.target != in_force),
        });
        drop(space);
        self.write_to(
            shard,
            HostSays::Lent {
                request,
                lease,
                terms,
            },
        );
    }

    /// The link has another nonce space within its session, and its guests' slots were recalled: each of them
    /// gets a part of that.
    pub(super) fn lend_again(&mut self, index: usize) {
        let Some(space) = self.links[index].space.clone() else {
            return;
        };
        for place in 0..self.links[index].guests.len() {
            let wanted = self.links[index].guests[place].wants.take();
            let slots = self.deal(index, wanted.unwrap_or(0));
            let guest = &mut self.links[index].guests[place];
            let (shard, request, lease) = (guest.shard, guest.request, guest.lease);
            debug_assert!(guest.slots.is_empty(), "they were recalled");
            guest.slots.clone_from(&slots);
            guest.space = Rc::clone(&space);
            self.tell_terms(index, shard, request, lease, slots);
        }
    }

    /// Tells the guests of a link what its own miners are told.
    pub(super) fn tell_guests(&mut self, index: usize, says: impl Fn(LeaseId) -> HostSays) {
        for place in 0..self.links[index].guests.len() {
            let guest = &self.links[index].guests[place];
            let (shard, letter) = (guest.shard, says(guest.lease));
            self.write_to(shard, letter);
        }
    }

    pub(super) fn tell_guests_job(&mut self, index: usize, job: &Job) {
        self.tell_guests(index, |lease| HostSays::Job {
            lease,
            job: Box::new(job.clone()),
        });
    }

    pub(super) fn tell_guests_target(&mut self, index: usize, target: Target) {
        self.tell_guests(index, |lease| HostSays::Target { lease, target });
    }

    pub(super) fn tell_guests_version_mask(&mut self, index: usize, mask: VersionMask) {
        self.tell_guests(index, |lease| HostSays::VersionMask { lease, mask });
    }

    fn handle_more_slots(&mut self, lease: LeaseId, wanted: u32) {
        if let Some((index, place)) = self.find_guest(lease) {
            self.links[index].guests[place].wants = Some(wanted);
            self.serve_guest(index, place);
        }
    }

    /// Gives a guest the slots that it waits for, or none where there are none and none are to come back.
    pub(super) fn serve_guest(&mut self, index: usize, place: usize) {
        let link = &self.links[index];
        let Some(wanted) = link.guests[place].wants else {
            return;
        };
        if !link.has_room() && self.expects_slots(link) {
            return;
        }
        let slots = self.deal(index, wanted);
        let guest = &mut self.links[index].guests[place];
        guest.wants = None;
        guest.slots.extend(slots.iter().cloned());
        let (shard, lease) = (guest.shard, guest.lease);
        self.write_to(shard, HostSays::Slots { lease, slots });
    }

    fn handle_fewer_slots(&mut self, lease: LeaseId, space: u32, slots: &[Range<u32>]) {
        let Some((index, place)) = self.find_guest(lease) else {
            return;
        };
        let guest = &mut self.links[index].guests[place];
        // Those of a space before are gone with it.
        if guest.spaces != space {
            return;
        }
        guest.slots = without(&guest.slots, slots);
        guest.take_back(slots, self.sequence);
    }

    fn handle_guest_shares(&mut self, now: Now, lease: LeaseId, lines: &[u8]) {
        // A guest that was told the end of it knows that these are lost.
        let Some((index, _)) = self.find_guest(lease) else {
            return;
        };
        let limits = self.settings.limits;
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let Some((number, rest)) = split_number(line) else {
                debug_assert!(false, "a guest writes whole lines");
                continue;
            };
            let link = &mut self.links[index];
            let is_full = link.pending.len() >= limits.pending_shares_max
                || link.output.unwritten().len() >= limits.pool_outbox_bytes_max;
            if is_full {
                self.answer_guest(index, lease, number, ShareEnd::Refused(Reject::PoolBusy));
                continue;
            }
            if link.output.unwritten().is_empty() {
                link.took_bytes = now.since_start;
            }
            let start = link.output.end();
            let out = link.output.buffer();
            let before = out.len();
            out.extend_from_slice(ID);
            encode::append_u64(out, link.pending.next_id());
            out.extend_from_slice(rest);
            let len = out.len() - before;
            link.pending.push(Pending {
                owner: Owner::Guest(lease, number),
                id: RequestId::NULL,
                since: now.since_start,
                start,
                len,
                work: 0,
                resent: false,
                answered: false,
                worker: 0,
                account: None,
            });
        }
    }

    /// Tells a guest what became of its share; nobody if it gave back what it had.
    pub(super) fn answer_guest(
        &mut self,
        index: usize,
        lease: LeaseId,
        number: u64,
        end: ShareEnd,
    ) {
        let guests = &mut self.links[index].guests;
        if let Some(guest) = guests.iter_mut().find(|guest| guest.lease == lease) {
            guest.answers.push((number, end));
        }
    }

    /// Writes what became of guests' shares: one letter for each.
    pub(super) fn send_answers(&mut self) {
        for index in 0..self.links.len() {
            self.send_answers_of(index);
        }
    }

    fn send_answers_of(&mut self, index: usize) {
        for place in 0..self.links[index].guests.len() {
            let guest = &mut self.links[index].guests[place];
            if guest.answers.is_empty() {
                continue;
            }
            let answers = std::mem::take(&mut guest.answers);
            let (shard, lease) = (guest.shard, guest.lease);
            self.write_to(shard, HostSays::Answers { lease, answers });
        }
    }

    /// The epoch of a link is over, and with it what was lent of it.
    pub(super) fn end_leases(&mut self, index: usize) {
        self.send_answers_of(index);
        self.recall(index);
        for guest in std::mem::take(&mut self.links[index].guests) {
            self.write_to(guest.shard, HostSays::Ended { lease: guest.lease });
        }
    }
}

impl Guest {
    /// Some of its slots are nobody's again; `newest_job` as for `Slots::give_back`.
    fn take_back(&self, slots: &[Range<u32>], newest_job: u64) {
        self.space.borrow_mut().slots.take_back(slots, newest_job);
    }
}

impl Link {
    /// Whether another exchange's miners can have a part of it.
    fn can_lend(&self) -> bool {
        self.is_up()
            && self.role == Role::Serving
            && !self.pass_through
            && self.lease.is_none()
            && self.has_room()
    }
}

/// With what a share's line begins (`Dialect::write_share`).
const ID: &[u8] = b"{\"id\":";

/// A share's line in two: its number, and all that follows.
fn split_number(line: &[u8]) -> Option<(u64, &[u8])> {
    let rest = line.strip_prefix(ID)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = rest.split_at_checked(end)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_behind_its_number() {
        let line = b"{\"id\":4711,\"method\":\"mining.submit\"}\n";
        let (number, rest) = split_number(line).unwrap();
        assert_eq!(number, 4711);
        assert_eq!(rest, b",\"method\":\"mining.submit\"}\n");
        for bad in [
            &b"{\"id\":"[..],
            b"{\"id\":,",
            b"{\"method\":1}",
            b"",
            b"{\"id\":99999999999999999999999,",
        ] {
            assert!(split_number(bad).is_none());
        }
    }

    #[test]
    fn a_guest_has_few_slots_to_spare() {
        assert_eq!([1, 256, 65_536].map(spare_slots), [1, 1, 64]);
    }
}
