//! The connections of an attack: plain sockets, all in one thread that honest miners have no part in.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use socket2::{Domain, Socket, Type};
use stratum_uring::tls::client::{ClientStream, TlsClient, Trust};
use stratum_uring::wire::Reader;

use crate::clock::Clock;
use crate::hostile::attack::{Appetite, Attack};
use crate::hostile::ear::Ear;

/// Where the backlog is full a connect waits no longer than this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// The first connections of an attack are spread over this time, or as long as one that was closed stays
/// away.
const BEGIN_WITHIN: Duration = Duration::from_millis(200);

/// Between two looks at all connections.
const PAUSE: Duration = Duration::from_millis(1);

/// What one that does not read all has room for: as little as the kernel allows.
const WINDOW_BYTES: usize = 4096;

/// The longest segment that such a one takes. The kernel measures by it what it holds for the proxy's side:
/// 4 MiB where nothing is said, and some 50 KiB so. All else waits in the proxy.
const SEGMENT_BYTES: u32 = 536;

/// What the attackers did, and what was done to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deeds {
    pub(super) connects: u64,
    pub(super) connects_failed: u64,
    /// Connections that the proxy ended.
    pub(super) closed: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_read: u64,
}

impl Deeds {
    pub(super) fn add(&mut self, other: Self) {
        self.connects += other.connects;
        self.connects_failed += other.connects_failed;
        self.closed += other.closed;
        self.bytes_sent += other.bytes_sent;
        self.bytes_read += other.bytes_read;
    }
}

/// A thread of attackers. Dropping it ends the attack.
#[derive(Debug)]
pub(super) struct Attackers {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Deeds>>,
}

