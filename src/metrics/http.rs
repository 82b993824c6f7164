//! The admin port: HTTP/1.1 for a scraper, a load balancer and a supervisor.
//!
//! hyper speaks, glommio carries the bytes. It is served by a thread of its own and never by a shard:
//! whatever peers do here, no miner waits for it. Each peer is bounded:
//!
//! - so many connections ([`CONNECTIONS_MAX`]); one more displaces the one that is least busy, so a peer
//!   that holds all of them keeps nobody out;
//! - so many bytes of a request ([`HEAD_BYTES_MAX`]), and no body;
//! - so long for a request, for the reading of an answer, and between two requests ([`Doing::limit`]).
//!
//! Time is counted in ticks of a second, and only while somebody is connected: at rest the thread sleeps.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, future};
use glommio::net::{TcpListener, TcpStream};
use glommio_socket2::SockRef;
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use smol_hyper::rt::FuturesIo;

use crate::metrics::AdminCounters;

/// Connections at a time. A scraper keeps one, a load balancer and a supervisor open one now and then.
pub(crate) const CONNECTIONS_MAX: usize = 16;

/// Bytes of a request's line and headers; the smallest bound that hyper knows.
const HEAD_BYTES_MAX: usize = 8192;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// Between two looks at the age of a connection.
const TICK: Duration = Duration::from_secs(1);

/// Accepting rests so long after a connection that displaced another one, and so long after an error
/// that will not go away by itself, such as a process that is out of descriptors.
const REST_AFTER_DISPLACING: Duration = Duration::from_millis(1);
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);

/// An answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Answer {
    /// One line for people.
    pub(crate) fn text(status: StatusCode, line: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{line}\n"),
        }
    }
}

/// What answers a path, given what this module counted so far.
pub(crate) type Pages = dyn Fn(&str, AdminCounters) -> Answer;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    /// Its request has not come whole.
    Asking,
    /// Its last answer is out; the next request may come.
    Resting,
    /// It is being answered, or does not read its answer.
    Answered,
}

impl Doing {
    /// Ticks that it may do this, and a part of one. A scraper that asks once a minute keeps its
    /// connection.
    const fn limit(self) -> u32 {
        match self {
            Self::Asking | Self::Answered => 10,
            Self::Resting => 75,
        }
    }
}

/// What is known of a connection.
struct State {
    doing: Cell<Doing>,
    /// Ticks since it began that, or made progress in it.
    age: Cell<u32>,
    /// Another connection takes its place.
    displaced: Cell<bool>,
    waker: Cell<Option<Waker>>,
    ended: Cell<bool>,
}

impl State {
    fn new() -> Self {
        Self {
            doing: Cell::new(Doing::Asking),
            age: Cell::new(0),
            displaced: Cell::new(false),
            waker: Cell::new(None),
            ended: Cell::new(false),
        }
    }

    fn begin(&self, doing: Doing) {
        self.doing.set(doing);
        self.age.set(0);
    }

    /// Bytes came. The time of a request runs from its first byte, and no later one prolongs it.
    fn received(&self) {
        if self.doing.get() == Doing::Resting {
            self.begin(Doing::Asking);
        }
    }

    /// The peer took bytes.
    fn sent(&self) {
        self.age.set(0);
    }

    /// Ends the connection. Not by its task's handle: glommio 0.9 forgets some memory of a task that is
    /// cancelled.
    fn displace(&self) {
        self.displaced.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_displaced(&self, context: &Context<'_>) -> Poll<()> {
        if self.displaced.get() {
            return Poll::Ready(());
        }
        self.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }

    /// All bytes are out.
    fn flushed(&self) {
        if self.doing.get() == Doing::Answered {
            self.begin(Doing::Resting);
        }
    }
}

/// Accepts and answers, for ever.
pub(crate) async fn serve(listener: TcpListener, pages: Rc<Pages>) {
    let counters = Rc::new(Cell::new(AdminCounters::default()));
    let mut connections: Vec<Rc<State>> = Vec::with_capacity(CONNECTIONS_MAX);
    loop {
        let Ok(stream) = listener.accept().await else {
            glommio::timer::sleep(REST_AFTER_ERROR).await;
            continue;
        };
        // A connection lingers in the kernel when the process ends, and must not keep the port from the
        // next one; glommio lets us say so only here. Where it can't be said, the next one waits a minute.
        drop(SockRef::from(&stream).set_reuse_address(true));
        connections.retain(|state| !state.ended.get());
        let is_full = connections.len() >= CONNECTIONS_MAX;
        if is_full {
            // Of those that do the same, the first one has been here longest.
            let least = (0..connections.len()).min_by_key(|&at| connections[at].doing.get());
            if let Some(least) = least {
                connections.remove(least).displace();
            }
            let mut counted = counters.get();
            counted.displaced += 1;
            counters.set(counted);
        }
        let state = Rc::new(State::new());
        let task = converse(
            stream,
            Rc::clone(&state),
            Rc::clone(&pages),
            Rc::clone(&counters),
        );
        glommio::spawn_local(task).detach();
        connections.push(state);
        if is_full {
            // Connections that come faster than they can be answered leave those that are open a turn.
            glommio::timer::sleep(REST_AFTER_DISPLACING).await;
        }
    }
}

/// One connection, from its first request to its end.
async fn converse(
    stream: TcpStream,
    state: Rc<State>,
    pages: Rc<Pages>,
    counters: Rc<Cell<AdminCounters>>,
) {
    let io = Watched {
        stream,
        state: Rc::clone(&state),
    };
    let service = service_fn(|request: Request<Incoming>| {
        state.begin(Doing::Answered);
        future::ready(Ok::<_, Infallible>(respond(
            &request,
            &*pages,
            counters.get(),
        )))
    });
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // Its clocks want a timer that may change threads; ours don't.
        .header_read_timeout(None)
        .serve_connection(FuturesIo::new(io), service);
    let talk = async {
        // What a peer did wrong is its own affair: it was told where HTTP has words for it.
        drop(connection.await);
        false
    };
    let displaced = async {
        poll_fn(|context| state.poll_displaced(context)).await;
        false
    };
    let timed_out = future::or(displaced, future::or(talk, too_old(&state))).await;
    if timed_out {
        let mut counted = counters.get();
        counted.timed_out += 1;
        counters.set(counted);
    }
    state.ended.set(true);
}

/// Ends when the connection has been at one thing for too long.
async fn too_old(state: &State) -> bool {
    loop {
        glommio::timer::sleep(TICK).await;
        state.age.set(state.age.get() + 1);
        if state.age.get() > state.doing.get().limit() {
            return true;
        }
    }
}

fn respond(
    request: &Request<Incoming>,
    pages: &Pages,
    counters: AdminCounters,
) -> Response<String> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let has_body = !request.body().is_end_stream();
    let answer = if !is_read {
        Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD")
    } else if has_body {
        Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "no body is taken here")
    } else {
        pages(request.uri().path(), counters)
    };
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !is_read {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if !is_read || has_body {
        // Nobody reads what else it sends.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A stream that notes what becomes of it.
struct Watched {
    stream: TcpStream,
    state: Rc<State>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(1..)) = read {
            self.state.received();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(1..)) = written {
            self.state.sent();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if let Poll::Ready(Ok(())) = flushed {
            self.state.flushed();
        }
        flushed
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
