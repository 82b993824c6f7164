//! The null relay: the yardstick of `benches/ratios`.
//!
//! It does the reads and writes that a mining proxy can't avoid, with epoll on one thread, and nothing
//! else: a miner's share goes to the pool as it came, a pool's job goes to all miners as it came, a
//! pool's answer to the miner that has the share's id. No message is parsed beyond its id, copied or
//! allocated for. It is no proxy: all miners get one nonce space, and it trusts everybody.
//!
//! Its miners must know that they talk to it (`loadgen --alike`): a subscribe has the id 1, an authorize
//! the id 2, and no two shares have one id.
//!
//! `null-relay LISTEN POOL [DIALECT]`, as in `null-relay 127.0.0.1:3333 127.0.0.1:4444 bitcoin`. Tells on
//! stderr where it listens and when it is ready, and ends with the pool. Of Monero it does what is in the
//! nature of that: it copies each job for each miner, and writes eight other digits into it.

use std::io::{self, Error};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use memchr::{memchr, memmem};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, listen, recv, send, sockopt};

/// Shares that may wait for their answer. A power of two.
const OWNERS: usize = 1 << 21;

/// Ids below are those of a handshake.
const SHARE_ID_FIRST: usize = 16;

const BACKLOG: i32 = 4096;

const READ_LEN: usize = 256 * 1024;

/// What has begun and not ended yet, of one peer.
type Part = Vec<u8>;

/// What is another line from dialect to dialect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Equihash,
    Bitcoin,
    Monero,
}

impl Dialect {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "equihash" => Self::Equihash,
            "bitcoin" => Self::Bitcoin,
            "monero" => Self::Monero,
            _ => return None,
        })
    }

    /// What is said to the pool at first.
    const fn greeting(self) -> &'static [u8] {
        match self {
            Self::Equihash | Self::Bitcoin => {
                b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n\
                  {\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"null\",\"x\"]}\n"
            }
            Self::Monero => {
                b"{\"id\":1,\"method\":\"login\",\"params\":{\"login\":\"null\",\"pass\":\"x\"}}\n"
            }
        }
    }

    /// What a line of a job has in it, and no other.
    const fn job(self) -> &'static [u8] {
        match self {
            Self::Equihash | Self::Bitcoin => b"mining.notify",
            Self::Monero => b"\"method\":\"job\"",
        }
    }

    /// The same of a line of a target, where targets have one.
    const fn target(self) -> Option<&'static [u8]> {
        match self {
            Self::Equihash => Some(b"set_target"),
            Self::Bitcoin => Some(b"set_difficulty"),
            Self::Monero => None,
        }
    }
}

struct Relay {
    dialect: Dialect,
    epoll: OwnedFd,
    listener: TcpListener,
    pool: OwnedFd,
    /// The miners by descriptor.
    miners: Vec<Option<OwnedFd>>,
    /// Descriptors of all miners, for the fan-out, and where each stands in there.
    present: Vec<usize>,
    places: Vec<usize>,
    /// Whose share has an id, modulo the length.
    owners: Vec<u32>,
    parts: Vec<Part>,
    /// The answer to a subscribe.
    answer: &'static [u8],
    /// The last job and target, with their newlines. Of Monero the second is the answer to a login.
    job: Vec<u8>,
    target: Vec<u8>,
    /// A job with a miner's own digits in it.
    own_job: Vec<u8>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().collect();
    let (listen_at, pool_at, dialect) = match &arguments[..] {
        [_, listen_at, pool_at] => (listen_at, pool_at, Some(Dialect::Equihash)),
        [_, listen_at, pool_at, dialect] => (listen_at, pool_at, Dialect::parse(dialect)),
        _ => usage(),
    };
    let Some(dialect) = dialect else {
        usage();
    };
    let address = |text: &String| text.parse::<SocketAddr>().map_err(Error::other);
    let mut relay = Relay::start(address(listen_at)?, address(pool_at)?, dialect)?;
    eprintln!("listening on {}", relay.listener.local_addr()?);
    eprintln!("ready: a relay that parses nothing");
    relay.run()
}

