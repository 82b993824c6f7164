//! The practice pool behind a TCP socket.
//!
//! One thread accepts, one serves each link, one announces jobs in time and sends delayed answers.
//! A pool has few links, since a proxy brings all its miners on one, so threads are the plain way;
//! this is no part of a shard and shares nothing with one.
//!
//! The pool and the outbox of each link are behind one lock, taken once for all lines of a read.
//! What the pool says goes into the outbox under that lock, so it stands there in the order in which
//! it was said, and is written without the lock by whoever came first: a thread that finds another
//! one writing leaves its lines to it. So lines never mix, and a job never overtakes the answers
//! before it. A peer that does not read holds up its own thread; it can hold up the announcer too,
//! for [`WRITE_TIMEOUT`], once its socket is full of jobs that it did not read.

#[expect(
    clippy::disallowed_types,
    reason = "threads of its own share this pool; no shard ever waits for the lock"
)]
type Lock<T> = std::sync::Mutex<T>;

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use socket2::SockRef;

use super::{
    pool::{AcceptedShare, Fate, LinkId, PracticePool},
    settings::{Counters, Knobs, PracticeSettings},
};
use crate::wire::{Tail, TailPool, cut};

/// Most links at a time; each is a thread. The next one is closed at once.
const LINKS_MAX: usize = 1024;

/// What is read at once: all shares that a busy proxy sends in a millisecond.
const READ_BYTES: usize = 64 * 1024;

/// Longest line that is read. A submit of 200,9 has 2,855 bytes.
const LINE_LEN_MAX: usize = 16 * 1024;

/// Answers and jobs that may wait for a peer that does not read, delayed ones included.
const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A peer that takes no byte for this long has lost its link.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after an accept that failed, by a lack of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A practice pool that listens. Dropping it stops it. **Nothing real is mined.**
#[derive(Debug)]
pub struct PracticeServer {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    timer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Lock<State>,
    /// Rung after each change while somebody waits in [`PracticeServer::wait_for`].
    changed: Condvar,
    /// To the timer.
    tasks: Sender<Task>,
}

#[derive(Debug)]
struct State {
    pool: PracticePool,
    outlets: BTreeMap<LinkId, Outlet>,
    stopping: bool,
    waiting: usize,
}

/// The way to the peer of a link.
#[derive(Debug)]
struct Outlet {
    /// The last one that lets go of it closes the socket.
    stream: Arc<TcpStream>,
    /// Whole lines that nobody has begun to write.
    outbox: Vec<u8>,
    /// A thread is writing, and will look into the outbox again.
    writing: bool,
    /// Bytes that the timer keeps for later.
    delayed_bytes: usize,
}

#[derive(Debug)]
enum Task {
    Later(Delayed),
    Stop,
}

/// Lines that go out later.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    link: LinkId,
    lines: Vec<u8>,
}

impl PracticeServer {
    /// Binds and begins. With port 0 the system chooses one: see [`Self::address`].
    ///
    /// # Errors
    ///
    /// That of the socket or of the threads; [`ErrorKind::InvalidInput`] with a
    /// [`SettingsError`](super::SettingsError) inside for settings that contradict each other.
    pub fn start(settings: PracticeSettings, bind: SocketAddr) -> io::Result<Self> {
        let job_interval = settings.job_interval;
        let pool = PracticePool::new(settings, seed())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let listener = Arc::new(TcpListener::bind(bind)?);
        let address = listener.local_addr()?;
        let (tasks, due_tasks) = channel();
        let shared = Arc::new(Shared {
            state: Lock::new(State {
                pool,
                outlets: BTreeMap::new(),
                stopping: false,
                waiting: 0,
            }),
            changed: Condvar::new(),
            tasks,
        });
        let mut server = Self {
            address,
            listener: Arc::clone(&listener),
            shared: Arc::clone(&shared),
            acceptor: None,
            timer: None,
        };
        // From here on an error drops the server, which stops what has begun.
        let timer = Arc::clone(&shared);
        server.timer = Some(spawn("practice-timer", move || {
            timer.keep_time(&due_tasks, job_interval);
        })?);
        server.acceptor = Some(spawn("practice-accept", move || shared.accept(&listener))?);
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.shared.lock().pool.counters()
    }

    /// The accepted shares in their order, of the time while [`Knobs::record`] was on.
    #[must_use]
    pub fn accepted_shares(&self) -> Vec<AcceptedShare> {
        self.shared.lock().pool.accepted_shares().to_vec()
    }

    /// The links, oldest first.
    #[must_use]
    pub fn links(&self) -> Vec<LinkId> {
        self.shared.lock().pool.links().collect()
    }

    /// Turns the knobs, from the next line on.
    pub fn turn_knobs(&self, turn: impl FnOnce(&mut Knobs)) {
        turn(self.shared.lock().pool.knobs_mut());
    }

