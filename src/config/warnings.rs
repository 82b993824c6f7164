//! What is no mistake in a config, and hardly meant: a slip that lets nobody in, or everybody.

use ipnet::IpNet;

use super::{Config, Limits, ListenConfig};

impl Config {
    /// What an operator is to know of it at the start on so many shards, each with its proxy and key.
    #[must_use]
    pub fn warnings(&self, shards: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        for proxy in &self.proxies {
            for (index, listen) in proxy.listen.iter().enumerate() {
                let of_listener = listen.warnings();
                warnings.extend(of_listener.into_iter().map(|(key, what)| {
                    format!("proxy={}: listen[{index}].{key}: {what}", proxy.name)
                }));
            }
            if let Some(what) = proxy.limits.unread_warning(shards) {
                let name = &proxy.name;
                warnings.push(format!("proxy={name}: limits.unread_bytes_max: {what}"));
            }
        }
        warnings
    }
}

impl Limits {
    /// Each shard has its part of what may wait for all that do not read.
    fn unread_warning(&self, shards: usize) -> Option<String> {
        let (all, one) = (self.unread_bytes_max, self.miner_outbox_bytes_max);
        let part = all / shards.max(1);
        (part < one).then(|| {
            format!(
                "with {shards} shards each has {part} bytes of it, less than one miner may have waiting \
                 (miner_outbox_bytes_max, {one}), so miners that only hang for a moment are closed; write {} \
                 or more",
                one.saturating_mul(shards)
            )
        })
    }
}

impl ListenConfig {
    /// Each with its key.
    fn warnings(&self) -> Vec<(&'static str, String)> {
        let mut warnings = Vec::new();
        // Two halves are a whole.
        let deny = IpNet::aggregate(&self.deny);
        if let Some(all) = deny.iter().find(|network| is_everybody(network)) {
            let what = format!("{all} is everybody, so no miner of that family comes in");
            warnings.push(("deny", what));
        } else if let Some(allow) = &self.allow {
            let is_denied = |network: &IpNet| deny.iter().any(|denied| denied.contains(network));
            if allow.iter().all(is_denied) {
                let what =
                    "it covers all of allow, and is stronger, so no miner comes in".to_owned();
                warnings.push(("deny", what));
            }
        }
        let trusted = IpNet::aggregate(&self.trusted);
        if let Some(all) = trusted.iter().find(|network| is_everybody(network)) {
            let what = format!(
                "{all} is everybody: whoever connects may say that he is another, so allow, deny and limits \
                 of addresses keep nobody out; name the load balancers alone"
            );
            warnings.push(("proxy_protocol.trusted", what));
        }
        warnings
    }
}

fn is_everybody(network: &IpNet) -> bool {
    network.prefix_len() == 0
}
