//! The text of a scrape: `OpenMetrics` 1.0, which Prometheus and its kin read.
//!
//! Each family stands here once, with the help that an operator reads. `docs/metrics.md` lists them all; a
//! test holds the two together. There is no series for each miner: 65,536 of them would be the load.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::exchange::{Counters, LEAD_MICROS_BOUNDS, REPLY_MICROS_BOUNDS};
use crate::metrics::{ProxySample, Sample, ShardSample, TlsCounters};

/// The type of the text, for HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes all that a sample tells.
///
/// # Errors
///
/// None that a `String` could give; the encoder wants one.
pub fn encode(sample: Sample) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sample));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(&mut encoder);
        encode_process(self, &mut families)?;
        encode_shards(self, &mut families)?;
        encode_door(&self.proxies, &mut families)?;
        encode_tls(&self.proxies, &mut families)?;
        encode_miners(&self.proxies, &mut families)?;
        encode_pools(&self.proxies, &mut families)?;
        encode_job_exchange(&self.proxies, &mut families)?;
        encode_shares(&self.proxies, &mut families)
    }
}

/// A family with one number for each proxy: name, help, where it is counted.
type Row = (&'static str, &'static str, fn(&Counters) -> u64);

fn encode_process(sample: &Sample, families: &mut Families<'_, '_>) -> fmt::Result {
    let process = &sample.process;
    families.info(
        "stratum_build",
        "The version of the program",
        &[("version", sample.version)],
    )?;
    families.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970",
        sample.started_unix_seconds,
    )?;
    families.family(
        "process_cpu_seconds",
        "Time that the process spent on CPUs, all threads together",
        MetricType::Counter,
        |encoder| encoder.encode_counter::<NoLabelSet, _, u64>(&process.cpu.as_secs_f64(), None),
    )?;
    families.gauge(
        "process_resident_memory_bytes",
        "Memory of the process that is in use and not swapped out",
        process.resident_bytes,
    )?;
    families.gauge(
        "process_virtual_memory_bytes",
        "Address space of the process",
        process.virtual_bytes,
    )?;
    families.gauge(
        "process_open_fds",
        "Open descriptors of the process; miners take none",
        process.open_descriptors,
    )?;
    families.gauge(
        "process_max_fds",
        "The limit of open descriptors, which also bounds the connections of each shard",
        process.max_descriptors,
    )?;
    let closes = [
        ("displaced", sample.admin.displaced),
        ("timed_out", sample.admin.timed_out),
    ];
    families.counters(
        "stratum_admin_closes",
        "Connections to the admin port that were closed for others or for taking too long",
        closes.map(|(reason, count)| ([("reason", reason)], count)),
    )
}

fn encode_shards(sample: &Sample, families: &mut Families<'_, '_>) -> fmt::Result {
    let numbers: Vec<String> = (0..sample.shards.len()).map(|it| it.to_string()).collect();
    let shards = || {
        let labels = numbers.iter().map(|number| [("shard", number.as_str())]);
        labels.zip(&sample.shards)
    };
    families.gauges(
        "stratum_shard_tick_age_seconds",
        "Time since the shard last ticked; some seconds mean that it is stuck",
        shards().map(|(it, shard)| (it, shard.tick_age.unwrap_or_default().as_secs_f64())),
    )?;
    families.gauges(
        "stratum_shard_connections",
        "Connections of miners that the shard holds now",
        shards().map(|(it, shard)| (it, shard.counters.connections)),
    )?;
    families.gauges(
        "stratum_shard_connections_max",
        "Connections that the shard has room for; further ones wait in the kernel",
        shards().map(|(it, shard)| (it, shard.counters.connections_max)),
    )?;
    let sum = |of: fn(&ShardSample) -> u64| sample.shards.iter().map(of).sum();
    families.counter(
        "stratum_accept_errors",
        "Connections of miners that could not be accepted",
        sum(|shard| shard.counters.accept_errors),
    )?;
    families.counter(
        "stratum_accepts_paced",
        "Times that a shard stopped accepting for up to a quarter of a second, to keep its pace",
        sum(|shard| shard.counters.accepts_paced),
    )?;
    families.counter(
        "stratum_table_full",
        "Times that a shard had no room for another connection",
        sum(|shard| shard.counters.table_full),
    )?;
    families.counter(
        "stratum_receive_buffers_exhausted",
        "Receives that found no buffer and waited for one: more came at once than a shard can take in",
        sum(|shard| shard.counters.buffers_exhausted),
    )?;
    families.counter(
        "stratum_completion_overflows",
        "Times that the kernel had more to tell a shard than fits into its queue; nothing is lost",
        sum(|shard| shard.counters.completion_overflows),
    )?;
    families.counter(
        "stratum_completions_stale",
        "What the kernel told of connections that were closed already; it is passed over",
        sum(|shard| shard.counters.stale_completions),
    )?;
    families.counter(
        "stratum_letters",
        "Letters that one shard wrote to another: how links are, jobs, what goes over shared links",
        sum(|shard| shard.counters.letters),
    )?;
    families.counter(
        "stratum_letters_blocked",
        "Times that letters of one shard to another had to wait for room; nothing is lost",
        sum(|shard| shard.counters.letters_blocked),
    )
}

