//! A shard without a thread, for tests.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use crate::config::{AuthorizeMode, Config};
use crate::metrics::Pulse;
use crate::shard::clock::Clock;
use crate::shard::mesh::MeshEnds;
use crate::shard::started::StartedProxy;
use crate::shard::state::Shard;
use crate::shard::{ShardSetup, reload, start_shard};

/// A shard with one proxy, whose workers are looked up, and whose pool is down.
pub(crate) fn start(mesh: Option<MeshEnds>) -> Shard {
    let yaml = "proxies:\n  - name: hall\n    dialect: equihash\n    listen:\n      - address: 127.0.0.1:0\n\
                \x20   pools:\n      - url: stratum+tcp://127.0.0.1:1\n        worker: w\n";
    let mut config = Config::load(yaml).unwrap();
    config.proxies[0].authorize.mode = AuthorizeMode::Local;
    let mut proxy = StartedProxy::start(&config.proxies[0], 0, 1, 16, 0).unwrap();
    let (_, mut reloads) = reload::channel(1);
    let (events, _) = mpsc::channel();
    let (shard, _) = start_shard(ShardSetup {
        number: 0,
        cpu: None,
        clock: Clock::start(),
        connections_max: 16,
        pace: None,
        proxies: vec![proxy.setup(0, 0)],
        mesh,
        pulse: Pulse::default(),
        reloads: reloads.remove(0),
        stopping: Arc::new(AtomicBool::new(false)),
        events,
    })
    .unwrap();
    shard
}
