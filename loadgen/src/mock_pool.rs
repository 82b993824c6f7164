//! A pool that costs little: it says yes to everything, and looks into nothing but the id of a request. Only
//! shares of Monero, which are small, are looked at: see [`monero`].
//!
//! For measurements of a proxy on a machine that has no core to spare for a real judge. Answers to all
//! shares of one read leave in one write.

mod bitcoin;
mod monero;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::practice::equihash::HEADER_LEN;
use stratum_uring::wire::{Message, Raw, Reader, Tail, TailPool, cut, encode, hex};

use crate::clock::Clock;
use crate::progress;

/// Longest line that it reads. A share has some 3,000 bytes.
const LINE_LEN_MAX: usize = 64 * 1024;

/// Read at once. Room for a few hundred shares.
const READ_LEN: usize = 1024 * 1024;

/// A peer that takes nothing for so long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The nonce_1 of the first connection, 4 bytes as most pools have it; the others follow.
const EXTRANONCE1_FIRST: u32 = 0xa100_0000;

/// What all miners must reach is behind this: anything will do.
const TARGET: &str = r#"{"id":null,"method":"mining.set_target","params":["#;

/// Times that are closer than this are the same.
const GRAIN: Duration = Duration::from_millis(2);

/// Its listener. Its threads live as long as the process, and share nothing but the time, from which
/// each link knows the current job.
#[derive(Debug)]
pub(crate) struct MockPool {
    address: SocketAddr,
    announced: Receiver<(u64, Duration)>,
    wrong: Arc<AtomicU64>,
}

/// What a link needs of the pool.
#[derive(Clone, Debug)]
struct Office {
    jobs: Jobs,
    coin: PracticeCoin,
    announce: Sender<(u64, Duration)>,
    /// Shares that no honest miner sends, nor a proxy that mixes nothing up.
    wrong: Arc<AtomicU64>,
}

/// When there is which job.
#[derive(Clone, Copy, Debug)]
struct Jobs {
    clock: Clock,
    start: Duration,
    interval: Duration,
}

impl Jobs {
    /// The number of the current job, and how long it is to the next one.
    fn current(&self) -> (u64, Duration) {
        let elapsed = (self.clock.now() - self.start).as_nanos();
        let interval = self.interval.as_nanos().max(1);
        let number = u64::try_from(elapsed / interval).unwrap_or(u64::MAX);
        let left = u64::try_from(interval - elapsed % interval).unwrap_or(u64::MAX);
        (number, Duration::from_nanos(left))
    }
}

impl MockPool {
    /// Listens on a free port of this machine, and announces a job this often.
    ///
    /// # Errors
    ///
    /// A text, when there is no port or no thread to be had.
    pub(crate) fn start(
        clock: Clock,
        job_interval: Duration,
        coin: PracticeCoin,
    ) -> Result<Self, String> {
        let told = |error: io::Error| format!("cannot start the mock pool: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(told)?;
        let address = listener.local_addr().map_err(told)?;
        let jobs = Jobs {
            clock,
            start: clock.now(),
            interval: job_interval,
        };
        let (announce, announced) = channel();
        let wrong = Arc::new(AtomicU64::new(0));
        let office = Office {
            jobs,
            coin,
            announce,
            wrong: Arc::clone(&wrong),
        };
        spawn("pool-accept", move || accept(&listener, &office)).map_err(told)?;
        Ok(Self {
            address,
            announced,
            wrong,
        })
    }

    /// When each job was told to the first link that wanted it, by its number.
    pub(crate) fn announced(&self) -> HashMap<u64, Duration> {
        let mut first = HashMap::new();
        for (number, at) in self.announced.try_iter() {
            let earliest = first.entry(number).or_insert(at);
            *earliest = at.min(*earliest);
        }
        first
    }

    /// Shares that it had to find wrong.
    pub(crate) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

/// The number of a job with this header. That of another pool's job means nothing.
pub(crate) fn number_of(header: &[u8; HEADER_LEN]) -> u64 {
    let digits = header.last_chunk::<NUMBER_FROM_END>();
    let number = digits.and_then(|rest| rest.first_chunk());
    number.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The number is the end of the merkle root; behind it stand 32 reserved bytes, time and bits.
const NUMBER_FROM_END: usize = 8 + 32 + 4 + 4;

fn accept(listener: &TcpListener, office: &Office) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        let office = office.clone();
        let served = stream.and_then(|mut stream| {
            // A peer that goes away is no event of ours.
            spawn("pool-link", move || {
                drop(serve(&mut stream, number, &office));
            })
        });
        if let Err(error) = served {
            // As when there is no descriptor left: it may be better later.
            progress::tell(&format!("the mock pool cannot serve: {error}"));
            Clock::pause(Duration::from_millis(100));
        }
    }
}

fn serve(stream: &mut TcpStream, number: u32, office: &Office) -> io::Result<()> {
    let jobs = office.jobs;
    let is_bitcoin = office.coin == PracticeCoin::Bitcoin;
    let is_monero = office.coin == PracticeCoin::Monero;
    let mut session = is_monero.then(|| monero::Session::new(number));
    let append_job = |out: &mut Vec<u8>, job| match is_bitcoin {
        true => bitcoin::append_job(out, job, jobs.clock.unix_seconds()),
        false => append_job(out, job, jobs.clock),
    };
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut reader = Reader::new();
    let mut tails = TailPool::new(4);
    let mut tail = Tail::default();
    let mut bytes = vec![0; READ_LEN];
    let mut out = Vec::new();
    // The job that the peer was told of last, once it wants jobs.
    let mut told = None;
    let mut timeout = Duration::ZERO;
    loop {
        let (job, left) = jobs.current();
        if told.is_some_and(|told| told < job) {
            told = Some(job);
            match &mut session {
                Some(session) => session.announce(job, &mut out),
                None => append_job(&mut out, job),
            }
            // Nobody listens any more at the very end.
            let _ = office.announce.send((job, jobs.clock.now()));
        }
        if !out.is_empty() {
            stream.write_all(&out)?;
            out.clear();
        }
        if timeout.abs_diff(left) > GRAIN {
            timeout = left;
            stream.set_read_timeout(Some(left.max(GRAIN)))?;
        }
        let read = match stream.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => continue,
                _ => return Err(error),
            },
        };
        let mut lines = cut(&mut tail, &mut tails, &mut bytes[..read], LINE_LEN_MAX);
        while let Some(line) = lines.next() {
            let line = line.map_err(|_| ErrorKind::InvalidData)?;
            let message = reader.read(line).map_err(|_| ErrorKind::InvalidData)?;
            if let Some(session) = &mut session {
                let reply = session.handle(&message, job, &mut out);
                told = told.or_else(|| session.has_login().then_some(job));
                let wrong = u64::from(reply == monero::Reply::Wrong);
                office.wrong.fetch_add(wrong, Ordering::Relaxed);
            } else if answer(&message, number, is_bitcoin, &mut out) && told.is_none() {
                told = Some(job);
                if is_bitcoin {
                    out.extend_from_slice(bitcoin::DIFFICULTY);
                } else {
                    out.extend_from_slice(TARGET.as_bytes());
                    encode::append_string(&mut out, &"f".repeat(64));
                    out.extend_from_slice(b"]}\n");
                }
                append_job(&mut out, job);
            }
        }
    }
}