fn encode_door(proxies: &[ProxySample], families: &mut Families<'_, '_>) -> fmt::Result {
    families.gauges(
        "stratum_door_waiting",
        "Connections that have not said yet who they are, so that no miner is counted for them",
        of_proxies(proxies, |it| it.door.waiting),
    )?;
    families.counters(
        "stratum_door_closes",
        "Connections that ended before they were a miner's, by reason",
        by_reason(proxies, |it| it.door.ends_by_reason()),
    )
}

/// A family with one number for each proxy's TLS.
type TlsRow = (&'static str, &'static str, fn(&TlsCounters) -> u64);

fn encode_tls(proxies: &[ProxySample], families: &mut Families<'_, '_>) -> fmt::Result {
    let gauges: [TlsRow; 3] = [
        (
            "stratum_tls_miners",
            "Miners connected over TLS now",
            |it| it.miners,
        ),
        (
            "stratum_tls_handshakes_queued",
            "Whole TLS hellos of miners that wait for their handshake to begin",
            |it| it.queued,
        ),
        (
            "stratum_tls_handshakes_in_flight",
            "TLS handshakes of miners that have begun and not ended",
            |it| it.in_flight,
        ),
    ];
    for (name, help, of) in gauges {
        families.gauges(name, help, of_proxies(proxies, |it| of(&it.tls)))?;
    }
    let counters: [TlsRow; 5] = [
        (
            "stratum_tls_handshakes_started",
            "TLS handshakes of miners that were begun",
            |it| it.started,
        ),
        (
            "stratum_tls_handshakes_full",
            "Of these, handshakes that were done in full",
            |it| it.full,
        ),
        (
            "stratum_tls_handshakes_resumed",
            "Of these, handshakes that a ticket of an earlier one made shorter",
            |it| it.resumed,
        ),
        (
            "stratum_tls_handshakes_paced",
            "TLS hellos that waited for more than 100 ms, since they came faster than handshakes may begin",
            |it| it.paced,
        ),
        (
            "stratum_tls_sends_kept",
            "Sends over TLS that a miner did not take whole, and whose rest was kept for it",
            |it| it.kept,
        ),
    ];
    for (name, help, of) in counters {
        families.counters(name, help, of_proxies(proxies, |it| of(&it.tls)))?;
    }
    families.counters(
        "stratum_tls_failures",
        "TLS connections of miners that failed, by reason",
        by_reason(proxies, |it| it.tls.failures_by_reason()),
    )?;
    families.gauges(
        "stratum_certificate_expiry_timestamp_seconds",
        "When the first certificate of a listener runs out, in seconds since 1970",
        of_each(proxies, "listener", |it| &it.expiries),
    )?;
    families.gauges(
        "stratum_client_certificate_expiry_timestamp_seconds",
        "When our certificate that a pool is shown runs out, in seconds since 1970",
        of_each(proxies, "pool", |it| &it.client_expiries),
    )
}

