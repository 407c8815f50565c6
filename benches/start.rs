//! How long a client waits: from spawning `haggle serve` to its answer to `initialize`, beside a server
//! with two tools and nothing else. This program is that server, too, when it is told to be.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails should say where")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use criterion::{Criterion, criterion_group};
use rmcp::{
    ServerHandler, ServiceExt,
    handler::server::wrapper::Parameters,
    model::{ServerCapabilities, ServerConfig},
    tool, tool_handler, tool_router,
};

const TWO_TOOLS: &str = "HAGGLE_BENCH_TWO_TOOLS";
const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"bench","version":"0"}}}"#
);

/// The least that a server can be.
#[derive(Clone, Debug)]
struct TwoTools;

/// Something to repeat.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct EchoArgs {
    /// What to say.
    text: String,
}

#[tool_router]
impl TwoTools {
    /// Say it again.
    #[tool]
    async fn echo(&self, Parameters(args): Parameters<EchoArgs>) -> String {
        args.text
    }

    /// Say how long it is.
    #[tool]
    async fn length(&self, Parameters(args): Parameters<EchoArgs>) -> String {
        args.text.len().to_string()
    }
}

#[tool_handler]
impl ServerHandler for TwoTools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

fn serve_two_tools() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let running = TwoTools.serve(rmcp::transport::stdio_pipes()).await.unwrap();
        running.waiting().await.unwrap();
    });
}

/// Starts a server, waits for its first answer, and ends it.
fn first_answer(mut command: Command) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(INITIALIZE.as_bytes()).unwrap();
    input.write_all(b"\n").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("serverInfo"), "{line}");
    // Its end is not what is measured.
    child.kill().unwrap();
    child.wait().unwrap();
}

fn starts(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut group = criterion.benchmark_group("spawn to initialize");
    group.sample_size(50).measurement_time(Duration::from_secs(3));
    group.bench_function("two tools", |bencher| {
        bencher.iter(|| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.env(TWO_TOOLS, "1");
            first_answer(command);
        });
    });
    group.bench_function("haggle", |bencher| {
        bencher.iter(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_haggle"));
            command.env_clear().arg("--data-dir").arg(folder.path()).arg("serve");
            first_answer(command);
        });
    });
    group.finish();
}

criterion_group!(benches, starts);

fn main() {
    if std::env::var_os(TWO_TOOLS).is_some() {
        serve_two_tools();
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
