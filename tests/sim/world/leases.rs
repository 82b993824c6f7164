//! What a guest borrowed, as its miners know it: a feed like any other, which letters of its host fill.

use super::*;

/// A part of a neighbour's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Borrowed {
    /// Whose link it is.
    pub(super) host: usize,
    pub(super) id: LeaseId,
    /// The host's link is not lost.
    pub(super) up: bool,
    /// A job came with it, or since.
    pub(super) has_job: bool,
    /// The host's miners go elsewhere.
    pub(super) leaving: bool,
}

/// What an exchange asked for and was not lent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    request: LinkKey,
    /// It takes no miners before it takes those of another link.
    stands_by: bool,
}

impl Shard {
    /// The feed of what this shard borrowed under this name.
    fn leased(&mut self, host: usize, id: LeaseId) -> Option<usize> {
        self.feeds.iter().position(|feed| {
            let lease = feed.lease.as_ref();
            lease.is_some_and(|lease| (lease.host, lease.id) == (host, id))
        })
    }
}

impl World {
    /// A guest wrote to a host.
    pub(super) fn guest_writes(&mut self, guest: usize, host: usize, says: &GuestSays) {
        let totals = &mut self.totals;
        let shard = &mut self.shards[guest];
        match says {
            GuestSays::Borrow { request, pool, .. } => {
                totals.letters_borrow += 1;
                let leaves =
                    |feed: &Feed| !feed.retired && feed.lease.is_some_and(|lease| lease.leaving);
                let stands_by = pool.is_some() || shard.feeds.iter().any(leaves);
                shard.feed(request.index).asked = Some(Asked {
                    request: *request,
                    stands_by,
                });
            }
            GuestSays::Shares { lease, lines } => {
                totals.letters_shares += 1;
                let index = shard.leased(host, *lease);
                let index = index.expect("SHARES GO ONLY TO WHOM LENDS");
                let lines = std::str::from_utf8(lines).expect("text");
                assert!(lines.ends_with('\n'), "A GUEST WRITES WHOLE LINES");
                for line in lines.lines() {
                    let message = self.reader.read(line.as_bytes());
                    let message = message.expect("A GUEST WRITES WHOLE LINES");
                    let params = message.params.expect("of a share");
                    let solution = params.elements().nth(4).map(plain_text);
                    let key = ((guest, index), id_of(&message));
                    self.sent.insert(key, solution.expect("a solution"));
                }
            }
            GuestSays::MoreSlots { .. } => totals.letters_more_slots += 1,
            GuestSays::FewerSlots { lease, slots, .. } => {
                totals.letters_fewer_slots += 1;
                if let Some(index) = shard.leased(host, *lease) {
                    for slot in slots.iter().cloned().flatten() {
                        shard.feeds[index].lent.remove(&slot);
                    }
                }
            }
            GuestSays::Left { .. } => totals.letters_left += 1,
            GuestSays::GiveBack { lease } => {
                totals.letters_give_back += 1;
                if let Some(index) = shard.leased(host, *lease) {
                    shard.feeds[index].ends_lease();
                }
            }
        }
    }

    pub(super) fn host_writes(&mut self, host: usize, says: &HostSays) {
        let dealt = match says {
            HostSays::Lent { terms, .. } => terms.slots.as_slice(),
            HostSays::Slots { slots, .. } => slots.as_slice(),
            _ => &[],
        };
        let dealt = dealt.iter().cloned().flatten().count();
        self.shards[host].slots_given += dealt as u64;
        let totals = &mut self.totals;
        *match says {
            HostSays::Lent { .. } => &mut totals.letters_lent,
            HostSays::Declined { .. } => &mut totals.letters_declined,
            HostSays::Job { .. } => &mut totals.letters_job,
            HostSays::Target { .. } => &mut totals.letters_target,
            HostSays::Slots { .. } => &mut totals.letters_slots,
            HostSays::Answers { .. } => &mut totals.letters_answers,
            HostSays::Paused { .. } => &mut totals.letters_paused,
            HostSays::Resumed { .. } => &mut totals.letters_resumed,
            HostSays::Retiring { .. } => &mut totals.letters_retiring,
            HostSays::Ended { .. } => &mut totals.letters_ended,
            HostSays::VersionMask { .. } => panic!("Equihash has no version bits"),
        } += 1;
    }

