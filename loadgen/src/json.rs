//! The report as JSON: seconds for times, counts as numbers, reasons as objects.

use std::time::Duration;

use stratum_uring::wire::encode;

use crate::miner::Wrong;
use crate::report::{Arrivals, Percentiles, Report, is_saturated};
use crate::tally::Reasons;
use crate::usage::Usage;

/// One object, with a newline behind it.
pub(crate) fn report(report: &Report) -> Vec<u8> {
    let tally = &report.tally;
    let mut out = Vec::new();
    object(&mut out, |it| {
        it.boolean("clean", report.is_clean());
        it.object("miners", |it| {
            it.number("wanted", report.miners);
            it.number("mining", report.mining);
            it.number("silent", report.silent);
            it.number("slow_readers", report.slow);
            it.number("subscribes", tally.subscribes);
            it.reasons("refused", &tally.refused);
        });
        it.object("connects", |it| {
            it.number("count", tally.connects);
            it.time("seconds", report.connect_time());
            it.time("ramp_seconds", report.ramp_time());
            it.number("churned", tally.churned);
            it.number("tls_full", tally.tls_full);
            it.number("tls_resumed", tally.tls_resumed);
            it.object("first_job_seconds", |it| {
                it.percentiles(report.handshakes())
            });
            it.reasons("failed", &tally.connects_failed);
        });
        it.object("jobs", |it| {
            let fan_out = report.fan_out();
            it.number("received", tally.jobs_received);
            it.number("received_in_run", tally.jobs_received_in_run);
            it.number("announced", fan_out.jobs);
            it.number("to_all", fan_out.to_all);
            it.object("fan_out_seconds", |it| it.arrivals(fan_out.typical));
            it.object("fan_out_worst_seconds", |it| it.arrivals(fan_out.worst));
        });
        it.object("shares", |it| {
            match report.saturate {
                Some(in_flight) => it.number("in_flight", u64::from(in_flight)),
                None => it.float("rate", report.share_rate),
            }
            it.float("rate_reached", report.share_rate_reached());
            it.time("seconds", report.run);
            it.number("sent", tally.shares_sent);
            it.number("accepted", tally.shares_accepted);
            it.number("rejected", report.rejected());
            it.reasons("rejected_reasons", &tally.shares_rejected);
            it.number("lost", tally.shares_lost);
            it.number("abandoned", tally.shares_abandoned);
            it.number("unsent", tally.shares_unsent);
            it.boolean("latency_from_due", report.saturate.is_none());
            it.object("latency_seconds", |it| it.percentiles(report.latency()));
        });
        it.object("wrong", |it| {
            it.number("total", tally.wrong_total());
            for (wrong, many) in Wrong::ALL.into_iter().zip(tally.wrong) {
                it.number(&wrong.text().replace(' ', "_"), many);
            }
        });
        it.reasons("disconnects", &tally.disconnects);
        if let Some(proxy) = report.proxy {
            it.object("proxy", |it| {
                let cpu = |from: Usage, to: Usage| to.cpu.saturating_sub(from.cpu);
                it.time("cpu_ramp_seconds", cpu(proxy.start, proxy.ramped));
                it.time("cpu_run_seconds", cpu(proxy.ramped, proxy.end));
                it.time("cpu_grain_seconds", proxy.end.cpu_grain);
                it.number("rss_bytes", proxy.end.rss_kib * 1024);
                it.number("rss_peak_bytes", proxy.end.rss_peak_kib * 1024);
                it.number("rss_start_bytes", proxy.start.rss_kib * 1024);
                it.number("rss_idle_bytes", proxy.ramped.rss_kib * 1024);
            });
        }
        it.object("loadgen", |it| {
            it.boolean("saturated", report.is_run_saturated());
            it.boolean("saturated_while_connecting", report.is_ramp_saturated());
            it.array("threads", &tally.threads, |it, thread| {
                it.float("busy", thread.run.fraction());
                it.float("working", thread.run.working_fraction());
                it.float("busy_while_connecting", thread.ramp.fraction());
                it.float("working_while_connecting", thread.ramp.working_fraction());
                it.boolean("saturated", is_saturated(thread.run));
            });
            it.object("lateness_seconds", |it| it.percentiles(report.lateness()));
        });
        if let Some(failure) = &report.failure {
            it.text("failure", failure);
        }
    });
    out.push(b'\n');
    out
}

