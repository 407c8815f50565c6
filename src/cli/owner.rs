//! `haggle approve`, `deny`, `freeze`, `unfreeze`: the owner's word, while servers run.

use std::{fmt::Write as _, str::FromStr, sync::Arc};

use clap::Args;
use serde_json::json;

use super::{
    Failure, Report,
    stores::{self, Place},
};
use crate::{
    app::App,
    asks,
    clock::{rfc3339, wall_ms},
    ids::{AskId, IdError, PurchaseId},
    journal::Purchase,
    money::Usdc,
    spend::{
        KEY_ELSEWHERE,
        approvals::{APPROVAL_SECONDS, GRANT_DAYS_MAX},
        policy::DAY_SECONDS,
        resume_tool,
        stops::{self, Found},
        word::{Word, owner_answers},
    },
    store::Store,
};

/// What the owner answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A purchase.
    Purchase(PurchaseId),
    /// Something other than a payment.
    Ask(AskId),
}

impl FromStr for Subject {
    type Err = IdError;

    fn from_str(id: &str) -> Result<Self, IdError> {
        if id.starts_with("ask_") {
            id.parse().map(Self::Ask)
        } else {
            id.parse().map(Self::Purchase)
        }
    }
}

/// The arguments of `approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The purchase or the question, as the agent was told it
    #[arg(value_name = "ID")]
    pub id: Subject,
    /// Also agree to what this seller asks for from now on, within --up-to and --for
    #[arg(long, requires_all = ["up_to", "days"])]
    pub seller: bool,
    /// How much the seller may be paid in all without asking, in dollars
    #[arg(long, value_name = "USD", requires = "seller")]
    pub up_to: Option<Usdc>,
    /// For how many days
    #[arg(
        long = "for", value_name = "DAYS", requires = "seller",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(GRANT_DAYS_MAX))
    )]
    pub days: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `deny`.