fn encode_miners(proxies: &[ProxySample], families: &mut Families<'_, '_>) -> fmt::Result {
    let gauges: [Row; 5] = [
        ("stratum_miners", "Miners connected now", |it| it.miners),
        (
            "stratum_miners_mining",
            "Miners that have subscribed and authorized and get jobs",
            |it| it.mining,
        ),
        (
            "stratum_miners_waiting",
            "Miners whose subscribe waits for a pool",
            |it| it.waiting,
        ),
        (
            "stratum_miners_kept_warm",
            "Miners that are given an old job since no pool is up; nothing that they find counts",
            |it| it.kept_warm,
        ),
        (
            "stratum_worker_names",
            "Names of workers that are known, each for itself and for each link whose pool was asked",
            |it| it.names,
        ),
    ];
    for (name, help, of) in gauges {
        families.gauges(name, help, of_proxies(proxies, |it| of(&it.counters)))?;
    }
    families.counters(
        "stratum_miner_connects",
        "Connections that turned out to be miners'",
        of_proxies(proxies, |it| it.counters.connects),
    )?;
    families.counters(
        "stratum_miner_closes",
        "Connections of miners that ended, by reason",
        by_reason(proxies, |it| it.counters.closes_by_reason()),
    )?;
    let counters: [Row; 8] = [
        (
            "stratum_worker_names_asked",
            "Names of workers for which pools were asked, again for each connection",
            |it| it.names_asked,
        ),
        (
            "stratum_workers_kept_out",
            "Workers kept out at their address for their faults; each shard counts",
            |it| it.kept_out,
        ),
        (
            "stratum_miner_agents_cut",
            "User agents of miners that were cut, since they are longer than they may be",
            |it| it.agents_cut,
        ),
        (
            "stratum_miner_faults_excused",
            "Times that a miner was not closed for its faults, since too many miners were like it",
            |it| it.faults_excused,
        ),
        (
            "stratum_worker_checks",
            "Workers that were looked up in the workers file",
            |it| it.worker_checks,
        ),
        (
            "stratum_miner_sends_cut_short",
            "Sends that a miner did not take whole: it reads slowly, or its network is full",
            |it| it.miners_blocked,
        ),
        (
            "stratum_miner_lines_unreadable",
            "Lines of miners that can't be read",
            |it| it.lines_unreadable,
        ),
        (
            "stratum_jobs_replaced",
            "Jobs that a slow miner was spared, since a newer one came first",
            |it| it.jobs_replaced,
        ),
    ];
    for (name, help, of) in counters {
        families.counters(name, help, of_proxies(proxies, |it| of(&it.counters)))?;
    }
    Ok(())
}

fn encode_pools(proxies: &[ProxySample], families: &mut Families<'_, '_>) -> fmt::Result {
    families.gauges(
        "stratum_pool_links_up",
        "Links to this pool that are ready for shares",
        of_each(proxies, "pool", |it| &it.links_up),
    )?;
    families.counters(
        "stratum_pool_link_ends",
        "Links to pools that ended or could not be made, by reason",
        by_reason(proxies, |it| it.counters.link_ends_by_reason()),
    )?;
    families.gauges(
        "stratum_without_pool_seconds",
        "For how long miners have needed a pool and no link was up, on the shard that waits longest",
        of_proxies(proxies, |it| {
            figure(it.counters.without_link_millis) / 1000.0
        }),
    )?;
    families.counters(
        "stratum_pool_faults",
        "Lines of pools that can't be read or can't be right",
        of_proxies(proxies, |it| it.counters.pool_faults),
    )?;
    families.counters(
        "stratum_jobs",
        "Jobs taken from pools, on each link",
        of_proxies(proxies, |it| it.counters.jobs),
    )?;
    families.gauges(
        "stratum_last_job_timestamp_seconds",
        "When a pool last sent a job, in seconds since 1970; 0 before the first",
        of_proxies(proxies, |it| it.counters.last_job_unix_seconds),
    )?;
    families.gauges(
        "stratum_slots",
        "Miners that the nonce spaces of the links that are up have room for",
        of_proxies(proxies, |it| it.counters.slots),
    )?;
    families.gauges(
        "stratum_slots_taken",
        "Of these, slots that a subscribed miner has",
        of_proxies(proxies, |it| it.counters.slots_taken),
    )?;
    families.gauges(
        "stratum_unread_bytes",
        "Bytes that wait for miners that take none, of all shards together",
        of_proxies(proxies, |it| it.counters.unread_bytes),
    )?;
    families.counters(
        "stratum_slots_unrested",
        "Slots handed out before the jobs of their last miner were gone: work may be done twice",
        of_proxies(proxies, |it| it.counters.slots_unrested),
    )
}

fn encode_job_exchange(proxies: &[ProxySample], families: &mut Families<'_, '_>) -> fmt::Result {
    let counters: [Row; 4] = [
        (
            "stratum_early_jobs_started",
            "Jobs on which miners of a link were started before it announced them",
            |it| it.early_jobs,
        ),
        (
            "stratum_early_jobs_confirmed",
            "Of these, jobs that their link announced afterwards",
            Counters::early_confirmed,
        ),
        (
            "stratum_early_jobs_missed",
            "Of these, jobs that it did not announce in time: miners went back to the last one",
            |it| it.early_missed,
        ),
        (
            "stratum_shares_held",
            "Shares that waited for their link to announce such a job, or for their worker to be taken",
            |it| it.shares_held,
        ),
    ];
    for (name, help, of) in counters {
        families.counters(name, help, of_proxies(proxies, |it| of(&it.counters)))?;
    }
    families.histogram(
        "stratum_job_exchange_lead_seconds",
        "Time from the start of a link's miners on a job to the link's own announcement of it",
        proxies,
        &LEAD_MICROS_BOUNDS,
        |it| (&it.leads, it.lead_micros),
    )
}

