//! What the pools make of the lines that reach them.

use super::*;

impl World {
    /// A line of ours reaches a pool.
    pub(super) fn reaches_pool(&mut self, place: ConnKey, line: &str) {
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
            "\"mining.authorize\"" if self.conns[&place].authorized => {
                self.name_reaches_pool(place, &id, &params);
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
        place: ConnKey,
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
            .insert((place.feed(), id.to_owned()), solution.to_owned());
        let worker = self.shares.get(solution).map(|share| share.worker.as_str());
        let name = self.name_at(pool, worker.unwrap_or_default());
        assert!(
            !self.is_named() || self.conns[&place].names.contains(&name),
            "A SHARE GOES OUT UNDER A NAME THAT ITS POOL HAS TAKEN: {line}"
        );
        let share = self
            .shares
            .get_mut(solution)
            .unwrap_or_else(|| panic!("A SHARE IS FORWARDED BYTE FOR BYTE: {line}"));
        assert!(!share.must_not, "A BAD SHARE REACHES NO POOL: {share:?}");
        let our_id = share.job_id.to_lowercase();
        let our_id = our_id.trim_start_matches('0');
        let (content, shard) = &self.our_jobs[our_id];
        assert_eq!(
            *shard, share.shard,
            "A JOB IS FOR THE MINERS OF ITS SHARD: {line} {share:?}"
        );
        let jobs = self.pools[pool].sessions[session].jobs.get(&params[1]);
        let announced = jobs.into_iter().flatten();
        let nonces: Vec<&str> = announced
            .filter(|(announced, _)| announced == content)
            .map(|(_, nonce_1)| nonce_1.as_str())
            .collect();
        assert!(
            !nonces.is_empty(),
            "A SHARE REACHES A POOL ONLY UNDER A JOB OF ITS SESSION: {line} {share:?}"
        );
        let mut slots = nonces
            .iter()
            .filter_map(|nonce_1| share.nonce_1.strip_prefix(nonce_1));
        let sent = params[3].trim_matches('"').strip_suffix(&share.nonce_2);
        let own = if share.overheard { sent } else { slots.next() };
        let Some(slot) = own else {
            panic!("A SHARE REACHES ONLY THE POOL OF ITS NONCE SPACE: {line} {share:?} {nonces:?}")
        };
        let expected = format!(
            "{{\"id\":{id},\"method\":\"mining.submit\",\"params\":[\"{name}\",{},\"{TIME}\",\
             \"{slot}{}\",\"{solution}\"{}]}}",
            params[1], share.nonce_2, share.extra
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
        self.at(after, Event::Heard(place, line));
        if self.random.u8(..200) == 0 {
            let again = format!("{{\"id\":{id},\"result\":true,\"error\":null}}");
            self.at(after + 1, Event::Heard(place, again));
        }
    }
}
