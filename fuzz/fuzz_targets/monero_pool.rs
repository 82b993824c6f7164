#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::monero_pool::run(data));
