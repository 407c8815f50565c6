//! `haggle demo`: an agent buys and sells, visibly. A sandbox is started, and this program is started
//! once more as each agent's server, which is driven over its standard input and output as any
//! client would: with the calls that results and errors name, and no other knowledge of the
//! marketplaces.
//!
//! It ends with the audit: what the sandbox's own ledger charged against what the journal says.

mod crochet;
mod croo;
mod paegents;
mod stage;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::json;
use stage::{Admin, Stage, say, tell, text};

use super::{Failure, Report, paint::Look, working::Working};
use crate::{
    clock::wall_ms,
    money::Usdc,
    sandbox::{Options, Sandbox},
    spend::random,
    wallet::keys::EvmKey,
};

/// What the demo's wallet is given.
const FUNDS_USDC: &str = "20";
const FUNDS_WEI: &str = "100000000000000000";

/// Runs the demo. The report is wrong where ledger and journal do not agree.
///
/// # Errors
///
/// Where a step does not go as it should.
pub async fn run() -> Result<Report, Failure> {
    let folder = scratch_folder()?;
    let done = play(&folder).await;
    // What is left of a failed demo would only be in the way.
    let _ = std::fs::remove_dir_all(&folder);
    done
}

async fn play(folder: &Path) -> Result<Report, Failure> {
    tell(
        Look::Strong,
        "haggle demo: an agent buys on Crochet, CROO and Paegents, and another sells. A sandbox on \
         this machine, play money.",
    );
    let working = Working::on("starting the sandbox");
    let sandbox = Sandbox::start(Options::new(Arc::new(wall_ms)))
        .await
        .map_err(|error| Failure::failed(format!("the sandbox did not start: {error}")))?;
    drop(working);
    let admin = Admin::of(&sandbox)?;
    let (key, address) = fund(&admin).await?;
    let buyer = folder.join("buyer");
    let account = sandbox.info().paegents.buyer;
    let secrets = [
        ("AGENT_PRIVATE_KEY", key.as_str()),
        ("PAEGENTS_AGENT_ID", &account.agent_id),
        ("PAEGENTS_API_KEY", &account.api_key),
    ];
    let stage = Stage::set(&admin, &buyer, "market,buy,pay,account", &secrets).await?;
    let outcome = async {
        crochet::story(&stage, &sandbox).await?;
        croo::buying(&stage).await?;
        croo::selling(&admin, &sandbox, &folder.join("seller")).await?;
        paegents::escrow(&stage).await?;
        paegents::approval(&stage, &admin, &sandbox, &folder.join("owner")).await
    };
    let outcome = outcome.await;
    let ended = stage.client.cancel().await;
    let card = format!("card:{}", account.agent_id);
    let payers = [address, sandbox.info().croo.requester.wallet, card];
    let audit = match outcome {
        Ok(()) => audit(&admin, &sandbox, &buyer, &payers).await,
        Err(failure) => Err(failure),
    };
    sandbox.shutdown().await;
    ended.map_err(|error| Failure::failed(format!("the server did not end: {error}")))?;
    audit
}

/// A wallet for this demo alone, with its funds: its key and its address.
async fn fund(admin: &Admin) -> Result<(String, String), Failure> {
    let key = [random()?, random()?].map(hex::encode).concat();
    let address = EvmKey::read(&key.clone().into())
        .map_err(|error| Failure::failed(error.to_string()))?
        .address()
        .to_checksum(None);
    let funds = json!({ "address": address, "usdc": FUNDS_USDC, "wei": FUNDS_WEI });
    admin.post("/balance", &funds).await?;
    say(&format!("The agent's wallet: {address}, {FUNDS_USDC} USDC."));
    Ok((key, address))
}

/// The ledger of the sandbox, as far as these wallets paid, against the journal of the server.
async fn audit(
    admin: &Admin,
    sandbox: &Sandbox,
    folder: &Path,
    payers: &[String],
) -> Result<Report, Failure> {
    let mut ledger = BTreeMap::<String, u64>::new();
    for entry in admin.entries("/ledger").await? {
        let ours = payers.iter().any(|payer| payer.eq_ignore_ascii_case(&text(&entry, "/payer")));
        let place = match text(&entry, "/kind").as_str() {
            "charge" | "deposit" => "/reference",
            // What Paegents takes for an agreement is a part of what the agreement cost.
            "fee" if text(&entry, "/marketplace") == "paegents" => "/parent",
            _ => continue,
        };
        if ours {
            let charged = text(&entry, "/amount_usd").parse::<Usdc>().unwrap_or_default();
            *ledger.entry(text(&entry, place)).or_default() += charged.micros();
        }
    }
    let mut journal = BTreeMap::<String, u64>::new();
    for (reference, paid) in journal_of(folder, sandbox.admin_url()).await? {
        *journal.entry(reference).or_default() += paid.micros();
    }
    let sum = |of: &BTreeMap<String, u64>| Usdc::from_micros(of.values().sum());
    let agree = ledger == journal;
    let (look, verdict) =
        if agree { (Look::Good, "they agree") } else { (Look::Bad, "THEY DO NOT AGREE") };
    say("");
    tell(
        look,
        &format!(
            "Audit: the sandbox charged {} USD in {} payments; the journal says {} USD in {}: \
             {verdict}.",
            sum(&ledger),
            ledger.len(),
            sum(&journal),
            journal.len(),
        ),
    );
    Ok(Report::nothing().wrong(!agree))
}

/// What the server's journal says was paid, by the marketplace's reference.
async fn journal_of(folder: &Path, url: &str) -> Result<Vec<(String, Usdc)>, Failure> {
    let mode = crate::config::Mode::Sandbox { url: Some(url.to_owned()) };
    let store = crate::store::Store::at(crate::access::store_path(folder, &mode));
    let all = store.with(|db| crate::journal::export(db)).await?;
    Ok(all
        .into_iter()
        .filter(|purchase| purchase.money_moved() != crate::error::MoneyMoved::No)
        .filter_map(|purchase| Some((purchase.reference?, purchase.amount?)))
        .collect())
}

fn scratch_folder() -> Result<std::path::PathBuf, Failure> {
    let name = format!("haggle-demo-{}", hex::encode(random()?));
    let folder = std::env::temp_dir().join(name);
    crate::store::private_folder(&folder)
        .map_err(|error| Failure::failed(format!("no folder for the demo: {error}")))?;
    Ok(folder)
}
