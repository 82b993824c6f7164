//! What an operator reads: one line for each event that somebody acts on, none for each share.

use std::array;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::exchange::{CloseReason, Counters, Fact, LinkEnd};
use crate::metrics::DoorEnd;
use crate::proto::share::Reject;
use crate::proto::time::Now;
use crate::shard::cures;
use crate::shard::pool_stream::PoolTls;
use crate::tls::TlsFailure;

/// The same complaint is logged again only after this long.
const QUIET: Duration = Duration::from_secs(10);

/// A hello that waited longer than this for its handshake is told of.
const HANDSHAKE_WAIT_TOLD: Duration = Duration::from_secs(2);

/// Lets a complaint through now and then.
#[derive(Debug, Default)]
struct Throttle {
    last: Cell<Option<Duration>>,
}

impl Throttle {
    fn passes(&self, now: Now) -> bool {
        let passes = self.last.get().is_none_or(|last| now.since(last) >= QUIET);
        if passes {
            self.last.set(Some(now.since_start));
        }
        passes
    }
}

/// Writes the log of one proxy on one shard.
#[derive(Debug)]
pub(crate) struct Reporter {
    proxy: String,
    shard: usize,
    /// The pools' addresses as they are configured.
    pools: Vec<String>,
    full: Throttle,
    immediate_lost: Throttle,
    /// Tries that fail alike, one after the other.
    link_failed: Throttle,
    failure: Cell<Option<LinkEnd>>,
    pool_text: Throttle,
    reconnect_refused: Throttle,
    table_full: Throttle,
    accept_failed: Throttle,
    worker_denied: Throttle,
    handshakes_behind: Throttle,
    /// For each end in the door.
    door: [Throttle; DoorEnd::ALL.len()],
    /// For each way in which TLS fails.
    tls_failures: [Throttle; TlsFailure::ALL.len()],
    /// For each end of a miner.
    closes: [Throttle; CloseReason::ALL.len()],
}

impl Reporter {
    pub(crate) fn new(proxy: String, shard: usize, pools: Vec<String>) -> Self {
        Self {
            proxy,
            shard,
            pools,
            full: Throttle::default(),
            immediate_lost: Throttle::default(),
            link_failed: Throttle::default(),
            failure: Cell::new(None),
            pool_text: Throttle::default(),
            reconnect_refused: Throttle::default(),
            table_full: Throttle::default(),
            accept_failed: Throttle::default(),
            worker_denied: Throttle::default(),
            handshakes_behind: Throttle::default(),
            door: array::from_fn(|_| Throttle::default()),
            tls_failures: array::from_fn(|_| Throttle::default()),
            closes: array::from_fn(|_| Throttle::default()),
        }
    }

    fn pool(&self, index: usize) -> &str {
        self.pools.get(index).map_or("", String::as_str)
    }

    pub(crate) fn connected(&self, peer: SocketAddr) {
        let Self { proxy, shard, .. } = self;
        log::debug!("proxy={proxy} shard={shard} miner={peer}: connected");
    }

    pub(crate) fn tls_opened(&self, peer: SocketAddr, version: &str, is_resumed: bool) {
        let Self { proxy, shard, .. } = self;
        let how = if is_resumed { "resumed" } else { "full" };
        log::debug!("proxy={proxy} shard={shard} miner={peer}: {version}, handshake {how}");
    }

    /// A hello has waited for its turn. A long wait is told now and then: miners may give up.
    pub(crate) fn handshake_waited(&self, now: Now, waited: Duration) {
        if waited < HANDSHAKE_WAIT_TOLD || !self.handshakes_behind.passes(now) {
            return;
        }
        let Self { proxy, shard, .. } = self;
        log::warn!(
            "proxy={proxy} shard={shard}: a miner waited {:.1} s for its TLS handshake, since many came at \
             once; more --cores or a higher limits.tls_handshakes_per_second shorten that, and P-256 keys \
             cost a fifth of RSA's (stratum_tls_handshakes_queued)",
            waited.as_secs_f64()
        );
    }

