//! How it goes, while it goes: a few lines that change, on a terminal. Elsewhere nothing is said.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::driver::Stage;
use crate::fleet::{Plan, Totals};
use crate::text;
use crate::usage::Usage;

/// How often the numbers change. Faster than this nobody reads, and rates would jump.
const INTERVAL: Duration = Duration::from_millis(500);

/// How it goes at one time.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) totals: Totals,
    /// The median of the latencies so far, and the 99th part of 100.
    pub(crate) latency: Option<[Duration; 2]>,
    /// For each thread how long it worked or was ready to.
    pub(crate) busy: Vec<Duration>,
    pub(crate) proxy: Option<Usage>,
}

/// The terminal, if stderr is one.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: Option<Sample>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            ProgressBar::new_spinner().with_style(style.expect("the template is right"))
        });
        Self { bar, last: None }
    }

    /// Shows how it goes, `in_stage` being the time since the stage began. The sample is taken only if
    /// it is needed.
    pub(crate) fn show(
        &mut self,
        stage: Stage,
        now: Duration,
        in_stage: Duration,
        plan: &Plan,
        sample: impl FnOnce() -> Sample,
    ) {
        let Some(bar) = &self.bar else { return };
        let last = self.last.as_ref();
        if last.is_none_or(|last| now - last.at >= INTERVAL) {
            let sample = sample();
            let before = last.unwrap_or(&sample);
            bar.set_message(view(stage, in_stage, plan, before, &sample));
            self.last = Some(sample);
        }
        bar.tick();
    }

    /// Leaves the terminal to the report.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line that stays, above those that change.
pub(crate) fn tell(text: &str) {
    let mut stderr = std::io::stderr();
    let wipe = if stderr.is_terminal() { "\r\x1b[J" } else { "" };
    drop(writeln!(stderr, "{wipe}{text}"));
}

/// What is shown at a time, given how it went a little before.
fn view(stage: Stage, in_stage: Duration, plan: &Plan, before: &Sample, now: &Sample) -> String {
    let number = text::number;
    let totals = now.totals;
    let since = (now.at - before.at).as_secs_f64();
    let rate = |many: fn(&Totals) -> u64| {
        let more = many(&now.totals).saturating_sub(many(&before.totals));
        number(per_second(more as f64, since))
    };
    let percent = |before: Duration, now: Duration| {
        per_second(100.0 * now.saturating_sub(before).as_secs_f64(), since)
    };
    let head = match stage {
        Stage::Ramp => format!(
            "connecting: {} of {} miners, {} have a job; {} connects/s now",
            number(totals.connected),
            number(u64::from(plan.miners)),
            number(totals.mining + totals.silent),
            rate(|totals| totals.connects),
        ),
        Stage::Run => format!(
            "{:.0} of {:.0} s: {} of {} miners mine{}",
            in_stage.as_secs_f64(),
            plan.duration.as_secs_f64(),
            number(totals.mining),
            number(u64::from(plan.miners)),
            match totals.silent {
                0 => String::new(),
                silent => format!(", {} are silent", number(silent)),
            },
        ),
        Stage::Settle | Stage::Stop => {
            format!("waiting for {} answers", number(totals.unanswered))
        }
    };
    let mut lines = vec![head];
    if stage > Stage::Ramp {
        lines.push(format!(
            "shares   {}/s now; {} sent, {} accepted, {} rejected, {} in flight",
            rate(|totals| totals.sent),
            number(totals.sent),
            number(totals.accepted),
            number(totals.rejected),
            number(totals.unanswered),
        ));
        if let Some([p50, p99]) = now.latency {
            let (p50, p99) = (text::time(p50), text::time(p99));
            lines.push(format!("latency  p50 {p50}, p99 {p99} so far"));
        }
        lines.push(format!(
            "jobs     {} received, {}/s now; {} wrong",
            number(totals.jobs),
            rate(|totals| totals.jobs),
            number(totals.wrong),
        ));
    }
    if let Some((before, now)) = before.proxy.zip(now.proxy) {
        lines.push(format!(
            "proxy    {} % of a core, RSS {:.1} MiB",
            percent(before.cpu, now.cpu),
            now.rss_kib as f64 / 1024.0,
        ));
    }
    let busy = before.busy.iter().zip(&now.busy);
    // What a thread tells is up to its interval old.
    let busiest = busy
        .map(|(before, now)| percent(*before, *now).min(100))
        .max();
    lines.push(format!(
        "loadgen  busiest thread {} % of a core",
        busiest.unwrap_or_default()
    ));
    lines.join("\n  ")
}

/// A count for each second, as a whole number. 0 if no time has passed.
fn per_second(many: f64, seconds: f64) -> u64 {
    if seconds <= 0.0 {
        return 0;
    }
    // No count is negative, and none has 64 bits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, and a cast from a float saturates"
    )]
    let rounded = (many / seconds).round() as u64;
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::any_plan;

    fn sample(at: u64, sent: u64) -> Sample {
        Sample {
            at: Duration::from_secs(at),
            totals: Totals {
                connects: 10 * sent,
                connected: 1000,
                mining: 990,
                silent: 10,
                sent,
                accepted: sent,
                jobs: 3 * sent,
                unanswered: 7,
                ..Totals::default()
            },
            latency: Some([Duration::from_micros(870), Duration::from_millis(2)]),
            busy: vec![Duration::from_secs(at) / 2, Duration::from_secs(at) / 4],
            proxy: Some(Usage {
                cpu: Duration::from_secs(at) / 10,
                cpu_grain: Duration::from_millis(10),
                rss_kib: 4608,
                rss_peak_kib: 5000,
            }),
        }
    }

    #[test]
    fn the_view_tells_what_goes_on_now() {
        let plan = Plan {
            miners: 1000,
            ..any_plan()
        };
        let (before, now) = (sample(4, 2000), sample(5, 3003));
        let in_stage = Duration::from_secs(3);
        assert_eq!(
            view(Stage::Run, in_stage, &plan, &before, &now),
            "3 of 1 s: 990 of 1,000 miners mine, 10 are silent
  shares   1,003/s now; 3,003 sent, 3,003 accepted, 0 rejected, 7 in flight
  latency  p50 870 µs, p99 2.00 ms so far
  jobs     9,009 received, 3,009/s now; 0 wrong
  proxy    10 % of a core, RSS 4.5 MiB
  loadgen  busiest thread 50 % of a core"
        );
        let ramp = view(Stage::Ramp, in_stage, &plan, &before, &now);
        assert!(ramp.starts_with("connecting: 1,000 of 1,000 miners, 1,000 have a job; 10,030"));
        let first = view(Stage::Settle, in_stage, &plan, &now, &now);
        assert!(
            first.starts_with("waiting for 7 answers\n  shares   0/s now"),
            "{first}"
        );
    }
}
