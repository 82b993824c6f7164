//! The jobs that miners were told of.

use std::collections::VecDeque;
use std::rc::Rc;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::practice::bitcoin::{self, Rolled};
use stratum_uring::practice::equihash::HEADER_LEN;
use stratum_uring::wire::{Raw, hex};

use crate::monero::Told;

/// Jobs that are kept to be shared. Miners hold those that they work on; this is for those who hear
/// of one later than others.
const JOBS_KEPT: usize = 64;

/// The lengths of `mining.notify`'s params 1 to 6 in bytes: version, previous block, merkle root,
/// reserved, time, bits. One behind the other they are the header.
const FIELDS: [usize; 6] = [4, 32, 32, 32, 4, 4];

/// Where the hash of the block before stands in the header, and the time.
const PREVIOUS_BLOCK: std::ops::Range<usize> = 4..36;
const TIME: std::ops::Range<usize> = 100..104;

/// A job, one for all miners of a thread that were told of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// As JSON, with its quotes.
    pub(crate) id: Box<[u8]>,
    /// Of Bitcoin, what it would be without nonces; of Monero, what all links to a pool have of the blob.
    /// It tells jobs apart as well.
    pub(crate) header: [u8; HEADER_LEN],
    /// Of Bitcoin, what is to be hashed.
    pub(crate) bitcoin: Option<bitcoin::Work>,
    /// Of Monero, the blob, its nonce zero; else empty.
    pub(crate) blob: Box<[u8]>,
    /// Counts the jobs of this thread.
    pub(crate) number: u32,
    /// Recent jobs of the same id with another header, as two shards of a proxy may have them.
    namesakes: Box<[u32]>,
}

impl Job {
    #[cfg(test)]
    pub(crate) fn example(id: &str, header: [u8; HEADER_LEN]) -> Self {
        Self {
            id: id.as_bytes().into(),
            header,
            bitcoin: None,
            blob: Box::default(),
            number: 0,
            namesakes: Box::default(),
        }
    }

    pub(crate) fn time(&self) -> &[u8] {
        &self.header[TIME]
    }

    pub(crate) fn seconds(&self) -> u32 {
        let bytes = self.time().try_into().expect("the time is four bytes");
        u32::from_le_bytes(bytes)
    }

    /// Whether it was made before a job of the same block, by the pool's own clock.
    fn is_older_than(&self, other: &Self) -> bool {
        self.header[PREVIOUS_BLOCK] == other.header[PREVIOUS_BLOCK]
            && self.seconds() < other.seconds()
    }
}

/// The recent jobs of a thread, and what is known of their order.
#[derive(Debug, Default)]
pub(crate) struct JobBook {
    recent: VecDeque<Rc<Job>>,
    count: u32,
    order: Order,
    is_bitcoin: bool,
    /// The params that were read last, and their job: nearly all miners are told the same.
    last: Option<(Box<[u8]>, Rc<Job>)>,
    /// Whether the times of jobs never go back, as those of a pool of our own don't. The machines
    /// behind a real pool may have a clock each.
    pub(crate) times_rise: bool,
}

impl JobBook {
    /// For jobs of this coin.
    pub(crate) fn of(coin: PracticeCoin) -> Self {
        Self {
            is_bitcoin: coin == PracticeCoin::Bitcoin,
            ..Self::default()
        }
    }

    /// The job of a `mining.notify`. `None` if its params are not those of a job.
    pub(crate) fn read(&mut self, params: Option<Raw<'_>>) -> Option<Rc<Job>> {
        let params = params?;
        if let Some((last, job)) = &self.last
            && **last == *params.bytes()
        {
            return Some(Rc::clone(job));
        }
        let job = self.parse(params)?;
        self.last = Some((params.bytes().into(), Rc::clone(&job)));
        Some(job)
    }

    /// The job of a miner of Monero, whose own bytes are not in it.
    pub(crate) fn of_blob(&mut self, told: &Told<'_>) -> Rc<Job> {
        self.keep(told.id, told.header(), None, told.blob.clone().into())
    }

    /// Notes that a miner was told of one job behind another, and says whether that may be.
    pub(crate) fn may_follow(&mut self, earlier: &Job, later: &Job) -> bool {
        let goes_back = self.times_rise && later.is_older_than(earlier);
        self.order.note(earlier.number, later.number) && !goes_back
    }

    fn parse(&mut self, params: Raw<'_>) -> Option<Rc<Job>> {
        let mut values = params.elements();
        let id = values.next()?;
        id.as_str()?;
        let (header, bitcoin) = if self.is_bitcoin {
            let (header, work) = parse_bitcoin(values)?;
            (header, Some(work))
        } else {
            (parse_equihash(values)?, None)
        };
        Some(self.keep(id, header, bitcoin, Box::default()))
    }

