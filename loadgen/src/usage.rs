//! What processes and threads cost, as the kernel tells it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::tally::Busy;

/// CPU time and memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) rss_kib: u64,
    pub(crate) rss_peak_kib: u64,
}

/// Of the process of this id. `None` if there is none.
pub(crate) fn of_process(pid: u32) -> Option<Usage> {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let status = read("status")?;
    Some(Usage {
        cpu: parse_cpu(&read("stat")?, rustix::param::clock_ticks_per_second())?,
        rss_kib: parse_kib(&status, "VmRSS:")?,
        rss_peak_kib: parse_kib(&status, "VmHWM:")?,
    })
}

/// Of the calling thread, since its start; `wall` is `now`. `None` where the kernel does not tell.
pub(crate) fn this_thread(now: Duration) -> Option<Busy> {
    let cpu = clock_gettime(ClockId::ThreadCPUTime);
    let waiting = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    Some(Busy {
        working: Duration::try_from(cpu).ok()?,
        waiting: waiting
            .and_then(|text| parse_waiting(&text))
            .unwrap_or_default(),
        wall: now,
    })
}

/// Lets the calling thread wake when it asked to, and not up to 50 microseconds later.
pub(crate) fn ask_for_exact_timers() {
    // Where it is refused shares leave a little later, which the report shows.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// User and system time stand at places 14 and 15 of `stat`. The name, at place 2, is in parentheses
/// and may hold spaces.
fn parse_cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let all = ticks()? + ticks()?;
    Some(Duration::from_secs_f64(
        all as f64 / ticks_per_second as f64,
    ))
}

fn parse_kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Nanoseconds on the CPU, nanoseconds ready but waiting, turns.
fn parse_waiting(schedstat: &str) -> Option<Duration> {
    let nanoseconds = schedstat.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_read() {
        let stat = "77 (a) b c) S 1 77 77 0 -1 4194560 1 2 3 4 150 25 7 8 20 0";
        assert_eq!(parse_cpu(stat, 100), Some(Duration::from_millis(1750)));
        let status = "Name:\tx\nVmHWM:\t    5000 kB\nVmRSS:\t    4212 kB\n";
        assert_eq!(parse_kib(status, "VmRSS:"), Some(4212));
        let waiting = parse_waiting("100 2500 3\n");
        assert_eq!(waiting, Some(Duration::from_nanos(2500)));
        for nonsense in ["", ")", "1 (x) S 1"] {
            assert_eq!(parse_cpu(nonsense, 100), None);
        }
    }

    #[test]
    fn this_process_is_known() {
        let usage = of_process(std::process::id()).unwrap();
        assert!(usage.rss_kib > 0 && usage.rss_peak_kib >= usage.rss_kib);
        assert!(this_thread(Duration::from_secs(1)).is_some());
        assert_eq!(of_process(u32::MAX), None);
    }
}