fn encode_shares(proxies: &[ProxySample], families: &mut Families<'_, '_>) -> fmt::Result {
    let counters: [Row; 8] = [
        (
            "stratum_submits",
            "Submits read from miners, whatever came of them",
            |it| it.submits,
        ),
        (
            "stratum_shares_accepted",
            "Shares that the pool accepted",
            |it| it.accepted,
        ),
        (
            "stratum_shares_rejected",
            "Shares that the pool rejected",
            |it| it.rejected,
        ),
        (
            "stratum_shares_immediate_rejected",
            "Of these, shares that their miners had been told at once are accepted",
            |it| it.immediate_rejected,
        ),
        (
            "stratum_shares_immediate_lost",
            "Shares that their miners had been told at once are accepted, and that no pool answered",
            |it| it.immediate_lost,
        ),
        (
            "stratum_shares_resent",
            "Shares sent once more on a link that was taken up again",
            |it| it.resent,
        ),
        (
            "stratum_shares_not_remembered",
            "Shares beyond those of a job that are remembered, so that a duplicate would reach the pool",
            |it| it.not_remembered,
        ),
        (
            "stratum_pool_answers_unexpected",
            "Answers of pools to no share that waits: too late, twice or made up",
            |it| it.answers_unexpected,
        ),
    ];
    for (name, help, of) in counters {
        families.counters(name, help, of_proxies(proxies, |it| of(&it.counters)))?;
    }
    families.counters(
        "stratum_shares_accepted_work_hashes",
        "Hashes that the accepted shares stand for at the pool's target; its rate is the hashrate",
        of_proxies(proxies, |it| it.counters.hashes()),
    )?;
    families.counters(
        "stratum_requests_refused",
        "Requests answered with an error by the proxy and not by a pool, by reason; link_lost and \
         pool_silent are shares that no pool judged",
        by_reason(proxies, |it| it.counters.refused_by_reason()),
    )?;
    families.histogram(
        "stratum_share_reply_seconds",
        "Time from a share's submit to the pool's answer",
        proxies,
        &REPLY_MICROS_BOUNDS,
        |it| (&it.replies, it.reply_micros),
    )
}

/// One value for each proxy.
fn of_proxies<'a, V>(
    proxies: &'a [ProxySample],
    value: impl Fn(&ProxySample) -> V,
) -> impl Iterator<Item = ([(&'static str, &'a str); 1], V)> {
    let labelled = move |proxy: &'a ProxySample| ([("proxy", proxy.name.as_str())], value(proxy));
    proxies.iter().map(labelled)
}

/// One value for each proxy and each of its pools or listeners.
fn of_each<'a>(
    proxies: &'a [ProxySample],
    label: &'static str,
    values: fn(&ProxySample) -> &[(String, u64)],
) -> impl Iterator<Item = ([(&'static str, &'a str); 2], u64)> {
    proxies.iter().flat_map(move |proxy| {
        let labels = move |one: &'a str| [("proxy", proxy.name.as_str()), (label, one)];
        values(proxy)
            .iter()
            .map(move |(one, value)| (labels(one), *value))
    })
}

