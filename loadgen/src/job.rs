//! The jobs that miners were told of.

use std::collections::VecDeque;
use std::rc::Rc;

use stratum_uring::practice::equihash::HEADER_LEN;
use stratum_uring::wire::{Raw, hex};

/// Jobs that are kept to be shared. Miners hold those that they work on; this is for those who hear
/// of one later than others.
const JOBS_KEPT: usize = 64;

/// The lengths of `mining.notify`'s params 1 to 6 in bytes: version, previous block, merkle root,
/// reserved, time, bits. One behind the other they are the header.
const FIELDS: [usize; 6] = [4, 32, 32, 32, 4, 4];

/// Where the time stands in the header.
const TIME: std::ops::Range<usize> = 100..104;

/// A job, one for all miners of a thread that were told of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// As JSON, with its quotes.
    pub(crate) id: Box<[u8]>,
    pub(crate) header: [u8; HEADER_LEN],
    /// Counts the jobs of this thread.
    pub(crate) number: u32,
}

impl Job {
    pub(crate) fn time(&self) -> &[u8] {
        &self.header[TIME]
    }
}

/// The recent jobs of a thread.
#[derive(Debug, Default)]
pub(crate) struct JobBook {
    recent: VecDeque<Rc<Job>>,
    count: u32,
}

impl JobBook {
    /// The job of a `mining.notify`. `None` if its params are not those of a job.
    pub(crate) fn read(&mut self, params: Option<Raw<'_>>) -> Option<Rc<Job>> {
        let mut values = params?.elements();
        let id = values.next()?;
        id.as_str()?;
        let mut header = [0; HEADER_LEN];
        let mut rest = &mut header[..];
        for len in FIELDS {
            let (field, behind) = rest.split_at_mut(len);
            hex::decode_into(values.next()?.as_str()?, field).ok()?;
            rest = behind;
        }
        let known = self
            .recent
            .iter()
            .rev()
            .find(|job| *job.id == *id.bytes() && job.header == header);
        if let Some(job) = known {
            return Some(Rc::clone(job));
        }
        let job = Rc::new(Job {
            id: id.bytes().into(),
            header,
            number: self.count,
        });
        self.count += 1;
        if self.recent.len() == JOBS_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Rc::clone(&job));
        Some(job)
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
    fn a_job_is_fresh_once() {
        let mut seen = SeenJobs::default();
        assert!(seen.insert(0) && seen.insert(3) && seen.insert(1));
        assert!(!seen.insert(0) && !seen.insert(3) && !seen.insert(1));
        assert!(seen.insert(2) && seen.insert(60) && !seen.insert(3));
        assert!(seen.insert(1000) && !seen.insert(1000) && seen.insert(999));
    }
}
