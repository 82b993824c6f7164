//! A small solver for Equihash 48,5, the parameters of Zcash's test network on one machine.
//!
//! It lets tests and the load generator send shares that are real: a pool that judges them fully
//! accepts them. For a coin it is useless, by design: nobody mines with these parameters.
//!
//! It is Wagner's algorithm. Every index of 9 bits has a hash of 48 bits. Each round pairs the rows
//! whose next 8 bits are equal and keeps the exclusive or; after five rounds, the last on 16 bits,
//! what is left is zero, and the 32 indices below such a pair are a solution. Each layer has about as
//! many rows as the one before, as 512 rows in 256 buckets make 511 pairs.
//!
//! A tree that has an index twice is no solution. Rows made of a common row, and rows whose hashes
//! are equal to the end, are not paired: what cancels out would multiply in the next rounds. The
//! rest of such trees is found at the end. With so few indices there are many of them: a nonce has
//! 0.8 solutions on average, where larger parameters have about two.

use blake2b_simd::{Params, State};

use super::equihash::{HEADER_LEN, NONCE_LEN};

/// Bytes of a solution of 48,5 without its length prefix: 32 indices of 9 bits.
pub const SOLUTION_LEN: usize = 36;

/// Leaves of the tree: the indices are 9 bits.
const LEAVES: u16 = 512;

/// Values of the 8 bits that collide in a round.
const BUCKETS: usize = 256;

/// Bytes of a leaf's hash. One BLAKE2b hash has ten of them, so it is 60 bytes long.
const LEAF_LEN: usize = 6;
const HASH_LEN: usize = 60;

/// Most rows of a layer. Layers have about 512; one of this size has never been seen, and solutions
/// lost behind it would only be fewer solutions.
const ROWS_MAX: usize = 4096;

/// Rounds that make a new layer. One more round then finds the solutions.
const LAYERS: usize = 4;

/// Finds solutions, nonce after nonce, in buffers that it keeps.
pub struct Solver {
    base: State,
    rows: Vec<Row>,
    next: Vec<Row>,
    /// For each layer the two rows of the layer below that each row was made of.
    parents: [Vec<(u16, u16)>; LAYERS],
    /// The rows in the order of their colliding bits.
    order: Vec<u16>,
    solutions: Vec<[u8; SOLUTION_LEN]>,
}

/// The 48 bits of a hash, those that collided being zero, and below them, in 16 bits, the smallest
/// index of the row, which is also its first: the tree is ordered.
#[derive(Clone, Copy)]
struct Row(u64);

impl Default for Solver {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Solver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solver").finish_non_exhaustive()
    }
}

impl Solver {
    /// A solver with its buffers, 136 KiB. It allocates nothing later.
    #[must_use]
    pub fn new() -> Self {
        // The name, then n and k in 32 bits each, little-endian.
        let base = Params::new()
            .hash_length(HASH_LEN)
            .personal(b"ZcashPoW\x30\0\0\0\x05\0\0\0")
            .to_state();
        Self {
            base,
            rows: Vec::with_capacity(ROWS_MAX),
            next: Vec::with_capacity(ROWS_MAX),
            parents: std::array::from_fn(|_| Vec::with_capacity(ROWS_MAX)),
            order: Vec::with_capacity(ROWS_MAX),
            solutions: Vec::with_capacity(64),
        }
    }

    /// All solutions for this header and nonce, without their length prefix. Fewer than one on
    /// average, and often none.
    pub fn solve(
        &mut self,
        header: &[u8; HEADER_LEN],
        nonce: &[u8; NONCE_LEN],
    ) -> &[[u8; SOLUTION_LEN]] {
        self.solutions.clear();
        self.make_leaves(header, nonce);
        for round in 0..LAYERS {
            self.pair_rows(round);
        }
        self.find_solutions();
        &self.solutions
    }

