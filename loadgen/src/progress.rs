//! How it goes, while it goes: one line that changes on a terminal, a plain line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::driver::Stage;
use crate::fleet::{Plan, Totals};
use crate::text;

/// How often a plain line is written.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// The terminal, if stderr is one.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// Unknown until something was shown.
    next_plain: Option<Duration>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            ProgressBar::new_spinner().with_style(style.expect("the template is right"))
        });
        Self {
            bar,
            next_plain: None,
        }
    }

    /// Shows how it goes, `in_stage` being the time since the stage began.
    pub(crate) fn show(
        &mut self,
        stage: Stage,
        now: Duration,
        in_stage: Duration,
        totals: Totals,
        plan: &Plan,
    ) {
        if let Some(bar) = &self.bar {
            bar.set_message(line(stage, in_stage, totals, plan));
            bar.tick();
        } else if now >= *self.next_plain.get_or_insert(now + PLAIN_INTERVAL) {
            self.next_plain = Some(now + PLAIN_INTERVAL);
            let line = line(stage, in_stage, totals, plan);
            drop(writeln!(std::io::stderr(), "{line}"));
        }
    }

    /// Leaves the terminal to the report.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line that stays, above the one that changes.
pub(crate) fn tell(text: &str) {
    let mut stderr = std::io::stderr();
    let wipe = if stderr.is_terminal() { "\r\x1b[K" } else { "" };
    drop(writeln!(stderr, "{wipe}{text}"));
}

fn line(stage: Stage, in_stage: Duration, totals: Totals, plan: &Plan) -> String {
    let number = text::number;
    let Totals {
        connected,
        mining,
        sent,
        accepted,
        unanswered,
        ..
    } = totals;
    match stage {
        Stage::Ramp => format!(
            "connecting: {} of {} miners, {} have a job",
            number(connected),
            number(u64::from(plan.miners)),
            number(mining)
        ),
        Stage::Run => format!(
            "{:.0} of {:.0} s: {} miners, {} shares sent, {} accepted",
            in_stage.as_secs_f64(),
            plan.duration.as_secs_f64(),
            number(mining),
            number(sent),
            number(accepted)
        ),
        Stage::Settle | Stage::Stop => format!("waiting for {} answers", number(unanswered)),
    }
}
