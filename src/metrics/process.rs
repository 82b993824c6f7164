//! What the kernel says of this process, by the names that every Prometheus client uses.

use std::fs;
use std::time::Duration;

use rustix::process::Resource;
use rustix::time::ClockId;

use crate::metrics::Process;

impl Process {
    /// Asks the kernel. It reads files, so it is for a thread that may wait.
    #[must_use]
    pub fn read() -> Self {
        let cpu = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
        let (virtual_pages, resident_pages) = pages().unwrap_or_default();
        let page = rustix::param::page_size() as u64;
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        Self {
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            resident_bytes: resident_pages * page,
            virtual_bytes: virtual_pages * page,
            // The one that lists them is no more.
            open_descriptors: open.saturating_sub(1) as u64,
            max_descriptors: limit.unwrap_or(u64::MAX),
        }
    }
}

/// Pages of address space and of resident memory.
fn pages() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = text.split(' ').map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_this_process() {
        let process = Process::read();
        assert!(process.cpu > Duration::ZERO);
        assert!(process.resident_bytes > 100_000 && process.virtual_bytes > process.resident_bytes);
        assert!(process.open_descriptors >= 3);
        assert!(process.max_descriptors >= process.open_descriptors);
    }
}
