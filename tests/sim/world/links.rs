//! The pool links as a shard sees them: what it reads on them, what it writes, and when they come and go.

use super::*;

impl World {
    /// The connections of a shard.
    pub(super) fn conns_of(&self, shard: usize) -> Vec<ConnKey> {
        let keys = self.conns.keys().copied();
        keys.filter(|key| key.shard == shard).collect()
    }

    /// A pool's line reaches the exchange; the model keeps what it means.
    pub(super) fn hear(&mut self, key: ConnKey, line: &str) {
        let now = self.now();
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let shard = &mut self.shards[key.shard];
        if !shard.exchange.is_current(key.link()) {
            return;
        }
        let feed = shard.feed(key.index);
        let mut job = None;
        let was_up = conn.up;
        let mut judged = None;
        if let Ok(message) = self.reader.read(line.as_bytes()) {
            let texts = |raw: Option<Raw<'_>>| -> Vec<String> {
                let raw = raw.map(Raw::elements);
                raw.into_iter().flatten().map(plain_text).collect()
            };
            let params = texts(message.params);
            match message.method.and_then(Raw::as_str) {
                Some(b"mining.notify") => {
                    if let Some(nonce_1) = feed.next_nonce_1.take() {
                        feed.gets(Some(nonce_1));
                    }
                    job = Some((params[3].clone(), params[7] == "true"));
                    conn.jobs_read += 1;
                }
                Some(b"mining.set_target") => feed.target = Some(format!("{:0>64}", params[0])),
                Some(b"mining.set_extranonce") => feed.next_nonce_1 = Some(params[0].clone()),
                None if id_of(&message) == "1" => {
                    feed.next_nonce_1 = None;
                    if let [_, nonce_1, ..] = texts(message.result).as_slice() {
                        conn.goes_on = feed.nonce_1.as_ref() == Some(nonce_1);
                        if !conn.goes_on {
                            feed.offered_other = Some(self.now);
                        }
                        feed.offered = Some(nonce_1.clone());
                    }
                }
                None if id_of(&message) == "2" => {
                    let nonce_1 = feed.offered.take();
                    feed.pool = Some(conn.pool);
                    feed.gets(nonce_1);
                    feed.lost = None;
                    conn.up = true;
                    conn.up_since = Some(self.now);
                }
                None => {
                    conn.names_waiting.remove(&id_of(&message));
                    judged = self.sent.get(&(key.feed(), id_of(&message)));
                }
                _ => {}
            }
        }
        let judged = judged
            .filter(|solution| self.shares[*solution].shard == key.shard)
            .cloned();
        if let Some((content, clean)) = job {
            let pool = Some(conn.pool);
            self.feed_hears(key.feed(), pool, &content, clean);
        }
        let exchange = &mut self.shards[key.shard].exchange;
        let unexpected = exchange.counters().answers_unexpected;
        exchange.handle_link_line(now, key.link(), line.as_bytes());
        let expected = exchange.counters().answers_unexpected == unexpected;
        // In the other mode its miner was told long ago.
        if let Some(solution) = judged
            && expected
            && self.settings().share_reply == ShareReply::Pool
        {
            let miner = self.shares[&solution].miner;
            self.miners[miner].is_judged(&solution);
        }
        if self.conns.get(&key).is_some_and(|conn| conn.up) && !was_up {
            self.note_shared_space(key);
        }
    }

    /// A job of a pool is heard on a link.
    pub(super) fn feed_hears(
        &mut self,
        key: FeedKey,
        pool: Option<usize>,
        content: &str,
        clean: bool,
    ) {
        let feed = &mut self.shards[key.0].feeds[key.1];
        let known = self.contents.entry(content.to_owned()).or_default();
        let elsewhere = known.heard.keys().any(|feed| feed.0 != key.0);
        self.totals.jobs_heard_elsewhere += u64::from(elsewhere && feed.lease.is_none());
        known.heard.entry(key).or_default().push(feed.jobs.len());
        feed.jobs.push(LinkJob {
            pool,
            content: content.to_owned(),
            clean,
            target: feed.target.clone(),
        });
    }

    /// Counts links whose bytes a link of another shard has too.
    fn note_shared_space(&mut self, key: ConnKey) {
        let own = &self.shards[key.shard].feeds[key.index].nonce_1;
        let mut others = self.conns.keys().filter(|other| other.shard != key.shard);
        let shared = others.any(|other| {
            let theirs = self.shards[other.shard].feeds.get(other.index);
            theirs.is_some_and(|feed| feed.nonce_1 == *own)
        });
        self.totals.shards_in_one_space += u64::from(shared);
    }

    pub(super) fn write_to_pool(&mut self, key: ConnKey) {
        let now = self.now();
        let names = self.name_bytes();
        let Shard {
            exchange, settings, ..
        } = &mut self.shards[key.shard];
        let mut stalls = None;
        let conn = self.conns.get_mut(&key).expect("connected");
        loop {
            let bytes = exchange.unwritten(key.link());
            let resent = *conn.resent_bytes.get_or_insert(bytes.len());
            let bound = settings.limits.pool_outbox_bytes_max + 1024 + resent + names;
            assert!(
                bytes.len() <= bound || !conn.up,
                "WHAT IS QUEUED FOR A POOL HAS A BOUND"
            );
            // Until the handshake is written, shares are not seen.
            if !conn.up || !String::from_utf8_lossy(bytes).contains("mining.submit") {
                conn.resent_bytes = None;
            }
            if bytes.is_empty() || conn.stalled_until > self.now {
                break;
            }
            let part = self.random.u8(..6) == 0;
            let len = if part {
                self.random.usize(1..=bytes.len())
            } else {
                bytes.len()
            };
            conn.inbox.extend_from_slice(&bytes[..len]);
            exchange.wrote(now, key.link(), len);
            if part {
                self.totals.partial_writes += 1;
                let after = self.random.u64(1..300);
                conn.stalled_until = self.now + after;
                stalls = Some(after);
            }
        }
        let mut inbox = std::mem::take(&mut conn.inbox);
        if let Some(after) = stalls {
            self.at(after, Event::Unstalled(key.shard));
        }
        while let Some(end) = inbox.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = inbox.drain(..=end).collect();
            let line = String::from_utf8(line).expect("text");
            self.reaches_pool(key, line.trim_end_matches('\n'));
        }
        self.conns.get_mut(&key).expect("connected").inbox = inbox;
    }

    pub(super) fn obey(&mut self, shard: usize, command: Command) {
        self.tell(|| format!("shard {shard}: {command:?}"));
        match command {
            Command::Dial {
                link, host, port, ..
            } => {
                assert_ne!(
                    self.phase,
                    Phase::Shutdown,
                    "NOTHING IS DIALLED IN SHUTDOWN"
                );
                assert_eq!(port, 3333);
                let pool = host.to_lowercase();
                let pool: usize = pool
                    .strip_prefix("pool")
                    .expect("a pool")
                    .parse()
                    .expect("one");
                let key = ConnKey::new(shard, link);
                self.shards[shard].feed(link.index).stands_by = false;
                let after = self.random.u64(1..80);
                if self.pools[pool].up {
                    self.conns.insert(key, Conn::new(pool));
                    self.at(after, Event::Dialled(key));
                } else {
                    self.at(after, Event::DialRefused(key));
                }
            }
            Command::HangUp(link) => {
                self.drop_conn(ConnKey::new(shard, link));
                // Nobody has a place there any more.
                if let Some(feed) = self.shards[shard].feeds.get_mut(link.index)
                    && (feed.retired || feed.stands_by)
                {
                    (feed.retired, feed.stands_by) = (false, false);
                    feed.nonce_1 = None;
                }
            }
        }
    }

    /// A connection is over; says whether there was one.
    pub(super) fn drop_conn(&mut self, key: ConnKey) -> bool {
        let conn = self.conns.remove(&key);
        if conn.as_ref().is_some_and(|conn| conn.up) {
            self.shards[key.shard].feeds[key.index].lost = Some(self.now);
        }
        conn.is_some()
    }
}
