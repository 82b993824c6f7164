#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::monero_miner::run(data));
