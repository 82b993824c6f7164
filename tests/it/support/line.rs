//! A blocking socket that speaks lines, the common part of both fake ends.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

/// What came within a deadline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A line, without its line feed.
    Line(String),
    /// The far end closed or reset; [`LineSocket::was_reset`] says which.
    Closed,
    /// Nothing.
    Silence,
}

/// One end of a connection to the proxy.
#[derive(Debug)]
pub(crate) struct LineSocket {
    reader: BufReader<TcpStream>,
    partial: Vec<u8>,
    was_reset: bool,
}

impl LineSocket {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("the proxy refuses {address}: {error}"));
        Self::new(stream)
    }

    /// From another address of this machine, 127.0.0.x.
    pub(crate) fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::new(socket.into())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        // A proxy that stopped reading must fail the test, not hang it.
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            reader: BufReader::new(stream),
            partial: Vec::new(),
            was_reset: false,
        }
    }

    pub(crate) fn hear(&mut self, patience: Duration) -> Heard {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Silence;
            }
            self.reader.get_ref().set_read_timeout(Some(left)).unwrap();
            match self.reader.read_until(b'\n', &mut self.partial) {
                Ok(0) => return Heard::Closed,
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let mut line = std::mem::take(&mut self.partial);
                    line.pop();
                    return Heard::Line(String::from_utf8(line).expect("UTF-8 from the proxy"));
                }
                // The far end closed in the middle of a line: the next read says so.
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                        self.was_reset = true;
                        return Heard::Closed;
                    }
                    other => panic!("read: {other}: {error}"),
                },
            }
        }
    }

    /// Sends bytes as they are. An end that is gone is no failure here: reading will tell.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let Err(error) = self.reader.get_ref().write_all(bytes) else {
            return;
        };
        match error.kind() {
            // Told once alone: the next read has an end without an error.
            ErrorKind::ConnectionReset => self.was_reset = true,
            ErrorKind::BrokenPipe => {}
            _ => panic!("the proxy takes no bytes: {error}"),
        }
    }

    pub(crate) fn send_line(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    /// Ends the sending side and leaves the reading side open.
    pub(crate) fn finish(&mut self) {
        drop(self.reader.get_ref().shutdown(Shutdown::Write));
    }

    /// Whether it ended with a reset, and not with a FIN.
    pub(crate) const fn was_reset(&self) -> bool {
        self.was_reset
    }

    /// Closes with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        let stream = self.reader.into_inner();
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    pub(crate) fn another_handle(&self) -> TcpStream {
        self.reader.get_ref().try_clone().unwrap()
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.reader.get_ref().local_addr().unwrap()
    }
}
