//! What the pools do, and what they make of what reaches them.

use super::*;

impl World {
    pub(super) fn send_from_pool(&mut self, place: (usize, u32), line: String) {
        let Some(conn) = self.conns.get_mut(&place) else {
            return;
        };
        let delay = self.random.u64(1..=self.pools[conn.pool].delay_max);
        conn.speaks_at = conn.speaks_at.max(self.now + delay);
        let after = conn.speaks_at - self.now;
        self.at(after, Event::Heard(key_of(place), line));
    }

    pub(super) fn announce(&mut self, place: (usize, u32), clean: bool, with_target: bool) {
        let Some((pool, session)) = self
            .conns
            .get(&place)
            .and_then(|conn| Some((conn.pool, conn.session?)))
        else {
            return;
        };
        if with_target {
            let digits = self.pools[pool].target_digits();
            let line = format!(
                "{{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"{digits}\"]}}"
            );
            self.send_from_pool(place, line);
        }
        self.content_count += 1;
        let content = format!("{:064x}", self.content_count);
        let (line, _) = self.pools[pool].job(session, &content, clean);
        self.send_from_pool(place, line);
    }

    pub(super) fn pool_acts(&mut self, pool: usize) {
        let after = self.random.u64(100..1500);
        self.at(after, Event::PoolActs(pool));
        let places: Vec<(usize, u32)> = self.authorized_at(pool);
        if self.phase != Phase::Storm {
            // Often enough that no pool counts as silent.
            for place in places {
                self.announce(place, false, false);
            }
            return;
        }
        match self.random.u8(..40) {
            0..=13 => {
                let clean = self.random.u8(..3) == 0;
                let with_target = self.random.u8(..4) == 0;
                if with_target && self.random.bool() {
                    self.pools[pool].target = self.random.u64(1..);
                }
                for place in places {
                    self.announce(place, clean, with_target);
                }
            }
            14..=16 => {
                self.pools[pool].target = self.random.u64(1..);
                let digits = self.pools[pool].target_digits();
                let digits = digits.trim_start_matches('0');
                for place in places {
                    let line = format!(
                        "{{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"{digits}\"]}}"
                    );
                    self.send_from_pool(place, line);
                }
            }
            17..=18 => {
                for place in places {
                    let lines = ["{\"id\":null", "hello", "{\"id\":5,\"result\":7}", "", "[]"];
                    let line = lines[self.random.usize(..lines.len())];
                    self.send_from_pool(place, line.to_owned());
                }
            }
            19..=20 => {
                let line = match self.random.u8(..5) {
                    0 => "{\"method\":\"client.reconnect\",\"params\":[],\"id\":null}".to_owned(),
                    1 => format!(
                        "{{\"method\":\"client.reconnect\",\"params\":[\"POOL{pool}\",\"3333\",0]}}"
                    ),
                    2 => {
                        "{\"method\":\"client.reconnect\",\"params\":[\"thief\",3333,0]}".to_owned()
                    }
                    3 => "{\"method\":\"client.show_message\",\"params\":[\"hi\"]}".to_owned(),
                    _ => "{\"id\":77,\"method\":\"client.get_version\",\"params\":[]}".to_owned(),
                };
                for place in places {
                    self.send_from_pool(place, line.clone());
                }
            }
            21..=23 if self.pools[pool].moves_links => {
                for place in places {
                    self.move_link(pool, place);
                }
            }
            24..=25 => {
                // One connection is lost.
                let all = self.connected_to(pool);
                if !all.is_empty() {
                    let place = all[self.random.usize(..all.len())];
                    self.at(1, Event::Closed(key_of(place), LinkEnd::Reset));
                }
            }
            26 => self.pools[pool].mute ^= true,
            27 => self.pools[pool].closed_door ^= true,
            28 => {
                self.pools[pool].up ^= true;
                if !self.pools[pool].up {
                    for place in self.connected_to(pool) {
                        self.at(1, Event::Closed(key_of(place), LinkEnd::Closed));
                    }
                }
            }
            29..=30 => {
                let until = self.now + self.random.u64(100..4000);
                for place in places {
                    self.conns.get_mut(&place).expect("connected").stalled_until = until;
                }
                let after = until - self.now;
                self.at(after, Event::Unstalled);
            }
            _ => {
                let pool = &mut self.pools[pool];
                if self.random.u8(..3) == 0 {
                    (pool.up, pool.mute, pool.closed_door) = (true, false, false);
                }
            }
        }
    }

