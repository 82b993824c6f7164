//! The bounds and times of a proxy: one table each, with key, default and range.
//!
//! Every queue, line, count and wait has a bound with a name. The defaults suit a farm behind one
//! address whose miners all come back at once after a power cut.

use std::time::Duration;

use super::live::changed_of;
use super::raw::{Quantity, Section};

/// Makes a struct, its defaults and its reader of one table. A row is
/// `key as field: type = default, range;`. A `Duration` needs no unit in its name; a key does.
macro_rules! table {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $(
                $(#[$why:meta])*
                $key:ident as $field:ident: $kind:ty = $default:expr, $range:expr;
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$why])* pub $field: $kind, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: <$kind as Quantity>::new($default), )* }
            }
        }

        impl $name {
            pub(super) fn read(section: &mut Section<'_>) -> Self {
                Self { $( $field: section.number(stringify!($key), $default, $range), )* }
            }

            /// The keys whose values are others in a newer one.
            pub(super) fn changed(&self, newer: &Self) -> Vec<&'static str> {
                let keys = [ $( (stringify!($key), self.$field != newer.$field), )* ];
                changed_of(&keys).collect()
            }
        }
    };
}

table! {
    /// When a pool or a link counts as lost, and how miners are moved.
    pub struct Failover {
        /// How long a miner's subscribe waits while no pool link is up.
        subscribe_wait_seconds as subscribe_wait: Duration = 30.0, 0.1..=600.0;
        /// A lost link that is back by then with the same nonce_1 goes unnoticed.
        resume_seconds as resume: Duration = 3.0, 0.1..=60.0;
        /// How long a preferred pool must be well before miners go back to it.
        stable_for_seconds as stable_for: Duration = 30.0, 0.1..=3600.0;
        /// A pool that sends no job for so long is bad: the next one takes over.
        no_job_seconds as no_job: Duration = 240.0, 1.0..=86_400.0;
        /// A pool that answers no share for so long, while 16 or all of several wait, is bad.
        no_reply_seconds as no_reply: Duration = 60.0, 1.0..=86_400.0;
        /// Pace at which miners are closed that only a reconnect can move to a new nonce_1.
        reconnect_per_second as reconnect_per_second: u32 = 1000, 1..=1_000_000;
    }
}