impl Attackers {
    /// Begins an attack.
    ///
    /// # Errors
    ///
    /// A text, where there is no thread for it.
    pub(super) fn begin(
        attack: &'static Attack,
        miners: u32,
        destination: SocketAddr,
        clock: Clock,
    ) -> Result<Self, String> {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::Builder::new()
            .name("attackers".to_owned())
            .spawn(move || {
                let mut crowd = Crowd::new(attack, miners, destination, clock);
                while !over.load(Ordering::Relaxed) {
                    crowd.act(&over);
                    Clock::pause(PAUSE);
                }
                crowd.deeds
            })
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self {
            is_over,
            thread: Some(thread),
        })
    }

    /// Closes all their connections.
    pub(super) fn end(mut self) -> Deeds {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(JoinHandle::join);
        thread.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A place for one connection at a time.
#[derive(Default)]
struct Place {
    stream: Option<TcpStream>,
    tls: Option<Box<ClientStream>>,
    /// When it does something next.
    due: Duration,
    unsent: Vec<u8>,
    /// Bytes that it would like to read by now.
    hunger: usize,
    heard: Ear,
}

struct Crowd {
    attack: &'static Attack,
    destination: SocketAddr,
    clock: Clock,
    tls: TlsClient,
    random: Rng,
    places: Vec<Place>,
    buffer: Vec<u8>,
    reader: Reader,
    deeds: Deeds,
}

impl Crowd {
    fn new(attack: &'static Attack, miners: u32, destination: SocketAddr, clock: Clock) -> Self {
        let mut random = Rng::with_seed(1);
        let now = clock.now();
        // Not all at the same moment.
        let within = BEGIN_WITHIN.max(attack.back_after);
        let places = (0..attack.connections(miners)).map(|_| Place {
            due: now + within.mul_f64(random.f64()),
            ..Place::default()
        });
        Self {
            attack,
            destination,
            clock,
            tls: TlsClient::new(Trust::Anybody, None).expect("no file that could be wrong"),
            places: places.collect(),
            random,
            buffer: vec![0; 64 * 1024],
            reader: Reader::new(),
            deeds: Deeds::default(),
        }
    }

    /// Lets everybody do what is due, until it is over: a connect may take its time.
    fn act(&mut self, is_over: &AtomicBool) {
        let mut places = std::mem::take(&mut self.places);
        for place in &mut places {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let now = self.clock.now();
            if place.stream.is_none() {
                if place.due <= now {
                    self.connect(place, now);
                }
                continue;
            }
            let is_due = place.due <= now;
            if is_due && place.unsent.is_empty() {
                place.due = now + self.attack.pace;
                place.hunger = place.hunger.saturating_add(self.attack.reads.then);
                let more = (self.attack.more)(&mut self.random, &mut place.heard);
                place.say(&more);
            }
            // One that does not read would not be told of a reset until it had read all that came before.
            if (is_due && place.is_reset()) || !self.goes_on(place) {
                self.deeds.closed += 1;
                *place = Place {
                    due: now + self.attack.back_after,
                    ..Place::default()
                };
            }
        }
        self.places = places;
    }

    fn connect(&mut self, place: &mut Place, now: Duration) {
        place.due = now + self.attack.pace;
        let Ok(stream) = open(self.destination, self.attack.reads) else {
            self.deeds.connects_failed += 1;
            return;
        };
        self.deeds.connects += 1;
        if self.attack.resets {
            return;
        }
        place.stream = Some(stream);
        place.hunger = self.attack.reads.first;
        if self.attack.has_tls {
            let begun = self.tls.connect("hostile.invalid", &mut place.unsent);
            place.tls = Some(Box::new(begun.expect("a host name")));
        } else {
            place.unsent = (self.attack.opening)(&mut self.random);
        }
    }

    /// Sends and reads what can be; says whether the connection still stands.
    fn goes_on(&mut self, place: &mut Place) -> bool {
        let Some(stream) = &mut place.stream else {
            return false;
        };
        if !place.unsent.is_empty() {
            match stream.write(&place.unsent) {
                Ok(sent) => {
                    self.deeds.bytes_sent += sent as u64;
                    place.unsent.drain(..sent);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        while place.hunger > 0 {
            let room = place.hunger.min(self.buffer.len());
            match stream.read(&mut self.buffer[..room]) {
                Ok(0) => return false,
                Ok(read) => {
                    self.deeds.bytes_read += read as u64;
                    place.hunger -= read;
                    let said = &mut self.buffer[..read];
                    if let Some(tls) = &mut place.tls {
                        let was_ready = tls.is_ready();
                        let mut plain = Vec::new();
                        let heard = tls.handle_bytes(said, &mut plain, &mut place.unsent);
                        let opening = !was_ready && tls.is_ready();
                        if heard.is_err() {
                            return false;
                        }
                        if opening {
                            let bytes = (self.attack.opening)(&mut self.random);
                            let sealed = tls.encrypt(&bytes, &mut place.unsent);
                            sealed.expect("it is ready");
                        }
                    } else if self.attack.is_kept_out {
                        place.heard.hear(said, &mut self.reader);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Place {
    /// Whether its peer has reset the connection.
    fn is_reset(&self) -> bool {
        let error = self.stream.as_ref().map(TcpStream::take_error);
        error.is_some_and(|error| !matches!(error, Ok(None)))
    }

    /// What it says next; with TLS nothing before the handshake is done.
    fn say(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.unsent.extend_from_slice(bytes),
            Some(tls) if !bytes.is_empty() && tls.is_ready() => {
                // Where the session is over the socket will say so.
                drop(tls.encrypt(bytes, &mut self.unsent));
            }
            Some(_) => {}
        }
    }
}

/// A connection of one that reads so much.
fn open(destination: SocketAddr, reads: Appetite) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(destination), Type::STREAM, None)?;
    if reads != Appetite::ALL {
        socket.set_recv_buffer_size(WINDOW_BYTES)?;
        socket.set_tcp_mss(SEGMENT_BYTES)?;
    }
    socket.connect_timeout(&destination.into(), CONNECT_TIMEOUT)?;
    socket.set_nonblocking(true)?;
    // Nothing stays behind of it, on either side.
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use stratum_uring::tls::{
        Acceptor, Event, KeyPairFiles, PemFile, ServerFiles, encrypted_len_max,
    };

    use super::*;
    use crate::hostile::attack::ATTACKS;

    #[test]
    fn every_attack_reaches_who_listens() {
        let (clock, on) = (Clock::start(), AtomicBool::new(false));
        for attack in &ATTACKS {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let mut crowd = Crowd::new(attack, 1, address, clock);
            while crowd.deeds.connects == 0 {
                crowd.act(&on);
                Clock::pause(PAUSE);
            }
            let (mut peer, _) = listener.accept().unwrap();
            if attack.resets {
                let error = peer.read(&mut [0; 16]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                continue;
            }
            crowd.act(&on);
            assert!(peer.read(&mut [0; 16]).unwrap() > 0, "{}", attack.name);
            drop(peer);
            // Also one that does not read is told.
            while crowd.deeds.closed == 0 {
                crowd.act(&on);
                Clock::pause(PAUSE);
            }
        }
    }

    #[test]
    fn one_that_reads_little_asks_for_much_and_leaves_it() {
        let made = rcgen::generate_simple_self_signed(["hall.example".to_owned()]).unwrap();
        let file = |text: String| PemFile {
            path: "hall.pem".into(),
            bytes: text.into_bytes(),
        };
        let files = ServerFiles {
            pairs: vec![KeyPairFiles {
                certificate: file(made.cert.pem()),
                key: file(made.signing_key.serialize_pem()),
            }],
            client_ca: None,
        };
        let mut session = Acceptor::load(&files, None).unwrap().begin().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (clock, on) = (Clock::start(), AtomicBool::new(false));
        let attack = ATTACKS.iter().find(|it| it.name == "slow-reading");
        let attack = attack.expect("an attack");
        let mut crowd = Crowd::new(attack, 1, listener.local_addr().unwrap(), clock);
        crowd.places.truncate(1);
        while crowd.deeds.connects == 0 {
            crowd.act(&on);
        }
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_nonblocking(true).unwrap();
        let (mut asked, mut bytes, mut out) = (0, vec![0; 4096], Vec::new());
        let mut sent = 0;
        let long_ago = clock.now() + Duration::from_secs(20);
        let (little, began) = (Appetite::LITTLE, clock.now());
        let read = |crowd: &Crowd| usize::try_from(crowd.deeds.bytes_read).unwrap();
        // Through its window that takes some time.
        while asked < 7002 || read(&crowd) < little.first + 3 * little.then {
            assert!(clock.now() < long_ago, "{asked} asked, {sent} sent");
            crowd.act(&on);
            if let Ok(len) = peer.read(&mut bytes) {
                let count = |event: Event<'_>| {
                    if let Event::Plaintext(plain) = event {
                        asked += plain.iter().filter(|&&byte| byte == b'\n').count();
                    }
                };
                session.receive(&mut bytes[..len], &mut out, count).unwrap();
            }
            if session.is_open() && asked == 7002 && out.is_empty() {
                let start = out.len();
                out.resize(start + encrypted_len_max(16_000), 0);
                let (len, said) = session.encrypt(&[b'a'; 16_000], &mut out[start..]);
                said.unwrap();
                out.truncate(start + len);
            }
            let taken = peer.write(&out).unwrap_or(0);
            out.drain(..taken);
            sent += taken;
        }
        let looks = (clock.now() - began)
            .as_nanos()
            .div_ceil(attack.pace.as_nanos());
        let wanted = little.first + usize::try_from(looks).unwrap() * little.then;
        assert!(read(&crowd) <= wanted, "{} of {wanted}", read(&crowd));
        // What the kernel holds for it is little, whatever it is sent.
        let held = sent - read(&crowd);
        assert!(held < 1024 * 1024, "{held}");
    }
}
