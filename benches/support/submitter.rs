//! One miner that submits, and a pool that accepts.

use std::fmt::Write as _;
use std::hint::black_box;

use stratum_uring::exchange::ShareReply;
use stratum_uring::proto::pool::SHARE_ID_FIRST;

use super::farm::{Farm, token};
use super::lines;

/// Shares for one job; then the pool announces the next one, as it would.
const SHARES_PER_JOB: u32 = 16 * 1024;

/// One miner that submits share after share.
#[derive(Debug)]
pub(crate) struct Submitter {
    pub(crate) farm: Farm,
    shares_per_job: u32,
    /// The next share.
    pub(crate) line: Vec<u8>,
    /// Where in the line the digits are that make each share another one.
    nonce: usize,
    count: u32,
    /// Our request id of the next share.
    request_id: u64,
    /// The pool's next answer.
    reply: String,
}

impl Submitter {
    /// At work on its first job.
    pub(crate) fn new() -> Self {
        Self::with(SHARES_PER_JOB)
    }

    /// With so many shares for one job.
    pub(crate) fn with(shares_per_job: u32) -> Self {
        Self::answering(shares_per_job, ShareReply::Pool)
    }

    /// As [`Submitter::with`], with the say of when the miner is told of its share.
    pub(crate) fn answering(shares_per_job: u32, share_reply: ShareReply) -> Self {
        let mut submitter = Self {
            shares_per_job,
            farm: Farm::answering(1, share_reply),
            line: Vec::new(),
            nonce: 0,
            count: 0,
            request_id: SHARE_ID_FIRST,
            reply: String::new(),
        };
        submitter.take_job();
        submitter
    }

    /// Works on the newest job from now on.
    pub(crate) fn take_job(&mut self) {
        const MARK: u32 = 0xfeed_beef;
        let text = lines::submit(lines::WORKER, &self.farm.job_id(), MARK);
        self.nonce = text.find("feedbeef").expect("the nonce's digits");
        self.line = text.into_bytes();
    }

    /// Makes the line another share; the work of a few nanoseconds.
    pub(crate) fn next_share(&mut self) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.count += 1;
        if self.count.is_multiple_of(self.shares_per_job) {
            self.farm.announce();
            self.take_job();
        }
        for (place, digit) in self.line[self.nonce..][..8].iter_mut().rev().enumerate() {
            *digit = DIGITS[(self.count >> (4 * place)) as usize & 15];
        }
    }

    /// The miner's line goes in; what it makes for the pool is written.
    pub(crate) fn forward(&mut self) {
        let Farm {
            exchange,
            link,
            now,
            ..
        } = &mut self.farm;
        exchange.handle_miner_line(*now, token(0), black_box(&self.line));
        let len = black_box(exchange.unwritten(*link)).len();
        exchange.wrote(*now, *link, len);
    }

    /// The pool accepts the oldest share, and the miner is told.
    pub(crate) fn answer(&mut self) {
        self.next_reply();
        self.hear_reply();
    }

    /// Makes the pool's line that accepts the oldest share.
    pub(crate) fn next_reply(&mut self) {
        let id = self.request_id;
        self.request_id += 1;
        self.reply.clear();
        write!(self.reply, r#"{{"id":{id},"result":true,"error":null}}"#)
            .expect("a string takes all");
    }

    /// That line comes in; the miner is told.
    pub(crate) fn hear_reply(&mut self) {
        self.farm.hear_pool(self.reply.as_bytes());
        self.farm.exchange.flush(&mut self.farm.sink);
    }

    /// Everything that was submitted was accepted, or the bench measured something else.
    pub(crate) fn check(&self) {
        let counters = self.farm.exchange.counters();
        assert_eq!(counters.refused.iter().sum::<u64>() + counters.rejected, 0);
        assert_eq!(counters.accepted, u64::from(self.count));
    }
}
