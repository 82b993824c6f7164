//! What processes and threads cost, as the kernel tells it.

use std::time::Duration;

use nix::time::{ClockId as OfProcess, clock_gettime as clock_of_process};
use nix::unistd::Pid;
use rustix::time::{ClockId, clock_gettime};

use crate::tally::Busy;

/// CPU time and memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// In steps of so much.
    pub(crate) cpu_grain: Duration,
    pub(crate) rss_kib: u64,
    pub(crate) rss_peak_kib: u64,
}

/// Of the process of this id. `None` if there is none.
pub(crate) fn of_process(pid: u32) -> Option<Usage> {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let (stat, status) = (read("stat")?, read("status")?);
    let ticks = || Cpu::parse(&stat, rustix::param::clock_ticks_per_second());
    let cpu = Cpu::exact(pid).or_else(ticks)?;
    Some(Usage {
        cpu: cpu.time,
        cpu_grain: cpu.grain,
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

/// CPU time of a process: of all its threads, those that have ended included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cpu {
    time: Duration,
    grain: Duration,
}

impl Cpu {
    /// By the process's own clock, to the nanosecond. `None` where the kernel has no such clock, as without
    /// `CONFIG_POSIX_TIMERS`, or there is no such process.
    fn exact(pid: u32) -> Option<Self> {
        // 0 would be ourselves.
        let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
        let clock = OfProcess::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?;
        Some(Self {
            time: clock_of_process(clock).ok()?.into(),
            grain: Duration::from_nanos(1),
        })
    }

    /// User and system time stand at places 14 and 15 of `stat`, in ticks. The name, at place 2, is in
    /// parentheses and may hold spaces.
    fn parse(stat: &str, ticks_per_second: u64) -> Option<Self> {
        let (_, behind_name) = stat.rsplit_once(')')?;
        let mut fields = behind_name.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let all = ticks()? + ticks()?;
        let grain = Duration::from_secs(1).div_f64(ticks_per_second as f64);
        Some(Self {
            time: grain.mul_f64(all as f64),
            grain,
        })
    }
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
        let cpu = Cpu {
            time: Duration::from_millis(1750),
            grain: Duration::from_millis(10),
        };
        assert_eq!(Cpu::parse(stat, 100), Some(cpu));
        let status = "Name:\tx\nVmHWM:\t    5000 kB\nVmRSS:\t    4212 kB\n";
        assert_eq!(parse_kib(status, "VmRSS:"), Some(4212));
        let waiting = parse_waiting("100 2500 3\n");
        assert_eq!(waiting, Some(Duration::from_nanos(2500)));
        for nonsense in ["", ")", "1 (x) S 1"] {
            assert_eq!(Cpu::parse(nonsense, 100), None);
        }
    }

    #[test]
    fn this_process_is_known() {
        let usage = of_process(std::process::id()).unwrap();
        assert!(usage.rss_kib > 0 && usage.rss_peak_kib >= usage.rss_kib);
        assert!(this_thread(Duration::from_secs(1)).is_some());
        assert_eq!(of_process(u32::MAX), None);
    }

    #[test]
    fn cpu_time_is_told_finer_than_in_ticks_and_that_of_ended_threads_is_in_it() {
        let own = std::process::id();
        let cpu = || Cpu::exact(own).expect("a clock").time;
        let tick = Duration::from_millis(10);
        let works = move || {
            let begin = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
            loop {
                let now = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
                if now > begin + tick / 4 {
                    return;
                }
            }
        };
        // Other tests run meanwhile and may add to it, so this shows that none of it is lost.
        for _ in 0..8 {
            let before = cpu();
            std::thread::spawn(works).join().unwrap();
            let after = cpu();
            assert!(after > before + tick / 4, "{before:?} {after:?}");
        }
        // A child that waits for its input has only begun, far below a tick, and works no more.
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let usage = of_process(child.id()).unwrap();
        let (time, grain) = (usage.cpu.as_nanos(), usage.cpu_grain);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(time > 0 && time % tick.as_nanos() != 0, "{time}");
        assert_eq!(grain, Duration::from_nanos(1));
    }
}
