//! What the pools do, and what they make of what reaches them.

use super::*;

impl World {
    pub(super) fn send_from_pool(&mut self, place: ConnKey, line: String) {
        let Some(conn) = self.conns.get_mut(&place) else {
            return;
        };
        let delay = self.random.u64(1..=self.pools[conn.pool].delay_max);
        conn.speaks_at = conn.speaks_at.max(self.now + delay);
        let after = conn.speaks_at - self.now;
        self.at(after, Event::Heard(place, line));
    }

    pub(super) fn announce(&mut self, place: ConnKey, clean: bool, with_target: bool) {
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
        let content = match &self.pools[pool].newest {
            Some((content, _)) if self.pools[pool].one_for_all => content.clone(),
            _ => self.next_content(pool, clean),
        };
        let (line, _) = self.pools[pool].job(session, &content, clean);
        self.send_from_pool(place, line);
    }

    fn next_content(&mut self, pool: usize, clean: bool) -> String {
        self.content_count += 1;
        let content = format!("{:064x}", self.content_count);
        self.pools[pool].newest = Some((content.clone(), clean));
        content
    }

    /// A pool has new work, and tells these connections of it.
    fn announce_new(&mut self, pool: usize, places: &[ConnKey], clean: bool, with_target: bool) {
        self.pools[pool].newest = None;
        // Now and then one of them is told something else.
        let stray = match self.random.usize(..40) {
            place if self.pools[pool].one_for_all && places.len() > 1 => places.get(place),
            _ => None,
        };
        for place in places {
            let kept = self.pools[pool].newest.take_if(|_| stray == Some(place));
            self.announce(*place, clean, with_target);
            if stray == Some(place) {
                self.pools[pool].newest = kept;
            }
        }
    }

    pub(super) fn pool_acts(&mut self, pool: usize) {
        let after = self.random.u64(100..1500);
        self.at(after, Event::PoolActs(pool));
        let places: Vec<ConnKey> = self.authorized_at(pool);
        if self.phase != Phase::Storm {
            // Often enough that no pool counts as silent.
            self.announce_new(pool, &places, false, false);
            return;
        }
        match self.random.u8(..40) {
            0..=13 => {
                let clean = self.random.u8(..3) == 0;
                let with_target = self.random.u8(..4) == 0;
                if with_target && self.random.bool() {
                    self.pools[pool].target = self.random.u64(1..);
                }
                self.announce_new(pool, &places, clean, with_target);
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
                    self.at(1, Event::Closed(place, LinkEnd::Reset));
                }
            }
            26 => self.pools[pool].mute ^= true,
            27 => self.pools[pool].closed_door ^= true,
            28 => {
                self.pools[pool].up ^= true;
                if !self.pools[pool].up {
                    for place in self.connected_to(pool) {
                        self.at(1, Event::Closed(place, LinkEnd::Closed));
                    }
                }
            }
            29..=30 => {
                let until = self.now + self.random.u64(100..4000);
                for place in places {
                    self.conns.get_mut(&place).expect("connected").stalled_until = until;
                }
                let after = until - self.now;
                for shard in 0..self.shards.len() {
                    self.at(after, Event::Unstalled(shard));
                }
            }
            _ => {
                let pool = &mut self.pools[pool];
                if self.random.u8(..3) == 0 {
                    (pool.up, pool.mute, pool.closed_door) = (true, false, false);
                }
            }
        }
    }

    pub(super) fn move_link(&mut self, pool: usize, place: ConnKey) {
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
        // Work that all links have is flagged alike on all.
        let known = self.pools[pool].newest.as_ref();
        let clean = match known.filter(|_| self.pools[pool].one_for_all) {
            Some((_, clean)) => *clean,
            None => self.random.bool(),
        };
        self.announce(place, clean, false);
    }

    pub(super) fn connected_to(&self, pool: usize) -> Vec<ConnKey> {
        let conns = self.conns.iter().filter(|(_, conn)| conn.pool == pool);
        conns.map(|(&place, _)| place).collect()
    }

    pub(super) fn authorized_at(&self, pool: usize) -> Vec<ConnKey> {
        let mut places = self.connected_to(pool);
        places.retain(|place| self.conns[place].authorized);
        places
    }
}
