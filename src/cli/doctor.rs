//! `haggle doctor`: whether everything is in place, and what to do where it is not.
//!
//! Invariant: what could not be asked is shown as unknown, never as zero or as fine.

mod croo;
mod local;
mod paegents;
mod remote;

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde_json::json;

use super::{
    Failure, Report, output,
    paint::{Look, Painted},
    working::Working,
};
use crate::{app::App, config::load::Loaded, marketplaces::Marketplace};

/// How often `--wait` looks.
const WAIT_EVERY: Duration = Duration::from_secs(10);

/// The flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// First wait until the wallet has USDC and ETH
    #[arg(long)]
    pub wait: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Good,
    /// It works, but the owner should know.
    Note,
    Broken,
}

impl Mark {
    const fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Note => "!",
            Self::Broken => "✗",
        }
    }

    const fn look(self) -> Look {
        match self {
            Self::Good => Look::Good,
            Self::Note => Look::Note,
            Self::Broken => Look::Bad,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Broken => "broken",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Finding {
    area: &'static str,
    mark: Mark,
    text: String,
    /// What to do about it.
    todo: Option<String>,
}

impl Finding {
    fn good(area: &'static str, text: impl Into<String>) -> Self {
        Self { area, mark: Mark::Good, text: text.into(), todo: None }
    }

    fn note(area: &'static str, text: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { area, mark: Mark::Note, text: text.into(), todo: Some(todo.into()) }
    }

    fn broken(area: &'static str, text: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { area, mark: Mark::Broken, text: text.into(), todo: Some(todo.into()) }
    }
}

/// Looks at everything.
///
/// # Errors
///
/// None of what is looked at; only where `--wait` has nothing to wait for.
pub async fn run(app: Arc<App>, loaded: Loaded, args: DoctorArgs) -> Result<Report, Failure> {
    if args.wait {
        wait(&app).await?;
    }
    let working = Working::on("looking at the store");
    let mut findings = local::configuration(&loaded);
    findings.extend(local::storage(&app).await);
    working.now("asking the chain's node");
    findings.extend(remote::wallet(&app).await);
    let trades_on = |marketplace| app.settings().marketplaces.contains(&marketplace);
    if trades_on(Marketplace::Croo) {
        working.now("asking CROO");
        findings.extend(croo::findings(&app).await);
    }
    if trades_on(Marketplace::Crochet) {
        working.now("asking Crochet");
        findings.extend(remote::crochet(&app).await);
    }
    if trades_on(Marketplace::Paegents) {
        working.now("asking Paegents");
        findings.extend(paegents::findings(&app).await);
    }
    working.now("looking at what waits for you");
    findings.extend(local::owner(&app).await);
    drop(working);
    let broken = findings.iter().any(|finding| finding.mark == Mark::Broken);
    let report = if args.json { as_json(&findings, broken) } else { as_text(&findings, broken) };
    Ok(report.wrong(broken))
}

/// Waits until the wallet can pay. What cannot be asked is asked again.
async fn wait(app: &App) -> Result<(), Failure> {
    let mut said = String::new();
    let working = Working::on("asking the chain's node");
    loop {
        let now = match remote::funds(app).await {
            Ok(Some(funds)) if funds.can_pay() => return Ok(()),
            Ok(Some(funds)) => funds.to_string(),
            Ok(None) => {
                return Err(Failure::failed(
                    "there is no wallet to wait for: `haggle keys generate` makes one",
                ));
            }
            Err(error) => format!("the balances are unknown: {error}"),
        };
        if now != said {
            working.aside(|| output::complain(&format!("waiting for USDC and ETH; {now}")));
            said = now;
            working.now("waiting for USDC and ETH");
        }
        tokio::time::sleep(WAIT_EVERY).await;
    }
}

fn as_json(findings: &[Finding], broken: bool) -> Report {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({ "area": finding.area, "mark": finding.mark.name(), "text": finding.text,
                "todo": finding.todo })
        })
        .collect();
    Report::json(&json!({ "ok": !broken, "findings": rows }))
}

fn as_text(findings: &[Finding], broken: bool) -> Report {
    let width = findings.iter().map(|finding| finding.area.len()).max().unwrap_or(0);
    let mut text = Painted::new();
    for Finding { area, mark, text: what, todo } in findings {
        text.put(mark.look(), mark.sign());
        text.line(Look::Plain, &format!(" {area:width$}  {what}"));
        if let Some(todo) = todo {
            text.line(Look::Plain, &format!("  {:width$}  → {todo}", ""));
        }
    }
    let (look, verdict) = if broken {
        (Look::Bad, "Something is broken.")
    } else {
        (Look::Good, "Nothing is broken.")
    };
    text.line(Look::Plain, "");
    text.line(look, verdict);
    Report::painted(text)
}
