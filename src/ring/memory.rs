#![expect(
    unsafe_code,
    reason = "the C library is asked for what Rust has no word for"
)]
//! Memory that was freed and that the C library keeps for later.
//!
//! glibc gives back what lies free at the end of its heap, and little of what lies free in between. Behind a
//! crowd of connections, each with a few KiB of TLS, that is most of it.

/// Gives the whole pages among the freed memory of this process back to the kernel. A thread that wants
/// memory waits for its part of that: some milliseconds where ten thousand connections have left. Does
/// nothing with another C library than glibc.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it points to no memory, and may be called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    /// Bytes of this process in memory.
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").expect("proc");
        let resident = pages.split(' ').nth(1).expect("a second number");
        resident.parse::<usize>().expect("a number") * 4096
    }

    #[test]
    fn what_lies_free_between_what_does_not_goes_back() {
        let mut blocks: Vec<_> = (0..4096).map(|_| Some(vec![1_u8; 16 * 1024])).collect();
        // One in 16 stays, the last among them, so that the heap's end is taken.
        for (at, block) in blocks.iter_mut().enumerate() {
            if at % 16 != 15 {
                *block = None;
            }
        }
        let before = resident();
        give_back_memory();
        let after = resident();
        assert!(after + 32 * 1024 * 1024 < before, "{before} and {after}");
        assert_eq!(
            blocks.iter().flatten().map(Vec::len).sum::<usize>(),
            256 * 16 * 1024
        );
    }
}
