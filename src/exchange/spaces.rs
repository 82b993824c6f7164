//! The nonce space that a pool gives a link, and the move of its miners to another one.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Exchange, Fact, LinkEnd};
use crate::exchange::link::{LinkState, Role};
use crate::exchange::miner_side::owed_to_newcomer;
use crate::exchange::miners::Stage;
use crate::exchange::outbox::Owed;
use crate::exchange::slots::{NonceSpace, Slots};
use crate::exchange::spares::Former;
use crate::proto::dialect::Subscription;
use crate::proto::extranonce::SlotWidth;
use crate::proto::share::Reject;
use crate::proto::time::Now;

/// Miners of a link that got another place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    /// Those that were told.
    pub(super) told: usize,
    /// Those that must reconnect.
    pub(super) closed: usize,
}

impl Exchange {
    /// The pool gave a nonce space. The same one as before means that the session goes on.
    pub(super) fn handle_subscribed(&mut self, now: Now, index: usize, subscription: Subscription) {
        let link = &mut self.links[index];
        link.put_warm_job_away();
        if let LinkState::Handshaking(since, _) = &mut link.state {
            // Authorize is on its way, and has its own time.
            *since = now.since_start;
        }
        if let Some(id) = &subscription.session_id {
            link.session_id = Some((link.pool, id.clone()));
        }
        let Some(space) = self.new_space(index, &subscription) else {
            let detail = format!("it leaves {} bytes", subscription.extranonce2_len);
            self.lose_link(now, index, LinkEnd::NoNonceSpace, detail);
            return;
        };
        if self.is_own_space(index, &space) {
            return;
        }
        let (shared, taken) = match self.space_of_other(index, &space) {
            Some(theirs) => (theirs, true),
            None => (Rc::new(RefCell::new(space)), false),
        };
        let extranonce1 = shared.borrow().extranonce1;
        if taken && self.links[index].space_taken == 0 {
            self.links[index].space_taken += 1;
            self.links[index].session_id = None;
            let detail = format!("{extranonce1:?}");
            self.lose_link(now, index, LinkEnd::NonceSpaceTaken, detail);
            return;
        }
        if taken {
            self.tell_of_shared_space(index, &shared);
        }
        self.abandon_shares(index);
        self.links[index].next_space = Some(shared);
    }

    fn is_own_space(&self, index: usize, space: &NonceSpace) -> bool {
        let own = self.links[index].space.as_ref();
        own.is_some_and(|own| is_ours(&own.borrow(), space))
    }

    /// The same space, where another link has it or is about to.
    fn space_of_other(&self, index: usize, space: &NonceSpace) -> Option<Rc<RefCell<NonceSpace>>> {
        let others = self
            .links
            .iter()
            .filter(|link| link.key.index != index && !matches!(link.state, LinkState::Idle));
        others
            .flat_map(|link| [&link.space, &link.next_space])
            .flatten()
            .find(|theirs| is_ours(&theirs.borrow(), space))
            .map(Rc::clone)
    }

    fn tell_of_shared_space(&mut self, index: usize, space: &Rc<RefCell<NonceSpace>>) {
        let extranonce1 = space.borrow().name();
        let pool = self.links[index].pool;
        self.fact(Fact::NonceSpaceShared { pool, extranonce1 });
    }

    fn new_space(&self, index: usize, subscription: &Subscription) -> Option<NonceSpace> {
        let link = &self.links[index];
        let width = if link.pass_through {
            SlotWidth::Fixed(0)
        } else {
            self.settings.slot_width
        };
        let plan = self.dialect.plan(
            width,
            subscription.extranonce2_len,
            link.granted_version_mask,
        )?;
        Some(NonceSpace {
            pool: link.pool,
            extranonce1: subscription.extranonce1,
            share_session: subscription.share_session.clone(),
            plan,
            slots: Slots::new(
                plan.capacity(),
                self.settings.miners_per_link,
                self.settings.part,
            ),
        })
    }

    /// The bytes that a `mining.set_extranonce` announced hold from this job on. Says whether the link goes
    /// on with others than before.
    pub(super) fn change_space(
        &mut self,
        now: Now,
        index: usize,
        subscription: &Subscription,
    ) -> bool {
        let Some(space) = self.new_space(index, subscription) else {
            let detail = format!("it leaves {} bytes", subscription.extranonce2_len);
            self.lose_link(now, index, LinkEnd::NoNonceSpace, detail);
            return false;
        };
        // The same bytes again move nobody.
        if self.links[index].next_space.is_none() && self.is_own_space(index, &space) {
            return false;
        }
        let space = match self.space_of_other(index, &space) {
            Some(theirs) => {
                self.tell_of_shared_space(index, &theirs);
                theirs
            }
            None => Rc::new(RefCell::new(space)),
        };
        // What was found for a job that the link never announced can't be sent any more.
        self.abandon_held(index, Reject::EarlyJob);
        let link = &mut self.links[index];
        // Shares on their way are the pool's to judge, once; the older jobs belong to the older bytes.
        link.output.let_go_of_written();
        link.jobs.clear();
        link.early.clear();
        link.fresh = true;
        if link.is_up() {
            self.change_own_space(now, index, space);
        } else {
            link.next_space = Some(space);
        }
        true
    }

