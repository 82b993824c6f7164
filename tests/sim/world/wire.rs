//! The miners' sockets during one flush.

use super::*;

/// The miners' sockets during one flush.
pub(super) struct Wire<'a> {
    pub(super) miners: &'a mut [Miner],
    pub(super) places: &'a [(u32, Option<usize>)],
    pub(super) closed: Vec<(MinerToken, CloseHow, CloseReason)>,
    pub(super) sent_to: Vec<MinerToken>,
    pub(super) short: Vec<MinerToken>,
    pub(super) send_max: usize,
}

impl Wire<'_> {
    fn send(&mut self, token: MinerToken, bytes: Vec<u8>, pieces: Vec<(Tag, usize)>) {
        let (generation, miner) = self.places[token.index as usize];
        assert_eq!(generation, token.generation, "A DEAD MINER IS SENT NOTHING");
        let miner = miner.expect("A DEAD MINER IS SENT NOTHING");
        let socket = &mut self.miners[miner].socket;
        assert!(!bytes.is_empty(), "NOTHING IS NOT SENT");
        assert!(
            bytes.len() <= self.send_max,
            "WHAT IS QUEUED FOR A MINER HAS A BOUND"
        );
        socket.sends_in_flush += 1;
        assert_eq!(
            socket.sends_in_flush, 1,
            "A FLUSH IS ONE SEND FOR EACH MINER"
        );
        self.sent_to.push(token);
        match socket.blocked {
            Blocked::Reported => {
                panic!("A BLOCKED MINER IS SENT NOTHING: {:?}", self.miners[miner])
            }
            Blocked::Unreported => socket.refused.push(Refused {
                sent: 0,
                pieces,
                bytes,
            }),
            Blocked::No => {
                let sent = socket.take(&bytes);
                if sent < bytes.len() {
                    socket.blocked = Blocked::Unreported;
                    self.short.push(token);
                    socket.refused.push(Refused {
                        sent,
                        pieces,
                        bytes,
                    });
                }
            }
        }
    }
}

impl Transmit for Wire<'_> {
    fn send_shared(&mut self, miner: MinerToken, line: &Rc<[u8]>, tag: Tag) {
        self.send(miner, line.to_vec(), vec![(tag, line.len())]);
    }

    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]) {
        let bytes: Vec<&[u8]> = pieces.iter().map(|(bytes, _)| *bytes).collect();
        let named = pieces.iter().map(|(bytes, tag)| (*tag, bytes.len()));
        self.send(miner, bytes.concat(), named.collect());
    }

    fn close(&mut self, miner: MinerToken, how: CloseHow, reason: CloseReason) {
        self.closed.push((miner, how, reason));
    }
}
