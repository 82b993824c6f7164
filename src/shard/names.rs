//! Host names of pools, resolved off the shard's thread.
//!
//! The system's resolver keeps its caller for as long as it tries, which for a name that nobody answers for
//! is tens of seconds. So a name is asked for once at a time, however many links want it, no more than
//! [`RESOLVER_THREADS`] names are asked for at a time, and who wants one waits no longer than
//! [`RESOLVE_TIMEOUT`]. An answer that comes later is for all who ask in the next minute: where the first of
//! two name servers is dead each answer takes longer than that server's time, and would come too late for
//! ever.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;
use glommio::sync::Semaphore;

use crate::shard::clock::Clock;
use crate::shard::guests::Guests;

/// Threads that resolve host names, for each shard; two, so that a slow name does not delay another.
pub(crate) const RESOLVER_THREADS: usize = 2;

/// Time for a pool's name to be resolved, before the connect has its own. The C library turns from one name
/// server to the next after five seconds.
pub(crate) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(8);

/// An answer for which nobody waited any more is good for so long.
const LATE_ANSWER_KEPT: Duration = Duration::from_secs(60);

/// The addresses of a name, with port 0, or why there are none.
type Found = Result<Vec<SocketAddr>, String>;

/// The names that are being asked for.
pub(crate) struct Names {
    clock: Clock,
    resolver: fn(&str) -> io::Result<Vec<SocketAddr>>,
    timeout: Duration,
    /// See [`LATE_ANSWER_KEPT`].
    kept: Duration,
    threads: Semaphore,
    /// Those that are at work, and those whose answer came when nobody waited any more.
    lookups: RefCell<HashMap<Box<str>, Rc<Lookup>>>,
    guests: Guests,
}

/// One name that is being asked for.
struct Lookup {
    /// What it is, and since when that is known, by the clock.
    found: OnceCell<(Found, Duration)>,
    /// Closed when it is found: that wakes all who wait.
    end: Semaphore,
}

impl Names {
    /// Asks the system. Lookups are tasks among these guests.
    pub(crate) fn new(clock: Clock, guests: Guests) -> Rc<Self> {
        let resolver = |host: &str| Ok((host, 0).to_socket_addrs()?.collect());
        Self::with(clock, guests, (RESOLVE_TIMEOUT, LATE_ANSWER_KEPT), resolver)
    }

