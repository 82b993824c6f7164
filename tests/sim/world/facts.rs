//! What the model keeps of the facts that an exchange tells.

use super::*;

impl World {
    pub(super) fn note_all(&mut self, shard: usize, facts: &[Fact]) {
        for (place, fact) in facts.iter().enumerate() {
            self.note(shard, fact, &facts[place..]);
        }
    }

    /// Notes a fact; `round` is that and what was told behind it.
    fn note(&mut self, shard: usize, fact: &Fact, round: &[Fact]) {
        self.tell(|| format!("shard {shard}: {fact:?}"));
        match fact {
            Fact::LinkUp { resumed, .. } => {
                self.totals.links_up += 1;
                self.totals.resumes += u64::from(*resumed);
            }
            Fact::LinkLost { .. } => self.totals.links_lost += 1,
            Fact::PoolChanged { .. } => self.totals.pools_changed += 1,
            Fact::SpareUp { link, .. } => {
                self.shards[shard].feeds[link.index].stands_by = true;
                self.totals.spares_up += 1;
            }
            Fact::TakenOver {
                borrowed,
                left,
                serves,
                returned,
                told,
                closed,
                ..
            } => {
                let shard = &mut self.shards[shard];
                shard.slots_given += *told as u64;
                let feed = shard.feed(serves.index);
                (feed.retired, feed.stands_by) = (false, false);
                let feed = shard.feed(left.index);
                feed.retired = *returned;
                feed.moved_to = Some(serves.index);
                if !*returned {
                    feed.nonce_1 = None;
                }
                self.totals.takeovers_by_lease += u64::from(*borrowed && !*returned);
                self.totals.hosts_followed += u64::from(*borrowed && *returned);
                self.totals.takeovers += u64::from(!*returned);
                self.totals.returns += u64::from(*returned);
                self.totals.told_to_return += *told as u64;
                self.totals.closed_to_return += *closed as u64;
            }
            Fact::ReturnFailed { .. } => self.totals.returns_failed += 1,
            Fact::NoRoomToReturn { .. } => self.totals.no_room_to_return += 1,
            Fact::Moved { told, closed, .. } => {
                // Those who were moved before may be among them, and are told nothing more then.
                if *closed > 0 {
                    let feeds = &mut self.shards[shard].feeds;
                    feeds.iter_mut().for_each(|feed| feed.moved_to = None);
                }
                self.shards[shard].slots_given += *told as u64;
                self.totals.moves += 1;
                self.totals.told_to_move += *told as u64;
                self.totals.closed_to_move += *closed as u64;
            }
            Fact::SharesLost { pool, shares } => {
                self.totals.shares_lost += *shares as u64;
                self.check_loss(shard, *pool, round);
            }
            Fact::WarmBegins { .. } => self.totals.warm_begins += 1,
            Fact::WarmEnds { .. } => self.totals.warm_ends += 1,
            Fact::NonceSpaceShared { .. } => self.totals.spaces_shared += 1,
            Fact::ReconnectRefused { .. } => self.totals.reconnects_refused += 1,
            _ => {}
        }
    }
}