table! {
    /// The bound of every line, queue, count and wait.
    pub struct Limits {
        /// Longest line a miner may send. An Equihash (200,9) submit is about 2,900 bytes.
        miner_line_bytes_max as miner_line_bytes_max: usize = 8192, 4096..=1_048_576;
        /// Longest line a pool may send.
        pool_line_bytes_max as pool_line_bytes_max: usize = 1_048_576, 4096..=16_777_216;
        /// Bytes that wait for a miner that reads slowly. Above it the miner is closed. When a link is lost
        /// all its unanswered shares are refused in one breath, and the answers have to fit.
        miner_outbox_bytes_max as miner_outbox_bytes_max: usize = 1_048_576, 16_384..=67_108_864;
        /// Bytes that wait for all miners that take none by now. Above it those with the most are closed.
        unread_bytes_max as unread_bytes_max: usize = 536_870_912, 1_048_576..=1_099_511_627_776;
        /// Bytes that wait for a pool. Above it new shares are refused, and counted.
        pool_outbox_bytes_max as pool_outbox_bytes_max: usize =
            67_108_864, 65_536..=1_073_741_824;
        /// A pool that takes no byte for this long is bad.
        pool_outbox_stalled_seconds as pool_outbox_stalled: Duration = 10.0, 1.0..=600.0;
        /// A miner that takes no byte of what waits for it for this long is closed.
        miner_blocked_seconds as miner_blocked: Duration = 60.0, 1.0..=3600.0;
        /// Connections at a time, of all listeners. One more is closed. 0 is as many as there is room for.
        connections_max as connections_max: u32 = 0, 0..=16_777_216;
        /// Connections at a time of one address, which is a /64 where it is IPv6. 0 is no bound: a whole
        /// farm may sit behind one address.
        connections_per_address_max as connections_per_address_max: u32 = 0, 0..=16_777_215;
        /// From a connect to the first byte that says who speaks.
        first_byte_timeout_seconds as first_byte_timeout: Duration = 10.0, 0.1..=3600.0;
        /// From a miner's first byte of TLS to the end of its handshake.
        tls_handshake_timeout_seconds as tls_handshake_timeout: Duration = 10.0, 0.1..=600.0;
        /// TLS handshakes that a shard begins in a second. Further ones wait.
        tls_handshakes_per_second as tls_handshakes_per_second: u32 = 2000, 1..=1_000_000;
        /// TLS handshakes of a shard that have begun and not ended. Further ones wait.
        tls_handshakes_max as tls_handshakes_max: usize = 2048, 1..=65_536;
        /// From a load balancer's connect to its whole header of the PROXY protocol. Its document wants 3
        /// seconds at least, for a packet that is lost.
        proxy_header_timeout_seconds as proxy_header_timeout: Duration = 5.0, 3.0..=600.0;
        /// From a miner's first byte to its subscribe.
        subscribe_timeout_seconds as subscribe_timeout: Duration = 15.0, 1.0..=3600.0;
        /// From a miner's subscribe to its authorize.
        authorize_timeout_seconds as authorize_timeout: Duration = 30.0, 1.0..=3600.0;
        /// A miner that acknowledges no byte for this long is gone. Finding no share is not idle.
        idle_timeout_seconds as idle_timeout: Duration = 90.0, 9.0..=86_400.0;
        /// How long a request to a pool waits for its reply.
        reply_timeout_seconds as reply_timeout: Duration = 60.0, 1.0..=3600.0;
        /// Shares of one pool link that wait for the pool's reply.
        pending_shares_max as pending_shares_max: usize = 1_048_576, 16..=16_777_216;
        /// Shares of one miner that wait for the pool's reply.
        pending_shares_per_miner_max as pending_shares_per_miner_max: usize = 4096, 1..=1_048_576;
        /// The latest jobs that stay known, whatever their age.
        jobs_kept as jobs_kept: usize = 8, 1..=1024;
        /// How long a job stays known at least.
        job_kept_seconds as job_kept: Duration = 120.0, 1.0..=3600.0;
        /// Jobs that stay known at most, whatever their age.
        jobs_kept_max as jobs_kept_max: usize = 64, 1..=1024;
        /// Shares of one job that are remembered, so that a duplicate is refused here.
        shares_remembered_per_job_max as shares_remembered_per_job_max: usize =
            1_048_576, 1024..=67_108_864;
        /// Worker names that one miner may authorize.
        workers_per_miner_max as workers_per_miner_max: usize = 16, 1..=1024;
        /// Longest worker name or password of a miner; a longer one is refused. A longer user agent is cut.
        worker_bytes_max as worker_bytes_max: usize = 256, 16..=1024;
        /// Malformed lines, and unknown methods before the subscribe, before a miner is closed.
        protocol_errors_max as protocol_errors_max: usize = 8, 1..=255;
        /// Lines of one miner in a second, over ten seconds. Above it the miner is closed. 0 is no bound.
        messages_per_second_max as messages_per_second_max: u32 = 20_000, 0..=1_000_000;
        /// Shares of one miner in a second, over ten seconds. Above it they are refused. 0 is no bound.
        shares_per_second_max as shares_per_second_max: u32 = 10_000, 0..=1_000_000;
        /// Shares of one miner, each looked at here or by the pool, over which its own faults are counted: 20
        /// or more. 0 looks at none.
        rejected_window as rejected_window: u32 = 500, 0..=60_000;
        /// So many of a hundred of these: the miner is closed, and kept out for a while.
        rejected_percent_max as rejected_percent_max: u32 = 50, 1..=100;
        /// How long the worker of these shares is kept out at its address, or the /64 of an IPv6 address.
        rejected_ban_seconds as rejected_ban: Duration = 600.0, 1.0..=86_400.0;
        /// Hash checks of workers' passwords that wait, on one shard. Above it a miner is to try again.
        password_checks_max as password_checks_max: usize = 1024, 1..=65_536;
        /// How far a share's time may lie ahead of its job's.
        ntime_ahead_seconds as ntime_ahead: Duration = 7200.0, 1.0..=86_400.0;
        /// How long a shutdown waits for what is still under way.
        shutdown_seconds as shutdown: Duration = 5.0, 0.1..=600.0;
        /// How long a connect to a pool may take.
        connect_timeout_seconds as connect_timeout: Duration = 10.0, 0.1..=600.0;
    }
}