    pub(super) fn move_link(&mut self, pool: usize, place: (usize, u32)) {
        let session = self.conns[&place].session.expect("authorized");
        // Now and then the bytes are the same as before.
        if self.random.u8(..4) > 0 {
            let nonce_1 = self.pools[pool].next_nonce_1();
            self.pools[pool].sessions[session].nonce_1 = nonce_1;
        }
        let nonce_1 = &self.pools[pool].sessions[session].nonce_1;
        let line = format!(
            "{{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"{nonce_1}\"]}}"
        );
        self.send_from_pool(place, line);
        let clean = self.random.bool();
        self.announce(place, clean, false);
    }

    pub(super) fn connected_to(&self, pool: usize) -> Vec<(usize, u32)> {
        let conns = self.conns.iter().filter(|(_, conn)| conn.pool == pool);
        conns.map(|(&place, _)| place).collect()
    }

    pub(super) fn authorized_at(&self, pool: usize) -> Vec<(usize, u32)> {
        let mut places = self.connected_to(pool);
        places.retain(|place| self.conns[place].authorized);
        places
    }

    /// A line of ours reaches a pool.
    pub(super) fn reaches_pool(&mut self, place: (usize, u32), line: &str) {
        self.tell(|| format!("link {place:?} < {line}"));
        let (id, method, params) = {
            let message = self.reader.read(line.as_bytes());
            let Ok(message) = message else {
                panic!("WHAT REACHES A POOL IS WHOLE LINES: {line:?}: {message:?}");
            };
            let params = message
                .params
                .map(|params| params.elements().map(raw_text).collect());
            (
                message.id.map(raw_text).unwrap_or_default(),
                message.method.map(raw_text).unwrap_or_default(),
                params.unwrap_or_else(Vec::<String>::new),
            )
        };
        let pool = self.conns[&place].pool;
        if self.pools[pool].mute && method != "\"mining.submit\"" {
            return;
        }
        match method.as_str() {
            "\"mining.subscribe\"" if self.pools[pool].closed_door => {
                let line =
                    format!("{{\"id\":{id},\"result\":null,\"error\":[20,\"closed\",null]}}");
                self.send_from_pool(place, line);
            }
            "\"mining.subscribe\"" => {
                let wanted = params.get(1).map(|wanted| wanted.trim_matches('"'));
                let session = self.pools[pool].subscribe(wanted);
                let known = &self.pools[pool].sessions[session];
                let answer = match self.random.u8(..2) {
                    0 => format!("[\"{}\",\"{}\"]", known.id, known.nonce_1),
                    _ => format!(
                        "[[[\"mining.notify\",\"{}\"]],\"{}\"]",
                        known.id, known.nonce_1
                    ),
                };
                self.conns.get_mut(&place).expect("connected").session = Some(session);
                self.send_from_pool(place, format!("{{\"id\":{id},\"result\":{answer}}}"));
            }
            "\"mining.authorize\"" => {
                let worker = format!("\"{}\"", self.pools[pool].worker);
                assert_eq!(
                    params.first(),
                    Some(&worker),
                    "THE POOL'S OWN WORKER LOGS IN"
                );
                let early = self.pools[pool].job_before_authorized;
                if early {
                    self.announce(place, false, true);
                }
                self.conns.get_mut(&place).expect("connected").authorized = true;
                self.send_from_pool(
                    place,
                    format!("{{\"id\":{id},\"result\":true,\"error\":null}}"),
                );
                if !early {
                    self.announce(place, true, true);
                }
            }
            "\"mining.submit\"" => self.share_reaches_pool(place, line, &id, &params),
            _ => {}
        }
    }

