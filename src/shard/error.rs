//! Why a start failed, with the cure.

use std::io;
use std::net::SocketAddr;

use crate::ring::RingError;

/// Something of the machine is in the way. The text names it and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is somebody else's, perhaps another instance of this program.
    #[error(
        "{whose}: {address} is in use by another program, or by another instance of this one; \
         stop that one (`ss -ltnp 'sport = :{port}'` names it) or choose another address in the config",
        port = address.port()
    )]
    PortInUse {
        /// The proxy, or the key of the admin port.
        whose: String,
        /// Its listener.
        address: SocketAddr,
    },
    /// The address can't be listened on.
    #[error("{whose}: can't listen on {address}: {source}{cure}")]
    Listen {
        /// The proxy, or the key of the admin port.
        whose: String,
        /// Its listener.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
        /// What helps, behind a semicolon; may be empty.
        cure: &'static str,
    },
    /// Files that the config names.
    #[error("{0}")]
    Files(crate::config::ConfigErrors),
    /// The practice pool could not start.
    #[error("proxy {proxy}: the practice pool can't listen on loopback: {source}")]
    Practice {
        /// The proxy.
        proxy: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The limit of open files is too low for the shards themselves.
    #[error(
        "the limit of open files is {limit}, and so many shards need {needed}; raise it (`ulimit -n`, \
         LimitNOFILE=) or start with fewer --cores; miners need none, but it bounds how many each shard \
         can hold"
    )]
    Descriptors {
        /// What there is.
        limit: u64,
        /// What is needed.
        needed: u64,
    },
    /// The shards together have not room for the miners that the config expects.
    #[error(
        "miners_expected: {miners} on {shards} shards need room for {needed} on each, since the kernel \
         spreads them unevenly, and there is room for {room}: {}",
        miners_cure(*needed, *is_descriptors, *cores)
    )]
    Miners {
        /// How many are expected.
        miners: u32,
        /// How many shards there are.
        shards: u64,
        /// What each can hold.
        room: u64,
        /// What each must be able to hold.
        needed: u64,
        /// Whether a higher limit of open files helps.
        is_descriptors: bool,
        /// With how many shards they fit.
        cores: Option<u64>,
    },
    /// The rings may not pin the memory that they need.
    #[error(
        "{shards} shards pin about {needed_kib} KiB of memory for their rings, and this user may lock \
         {limit_kib} KiB in all processes together: {}",
        memory_cure(*needed_kib, *cores)
    )]
    Memory {
        /// How many shards there are.
        shards: usize,
        /// What they and the admin port need.
        needed_kib: u64,
        /// What there is.
        limit_kib: u64,
        /// Fewer shards that would fit.
        cores: Option<u64>,
    },
    /// The kernel gives nobody such a ring.
    #[error("{0}")]
    Kernel(RingError),
    /// The ring for the miners' sockets was refused.
    #[error("shard {shard}: {source}")]
    Ring {
        /// The shard.
        shard: usize,
        /// What the kernel said, and the cure.
        source: RingError,
    },
    /// The shard's executor was refused.
    #[error(
        "shard {shard}: the executor can't start: {detail}; it needs io_uring (Linux 6.1 or later, not \
         blocked by a seccomp filter or by kernel.io_uring_disabled) and 0.6 MiB of lockable memory \
         (`ulimit -l`)"
    )]
    Executor {
        /// The shard.
        shard: usize,
        /// What glommio said.
        detail: String,
    },
    /// The executor of the admin port was refused.
    #[error(
        "admin.listen: {address} can't be served: {detail}; it needs io_uring and a quarter of a MiB of \
         lockable memory (`ulimit -l`, LimitMEMLOCK=); or leave `admin` out"
    )]
    Admin {
        /// Its address.
        address: SocketAddr,
        /// What glommio said.
        detail: String,
    },
    /// The shards can't wake each other.
    #[error("can't make an eventfd for each shard: {0}")]
    Bells(io::Error),
    /// Signals can't be caught.
    #[error("can't catch signals: {0}")]
    Signals(io::Error),
}

fn miners_cure(needed: u64, is_descriptors: bool, cores: Option<u64>) -> String {
    let raise = is_descriptors.then(|| {
        format!("raise the limit of open files (`ulimit -n {needed}`, LimitNOFILE={needed})")
    });
    let start = cores.map(|cores| format!("start with --cores {cores}"));
    let cures: Vec<String> = raise.into_iter().chain(start).collect();
    if cures.is_empty() {
        return "expect fewer".to_owned();
    }
    cures.join(", or ")
}

fn memory_cure(needed_kib: u64, cores: Option<u64>) -> String {
    let start = cores.map_or_else(String::new, |cores| {
        format!(", or start with --cores {cores}")
    });
    format!("raise that limit (`ulimit -l {needed_kib}`, LimitMEMLOCK={needed_kib}K){start}")
}

/// Why a running process ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not start: exit code 3.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A shard ended: exit code 1.
    #[error("shard {shard} ended: {detail}")]
    ShardEnded {
        /// The shard.
        shard: usize,
        /// Why.
        detail: String,
    },
}

impl RunError {
    /// The exit code of the process.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            // A file that the config names is as the config itself.
            Self::Start(StartError::Files(_)) => 2,
            Self::Start(_) => 3,
            Self::ShardEnded { .. } => 1,
        }
    }
}
