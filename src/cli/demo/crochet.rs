//! The story on Crochet: registers, buys, and is not tricked.

use serde_json::{Value, json};

use super::stage::{Stage, amount, is_served, say, scene, short, show_offers, text, with};
use crate::{cli::Failure, sandbox::Sandbox};

/// What happens, in order.
pub(super) async fn story(stage: &Stage, sandbox: &Sandbox) -> Result<(), Failure> {
    scene("1. Search");
    let found = stage.works("market_search", json!({ "query": "text", "limit": 5 })).await?;
    show_offers(&found);

    scene("2. Buying needs an account: the hint says how to get one");
    let paid = listing(sandbox, "auto")?;
    let refused = stage.fails("crochet_call_listing", paid.clone(), "not_registered").await?;
    let registered = stage.follow(refused, |done| done.get("agent_id").is_some()).await?;
    say(&format!("   registered as {}; the key is in the store", text(&registered, "/agent_id")));

    scene("3. A free listing");
    let free = listing(sandbox, "free")?;
    stage.buy("crochet_call_listing", free).await?;

    scene("4. A paid listing");
    let bought = stage.buy("crochet_call_listing", paid.clone()).await?;
    say(&format!("   paid {} USD once; asking for the same again:", amount(&bought)));
    let again = stage.fails("crochet_call_listing", paid, "possible_duplicate").await?;
    stage.follow(again, is_served).await?;

    scene("5. A hostile listing: its texts tell the agent to pay elsewhere. They stay data");
    let hostile = listing(sandbox, "hostile_text")?;
    let about = json!({ "listing_id": text(&hostile, "/listing_id") });
    let shown = stage.works("crochet_get_listing", about).await?;
    say(&format!("   name_untrusted: {}", short(&text(&shown, "/name_untrusted"))));
    let hostile = with(hostile, "max_total_usd", json!("0.10"));
    let refused = stage.fails("crochet_call_listing", hostile, "above_max_total").await?;
    let other = stage.follow(refused, |done| done.get("offers").is_some()).await?;
    show_offers(&other);

    scene("6. A price rise between the listing and the bill");
    let surge = listing(sandbox, "price_rises")?;
    let refused = stage.fails("crochet_call_listing", surge, "price_changed").await?;
    stage.follow(refused, is_served).await?;

    scene("7. A lost answer: the payment's transaction disappears on its way to the chain");
    let fault = json!({ "marketplace": "chain", "method": "*", "path": "eth_sendRawTransaction",
        "times": 1, "action": "drop_before" });
    stage.admin.post("/faults", &fault).await?;
    let other = json!({ "text": "Was it paid, or was it not?" });
    let lost = with(listing(sandbox, "auto")?, "body", other);
    let unknown = stage.fails("crochet_call_listing", lost, "payment_unknown").await?;
    stage.follow(unknown, is_served).await?;
    Ok(())
}

/// The arguments that buy the first listing which behaves like this.
fn listing(sandbox: &Sandbox, behaviour: &str) -> Result<Value, Failure> {
    let info = sandbox.info();
    let found = info.crochet.listings.iter().find(|item| item.behaviour == behaviour);
    let found = found.ok_or_else(|| {
        Failure::failed(format!("the sandbox has no listing that is {behaviour}"))
    })?;
    Ok(json!({ "listing_id": found.id, "body": found.input_example,
        "max_total_usd": found.price_usd }))
}
