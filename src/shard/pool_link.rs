//! One connection to a pool: a glommio stream around the exchange's link.
//!
//! A task owns the connection and reads it. Writes are made by whoever has something for the pool, at
//! the end of its round, so that all shares of a round leave in one send; only a pool that takes no
//! more bytes is written to by the task, when the kernel says that it does again.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio_socket2::{SockRef, TcpKeepalive};

use crate::exchange::{LinkEnd, LinkKey};
use crate::shard::state::Shard;
use crate::wire::line::{Tail, TailPool, cut};

/// Bytes read from a pool at a time. A reply is 40 bytes, a job 400.
const READ_LEN: usize = 64 * 1024;

/// The pause after a read that filled the buffer: 64 MB/s of replies are more than any farm's.
const AFTER_FULL_READ: Duration = Duration::from_millis(1);

/// A pool that acknowledges nothing for this long is gone.
const DEAD_POOL_TIMEOUT: Duration = Duration::from_secs(30);

/// Addresses of one host that are tried; each still has more than a second of the default time.
const ADDRESSES_MAX: usize = 8;

/// The stream of a link, where the shard can write to it.
pub(crate) struct LinkIo {
    stream: TcpStream,
    waker: Waker,
}

impl LinkIo {
    /// Tries to write; `Pending` wakes the link's task when the pool takes bytes again.
    pub(crate) fn poll_write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut context = Context::from_waker(&self.waker);
        Pin::new(&mut self.stream).poll_write(&mut context, bytes)
    }

    /// Ends the connection: the pool sees the end of the stream now and not when the task next runs.
    pub(crate) fn hang_up(self) {
        // The peer may be gone already, which is as good.
        drop(SockRef::from(&self.stream).shutdown(std::net::Shutdown::Both));
        self.waker.wake();
    }
}

/// What a look at the connection gave.
enum Read {
    /// So many bytes.
    Bytes(usize),
    /// It is over.
    End(LinkEnd, String),
    /// Nobody wants it any more.
    HungUp,
}

/// Connects a link, and reads it until it ends.
pub(crate) async fn run(
    shard: Rc<RefCell<Shard>>,
    proxy: usize,
    key: LinkKey,
    host: String,
    port: u16,
) {
    let timeout = shard.borrow().connect_timeout(proxy);
    match connect(host, port, timeout).await {
        Ok(stream) => {
            let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
            let io = LinkIo { stream, waker };
            if shard.borrow_mut().link_connected(proxy, key, io) {
                read_lines(&shard, proxy, key).await;
            }
        }
        Err(detail) => {
            shard
                .borrow_mut()
                .link_closed(proxy, key, LinkEnd::ConnectFailed, &detail);
        }
    }
}

async fn read_lines(shard: &Rc<RefCell<Shard>>, proxy: usize, key: LinkKey) {
    let line_len_max = shard.borrow().pool_line_len_max(proxy);
    let mut buffer = vec![0; READ_LEN];
    let mut tail = Tail::default();
    let mut tails = TailPool::new(1);
    let mut full = false;
    loop {
        // Where a read filled the buffer the next one may be ready at once, and so on: a pool that floods
        // us must not keep the miners and the other pools waiting.
        if std::mem::take(&mut full) {
            glommio::timer::sleep(AFTER_FULL_READ).await;
        }
        let read = poll_fn(|context| poll_link(shard, proxy, key, context, &mut buffer)).await;
        let mut shard = shard.borrow_mut();
        match read {
            Read::Bytes(len) => {
                full = len == buffer.len();
                let now = shard.now();
                let received = buffer.get_mut(..len).unwrap_or_default();
                let mut lines = cut(&mut tail, &mut tails, received, line_len_max);
                while let Some(line) = lines.next() {
                    match line {
                        Ok(line) => shard.link_line(now, proxy, key, line),
                        Err(_) => {
                            shard.link_closed(proxy, key, LinkEnd::LineTooLong, "");
                            return;
                        }
                    }
                }
                shard.finish_round();
            }
            Read::End(end, detail) => {
                shard.link_closed(proxy, key, end, &detail);
                return;
            }
            Read::HungUp => return,
        }
    }
}

fn poll_link(
    shard: &Rc<RefCell<Shard>>,
    proxy: usize,
    key: LinkKey,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<Read> {
    let mut shard = shard.borrow_mut();
    // The pool may take bytes again.
    shard.write_link(proxy, key);
    let Some(io) = shard.link_io(proxy, key) else {
        return Poll::Ready(Read::HungUp);
    };
    io.waker.clone_from(context.waker());
    Pin::new(&mut io.stream)
        .poll_read(context, buffer)
        .map(|read| match read {
            Ok(0) => Read::End(LinkEnd::Closed, String::new()),
            Ok(len) => Read::Bytes(len),
            Err(error) => Read::End(LinkEnd::Reset, error.to_string()),
        })
}

/// Resolves a host off the shard's thread, and connects to the first of its addresses that answers.
///
/// They share the time: the exchange gives a dial up when the whole of it is over, so an address that is
/// dead must leave some to those behind it.
async fn connect(host: String, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let name = host.clone();
    let addresses = match host.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => glommio::executor()
            .spawn_blocking(move || {
                (host.as_str(), port)
                    .to_socket_addrs()
                    .map(Iterator::collect::<Vec<_>>)
            })
            .await
            .map_err(|error| format!("{name} can't be resolved: {error}"))?,
    };
    let mut detail = format!("{name} has no address");
    let tried = addresses.len().min(ADDRESSES_MAX);
    let share = timeout / u32::try_from(tried.max(1)).unwrap_or(u32::MAX);
    for address in addresses.into_iter().take(tried) {
        let stream = match TcpStream::connect_timeout(address, share).await {
            Ok(stream) => stream,
            Err(error) => {
                detail = format!("{address}: {}", io::Error::from(error));
                continue;
            }
        };
        set_options(&stream).map_err(|error| format!("{address}: {error}"))?;
        return Ok(stream);
    }
    Err(detail)
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(DEAD_POOL_TIMEOUT * 2 / 3)
        .with_interval(DEAD_POOL_TIMEOUT / 9)
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(DEAD_POOL_TIMEOUT))
}
