#![expect(
    unsafe_code,
    reason = "entries name memory that the kernel reads and writes"
)]
//! Streams: the few sockets beside the miners' that the ring reads, the links to pools.
//!
//! A stream is an ordinary descriptor that somebody else has connected. The ring brings its bytes with
//! those of the miners, so a thread waits in one place for both. Streams receive into buffers of their
//! own, and few of them: what a pool can say in one round is bounded by them, and a pool that floods us
//! does not take the buffers of the miners.
//!
//! A send is a system call of its own and is over when it returns. There is one for each link and round,
//! with all its shares, and its bytes may move afterwards.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{opcode, types};
use socket2::Socket;

use super::queue::{Completion, Operation};
use super::{End, MinerRing, RingHandler, Token, buffers, slow};

/// One stream of a ring. Places are used again; the generation tells their streams apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId {
    /// Its place among the streams; small.
    pub index: u32,
    generation: u32,
}

impl StreamId {
    fn token(self) -> Token {
        Token {
            index: self.index,
            generation: self.generation,
        }
    }
}

#[derive(Debug)]
struct Stream {
    socket: Socket,
    /// A poll for room to write is with the kernel.
    polling: bool,
    /// What the peer had not acknowledged when a send was cut short, or at the last look since (`slow`).
    unacknowledged: Option<u32>,
}

/// The streams of one ring, by place.
#[derive(Debug, Default)]
pub(super) struct Streams {
    places: Vec<Place>,
    /// Those whose receive ended because there was no buffer.
    starved: Vec<StreamId>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    stream: Option<Stream>,
}

impl Streams {
    fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        let place = self.places.get_mut(id.index as usize)?;
        let current = place.generation == id.generation;
        place.stream.as_mut().filter(|_| current)
    }

    fn id_of(&self, token: Token) -> Option<StreamId> {
        let place = self.places.get(token.index as usize)?;
        let current = place.generation == token.generation && place.stream.is_some();
        current.then_some(StreamId {
            index: token.index,
            generation: token.generation,
        })
    }
}

impl MinerRing {
    /// Reads a connected socket from now on: [`RingHandler::stream_received`] and
    /// [`RingHandler::stream_ended`] tell what comes.
    pub fn attach(&mut self, socket: OwnedFd) -> StreamId {
        let places = &mut self.streams.places;
        let free = places.iter().position(|place| place.stream.is_none());
        let at = free.unwrap_or_else(|| {
            places.push(Place::default());
            places.len() - 1
        });
        let place = &mut places[at];
        place.generation = Token::next_generation(place.generation);
        place.stream = Some(Stream {
            socket: socket.into(),
            polling: false,
            unacknowledged: None,
        });
        let id = StreamId {
            index: u32::try_from(at).expect("streams are few"),
            generation: place.generation,
        };
        self.arm_stream(id);
        id
    }

