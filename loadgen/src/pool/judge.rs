//! What the pool says: sessions, jobs, and the verdict on each share. Pure.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use stratum_uring::practice::equihash::{HEADER_LEN, NONCE_LEN, verify};
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::wire::{Raw, Reader, encode, hex};

/// A job stays good for so many more. Longer than any fault here lasts, so that a share which is refused
/// as stale was made so by the fault, and not by the pool.
const JOBS_GOOD: u64 = 32;

/// A new block comes with every so many jobs, and makes that job clean.
const JOBS_PER_BLOCK: u64 = 16;

/// Where the time stands in the header.
const TIME: std::ops::Range<usize> = 100..104;

/// The first byte of each nonce_1 that a pool gives, and part of each of its jobs: no two pools share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space(pub(crate) u8);

impl Space {
    /// Whose job this is.
    pub(crate) fn of(header: &[u8; HEADER_LEN]) -> Self {
        Self(header[4])
    }
}

/// When a pool has which job. They are counted by the time since 1970 in intervals, whatever the pool, so
/// two pools use the same ids at the same time and mean different jobs. Two links to one pool are told the
/// same jobs under different ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jobs {
    pub(crate) space: Space,
    pub(crate) interval: Duration,
}

impl Jobs {
    /// The number of the job at this time since 1970.
    pub(crate) fn number(self, since_1970: Duration) -> u64 {
        let number = since_1970.as_nanos() / self.interval.as_nanos().max(1);
        u64::try_from(number).unwrap_or(u64::MAX)
    }

    fn header(self, number: u64) -> [u8; HEADER_LEN] {
        let seconds = self.interval.as_secs_f64() * number as f64;
        let seconds = Duration::from_secs_f64(seconds).as_secs();
        let time = u32::try_from(seconds).unwrap_or(u32::MAX);
        let mut header = [0; HEADER_LEN];
        header[0] = 4;
        header[4..36].fill(self.space.0);
        header[28..36].copy_from_slice(&(number / JOBS_PER_BLOCK).to_be_bytes());
        header[36] = self.space.0;
        header[60..68].copy_from_slice(&number.to_be_bytes());
        header[TIME].copy_from_slice(&time.to_le_bytes());
        header[104..108].copy_from_slice(&[0xe1, 0xab, 0x03, 0x1c]);
        header
    }

    fn append(self, number: u64, nonce_1: [u8; 4], clean: bool, out: &mut Vec<u8>) {
        let header = self.header(number);
        encode::notification(out, "mining.notify", |out| {
            encode::append_string(out, &format!("{:02x}{number:x}", nonce_1[3]));
            for field in [0..4, 4..36, 36..68, 68..100, TIME, 104..108] {
                out.extend_from_slice(b",\"");
                hex::append_encoded(out, &header[field]);
                out.push(b'"');
            }
            out.extend_from_slice(if clean { b",true" } else { b",false" });
        });
    }
}

/// 48,5, of which real shares can be found in any number.
pub(crate) fn smallest() -> Parameters {
    Parameters::new(48, 5).expect("the parameters are known ones")
}

/// What became of the shares so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) accepted: u64,
    pub(crate) stale: u64,
    pub(crate) duplicate: u64,
    /// Such as no honest miner sends, nor a proxy that mixes nothing up.
    pub(crate) wrong: u64,
}

/// What a link has agreed on.
#[derive(Debug, Default)]
pub(crate) struct Link {
    nonce_1: Option<[u8; 4]>,
    authorized: bool,
    /// The job that it was told of last.
    told: Option<u64>,
}

/// The pool, for all of its links.
#[derive(Debug)]
pub(crate) struct Judge {
    jobs: Jobs,
    parameters: Parameters,
    /// The number in the next new nonce_1.
    next: u32,
    /// How much later every second link is told of jobs than the others.
    late: Duration,
    /// The nonces of the shares that were taken, by job.
    taken: BTreeMap<u64, HashSet<[u8; NONCE_LEN]>>,
    reader: Reader,
    pub(crate) verdicts: Verdicts,
}

