#![expect(
    unsafe_code,
    reason = "the kernel writes peers' addresses into memory of ours"
)]
//! Accepting, with the peer's address.
//!
//! Each listener has a few single accepts with the kernel, each with its own memory for an address;
//! a multishot accept would lose the address. The kernel chooses the place in the table.
//!
//! An accept that finds the table full would take the connection and drop it. So an accept is armed
//! only with a place set aside for it: *armed accepts + taken places <= places*. With no place left,
//! the kernel's backlog holds the peers. When places run short, no listener may sit on several while
//! another has none: then one accept of the richest is cancelled, and its place goes to the poorest.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::{DestinationSlot, Timespec};
use io_uring::{opcode, types};
use socket2::{SockAddr, SockAddrStorage, socklen_t};

use super::queue::Operation;
use super::table::Phase;
use super::{ListenerId, MinerRing, RingHandler};

/// How long accepting rests after an error that will not go away by itself, such as a system that is
/// out of files. Without a rest it would fail again at once, for ever.
static RETRY_AFTER: Timespec = Timespec::new().nsec(100_000_000);

/// One accept, with the memory that the kernel writes the peer's address to.
struct Accept {
    address: SockAddrStorage,
    address_len: socklen_t,
    armed: bool,
}

impl Accept {
    fn peer(&self) -> SocketAddr {
        let mut address = SockAddrStorage::zeroed();
        // SAFETY: both are views of the same plain type, in which every pattern of bits is allowed.
        unsafe {
            let from = std::ptr::from_ref(&self.address).cast::<libc::sockaddr_storage>();
            *address.view_as() = *from;
        }
        let len = self.address_len.min(address.size_of());
        // SAFETY: the kernel wrote an address of this length, over zeroes.
        let peer = unsafe { SockAddr::new(address, len) }.as_socket();
        match peer {
            // A listener for both kinds of address shows an IPv4 peer inside an IPv6 address.
            Some(peer) => match peer.ip().to_canonical() {
                IpAddr::V4(ip) => SocketAddr::from((ip, peer.port())),
                IpAddr::V6(_) => peer,
            },
            None => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        }
    }
}

struct Listener {
    /// None once accepting has stopped.
    socket: Option<OwnedFd>,
    /// A slice of its own that never moves: the kernel knows the addresses in it.
    accepts: Box<[Accept]>,
    armed: u32,
    told_full: bool,
}

impl Listener {
    fn is_open(&self) -> bool {
        self.socket.is_some()
    }
}

/// The listeners of a ring.
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    accepts_in_flight: u32,
    /// Accepts with the kernel, of all listeners: the places set aside.
    armed: u32,
    /// Accepts that may still be made; less than none where those that were armed came on top. `None`
    /// where nobody keeps a pace.
    credit: Option<i64>,
    /// Accepting rests after an error.
    resting: bool,
    /// The accept being cancelled for the sake of another listener.
    yielding: Option<u32>,
}

impl Acceptor {
    pub(super) fn new(accepts_in_flight: u32) -> Self {
        Self {
            listeners: Vec::new(),
            accepts_in_flight,
            armed: 0,
            credit: None,
            resting: false,
            yielding: None,
        }
    }

    /// The rest after an error is over.
    pub(super) fn resume(&mut self) {
        self.resting = false;
    }

    /// Whether the pace allows no more accepts for now.
    fn is_spent(&self) -> bool {
        self.credit.is_some_and(|credit| credit <= 0)
    }

    #[cfg(test)]
    pub(super) fn is_resting(&self) -> bool {
        self.resting
    }

    fn by_armed(&self) -> impl Iterator<Item = (usize, u32)> {
        let open = self
            .listeners
            .iter()
            .enumerate()
            .filter(|(_, it)| it.is_open());
        open.map(|(at, it)| (at, it.armed))
    }