    /// Sends what the socket takes, at once, and returns how much that was. Where it takes less than
    /// all, [`RingHandler::stream_writable`] tells when there is room, or when
    /// [`look_at_blocked_streams`](MinerRing::look_at_blocked_streams) finds that the peer has taken some of
    /// it.
    ///
    /// # Errors
    ///
    /// When the stream is over. Its end is told too, if it has not been.
    pub fn send_stream(&mut self, id: StreamId, bytes: &[u8]) -> io::Result<usize> {
        let Some(stream) = self.streams.get(id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let sent = match stream.socket.send_with_flags(bytes, flags) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        if sent < bytes.len() {
            stream.unacknowledged = None;
            if !std::mem::replace(&mut stream.polling, true) {
                let descriptor = types::Fd(stream.socket.as_raw_fd());
                self.make_room(1);
                let room = u32::from(libc::POLLOUT.unsigned_abs());
                let entry = opcode::PollAdd::new(descriptor, room)
                    .build()
                    .user_data(Operation::StreamPoll.of(id.token()));
                // SAFETY: a poll points to no memory.
                unsafe { self.queue.push(&entry) };
            }
            self.look_at_stream(id);
        }
        Ok(sent)
    }

    /// Looks at the streams that have no room, of which there are few, as
    /// [`look_at_blocked`](MinerRing::look_at_blocked) does at connections.
    pub fn look_at_blocked_streams(&mut self) {
        let places = (0..).zip(&self.streams.places);
        let blocked =
            places.filter(|(_, place)| place.stream.as_ref().is_some_and(|it| it.polling));
        let ids = blocked.map(|(index, place)| StreamId {
            index,
            generation: place.generation,
        });
        for id in ids.collect::<Vec<_>>() {
            self.look_at_stream(id);
        }
    }

    fn look_at_stream(&mut self, id: StreamId) {
        self.make_room(1);
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        let descriptor = types::Fd(stream.socket.as_raw_fd());
        let entry = opcode::UringCmd16::new(descriptor, slow::UNACKNOWLEDGED)
            .build()
            .user_data(Operation::StreamUnacknowledged.of(id.token()));
        // SAFETY: this command points to no memory.
        unsafe { self.queue.push(&entry) };
    }

    /// The kernel has said how many bytes of a stream the peer has not acknowledged.
    pub(super) fn stream_unacknowledged_told(
        &mut self,
        completion: Completion,
        handler: &mut impl RingHandler,
    ) {
        let id = self.streams.id_of(completion.token());
        let stream = id.and_then(|id| Some((id, self.streams.get(id)?)));
        if let (Some((id, stream)), Ok(bytes)) = (stream, completion.outcome()) {
            let before = stream.unacknowledged.replace(bytes);
            if stream.polling && before.is_some_and(|before| bytes < before) {
                handler.stream_writable(id);
            }
        }
    }

    /// Ends a stream: the peer sees its end at once, and nothing more is told of it.
    pub fn detach(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        // The peer may be gone already, which is as good.
        drop(stream.socket.shutdown(Shutdown::Both));
        let polling = stream.polling;
        self.make_room(2);
        self.cancel(Operation::StreamReceive.of(id.token()));
        if polling {
            self.cancel(Operation::StreamPoll.of(id.token()));
        }
        // The kernel looks its descriptors up when it takes the entries, not when they are queued: with
        // the socket closed, the number could be another's by then.
        self.flush();
        self.streams.places[id.index as usize].stream = None;
    }

    pub(super) fn detach_all(&mut self) {
        let places = (0..).zip(&self.streams.places);
        let ids = places.map(|(index, place)| StreamId {
            index,
            generation: place.generation,
        });
        for id in ids.collect::<Vec<_>>() {
            self.detach(id);
        }
    }

    fn arm_stream(&mut self, id: StreamId) {
        self.make_room(1);
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        let descriptor = types::Fd(stream.socket.as_raw_fd());
        let entry = opcode::RecvMulti::new(descriptor, buffers::Group::Streams as u16)
            .build()
            .user_data(Operation::StreamReceive.of(id.token()));
        // SAFETY: a receive points to no memory but the registered buffers.
        unsafe { self.queue.push(&entry) };
    }

    pub(super) fn stream_completed(
        &mut self,
        completion: Completion,
        handler: &mut impl RingHandler,
    ) {
        let id = self.streams.id_of(completion.token());
        if let Some(buffer) = completion.buffer() {
            if let Ok(len) = completion.outcome()
                && let Some(id) = id
                && len > 0
            {
                handler.stream_received(id, self.stream_buffers.bytes(buffer, len as usize));
            }
            self.stream_buffers.give_back(buffer);
        }
        if completion.more() {
            return;
        }
        let Some(id) = id else {
            return;
        };
        match completion.outcome() {
            Ok(0) => handler.stream_ended(id, End::Closed),
            Ok(_) | Err(libc::EINTR) => self.arm_stream(id),
            Err(libc::ENOBUFS) => self.streams.starved.push(id),
            Err(errno) => handler.stream_ended(id, End::from_errno(errno)),
        }
    }

    pub(super) fn stream_poll_completed(&mut self, token: Token, handler: &mut impl RingHandler) {
        if let Some(id) = self.streams.id_of(token) {
            if let Some(stream) = self.streams.get(id) {
                stream.polling = false;
            }
            handler.stream_writable(id);
        }
    }

    /// Starts the receives of streams again that found no buffer.
    pub(super) fn restart_streams(&mut self) {
        if self.stream_buffers.plenty() {
            for id in std::mem::take(&mut self.streams.starved) {
                self.arm_stream(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::super::tests::small_config;
    use super::super::{ListenerId, STREAM_BUFFER_LEN, STREAM_BUFFERS, SentPiece};
    use super::*;

    /// What was told of streams.
    #[derive(Debug, Default)]
    struct Told {
        bytes: Vec<u8>,
        ends: Vec<(StreamId, End)>,
        writable: usize,
    }

    impl RingHandler for Told {
        fn stream_received(&mut self, _: StreamId, bytes: &mut [u8]) {
            self.bytes.extend_from_slice(bytes);
        }

        fn stream_ended(&mut self, stream: StreamId, end: End) {
            self.ends.push((stream, end));
        }

        fn stream_writable(&mut self, _: StreamId) {
            self.writable += 1;
        }

        fn accepted(&mut self, _: Token, _: ListenerId, _: SocketAddr) {}
        fn received(&mut self, _: Token, _: &mut [u8]) {}
        fn ended(&mut self, _: Token, _: End) {}
        fn blocked(&mut self, _: Token, _: usize, _: &[SentPiece], _: &[u8]) {}
        fn writable(&mut self, _: Token) {}
        fn accept_failed(&mut self, _: ListenerId, _: io::Error) {}
        fn table_full(&mut self, _: ListenerId) {}
    }

    /// A ring that reads a stream, and the stream's other end.
    fn ring_and_peer() -> (MinerRing, StreamId, TcpStream) {
        let mut ring = MinerRing::new(&small_config()).expect("ring");
        let (ours, peer) = pair();
        let id = ring.attach(ours.into());
        (ring, id, peer)
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connect");
        (ours, listener.accept().expect("accept").0)
    }

    /// Rounds of the ring, until it is as wanted.
    fn until(ring: &mut MinerRing, told: &mut Told, wanted: impl Fn(&Told) -> bool) {
        for _ in 0..10_000 {
            if wanted(told) {
                return;
            }
            ring.wait_blocking(Duration::from_millis(10));
            ring.drain(told);
        }
        panic!("it does not come: {told:?}");
    }

    #[test]
    fn bytes_go_both_ways_and_the_end_is_told() {
        let (mut ring, id, mut peer) = ring_and_peer();
        let mut told = Told::default();
        for at in 0..100 {
            let line = format!("line {at}\n");
            peer.write_all(line.as_bytes()).expect("write");
            let wanted = told.bytes.len() + line.len();
            until(&mut ring, &mut told, |told| told.bytes.len() == wanted);
            assert!(told.bytes.ends_with(line.as_bytes()));
            assert_eq!(ring.send_stream(id, b"ok").expect("open"), 2);
            let mut answer = [0; 2];
            peer.read_exact(&mut answer).expect("read");
        }
        drop(peer);
        until(&mut ring, &mut told, |told| !told.ends.is_empty());
        assert_eq!(told.ends, [(id, End::Closed)]);
        assert_eq!(ring.counters().stale_completions, 0);
        ring.detach(id);
        assert!(ring.send_stream(id, b"too late").is_err());
    }

    #[test]
    fn a_flood_comes_in_parts_and_whole() {
        let (mut ring, id, mut peer) = ring_and_peer();
        let part = usize::from(STREAM_BUFFERS) * STREAM_BUFFER_LEN as usize;
        let flood: Vec<u8> = (0..=250).cycle().take(20 * part).collect();
        let sent = flood.clone();
        let writer = std::thread::spawn(move || {
            peer.write_all(&sent).expect("write");
            peer
        });
        let mut told = Told::default();
        while told.bytes.len() < flood.len() {
            let before = told.bytes.len();
            ring.wait_blocking(Duration::from_secs(5));
            ring.drain(&mut told);
            let came = told.bytes.len() - before;
            assert!(came <= part, "{came} bytes in one round");
        }
        assert!(told.bytes == flood, "the bytes are others");
        drop(writer.join());
        ring.detach(id);
    }

    #[test]
    fn a_stream_that_takes_no_more_says_when_it_does() {
        let (mut ring, id, mut peer) = ring_and_peer();
        let mut told = Told::default();
        let block = [7; 64 * 1024];
        let mut sent = 0;
        loop {
            let taken = ring.send_stream(id, &block).expect("open");
            sent += taken;
            if taken < block.len() {
                break;
            }
        }
        ring.wait_blocking(Duration::ZERO);
        ring.drain(&mut told);
        assert_eq!(told.writable, 0, "nobody has read");
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; sent];
            peer.read_exact(&mut bytes).expect("read");
            peer
        });
        until(&mut ring, &mut told, |told| told.writable == 1);
        assert!(ring.send_stream(id, b"more").expect("open") > 0);
        drop(reader.join());
    }

    #[test]
    fn nothing_is_told_of_a_stream_that_was_detached() {
        let (mut ring, first, mut peer) = ring_and_peer();
        peer.write_all(b"old").expect("write");
        ring.submit();
        ring.detach(first);
        let (ours, mut other) = pair();
        let second = ring.attach(ours.into());
        assert_eq!((first.index, first == second), (second.index, false));
        other.write_all(b"new").expect("write");
        let mut told = Told::default();
        until(&mut ring, &mut told, |told| !told.bytes.is_empty());
        ring.wait_blocking(Duration::from_millis(1));
        ring.drain(&mut told);
        assert_eq!(told.bytes, b"new");
        assert!(told.ends.is_empty(), "{:?}", told.ends);
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest)
            .expect("a stream that has ended");
    }

    #[test]
    fn a_reset_is_told_as_one() {
        let (mut ring, id, peer) = ring_and_peer();
        socket2::SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .expect("linger");
        drop(peer);
        let mut told = Told::default();
        until(&mut ring, &mut told, |told| !told.ends.is_empty());
        assert_eq!(told.ends, [(id, End::Reset)]);
    }
}