    pub(super) fn share_reaches_pool(
        &mut self,
        place: (usize, u32),
        line: &str,
        id: &str,
        params: &[String],
    ) {
        self.totals.shares_at_pools += 1;
        let conn = self.conns.get_mut(&place).expect("connected");
        assert!(
            conn.authorized,
            "A SHARE COMES BEHIND THE HANDSHAKE: {line}"
        );
        assert!(
            conn.seen.insert(params[1..5].concat()),
            "A SHARE REACHES A CONNECTION AT MOST ONCE: {line}"
        );
        let (pool, session) = (conn.pool, conn.session.expect("subscribed"));
        let solution = params[4].trim_matches('"');
        self.sent
            .insert((place.0, id.to_owned()), solution.to_owned());
        let share = self
            .shares
            .get_mut(solution)
            .unwrap_or_else(|| panic!("A SHARE IS FORWARDED BYTE FOR BYTE: {line}"));
        assert!(!share.must_not, "A BAD SHARE REACHES NO POOL: {share:?}");
        let our_id = share.job_id.to_lowercase();
        let our_id = our_id.trim_start_matches('0');
        let content = &self.our_jobs[our_id];
        let nonce_1 = self.pools[pool].sessions[session]
            .jobs
            .get(&params[1])
            .and_then(|jobs| jobs.iter().find(|(announced, _)| announced == content))
            .map(|(_, nonce_1)| nonce_1)
            .unwrap_or_else(|| {
                panic!("A SHARE REACHES A POOL ONLY UNDER A JOB OF ITS SESSION: {line} {share:?}")
            });
        let slot = share.nonce_1.strip_prefix(nonce_1.as_str());
        let sent = params[3].trim_matches('"').strip_suffix(&share.nonce_2);
        let own = if share.overheard { sent } else { slot };
        let Some(slot) = own else {
            panic!("A SHARE REACHES ONLY THE POOL OF ITS NONCE SPACE: {line} {share:?}, {nonce_1}")
        };
        let expected = format!(
            "{{\"id\":{id},\"method\":\"mining.submit\",\"params\":[\"{}\",{},\"{TIME}\",\
             \"{slot}{}\",\"{solution}\"{}]}}",
            self.pools[pool].worker, params[1], share.nonce_2, share.extra
        );
        // What follows the comma is the miner's own text.
        assert_eq!(line, expected, "A SHARE IS FORWARDED BYTE FOR BYTE");
        let fresh = self.pools[pool].sessions[session]
            .seen
            .insert(solution.to_owned());
        let chance = self.random.u32(..100);
        let habits = &self.pools[pool];
        let answer = if !fresh {
            share.called_duplicate = true;
            self.totals.resent_duplicates += 1;
            "false,\"error\":[22,\"duplicate share\",null]".to_owned()
        } else if chance < habits.reject_percent {
            format!("null,\"error\":[23,\"sim {}\",null]", share.number)
        } else if chance >= 100 - habits.silent_percent {
            return;
        } else {
            share.accepted_by_pool = true;
            "true,\"error\":null".to_owned()
        };
        // Replies overtake each other.
        let after = self.random.u64(1..=habits.delay_max);
        let line = format!("{{\"id\":{id},\"result\":{answer}}}");
        self.at(after, Event::Heard(key_of(place), line));
        if self.random.u8(..200) == 0 {
            let again = format!("{{\"id\":{id},\"result\":true,\"error\":null}}");
            self.at(after + 1, Event::Heard(key_of(place), again));
        }
    }

    /// A pool's line reaches the exchange; the model keeps what it means.
    pub(super) fn hear(&mut self, key: LinkKey, line: &str) {
        let place = place_of(key);
        let Some(conn) = self.conns.get_mut(&place) else {
            return;
        };
        if !self.exchange.is_current(key) {
            return;
        }
        if self.feeds.len() <= key.index {
            self.feeds.resize_with(key.index + 1, Feed::default);
        }
        let feed = &mut self.feeds[key.index];
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
                        feed.nonce_1 = Some(nonce_1);
                    }
                    let content = params[3].clone();
                    let clean = params[7] == "true";
                    self.contents
                        .insert(content.clone(), (key.index, feed.jobs.len()));
                    feed.jobs.push(LinkJob {
                        content,
                        clean,
                        target: feed.target.clone(),
                    });
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
                    feed.nonce_1 = feed.offered.take();
                    feed.lost = None;
                    conn.up = true;
                }
                None => judged = self.sent.get(&(key.index, id_of(&message))),
                _ => {}
            }
        }
        let unexpected = self.exchange.counters().answers_unexpected;
        let now = self.now();
        self.exchange.handle_link_line(now, key, line.as_bytes());
        // In the other mode its miner was told long ago.
        if let Some(solution) = judged
            && self.exchange.counters().answers_unexpected == unexpected
            && self.settings.share_reply == ShareReply::Pool
        {
            let miner = self.shares[solution].miner;
            self.miners[miner].is_judged(solution);
        }
    }
}