    /// The open listener with the fewest armed accepts.
    fn poorest(&self) -> Option<(usize, u32)> {
        self.by_armed().min_by_key(|(_, armed)| *armed)
    }

    fn richest(&self) -> Option<(usize, u32)> {
        self.by_armed().max_by_key(|(_, armed)| *armed)
    }

    /// The number of an accept among those of all listeners.
    fn number(&self, listener: usize, accept: usize) -> u32 {
        let listener = u32::try_from(listener).expect("listeners are few");
        let accept = u32::try_from(accept).expect("accepts are few");
        listener * self.accepts_in_flight + accept
    }

    fn split(&self, number: u32) -> (usize, usize) {
        let (listener, accept) = (
            number / self.accepts_in_flight,
            number % self.accepts_in_flight,
        );
        (listener as usize, accept as usize)
    }
}

impl MinerRing {
    /// Accepts on a socket that is bound and listens. Accepted sockets inherit the options that the
    /// caller has set on it.
    ///
    /// # Panics
    ///
    /// With more than 65,536 listeners.
    pub fn listen(&mut self, listener: OwnedFd) -> ListenerId {
        let id = u16::try_from(self.acceptor.listeners.len()).expect("listeners are few");
        let accepts = (0..self.acceptor.accepts_in_flight).map(|_| Accept {
            address: SockAddrStorage::zeroed(),
            address_len: 0,
            armed: false,
        });
        self.acceptor.listeners.push(Listener {
            socket: Some(listener),
            accepts: accepts.collect(),
            armed: 0,
            told_full: false,
        });
        self.arm_accepts();
        ListenerId(id)
    }

    /// Accepts no more, and closes the listening sockets. A connection that the kernel has already
    /// accepted is still told of.
    pub fn stop_accepting(&mut self) {
        for at in 0..self.acceptor.listeners.len() {
            for accept in 0..self.acceptor.listeners[at].accepts.len() {
                if self.acceptor.listeners[at].accepts[accept].armed {
                    self.make_room(1);
                    self.cancel(Operation::Accept.number(self.acceptor.number(at, accept)));
                }
            }
        }
        self.flush();
        for listener in &mut self.acceptor.listeners {
            listener.socket = None;
        }
    }

    /// Keeps a pace from now on: so many more connections may be accepted, and never more than `most` at
    /// a time. What comes beyond that waits in the kernel, until more is granted. Accepts that are with
    /// the kernel already, `accepts_in_flight` for each listener, may come on top; the next grants pay
    /// for them.
    pub fn grant_accepts(&mut self, accepts: u32, most: u32) {
        let credit = self.acceptor.credit.unwrap_or_default();
        self.acceptor.credit = Some((credit + i64::from(accepts)).min(i64::from(most)));
        self.arm_accepts();
    }

    /// Arms as many accepts as there are places for.
    pub(super) fn arm_accepts(&mut self) {
        if self.acceptor.resting || self.acceptor.is_spent() {
            return;
        }
        while let Some((at, armed)) = self.acceptor.poorest() {
            if armed >= self.acceptor.accepts_in_flight {
                break;
            }
            if self.table.free() > self.acceptor.armed {
                self.arm_accept(at);
            } else {
                self.yield_accept(armed);
                break;
            }
        }
    }

    fn arm_accept(&mut self, at: usize) {
        self.make_room(1);
        let listener = &mut self.acceptor.listeners[at];
        let Some(socket) = &listener.socket else {
            return;
        };
        let idle = listener.accepts.iter().position(|it| !it.armed);
        let idle = idle.expect("fewer are armed than there are");
        let accept = &mut listener.accepts[idle];
        accept.armed = true;
        accept.address = SockAddrStorage::zeroed();
        accept.address_len = accept.address.size_of();
        listener.armed += 1;
        listener.told_full = false;
        let entry = opcode::Accept::new(
            types::Fd(socket.as_raw_fd()),
            std::ptr::from_mut(&mut accept.address).cast(),
            std::ptr::from_mut(&mut accept.address_len),
        )
        .file_index(Some(DestinationSlot::auto_target()))
        .build();
        self.acceptor.armed += 1;
        let entry = entry.user_data(Operation::Accept.number(self.acceptor.number(at, idle)));
        // SAFETY: the memory for the address is in a slice that lives, in its place, as long as the
        // ring, and nobody looks at it before this accept has completed.
        unsafe { self.queue.push(&entry) };
    }

