#![expect(
    unsafe_code,
    reason = "an entry names a constant that the kernel reads"
)]
//! What this kernel's `io_uring` can do, asked for at the start so that an operator can read it.

use std::os::fd::AsRawFd;

use io_uring::{IoUring, types};

use super::{NO_LINGER, RingError, set_option};

/// What a ring may make use of and can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Socket options can be set on a ring (Linux 6.7). Without it [`Close::Reset`](super::Close::Reset)
    /// is a graceful close.
    pub set_option: bool,
}

impl Features {
    /// What no ring is made without.
    pub const NEEDED: &str = "SINGLE_ISSUER, DEFER_TASKRUN, CQE_SKIP, multishot receive into a ring of \
                              buffers, direct descriptors";

    /// Tries each on a small ring of its own.
    ///
    /// # Errors
    ///
    /// [`RingError`] says what the kernel, or a limit, has against the ring.
    pub fn probe() -> Result<Self, RingError> {
        let refusal = |error| RingError::at("trying the ring", "io_uring", 1, error);
        let mut ring = IoUring::new(2).map_err(refusal)?;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .map_err(refusal)?;
        ring.submitter()
            .register_files(&[socket.as_raw_fd()])
            .map_err(refusal)?;
        let option = set_option(
            types::Fixed(0),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            &NO_LINGER,
        );
        // SAFETY: the option's value is a constant, and the socket outlives the wait.
        let pushed = unsafe { ring.submission().push(&option) };
        let answered = pushed.is_ok() && ring.submit_and_wait(1).is_ok();
        let result = ring.completion().next().map(|it| it.result());
        Ok(Self {
            set_option: answered && result.is_some_and(|result| result >= 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers() {
        let features = Features::probe().expect("a ring");
        assert_eq!(features, Features::probe().expect("a ring"));
    }
}