    /// Waits until the counters are as asked, or the time is over. True: they are.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration, mut asked: impl FnMut(&Counters) -> bool) -> bool {
        let mut state = self.shared.lock();
        state.waiting += 1;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, timeout, |state| !asked(state.pool.counters()));
        let (mut state, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        !outcome.timed_out()
    }

    /// Makes a job now, of a new block (`clean`) or one more of this block, and announces it.
    pub fn announce_job(&self, clean: bool) {
        self.shared
            .announce(|pool| pool.make_job(unix_seconds(), clean));
    }

    /// Gives jobs from the next one on another target, a big-endian number.
    pub fn set_target(&self, target: [u8; 32]) {
        self.shared.lock().pool.set_target(target);
    }

    /// Gives a link another nonce_1, and then announces a job of a new block to all.
    ///
    /// False if nothing was done: the link has not subscribed, or all nonces are in use.
    #[must_use]
    pub fn set_extranonce(&self, link: LinkId) -> bool {
        let mut line = Vec::new();
        {
            let mut state = self.shared.lock();
            if !state.pool.set_extranonce(link, &mut line) {
                return false;
            }
            self.shared.post(&mut state, link, &mut line);
        }
        self.announce_job(true);
        true
    }

    /// Resets all links, as a pool that crashes.
    pub fn drop_links(&self) {
        let mut state = self.shared.lock();
        for link in state.pool.links().collect::<Vec<_>>() {
            self.shared.cut(&mut state, link, How::Reset);
        }
    }

    /// Closes all links and the listener, and waits for the threads.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopping = true;
            for link in state.pool.links().collect::<Vec<_>>() {
                self.shared.cut(&mut state, link, How::Close);
            }
        }
        // Wakes the accept that waits on it.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        let _ = self.shared.tasks.send(Task::Stop);
        for thread in [self.acceptor.take(), self.timer.take()]
            .into_iter()
            .flatten()
        {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for PracticeServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// How a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Close,
    Reset,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        loop {
            let accepted = listener.accept();
            if self.lock().stopping {
                break;
            }
            threads.retain(|thread| !thread.is_finished());
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    log::warn!("practice pool cannot accept: {error}");
                    thread::park_timeout(ACCEPT_PAUSE);
                    continue;
                }
            };
            if threads.len() >= LINKS_MAX {
                log::warn!("practice pool has its {LINKS_MAX} links, one more is closed");
                continue;
            }
            match self.open(stream) {
                Ok(thread) => threads.push(thread),
                Err(error) => log::warn!("practice pool cannot serve a link: {error}"),
            }
        }
        // The links were cut before; `open` refuses new ones.
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn open(self: &Arc<Self>, stream: TcpStream) -> io::Result<JoinHandle<()>> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let stream = Arc::new(stream);
        let link = {
            let mut state = self.lock();
            if state.stopping {
                return Err(ErrorKind::NotConnected.into());
            }
            let link = state.pool.connect();
            let outlet = Outlet {
                stream: Arc::clone(&stream),
                outbox: Vec::new(),
                writing: false,
                delayed_bytes: 0,
            };
            state.outlets.insert(link, outlet);
            self.tell(&state);
            link
        };
        let shared = Arc::clone(self);
        let spawned = spawn("practice-link", move || shared.serve(link, &stream));
        if spawned.is_err() {
            self.cut(&mut self.lock(), link, How::Close);
        }
        spawned
    }

    /// Reads the lines of a link until it ends.
    fn serve(&self, link: LinkId, stream: &TcpStream) {
        let mut buffer = vec![0; READ_BYTES];
        let mut tails = TailPool::new(1);
        let mut tail = Tail::default();
        let mut answers = Vec::new();
        let mut spare = Vec::new();
        let mut fate = Fate::Stays;
        while fate == Fate::Stays {
            let mut stream = stream;
            let received = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => &mut buffer[..len],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let now = unix_seconds();
            {
                let mut state = self.lock();
                let mut lines = cut(&mut tail, &mut tails, received, LINE_LEN_MAX);
                while fate == Fate::Stays
                    && let Some(line) = lines.next()
                {
                    fate = match line {
                        Ok([]) => Fate::Stays,
                        Ok(line) => state.pool.handle_line(now, link, line, &mut answers),
                        Err(_) => Fate::Ends,
                    };
                }
                self.answer(&mut state, link, &mut answers);
                self.tell(&state);
            }
            self.flush(link, &mut spare);
        }
        self.cut(&mut self.lock(), link, How::Close);
    }

    /// Makes a job and tells it to all links.
    fn announce(&self, make: impl FnOnce(&mut PracticePool)) {
        let mut lines = Vec::new();
        let links: Vec<LinkId> = {
            let mut state = self.lock();
            make(&mut state.pool);
            let links = state.pool.links().collect::<Vec<_>>();
            for link in &links {
                state.pool.announce(*link, &mut lines);
                self.post(&mut state, *link, &mut lines);
            }
            self.tell(&state);
            links
        };
        for link in links {
            self.flush(link, &mut lines);
        }
    }

    /// Puts answers on their way: into the outbox, or to the timer if they are to be late.
    fn answer(&self, state: &mut State, link: LinkId, lines: &mut Vec<u8>) {
        let delay = state.pool.knobs().reply_delay;
        if delay.is_zero() {
            self.post(state, link, lines);
        } else {
            self.delay(state, link, lines, delay);
        }
    }

    /// Puts lines on their way, behind those that are delayed.
    fn post(&self, state: &mut State, link: LinkId, lines: &mut Vec<u8>) {
        let delay = state.pool.knobs().reply_delay;
        let Some(outlet) = state.outlets.get_mut(&link) else {
            lines.clear();
            return;
        };
        if outlet.delayed_bytes > 0 {
            return self.delay(state, link, lines, delay);
        }
        outlet.outbox.append(lines);
        self.bound(state, link);
    }

    fn delay(&self, state: &mut State, link: LinkId, lines: &mut Vec<u8>, delay: Duration) {
        let lines = std::mem::take(lines);
        let Some(outlet) = state.outlets.get_mut(&link) else {
            return;
        };
        if !lines.is_empty() {
            outlet.delayed_bytes += lines.len();
            let due = now() + delay;
            let _ = self.tasks.send(Task::Later(Delayed { due, link, lines }));
            self.bound(state, link);
        }
    }

    fn bound(&self, state: &mut State, link: LinkId) {
        let full = |outlet: &Outlet| outlet.outbox.len() + outlet.delayed_bytes > OUTBOX_BYTES_MAX;
        if state.outlets.get(&link).is_some_and(full) {
            log::warn!("practice pool closes a link whose peer does not read");
            self.cut(state, link, How::Reset);
        }
    }

    /// Writes the outbox of a link until it is empty, unless another thread is at it.
    fn flush(&self, link: LinkId, lines: &mut Vec<u8>) {
        let mut mine = false;
        loop {
            let stream = {
                let mut state = self.lock();
                let Some(outlet) = state.outlets.get_mut(&link) else {
                    return;
                };
                if outlet.writing && !mine {
                    return;
                }
                mine = !outlet.outbox.is_empty();
                outlet.writing = mine;
                if !mine {
                    return;
                }
                lines.clear();
                std::mem::swap(lines, &mut outlet.outbox);
                Arc::clone(&outlet.stream)
            };
            if (&*stream).write_all(lines).is_err() {
                self.cut(&mut self.lock(), link, How::Reset);
                return;
            }
        }
    }

    /// Forgets a link and wakes the threads that read from it or write to it. The last of them
    /// closes the socket.
    fn cut(&self, state: &mut State, link: LinkId, how: How) {
        let Some(outlet) = state.outlets.remove(&link) else {
            return;
        };
        state.pool.disconnect(link);
        let socket = SockRef::from(&*outlet.stream);
        // A link that is gone already gives errors that nobody needs.
        let _ = match how {
            How::Close => socket.shutdown(Shutdown::Both),
            // Lingering for no time turns the close into a reset. To shut down the writing side
            // would send the end of the stream before it.
            How::Reset => socket
                .set_linger(Some(Duration::ZERO))
                .and_then(|()| socket.shutdown(Shutdown::Read)),
        };
        self.tell(state);
    }

    fn tell(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// The timer: announces jobs, and sends what was delayed.
    fn keep_time(&self, tasks: &Receiver<Task>, job_interval: Duration) {
        let mut next_job = (!job_interval.is_zero()).then(|| now() + job_interval);
        let mut delayed: VecDeque<Delayed> = VecDeque::new();
        let mut spare = Vec::new();
        loop {
            let due = delayed.front().map(|first| first.due);
            let task = match due.into_iter().chain(next_job).min() {
                Some(due) => tasks.recv_timeout(due.saturating_duration_since(now())),
                None => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match task {
                Ok(Task::Later(lines)) => delayed.push_back(lines),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = now();
            while delayed.front().is_some_and(|first| first.due <= now)
                && let Some(mut first) = delayed.pop_front()
            {
                let mut state = self.lock();
                if let Some(outlet) = state.outlets.get_mut(&first.link) {
                    outlet.delayed_bytes -= first.lines.len();
                    outlet.outbox.append(&mut first.lines);
                }
                drop(state);
                self.flush(first.link, &mut spare);
            }
            if let Some(due) = next_job.filter(|due| *due <= now) {
                self.announce(|pool| pool.next_job(unix_seconds()));
                // A timer that is late by more than a job leaves that job out.
                let next = due + job_interval;
                next_job = Some(if next > now { next } else { now + job_interval });
            }
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pool's clock is an argument, and this server is its shell"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pool's clock is an argument, and this server is its shell"
)]
fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn unix_seconds() -> u64 {
    since_1970().as_secs()
}

/// Another one for each start, so that two practice pools give different jobs and nonces.
fn seed() -> u64 {
    let time = since_1970();
    time.as_secs() << 30 ^ u64::from(time.subsec_nanos())
}

#[cfg(test)]
mod tests;
