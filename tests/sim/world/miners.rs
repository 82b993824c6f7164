//! What the miners do: say hello, send shares, vanish, lie.

use super::*;

impl World {
    /// A miner connects: the kernel gives it to any of the shards.
    pub(super) fn connect(&mut self, miner: usize) {
        let shard = self.random.usize(..self.shards.len());
        let reuse = self.random.bool();
        let token = self.shards[shard].place(miner, reuse);
        self.miners[miner].forget(Some(token), &mut self.random);
        self.miners[miner].shard = shard;
        let now = self.now();
        self.shards[shard].exchange.handle_connect(now, token);
        self.totals.connects += 1;
    }

    pub(super) fn let_go(&mut self, shard: usize, token: MinerToken) {
        let miner = self.shards[shard].free_place(token);
        self.miners[miner].forget(None, &mut self.random);
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>6} {}", self.now, what());
        }
    }

    pub(super) fn says(&mut self, miner: usize, line: &str) {
        let now = self.now();
        self.tell(|| format!("miner {miner} > {line}"));
        let Miner { shard, token, .. } = self.miners[miner];
        if let Some(token) = token {
            let exchange = &mut self.shards[shard].exchange;
            exchange.handle_miner_line(now, token, line.as_bytes());
        }
    }

    pub(super) fn asks(&mut self, miner: usize, method: &str, params: &str, request: Request) {
        let id = self.miners[miner].next_id();
        // While somebody is asked for a worker, replies may wait for that.
        let mut waiting = self.miners[miner].waiting.values();
        let is_asked = |request: &Request| matches!(request, Request::Authorize { .. });
        let is_due = match request {
            Request::Polite => !self.asks_for_workers() || !waiting.any(is_asked),
            Request::Authorize { .. } => !self.asks_for_workers(),
            _ => false,
        };
        if is_due {
            self.miners[miner].due.push_back(id.clone());
        }
        if matches!(request, Request::Subscribe) {
            self.shards[self.miners[miner].shard].slots_given += 1;
        }
        self.miners[miner].waiting.insert(id.clone(), request);
        let line = match self.random.u8(..3) {
            0 => format!("{{\"id\": {id}, \"method\": \"{method}\", \"params\": {params}}}"),
            1 => format!("{{\"params\":{params},\"method\":\"{method}\",\"id\":{id}}}"),
            _ => format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}"),
        };
        self.says(miner, &line);
    }

    /// Lets a miner do something; says on which shard.
    pub(super) fn miner_acts(&mut self, miner: usize) -> Option<usize> {
        let shard = self.miners[miner].token.map(|_| self.miners[miner].shard);
        self.acts(miner);
        shard.or_else(|| self.miners[miner].token.map(|_| self.miners[miner].shard))
    }

    fn acts(&mut self, miner: usize) {
        let connects = match self.phase {
            Phase::Storm => true,
            Phase::Calm => self.now < self.storm + CALM - CALM_END,
            Phase::Shutdown => false,
        };
        let slowly = if self.phase == Phase::Storm { 1 } else { 4 };
        let after = self.random.u64(20..1500) * slowly;
        self.at(after, Event::Acts(miner));
        if self.miners[miner].token.is_none() {
            if connects {
                self.connect(miner);
                if self.miners[miner].kind != Kind::Hostile || self.random.bool() {
                    self.greets(miner);
                }
            }
            return;
        }
        if !self.miners[miner].greeted {
            // Some never say a word.
            if self.random.u8(..4) > 0 && connects {
                self.greets(miner);
            }
            return;
        }
        if !self.miners[miner].asked_authorize
            && self.miners[miner].nonce_1.is_some()
            && self.random.u8(..8) > 0
        {
            let worker = self.miners[miner].worker.clone();
            self.authorizes(miner, worker);
        }
        let kind = self.miners[miner].kind;
        if self.phase != Phase::Storm {
            // Only links that hold for a while announce the same.
            let exchanges_jobs = self.settings().job_exchange.is_some();
            if exchanges_jobs && self.now < self.storm + CALM / 2 && kind != Kind::Hostile {
                self.submits(miner);
            }
            return;
        }
        if self.miners[miner].is_mining()
            && self.miners[miner].workers.len() < 5
            && self.random.u8(..12) == 0
        {
            self.authorizes_another(miner);
        }
        if kind == Kind::Restless && self.random.u8(..8) == 0 {
            self.vanishes(miner);
            return;
        }
        if kind == Kind::Hostile {
            self.lies(miner);
        }
        let shares = match kind {
            Kind::Pipelining => self.random.usize(..12),
            _ => self.random.usize(..2),
        };
        for _ in 0..shares {
            self.submits(miner);
        }
    }

    pub(super) fn greets(&mut self, miner: usize) {
        let kind = self.miners[miner].kind;
        self.miners[miner].greeted = true;
        let extranonce = kind == Kind::Extranonce || self.random.u8(..4) == 0;
        let early = kind == Kind::Pipelining || self.random.u8(..5) == 0;
        let mut steps = vec!["subscribe"];
        if extranonce {
            steps.push(if self.random.bool() {
                "extranonce"
            } else {
                "configure"
            });
        }
        if early {
            steps.push("authorize");
        }
        self.random.shuffle(&mut steps);
        for step in steps {
            match step {
                "subscribe" => {
                    let params = ["[]", "[\"gminer\",null,\"h\",\"1\"]", "null"];
                    let params = params[self.random.usize(..params.len())];
                    self.asks(miner, "mining.subscribe", params, Request::Subscribe);
                }
                "authorize" => {
                    let worker = self.miners[miner].worker.clone();
                    self.authorizes(miner, worker);
                }
                step => {
                    self.miners[miner].takes_extranonce = true;
                    let (method, params) = if step == "extranonce" {
                        ("mining.extranonce.subscribe", "[]")
                    } else {
                        ("mining.configure", "[[\"subscribe-extranonce\"],{}]")
                    };
                    self.asks(miner, method, params, Request::Polite);
                }
            }
        }
    }

    pub(super) fn authorizes(&mut self, miner: usize, worker: String) {
        self.miners[miner].asked_authorize = true;
        self.miners[miner].workers.push(worker.clone());
        let params = format!("[\"{worker}\",\"x\"]");
        let request = Request::Authorize { worker };
        self.asks(miner, "mining.authorize", &params, request);
    }

    pub(super) fn vanishes(&mut self, miner: usize) {
        let Some(token) = self.miners[miner].token else {
            return;
        };
        if self.miners[miner].unanswered_submits().next().is_some() {
            self.totals.disconnects_in_flight += 1;
        }
        let reason = if self.random.bool() {
            CloseReason::Closed
        } else {
            CloseReason::Reset
        };
        let shard = self.miners[miner].shard;
        self.let_go(shard, token);
        let exchange = &mut self.shards[shard].exchange;
        exchange.handle_disconnect(token, reason);
    }

    pub(super) fn submits(&mut self, miner: usize) {
        let (Some(nonce_1), Some(job)) = (
            self.miners[miner].nonce_1.clone(),
            self.miners[miner].job.clone(),
        ) else {
            return;
        };
        let job_id = match self.random.u8(..10) {
            0 => format!("{:0>8}", job.id.to_uppercase()),
            _ => job.id,
        };
        let worker = self.worker_of(miner);
        self.sends_share(miner, &worker, &job_id, &nonce_1, false);
    }

    pub(super) fn sends_share(
        &mut self,
        miner: usize,
        worker: &str,
        job_id: &str,
        nonce_1: &str,
        must_not: bool,
    ) {
        let number = self.shares.len();
        let current = self.miners[miner].job.as_ref().map(|job| job.id.as_str());
        let known = job_id.to_lowercase();
        let overheard = current != Some(known.trim_start_matches('0'));
        let nonce_2: String = (0..64usize.saturating_sub(nonce_1.len()))
            .map(|_| self.random.digit(16))
            .collect();
        let noise = self.random.u64(..);
        let width = SOLUTION_DIGITS - 16;
        let solution = format!("24{noise:016x}{number:0width$x}");
        let extra = match self.random.u8(..10) {
            0 => ", \"x\", [1]".to_owned(),
            _ => String::new(),
        };
        let share = Share {
            number,
            miner,
            shard: self.miners[miner].shard,
            worker: worker.to_owned(),
            job_id: job_id.to_owned(),
            nonce_1: nonce_1.to_owned(),
            nonce_2: nonce_2.clone(),
            extra: extra.clone(),
            must_not,
            overheard,
            link_was_up: false,
            accepted_by_pool: false,
            called_duplicate: false,
            answers_true: 0,
        };
        self.shares.insert(solution.clone(), share);
        let mut digits = [TIME.to_owned(), nonce_2, solution.clone()];
        if self.random.u8(..4) == 0 {
            digits = digits.map(|text| text.to_uppercase());
        }
        let [time, nonce_2, spelled] = digits;
        let params =
            format!("[\"{worker}\",\"{job_id}\",\"{time}\",\"{nonce_2}\",\"{spelled}\"{extra}]");
        self.submit_line(miner, params, solution);
    }

    pub(super) fn submit_line(&mut self, miner: usize, params: String, solution: String) {
        let at = self.now;
        if let Some(share) = self.shares.get_mut(&solution) {
            let shard = &self.shards[self.miners[miner].shard];
            share.link_was_up |= shard.exchange.counters().links_up > 0 || shard.is_guest();
        }
        self.miners[miner].last_submit = Some((params.clone(), solution.clone()));
        self.totals.submits += 1;
        self.asks(
            miner,
            "mining.submit",
            &params,
            Request::Submit { solution, at },
        );
    }

    pub(super) fn lies(&mut self, miner: usize) {
        let worker = self.miners[miner].worker.clone();
        let nonce_1 = self.miners[miner].nonce_1.clone();
        let nonce_1 = nonce_1.as_deref().unwrap_or("a00001");
        let job = self.miners[miner].job.clone();
        let job_id = job.map_or_else(|| "1".to_owned(), |job| job.id);
        match self.random.u8(..12) {
            0 => {
                let lines = [
                    "\u{1}",
                    "{",
                    "[1]",
                    "{}",
                    "{\"method\":5}",
                    "{\"id\":null,\"method\":null}",
                    "{\"id\":[],\"method\":\"mining.subscribe\"}",
                    "nonsense",
                ];
                let line = lines[self.random.usize(..lines.len())];
                self.miners[miner].null_due += 1;
                self.says(miner, line);
            }
            1 => {
                self.totals.forged_replies += 1;
                let id = self.random.u64(10..60);
                let line = match self.random.u8(..3) {
                    0 => format!("{{\"id\":{id},\"result\":true,\"error\":null}}"),
                    1 => format!("{{\"id\":{id},\"error\":[21,\"x\",null]}}"),
                    _ => format!("{{\"id\":{id},\"result\":null}}"),
                };
                self.says(miner, &line);
            }
            2..=3 => {
                if let Some((params, solution)) = self.miners[miner].last_submit.clone() {
                    self.submit_line(miner, params, solution);
                }
            }
            4 => {
                let unknown = format!("{:x}", self.random.u32(..));
                if !self.our_jobs.contains_key(&unknown) {
                    self.sends_share(miner, &worker, &unknown, nonce_1, true);
                }
            }
            // A job of which it may have heard from a neighbour: of another link, or an old one.
            5 if !self.our_job_ids.is_empty() => {
                let place = self.random.usize(..self.our_job_ids.len());
                let id = self.our_job_ids[place].clone();
                self.sends_share(miner, &worker, &id, nonce_1, false);
            }
            6 => self.sends_share(miner, "somebody.else", &job_id, nonce_1, true),
            7 => {
                let short = &nonce_1[2..];
                self.sends_share(miner, &worker, &job_id, short, true);
            }
            8 => self.asks(miner, "mining.subscribe", "[]", Request::Subscribe),
            9 => {
                let methods = ["mining.bogus", "mining.multi_version", "mining.ping"];
                let method = methods[self.random.usize(..methods.len())];
                self.asks(miner, method, "[4]", Request::Polite);
            }
            10 => {
                let params = "[\"w\",\"1\",5]".to_owned();
                self.submit_line(miner, params, String::new());
            }
            _ => {
                for _ in 0..self.random.usize(..40) {
                    self.submits(miner);
                }
            }
        }
    }

    /// Tells the exchange what a socket did not take, as the ring does: later.
    pub(super) fn drain(&mut self, shard: usize, token: MinerToken) {
        let now = self.now();
        let Some(miner) = self.shards[shard].miner_of(token) else {
            return;
        };
        let socket = &mut self.miners[miner].socket;
        let refused = std::mem::take(&mut socket.refused);
        socket.blocked = Blocked::Reported;
        self.totals.blocked_twice += u64::from(refused.len() > 1);
        for send in refused {
            let exchange = &mut self.shards[shard].exchange;
            if let Some(kept) = &mut self.miners[miner].socket.kept {
                kept.extend_from_slice(&send.bytes[send.sent..]);
                exchange.handle_kept(now, token, kept.len());
                self.totals.kept += 1;
            } else {
                let pieces = send.pieces.iter().copied();
                exchange.handle_blocked(now, token, send.sent, pieces, &send.bytes);
            }
        }
        if self.miners[miner].socket.reading != Reading::Never {
            let after = self.random.u64(1..2500);
            self.at(after, Event::Writable(shard, token));
        }
    }

    /// A socket has room: first what the shell kept goes out, and then the exchange may say more.
    pub(super) fn has_room(&mut self, shard: usize, token: MinerToken) {
        let now = self.now();
        let Some(miner) = self.shards[shard].miner_of(token) else {
            return;
        };
        let more = self.random.usize(1..1500);
        let socket = &mut self.miners[miner].socket;
        socket.room = socket.room.saturating_add(more);
        let mut kept = socket.kept.as_mut().map(std::mem::take).unwrap_or_default();
        let taken = socket.take(&kept);
        kept.drain(..taken);
        let exchange = &mut self.shards[shard].exchange;
        exchange.handle_writable(token);
        if kept.is_empty() {
            socket.blocked = Blocked::No;
        } else {
            // It took something, so it counts as blocked from now on.
            exchange.handle_kept(now, token, kept.len());
            socket.kept = Some(kept);
            self.totals.kept_twice += 1;
            let after = self.random.u64(1..2500);
            self.at(after, Event::Writable(shard, token));
        }
        self.miner_hears(miner);
    }
}
