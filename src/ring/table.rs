//! Who is who on the ring: tokens, the state of each connection, and which places are taken.

/// One connection. `index` is its place in the ring's table of direct descriptors; places are used
/// again, and `generation` tells the connections that had the same place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The place in the table.
    pub index: u32,
    /// Counts the uses of that place; 24 bits, then it starts again.
    pub generation: u32,
}

/// The kernel hands an operation's 64 bits of user data back: 8 name the operation, 24 the
/// generation, 32 the index.
const GENERATION_MASK: u32 = 0x00ff_ffff;

impl Token {
    /// The token as a number below 2^56.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.generation & GENERATION_MASK) as u64) << 32 | self.index as u64
    }

    /// The generation behind this one.
    pub(super) const fn next_generation(generation: u32) -> u32 {
        (generation + 1) & GENERATION_MASK
    }

    /// The reverse of [`Token::to_bits`]; the 8 highest bits are not looked at.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            index: (bits & 0xffff_ffff) as u32,
            generation: ((bits >> 32) & GENERATION_MASK as u64) as u32,
        }
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The place is free.
    Free,
    Connecting,
    Open,
    /// The close is with the kernel; nothing is reported any more.
    Closing,
}

/// Whether a send was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    No,
    /// The kernel has told us, we have not told the handler.
    Unreported,
    Reported,
}

/// Whether a multishot receive is with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    No,
    /// It has brought nothing yet.
    Armed,
    /// It has brought bytes.
    Fed,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    pub(super) blocked: Blocked,
    pub(super) receiving: Receiving,
    /// The caller wants no bytes now.
    pub(super) paused: bool,
    /// A poll for room to write is with the kernel.
    pub(super) polling: bool,
    /// The last batch of sends that this connection had a part in, and which record of it is its.
    pub(super) batch: u32,
    pub(super) record: u32,
}

/// The connections of one ring, by place.
#[derive(Debug)]
pub(super) struct Table {
    connections: Vec<Connection>,
    capacity: u32,
    /// Places with a file in them, those being closed included.
    occupied: u32,
    /// Places that [`Table::choose`] gave out and that are free again. Only a ring that connects
    /// chooses; where the kernel chooses (accept), this stays empty.
    vacated: Vec<u32>,
    chosen: u32,
}

impl Table {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            connections: Vec::new(),
            capacity,
            occupied: 0,
            vacated: Vec::new(),
            chosen: 0,
        }
    }

    /// Places with no file in them, a pending accept's included.
    pub(super) fn free(&self) -> u32 {
        self.capacity - self.occupied
    }

    pub(super) fn occupied(&self) -> u32 {
        self.occupied
    }

    /// Picks a free place for a connection that we open.
    pub(super) fn choose(&mut self) -> Option<u32> {
        self.vacated.pop().or_else(|| {
            let index = self.chosen;
            (index < self.capacity).then(|| {
                self.chosen += 1;
                index
            })
        })
    }

    /// A file now lies at `index`.
    pub(super) fn occupy(&mut self, index: u32, phase: Phase) -> Token {
        let place = index as usize;
        while self.connections.len() <= place {
            self.connections.push(Connection {
                generation: 0,
                phase: Phase::Free,
                blocked: Blocked::No,
                receiving: Receiving::No,
                paused: false,
                polling: false,
                batch: 0,
                record: 0,
            });
        }
        // The kernel gives a place out again as soon as it has closed the file, and the completion
        // of that close comes first. Should it ever come second, it is of an old generation and
        // ignored.
        debug_assert!(
            self.connections[place].phase == Phase::Free,
            "place {index} is taken"
        );
        if self.connections[place].phase != Phase::Free {
            self.vacate(index);
        }
        self.occupied += 1;
        let connection = &mut self.connections[place];
        connection.phase = phase;
        connection.blocked = Blocked::No;
        connection.receiving = Receiving::No;
        connection.paused = false;
        connection.polling = false;
        Token {
            index,
            generation: connection.generation,
        }
    }

    /// The file at `index` is gone; the next one there has another generation.
    fn vacate(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        debug_assert!(
            connection.phase != Phase::Free,
            "place {index} is freed twice"
        );
        connection.phase = Phase::Free;
        connection.generation = Token::next_generation(connection.generation);
        self.occupied -= 1;
    }

    /// The kernel has closed the file of `token`.
    pub(super) fn closed(&mut self, token: Token) {
        if self.get(token).is_none() {
            return;
        }
        self.vacate(token.index);
        if token.index < self.chosen {
            self.vacated.push(token.index);
        }
    }

    /// Places that have been taken at some time; the first of them is 0.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.connections.len()).expect("a place is 32 bits")
    }

    /// The connection at a place, if there is one.
    pub(super) fn token_at(&self, index: u32) -> Option<Token> {
        let connection = self.connections.get(index as usize)?;
        (connection.phase != Phase::Free).then_some(Token {
            index,
            generation: connection.generation,
        })
    }

    /// The connection that `token` still means, in whatever phase.
    pub(super) fn get(&mut self, token: Token) -> Option<&mut Connection> {
        self.connections
            .get_mut(token.index as usize)
            .filter(|it| it.generation == token.generation && it.phase != Phase::Free)
    }

    /// The connection that `token` means, if it is open for bytes.
    pub(super) fn open(&mut self, token: Token) -> Option<&mut Connection> {
        self.get(token).filter(|it| it.phase == Phase::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_bits() {
        let token = Token {
            index: u32::MAX,
            generation: GENERATION_MASK,
        };
        assert_eq!(Token::from_bits(token.to_bits()), token);
        assert_eq!(Token::from_bits(token.to_bits() | 0xab << 56), token);
        assert_eq!(token.to_bits() >> 56, 0);
    }

    #[test]
    fn a_place_used_again_has_another_generation() {
        let mut table = Table::new(2);
        let first = table.occupy(1, Phase::Open);
        table.closed(first);
        assert_eq!(table.free(), 2);
        let second = table.occupy(1, Phase::Open);
        assert_ne!(first, second);
        assert!(table.get(first).is_none());
        table.closed(first);
        assert!(table.open(second).is_some(), "the old close is ignored");
    }

    #[test]
    fn the_generation_wraps_within_its_bits() {
        let mut table = Table::new(1);
        let token = table.occupy(0, Phase::Open);
        table.get(token).expect("open").generation = GENERATION_MASK;
        table.closed(Token {
            index: 0,
            generation: GENERATION_MASK,
        });
        assert_eq!(table.occupy(0, Phase::Open).generation, 0);
    }

    #[test]
    fn chosen_places_are_chosen_again_once_closed() {
        let mut table = Table::new(2);
        let first = table.choose().expect("room");
        let token = table.occupy(first, Phase::Connecting);
        let second = table.choose().expect("room");
        table.occupy(second, Phase::Connecting);
        assert_eq!(table.choose(), None);
        table.closed(token);
        assert_eq!(table.choose(), Some(first));
    }
}
