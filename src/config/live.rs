//! What a running proxy takes up from its config when that was read again.
//!
//! Shards, sockets and links stay as they were made, so most keys hold from the next start; these are told by
//! name. What can change while miners are connected is who may come (`allow`, `deny`,
//! `proxy_protocol.trusted`, the workers file) and with which certificates both sides prove themselves.

use std::mem::discriminant;

use super::authorize::AuthorizeConfig;
use super::{Config, ListenConfig, PoolConfig, PoolUrl, ProxyConfig};

impl Config {
    /// The keys beside `proxies` that are others in a newer config, and proxies that came or went. All hold
    /// from the next start.
    #[must_use]
    pub fn changed(&self, newer: &Self) -> Vec<String> {
        let Self {
            cores,
            miners_expected,
            accepts_per_second,
            admin,
            proxies,
        } = self;
        let keys = [
            ("cores", *cores != newer.cores),
            ("miners_expected", *miners_expected != newer.miners_expected),
            (
                "accepts_per_second",
                *accepts_per_second != newer.accepts_per_second,
            ),
            ("admin", *admin != newer.admin),
        ];
        let mut changed: Vec<String> = changed_of(&keys).map(str::to_owned).collect();
        for (these, others, what) in [
            (&newer.proxies, proxies, "is new"),
            (proxies, &newer.proxies, "is not there any more"),
        ] {
            let missing = these
                .iter()
                .filter(|proxy| others.iter().all(|other| other.name != proxy.name));
            changed.extend(missing.map(|proxy| format!("proxy {} {what}", proxy.name)));
        }
        changed
    }

    /// The proxy with this name.
    #[must_use]
    pub fn proxy(&self, name: &str) -> Option<&ProxyConfig> {
        self.proxies.iter().find(|proxy| proxy.name == name)
    }
}

impl ProxyConfig {
    /// Takes up what can change while it runs. Gives the keys whose newer values hold from the next start.
    pub fn take_live(&mut self, newer: &Self) -> Vec<String> {
        for (index, listener) in self.listen.iter_mut().enumerate() {
            let same = |other: &&ListenConfig| other.address == listener.address;
            // Two may leave their port to the kernel, so the place in the list comes first.
            let at_place = newer.listen.get(index).filter(same);
            if let Some(other) = at_place.or_else(|| newer.listen.iter().find(same)) {
                listener.take_live(other);
            }
        }
        for (pool, other) in self.pools.iter_mut().zip(&newer.pools) {
            pool.take_live(other);
        }
        self.authorize.take_live(&newer.authorize);
        self.changed(newer)
    }

    /// The keys that are others in a newer one.
    fn changed(&self, newer: &Self) -> Vec<String> {
        let Self {
            name: _,
            coin,
            listen,
            pools,
            slot_bytes,
            miners_per_link,
            links_per_shard_max,
            pool_links,
            pass_through_agents,
            authorize,
            share_reply,
            job_exchange,
            failover,
            standby,
            keep_warm,
            limits,
        } = self;
        let is_same_dialect = discriminant(coin) == discriminant(&newer.coin);
        let keys = [
            ("dialect", !is_same_dialect),
            ("equihash", is_same_dialect && *coin != newer.coin),
            ("slot_bytes", *slot_bytes != newer.slot_bytes),
            ("miners_per_link", *miners_per_link != newer.miners_per_link),
            (
                "links_per_shard_max",
                *links_per_shard_max != newer.links_per_shard_max,
            ),
            ("pool_links", *pool_links != newer.pool_links),
            (
                "pass_through_agents",
                *pass_through_agents != newer.pass_through_agents,
            ),
            (
                "worker_name",
                authorize.worker_name != newer.authorize.worker_name,
            ),
            ("shares", *share_reply != newer.share_reply),
            ("job_exchange", *job_exchange != newer.job_exchange),
            ("failover.standby", *standby != newer.standby),
            ("failover.keep_warm", *keep_warm != newer.keep_warm),
        ];
        let below = |section: &'static str, keys: Vec<&'static str>| {
            let named = move |key| format!("{section}.{key}");
            keys.into_iter().map(named)
        };
        let mut changed: Vec<String> = changed_of(&keys).map(str::to_owned).collect();
        changed.extend(changed_in(
            "listen",
            listen,
            &newer.listen,
            ListenConfig::changed,
        ));
        changed.extend(changed_in(
            "pools",
            pools,
            &newer.pools,
            PoolConfig::changed,
        ));
        changed.extend(below("authorize", authorize.changed(&newer.authorize)));
        changed.extend(below("failover", failover.changed(&newer.failover)));
        changed.extend(below("limits", limits.changed(&newer.limits)));
        changed
    }
}