    /// A guest reads what its host wrote. Gives the shares that are judged with it, in their order.
    pub(super) fn guest_reads(
        &mut self,
        guest: usize,
        host: usize,
        says: &HostSays,
    ) -> Vec<String> {
        let now = self.now;
        let shard = &mut self.shards[guest];
        let (HostSays::Lent { lease, .. }
        | HostSays::Job { lease, .. }
        | HostSays::Target { lease, .. }
        | HostSays::Slots { lease, .. }
        | HostSays::Answers { lease, .. }
        | HostSays::Paused { lease }
        | HostSays::Resumed { lease }
        | HostSays::Retiring { lease }
        | HostSays::Ended { lease }) = says
        else {
            return Vec::new();
        };
        let known = shard.leased(host, *lease);
        if let HostSays::Lent { request, terms, .. } = says {
            let is_asked = shard.exchange.is_current(*request);
            let feed = shard.feed(request.index);
            let asked = feed
                .asked
                .filter(|asked| asked.request == *request && is_asked);
            let index = known.or_else(|| asked.map(|_| request.index));
            if let Some(index) = index {
                self.is_lent(guest, index, host, *lease, terms);
            }
            return Vec::new();
        }
        let Some(index) = known else {
            return Vec::new();
        };
        let feed = &mut shard.feeds[index];
        let own = feed.lease.as_mut().expect("known");
        match says {
            HostSays::Job { job, .. } => self.is_told_job((guest, index), job),
            HostSays::Target { target, .. } => feed.target = Some(target_digits(*target)),
            HostSays::Answers { answers, .. } => {
                return self.judged_by_host((guest, index), answers);
            }
            HostSays::Paused { .. } => {
                own.up = false;
                feed.lost = Some(now);
            }
            HostSays::Resumed { .. } => {
                own.up = true;
                feed.lost = None;
            }
            HostSays::Slots { slots, .. } => feed.lent.extend(slots.iter().cloned().flatten()),
            HostSays::Retiring { .. } => own.leaving = true,
            HostSays::Ended { .. } => {
                feed.ends_lease();
                feed.lease_ended = Some(now);
            }
            _ => {}
        }
        Vec::new()
    }

    fn is_lent(&mut self, guest: usize, index: usize, host: usize, id: LeaseId, terms: &Terms) {
        let feed = self.shards[guest].feed(index);
        if let Some(asked) = feed.asked.take() {
            feed.stands_by = asked.stands_by;
        }
        let leaving = feed.lease.is_some_and(|lease| lease.leaving);
        feed.lease = Some(Borrowed {
            host,
            id,
            up: true,
            has_job: false,
            leaving,
        });
        feed.pool = Some(terms.pool);
        feed.lost = None;
        feed.lent = terms.slots.iter().cloned().flatten().collect();
        feed.gets(Some(format!("{:?}", terms.extranonce1)));
        if let Some((job, target)) = &terms.job {
            if let Some(target) = target {
                feed.target = Some(target_digits(*target));
            }
            self.is_told_job((guest, index), job);
        }
        if let Some(target) = terms.next_target {
            self.shards[guest].feeds[index].target = Some(target_digits(target));
        }
    }

    fn is_told_job(&mut self, feed: FeedKey, job: &Job) {
        if let Some(lease) = &mut self.shards[feed.0].feeds[feed.1].lease {
            lease.has_job = true;
        }
        let body = std::str::from_utf8(&job.body).expect("text");
        let content = body.split(',').nth(2).expect("a job's third part");
        let pool = self.shards[feed.0].feeds[feed.1].pool;
        self.feed_hears(feed, pool, content.trim_matches('"'), job.clean);
    }

    fn judged_by_host(&self, feed: FeedKey, answers: &[(u64, ShareEnd)]) -> Vec<String> {
        let by_pool = answers
            .iter()
            .filter(|(_, end)| !matches!(end, ShareEnd::Refused(_)));
        let known = by_pool.map(|(number, _)| {
            let sent = self.sent.get(&(feed, number.to_string()));
            sent.expect("AN ANSWER IS FOR WHAT A GUEST SENT").clone()
        });
        known.collect()
    }
}

impl Feed {
    /// What was borrowed is over, and the miners have no nonce space until there is another one.
    fn ends_lease(&mut self) {
        self.lease = None;
        self.lent.clear();
        self.nonce_1 = None;
        (self.retired, self.stands_by) = (false, false);
    }
}

fn target_digits(target: Target) -> String {
    let mut digits = Vec::new();
    target.append_hex(&mut digits);
    String::from_utf8(digits).expect("hex")
}