    /// With no place left, lets the listener that has most accepts armed give one up for the one that
    /// has fewest, if that evens them out.
    fn yield_accept(&mut self, fewest: u32) {
        let Some((richest, most)) = self.acceptor.richest() else {
            return;
        };
        if most < fewest + 2 || self.acceptor.yielding.is_some() {
            return;
        }
        let armed = self.acceptor.listeners[richest]
            .accepts
            .iter()
            .position(|it| it.armed);
        let number = self
            .acceptor
            .number(richest, armed.expect("some are armed"));
        self.make_room(1);
        self.acceptor.yielding = Some(number);
        self.cancel(Operation::Accept.number(number));
    }

    /// Tells the handler of listeners that have stopped for want of places.
    pub(super) fn report_full(&mut self, handler: &mut impl RingHandler) {
        let acceptor = &mut self.acceptor;
        if acceptor.resting
            || acceptor.is_spent()
            || acceptor.yielding.is_some()
            || self.table.free() > acceptor.armed
        {
            return;
        }
        for (id, listener) in (0..).zip(&mut acceptor.listeners) {
            if listener.is_open() && listener.armed == 0 && !listener.told_full {
                listener.told_full = true;
                self.counters.table_full += 1;
                handler.table_full(ListenerId(id));
            }
        }
    }

    /// An accept has a connection, whose place is `outcome`, or an error.
    pub(super) fn accept_completed(
        &mut self,
        number: u32,
        outcome: Result<u32, i32>,
        handler: &mut impl RingHandler,
    ) {
        let acceptor = &mut self.acceptor;
        let (at, accept) = acceptor.split(number);
        let listener = &mut acceptor.listeners[at];
        listener.accepts[accept].armed = false;
        listener.armed -= 1;
        acceptor.armed -= 1;
        if acceptor.yielding == Some(number) {
            acceptor.yielding = None;
        }
        let id = ListenerId(u16::try_from(at).expect("listeners are few"));
        match outcome {
            Ok(index) => {
                let peer = listener.accepts[accept].peer();
                if let Some(credit) = &mut acceptor.credit {
                    *credit -= 1;
                    self.counters.accepts_paced += u64::from(*credit == 0);
                }
                let token = self.table.occupy(index, Phase::Open);
                handler.accepted(token, id, peer);
                self.arm_receive(token);
            }
            Err(libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {}
            Err(_) if !listener.is_open() => {}
            Err(errno) => {
                self.counters.accept_errors += 1;
                handler.accept_failed(id, io::Error::from_raw_os_error(errno));
                // These are the peer's errors, one for each connection. All others are ours or the
                // system's, and would come again at once.
                if !matches!(errno, libc::ECONNABORTED | libc::EPROTO | libc::EPERM) {
                    self.rest();
                }
            }
        }
    }

    /// Arms no accept for a while.
    fn rest(&mut self) {
        if self.acceptor.resting {
            return;
        }
        self.acceptor.resting = true;
        self.make_room(1);
        let entry = opcode::Timeout::new(&raw const RETRY_AFTER)
            .build()
            .user_data(Operation::Retry.number(0));
        // SAFETY: the time is a constant.
        unsafe { self.queue.push(&entry) };
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor")
            .field("listeners", &self.listeners.len())
            .field("armed", &self.armed)
            .field("resting", &self.resting)
            .finish_non_exhaustive()
    }
}