impl Judge {
    /// `start` is another one for each process, so that one which starts again gives no nonce_1 a second
    /// time that an older session may still ask for.
    pub(crate) fn new(jobs: Jobs, start: u16) -> Self {
        Self {
            jobs,
            parameters: smallest(),
            next: u32::from(start) << 8,
            late: Duration::ZERO,
            taken: BTreeMap::new(),
            reader: Reader::new(),
            verdicts: Verdicts::default(),
        }
    }

    /// From now on every second link is told of jobs so much later than the others.
    pub(crate) const fn be_late(&mut self, late: Duration) {
        self.late = late;
    }

    /// The job that a link is to be told of now, if it wants jobs and does not know it.
    pub(crate) fn announce(&mut self, link: &mut Link, since_1970: Duration, out: &mut Vec<u8>) {
        let Some(nonce_1) = link.nonce_1.filter(|_| link.authorized) else {
            return;
        };
        let is_late = nonce_1[3] % 2 == 1;
        let late = if is_late { self.late } else { Duration::ZERO };
        let number = self.jobs.number(since_1970.saturating_sub(late));
        if link.told.is_some_and(|told| told >= number) {
            return;
        }
        if link.told.is_none() {
            encode::notification(out, "mining.set_target", |out| {
                encode::append_string(out, &"f".repeat(64));
            });
        }
        let clean = link
            .told
            .is_none_or(|told| number / JOBS_PER_BLOCK != told / JOBS_PER_BLOCK);
        link.told = Some(number);
        self.jobs.append(number, nonce_1, clean, out);
        self.taken = self.taken.split_off(&number.saturating_sub(JOBS_GOOD));
    }

    /// Appends what there is to say to a line.
    pub(crate) fn handle_line(
        &mut self,
        link: &mut Link,
        line: &[u8],
        since_1970: Duration,
        out: &mut Vec<u8>,
    ) {
        // Taken out, as the message borrows it.
        let mut reader = std::mem::take(&mut self.reader);
        if let Ok(message) = reader.read(line)
            && let Some(id) = message.id
        {
            let id = id.bytes();
            let method = message.method.and_then(Raw::as_str).unwrap_or_default();
            match method {
                b"mining.subscribe" => {
                    let session = message.params.and_then(|params| params.elements().nth(1));
                    let nonce_1 = self.session(session.and_then(Raw::as_str));
                    link.nonce_1 = Some(nonce_1);
                    let mut digits = Vec::new();
                    hex::append_encoded(&mut digits, &nonce_1);
                    let digits = String::from_utf8_lossy(&digits);
                    let result = format!("[\"{digits}\",\"{digits}\"]");
                    encode::reply_result(out, id, result.as_bytes());
                }
                b"mining.submit" => match self.judge(link, message.params, since_1970) {
                    Ok(()) => {
                        self.verdicts.accepted += 1;
                        encode::reply_true(out, id);
                    }
                    Err(fault) => {
                        *fault.count(&mut self.verdicts) += 1;
                        let (code, text) = fault.text();
                        encode::reply_error(out, id, code, text);
                    }
                },
                _ => {
                    link.authorized |= method == b"mining.authorize";
                    encode::reply_true(out, id);
                }
            }
        }
        self.reader = reader;
    }

    /// The nonce_1 of this session, where it is one of ours, else a new one.
    fn session(&mut self, id: Option<&[u8]>) -> [u8; 4] {
        let known = id.and_then(|id| hex::decode_to_array::<4>(id).ok());
        if let Some(nonce_1) = known.filter(|nonce_1| nonce_1[0] == self.jobs.space.0) {
            return nonce_1;
        }
        let mut nonce_1 = self.next.to_be_bytes();
        nonce_1[0] = self.jobs.space.0;
        self.next += 1;
        nonce_1
    }

