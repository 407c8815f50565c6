//! The official MCP conformance suite: all that both revisions require, against the fixture, and against
//! the program, whose baseline names only checks that call tools which a test server alone has.

use std::{path::Path, sync::LazyLock};

use tokio::process::Command;

use crate::market::{Announced, Ended, Market, Over, in_project, installed};

const SUITE: [&str; 5] =
    ["node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js"];
/// Revisions from before there were requirements: all that the suite has for them.
const EARLIER: [&str; 2] = ["2025-03-26", "2025-06-18"];
/// How many scenarios a revision requires of a server.
const REQUIRED: [(&str, usize); 2] = [("2025-11-25", 30), ("2026-07-28", 37)];

/// The fixture, built from what the sources are now.
static FIXTURE: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--example", "conformance"]);
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
    assert!(built.success(), "the fixture does not build");
    let program = Path::new(env!("CARGO_BIN_EXE_haggle"));
    program.parent().unwrap().join("examples").join("conformance")
});

/// Runs these scenarios, and gives the suite's own summary.
async fn suite(url: &str, scenarios: &[&str], baseline: Option<&Path>) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(installed(&["node"]));
    command.arg(installed(&SUITE)).args(["server", "--url", url]).args(scenarios);
    command.arg("--output-dir").arg(folder.path());
    if let Some(baseline) = baseline {
        command.arg("--expected-failures").arg(baseline);
    }
    Ended::of(command, b"").await
}

/// The scenarios of the summary, by the mark in front of them, without those that are not scored.
fn marked(ended: &Ended, mark: &str) -> usize {
    let summary = ended.stdout.split("=== SUMMARY ===").nth(1).unwrap();
    let is_scored = |line: &&str| !line.contains("tasks-");
    let summary = summary.split("Total:").next().unwrap();
    summary.lines().filter(|line| line.starts_with(mark)).filter(is_scored).count()
}

#[tokio::test]
async fn the_fixture_passes_all_that_is_required() {
    let fixture = Announced::start(Command::new(&*FIXTURE)).await;
    let url = fixture.said["url"].as_str().unwrap();
    for (revision, required) in REQUIRED {
        let ended = suite(url, &["--requirements", revision], None).await;
        assert_eq!(ended.code, Some(0), "{revision}: {}", ended.stdout);
        assert_eq!(marked(&ended, "✗"), 0, "{revision}: {}", ended.stdout);
        assert!(marked(&ended, "✓") >= required, "{revision}: {}", ended.stdout);
    }
    for revision in EARLIER {
        let all = ["--suite", "all", "--spec-version", revision];
        let ended = suite(url, &all, None).await;
        assert_eq!(ended.code, Some(0), "{revision}: {}", ended.stdout);
        assert_ne!(marked(&ended, "✓"), 0, "{revision}: {}", ended.stdout);
    }
}

#[tokio::test]
async fn the_program_passes_all_that_needs_no_test_tools() {
    let market = Market::open(Over::Http).await;
    let server = market.serve().await;
    let baseline = in_project(&["tests", "interop", "conformance-baseline.yml"]);
    for (revision, _) in REQUIRED {
        let ended =
            suite(&server.url(Over::Http), &["--requirements", revision], Some(&baseline)).await;
        assert_eq!(ended.code, Some(0), "{revision}: {}", ended.stdout);
    }
}