    fn make_leaves(&mut self, header: &[u8; HEADER_LEN], nonce: &[u8; NONCE_LEN]) {
        let mut state = self.base.clone();
        state.update(header).update(nonce);
        self.rows.clear();
        let first_leaves = (0..LEAVES).step_by(HASH_LEN / LEAF_LEN);
        for (block, first_leaf) in (0u32..).zip(first_leaves) {
            let hash = state.clone().update(&block.to_le_bytes()).finalize();
            let leaves = hash.as_bytes().chunks_exact(LEAF_LEN);
            for (index, leaf) in (first_leaf..LEAVES).zip(leaves) {
                self.rows.push(Row::new(leaf, index));
            }
        }
        debug_assert_eq!(self.rows.len(), usize::from(LEAVES));
    }

    /// Brings the rows into the order of the byte that collides in this round, and gives where each
    /// bucket begins.
    fn sort_rows(&mut self, round: usize) -> [u16; BUCKETS + 1] {
        let rows = &self.rows;
        let mut starts = [0u16; BUCKETS + 1];
        for row in rows {
            starts[row.byte(round) + 1] += 1;
        }
        for bucket in 0..BUCKETS {
            starts[bucket + 1] += starts[bucket];
        }
        let mut places = starts;
        self.order.resize(rows.len(), 0);
        for (number, row) in (0u16..).zip(rows) {
            let place = &mut places[row.byte(round)];
            self.order[usize::from(*place)] = number;
            *place += 1;
        }
        starts
    }

    /// Makes the next layer.
    fn pair_rows(&mut self, round: usize) {
        let starts = self.sort_rows(round);
        let (below, parents) = self.parents.split_at_mut(round);
        let (below, parents) = (below.last(), &mut parents[0]);
        parents.clear();
        self.next.clear();
        for bucket in starts.windows(2) {
            let members = &self.order[usize::from(bucket[0])..usize::from(bucket[1])];
            for (place, &left) in members.iter().enumerate() {
                for &right in &members[place + 1..] {
                    let (l, r) = (usize::from(left), usize::from(right));
                    let (a, b) = (self.rows[l], self.rows[r]);
                    let related = below.is_some_and(|below| share_a_parent(below[l], below[r]));
                    if related || a.hash() == b.hash() || parents.len() == ROWS_MAX {
                        continue;
                    }
                    parents.push(a.ordered_with(b, (left, right)));
                    self.next.push(a.collide(b));
                }
            }
        }
        std::mem::swap(&mut self.rows, &mut self.next);
    }

    /// The last round: pairs of which all the rest is equal, 16 bits.
    fn find_solutions(&mut self) {
        let starts = self.sort_rows(LAYERS);
        let rows = &self.rows;
        for bucket in starts.windows(2) {
            let members = &self.order[usize::from(bucket[0])..usize::from(bucket[1])];
            for (place, &left) in members.iter().enumerate() {
                for &right in &members[place + 1..] {
                    let (a, b) = (rows[usize::from(left)], rows[usize::from(right)]);
                    if a.hash() != b.hash() {
                        continue;
                    }
                    let indices = expand(&self.parents, a.ordered_with(b, (left, right)));
                    if all_different(&indices) {
                        self.solutions.push(pack(&indices));
                    }
                }
            }
        }
    }
}

impl Row {
    fn new(leaf: &[u8], index: u16) -> Self {
        let hash = leaf
            .iter()
            .fold(0, |hash, byte| hash << 8 | u64::from(*byte));
        Self(hash << 16 | u64::from(index))
    }

    /// The byte that collides in this round.
    fn byte(self, round: usize) -> usize {
        usize::from(self.0.to_be_bytes()[round])
    }

    fn hash(self) -> u64 {
        self.0 >> 16
    }

    fn first(self) -> u64 {
        self.0 & 0xffff
    }

    fn collide(self, other: Self) -> Self {
        Self((self.hash() ^ other.hash()) << 16 | self.first().min(other.first()))
    }

    /// The numbers of this row and of the other, that with the smaller first index first.
    fn ordered_with(self, other: Self, (left, right): (u16, u16)) -> (u16, u16) {
        if self.first() < other.first() {
            (left, right)
        } else {
            (right, left)
        }
    }
}

