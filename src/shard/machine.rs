//! What the machine gives: kernel, CPUs, descriptors, lockable memory; and whether that is enough.

use std::fmt;

use rustix::process::{Resource, Rlimit};

use crate::metrics::http::CONNECTIONS_MAX;
use crate::ring::{Features, MinerRing, RingConfig, RingError};
use crate::shard::error::StartError;

/// What one ring's table can hold at the most: two bytes of slots on each link.
const CONNECTIONS_PER_SHARD_MAX: u64 = 65_536;

/// Descriptors that the process takes, and that each shard and each of its listeners take; generous.
const DESCRIPTORS_BASE: u64 = 16;
const DESCRIPTORS_PER_SHARD: u64 = 12;

/// Memory that the rings pin, in KiB: of a shard's executor and of its miners, and once of the process.
/// Measured on Linux 6.18 as the least limit with which 1 to 4 shards start.
const MEMORY_PER_SHARD_KIB: u64 = 656;
const MEMORY_BASE_KIB: u64 = 24;

/// Memory and descriptors of the admin port's executor; its connections are counted with them.
const MEMORY_OF_ADMIN_KIB: u64 = 240;
const DESCRIPTORS_OF_ADMIN: u64 = 12 + CONNECTIONS_MAX as u64;

/// An executor of glommio refuses to start below this limit, whatever it needs.
const MEMORY_LIMIT_MIN_KIB: u64 = 512;

/// What is asked of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) shards: usize,
    /// Of all proxies, each counted once.
    pub(crate) listeners: usize,
    pub(crate) admin: bool,
    /// Miners on all shards together, where the config says it.
    pub(crate) miners: Option<u32>,
}

impl Wanted {
    fn memory_kib(&self) -> u64 {
        let admin = if self.admin { MEMORY_OF_ADMIN_KIB } else { 0 };
        let shards = self.shards as u64 * MEMORY_PER_SHARD_KIB;
        (MEMORY_BASE_KIB + shards + admin).max(MEMORY_LIMIT_MIN_KIB)
    }

    /// Shards whose rings fit.
    fn shards_within(&self, limit_kib: u64) -> u64 {
        let admin = if self.admin { MEMORY_OF_ADMIN_KIB } else { 0 };
        if limit_kib < MEMORY_LIMIT_MIN_KIB {
            return 0;
        }
        limit_kib.saturating_sub(MEMORY_BASE_KIB + admin) / MEMORY_PER_SHARD_KIB
    }

    fn descriptors(&self) -> u64 {
        let per_shard = DESCRIPTORS_PER_SHARD + self.listeners as u64;
        let admin = if self.admin { DESCRIPTORS_OF_ADMIN } else { 0 };
        DESCRIPTORS_BASE + self.shards as u64 * per_shard + admin
    }
}

/// Room for miners on a shard so that all of them find some: the kernel spreads connections by a hash, so
/// one shard gets more than its part. Five standard deviations are as good as never.
fn room_for(miners: u32, shards: u64) -> u64 {
    let part = u64::from(miners).div_ceil(shards);
    if shards == 1 {
        part
    } else {
        (part + 5 * part.isqrt() + 1).min(miners.into())
    }
}

/// A limit of the process; `None` is no limit.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// As it was found.
    before: Option<u64>,
    /// The soft limit now.
    soft: Option<u64>,
    hard: Option<u64>,
}

impl Limit {
    /// Raises the soft limit to the hard one, as far as the kernel lets us.
    fn raise(resource: Resource) -> Self {
        let found = rustix::process::getrlimit(resource);
        let raised = Rlimit {
            current: found.maximum,
            maximum: found.maximum,
        };
        let soft = match rustix::process::setrlimit(resource, raised) {
            Ok(()) => found.maximum,
            Err(_) => found.current,
        };
        Self {
            before: found.current,
            soft,
            hard: found.maximum,
        }
    }

