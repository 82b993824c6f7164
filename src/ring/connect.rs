#![expect(unsafe_code, reason = "the kernel reads addresses from memory of ours")]
//! Connecting: how a load generator gets more connections than it has descriptors.
//!
//! One connect is a chain of entries on a place that we choose: make the socket, set its options,
//! bind it, connect it. The first one that fails ends the chain and tells why. Binding on the ring
//! needs Linux 6.11, options on the ring Linux 6.7.

use std::net::SocketAddr;

use io_uring::types::DestinationSlot;
use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use super::queue::{Completion, Operation};
use super::table::Phase;
use super::{End, MinerRing, RingHandler, TableFull, Token, set_option};

static ON: libc::c_int = 1;

/// The kernel makes the least of it that there is, some 2 KiB.
static RECEIVE_BUFFER_LEAST: libc::c_int = 1;

/// The addresses of connections that are being made, by place. Each has a box of its own, which does
/// not move while the kernel may read it.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pairs: Vec<Option<Box<Pair>>>,
}

#[derive(Debug)]
struct Pair {
    source: Option<SockAddr>,
    destination: SockAddr,
}

impl Addresses {
    fn keep(&mut self, index: u32, pair: Pair) -> &Pair {
        let place = index as usize;
        if self.pairs.len() <= place {
            self.pairs.resize_with(place + 1, || None);
        }
        self.pairs[place].insert(Box::new(pair))
    }

    /// The connection is made, or closed.
    pub(super) fn forget(&mut self, index: u32) {
        if let Some(pair) = self.pairs.get_mut(index as usize) {
            *pair = None;
        }
    }
}

impl MinerRing {
    /// Begins a connection, from `source` if given. A source port of 0 lets the kernel choose one
    /// when it knows the destination, so that one address reaches its 65,536 peers; that choice costs
    /// 200 µs when the ports are many, which a port of the caller's own does not.
    ///
    /// [`RingHandler::connected`] or [`RingHandler::ended`] tells the outcome.
    ///
    /// # Errors
    ///
    /// [`TableFull`] when no place is free.
    pub fn connect(
        &mut self,
        source: Option<SocketAddr>,
        destination: SocketAddr,
    ) -> Result<Token, TableFull> {
        self.begin_connect(source, destination, false)
    }

    /// Like [`MinerRing::connect`], with the smallest receive buffer that the kernel gives: a peer that
    /// sends what is not read is blocked after a line or two.
    ///
    /// # Errors
    ///
    /// [`TableFull`] when no place is free.
    pub fn connect_narrow(
        &mut self,
        source: Option<SocketAddr>,
        destination: SocketAddr,
    ) -> Result<Token, TableFull> {
        self.begin_connect(source, destination, true)
    }

    fn begin_connect(
        &mut self,
        source: Option<SocketAddr>,
        destination: SocketAddr,
        narrow: bool,
    ) -> Result<Token, TableFull> {
        let index = self.table.choose().ok_or(TableFull)?;
        let token = self.table.occupy(index, Phase::Connecting);
        // The chain must be in one submit.
        self.make_room(CHAIN_LEN_MAX);
        let any_port = source.is_some_and(|it| it.port() == 0);
        let pair = Pair {
            source: source.map(SockAddr::from),
            destination: destination.into(),
        };
        let pair = self.addresses.keep(index, pair);

        let descriptor = types::Fixed(index);
        let slot = DestinationSlot::try_from_slot_target(index).expect("places are few");
        let domain = if destination.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let socket = opcode::Socket::new(domain, libc::SOCK_STREAM, 0).file_index(Some(slot));
        let no_delay = set_option(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, &ON);
        // The window is agreed on with the first packet, so the size of the buffer comes before it.
        let receive_buffer = narrow.then(|| {
            let least = &RECEIVE_BUFFER_LEAST;
            set_option(descriptor, libc::SOL_SOCKET, libc::SO_RCVBUF, least)
        });
        let bind = pair.source.as_ref().map(|source| {
            let option = if any_port {
                set_option(
                    descriptor,
                    libc::IPPROTO_IP,
                    libc::IP_BIND_ADDRESS_NO_PORT,
                    &ON,
                )
            } else {
                // A port whose last connection is not forgotten yet may be used again.
                set_option(descriptor, libc::SOL_SOCKET, libc::SO_REUSEADDR, &ON)
            };
            let bind = opcode::Bind::new(descriptor, source.as_ptr().cast(), source.len()).build();
            [option, bind]
        });
        let to = &pair.destination;
        let connect = opcode::Connect::new(descriptor, to.as_ptr().cast(), to.len()).build();

        let steps = [socket.build(), no_delay]
            .into_iter()
            .chain(receive_buffer)
            .chain(bind.into_iter().flatten());
        for step in steps {
            let step = step
                .flags(squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS)
                .user_data(Operation::Prepare.of(token));
            // SAFETY: options are constants, and the source address is kept until the connection is
            // made or closed.
            unsafe { self.queue.push(&step) };
        }
        let connect = connect.user_data(Operation::Connect.of(token));
        // SAFETY: so is the destination.
        unsafe { self.queue.push(&connect) };
        Ok(token)
    }

    /// A step of the chain has failed, or the last one is done.
    pub(super) fn connect_completed(
        &mut self,
        completion: Completion,
        handler: &mut impl RingHandler,
    ) {
        let token = completion.token();
        let connecting = self
            .table
            .get(token)
            .filter(|it| it.phase == Phase::Connecting);
        let Some(connection) = connecting else { return };
        match completion.outcome() {
            Ok(_) if completion.operation() == Operation::Connect => {
                connection.phase = Phase::Open;
                self.addresses.forget(token.index);
                handler.connected(token);
                self.arm_receive(token);
            }
            // The steps behind a failed one are cancelled; the failed one tells why.
            Ok(_) | Err(libc::ECANCELED) => {}
            Err(errno) => self.end(token, End::ConnectFailed(errno), handler),
        }
    }
}

/// Socket, three options, bind, connect.
const CHAIN_LEN_MAX: usize = 6;