    /// A miner's TLS failed. Of each kind one is a warning, now and then.
    pub(crate) fn tls_failed(&self, now: Now, peer: SocketAddr, failure: TlsFailure, detail: &str) {
        let Self { proxy, shard, .. } = self;
        let reason = failure.reason();
        log::debug!(
            "proxy={proxy} shard={shard} miner={peer} reason={reason}: TLS failed: {detail}"
        );
        // Scanners come and go.
        let is_everyday = matches!(
            failure,
            TlsFailure::PeerLeft | TlsFailure::TimedOut | TlsFailure::NotTls
        );
        if !is_everyday && self.tls_failures[failure as usize].passes(now) {
            let cure = match failure {
                TlsFailure::Incompatible => {
                    "; its firmware may know TLS 1.1 alone, or ciphers that nobody should use: let it \
                     come without TLS, with `mode: auto`"
                }
                TlsFailure::PeerAlert => {
                    "; it does not take our certificate, which may have another name, a signer that it \
                     does not know, or be expired"
                }
                TlsFailure::MadeRoom => {
                    "; many begin TLS here and don't go on: `allow`, `deny` or connections_per_address_max \
                     keep them out, a higher limits.tls_handshakes_max gives each more time"
                }
                _ => "",
            };
            log::warn!(
                "proxy={proxy} shard={shard} miner={peer} reason={reason}: TLS failed: {detail}{cure} \
                 (stratum_tls_failures_total counts all of them)"
            );
        }
    }

    /// A connection ended in the door. What somebody can mend is a warning, now and then.
    pub(crate) fn ended_in_door(&self, now: Now, peer: SocketAddr, end: DoorEnd) {
        let Self { proxy, shard, .. } = self;
        let reason = end.reason();
        log::debug!("proxy={proxy} shard={shard} miner={peer} reason={reason}: ended in the door");
        if let Some(cure) = cures::of_door(end)
            && self.door[end as usize].passes(now)
        {
            log::warn!(
                "proxy={proxy} shard={shard} miner={peer} reason={reason}: turned away: {cure} \
                 (stratum_door_closes_total counts all of them)"
            );
        }
    }

    /// So many connections were closed, since `deny` names their networks now.
    pub(crate) fn denied_now(&self, count: usize) {
        if count > 0 {
            let Self { proxy, shard, .. } = self;
            log::info!(
                "proxy={proxy} shard={shard}: SIGHUP: {count} connections of denied networks were closed"
            );
        }
    }

    /// A load balancer has told for whom it connected.
    pub(crate) fn named(&self, peer: SocketAddr, via: SocketAddr) {
        let Self { proxy, shard, .. } = self;
        log::debug!("proxy={proxy} shard={shard} miner={peer}: connects through {via}");
    }

    /// A miner's connection is over. Where one of our limits ended it that is a warning, now and then.
    pub(crate) fn disconnected(
        &self,
        now: Now,
        peer: SocketAddr,
        worker: Option<&str>,
        end: CloseReason,
    ) {
        let Self { proxy, shard, .. } = self;
        let (worker, reason) = (worker.unwrap_or("-"), end.reason());
        log::debug!(
            "proxy={proxy} shard={shard} miner={peer} worker={worker:?} reason={reason}: disconnected"
        );
        if let Some(cure) = cures::of_close(end)
            && self.closes[end as usize].passes(now)
        {
            log::warn!(
                "proxy={proxy} shard={shard} miner={peer} worker={worker:?} reason={reason}: closed: {cure} \
                 (stratum_miner_closes_total counts all of them)"
            );
        }
    }

    pub(crate) fn subscribed(&self, peer: SocketAddr, agent: &str) {
        let Self { proxy, shard, .. } = self;
        log::debug!("proxy={proxy} shard={shard} miner={peer} agent={agent:?}: subscribed");
    }

    pub(crate) fn authorized(&self, peer: SocketAddr, worker: &str) {
        let Self { proxy, shard, .. } = self;
        log::debug!("proxy={proxy} shard={shard} miner={peer} worker={worker:?}: authorized");
    }

    pub(crate) fn worker_denied(
        &self,
        now: Now,
        peer: SocketAddr,
        worker: &str,
        reject: Reject,
        said: &str,
    ) {
        let Self { proxy, shard, .. } = self;
        let why = if said.is_empty() {
            reject.to_string()
        } else {
            format!("its pool says {said:?}")
        };
        if self.worker_denied.passes(now) {
            log::warn!(
                "proxy={proxy} shard={shard} miner={peer} worker={worker:?}: may not mine: {why} (told \
                 every 10 s at the most; -v tells all)"
            );
        } else {
            log::debug!(
                "proxy={proxy} shard={shard} miner={peer} worker={worker:?}: may not mine: {why}"
            );
        }
    }