/// One value for each proxy and reason.
fn by_reason<'a, I: Iterator<Item = (&'static str, u64)> + 'a>(
    proxies: &'a [ProxySample],
    counts: fn(&'a ProxySample) -> I,
) -> impl Iterator<Item = ([(&'static str, &'a str); 2], u64)> {
    proxies.iter().flat_map(move |proxy| {
        let labels = move |reason| [("proxy", proxy.name.as_str()), ("reason", reason)];
        counts(proxy).map(move |(reason, count)| (labels(reason), count))
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format has floats, and readers round"
)]
const fn figure(count: u64) -> f64 {
    count as f64
}

fn seconds(micros: u64) -> f64 {
    figure(micros) / 1e6
}

/// Writes families: help, type, and then all samples of one.
struct Families<'a, 'b>(&'a mut DescriptorEncoder<'b>);

type MetricEncoder<'a> = prometheus_client::encoding::MetricEncoder<'a>;

impl Families<'_, '_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut self.0.encode_descriptor(name, help, None, kind)?)
    }

    fn info(&mut self, name: &str, help: &str, labels: &impl EncodeLabelSet) -> fmt::Result {
        self.family(name, help, MetricType::Info, |it| it.encode_info(labels))
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |it| it.encode_gauge(&value))
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |encoder| {
            for (labels, value) in values {
                encoder.encode_family(&labels)?.encode_gauge(&value)?;
            }
            Ok(())
        })
    }

    /// One for each proxy: how many fall into each bucket, and the sum of all in microseconds.
    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        proxies: &[ProxySample],
        bounds: &[u64],
        of: fn(&Counters) -> (&[u64], u64),
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, |encoder| {
            for proxy in proxies {
                let (counts, micros) = of(&proxy.counters);
                let bounds = bounds.iter().map(|&bound| seconds(bound));
                let bounds = bounds.chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
                encoder
                    .encode_family(&[("proxy", proxy.name.as_str())])?
                    .encode_histogram::<NoLabelSet>(
                        seconds(micros),
                        counts.iter().sum(),
                        &buckets,
                        None,
                    )?;
            }
            Ok(())
        })
    }

    /// The encoder adds `_total` to the name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |encoder| {
            encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |encoder| {
            for (labels, value) in values {
                encoder
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(proxies: Vec<ProxySample>) -> String {
        encode(Sample {
            version: "1.2.3",
            proxies,
            shards: vec![ShardSample::default(); 2],
            ..Sample::default()
        })
        .unwrap()
    }

    #[track_caller]
    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|it| it == line), "no {line} in:\n{text}");
    }

    #[test]
    fn every_number_has_its_line() {
        let mut counters = Counters {
            miners: 3,
            accepted: 9,
            without_link_millis: 1500,
            reply_micros: 2_000_000,
            early_jobs: 5,
            early_missed: 1,
            shares_held: 7,
            lead_micros: 40_000,
            ..Counters::default()
        };
        counters.closes[1] = 4;
        counters.replies[0] = 1;
        counters.replies[9] = 1;
        counters.replies[14] = 1;
        counters.leads[3] = 4;
        let text = text(vec![ProxySample {
            name: "zcash".to_owned(),
            counters,
            links_up: vec![("stratum+tcp://a:1".to_owned(), 2)],
            expiries: vec![("0.0.0.0:3333".to_owned(), 8)],
            ..ProxySample::default()
        }]);
        for line in [
            "stratum_build_info{version=\"1.2.3\"} 1",
            "stratum_shard_connections{shard=\"1\"} 0",
            "stratum_miners{proxy=\"zcash\"} 3",
            "stratum_shares_accepted_total{proxy=\"zcash\"} 9",
            "stratum_miner_closes_total{proxy=\"zcash\",reason=\"reset\"} 4",
            "stratum_pool_links_up{proxy=\"zcash\",pool=\"stratum+tcp://a:1\"} 2",
            "stratum_certificate_expiry_timestamp_seconds{proxy=\"zcash\",listener=\"0.0.0.0:3333\"} 8",
            "stratum_without_pool_seconds{proxy=\"zcash\"} 1.5",
            "stratum_share_reply_seconds_sum{proxy=\"zcash\"} 2.0",
            "stratum_share_reply_seconds_count{proxy=\"zcash\"} 3",
            "stratum_share_reply_seconds_bucket{le=\"0.001\",proxy=\"zcash\"} 1",
            "stratum_share_reply_seconds_bucket{le=\"1.0\",proxy=\"zcash\"} 2",
            "stratum_share_reply_seconds_bucket{le=\"30.0\",proxy=\"zcash\"} 2",
            "stratum_share_reply_seconds_bucket{le=\"+Inf\",proxy=\"zcash\"} 3",
            "stratum_early_jobs_started_total{proxy=\"zcash\"} 5",
            "stratum_early_jobs_confirmed_total{proxy=\"zcash\"} 4",
            "stratum_early_jobs_missed_total{proxy=\"zcash\"} 1",
            "stratum_shares_held_total{proxy=\"zcash\"} 7",
            "stratum_job_exchange_lead_seconds_sum{proxy=\"zcash\"} 0.04",
            "stratum_job_exchange_lead_seconds_bucket{le=\"0.005\",proxy=\"zcash\"} 0",
            "stratum_job_exchange_lead_seconds_bucket{le=\"0.01\",proxy=\"zcash\"} 4",
            "stratum_job_exchange_lead_seconds_bucket{le=\"+Inf\",proxy=\"zcash\"} 4",
        ] {
            has(&text, line);
        }
    }

    #[test]
    fn no_name_breaks_out_of_its_label() {
        let text = text(vec![ProxySample {
            name: "a\"}\n\\".to_owned(),
            ..ProxySample::default()
        }]);
        has(&text, r#"stratum_miners{proxy="a\"}\n\\"} 0"#);
    }
}
