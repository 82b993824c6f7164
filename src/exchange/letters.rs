//! What the exchanges of one proxy tell each other, each on a shard of its own.
//!
//! Shards share nothing, so whatever one of them learns goes to the others as a [`Letter`]: the shell
//! takes it with [`Exchange::poll_letter`] and hands it to the exchange of the shard that it is for, with
//! [`Exchange::handle_letter`]. Letters of one exchange to another one arrive once each, and in the order
//! in which they were written; nothing is known of the order between three.

use std::ops::Range;
use std::time::Duration;

use super::{Exchange, LinkEnd, LinkKey};
use crate::proto::extranonce::{Extranonce1, SlotPlan};
use crate::proto::job::Job;
use crate::proto::share::Reject;
use crate::proto::target::Target;
use crate::proto::time::Now;
use crate::proto::version_mask::VersionMask;

/// Names what one exchange lent to another one: unique for the lender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

/// What one exchange tells another one of the same proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// How the sender's own links to a pool are; the last one holds.
    Standing {
        /// Which pool.
        pool: usize,
        /// How they are.
        standing: Standing,
    },
    /// The sender found a pool bad, and leaves it.
    PoolBad {
        /// Which pool.
        pool: usize,
        /// How it fell silent; `None` where a lost link could not be taken up again in time.
        silence: Option<LinkEnd>,
    },
    /// How many of the sender's miners make too many faults, or did lately; the last one holds.
    Conduct {
        /// How many.
        over: u64,
        /// Of how many.
        miners: u64,
    },
    /// A worker made too many faults and is kept out everywhere.
    KeptOut {
        /// Its name.
        worker: Box<str>,
        /// Stands for its address, or its /64.
        home: u64,
        /// Until when, in time since the process started.
        until: Duration,
    },
    /// Somebody of this name and address mines well on the sender's shard: it is not kept out.
    Vouched {
        /// Its name.
        worker: Box<str>,
        /// Stands for its address, or its /64.
        home: u64,
    },
    /// Pools took these names of workers on the sender's shard, which were not known before. Each number
    /// stands for a pool and a name there.
    NamesTaken(Box<[u64]>),
    /// A link of the sender announced a job.
    JobHeard(Box<HeardJob>),
    /// To an exchange from which the sender borrows, or would like to.
    Guest(GuestSays),
    /// To an exchange that borrows from the sender.
    Host(HostSays),
}

/// How an exchange's own links to a pool are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has none on which miners work.
    #[default]
    None,
    /// One is ready.
    Up,
    /// None is ready, and miners wait for one that was.
    Lost,
}

/// A job as one link to a pool announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardJob {
    /// Which pool.
    pub pool: usize,
    /// When it was heard, in time since the process started, which is the same on all shards.
    pub at: Duration,
    /// How long the link had been ready by then.
    pub link_age: Duration,
    /// What the pool said; its job id belongs to the sender's link alone.
    pub job: Job,
}

/// What a borrower tells its lender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestSays {
    /// Asks for a part of a link's nonce space.
    Borrow {
        /// The borrower's name for it; stands in the answer.
        request: LinkKey,
        /// A link to this pool and no other; to any where there is none.
        pool: Option<usize>,
        /// How many slots it needs now.
        slots: u32,
    },
    /// Shares for the pool: whole lines, each of which begins with `{"id":` and the borrower's own number.
    Shares {
        /// On what was lent.
        lease: LeaseId,
        /// The lines.
        lines: Box<[u8]>,
    },
    /// Asks for more slots.
    MoreSlots {
        /// On what was lent.
        lease: LeaseId,
        /// How many.
        slots: u32,
    },
    /// Gives back slots that nobody uses.
    FewerSlots {
        /// Of what was lent.
        lease: LeaseId,
        /// Of which of its nonce spaces they are, from 1: it may have another one by now.
        space: u32,
        /// Which ones.
        slots: Vec<Range<u32>>,
    },
    /// Knows that the link has another nonce space, and works in none of its earlier ones any more.
    Left {
        /// Of what was lent.
        lease: LeaseId,
        /// The last of them, counted from 1.
        space: u32,
    },
    /// Gives back what was lent: the borrower waits for no answer any more, and none of its miners works
    /// there. Comes once for each lease, also where the lender has ended it.
    GiveBack {
        /// What was lent.
        lease: LeaseId,
    },
}

