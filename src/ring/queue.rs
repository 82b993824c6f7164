#![expect(
    unsafe_code,
    reason = "entries name memory that the kernel reads and writes"
)]
//! The two queues of the ring: entries that go to the kernel, completions that come from it.
//!
//! The ring belongs to one thread and runs its deferred work only when that thread enters the kernel
//! ([`Queue::enter`]). So completions appear at known moments, and the thread is never interrupted.

use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

use super::buffers::Group;
use super::{RingConfig, RingError, Token};

/// What an entry is for; the 8 highest bits of its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    Accept = 1,
    Receive,
    Send,
    Poll,
    Close,
    /// The steps before [`Operation::Connect`] in its chain.
    Prepare,
    Connect,
    /// The pause after accepting failed is over.
    Retry,
    StreamReceive,
    StreamPoll,
    Bell,
    /// How many bytes a peer has not acknowledged.
    Unacknowledged,
    StreamUnacknowledged,
    /// What succeeds or fails with nothing to do: cancels, the option before a reset.
    Aside,
}

impl Operation {
    /// The user data of this operation for a connection.
    pub(super) fn of(self, token: Token) -> u64 {
        (self as u64) << 56 | token.to_bits()
    }

    /// The user data of this operation, which is of no connection but numbered.
    pub(super) fn number(self, number: u32) -> u64 {
        self.of(Token {
            index: number,
            generation: 0,
        })
    }

    fn from_bits(bits: u64) -> Self {
        match bits >> 56 {
            1 => Self::Accept,
            2 => Self::Receive,
            3 => Self::Send,
            4 => Self::Poll,
            5 => Self::Close,
            6 => Self::Prepare,
            7 => Self::Connect,
            8 => Self::Retry,
            9 => Self::StreamReceive,
            10 => Self::StreamPoll,
            11 => Self::Bell,
            12 => Self::Unacknowledged,
            13 => Self::StreamUnacknowledged,
            _ => Self::Aside,
        }
    }
}

/// One completion, copied out of the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completion {
    user_data: u64,
    /// Zero or more: what the operation gives. Less: an errno, negated.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    pub(super) fn operation(self) -> Operation {
        Operation::from_bits(self.user_data)
    }

    pub(super) fn token(self) -> Token {
        Token::from_bits(self.user_data)
    }

    /// A multishot operation goes on after this completion.
    pub(super) fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that the kernel filled.
    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// What the operation gave, or its errno.
    pub(super) fn outcome(self) -> Result<u32, i32> {
        u32::try_from(self.result).map_err(|_| self.result.wrapping_neg())
    }
}

pub(super) struct Queue {
    ring: IoUring,
}

impl Queue {
    /// Makes the ring and its table of connections.
    ///
    /// The thread that calls this is the only one that may use the ring (`SINGLE_ISSUER`). Work that
    /// is due is run when that thread asks for it (`DEFER_TASKRUN`), which saves an interrupt for
    /// each packet, and says so in a flag (`TASKRUN_FLAG`). One bad entry does not stop the ones
    /// behind it (`SUBMIT_ALL`).
    pub(super) fn new(config: &RingConfig) -> Result<Self, RingError> {
        let wanted = config.connections_max;
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(config.completion_entries)
            .build(config.submission_entries)
            .map_err(|error| {
                RingError::at(
                    "making the ring",
                    "io_uring with DEFER_TASKRUN",
                    wanted,
                    error,
                )
            })?;
        let mut probe = Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .map_err(|error| {
                RingError::at(
                    "asking for the operations",
                    "the io_uring probe",
                    wanted,
                    error,
                )
            })?;
        let needed = [
            (opcode::Accept::CODE, "the io_uring operation accept"),
            (opcode::RecvMulti::CODE, "the io_uring operation recv"),
            (opcode::Send::CODE, "the io_uring operation send"),
            (opcode::PollAdd::CODE, "the io_uring operation poll_add"),
            (
                opcode::AsyncCancel::CODE,
                "the io_uring operation async_cancel",
            ),
            (opcode::Close::CODE, "the io_uring operation close"),
            (opcode::Timeout::CODE, "the io_uring operation timeout"),
        ];
        for (code, missing) in needed {
            if !probe.is_supported(code) {
                return Err(RingError::KernelTooOld { missing });
            }
        }
        if !ring.params().is_feature_skip_cqe_on_success() {
            return Err(RingError::KernelTooOld {
                missing: "silent success (CQE_SKIP)",
            });
        }
        ring.submitter()
            .register_files_sparse(wanted)
            .map_err(|error| {
                RingError::at(
                    "making the table of connections",
                    "a sparse file table",
                    wanted,
                    error,
                )
            })?;
        Ok(Self { ring })
    }

