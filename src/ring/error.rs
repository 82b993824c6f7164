//! Why a ring could not be made, in the words that name the cure.

use std::io;

/// The kernel, or a limit, is in the way of a ring. Found at the start, never later.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The kernel has no io_uring, or one without something that we need.
    #[error("the kernel is too old: it lacks {missing}; Linux 6.1 or later is needed")]
    KernelTooOld {
        /// What was asked for and is not there.
        missing: &'static str,
    },
    /// Something forbids io_uring to this process.
    #[error(
        "io_uring is forbidden: a seccomp filter (containers block it by default), or the sysctl \
         kernel.io_uring_disabled, which must be 0"
    )]
    Denied,
    /// The memory for the ring may not be pinned.
    #[error("no memory for the ring: raise the limit of locked memory (ulimit -l, LimitMEMLOCK)")]
    MemoryLock,
    /// The table of connections is larger than the limit of open files, which bounds it for each
    /// ring on its own.
    #[error(
        "no descriptors for {wanted} connections: raise the limit of open files (ulimit -n, \
         LimitNOFILE), or run more cores, since the limit counts for each of them"
    )]
    Descriptors {
        /// How many the configuration asks for.
        wanted: u32,
    },
    /// A number in [`RingConfig`](super::RingConfig) that no ring can have.
    #[error("{0}")]
    Config(&'static str),
    /// Anything else, with the step that met it.
    #[error("{what}: {source}")]
    Io {
        /// The step.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl RingError {
    /// Reads the kernel's refusal of one step of the setup. `needs` is what `EINVAL` and `ENOSYS`
    /// mean at this step; `wanted` is how many connections were asked for.
    pub(super) fn at(
        what: &'static str,
        needs: &'static str,
        wanted: u32,
        source: io::Error,
    ) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => {
                Self::KernelTooOld { missing: needs }
            }
            Some(libc::EPERM | libc::EACCES) => Self::Denied,
            Some(libc::ENOMEM) => Self::MemoryLock,
            Some(libc::EMFILE | libc::ENFILE) => Self::Descriptors { wanted },
            _ => Self::Io { what, source },
        }
    }
}

/// [`connect`](super::MinerRing::connect) found no free place in the ring's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ring's table is full")]
pub struct TableFull;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_cure() {
        let refusal =
            |errno| RingError::at("a step", "a thing", 7, io::Error::from_raw_os_error(errno));
        assert!(
            refusal(libc::EPERM)
                .to_string()
                .contains("kernel.io_uring_disabled")
        );
        assert!(refusal(libc::ENOSYS).to_string().contains("a thing"));
        assert!(refusal(libc::ENOMEM).to_string().contains("ulimit -l"));
        assert!(
            refusal(libc::EMFILE)
                .to_string()
                .contains("for 7 connections")
        );
        assert!(refusal(libc::EIO).to_string().starts_with("a step: "));
    }
}