/// Appends the answer to a request. True if the peer wants jobs from now on.
fn answer(message: &Message<'_>, link: u32, is_bitcoin: bool, out: &mut Vec<u8>) -> bool {
    let method = message.method.and_then(Raw::as_str).unwrap_or_default();
    let Some(id) = message.id else {
        return false;
    };
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.bytes());
    if method == b"mining.subscribe" {
        out.extend_from_slice(b",\"result\":[null,\"");
        out.extend_from_slice(&hex::encode_u32_be(EXTRANONCE1_FIRST.wrapping_add(link)));
        out.push(b'"');
        if is_bitcoin {
            out.extend_from_slice(bitcoin::EXTRANONCE2_LEN);
        }
        out.extend_from_slice(b"],\"error\":null}\n");
    } else {
        out.extend_from_slice(b",\"result\":true,\"error\":null}\n");
    }
    method == b"mining.authorize"
}

/// A job as Zcash pools write it; each has hashes of its own, that rise with its number.
fn append_job(out: &mut Vec<u8>, number: u64, clock: Clock) {
    let seconds = u32::try_from(clock.unix_seconds()).unwrap_or(u32::MAX);
    let time = seconds.swap_bytes();
    let text = format!(
        "{{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"{number:x}\",\"04000000\",\"{zero:064x}\",\
         \"{number:064x}\",\"{zero:064x}\",\"{time:08x}\",\"e1ab031c\",true]}}\n",
        zero = 0,
    );
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use stratum_uring::proto::dialect::equihash::Parameters;

    use super::*;
    use crate::job::JobBook;

    #[test]
    fn it_takes_everything_and_announces_jobs() {
        let coin = PracticeCoin::Equihash(Parameters::ALL[0]);
        let pool = MockPool::start(Clock::start(), Duration::from_millis(20), coin).unwrap();
        let mut links = [(); 2].map(|()| TcpStream::connect(pool.address()).unwrap());
        let mut nonces = Vec::new();
        for link in &mut links {
            let requests = [
                "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}",
                "{\"id\":\"b\",\"method\":\"mining.authorize\",\"params\":[\"w\",\"x\"]}",
                "{\"id\":3,\"method\":\"mining.submit\",\"params\":[]}",
            ];
            for request in requests {
                writeln!(link, "{request}").unwrap();
            }
            let mut lines = BufReader::new(&*link).lines().map(Result::unwrap);
            nonces.push(lines.next().unwrap());
            let mut rest: Vec<_> = lines.by_ref().take(6).collect();
            rest.sort();
            let has = |what: &str| rest.iter().filter(|line| line.contains(what)).count();
            assert_eq!(
                has("{\"id\":\"b\",\"result\":true,\"error\":null}"),
                1,
                "{rest:?}"
            );
            assert_eq!(
                has("{\"id\":3,\"result\":true,\"error\":null}"),
                1,
                "{rest:?}"
            );
            assert_eq!(has("mining.set_target"), 1, "{rest:?}");
            assert_eq!(has("mining.notify"), 3, "a first job and more: {rest:?}");
        }
        assert_ne!(nonces[0], nonces[1], "links share no nonce_1");
        assert!(pool.announced().len() >= 2);
    }

    #[test]
    fn its_jobs_are_those_of_the_dialect() {
        let mut line = Vec::new();
        append_job(&mut line, 0xab, Clock::start());
        let mut reader = Reader::new();
        let message = reader.read(line.trim_ascii_end()).unwrap();
        let lens = message.params.unwrap().elements();
        let lens: Vec<_> = lens.map(|it| it.as_str().map_or(0, <[u8]>::len)).collect();
        assert_eq!(lens, [2, 8, 64, 64, 64, 8, 8, 0]);
        let job = JobBook::default().read(message.params).unwrap();
        assert_eq!(number_of(&job.header), 0xab);
    }
}