    fn with(
        clock: Clock,
        guests: Guests,
        (timeout, kept): (Duration, Duration),
        resolver: fn(&str) -> io::Result<Vec<SocketAddr>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            clock,
            resolver,
            timeout,
            kept,
            threads: Semaphore::new(RESOLVER_THREADS as u64),
            lookups: RefCell::default(),
            guests,
        })
    }

    /// The addresses of a host, in the system's order and with port 0. One that is an address already is its
    /// own.
    ///
    /// # Errors
    ///
    /// The resolver's words, or that it said nothing in [`RESOLVE_TIMEOUT`].
    ///
    /// # Cancel safety
    ///
    /// The name is asked for all the same.
    pub(crate) async fn resolve(self: &Rc<Self>, host: &str) -> Found {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, 0)]);
        }
        let lookup = self.lookup(host);
        let found = async {
            // It never has a unit, so this ends when it is closed.
            drop(lookup.end.acquire(1).await);
        };
        let late = async {
            glommio::timer::sleep(self.timeout).await;
        };
        future::or(found, late).await;
        let found = lookup.found.get().map(|(found, _)| found.clone());
        found.unwrap_or_else(|| Err(format!("no answer in {:?}", self.timeout)))
    }

    /// The lookup of this name that is at work or came late, or a new one.
    fn lookup(self: &Rc<Self>, host: &str) -> Rc<Lookup> {
        let known = self.lookups.borrow().get(host).cloned();
        let is_good = |lookup: &Rc<Lookup>| match lookup.found.get() {
            Some((_, since)) => self.clock.now().since(*since) < self.kept,
            None => true,
        };
        if let Some(lookup) = known.filter(is_good) {
            return lookup;
        }
        let lookup = Rc::new(Lookup {
            found: OnceCell::new(),
            end: Semaphore::new(0),
        });
        let (name, begun) = (Box::from(host), Rc::clone(&lookup));
        self.lookups.borrow_mut().insert(name, begun);
        let task = Rc::clone(self).look_up(host.to_owned(), Rc::clone(&lookup));
        self.guests.spawn(task);
        lookup
    }

    async fn look_up(self: Rc<Self>, host: String, lookup: Rc<Lookup>) {
        // It is never closed, so it never fails.
        let thread = self.threads.acquire_permit(1).await;
        let (resolver, name) = (self.resolver, host.clone());
        let resolved = glommio::executor().spawn_blocking(move || resolver(&name));
        let found = resolved.await.map_err(|error| error.to_string());
        drop(thread);
        // Two have it where nobody waits for it: this task and the map.
        let is_late = Rc::strong_count(&lookup) == 2;
        if !is_late || found.is_err() {
            self.lookups.borrow_mut().remove(&*host);
        }
        drop(lookup.found.set((found, self.clock.now().since_start)));
        lookup.end.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};
    use std::thread;

    use glommio::{LocalExecutorBuilder, Placement};

    use super::*;
    use crate::ring::{MinerRing, RingConfig};
    use crate::shard::blocking_threads;
    use crate::shard::password_queue::CHECKS_AT_ONCE;

    /// Runs a test as a shard's executor does its tasks.
    fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce(Guests) -> F + Send + 'static) {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(65_536)
            .blocking_thread_pool_placement(blocking_threads())
            .spawn(|| async move {
                let ring = MinerRing::new(&RingConfig::default()).unwrap();
                let guests = Guests::new(ring.wake().unwrap().notifier());
                test(guests).await;
            });
        executor.unwrap().join().unwrap();
    }

    fn local() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], 0))]
    }

    #[test]
    fn names_that_nobody_answers_for_leave_the_hashes_their_threads() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static IS_OVER: AtomicBool = AtomicBool::new(false);
        fn dead(_: &str) -> io::Result<Vec<SocketAddr>> {
            ASKED.fetch_add(1, Ordering::SeqCst);
            while !IS_OVER.load(Ordering::SeqCst) {
                thread::park_timeout(Duration::from_millis(1));
            }
            Ok(local())
        }
        run(|guests| async move {
            let names = Names::with(
                Clock::start(),
                guests,
                (RESOLVE_TIMEOUT, LATE_ANSWER_KEPT),
                dead,
            );
            let waiting: Vec<_> = (0..10)
                .map(|number| {
                    let names = Rc::clone(&names);
                    glommio::spawn_local(
                        async move { names.resolve(&format!("pool-{number}")).await },
                    )
                })
                .collect();
            while ASKED.load(Ordering::SeqCst) < RESOLVER_THREADS {
                glommio::timer::sleep(Duration::from_millis(1)).await;
            }
            // They end when all of them run at a time.
            let barrier = Arc::new(Barrier::new(CHECKS_AT_ONCE));
            let hashes: Vec<_> = (0..CHECKS_AT_ONCE)
                .map(|_| {
                    let barrier = Arc::clone(&barrier);
                    let hash = glommio::executor().spawn_blocking(move || {
                        barrier.wait();
                    });
                    glommio::spawn_local(hash)
                })
                .collect();
            let checked = async {
                for hash in hashes {
                    hash.await;
                }
                true
            };
            let late = async {
                glommio::timer::sleep(RESOLVE_TIMEOUT / 2).await;
                false
            };
            let are_checked = future::or(checked, late).await;
            let asked = ASKED.load(Ordering::SeqCst);
            IS_OVER.store(true, Ordering::SeqCst);
            assert!(are_checked, "names hold the threads of hashes");
            assert_eq!(asked, RESOLVER_THREADS);
            for found in waiting {
                assert_eq!(found.await, Ok(local()));
            }
        });
    }

    #[test]
    fn an_answer_that_comes_too_late_is_for_all_who_ask_next() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        fn slow(_: &str) -> io::Result<Vec<SocketAddr>> {
            ASKED.fetch_add(1, Ordering::SeqCst);
            thread::park_timeout(Duration::from_millis(150));
            Ok(local())
        }
        run(|guests| async move {
            let timeout = Duration::from_millis(50);
            let late = Err(format!("no answer in {timeout:?}"));
            let times = (timeout, LATE_ANSWER_KEPT);
            let names = Names::with(Clock::start(), guests.clone(), times, slow);
            assert_eq!(names.resolve("pool").await, late);
            glommio::timer::sleep(Duration::from_millis(500)).await;
            for _ in 0..4 {
                assert_eq!(names.resolve("pool").await, Ok(local()));
            }
            assert_eq!(ASKED.load(Ordering::SeqCst), 1);
            // While it is good.
            let names = Names::with(Clock::start(), guests, (timeout, Duration::ZERO), slow);
            for asked in 2..4 {
                assert_eq!(names.resolve("pool").await, late);
                glommio::timer::sleep(Duration::from_millis(500)).await;
                assert_eq!(ASKED.load(Ordering::SeqCst), asked);
            }
        });
    }

    #[test]
    fn a_name_is_asked_for_once_for_all_who_want_it() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        fn slow(_: &str) -> io::Result<Vec<SocketAddr>> {
            ASKED.fetch_add(1, Ordering::SeqCst);
            thread::park_timeout(Duration::from_millis(50));
            Err(io::Error::other("no such name"))
        }
        run(|guests| async move {
            let names = Names::with(
                Clock::start(),
                guests,
                (RESOLVE_TIMEOUT, LATE_ANSWER_KEPT),
                slow,
            );
            for round in 1..=2 {
                let all: Vec<_> = (0..20)
                    .map(|_| {
                        let names = Rc::clone(&names);
                        glommio::spawn_local(async move { names.resolve("pool").await })
                    })
                    .collect();
                for found in all {
                    assert_eq!(found.await, Err("no such name".to_owned()));
                }
                // Whoever wants it later asks anew.
                assert_eq!(ASKED.load(Ordering::SeqCst), round);
            }
            assert_eq!(names.resolve("127.0.0.1").await, Ok(local()));
            assert_eq!(ASKED.load(Ordering::SeqCst), 2);
        });
    }
}