/// What changed in the items of a list. One that came or went is named as a whole.
fn changed_in<T>(
    list: &str,
    items: &[T],
    newer: &[T],
    changed: impl Fn(&T, &T) -> Vec<&'static str>,
) -> Vec<String> {
    let mut keys = Vec::new();
    for index in 0..items.len().max(newer.len()) {
        match (items.get(index), newer.get(index)) {
            (Some(item), Some(newer)) => {
                let changed = changed(item, newer).into_iter();
                keys.extend(changed.map(|key| format!("{list}[{index}].{key}")));
            }
            _ => keys.push(format!("{list}[{index}]")),
        }
    }
    keys
}

impl ListenConfig {
    fn take_live(&mut self, newer: &Self) {
        self.trusted.clone_from(&newer.trusted);
        self.allow.clone_from(&newer.allow);
        self.deny.clone_from(&newer.deny);
        if let (Some(tls), Some(newer)) = (&mut self.tls, &newer.tls) {
            tls.clone_from(newer);
        }
    }

    /// The keys that are others in a newer one.
    fn changed(&self, newer: &Self) -> Vec<&'static str> {
        let Self {
            address,
            connections_max,
            trusted,
            allow,
            deny,
            tls,
        } = self;
        let keys = [
            ("address", *address != newer.address),
            ("connections_max", *connections_max != newer.connections_max),
            ("proxy_protocol", *trusted != newer.trusted),
            ("allow", *allow != newer.allow),
            ("deny", *deny != newer.deny),
            ("tls", *tls != newer.tls),
        ];
        changed_of(&keys).collect()
    }
}

impl PoolConfig {
    /// How the same pool is believed.
    fn take_live(&mut self, newer: &Self) {
        let is_same = self.url.to_string() == newer.url.to_string();
        if let (
            PoolUrl::Tcp { tls: Some(tls), .. },
            PoolUrl::Tcp {
                tls: Some(newer), ..
            },
        ) = (&mut self.url, &newer.url)
            && is_same
        {
            tls.clone_from(newer);
        }
    }

    /// The keys that are others in a newer one.
    fn changed(&self, newer: &Self) -> Vec<&'static str> {
        let Self {
            url,
            worker,
            password,
            reconnect_hosts,
            extranonce_subscribe,
            introduction,
        } = self;
        let is_same = url.to_string() == newer.url.to_string();
        let below = match (url, &newer.url) {
            (PoolUrl::Practice(_), _) => "practice",
            (
                PoolUrl::Tcp { proxy_header, .. },
                PoolUrl::Tcp {
                    proxy_header: other,
                    ..
                },
            ) if proxy_header != other => "proxy_protocol",
            _ => "tls",
        };
        let keys = [
            ("url", !is_same),
            (below, is_same && *url != newer.url),
            ("worker", *worker != newer.worker),
            ("password", *password != newer.password),
            ("reconnect_hosts", *reconnect_hosts != newer.reconnect_hosts),
            (
                "extranonce_subscribe",
                *extranonce_subscribe != newer.extranonce_subscribe,
            ),
            (
                "user_agent, version_rolling or algorithms",
                *introduction != newer.introduction,
            ),
        ];
        changed_of(&keys).collect()
    }
}

impl AuthorizeConfig {
    fn take_live(&mut self, newer: &Self) {
        if let (Some(file), Some(newer)) = (&mut self.workers_file, &newer.workers_file) {
            file.clone_from(newer);
        }
    }

    /// The keys below `authorize` that are others in a newer one.
    fn changed(&self, newer: &Self) -> Vec<&'static str> {
        let Self {
            mode,
            workers_file,
            denied_retry,
            worker_name: _,
        } = self;
        let keys = [
            ("mode", *mode != newer.mode),
            ("workers_file", *workers_file != newer.workers_file),
            ("denied_retry_seconds", *denied_retry != newer.denied_retry),
        ];
        changed_of(&keys).collect()
    }
}