    /// The job that is known already, or a new one.
    fn keep(
        &mut self,
        id: Raw<'_>,
        header: [u8; HEADER_LEN],
        bitcoin: Option<bitcoin::Work>,
        blob: Box<[u8]>,
    ) -> Rc<Job> {
        let known = self
            .recent
            .iter()
            .rev()
            .find(|job| *job.id == *id.bytes() && job.header == header && job.blob == blob);
        if let Some(job) = known {
            return Rc::clone(job);
        }
        let namesakes = self.recent.iter().filter(|job| *job.id == *id.bytes());
        let job = Rc::new(Job {
            id: id.bytes().into(),
            header,
            bitcoin,
            blob,
            number: self.count,
            namesakes: namesakes.map(|job| job.number).collect(),
        });
        self.count += 1;
        self.order.begin(job.number);
        if self.recent.len() == JOBS_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Rc::clone(&job));
        job
    }
}

fn parse_equihash<'a>(mut values: impl Iterator<Item = Raw<'a>>) -> Option<[u8; HEADER_LEN]> {
    let mut header = [0; HEADER_LEN];
    let mut rest = &mut header[..];
    for len in FIELDS {
        let (field, behind) = rest.split_at_mut(len);
        hex::decode_into(values.next()?.as_str()?, field).ok()?;
        rest = behind;
    }
    Some(header)
}

/// What there is to hash; and the fields of the header that is told jobs apart by, at the places that
/// Equihash has for them.
fn parse_bitcoin<'a>(
    mut values: impl Iterator<Item = Raw<'a>>,
) -> Option<([u8; HEADER_LEN], bitcoin::Work)> {
    let mut previous: [u8; 32] = hex::decode_to_array(values.next()?.as_str()?).ok()?;
    previous.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    let mut bytes = || {
        let digits = values.next()?.as_str()?;
        let mut bytes = vec![0; digits.len() / 2];
        hex::decode_into(digits, &mut bytes).ok()?;
        Some(bytes)
    };
    let coinbase = [bytes()?, bytes()?];
    let branch = |value: Raw<'_>| hex::decode_to_array(value.as_str()?).ok();
    let branches = values.next()?.elements().map(branch);
    let branches = branches.collect::<Option<Vec<_>>>()?;
    let mut word = || hex::parse_u32_be(values.next()?.as_str()?);
    let (version, bits, time) = (word()?, word()?, word()?);
    let work = bitcoin::Work {
        previous,
        coinbase,
        branches,
        version,
        bits,
    };
    let nothing = work.header(&Rolled {
        extranonce: [&[], &[]],
        time,
        nonce: 0,
        version: (0, 0),
    });
    let mut header = [0; HEADER_LEN];
    header[..68].copy_from_slice(&nothing[..68]);
    header[TIME].copy_from_slice(&time.to_le_bytes());
    header[104..].copy_from_slice(&bits.to_le_bytes());
    Some((header, work))
}

/// Which jobs were told before which. A pool announces its jobs in one order to all of its links. Each
/// shard has its own link and its own delay, and may leave jobs out for a miner that reads slowly; so the
/// order in which a thread hears of jobs for the first time means nothing. But what one miner was told
/// of first no other may be told of second.
#[derive(Debug)]
struct Order {
    /// For each of the latest jobs, at the place of its number: those that come before it, as bits at
    /// their places. Closed: what comes before those is in it too.
    before: [u64; PLACES],
    numbers: [u32; PLACES],
}

/// Bits in the mask of an [`Order`].
const PLACES: usize = u64::BITS as usize;

impl Default for Order {
    fn default() -> Self {
        Self {
            before: [0; PLACES],
            numbers: [u32::MAX; PLACES],
        }
    }
}

impl Order {
    fn place(number: u32) -> usize {
        number as usize % PLACES
    }

    /// A new job; that of 64 numbers before is forgotten.
    fn begin(&mut self, number: u32) {
        let place = Self::place(number);
        self.numbers[place] = number;
        self.before[place] = 0;
        for before in &mut self.before {
            *before &= !(1 << place);
        }
    }

    /// A miner heard of `later` behind `earlier`. False, and not noted, if others heard of them the
    /// other way round.
    fn note(&mut self, earlier: u32, later: u32) -> bool {
        let (from, to) = (Self::place(earlier), Self::place(later));
        if self.numbers[from] != earlier || self.numbers[to] != later {
            return true;
        }
        if self.before[from] >> to & 1 == 1 {
            return false;
        }
        if self.before[to] >> from & 1 == 0 {
            let known = self.before[from] | 1 << from;
            self.before[to] |= known;
            for before in &mut self.before {
                if *before >> to & 1 == 1 {
                    *before |= known;
                }
            }
        }
        true
    }
}

/// Which of the latest jobs a miner was told of, by their numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeenJobs {
    newest: u32,
    /// Bit `n` is the job `newest - n`.
    seen: u64,
}

