//! Slots that guests had, and may not know to be over.
//!
//! A guest hears by letter that a nonce space is over. Until then its miners work on in the slots that it was
//! lent, while the pool may have given the same bytes again: to this link or another one of ours, of the same
//! length or not. So these slots are *recalled*: nobody gets them, nor any in a later space that overlap with
//! them, before the guest has said that it left them. It says so at once when it reads of the end: with
//! [`GuestSays::Left`] where another space was lent in place of that one, and else with the
//! [`GuestSays::GiveBack`] that it writes once for each lease, in whatever way that is over.
//!
//! [`GuestSays::Left`]: super::GuestSays::Left
//! [`GuestSays::GiveBack`]: super::GuestSays::GiveBack

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::{Exchange, LeaseId};
use crate::exchange::link::Link;
use crate::exchange::slots::{self, NonceSpace, without};
use crate::proto::time::Now;

/// What a guest had of one nonce space.
#[derive(Debug)]
pub(crate) struct Recalled {
    lease: LeaseId,
    /// Which of the lease's nonce spaces, from 1.
    number: u32,
    /// What is kept free for it: its slots in that space, and behind these those of later ones that overlap.
    kept: Vec<Kept>,
}

/// Slots that are kept free.
#[derive(Debug)]
struct Kept {
    space: Rc<RefCell<NonceSpace>>,
    slots: Vec<Range<u32>>,
}

impl Recalled {
    /// The slots that are kept free in this space.
    fn kept_of(&self, space: &Rc<RefCell<NonceSpace>>) -> Option<&[Range<u32>]> {
        let kept = self.kept.iter().find(|kept| Rc::ptr_eq(&kept.space, space));
        kept.map(|kept| kept.slots.as_slice())
    }
}

impl Exchange {
    /// The link leaves its nonce space, and each of its guests is about to be told so.
    pub(super) fn recall(&mut self, index: usize) {
        for guest in &mut self.links[index].guests {
            let slots = std::mem::take(&mut guest.slots);
            guest.wants = Some(guest.wants.unwrap_or(0) + slots::count(&slots));
            self.recalled.push(Recalled {
                lease: guest.lease,
                number: guest.spaces,
                kept: vec![Kept {
                    space: Rc::clone(&guest.space),
                    slots,
                }],
            });
            guest.spaces += 1;
        }
    }

    /// Keeps back the slots of a space in which guests' miners may be still.
    pub(super) fn withhold(&mut self, space: &Rc<RefCell<NonceSpace>>) {
        let mut new = space.borrow_mut();
        // It did so when it was new, and what one lends is not its own.
        if !new.slots.are_untouched() || new.slots.are_lent() {
            return;
        }
        for recalled in &mut self.recalled {
            let old = recalled.kept.first();
            let Some(old) = old.filter(|old| !Rc::ptr_eq(&old.space, space)) else {
                continue;
            };
            let slots = new.overlap(&old.space.borrow(), &old.slots);
            if !slots.is_empty() {
                new.slots.withhold(&slots);
                let space = Rc::clone(space);
                recalled.kept.push(Kept { space, slots });
            }
        }
    }

    /// Whether some slots of a link are kept back for now.
    pub(super) fn expects_slots(&self, link: &Link) -> bool {
        let Some(space) = &link.space else {
            return false;
        };
        let mut recalled = self.recalled.iter();
        recalled.any(|recalled| recalled.kept_of(space).is_some())
    }

    /// A guest has left the nonce spaces that it was lent under this name, up to this number.
    pub(super) fn release(&mut self, now: Now, lease: LeaseId, last: u32) {
        let is_left = |recalled: &Recalled| recalled.lease == lease && recalled.number <= last;
        let count = self.recalled.len();
        while let Some(place) = self.recalled.iter().position(is_left) {
            for Kept { space, mut slots } in self.recalled.swap_remove(place).kept {
                // Another one may be in the same slot of a space that fixes fewer bytes.
                for other in &self.recalled {
                    if let Some(kept) = other.kept_of(&space) {
                        slots = without(&slots, kept);
                    }
                }
                space.borrow_mut().slots.take_back(&slots, self.sequence);
            }
        }
        if self.recalled.len() < count {
            self.hand_out_again(now);
        }
    }

    /// Slots came back for which somebody may wait.
    fn hand_out_again(&mut self, now: Now) {
        self.serve_waiting(now);
        for index in 0..self.links.len() {
            for place in 0..self.links[index].guests.len() {
                self.serve_guest(index, place);
            }
        }
        self.serve_borrowers();
    }
}
