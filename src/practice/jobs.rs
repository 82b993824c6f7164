//! Jobs that look like those of a real pool, made of random bytes, and the memory of them.

use std::collections::VecDeque;

use super::equihash::HEADER_LEN;
use super::settings::PracticeCoin;
use super::{bitcoin, monero};

/// Jobs of one block that stay known. A pool that announces more forgets the oldest.
const JOBS_PER_BLOCK_MAX: usize = 256;

/// Where z-nomp's counter of jobs starts, so that the first id is `cccd`.
const JOB_ID_BASE: u64 = 0xcccc;

const VERSION: [u8; 4] = 4u32.to_le_bytes();

/// The network's target as a block header has it: of Zcash's block 415000.
const BITS: [u8; 4] = 0x1c03_abe1_u32.to_le_bytes();

/// A job as it was announced.
#[derive(Debug)]
pub(super) struct Job {
    /// Counts from 1, over all blocks.
    pub(super) number: u64,
    /// What is to be hashed.
    pub(super) work: Work,
    /// When it was made, in Unix seconds.
    pub(super) time: u32,
    /// The share target, a big-endian number.
    pub(super) target: [u8; 32],
    /// Whether it is announced as clean.
    pub(super) clean: bool,
}

/// What there is to do, of any coin.
#[derive(Debug)]
pub(super) enum Work {
    /// The header without its nonce, with the time of the job.
    Equihash([u8; HEADER_LEN]),
    /// The parts of the header.
    Bitcoin(Box<bitcoin::Work>),
    /// The blob.
    Monero(Box<monero::Work>),
}

impl Job {
    /// What miners call it: pool style, a counter in hex digits that restarts with the pool.
    pub(super) fn id(&self) -> String {
        format!("{:x}", JOB_ID_BASE + self.number)
    }

    /// The 4 bytes of the header that hold the time.
    pub(super) const TIME: std::ops::Range<usize> = 100..104;
}

/// Why there is no job of that id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoJob {
    /// It was of an earlier block, or is too old.
    Stale,
    /// There never was one.
    Unknown,
}

/// The jobs of the current block, and all randomness of a pool.
#[derive(Debug)]
pub(super) struct JobBook {
    /// In the order of their numbers, without gaps.
    jobs: VecDeque<Job>,
    last_number: u64,
    /// The hash of the block that the current one stands on.
    previous_block: [u8; 32],
    /// Counts the blocks.
    height: u64,
    random: Random,
    coin: PracticeCoin,
    /// Bytes of both nonces in a coinbase.
    extranonce_len: usize,
}

impl JobBook {
    pub(super) fn new(random: Random, coin: PracticeCoin, extranonce_len: usize) -> Self {
        Self {
            jobs: VecDeque::new(),
            last_number: 0,
            previous_block: [0; 32],
            height: 0,
            random,
            coin,
            extranonce_len,
        }
    }

    /// Makes the next job. A new block makes all earlier jobs stale.
    pub(super) fn make(&mut self, time: u32, target: [u8; 32], new_block: bool, clean: bool) {
        if new_block {
            self.jobs.clear();
            self.height += 1;
            self.previous_block = self.random.bytes();
            // The hash of a block is below the network's target, so in header order it ends in zeros.
            self.previous_block[28..].fill(0);
        }
        if self.jobs.len() == JOBS_PER_BLOCK_MAX {
            self.jobs.pop_front();
        }
        let work = match self.coin {
            PracticeCoin::Equihash(_) => Work::Equihash(self.header(time)),
            PracticeCoin::Bitcoin => Work::Bitcoin(Box::new(bitcoin::Work::make(
                &mut self.random,
                self.previous_block,
                time,
                self.extranonce_len,
            ))),
            PracticeCoin::Monero => Work::Monero(Box::new(monero::Work::make(
                &mut self.random,
                self.previous_block,
                time,
                self.height,
            ))),
        };
        self.last_number += 1;
        self.jobs.push_back(Job {
            number: self.last_number,
            work,
            time,
            target,
            clean,
        });
    }