/// What a lender tells its borrower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostSays {
    /// Lends a part of a link's nonce space; or, where this was lent before, the link has another one.
    Lent {
        /// The borrower's name for it, from its request.
        request: LinkKey,
        /// What this is called from now on.
        lease: LeaseId,
        /// What is lent.
        terms: Box<Terms>,
    },
    /// Can't lend, at least for now.
    Declined {
        /// The borrower's name for it.
        request: LinkKey,
    },
    /// The link announced a job.
    Job {
        /// On what was lent.
        lease: LeaseId,
        /// The job.
        job: Box<Job>,
    },
    /// The target of the next job and the later ones.
    Target {
        /// On what was lent.
        lease: LeaseId,
        /// The target.
        target: Target,
    },
    /// The pool grants other version bits.
    VersionMask {
        /// On what was lent.
        lease: LeaseId,
        /// The bits.
        mask: VersionMask,
    },
    /// More slots, or none where there are no more.
    Slots {
        /// On what was lent.
        lease: LeaseId,
        /// Which ones.
        slots: Vec<Range<u32>>,
    },
    /// What became of shares.
    Answers {
        /// On what was lent.
        lease: LeaseId,
        /// Each with the borrower's number.
        answers: Vec<(u64, ShareEnd)>,
    },
    /// The link was lost, and may be taken up again.
    Paused {
        /// On what was lent.
        lease: LeaseId,
    },
    /// It was taken up again as if nothing had been.
    Resumed {
        /// On what was lent.
        lease: LeaseId,
    },
    /// The lender's own miners go to another link, and the borrower's should too; shares that are on
    /// their way are still judged.
    Retiring {
        /// What was lent.
        lease: LeaseId,
    },
    /// What was lent is over: shares that were not answered will not be. The borrower gives it back.
    Ended {
        /// What was lent.
        lease: LeaseId,
    },
}

/// A part of a link's nonce space, with what the link's miners know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// To which pool the link is.
    pub pool: usize,
    /// The bytes that the pool fixes.
    pub extranonce1: Extranonce1,
    /// What the pool calls the session, where shares must say so.
    pub share_session: Option<Box<[u8]>>,
    /// How the rest is divided.
    pub plan: SlotPlan,
    /// The version bits that the pool grants.
    pub version_mask: VersionMask,
    /// The slots that are lent.
    pub slots: Vec<Range<u32>>,
    /// The newest job, with the target in force.
    pub job: Option<(Job, Option<Target>)>,
    /// The target of the next one, where that is another.
    pub next_target: Option<Target>,
}

/// What became of a borrower's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareEnd {
    /// The pool accepted it.
    Accepted,
    /// The pool rejected it.
    Rejected {
        /// Its code.
        code: i64,
        /// Its text.
        text: Box<str>,
    },
    /// No pool will answer it.
    Refused(Reject),
}

impl Exchange {
    /// The next letter, and the number of the shard that it is for.
    pub fn poll_letter(&mut self) -> Option<(usize, Letter)> {
        if self.letters.is_empty() && self.settings.part.1 > 1 {
            self.send_shares();
            self.send_answers();
            self.tell_standings();
        }
        self.letters.pop_front()
    }

    /// The exchange of another shard of this proxy has something to say.
    pub fn handle_letter(&mut self, now: Now, from: usize, letter: Letter) {
        match letter {
            Letter::Standing { pool, standing } => {
                self.handle_standing(now, from, pool, standing);
                if standing != Standing::Up {
                    self.excuse_neighbour(from, pool);
                }
            }
            Letter::PoolBad { pool, silence } => self.handle_pool_bad(now, pool, silence),
            Letter::Conduct { over, miners } => self.handle_conduct(from, over, miners),
            Letter::KeptOut {
                worker,
                home,
                until,
            } => self.handle_kept_out(from, worker, home, until),
            Letter::Vouched { worker, home } => self.handle_vouched(worker, home),
            Letter::NamesTaken(names) => self.handle_names_taken(&names),
            Letter::Guest(says) => self.handle_guest(now, from, says),
            Letter::Host(says) => self.handle_host(now, from, says),
            Letter::JobHeard(heard) => self.handle_heard_job(now, from, &heard),
        }
    }
}
