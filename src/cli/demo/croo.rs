//! The story on CROO: an order from the search to the file, and a sale.

use std::path::Path;

use serde_json::{Value, json};

use super::stage::{
    Admin, Stage, amount, arguments, first, hint, say, scene, short, show_offers, text, with,
};
use crate::{cli::Failure, sandbox::Sandbox};

/// Words that find the service which delivers a file.
const WANTED: &str = "csv report";
/// What the report is about.
const TABLE: &str = "item,price\napple,1.20\npear,0.80\nplum,2.40\n";

/// Buys: search, negotiate, wait, pay, wait, delivery, file.
pub(super) async fn buying(stage: &Stage) -> Result<(), Failure> {
    scene("8. CROO: an order that two agents negotiate");
    let search = json!({ "query": WANTED, "marketplace": "croo" });
    let found = stage.works("market_search", search).await?;
    show_offers(&found);
    let service = stage.hinted(&found).await?;
    say(&format!(
        "   {} USD, in {} minutes at most",
        text(&service, "/price_usd"),
        minutes(&service)
    ));
    let before = cursor(stage).await?;
    let ask = first(&service, "/next");
    hint(&ask);
    let ask_for = with(arguments(&ask), "requirements", json!({ "csv": TABLE }));
    let negotiation = stage.works(&text(&ask, "/tool"), ask_for).await?;
    say(&format!(
        "   {}: {}",
        text(&negotiation, "/negotiation_id"),
        text(&negotiation, "/status")
    ));

    scene("9. It waits until the seller has accepted and the order stands on chain");
    let (at, created) = stage.event(before, "order_created").await?;
    let order =
        stage.works("croo_get_order", json!({ "order_id": text(&created, "/subject") })).await?;
    say(&format!("   the order costs {} USD, gas included", text(&order, "/cost/total_usd")));

    scene("10. It pays, once: the price is locked in escrow until the delivery");
    let pay = first(&order, "/next");
    let paid = stage.works(&text(&pay, "/tool"), arguments(&pay)).await?;
    say(&format!(
        "   paid {} USD, money moved: {}",
        amount(&paid),
        text(&paid, "/purchase/money_moved")
    ));
    stage.event(at, "order_completed").await?;

    scene("11. The delivery, and its file");
    let id = json!({ "order_id": text(&order, "/order_id") });
    let delivery = stage.works("croo_get_delivery", id).await?;
    say(&format!("   ← {}", short(&json!(delivery.get("result_untrusted")).to_string())));
    let file = stage.hinted(&delivery).await?;
    say(&format!(
        "   {} bytes in {}",
        file.get("bytes").unwrap_or(&Value::Null),
        text(&file, "/file_name")
    ));
    Ok(())
}

/// Sells, as another agent with a server of its own: accept, deliver, be paid.
pub(super) async fn selling(
    admin: &Admin,
    sandbox: &Sandbox,
    folder: &Path,
) -> Result<(), Failure> {
    scene("12. Another agent sells on CROO, with a server of its own");
    let provider = sandbox.info().croo.provider;
    let secrets = [("CROO_SDK_KEY", provider.sdk_key.as_str())];
    let stage = Stage::set(admin, folder, "market,sell", &secrets).await?;
    let sold = sale(&stage, admin, sandbox, &provider.agent_id).await;
    let ended = stage.client.cancel().await;
    ended.map_err(|error| Failure::failed(format!("the seller's server did not end: {error}")))?;
    sold
}

async fn sale(
    stage: &Stage,
    admin: &Admin,
    sandbox: &Sandbox,
    agent_id: &str,
) -> Result<(), Failure> {
    let before = cursor(stage).await?;
    let services = sandbox.info().croo.services;
    let own = services.iter().find(|service| service.owner_id == agent_id);
    let own = own.ok_or_else(|| Failure::failed("the sandbox's provider sells nothing"))?;
    admin.post("/order", &json!({ "service_id": own.id })).await?;
    let (at, _) = stage.event(before, "order_negotiation_created").await?;
    let pending = json!({ "role": "provider", "status": "pending" });
    let asked = stage.works("croo_list_negotiations", pending).await?;
    let wants = asked.pointer("/negotiations/0/requirements_untrusted");
    say(&format!("   asked for: {}", short(&json!(wants).to_string())));
    stage.hinted(&asked).await?;
    let (_, paid) = stage.event(at, "order_paid").await?;
    let order_id = text(&paid, "/subject");
    let deliver = json!({ "order_id": order_id, "result": "Clause 7 limits it." });
    stage.works("croo_deliver_order", deliver).await?;
    let wait = json!({ "order_id": order_id, "wait_seconds": 20 });
    let done = stage.works("croo_get_order", wait).await?;
    let ledger = admin.entries("/ledger").await?;
    let payout = ledger
        .iter()
        .find(|entry| text(entry, "/kind") == "payout" && text(entry, "/parent") == order_id);
    let earned = payout.map(|entry| text(entry, "/amount_usd"));
    let earned = earned.ok_or_else(|| Failure::failed("the seller was not paid"))?;
    say(&format!("   the order is {}: the seller received {earned} USD", text(&done, "/status")));
    Ok(())
}

/// Where the events are now.
async fn cursor(stage: &Stage) -> Result<i64, Failure> {
    let heard = stage.works("market_wait_events", json!({ "wait_seconds": 0 })).await?;
    Ok(heard.get("cursor").and_then(Value::as_i64).unwrap_or(0))
}

fn minutes(service: &Value) -> u64 {
    service.get("sla_minutes").and_then(Value::as_u64).unwrap_or(0)
}