/// The inside of an object that is being written.
pub(crate) struct Members<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

pub(crate) fn object(out: &mut Vec<u8>, write: impl FnOnce(&mut Members<'_>)) {
    out.push(b'{');
    write(&mut Members { out, empty: true });
    out.push(b'}');
}

impl Members<'_> {
    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        encode::append_string(self.out, key);
        self.out.push(b':');
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        encode::append_u64(self.out, value);
    }

    /// `value` is finite.
    fn float(&mut self, key: &str, value: f64) {
        self.key(key);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    pub(crate) fn boolean(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    pub(crate) fn time(&mut self, key: &str, value: Duration) {
        self.float(key, value.as_secs_f64());
    }

    pub(crate) fn object(&mut self, key: &str, write: impl FnOnce(&mut Members<'_>)) {
        self.key(key);
        object(self.out, write);
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        encode::append_string(self.out, value);
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[String]) {
        self.key(key);
        self.out.push(b'[');
        for (place, value) in values.iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            encode::append_string(self.out, value);
        }
        self.out.push(b']');
    }

    pub(crate) fn array<T>(
        &mut self,
        key: &str,
        items: &[T],
        write: impl Fn(&mut Members<'_>, &T),
    ) {
        self.key(key);
        self.out.push(b'[');
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            object(self.out, |it| write(it, item));
        }
        self.out.push(b']');
    }

    fn arrivals(&mut self, arrivals: Arrivals) {
        if let Some(first) = arrivals.first {
            self.time("first", first);
        }
        self.time("median", arrivals.median);
        self.time("p99", arrivals.p99);
        self.time("last", arrivals.last);
    }

    pub(crate) fn reasons(&mut self, key: &str, reasons: &Reasons) {
        self.object(key, |it| {
            for (reason, many) in reasons {
                it.number(reason, *many);
            }
        });
    }

    fn percentiles(&mut self, percentiles: Percentiles) {
        self.time("p50", percentiles.p50);
        self.time("p90", percentiles.p90);
        self.time("p99", percentiles.p99);
        self.time("p999", percentiles.p999);
        self.time("max", percentiles.max);
    }
}

#[cfg(test)]
mod tests {
    use stratum_uring::wire::Raw;

    use super::*;

    fn member<'a>(object: Raw<'a>, key: &str) -> Raw<'a> {
        let mut members = object.members();
        let found = members.find(|(name, _)| name.as_str() == Some(key.as_bytes()));
        found.unwrap_or_else(|| panic!("no {key}")).1
    }

    #[test]
    fn the_report_is_json_that_reads_back() {
        let mut example = crate::report::tests::example();
        example.failure = Some("a \"log\"\nof two lines".to_owned());
        let mut line = b"{\"result\":".to_vec();
        line.extend_from_slice(&report(&example));
        line.push(b'}');
        let mut reader = stratum_uring::wire::Reader::new();
        let all = reader.read(&line).unwrap().result.unwrap();
        assert_eq!(member(all, "clean").as_bool(), Some(false));
        let shares = member(all, "shares");
        assert_eq!(member(shares, "sent").as_u64(), Some(10_000));
        let stale = member(member(shares, "rejected_reasons"), "21 stale");
        assert_eq!(stale.as_u64(), Some(2));
        let p50 = member(member(shares, "latency_seconds"), "p50");
        assert!((p50.as_f64().unwrap() - 0.05).abs() < 0.001);
        let fan_out = member(member(all, "jobs"), "fan_out_seconds");
        assert_eq!(member(fan_out, "last").as_f64(), Some(0.009));
        let threads = member(member(all, "loadgen"), "threads");
        let busy = threads
            .elements()
            .map(|thread| member(thread, "busy").as_f64());
        assert_eq!(busy.collect::<Vec<_>>(), [Some(0.34), Some(0.31)]);
        let proxy = member(all, "proxy");
        assert_eq!(member(proxy, "cpu_run_seconds").as_f64(), Some(1.25));
        assert_eq!(member(proxy, "cpu_grain_seconds").as_f64(), Some(0.01));
    }
}