/// Of keys and whether they are others now, those that are.
pub(super) fn changed_of(keys: &[(&'static str, bool)]) -> impl Iterator<Item = &'static str> {
    let changed = keys.iter().filter(|(_, is_changed)| *is_changed);
    changed.map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
accepts_per_second: 5
proxies:
  - name: a
    dialect: equihash
    listen:
      - address: 0.0.0.0:1
        deny: [10.0.0.1]
        tls: { certificate: a.pem, key: a.key }
      - address: 0.0.0.0:2
    pools:
      - { url: "stratum+tls://a:1", worker: w, tls: { ca: ca.pem } }
    authorize: { mode: local, workers_file: w.yaml }
"#;

    fn load(text: &str) -> Config {
        Config::load(text).unwrap()
    }

    fn replaced(from: &str, to: &str) -> Config {
        assert!(BEFORE.contains(from), "{from}");
        load(&BEFORE.replace(from, to))
    }

    #[test]
    fn what_can_change_while_it_runs_is_taken_up() {
        for (from, to) in [
            ("deny: [10.0.0.1]", "deny: [10.0.0.0/8, 11.0.0.0/8]"),
            (
                "deny: [10.0.0.1]",
                "allow: [10.0.0.1]\n        proxy_protocol: { trusted: [10.0.0.2] }",
            ),
            ("a.pem, key: a.key", "b.pem, key: b.key, mode: auto"),
            ("ca: ca.pem", "insecure: true"),
            ("w.yaml", "v.yaml"),
        ] {
            let (before, newer) = (load(BEFORE), replaced(from, to));
            let mut live = before.proxies[0].clone();
            assert_ne!(live, newer.proxies[0], "{to}");
            assert!(live.take_live(&newer.proxies[0]).is_empty(), "{to}");
            assert_eq!(live, newer.proxies[0], "{to}");
            assert!(before.changed(&newer).is_empty(), "{to}");
        }
    }

    #[test]
    fn what_waits_for_the_next_start_is_told_and_not_taken_up() {
        for (from, to, key) in [
            // The longest line of a miner is another one, too.
            (
                "equihash",
                "bitcoin",
                "dialect, limits.miner_line_bytes_max",
            ),
            ("      - address: 0.0.0.0:2\n", "", "listen[1]"),
            ("0.0.0.0:2", "0.0.0.0:3", "listen[1].address"),
            (
                "deny: [10.0.0.1]",
                "deny: [10.0.0.1]\n        connections_max: 9",
                "listen[0].connections_max",
            ),
            (
                "        tls: { certificate: a.pem, key: a.key }\n",
                "",
                "listen[0].tls",
            ),
            ("worker: w,", "worker: v,", "pools[0].worker"),
            ("tls://a:1", "tls://b:1", "pools[0].url"),
            (
                "worker: w,",
                "worker: w, proxy_protocol: v1,",
                "pools[0].proxy_protocol",
            ),
            (
                "mode: local",
                "denied_retry_seconds: 7, mode: local",
                "authorize.denied_retry_seconds",
            ),
            (
                "mode: local, workers_file: w.yaml",
                "mode: any",
                "authorize.mode, authorize.workers_file",
            ),
            (
                "    authorize:",
                "    worker_name: \"{worker}\"\n    authorize:",
                "worker_name",
            ),
            (
                "    authorize:",
                "    slot_bytes: 1\n    authorize:",
                // Which bounds how many miners a link has room for.
                "slot_bytes, miners_per_link",
            ),
            (
                "    authorize:",
                "    failover: { standby: true, resume_seconds: 7 }\n    authorize:",
                "failover.standby, failover.resume_seconds",
            ),
            (
                "    authorize:",
                "    limits: { connections_max: 9 }\n    authorize:",
                "limits.connections_max",
            ),
        ] {
            let newer = replaced(from, to);
            let mut live = load(BEFORE).proxies[0].clone();
            let changed = live.take_live(&newer.proxies[0]).join(", ");
            assert_eq!(changed, key, "{to}");
            assert_ne!(live, newer.proxies[0], "{to}");
        }
    }

    #[test]
    fn what_is_beside_the_proxies_is_told() {
        let before = load(BEFORE);
        assert_eq!(
            before.changed(&replaced("accepts_per_second: 5", "cores: 2")),
            ["cores", "accepts_per_second"]
        );
        assert_eq!(
            before.changed(&replaced("name: a", "name: b")),
            ["proxy b is new", "proxy a is not there any more"]
        );
        assert!(before.proxy("a").is_some());
        assert!(before.proxy("b").is_none());
    }

    #[test]
    fn a_file_on_another_line_is_the_same_file() {
        let newer = replaced("accepts_per_second: 5\n", "\n\n\naccepts_per_second: 5\n");
        assert_eq!(load(BEFORE), newer);
    }
}