    /// The link's nonce space is another one from now on.
    pub(super) fn change_own_space(
        &mut self,
        now: Now,
        index: usize,
        space: Rc<RefCell<NonceSpace>>,
    ) {
        self.recall(index);
        self.withhold(&space);
        let old = self.links[index].space.replace(space);
        let moved = self.move_miners(now, index, index, old.as_ref(), false);
        let pool = self.links[index].pool;
        let Moved { told, closed } = moved;
        if told + closed > 0 {
            self.fact(Fact::Moved { pool, told, closed });
        }
    }

    /// Gives the miners of a link a place in the nonce space of another one, or in its own new one. Those
    /// that can't be told must reconnect, in their turn.
    ///
    /// `old` is the space that they leave. Where it `lives_on`, its link still judges shares: who was told
    /// may send some of before that, and who can't be told works on there until its turn comes.
    pub(super) fn move_miners(
        &mut self,
        now: Now,
        from: usize,
        to: usize,
        old: Option<&Rc<RefCell<NonceSpace>>>,
        lives_on: bool,
    ) -> Moved {
        let oldest_job = self.oldest_job();
        let Some(space) = self.links[to].space.clone() else {
            return Moved::default();
        };
        let (mut told, mut closed) = (0, 0);
        for miner in self.miners.iter_mut() {
            let Stage::Placed { link, slot } = miner.stage else {
                continue;
            };
            if link != from {
                continue;
            }
            let mining = miner.session.is_mining();
            let taken = if miner.session.takes_extranonce() {
                space.borrow_mut().slots.take(oldest_job)
            } else {
                None
            };
            if let Some(taken) = taken {
                told += 1;
                let token = miner.token;
                let before = old.map(|space| Former {
                    link: from,
                    slot,
                    space: Rc::clone(space),
                });
                let left = if lives_on {
                    before.and_then(|before| self.former.insert(token, before))
                } else {
                    before
                };
                // Another link may still have the old space.
                if let Some(left) = left {
                    left.give_back(self.sequence);
                }
                let slot = taken.slot;
                miner.stage = Stage::Placed { link: to, slot };
                miner.owed = Owed::EXTRANONCE;
                if mining {
                    miner.owed = miner.owed.and(owed_to_newcomer());
                    Self::queue(&mut self.fan_out, miner);
                }
            } else {
                closed += 1;
                self.leaving.push_back(miner.token);
                if !lives_on {
                    if let Some(old) = old {
                        old.borrow_mut().slots.give_back(slot, self.sequence);
                    }
                    self.counters.mining -= u64::from(miner.lose_place(now));
                }
            }
        }
        self.tell_version_masks(to);
        Moved { told, closed }
    }

    /// Lets miners go that only a reconnect can move, at the operator's pace.
    pub(super) fn close_leaving(&mut self, now: Now) {
        if self.leaving.is_empty() {
            self.close_credit = 0;
            return;
        }
        let patience = u32::try_from(self.settings.limits.resume.as_secs()).unwrap_or(u32::MAX);
        let reply_timeout = self.settings.limits.reply_timeout;
        let passed = now.since(self.last_tick).as_millis().min(1000);
        let passed = u64::try_from(passed).unwrap_or(1000);
        let per_second = u64::from(self.settings.limits.reconnect_per_second);
        // What could not be used, since all of them wait for answers, is no leave for a storm later.
        self.close_credit = (self.close_credit + passed * per_second).min(1000 * per_second);
        for _ in 0..self.leaving.len() {
            if self.close_credit < 1000 {
                break;
            }
            let Some(token) = self.leaving.pop_front() else {
                break;
            };
            if let Some(miner) = self.miners.get_mut(token) {
                // It first hears what became of its shares.
                let may_wait = match miner.stage {
                    // It works for nothing meanwhile: a pool that does not answer soon is not waited for.
                    Stage::Unplaced => now.seconds().saturating_sub(miner.since) <= patience,
                    Stage::Placed { link, .. } => match self.links[link].role {
                        Role::Retiring(since) => now.since(since) <= reply_timeout,
                        // It was moved meanwhile.
                        _ => continue,
                    },
                    _ => continue,
                };
                if miner.unanswered > 0 {
                    if may_wait {
                        self.leaving.push_back(token);
                        continue;
                    }
                    self.abandon_shares_of(token);
                }
                self.close_credit -= 1000;
                self.parting.push_back(token);
            }
        }
    }
}

/// Whether this is the same space, and ours. What is borrowed of one is not: it is given back some day, or
/// was already, and our miners have a part of their own.
fn is_ours(known: &NonceSpace, space: &NonceSpace) -> bool {
    known.is_same(space) && !known.slots.are_lent()
}