    /// In units of so many.
    fn shown(self, unit: u64) -> impl fmt::Display {
        let number = move |limit: Option<u64>| match limit {
            Some(limit) => (limit / unit).to_string(),
            None => "unlimited".to_owned(),
        };
        if self.soft == self.before {
            format!("{} (hard limit {})", number(self.soft), number(self.hard))
        } else {
            let (before, soft) = (number(self.before), number(self.soft));
            format!("{before} raised to {soft}, the hard limit")
        }
    }
}

/// The machine as it was found, with the soft limits raised.
#[derive(Debug)]
pub(crate) struct Machine {
    kernel: String,
    /// The CPUs that this process may use.
    cpus: Vec<usize>,
    descriptors: Limit,
    memory: Limit,
}

impl Machine {
    /// Looks around and raises the soft limits.
    pub(crate) fn explore() -> Self {
        Self {
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            cpus: allowed_cpus(),
            descriptors: Limit::raise(Resource::Nofile),
            memory: Limit::raise(Resource::Memlock),
        }
    }

    pub(crate) fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// How many miners each ring can hold. A miner takes no descriptor of the process, but the kernel
    /// bounds each ring's table by the same limit.
    ///
    /// # Errors
    ///
    /// When there are too few descriptors for the shards themselves, or for the miners to come.
    pub(crate) fn miners_per_shard(&self, wanted: &Wanted) -> Result<u32, StartError> {
        let limit = self.descriptors.soft.unwrap_or(u64::MAX);
        let needed = wanted.descriptors();
        if limit < needed {
            return Err(StartError::Descriptors { limit, needed });
        }
        let room = limit.min(CONNECTIONS_PER_SHARD_MAX);
        if let Some(miners) = wanted.miners {
            let shards = wanted.shards as u64;
            let needed = room_for(miners, shards);
            if room < needed {
                let enough = |shards: &u64| room_for(miners, *shards) <= room;
                return Err(StartError::Miners {
                    miners,
                    shards,
                    room,
                    needed,
                    is_descriptors: needed <= CONNECTIONS_PER_SHARD_MAX,
                    cores: (shards..=crate::shard::start::SHARDS_MAX as u64).find(enough),
                });
            }
        }
        Ok(u32::try_from(room).unwrap_or(u32::MAX))
    }

    /// Says so where a refusal comes of too little lockable memory.
    pub(crate) fn explain(&self, error: StartError, wanted: &Wanted) -> StartError {
        let limit_kib = self.memory.soft.unwrap_or(u64::MAX) / 1024;
        let needed_kib = wanted.memory_kib();
        let is_memory = match &error {
            StartError::Kernel(RingError::MemoryLock)
            | StartError::Ring {
                source: RingError::MemoryLock,
                ..
            } => true,
            StartError::Executor { .. } | StartError::Admin { .. } => limit_kib < needed_kib,
            _ => false,
        };
        if !is_memory {
            return error;
        }
        StartError::Memory {
            shards: wanted.shards,
            needed_kib,
            limit_kib,
            cores: Some(wanted.shards_within(limit_kib))
                .filter(|cores| (1..wanted.shards as u64).contains(cores)),
        }
    }

    /// Tells what was found.
    pub(crate) fn log(&self, features: Features, wanted: &Wanted, pinned: bool) {
        let kernel = &self.kernel;
        let needed = Features::NEEDED;
        let options = if features.set_option {
            "setsockopt"
        } else {
            "no setsockopt (Linux 6.7), so a miner that does not read is closed without a reset"
        };
        log::info!("machine: Linux {kernel}; io_uring with {needed}, {options}");
        let (descriptors, memory) = (self.descriptors.shown(1), self.memory.shown(1024));
        log::info!(
            "machine: descriptors {descriptors}, of which the shards take up to {} and pool links one each; \
             lockable memory in KiB {memory}, of which the rings take about {}",
            wanted.descriptors(),
            wanted.memory_kib(),
        );
        let (cpus, shards) = (self.cpus.len(), wanted.shards);
        if pinned {
            let pinned = &self.cpus[..shards.min(cpus)];
            log::info!("machine: {cpus} CPUs, {shards} shards pinned to {pinned:?}");
        } else {
            log::info!("machine: {cpus} CPUs, {shards} shards not pinned");
        }
    }
}