    pub(crate) fn too_many_faults(&self, peer: SocketAddr, worker: Option<&str>, kept_out: bool) {
        let Self { proxy, shard, .. } = self;
        let then = match (worker, kept_out) {
            (Some(_), true) => {
                "its worker is kept out at this address for limits.rejected_ban_seconds"
            }
            (Some(_), false) => "its worker is not kept out, since others mine well under it there",
            (None, _) => "nobody is kept out, since no worker of its own is to blame",
        };
        let worker = worker.unwrap_or("-");
        log::warn!(
            "proxy={proxy} shard={shard} miner={peer} worker={worker:?}: too many of its last shares were \
             wrong (malformed, twice, above the target, or for jobs that were never given); it is closed, \
             and {then}"
        );
    }

    pub(crate) fn share_refused(&self, peer: SocketAddr, reject: Reject) {
        let Self { proxy, shard, .. } = self;
        log::warn!(
            "proxy={proxy} shard={shard} miner={peer}: a share was refused here: {reject} (told once a \
             minute)"
        );
    }

    pub(crate) fn accept_failed(&self, now: Now, error: &io::Error) {
        let Self { proxy, shard, .. } = self;
        if self.accept_failed.passes(now) {
            log::warn!("proxy={proxy} shard={shard}: a miner could not be accepted: {error}");
        }
    }

    pub(crate) fn table_full(&self, now: Now, held: impl FnOnce() -> usize) {
        let Self { proxy, shard, .. } = self;
        if self.table_full.passes(now) {
            let held = held();
            log::error!(
                "proxy={proxy} shard={shard}: no room for another connection, this shard holds {held}; \
                 miners that the kernel gives to it wait; start with more --cores, or raise the \
                 descriptor limit (`ulimit -n`, LimitNOFILE=), which bounds each shard"
            );
        }
    }

    /// A link to a pool has shaken hands.
    pub(crate) fn pool_secured(&self, pool: usize, tls: &PoolTls) {
        let Self { proxy, shard, .. } = self;
        let (pool, agreed) = (self.pool(pool), tls.agreed());
        if tls.insecure {
            log::warn!(
                "proxy={proxy} shard={shard} pool={pool}: {agreed}; INSECURE: nobody knows who answers \
                 there (insecure: true)"
            );
        } else {
            log::debug!("proxy={proxy} shard={shard} pool={pool}: {agreed}");
        }
    }

    pub(crate) fn space_shared(&self, pool: usize, extranonce1: &str, other: usize) {
        let Self { proxy, shard, .. } = self;
        let pool = self.pool(pool);
        log::error!(
            "proxy={proxy} shard={shard} pool={pool}: the pool gives this shard and shard {other} the same \
             extranonce1 {extranonce1:?}; they search different parts of it, but a shard with more miners \
             than its part repeats another's work: ask the pool, or start with --cores 1"
        );
    }