impl SeenJobs {
    /// False if the miner was told of it before.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        if number > self.newest {
            self.seen = self.seen.checked_shl(number - self.newest).unwrap_or(0);
            self.newest = number;
        }
        let bit = 1_u64.checked_shl(self.newest - number).unwrap_or(0);
        let fresh = self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }

    /// Whether the miner knows another job by the id of this one, so that nobody could say which one a
    /// share is for.
    pub(crate) fn knows_namesake(&self, job: &Job) -> bool {
        job.namesakes.iter().any(|number| {
            let age = self.newest.checked_sub(*number);
            age.is_some_and(|age| self.seen.checked_shr(age).unwrap_or(0) & 1 == 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use stratum_uring::wire::Reader;

    use super::*;

    fn notify(id: &str, time: &str) -> String {
        let (four, long) = ("04000000", "ab".repeat(32));
        format!(
            r#"{{"params":["{id}","{four}","{long}","{long}","{long}","{time}","1d00ffff",true,"48_5"]}}"#
        )
    }

    fn read(book: &mut JobBook, line: &str) -> Option<Rc<Job>> {
        let mut reader = Reader::new();
        book.read(reader.read(line.as_bytes()).unwrap().params)
    }

    #[test]
    fn a_job_that_many_hear_of_is_kept_once() {
        let mut book = JobBook::default();
        let first = read(&mut book, &notify("a1", "01020304")).unwrap();
        assert_eq!(first.time(), [1, 2, 3, 4]);
        assert_eq!(*first.id, *b"\"a1\"");
        let again = read(&mut book, &notify("a1", "01020304")).unwrap();
        assert!(Rc::ptr_eq(&first, &again));
        let other = read(&mut book, &notify("a1", "01020305")).unwrap();
        assert_eq!((first.number, other.number), (0, 1));
        for number in 0..1000 {
            read(&mut book, &notify(&number.to_string(), "01020304")).unwrap();
        }
        assert_eq!(book.recent.len(), JOBS_KEPT);
    }

    #[test]
    fn what_is_no_job_is_none() {
        let mut book = JobBook::default();
        for line in [
            "{}".to_owned(),
            r#"{"params":[]}"#.to_owned(),
            r#"{"params":{"a":1}}"#.to_owned(),
            notify("a", "0102030"),
            notify("a", "0102030x"),
            notify("a", "01020304").replace("\"a\"", "5"),
        ] {
            assert_eq!(read(&mut book, &line), None, "{line}");
        }
    }

    #[test]
    fn what_one_miner_heard_first_no_other_may_hear_second() {
        let mut order = Order::default();
        for number in 0..5 {
            order.begin(number);
        }
        // One miner is told of all, one of some; two shards need not be in step.
        assert!(order.note(0, 1) && order.note(3, 4) && order.note(1, 3));
        assert!(order.note(0, 4) && order.note(1, 2) && order.note(2, 3));
        assert!(!order.note(4, 0), "over three steps");
        assert!(!order.note(3, 1) && !order.note(4, 2));
        assert!(order.note(2, 4), "what was refused is not noted");
    }

    #[test]
    fn the_order_of_jobs_that_are_gone_is_forgotten() {
        let mut order = Order::default();
        for number in 0..200 {
            order.begin(number);
            assert!(number == 0 || order.note(number - 1, number));
        }
        assert!(!order.note(199, 150));
        assert!(order.note(199, 100), "nobody remembers that one");
    }

    #[test]
    fn a_time_goes_back_only_where_times_rise() {
        let mut book = JobBook::default();
        let [early, late] =
            ["01000000", "00010000"].map(|time| read(&mut book, &notify(time, time)).unwrap());
        assert!(book.may_follow(&late, &early));
        let mut book = JobBook {
            times_rise: true,
            ..JobBook::default()
        };
        assert!(!book.may_follow(&late, &early));
        assert!(book.may_follow(&early, &early));
    }

    #[test]
    fn an_id_of_two_jobs_is_known() {
        let mut book = JobBook::default();
        let mut seen = SeenJobs::default();
        let first = read(&mut book, &notify("a", "01020304")).unwrap();
        let second = read(&mut book, &notify("a", "01020305")).unwrap();
        assert!(!seen.knows_namesake(&second), "that is another miner's");
        seen.insert(first.number);
        assert!(seen.knows_namesake(&second) && !seen.knows_namesake(&first));
    }

    #[test]
    fn a_job_is_fresh_once() {
        let mut seen = SeenJobs::default();
        assert!(seen.insert(0) && seen.insert(3) && seen.insert(1));
        assert!(!seen.insert(0) && !seen.insert(3) && !seen.insert(1));
        assert!(seen.insert(2) && seen.insert(60) && !seen.insert(3));
        assert!(seen.insert(1000) && !seen.insert(1000) && seen.insert(999));
    }
}