/// Makes a small ring and drops it: where `io_uring` is forbidden or too old, an executor would end the
/// process with a panic in place of the cure.
///
/// # Errors
///
/// When the kernel gives nobody such a ring.
pub(crate) fn probe_rings() -> Result<Features, StartError> {
    let smallest = RingConfig {
        connections_max: 1,
        accepts_in_flight: 1,
        receive_buffers: 1,
        submission_entries: 8,
        completion_entries: 16,
        ..RingConfig::default()
    };
    MinerRing::new(&smallest)
        .and_then(|_| Features::probe())
        .map_err(StartError::Kernel)
}

/// The CPUs that this process may use, which a cpuset or `taskset` may have made fewer.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).map(|set| {
        (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|&cpu| set.is_set(cpu))
            .collect::<Vec<_>>()
    });
    match allowed {
        Ok(cpus) if !cpus.is_empty() => cpus,
        _ => vec![0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted {
        shards: 4,
        listeners: 1,
        admin: false,
        miners: None,
    };

    fn machine(descriptors: u64, memory_kib: u64) -> Machine {
        let limit = |limit| Limit {
            before: Some(limit),
            soft: Some(limit),
            hard: Some(limit),
        };
        Machine {
            kernel: "6.1".to_owned(),
            cpus: vec![0],
            descriptors: limit(descriptors),
            memory: limit(memory_kib * 1024),
        }
    }

    #[test]
    fn an_uneven_spread_of_miners_finds_room() {
        assert_eq!(room_for(1000, 1), 1000);
        assert_eq!(room_for(65_536, 4), 16_384 + 5 * 128 + 1);
        assert_eq!(room_for(3, 2), 3);
    }

    #[test]
    fn the_table_is_bounded_by_descriptors_and_slots() {
        let room = |limit| machine(limit, 8192).miners_per_shard(&WANTED).unwrap();
        assert_eq!(room(1024), 1024);
        assert_eq!(room(1 << 20), 65_536);
        let few = machine(64, 8192).miners_per_shard(&WANTED).unwrap_err();
        assert!(few.to_string().contains("ulimit -n"), "{few}");
    }

    #[test]
    fn more_miners_than_fit_are_refused_with_the_limit_and_the_cores() {
        let told = |limit, shards, miners| {
            let wanted = Wanted {
                shards,
                miners: Some(miners),
                ..WANTED
            };
            let room = machine(limit, 8192).miners_per_shard(&wanted);
            room.map_err(|error| error.to_string())
        };
        assert_eq!(told(20_000, 4, 65_536), Ok(20_000));
        let error = told(10_000, 4, 65_536).unwrap_err();
        assert!(error.contains("ulimit -n 17025"), "{error}");
        assert!(error.contains("--cores 7"), "{error}");
        let error = told(1 << 20, 1, 100_000).unwrap_err();
        assert!(
            !error.contains("ulimit") && error.contains("--cores 2"),
            "{error}"
        );
    }

    #[test]
    fn too_little_memory_is_told_with_what_would_fit() {
        let refusal = || StartError::Ring {
            shard: 3,
            source: RingError::MemoryLock,
        };
        let told = |memory_kib| {
            let error = machine(1024, memory_kib).explain(refusal(), &WANTED);
            error.to_string()
        };
        let error = told(2048);
        assert!(error.contains("ulimit -l 2648"), "{error}");
        assert!(error.contains("--cores 3"), "{error}");
        assert!(!told(600).contains("--cores"));
        let other = machine(1024, 1).explain(StartError::Kernel(RingError::Denied), &WANTED);
        assert!(matches!(other, StartError::Kernel(RingError::Denied)));
    }
}