    fn judge(
        &mut self,
        link: &Link,
        params: Option<Raw<'_>>,
        since_1970: Duration,
    ) -> Result<(), Fault> {
        let nonce_1 = link
            .nonce_1
            .filter(|_| link.authorized)
            .ok_or(Fault::NotAuthorized)?;
        let params = params.ok_or(Fault::Shape)?;
        let mut texts = params
            .elements()
            .skip(1)
            .map(|param| param.as_str().unwrap_or_default());
        let mut text = || texts.next().ok_or(Fault::Shape);
        let (job, time, nonce_2, solution) = (text()?, text()?, text()?, text()?);
        let digits = std::str::from_utf8(job).map_err(|_| Fault::Stale)?;
        let (own, digits) = digits.split_at_checked(2).ok_or(Fault::Stale)?;
        if own != format!("{:02x}", nonce_1[3]) {
            return Err(Fault::OthersJob);
        }
        let number = u64::from_str_radix(digits, 16).map_err(|_| Fault::Stale)?;
        let now = self.jobs.number(since_1970);
        if number > now || now - number >= JOBS_GOOD {
            return Err(Fault::Stale);
        }
        let mut header = self.jobs.header(number);
        hex::decode_into(time, &mut header[TIME]).map_err(|_| Fault::Shape)?;
        let mut nonce = [0; NONCE_LEN];
        nonce[..4].copy_from_slice(&nonce_1);
        hex::decode_into(nonce_2, &mut nonce[4..]).map_err(|_| Fault::Shape)?;
        let prefix_len = self.parameters.solution_prefix_hex().len() / 2;
        let mut bytes = vec![0; prefix_len + self.parameters.solution_len()];
        hex::decode_into(solution, &mut bytes).map_err(|_| Fault::Shape)?;
        if self
            .taken
            .get(&number)
            .is_some_and(|taken| taken.contains(&nonce))
        {
            return Err(Fault::Duplicate);
        }
        // A share that went out under another job or nonce_1 than it was found for is no solution.
        verify(self.parameters, &header, &nonce, &bytes[prefix_len..])
            .map_err(|_| Fault::Solution)?;
        self.taken.entry(number).or_default().insert(nonce);
        Ok(())
    }
}

/// Why a share is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Stale,
    Duplicate,
    /// An id that another link was told.
    OthersJob,
    NotAuthorized,
    Shape,
    Solution,
}

impl Fault {
    fn text(self) -> (i64, &'static str) {
        match self {
            Self::Stale => (21, "job not found"),
            Self::Duplicate => (22, "duplicate share"),
            Self::OthersJob => (20, "a job of another link"),
            Self::NotAuthorized => (24, "unauthorized worker"),
            Self::Shape => (20, "a share of the wrong shape"),
            Self::Solution => (20, "invalid solution"),
        }
    }

