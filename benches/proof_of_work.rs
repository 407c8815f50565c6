//! Hashes a second on one thread: the solver, and one `Sha256::digest` of a `format!` a candidate.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails should say where")]

use std::{hint::black_box, num::NonZeroUsize, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use haggle::marketplaces::crochet::proof_of_work::{Budget, Challenge, Difficulty, solve};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

/// A challenge of a whole block, and one that shares its block with the digits.
const WHOLE_BLOCK: &str = "3f2a9c774f2a9c771b0de52286aa10c93f2a9c774f2a9c771b0de52286aa10c9";
const HALF_A_BLOCK: &str = "3f2a9c774f2a9c771b0de52286aa10c9";
/// Candidates of the naive way: a tenth of a second.
const NAIVE: u64 = 200_000;

fn hashes(criterion: &mut Criterion) {
    let budget = Budget { wall: Duration::from_mins(1), threads: NonZeroUsize::MIN };
    let cancel = CancellationToken::new();
    let mut group = criterion.benchmark_group("proof_of_work");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for (name, text) in [("32 characters", HALF_A_BLOCK), ("64 characters", WHOLE_BLOCK)] {
        let challenge = Challenge { text: text.to_owned(), rule: Difficulty::Bits(22) };
        // The first solution counting from 0, so each run makes the same hashes.
        let solution = solve(&challenge, &budget, &cancel).unwrap();
        group.throughput(Throughput::Elements(solution.hashes));
        group.bench_function(format!("solver, {name}"), |bencher| {
            bencher.iter(|| solve(black_box(&challenge), &budget, &cancel).unwrap());
        });
        group.throughput(Throughput::Elements(NAIVE));
        group.bench_function(format!("format! and digest, {name}"), |bencher| {
            bencher.iter(|| {
                (0..NAIVE)
                    .filter(|n| Sha256::digest(format!("{text}{n}")).starts_with(&[0; 3]))
                    .count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hashes);
criterion_main!(benches);
