//! What the benches share. Each uses some of it.

pub(crate) mod farm;
pub(crate) mod lines;
pub(crate) mod submitter;

use std::time::Duration;

use criterion::Criterion;

/// How each bench is measured: so that all of them together take a few minutes.
pub(crate) fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
}