/// Walks down from a pair of rows of the highest layer to its 32 indices.
fn expand(parents: &[Vec<(u16, u16)>; LAYERS], (left, right): (u16, u16)) -> [u16; 32] {
    let mut indices = [0; 32];
    indices[0] = left;
    indices[1] = right;
    let mut count = 2;
    for layer in parents.iter().rev() {
        // From the back, so that a row is read before its place is taken.
        for place in (0..count).rev() {
            let (left, right) = layer[usize::from(indices[place])];
            indices[2 * place] = left;
            indices[2 * place + 1] = right;
        }
        count *= 2;
    }
    debug_assert_eq!(count, indices.len());
    indices
}

fn share_a_parent(a: (u16, u16), b: (u16, u16)) -> bool {
    a.0 == b.0 || a.0 == b.1 || a.1 == b.0 || a.1 == b.1
}

fn all_different(indices: &[u16; 32]) -> bool {
    let mut seen = [0u64; 8];
    for index in indices {
        seen[usize::from(index / 64)] |= 1 << (index % 64);
    }
    seen.iter().map(|word| word.count_ones()).sum::<u32>() == 32
}

/// Packs indices as a solution has them: 9 bits each, the highest bit first.
fn pack(indices: &[u16; 32]) -> [u8; SOLUTION_LEN] {
    let mut packed = [0; SOLUTION_LEN];
    // Eight indices are 72 bits, nine bytes.
    for (eight, bytes) in indices.chunks_exact(8).zip(packed.chunks_exact_mut(9)) {
        let bits = eight
            .iter()
            .fold(0u128, |bits, index| bits << 9 | u128::from(*index));
        bytes.copy_from_slice(&bits.to_be_bytes()[7..]);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::equihash::verify;
    use crate::proto::dialect::equihash::Parameters;

    fn nonce(number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0x5a; NONCE_LEN];
        nonce[24..].copy_from_slice(&number.to_le_bytes());
        nonce
    }

    #[test]
    fn every_solution_passes_the_judge() {
        let parameters = Parameters::new(48, 5).unwrap();
        let mut solver = Solver::new();
        let mut found = 0;
        for number in 0..500 {
            let header = [u8::try_from(number % 251).unwrap(); HEADER_LEN];
            let solutions = solver.solve(&header, &nonce(number)).to_vec();
            for (place, solution) in solutions.iter().enumerate() {
                verify(parameters, &header, &nonce(number), solution).unwrap();
                assert!(!solutions[..place].contains(solution), "found twice");
            }
            found += solutions.len();
        }
        assert!(
            (320..500).contains(&found),
            "{found} solutions of 500 nonces"
        );
    }

    #[test]
    fn the_solution_of_the_regtest_genesis_block_is_found() {
        let mut header = [0; HEADER_LEN];
        let mut solution = [0; SOLUTION_LEN];
        faster_hex::hex_decode(
            concat!(
                "040000000000000000000000000000000000000000000000000000000000000000000000",
                "db4d7a85b768123f1dff1d4c4cece70083b2d27e117b4ac2e31d087988a5eac4",
                "0000000000000000000000000000000000000000000000000000000000000000dae5494d0f0f0f20",
            )
            .as_bytes(),
            &mut header,
        )
        .unwrap();
        faster_hex::hex_decode(
            b"01936b7db1eb4ac39f151b8704642d0a8bda13ec547d54cd5e43ba142fc6d8877cab07b3",
            &mut solution,
        )
        .unwrap();
        let mut nonce = [0; NONCE_LEN];
        nonce[0] = 9;
        assert!(Solver::new().solve(&header, &nonce).contains(&solution));
    }

    #[test]
    fn a_solver_forgets_the_nonce_before() {
        let mut used = Solver::new();
        used.solve(&[1; HEADER_LEN], &nonce(1));
        let again = used.solve(&[2; HEADER_LEN], &nonce(2)).to_vec();
        assert_eq!(Solver::new().solve(&[2; HEADER_LEN], &nonce(2)), again);
    }
}