#[derive(Debug, Args)]
pub struct DenyArgs {
    /// The purchase or the question, as the agent was told it
    #[arg(value_name = "ID")]
    pub id: Subject,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `freeze` and `unfreeze`.
#[derive(Debug, Args)]
pub struct FreezeArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Agrees to a purchase, and to its seller where that is asked for; or to something else.
///
/// # Errors
///
/// Where there is no such thing, or it does not wait for an answer.
pub async fn approve(app: Arc<App>, args: ApproveArgs) -> Result<Report, Failure> {
    let id = match &args.id {
        Subject::Purchase(id) => id,
        Subject::Ask(id) if args.seller => {
            return Err(Failure::usage(format!("{id} is no purchase: it has no seller")));
        }
        Subject::Ask(id) => return answer_ask(&app, id, true, args.json).await,
    };
    let (place, _) = stores::with_purchase(&app, id).await?;
    let now = place.now;
    let grant = args.up_to.zip(args.days).filter(|_| args.seller);
    let word = match grant {
        Some((up_to, days)) => {
            Word::ApproveSeller { up_to, until: now + i64::from(days) * DAY_SECONDS }
        }
        None => Word::Approve,
    };
    let purchase = owner_answers(&place.store, id, word, now).await?;
    let until = rfc3339(now + APPROVAL_SECONDS);
    if args.json {
        let grant = grant.map(|(up_to, days)| json!({ "up_to_usd": up_to, "days": days }));
        return Ok(Report::json(&json!({
            "purchase_id": purchase.id, "state": purchase.state, "approved_until": until,
            "grant": grant,
        })));
    }
    let mut text = what(&purchase);
    let _ = writeln!(text, "Approved until {until}. Nothing is paid yet.");
    if let Some((up_to, days)) = grant {
        let seller = &purchase.seller_id;
        let _ = writeln!(
            text,
            "The seller {seller} may be paid up to {up_to} USD in all for {days} days without \
             asking; your limits for one purchase and for a day stay."
        );
    }
    let _ = writeln!(
        text,
        "Tell the agent to go on: it calls {} with purchase_id {}.",
        resume_tool(&purchase),
        purchase.id
    );
    Ok(Report::text(text))
}

/// Keeps the owner's answer to what is no payment.
async fn answer_ask(app: &App, id: &AskId, granted: bool, json: bool) -> Result<Report, Failure> {
    let (place, _) = stores::with_ask(app, id).await?;
    let ask = asks::answer(&place.store, id, granted, place.now).await?;
    let until = rfc3339(ask.expires_at);
    if json {
        return Ok(Report::json(&json!({
            "ask_id": ask.id, "tool": ask.tool, "described": ask.described,
            "granted": granted, "until": until,
        })));
    }
    let mut text = format!("{}\n{}\n\n", ask.id, ask.described.trim_end());
    let tool = &ask.tool;
    let _ = if granted {
        writeln!(
            text,
            "Agreed until {until}. Nothing is done yet: tell the agent to go on, it calls {tool} \
             again as before. That goes through once."
        )
    } else {
        writeln!(text, "Denied. {tool} is refused until {until}; nothing was done.")
    };
    Ok(Report::text(text))
}

/// Refuses a purchase, or something else; of the latter a yes that was not used can be taken back.
///
/// # Errors
///
/// As [`approve`].
pub async fn deny(app: Arc<App>, args: DenyArgs) -> Result<Report, Failure> {
    let id = match &args.id {
        Subject::Purchase(id) => id,
        Subject::Ask(id) => return answer_ask(&app, id, false, args.json).await,
    };
    let (place, _) = stores::with_purchase(&app, id).await?;
    let purchase = owner_answers(&place.store, id, Word::Deny, place.now).await?;
    if args.json {
        let (id, state) = (&purchase.id, purchase.state);
        return Ok(Report::json(&json!({ "purchase_id": id, "state": state })));
    }
    Ok(Report::text(format!("{}Denied. Nothing was paid for it.", what(&purchase))))
}

/// What a purchase is, for the person who answers.
fn what(purchase: &Purchase) -> String {
    let input: String = String::from_utf8_lossy(&purchase.body).chars().take(400).collect();
    format!(
        "{}\n  pays    up to {} USD, all fees included (listed for {} USD)\n  to      {} ({})\n  \
         for     {} ({})\n  input   {input}\n",
        purchase.id,
        purchase.max_total,
        purchase.price,
        purchase.seller_name,
        purchase.seller_id,
        purchase.item_name,
        purchase.item_id,
    )
}

/// Stops all spending, in every store of the data directory.
///
/// # Errors
///
/// Where a store fails; the others are stopped all the same.
pub async fn freeze(app: Arc<App>, args: FreezeArgs) -> Result<Report, Failure> {
    let mut places = stores::all(&app).await?;
    if !places.iter().any(|place| place.name() == "live.db") {
        // A server that is about to make it finds it stopped.
        let store = Store::at(app.settings().data_dir.join("live.db"));
        places.push(Place { store, now: wall_ms() / 1000, own: false });
    }
    let (mut open, mut failed) = (Vec::new(), None);
    for place in &places {
        match stops::stop(&place.store, place.now).await {
            Ok(ids) => open.extend(ids),
            Err(error) => failed = failed.or(Some((place.name(), error))),
        }
    }
    if let Some((name, error)) = failed {
        return Err(Failure::store(format!("{name} is not stopped: {error}")));
    }
    if args.json {
        return Ok(Report::json(&json!({ "frozen": true, "open_purchases": open })));
    }
    let mut text =
        "All spending is stopped, live and in the sandbox, in every process, from now on.\n"
            .to_owned();
    if !open.is_empty() {
        let _ = writeln!(
            text,
            "{} purchases are open: what was sent before cannot be called back, and is still asked \
             about. `haggle purchases list` shows them.",
            open.len()
        );
    }
    text.push_str("`haggle unfreeze` allows it again.\n");
    Ok(Report::text(text))
}

/// Allows spending again in every store that the owner alone has stopped; what was found wrong is
/// accepted only in the store of the mode in force.
///
/// # Errors
///
/// Where a store fails.
pub async fn unfreeze(app: Arc<App>, args: FreezeArgs) -> Result<Report, Failure> {
    let mut text = String::new();
    let (mut stores, mut kept) = (Vec::new(), false);
    for place in stores::all(&app).await? {
        let (name, own) = (place.name(), place.own);
        let (found, accepted) = stops::allow(&place.store, own).await?;
        kept |= !accepted;
        accepts(&mut text, &name, &found, accepted);
        stores.push(json!({ "store": name, "frozen": !accepted, "reasons": found.reasons,
            "missing_journal_lines": found.missing_lines }));
    }
    if args.json {
        return Ok(Report::json(&json!({ "frozen": kept, "stores": stores })));
    }
    if !kept {
        text.push_str("Spending is allowed, within your limits.\n");
    }
    Ok(Report::text(text))
}

/// Says what unfreezing a store takes for right.
fn accepts(text: &mut String, name: &str, found: &Found, accepted: bool) {
    let Found { reasons, missing_lines: missing } = found;
    let conflict = reasons.iter().any(|reason| reason == "instance_conflict");
    let verb = if accepted { "accepted" } else { "still stopped" };
    if conflict {
        let _ = writeln!(
            text,
            "{name}: {verb}: payments from its wallet that it did not make. If they were not \
             yours, move the money to a new wallet."
        );
    }
    if reasons.iter().any(|reason| reason == KEY_ELSEWHERE) {
        let _ = writeln!(
            text,
            "{name}: {verb}: another program uses the same CROO key, and what it spends is not \
             counted here. End it first, or give it a key of its own."
        );
    }
    if *missing > 0 {
        let _ = writeln!(
            text,
            "{name}: {verb}: {missing} lines of the journal are gone. What they spent no longer \
             counts, and a purchase in them can be made twice."
        );
    }
    if !accepted {
        let flag = if name == "live.db" { "--marketplaces crochet" } else { "--sandbox" };
        let _ = writeln!(text, "To accept it: haggle unfreeze {flag}");
    }
}