    /// Logs a fact of the exchange.
    pub(crate) fn report(&self, now: Now, fact: &Fact) {
        let Self { proxy, shard, .. } = self;
        match fact {
            Fact::LinkUp {
                pool,
                resumed,
                extranonce1,
                slot_len,
                capacity,
            } => {
                let pool = self.pool(*pool);
                let how = if *resumed {
                    "the session goes on"
                } else {
                    "a new session"
                };
                log::info!(
                    "proxy={proxy} shard={shard} pool={pool}: link up, {how}; extranonce1 {extranonce1:?}, \
                     {slot_len} slot bytes, room for {capacity} miners"
                );
                if capacity_is_small(*slot_len) {
                    log::warn!(
                        "proxy={proxy} shard={shard} pool={pool}: each link has room for {capacity} \
                         miners only, since so the pool's extranonce1 or slot_bytes leave it"
                    );
                }
            }
            Fact::LinkLost {
                pool,
                end: LinkEnd::Unused,
                ..
            } => {
                let pool = self.pool(*pool);
                log::info!(
                    "proxy={proxy} shard={shard} pool={pool}: link let go, no miner needs it"
                );
            }
            Fact::LinkLost {
                pool,
                end,
                detail,
                was_up,
                pending,
            } => {
                let pool = self.pool(*pool);
                let reason = end.reason();
                let colon = if detail.is_empty() { "" } else { ": " };
                if *was_up {
                    log::warn!(
                        "proxy={proxy} shard={shard} pool={pool} reason={reason}: link \
                         lost{colon}{detail}; {pending} shares wait for it"
                    );
                } else if self.link_failed.passes(now) || self.failure.get() != Some(*end) {
                    self.failure.set(Some(*end));
                    log::warn!(
                        "proxy={proxy} shard={shard} pool={pool} reason={reason}: link \
                         failed{colon}{detail}"
                    );
                }
            }
            Fact::SpareUp { pool, .. } => {
                let pool = self.pool(*pool);
                log::info!(
                    "proxy={proxy} shard={shard} pool={pool}: a link stands by, ready to serve"
                );
            }
            Fact::TakenOver {
                from,
                to,
                extranonce1,
                borrowed,
                returned,
                told,
                closed,
                ..
            } => {
                let (from, to) = (self.pool(*from), self.pool(*to));
                let how = match (*borrowed, *returned) {
                    (true, _) => "another shard's link to it takes over",
                    (false, true) => "well again, miners go back to it",
                    (false, false) => "takes over",
                };
                log::warn!(
                    "proxy={proxy} shard={shard} pool={to}: {how} from {from}; extranonce1 \
                     {extranonce1:?}; {told} miners were told, {closed} can't be told and are closed, to \
                     come back"
                );
            }
            Fact::Lent {
                pool,
                shard: guest,
                slots,
            } => {
                let pool = self.pool(*pool);
                log::info!(
                    "proxy={proxy} shard={shard} pool={pool}: lends {slots} slots of its link to shard \
                     {guest}"
                );
            }
            Fact::Borrowed { pool, shard: host } => {
                let pool = self.pool(*pool);
                log::info!(
                    "proxy={proxy} shard={shard} pool={pool}: has a part of the link of shard {host}"
                );
            }
            Fact::LeaseEnded {
                pool,
                shard: host,
                pending,
            } => {
                let pool = self.pool(*pool);
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: the link of shard {host}, of which this one \
                     has a part, is lost or given other nonce space; {pending} shares are lost with it"
                );
            }
            Fact::ReturnFailed { pool, wait } => {
                let (pool, wait) = (self.pool(*pool), wait.as_secs_f64());
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: did not stay well after miners went back to \
                     it; the next time it must be for {wait} s"
                );
            }
            Fact::NoRoomToReturn { pool, room, miners } => {
                let pool = self.pool(*pool);
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: well again, but its links have room for \
                     {room} of {miners} miners only, who stay where they are; raise links_per_shard_max"
                );
            }
            Fact::PoolChanged { from, to } => {
                let (from, to) = (self.pool(*from), self.pool(*to));
                log::warn!("proxy={proxy} shard={shard} pool={to}: tried next, in place of {from}");
            }
            Fact::SharesLost { pool, shares } => {
                let pool = self.pool(*pool);
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: {shares} shares were answered as stale, \
                     the session on which they were found is over"
                );
            }
            Fact::ImmediateLost { pool, shares } => {
                let pool = self.pool(*pool);
                if self.immediate_lost.passes(now) {
                    log::warn!(
                        "proxy={proxy} shard={shard} pool={pool}: {shares} shares are lost that their \
                         miners were told are accepted, as `reply: immediate` has it; \
                         stratum_shares_immediate_lost_total counts all of them"
                    );
                }
            }
            Fact::Moved { pool, told, closed } => {
                let pool = self.pool(*pool);
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: other nonce space; {told} miners were \
                     told, {closed} can't be told and are closed, to come back"
                );
            }
            Fact::WarmBegins { pool, miners } => {
                let pool = self.pool(*pool);
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: no pool is up, this one is tried; {miners} \
                     miners are kept warm with the last job, and NOTHING THAT THEY FIND COUNTS"
                );
            }
            Fact::WarmEnds { miners, seconds } => {
                log::warn!(
                    "proxy={proxy} shard={shard}: {miners} miners are no longer kept warm with an old job; \
                     they were for {seconds} s"
                );
            }
            Fact::ShareRejected { pool, code, text } => {
                let pool = self.pool(*pool);
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: the pool rejected a share: [{code}] {text} \
                     (told once a minute)"
                );
            }
            Fact::JobsAlike { pool, shard: other } => {
                let pool = self.pool(*pool);
                log::info!(
                    "proxy={proxy} shard={shard} pool={pool}: announces the same jobs here and on shard \
                     {other}; miners start on whichever comes first"
                );
            }
            Fact::EarlyMissed { pool, shard: other } => {
                let pool = self.pool(*pool);
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: announced a job on shard {other} and not \
                     here; miners that were started on it are back on the last one, and shard {other} is \
                     not believed for a while (told once a minute)"
                );
            }
            Fact::JobOdd { pool, text } => {
                let pool = self.pool(*pool);
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: {text} (its jobs are passed \
                     on)"
                );
            }
            Fact::Full { miners, links } => {
                if self.full.passes(now) {
                    log::error!(
                        "proxy={proxy} shard={shard}: full, a miner was refused; {miners} miners have the \
                         slots of {links} links; raise links_per_shard_max, or miners_per_link where \
                         slot_bytes leave room, or start with more --cores"
                    );
                }
            }
            Fact::PoolText { pool, text } => {
                let pool = self.pool(*pool);
                if !self.pool_text.passes(now) {
                    return;
                }
                log::info!("proxy={proxy} shard={shard} pool={pool}: the pool says {text:?}");
            }
            Fact::ReconnectRefused { pool, host } => {
                let pool = self.pool(*pool);
                if !self.reconnect_refused.passes(now) {
                    return;
                }
                log::warn!(
                    "proxy={proxy} shard={shard} pool={pool}: the pool wants us at {host:?}, which is \
                     not its own host and not in reconnect_hosts: passed over"
                );
            }
            Fact::NonceSpaceShared { pool, extranonce1 } => {
                let pool = self.pool(*pool);
                log::error!(
                    "proxy={proxy} shard={shard} pool={pool}: the pool gives two links the same \
                     extranonce1 {extranonce1}; they share its slots"
                );
            }
            // Told where the peer's address is known.
            Fact::ShareRefused { .. }
            | Fact::WorkerDenied { .. }
            | Fact::TooManyFaults { .. }
            | Fact::Subscribed { .. }
            | Fact::Authorized { .. }
            | Fact::MinerClosed { .. } => {}
        }
    }
}

