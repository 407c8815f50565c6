//! What a read call costs through this server: `crochet_get_listing` over the pipes of the built binary,
//! beside the same request made directly.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails should say where")]

use std::{sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use haggle::{
    clock::wall_ms,
    sandbox::{Options, Sandbox},
};
use rmcp::{ServiceExt, model::CallToolRequestParams, transport::TokioChildProcess};
use serde_json::json;
use tokio::process::Command;

const LISTING: &str = "text-statistics";

fn read_calls(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = runtime.block_on(Sandbox::start(Options::new(Arc::new(wall_ms)))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_haggle"));
    command.env_clear().arg("--data-dir").arg(folder.path()).arg("--log").arg("error");
    command.arg(format!("--sandbox={}", sandbox.admin_url())).kill_on_drop(true);
    let client = runtime
        .block_on(async { ().serve(TokioChildProcess::new(command).unwrap()).await.unwrap() });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let url = format!("{}/listings/{LISTING}", sandbox.info().crochet.api_url);

    let mut group = criterion.benchmark_group("read a listing");
    group.sample_size(50).measurement_time(Duration::from_secs(3));
    group.bench_function("directly", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let answer = http.get(&url).send().await.unwrap();
            assert!(answer.bytes().await.unwrap().len() > 100);
        });
    });
    group.bench_function("through the server", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let args = json!({ "listing_id": LISTING }).as_object().unwrap().clone();
            let call = CallToolRequestParams::new("crochet_get_listing").with_arguments(args);
            let result = client.call_tool(call).await.unwrap();
            assert_ne!(result.is_error, Some(true));
        });
    });
    group.finish();
    runtime.block_on(client.cancel()).unwrap();
    runtime.block_on(sandbox.shutdown());
}

criterion_group!(benches, read_calls);
criterion_main!(benches);
