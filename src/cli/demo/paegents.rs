//! The story on Paegents: a metered service out of an escrow, whose remainder comes back; and a card
//! payment that the platform's owner is asked about.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};

use super::stage::{
    Admin, Stage, amount, arguments, first, hint, say, scene, short, show_offers, text, with,
};
use crate::{cli::Failure, money::Usdc, sandbox::Sandbox};

/// How many units the agreement is about: more than are used, so that something comes back.
const UNITS: u64 = 20;
/// What the calls send.
const TEXTS: [&str; 3] = ["One fox jumps.", "Two dogs sleep.", "Three cats look on."];
/// The end of the challenge window, and a minute.
const WINDOW_SECONDS: i64 = 24 * 60 * 60 + 60;
/// What the agent pays by card, and above what the platform asks the owner, in cents.
const CARD_USD: &str = "3.50";
const ASKED_ABOVE_CENTS: u64 = 200;

/// Escrow: search, agreement, deposit, calls, close, remainder.
pub(super) async fn escrow(stage: &Stage) -> Result<(), Failure> {
    scene("13. Paegents: a service that is paid by the call, out of an escrow");
    let search = json!({ "query": "text statistics", "marketplace": "paegents" });
    let found = stage.works("market_search", search).await?;
    show_offers(&found);
    let service = stage.hinted(&found).await?;
    let ask = first(&service, "/next");
    let ask_for = with(arguments(&ask), "quantity", json!(UNITS));
    let agreed = stage.works(&text(&ask, "/tool"), ask_for).await?;
    let id = text(&agreed, "/agreement_id");
    say(&format!("   {id}: {UNITS} calls, {} USD at most", text(&agreed, "/deposit_usd")));

    let accepted = stage.hinted(&agreed).await?;

    scene("14. The seller has accepted. It pays: the deposit, and the platform's fee");
    let paid = stage.hinted(&accepted).await?;
    say(&format!("   paid {} USD, the agreement is {}", amount(&paid), text(&paid, "/status")));

    scene("15. Three calls, each drawn from the deposit");
    for words in TEXTS {
        let call = json!({ "agreement_id": id, "method": "POST", "path": "/text-statistics",
            "json": { "text": words } });
        let done = stage.works("paegents_call_service", call).await?;
        say(&format!("   ← {}", short(&json!(done.get("result_untrusted")).to_string())));
        say(&format!(
            "   {} USD of the deposit used, {} USD left",
            text(&done, "/spent_usd"),
            text(&done, "/left_usd")
        ));
    }

    scene("16. It closes the escrow; the seller has a day to object, which passes now");
    let own = json!({ "agreement_id": id });
    let closed = stage.works("paegents_close_escrow", own.clone()).await?;
    say(&format!("   the window ends at {}", text(&closed, "/challenge_window_expires_at")));
    stage.admin.post("/clock", &json!({ "advance_s": WINDOW_SECONDS })).await?;
    say("   the sandbox's clock is a day further");
    let back = stage.works("paegents_withdraw_remainder", own).await?;
    say(&format!("   {}: {} USD came back", text(&back, "/state"), text(&back, "/received_usd")));
    settled(stage, &id).await
}

/// Where the deposit went, by the sandbox's ledger.
async fn settled(stage: &Stage, agreement: &str) -> Result<(), Failure> {
    let sum = async |kind: &str| {
        let of_it = |entry: &&Value| {
            let place = if kind == "deposit" { "/reference" } else { "/parent" };
            text(entry, place) == agreement && text(entry, "/kind") == kind
        };
        let entries = stage.admin.entries("/ledger").await?;
        let amounts =
            entries.iter().filter(of_it).filter_map(|e| text(e, "/amount_usd").parse().ok());
        Ok::<_, Failure>(amounts.map(|usd: Usdc| usd.micros()).sum::<u64>())
    };
    let (deposit, payout, refund) =
        (sum("deposit").await?, sum("payout").await?, sum("refund").await?);
    let usd = Usdc::from_micros;
    say(&format!(
        "   of the deposit of {} USD the seller has {} USD, and the agent {} USD again",
        usd(deposit),
        usd(payout),
        usd(refund)
    ));
    if deposit != payout + refund {
        return Err(Failure::failed("the escrow gave out another sum than it took in"));
    }
    Ok(())
}

/// A card payment that the platform lets through only with its owner's word.
pub(super) async fn approval(
    stage: &Stage,
    admin: &Admin,
    sandbox: &Sandbox,
    folder: &Path,
) -> Result<(), Failure> {
    scene("17. A card payment. Its owner wants to be asked by Paegents above 2 USD");
    limit(admin, sandbox).await?;
    let cap = json!({ "max_amount_usd": CARD_USD });
    let intent = stage.works("paegents_create_intent_mandate", cap).await?;
    let cart = json!({ "intent_mandate_id": text(&intent, "/intent_mandate_id"),
        "total_usd": CARD_USD });
    let cart = stage.works("paegents_create_cart_mandate", cart).await?;
    let pay = first(&cart, "/next");
    let waits = stage.fails(&text(&pay, "/tool"), arguments(&pay), "approval_required").await?;

    scene("18. The owner, with a server of their own, which no agent has");
    let owner = Stage::set(admin, folder, "market,owner", &[]).await?;
    let said = agreed(&owner).await;
    let ended = owner.client.cancel().await;
    ended.map_err(|error| Failure::failed(format!("the owner's server did not end: {error}")))?;
    said?;

    scene("19. The agent goes on: the same payment, under the same key");
    stage.follow(waits, |done| amount(done) == CARD_USD).await?;
    let keys = keys_of_payments(admin).await?;
    let distinct = keys.iter().collect::<BTreeSet<_>>().len();
    say(&format!("   it went out {} times, under {distinct} key", keys.len()));
    if distinct == 1 {
        return Ok(());
    }
    Err(Failure::failed("a payment went out under more than one key"))
}

/// The idempotency keys of the payments that reached Paegents.
async fn keys_of_payments(admin: &Admin) -> Result<Vec<String>, Failure> {
    let requests = admin.entries("/requests?after=0").await?;
    let sent = requests.iter().filter(|request| text(request, "/path").ends_with("/ap2/pay"));
    Ok(sent.map(|request| text(request, "/headers/idempotency-key")).collect())
}

/// What the owner has told Paegents before the story begins.
async fn limit(admin: &Admin, sandbox: &Sandbox) -> Result<(), Failure> {
    let paegents = sandbox.info().paegents;
    let url = format!("{}/agents/{}/policies", paegents.api_url, paegents.buyer.agent_id);
    let policy = json!({ "approvals": { "threshold_cents": ASKED_ABOVE_CENTS } });
    admin.put_as(&paegents.owner_jwt, &url, &policy).await
}

/// The owner's part: what waits, the question, the command, the approval.
async fn agreed(owner: &Stage) -> Result<(), Failure> {
    let listed = owner.works("paegents_list_approvals", json!({})).await?;
    let approve = first(&listed, "/next");
    let tool = text(&approve, "/tool");
    hint(&approve);
    let asks = owner.fails(&tool, arguments(&approve), "approval_required").await?;
    let message = text(&asks, "/message");
    let command = message.split('`').nth(1).unwrap_or_default();
    owner.command(command).await?;
    let done = owner.works(&tool, arguments(&approve)).await?;
    say(&format!("   ← {}", text(&done, "/done")));
    Ok(())
}
