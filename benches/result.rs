//! The time to clean a result: every text of a seller's answer, character by character.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use haggle::text::{TEXT_CHARS_MAX, clean_json};
use serde_json::{Value, json};

/// Rows of words, in plain and other scripts, of about this many bytes.
fn answer(bytes: usize) -> Value {
    let row = json!({ "name": "Text statistics", "price": "0.05", "n": [1, 2.5, null],
        "description": "Zählt Wörter, Sätze und Zeichen. 日本語 too, and a \u{200b}hidden one." });
    let rows = bytes.div_ceil(row.to_string().len());
    json!({ "rows": vec![row; rows] })
}

fn cleaning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clean a result");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    for kilobytes in [10, 100] {
        let answer = answer(kilobytes * 1000);
        group.throughput(Throughput::Bytes(u64::try_from(answer.to_string().len()).unwrap_or(0)));
        group.bench_function(format!("{kilobytes} kB"), |bencher| {
            bencher.iter_batched(
                || answer.clone(),
                |answer| clean_json(black_box(answer), TEXT_CHARS_MAX),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, cleaning);
criterion_main!(benches);
