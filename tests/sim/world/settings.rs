//! The settings of one seed: narrow bounds, so that all of them are met.

use super::*;

pub(super) fn settings(seed: u64, shards: usize, pools: &[Pool], random: &mut Rng) -> Settings {
    let pool_links = match random.usize(..3) {
        0 if shards > 1 => PoolLinks::Shared(random.usize(1..shards)),
        _ => PoolLinks::PerShard,
    };
    let job_exchange = (shards > 1 && random.bool()).then(|| JobExchange {
        match_within: Duration::from_secs(random.u64(1..3)),
        hold: Duration::from_secs([1, 10][random.usize(..2)]),
    });
    let mut of = |choices: &[u64]| choices[random.usize(..choices.len())];
    let limits = Limits {
        miner: MinerLimits {
            workers_max: 4,
            worker_len_max: 64,
            protocol_errors_max: 6,
        },
        conduct: names::conduct(seed),
        miner_outbox_bytes_max: of(&[700, 4096, 64 * 1024]) as usize,
        // Not drawn, so that seeds that were looked into once are what they were.
        unread_bytes_max: if seed % 5 == 1 { 1500 } else { usize::MAX },
        miner_blocked: Duration::from_secs(of(&[2, 10])),
        pending_shares_per_miner_max: of(&[4, 32, 4096]) as u32,
        subscribe_timeout: Duration::from_secs(4),
        authorize_timeout: Duration::from_secs(6),
        subscribe_wait: Duration::from_secs(of(&[2, 6])),
        pool_outbox_bytes_max: of(&[2000, 64 * 1024]) as usize,
        pool_outbox_stalled: Duration::from_secs(3),
        pending_shares_max: of(&[20, 100_000]) as usize,
        reply_timeout: Duration::from_secs(of(&[3, 8])),
        no_job: Duration::from_secs(of(&[4, 240])),
        no_reply: Duration::from_secs(of(&[2, 60])),
        dial_timeout: Duration::from_secs(4),
        handshake_timeout: Duration::from_secs(4),
        resume: Duration::from_secs(3),
        stable_for: Duration::from_secs(of(&[1, 5, 30])),
        link_unused: Duration::from_secs(of(&[1, 10])),
        reconnect_per_second: of(&[4, 1000]) as u32,
        jobs_kept: of(&[1, 8]) as usize,
        job_kept: Duration::from_secs(of(&[1, 20])),
        jobs_kept_max: of(&[8, 64]) as usize,
        shares_remembered_per_job_max: 1_000_000,
        ntime_ahead: Duration::from_secs(7200),
    };
    let slot_width = match of(&[0, 0, 1, 2, 3]) {
        0 => SlotWidth::Auto,
        width => SlotWidth::Fixed((width - 1) as u8),
    };
    Settings {
        series: 3,
        part: (0, 1),
        start_unix_seconds: UNIX_START,
        seed,
        pools: pools
            .iter()
            .map(|pool| PoolSettings {
                host: format!("pool{}", pool.index),
                port: 3333,
                worker: pool.worker.clone(),
                password: "x".to_owned(),
                extranonce_subscribe: of(&[0, 1]) == 1,
                reconnect_hosts: Vec::new(),
                introduction: Introduction::default(),
            })
            .collect(),
        slot_width,
        miners_per_link: of(&[3, 12, 65_536]) as u32,
        links_max: match pool_links {
            PoolLinks::PerShard => of(&[1, 2, 4]) as usize,
            PoolLinks::Shared(_) => 1,
        },
        standby: of(&[0, 1]) == 1,
        pass_through_agents: Vec::new(),
        pool_links,
        job_exchange,
        authorize: names::authorize(seed, pool_links),
        share_reply: match seed % 4 {
            1 => ShareReply::Immediate,
            _ => ShareReply::Pool,
        },
        keep_warm: seed.is_multiple_of(3),
        limits,
    }
}