    /// Registers the list of provided buffers.
    ///
    /// # Safety
    ///
    /// The list and the buffers in it must stay mapped for as long as this queue lives.
    pub(super) unsafe fn register_buffers(
        &self,
        (address, count): (u64, u16),
        group: Group,
    ) -> io::Result<()> {
        // SAFETY: the caller answers for the memory.
        unsafe {
            self.ring
                .submitter()
                .register_buf_ring_with_flags(address, count, group as u16, 0)
        }
    }

    /// Has the eventfd counted up for each completion, from [`Queue::wake_on_work`] on.
    pub(super) fn register_eventfd(&mut self, eventfd: std::os::fd::RawFd) -> io::Result<()> {
        self.wake_on_work(false);
        self.ring.submitter().register_eventfd(eventfd)
    }

    /// Whether the kernel counts the eventfd up. Off while the thread is awake anyway: otherwise
    /// each round would leave a count behind, and with it one wake-up for nothing.
    pub(super) fn wake_on_work(&mut self, on: bool) {
        let completions = self.ring.completion();
        if on {
            completions.enable_eventfd();
        } else {
            completions.disable_eventfd();
        }
    }

    /// Whether `entries` more can be queued before the next [`Queue::enter`].
    pub(super) fn has_room(&mut self, entries: usize) -> bool {
        let queue = self.ring.submission();
        queue.capacity() - queue.len() >= entries
    }

    /// No entry waits for [`Queue::enter`].
    pub(super) fn is_empty(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    /// The kernel has work for us that only [`Queue::enter`] runs.
    pub(super) fn has_work(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// The kernel has completions that found no place in the queue.
    pub(super) fn has_overflow(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// Queues an entry. There must be room.
    ///
    /// # Safety
    ///
    /// What the entry points to must stay valid until the kernel is done with it.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller answers for what the entry points to.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("the caller made room");
    }

    /// Gives the queued entries to the kernel and runs the work that is due, without waiting. The
    /// kernel runs a few dozen pieces of work at a time: [`Queue::has_work`] says whether more is
    /// left.
    ///
    /// # Panics
    ///
    /// When the kernel refuses for a reason that only a bug explains, such as another thread.
    pub(super) fn enter(&mut self) {
        let queued =
            u32::try_from(self.ring.submission().len()).expect("a queue counts in 32 bits");
        // SAFETY: the entries were answered for when they were queued, and no argument is passed.
        let entered = unsafe {
            self.ring.submitter().enter::<libc::sigset_t>(
                queued,
                0,
                EnterFlags::GETEVENTS.bits(),
                None,
            )
        };
        match entered {
            Ok(_) => {}
            Err(error) => Self::refused(&error),
        }
    }

    /// As [`Queue::enter`], but waits until there is a completion or `timeout` is over.
    pub(super) fn enter_and_wait(&mut self, timeout: Duration) {
        let timeout = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => {}
            Err(error) => Self::refused(&error),
        }
    }

    fn refused(error: &io::Error) {
        match error.raw_os_error() {
            // A signal; or no memory for a request just now; or completions must be taken first.
            // The entries are still queued, and whoever needs them gone enters again.
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::EBUSY) => std::thread::yield_now(),
            _ => panic!("the kernel refuses the ring: {error}"),
        }
    }

    /// Takes all completions that are in the queue.
    pub(super) fn take(&mut self, mut each: impl FnMut(Completion)) {
        for completion in self.ring.completion() {
            each(Completion {
                user_data: completion.user_data(),
                result: completion.result(),
                flags: completion.flags(),
            });
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}
