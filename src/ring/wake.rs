#![expect(unsafe_code, reason = "an eventfd is made by hand and lent to glommio")]
//! How a thread that awaits its executor learns that its ring has work.
//!
//! The kernel counts an eventfd up, and the executor reads it. The ring's own descriptor can't be
//! awaited: a ring with deferred work, polled, loses wake-ups, and the process sleeps while its
//! backlog fills. The eventfd is a blocking one, so that the executor's ring waits for the count
//! instead of being told to try again.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use glommio::io::BufferedFile;

use super::MinerRing;

/// An eventfd, and whether a notification is on its way through it. Each clone is the same one.
#[derive(Debug, Clone)]
pub(super) struct Eventfd {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: File,
    /// Set by the first notification, cleared by the wake-up: those in between need no system call.
    notified: AtomicBool,
}

impl Eventfd {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no memory.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and nobody else has it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        Ok(Self {
            shared: Arc::new(Shared {
                file,
                notified: AtomicBool::new(false),
            }),
        })
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.shared.file.as_raw_fd()
    }

    /// Wakes whoever waits for it, unless that is under way.
    pub(super) fn notify(&self) {
        if !self.shared.notified.swap(true, Ordering::SeqCst) {
            self.count_up();
        }
    }

    /// Wakes whoever waits for it.
    pub(super) fn count_up(&self) {
        let counted = (&self.shared.file).write_all(&1_u64.to_ne_bytes());
        debug_assert!(
            counted.is_ok(),
            "an eventfd counts further than anybody notifies"
        );
    }
}

impl MinerRing {
    /// What the thread awaits when [`MinerRing::prepare_wait`] says that nothing is left to do. Made
    /// inside a glommio executor; one for each ring.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left.
    ///
    /// # Panics
    ///
    /// Outside a glommio executor.
    pub fn wake(&self) -> io::Result<Wake> {
        let descriptor: OwnedFd = self.eventfd.shared.file.try_clone()?.into();
        // SAFETY: the descriptor is owned, and handed over; glommio closes it.
        let file = unsafe { BufferedFile::from_raw_fd(descriptor.into_raw_fd()) };
        Ok(Wake {
            file,
            eventfd: self.eventfd.clone(),
        })
    }
}

/// Waits for the ring, in a glommio executor.
pub struct Wake {
    file: BufferedFile,
    eventfd: Eventfd,
}

impl Wake {
    /// Returns when the ring has work, or somebody has notified; sometimes for nothing.
    ///
    /// # Cancel safety
    ///
    /// None: a wait that is dropped may take a wake-up with it. Await it in a task of its own, and
    /// use a [`Notifier`] to end it.
    ///
    /// # Errors
    ///
    /// When the eventfd can't be read, which leaves no way to go on.
    pub async fn wait(&self) -> io::Result<()> {
        self.file
            .read_at(0, size_of::<u64>())
            .await
            .map_err(io::Error::from)?;
        // Whoever notifies from here on counts up again; whoever did so before is seen by the caller.
        self.eventfd.shared.notified.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// A handle that ends the wait from elsewhere.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier {
            eventfd: self.eventfd.clone(),
        }
    }
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wake").finish_non_exhaustive()
    }
}

/// Wakes the task that waits for a ring; from the same thread or another one.
#[derive(Debug, Clone)]
pub struct Notifier {
    eventfd: Eventfd,
}

impl Notifier {
    /// Ends the current wait, or else the next one.
    pub fn notify(&self) {
        self.eventfd.notify();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use glommio::{LocalExecutorBuilder, Placement};

    use super::super::Bell;
    use super::super::tests::{Event, Recorder, client, reads, ring_with_listener, small_config};
    use super::{MinerRing, Wake};

    /// Echoes what one ring receives until a line says to stop, awaiting an executor in between.
    /// `start` is called when the first wait is about to begin. Returns how many there were.
    async fn echo_until_stopped(mut ring: MinerRing, wake: Wake, start: impl FnOnce()) -> usize {
        let mut start = Some(start);
        let mut waits = 0;
        loop {
            while !ring.prepare_wait() {
                let mut recorder = Recorder::default();
                ring.drain(&mut recorder);
                for event in recorder.0 {
                    if let Event::Received(token, bytes) = event {
                        if bytes == b"stop" {
                            return waits;
                        }
                        ring.send_copied(token, &[(&bytes, 0)]);
                    }
                }
            }
            waits += 1;
            if let Some(start) = start.take() {
                start();
            }
            wake.wait().await.expect("the eventfd is read");
        }
    }

    #[test]
    fn a_ring_wakes_its_executor() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let peer = std::thread::spawn(move || {
            let mut client = client(receiver.recv().expect("an address"));
            for at in 0..200 {
                let line = format!("line {at}");
                client.write_all(line.as_bytes()).expect("write");
                reads(&mut client, line.as_bytes());
            }
            client.write_all(b"stop").expect("write");
        });
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(65_536)
            .make();
        let waits = executor.expect("executor").run(async {
            let (ring, address) = ring_with_listener(&small_config());
            let wake = ring.wake().expect("a wake");
            let start = || sender.send(address).expect("the peer lives");
            echo_until_stopped(ring, wake, start).await
        });
        peer.join().expect("the peer is content");
        // At most one for each line and one for nothing: the sends and their silence wake nobody.
        assert!((1..=410).contains(&waits), "{waits} waits for 200 lines");
    }

    #[test]
    fn a_notifier_ends_the_wait() {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(65_536)
            .make();
        executor.expect("executor").run(async {
            let mut ring = MinerRing::new(&small_config()).expect("ring");
            let wake = ring.wake().expect("a wake");
            for round in 0..50 {
                assert!(ring.prepare_wait());
                let notifier = wake.notifier();
                if round % 2 == 0 {
                    std::thread::spawn(move || notifier.notify());
                } else {
                    glommio::spawn_local(async move {
                        notifier.notify();
                        notifier.clone().notify();
                    })
                    .detach();
                }
                wake.wait().await.expect("woken");
            }
        });
    }

    #[test]
    fn a_bell_ends_the_wait_in_the_executor_too() {
        let bell = Bell::new().expect("bell");
        let ringer = bell.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            while receiver.recv().is_ok() {
                ringer.ring();
            }
        });
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(65_536)
            .make();
        executor.expect("executor").run(async move {
            let mut ring = MinerRing::new(&small_config()).expect("ring");
            let wake = ring.wake().expect("a wake");
            ring.hear(&bell);
            for _ in 0..10_000 {
                let mut recorder = Recorder::default();
                let mut told = false;
                while recorder.0.is_empty() {
                    if ring.prepare_wait() {
                        if !told {
                            sender.send(()).expect("the other thread lives");
                        }
                        told = true;
                        wake.wait().await.expect("woken");
                    }
                    ring.drain(&mut recorder);
                }
                assert!(told, "rung once for each time that it was told to");
                assert_eq!(recorder.0, [Event::Rang]);
            }
        });
        other.join().expect("it ends with the ring");
    }
}