fn usage() -> ! {
    eprintln!("usage: null-relay LISTEN POOL [equihash|bitcoin|monero]");
    std::process::exit(2);
}

impl Relay {
    fn start(listen_at: SocketAddr, pool_at: SocketAddr, dialect: Dialect) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let pool: OwnedFd = TcpStream::connect(pool_at)?.into();
        sockopt::set_tcp_nodelay(&pool, true)?;
        add(&epoll, &pool)?;
        send_all(&pool, dialect.greeting());
        let listener = TcpListener::bind(listen_at)?;
        listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        add(&epoll, &listener)?;
        Ok(Self {
            dialect,
            epoll,
            listener,
            pool,
            miners: Vec::new(),
            present: Vec::new(),
            places: Vec::new(),
            owners: vec![0; OWNERS],
            parts: Vec::new(),
            answer: match dialect {
                Dialect::Bitcoin => {
                    b"{\"id\":1,\"result\":[null,\"a100000000000000\",8],\"error\":null}\n"
                }
                Dialect::Equihash | Dialect::Monero => {
                    b"{\"id\":1,\"result\":[null,\"a100000000000000\"],\"error\":null}\n"
                }
            },
            job: Vec::new(),
            target: Vec::new(),
            own_job: Vec::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let (listener, pool) = (number(&self.listener), number(&self.pool));
        let mut events = [MaybeUninit::<Event>::uninit(); 512];
        let mut bytes = vec![0; READ_LEN];
        loop {
            let (ready, _) = match epoll::wait(&self.epoll, &mut events[..], None) {
                Err(Errno::INTR) => continue,
                ready => ready?,
            };
            for event in ready {
                let fd = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                if fd == listener {
                    self.accept()?;
                } else if fd == pool {
                    match recv(&self.pool, &mut bytes[..], RecvFlags::DONTWAIT) {
                        Ok((0, _)) => return Ok(()),
                        Ok((len, _)) => self.read(fd, &bytes[..len], Self::handle_pool),
                        Err(Errno::AGAIN) => {}
                        Err(error) => return Err(error.into()),
                    }
                } else if let Some(miner) = &self.miners[fd] {
                    match recv(miner, &mut bytes[..], RecvFlags::DONTWAIT) {
                        Ok((len, _)) if len > 0 => {
                            self.read(fd, &bytes[..len], Self::handle_miner);
                        }
                        Err(Errno::AGAIN) => {}
                        _ => self.forget(fd),
                    }
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let miner: OwnedFd = match self.listener.accept() {
                Ok((miner, _)) => miner.into(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            sockopt::set_tcp_nodelay(&miner, true)?;
            add(&self.epoll, &miner)?;
            let fd = number(&miner);
            if self.miners.len() <= fd {
                self.miners.resize_with(fd + 1, || None);
                self.places.resize(fd + 1, 0);
            }
            self.places[fd] = self.present.len();
            self.present.push(fd);
            self.miners[fd] = Some(miner);
        }
    }

    fn forget(&mut self, fd: usize) {
        self.miners[fd] = None;
        if let Some(part) = self.parts.get_mut(fd) {
            part.clear();
        }
        let place = self.places[fd];
        self.present.swap_remove(place);
        if let Some(moved) = self.present.get(place) {
            self.places[*moved] = place;
        }
    }

    /// Handles the lines that are whole and keeps the rest.
    fn read(&mut self, fd: usize, bytes: &[u8], handle: fn(&mut Self, usize, &[u8])) {
        let mut rest = bytes;
        if self.parts.get(fd).is_some_and(|part| !part.is_empty()) {
            let Some(end) = memchr(b'\n', rest) else {
                self.parts[fd].extend_from_slice(rest);
                return;
            };
            let mut part = std::mem::take(&mut self.parts[fd]);
            part.extend_from_slice(&rest[..=end]);
            handle(self, fd, &part);
            part.clear();
            self.parts[fd] = part;
            rest = &rest[end + 1..];
        }
        while let Some(end) = memchr(b'\n', rest) {
            handle(self, fd, &rest[..=end]);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            if self.parts.len() <= fd {
                self.parts.resize_with(fd + 1, Part::new);
            }
            self.parts[fd].extend_from_slice(rest);
        }
    }

    /// `line` ends with its newline, here and below.
    fn handle_miner(&mut self, fd: usize, line: &[u8]) {
        let Some(miner) = &self.miners[fd] else {
            return;
        };
        match id(line) {
            1 if self.dialect == Dialect::Monero => {
                for line in [&self.target, &self.job] {
                    send_all(miner, own_job(&mut self.own_job, line, fd));
                }
            }
            1 => {
                let mut answer = self.answer.to_vec();
                write_number(&mut answer[NUMBER_AT], fd);
                send_all(miner, &answer);
                send_all(miner, &self.target);
                send_all(miner, &self.job);
            }
            2 => send_all(miner, b"{\"id\":2,\"result\":true,\"error\":null}\n"),
            id => {
                self.owners[id % OWNERS] = u32::try_from(fd).unwrap_or(0);
                send_all(&self.pool, line);
            }
        }
    }

    fn handle_pool(&mut self, _pool: usize, line: &[u8]) {
        let has = |what| memmem::find(line, what).is_some();
        let is_job = has(self.dialect.job());
        if is_job || self.dialect.target().is_some_and(has) {
            let kept = if is_job {
                &mut self.job
            } else {
                &mut self.target
            };
            kept.clear();
            kept.extend_from_slice(line);
            for fd in &self.present {
                let Some(miner) = &self.miners[*fd] else {
                    continue;
                };
                match self.dialect {
                    Dialect::Monero => send_now(miner, own_job(&mut self.own_job, line, *fd)),
                    Dialect::Equihash | Dialect::Bitcoin => send_now(miner, line),
                }
            }
            return;
        }
        let id = id(line);
        if id == 1 && self.dialect == Dialect::Monero {
            // The answer to our login is everybody's: the first job is in it.
            self.target = line.to_vec();
        }
        if id >= SHARE_ID_FIRST {
            let owner = self.owners[id % OWNERS] as usize;
            if let Some(Some(miner)) = self.miners.get(owner) {
                send_now(miner, line);
            }
        }
    }
}

/// Where a miner's number stands in the answer to its subscribe.
const NUMBER_AT: std::ops::Range<usize> = 32..40;

fn write_number(digits: &mut [u8], fd: usize) {
    for (digit, shift) in digits.iter_mut().zip([28, 24, 20, 16, 12, 8, 4, 0]) {
        *digit = b"0123456789abcdef"[(fd >> shift) & 15];
    }
}

/// A job of Monero with a miner's number in place of the nonce.
fn own_job<'a>(own: &'a mut Vec<u8>, line: &[u8], fd: usize) -> &'a [u8] {
    own.clear();
    own.extend_from_slice(line);
    if let Some(blob) = memmem::find(line, b"\"blob\":\"") {
        write_number(&mut own[blob + 8 + 78..][..8], fd);
    }
    own
}

/// Wants to hear when there is something to read.
fn add(epoll: &OwnedFd, peer: &impl std::os::fd::AsFd) -> io::Result<()> {
    let data = EventData::new_u64(number(peer) as u64);
    Ok(epoll::add(epoll, peer, data, EventFlags::IN)?)
}

fn number(peer: &impl std::os::fd::AsFd) -> usize {
    usize::try_from(peer.as_fd().as_raw_fd()).unwrap_or(usize::MAX)
}

/// The number behind `"id":`, 0 if there is none.
fn id(line: &[u8]) -> usize {
    let Some(place) = memmem::find(line, b"\"id\":") else {
        return 0;
    };
    let digits = line[place + 5..]
        .iter()
        .take_while(|it| it.is_ascii_digit());
    digits.fold(0, |number: usize, digit| {
        number.wrapping_mul(10) + usize::from(digit - b'0')
    })
}

/// All of it, and waits if need be. A peer that is gone is found when it is read.
fn send_all(peer: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match send(peer, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Once, whatever fits.
fn send_now(peer: &OwnedFd, bytes: &[u8]) {
    let _sent = send(peer, bytes, SendFlags::NOSIGNAL);
}
