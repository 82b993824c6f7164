//! The connections of an attack: plain sockets, all in one thread that honest miners have no part in.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use stratum_uring::wire::Reader;

use crate::clock::Clock;
use crate::hostile::attack::Attack;
use crate::hostile::ear::Ear;

/// One that was closed comes back after so long.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);

/// Where the backlog is full a connect waits no longer than this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// The first connections of an attack are spread over this time.
const BEGIN_WITHIN: Duration = Duration::from_millis(200);

/// Between two looks at all connections.
const PAUSE: Duration = Duration::from_millis(1);

/// What one that does not read has room for: as little as the kernel allows.
const WINDOW_BYTES: usize = 4096;

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
                    crowd.act();
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
    /// When it does something next.
    due: Duration,
    unsent: Vec<u8>,
    heard: Ear,
}

struct Crowd {
    attack: &'static Attack,
    destination: SocketAddr,
    clock: Clock,
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
        let places = (0..attack.connections(miners)).map(|_| Place {
            due: now + attack.pace.min(BEGIN_WITHIN).mul_f64(random.f64()),
            ..Place::default()
        });
        Self {
            attack,
            destination,
            clock,
            places: places.collect(),
            random,
            buffer: vec![0; 64 * 1024],
            reader: Reader::new(),
            deeds: Deeds::default(),
        }
    }

    /// Lets everybody do what is due.
    fn act(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        for place in &mut places {
            let now = self.clock.now();
            if place.stream.is_none() {
                if place.due <= now {
                    self.connect(place, now);
                }
                continue;
            }
            if place.due <= now && place.unsent.is_empty() {
                place.unsent = (self.attack.more)(&mut self.random, &mut place.heard);
                place.due = now + self.attack.pace;
            }
            if !self.goes_on(place) {
                self.deeds.closed += 1;
                place.stream = None;
                place.unsent.clear();
                place.heard = Ear::default();
                place.due = now + RECONNECT_AFTER;
            }
        }
        self.places = places;
    }

    fn connect(&mut self, place: &mut Place, now: Duration) {
        place.due = now + self.attack.pace;
        let connected = TcpStream::connect_timeout(&self.destination, CONNECT_TIMEOUT);
        let Ok(stream) = connected.and_then(|stream| {
            stream.set_nonblocking(true)?;
            if !self.attack.reads {
                set_socket_recv_buffer_size(&stream, WINDOW_BYTES)?;
            }
            // Nothing stays behind of it, on either side.
            set_socket_linger(&stream, Some(Duration::ZERO))?;
            Ok(stream)
        }) else {
            self.deeds.connects_failed += 1;
            return;
        };
        self.deeds.connects += 1;
        if !self.attack.resets {
            place.unsent = (self.attack.opening)(&mut self.random);
            place.stream = Some(stream);
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
        while self.attack.reads {
            match stream.read(&mut self.buffer) {
                Ok(0) => return false,
                Ok(read) => {
                    self.deeds.bytes_read += read as u64;
                    if self.attack.is_kept_out {
                        place.heard.hear(&self.buffer[..read], &mut self.reader);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::hostile::attack::ATTACKS;

    #[test]
    fn every_attack_reaches_who_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clock = Clock::start();
        for attack in &ATTACKS {
            let mut crowd = Crowd::new(attack, 1, address, clock);
            while crowd.deeds.connects == 0 {
                crowd.act();
                Clock::pause(PAUSE);
            }
            let (mut peer, _) = listener.accept().unwrap();
            if attack.resets {
                let error = peer.read(&mut [0; 16]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                continue;
            }
            crowd.act();
            assert!(peer.read(&mut [0; 16]).unwrap() > 0, "{}", attack.name);
            drop(peer);
            if attack.reads {
                while crowd.deeds.closed == 0 {
                    crowd.act();
                    Clock::pause(PAUSE);
                }
            }
        }
    }
}