    /// A header of Equihash, all but its nonce.
    fn header(&mut self, time: u32) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&VERSION);
        header[4..36].copy_from_slice(&self.previous_block);
        header[36..68].copy_from_slice(&self.random.bytes());
        header[68..100].copy_from_slice(&self.random.bytes());
        header[Job::TIME].copy_from_slice(&time.to_le_bytes());
        header[104..].copy_from_slice(&BITS);
        header
    }

    /// The newest job, if there ever was one.
    pub(super) fn newest(&self) -> Option<&Job> {
        self.jobs.back()
    }

    /// The number of the next job.
    pub(super) fn next_number(&self) -> u64 {
        self.last_number + 1
    }

    /// The number of the oldest job for which shares are still good.
    pub(super) fn oldest_number(&self) -> u64 {
        let oldest = self.jobs.front().map(|job| job.number);
        oldest.unwrap_or(self.last_number + 1)
    }

    pub(super) fn find(&self, id: &[u8]) -> Result<&Job, NoJob> {
        let number = number_of(id).ok_or(NoJob::Unknown)?;
        if number == 0 || number > self.last_number {
            return Err(NoJob::Unknown);
        }
        let place = number
            .checked_sub(self.oldest_number())
            .and_then(|place| usize::try_from(place).ok())
            .ok_or(NoJob::Stale)?;
        self.jobs.get(place).ok_or(NoJob::Unknown)
    }
}

/// The job number of an id, only in the spelling that was announced.
fn number_of(id: &[u8]) -> Option<u64> {
    let plain = |digit: &u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit);
    if id.len() > 16 || id.first() == Some(&b'0') || !id.iter().all(plain) {
        return None;
    }
    let id = std::str::from_utf8(id).ok()?;
    u64::from_str_radix(id, 16).ok()?.checked_sub(JOB_ID_BASE)
}

/// Numbers that look random and replay from a seed (SplitMix64).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for eight in bytes.chunks_exact_mut(8) {
            eight.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(book: &JobBook) -> [u8; HEADER_LEN] {
        match book.newest().unwrap().work {
            Work::Equihash(header) => header,
            _ => panic!("a job of another coin"),
        }
    }

    fn book() -> JobBook {
        let [.., set] = crate::proto::dialect::equihash::Parameters::ALL;
        let mut book = JobBook::new(Random::new(1), PracticeCoin::Equihash(set), 0);
        book.make(1_700_000_000, [0xff; 32], true, true);
        book
    }

    #[test]
    fn ids_count_from_cccd() {
        let mut book = book();
        assert_eq!(book.newest().unwrap().id(), "cccd");
        book.make(1, [0; 32], false, false);
        assert_eq!(book.newest().unwrap().id(), "ccce");
    }

    #[test]
    fn jobs_of_the_block_are_known_and_those_before_are_stale() {
        let mut book = book();
        book.make(1, [0; 32], false, false);
        assert_eq!(book.find(b"cccd").unwrap().number, 1);
        assert_eq!(book.find(b"ccce").unwrap().number, 2);
        book.make(1, [0; 32], true, true);
        assert_eq!(book.find(b"cccd").unwrap_err(), NoJob::Stale);
        assert_eq!(book.find(b"ccce").unwrap_err(), NoJob::Stale);
        assert_eq!(book.find(b"cccf").unwrap().number, 3);
    }

    #[test]
    fn what_was_never_announced_is_unknown() {
        let book = book();
        let never: [&[u8]; 10] = [
            b"",
            b"cccc",
            b"ccce",
            b"CCCD",
            b"0cccd",
            b"cccd ",
            b"+cccd",
            b"1",
            b"ffffffffffffffff",
            b"fffffffffffffffff",
        ];
        for id in never {
            assert_eq!(book.find(id).unwrap_err(), NoJob::Unknown, "{id:?}");
        }
    }

    #[test]
    fn jobs_of_a_block_share_the_block_before_and_nothing_random_else() {
        let mut book = book();
        let first = header(&book);
        book.make(1_700_000_000, [0xff; 32], false, false);
        let second = header(&book);
        assert_eq!(first[..36], second[..36]);
        assert_eq!(first[32..36], [0; 4], "below the network's target");
        assert_ne!(first[36..68], second[36..68]);
        assert_ne!(first[68..100], second[68..100]);
        assert_eq!(first[100..], second[100..]);
        book.make(1_700_000_000, [0xff; 32], true, true);
        assert_ne!(first[4..32], header(&book)[4..32]);
    }

    #[test]
    fn a_block_without_end_keeps_its_newest_jobs() {
        let mut book = book();
        for _ in 0..JOBS_PER_BLOCK_MAX {
            book.make(1, [0; 32], false, false);
        }
        assert_eq!(book.jobs.len(), JOBS_PER_BLOCK_MAX);
        assert_eq!(book.find(b"cccd").unwrap_err(), NoJob::Stale);
        assert!(book.find(b"ccce").is_ok());
    }
}