    fn count(self, verdicts: &mut Verdicts) -> &mut u64 {
        match self {
            Self::Stale => &mut verdicts.stale,
            Self::Duplicate => &mut verdicts.duplicate,
            Self::OthersJob | Self::NotAuthorized | Self::Shape | Self::Solution => {
                &mut verdicts.wrong
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobBook;
    use crate::mock_pool::number_of;
    use crate::shares::{ShareMaker, Work};
    use stratum_uring::practice::PracticeCoin;
    use stratum_uring::proto::extranonce::Extranonce1;
    use stratum_uring::proto::target::Target;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn judge(space: u8, start: u16) -> Judge {
        let jobs = Jobs {
            space: Space(space),
            interval: Duration::from_millis(500),
        };
        Judge::new(jobs, start)
    }

    fn say(judge: &mut Judge, link: &mut Link, line: &str) -> String {
        let mut out = Vec::new();
        judge.handle_line(link, line.as_bytes(), NOW, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn subscribe(judge: &mut Judge, link: &mut Link, session: &str) -> String {
        let line = format!(r#"{{"id":1,"method":"mining.subscribe","params":["a",{session}]}}"#);
        let answer = say(judge, link, &line);
        say(
            judge,
            link,
            r#"{"id":2,"method":"mining.authorize","params":["w","x"]}"#,
        );
        answer.split('"').nth(5).unwrap().to_owned()
    }

    /// A share that is right for this link, as a line.
    fn share(judge: &mut Judge, link: &mut Link, nonce_1: &str) -> String {
        let mut out = Vec::new();
        judge.announce(link, NOW, &mut out);
        let notify = out
            .split(|byte| *byte == b'\n')
            .find(|line| line.windows(6).any(|it| it == b"notify"));
        let mut reader = Reader::new();
        let job = JobBook::default()
            .read(reader.read(notify.unwrap()).unwrap().params)
            .unwrap();
        assert_eq!(number_of(&job.header), judge.jobs.number(NOW));
        assert_eq!(Space::of(&job.header), judge.jobs.space);
        let work = Work {
            job,
            extranonce1: Extranonce1::parse(nonce_1.as_bytes()).unwrap(),
            target: Target::from_bytes([0xff; 32]),
            extranonce2_len: 0,
            version_bits: None,
            nonce_end: None,
        };
        let mut maker = ShareMaker::new(PracticeCoin::Equihash(smallest()));
        let share = (0..10_000).find_map(|_| maker.attempt(&work)).unwrap();
        let mut line = br#"{"id":3,"method":"mining.submit","params":["w""#.to_vec();
        share.write_params(&mut line);
        line.extend_from_slice(b"]}");
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_share_is_taken_once_and_only_under_its_own_nonce_and_job() {
        let (mut judge, mut link) = (judge(0xa1, 7), Link::default());
        let nonce_1 = subscribe(&mut judge, &mut link, "null");
        let line = share(&mut judge, &mut link, &nonce_1);
        let mut other = Link::default();
        subscribe(&mut judge, &mut other, "null");
        assert!(say(&mut judge, &mut other, &line).contains("another link"));
        assert!(say(&mut judge, &mut link, &line).contains("true"));
        assert!(say(&mut judge, &mut link, &line).contains("22"));
        let mut another = self::judge(0xb2, 7);
        let mut moved = Link::default();
        subscribe(&mut another, &mut moved, "null");
        assert!(say(&mut another, &mut moved, &line).contains("invalid solution"));
        let mut out = Vec::new();
        judge.handle_line(
            &mut link,
            line.as_bytes(),
            NOW + Duration::from_secs(60),
            &mut out,
        );
        assert!(String::from_utf8(out).unwrap().contains("[21,"));
        let expected = Verdicts {
            accepted: 1,
            stale: 1,
            duplicate: 1,
            wrong: 1,
        };
        assert_eq!(judge.verdicts, expected);
    }

    #[test]
    fn a_session_outlives_the_process_in_its_own_space_only() {
        let mut link = Link::default();
        let nonce_1 = subscribe(&mut judge(0xa1, 7), &mut link, "null");
        let session = format!("\"{nonce_1}\"");
        assert_eq!(subscribe(&mut judge(0xa1, 8), &mut link, &session), nonce_1);
        assert_ne!(subscribe(&mut judge(0xa1, 8), &mut link, "null"), nonce_1);
        let moved = subscribe(&mut judge(0xb2, 8), &mut link, &session);
        assert!(moved.starts_with("b2"), "{moved}");
    }

    #[test]
    fn a_late_link_is_told_the_same_job_later_and_under_another_id() {
        let (mut judge, mut links) = (judge(0xa1, 7), [Link::default(), Link::default()]);
        for link in &mut links {
            subscribe(&mut judge, link, "null");
            judge.announce(link, NOW, &mut Vec::new());
        }
        judge.be_late(Duration::from_millis(200));
        let mut told_at = |millis: u64| {
            links.each_mut().map(|link| {
                let mut out = Vec::new();
                judge.announce(link, NOW + Duration::from_millis(millis), &mut out);
                String::from_utf8(out).unwrap()
            })
        };
        assert_eq!(told_at(10), ["", ""], "nobody is told an older job");
        let [first, none] = told_at(500);
        let [no_more, second] = told_at(700);
        assert_eq!([none.as_str(), no_more.as_str()], ["", ""]);
        let parts = |line: &str| {
            let (_, params) = line.split_once(r#""params":[""#).unwrap();
            let (id, content) = params.split_once('"').unwrap();
            (id.to_owned(), content.to_owned())
        };
        let (first, second) = (parts(&first), parts(&second));
        assert_ne!(first.0, second.0);
        assert_eq!(first.1, second.1);
    }

    #[test]
    fn a_job_is_told_once() {
        let (mut judge, mut link) = (judge(0xa1, 7), Link::default());
        let mut out = Vec::new();
        judge.announce(&mut link, NOW, &mut out);
        assert!(out.is_empty(), "nobody asked");
        subscribe(&mut judge, &mut link, "null");
        judge.announce(&mut link, NOW, &mut out);
        judge.announce(&mut link, NOW, &mut out);
        judge.announce(&mut link, NOW + Duration::from_millis(500), &mut out);
        let text = String::from_utf8(out).unwrap();
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("set_target"), count("notify")), (1, 2), "{text}");
    }
}