const fn capacity_is_small(slot_len: u8) -> bool {
    slot_len < 2
}

/// The line of every minute: how one proxy does.
pub(crate) fn log_summary(
    proxy: &str,
    rate_unit: &str,
    before: &Counters,
    now: &Counters,
    seconds: f64,
) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "figures for people, of three digits"
    )]
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let accepted = now.accepted - before.accepted;
    let rejected = now.rejected - before.rejected;
    let unanswered = now.unanswered() - before.unanswered();
    let submits = now.submits - before.submits;
    let shares = 60.0 * rate(now.submits, before.submits);
    let hashrate = (now.hashes() - before.hashes()) / seconds;
    let refused = refusals(before, now);
    log::info!(
        "proxy={proxy}: {} miners ({} mining, {} waiting), {} links up, {shares:.0} shares a minute, \
         about {} accepted hashrate; {accepted} accepted, {rejected} rejected by the pool, {unanswered} \
         unanswered, {refused} refused here",
        now.miners,
        now.mining,
        now.waiting,
        now.links_up,
        with_prefix(hashrate, rate_unit),
    );
    if accepted == 0 && submits > 0 {
        log::warn!("proxy={proxy}: not one of the last {submits} shares was accepted");
    }
}

/// How many requests were refused here, and why: `7 (malformed 5, duplicate 2)`.
fn refusals(before: &Counters, now: &Counters) -> String {
    let unanswered = [Reject::LinkLost, Reject::PoolSilent].map(Reject::index);
    let mut total = 0;
    let mut reasons = Vec::new();
    for (index, reason) in Reject::REASONS.iter().enumerate() {
        let count = now.refused[index] - before.refused[index];
        if count > 0 && !unanswered.contains(&index) {
            total += count;
            reasons.push(format!("{reason} {count}"));
        }
    }
    if total == 0 {
        return "0".to_owned();
    }
    format!("{total} ({})", reasons.join(", "))
}

/// A rate in this unit with its prefix.
fn with_prefix(rate: f64, unit: &str) -> String {
    let mut rate = rate;
    for prefix in ["", "k", "M", "G", "T", "P", "E"] {
        if rate < 1000.0 {
            return format!("{rate:.1} {prefix}{unit}");
        }
        rate /= 1000.0;
    }
    format!("{rate:.1} Z{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_prefixes() {
        assert_eq!(with_prefix(0.0, "Sol/s"), "0.0 Sol/s");
        assert_eq!(with_prefix(1234.0, "Sol/s"), "1.2 kSol/s");
        assert_eq!(with_prefix(8.4e11, "H/s"), "840.0 GH/s");
        assert_eq!(with_prefix(1.2e21, "H/s"), "1.2 ZH/s");
    }

    #[test]
    fn the_same_complaint_waits() {
        let throttle = Throttle::default();
        let at = |seconds| Now {
            since_start: Duration::from_secs(seconds),
            unix_seconds: 0,
        };
        assert!(throttle.passes(at(1)));
        assert!(!throttle.passes(at(10)));
        assert!(throttle.passes(at(11)));
    }
}
