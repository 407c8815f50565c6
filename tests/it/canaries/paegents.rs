//! The owner's token, and a key that was recovered: in no output, log or file, at the loudest level.

use std::fs;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Trader, files};
use crate::program::{Program, command};

/// The program live at the sandbox's Paegents alone, with the wallet's key.
fn at_paegents(trader: &Trader) -> Command {
    let info = trader.sandbox.info();
    let mut command = command(&trader.data_dir());
    command
        .env("PAEGENTS_API_URL", &info.paegents.api_url)
        .env("AGENT_PRIVATE_KEY", &info.paegents.buyer.wallet_private_key)
        .env("BASE_RPC_URL", &info.chain.rpc_url)
        .env("HAGGLE_CHAIN_ID", info.chain.chain_id.to_string())
        .env("HAGGLE_PASSPHRASE_FILE", trader.folder.path().join("passphrase"))
        .args(["--marketplaces", "paegents", "--log", "trace"]);
    command
}

/// Runs the owner's command for the question that a refused call waits for.
async fn approves(trader: &Trader, mut command: Command, refused: &Value) {
    let message = refused["message"].as_str().unwrap();
    let (_, rest) = message.split_once("`haggle approve ").unwrap_or_else(|| panic!("{refused}"));
    let (id, _) = rest.split_once('`').unwrap();
    let output = command.args(["approve", id]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    trader.canaries.are_not_in("approve", &output.stdout);
    trader.canaries.are_not_in("approve", &output.stderr);
}

/// Nothing secret is left in what the program wrote.
async fn looks_through(trader: &Trader, program: Program, results: &[Value], further: &[&str]) {
    let ended = program.end().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.contains("exchanged"), "nothing was logged: {}", ended.stderr);
    let mut places = vec![("standard error".to_owned(), ended.stderr.into_bytes())];
    places.extend(ended.written.into_iter().map(|line| ("a line".to_owned(), line.into_bytes())));
    let results = results.iter().map(|result| ("a result".to_owned(), result.to_string()));
    places.extend(results.map(|(place, text)| (place, text.into_bytes())));
    let mut written = Vec::new();
    files(&trader.data_dir(), &mut written);
    for path in written {
        places.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    for (place, bytes) in &places {
        trader.canaries.are_not_in(place, bytes);
        let text = String::from_utf8_lossy(bytes);
        assert!(further.iter().all(|secret| !text.contains(secret)), "{place} holds a new key");
    }
}

async fn requests(trader: &Trader) -> Vec<Value> {
    let url = format!("{}/requests?after=0", trader.sandbox.admin_url());
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let answer: Value = client.get(url).send().await.unwrap().json().await.unwrap();
    answer["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_recovered_key_is_written_nowhere() {
    let trader = Trader::new().await;
    let mut serve = at_paegents(&trader);
    serve.args(["serve", "--profile", "account"]);
    let (mut program, _) = Program::ready(serve, "2025-11-25").await;
    let recover = "paegents_recover_credentials";
    let refused = program.call(recover, json!({})).await.unwrap_err();
    approves(&trader, at_paegents(&trader), &refused).await;
    let done = program.call(recover, json!({})).await.unwrap();
    let listed = program.call("paegents_list_invites", json!({})).await.unwrap();
    let doctor = at_paegents(&trader).arg("doctor").output().await.unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("Paegents accepts the key of agt_"), "{said}");

    let sent = requests(&trader).await;
    let list = sent.iter().find(|request| request["path"].as_str().unwrap().ends_with("/invites"));
    let key = list.unwrap()["headers"]["x-api-key"].as_str().unwrap().to_owned();
    assert!(key.len() > 20 && key != trader.sandbox.info().paegents.buyer.api_key, "{key}");
    assert!(!said.contains(&key) && !String::from_utf8_lossy(&doctor.stderr).contains(&key));
    looks_through(&trader, program, &[refused, done, listed], &[&key]).await;
}

#[tokio::test]
async fn the_owner_s_token_is_written_nowhere() {
    let trader = Trader::new().await;
    let info = trader.sandbox.info().paegents;
    let with_token = || {
        let mut command = at_paegents(&trader);
        command
            .env("PAEGENTS_AGENT_ID", &info.buyer.agent_id)
            .env("PAEGENTS_API_KEY", &info.buyer.api_key)
            .env("OWNER_JWT", &info.owner_jwt);
        command
    };
    let mut serve = with_token();
    serve.args(["serve", "--profile", "owner"]);
    let (mut program, _) = Program::ready(serve, "2025-11-25").await;
    let mut results = Vec::new();
    let limits = json!({ "daily_limit_usd": "1", "monthly_limit_usd": "2" });
    let set = "paegents_update_spending_limits";
    let refused = program.call(set, limits.clone()).await.unwrap_err();
    approves(&trader, with_token(), &refused).await;
    results.extend([refused, program.call(set, limits).await.unwrap()]);
    let pasted = json!({ "request_id": info.owner_jwt });
    for (tool, args) in [
        ("paegents_get_policies", json!({})),
        ("paegents_list_approvals", json!({})),
        ("paegents_get_spending_limits", json!({})),
        ("market_status", json!({})),
        ("paegents_approve_request", pasted.clone()),
        ("paegents_reject_request", pasted),
        ("paegents_accept_invite", json!({ "token": info.buyer.api_key })),
    ] {
        results.push(program.call(tool, args).await.unwrap_or_else(|error| error));
    }
    for args in [&["config", "show"][..], &["doctor"]] {
        let output = with_token().args(args).output().await.unwrap();
        trader.canaries.are_not_in(&args.join(" "), &output.stdout);
        trader.canaries.are_not_in(&args.join(" "), &output.stderr);
    }
    // It goes to Paegents in one header, and with the owner's own calls alone.
    let token = format!("Bearer {}", info.owner_jwt);
    let mut carried = 0;
    for mut request in requests(&trader).await {
        let headers = request["headers"].as_object_mut().unwrap();
        let bearer = headers.remove("authorization").unwrap_or_default();
        carried += usize::from(bearer == json!(token));
        assert!(bearer != json!(token) || request["marketplace"] == "paegents", "{request}");
        assert!(!request.to_string().contains(&info.owner_jwt), "{request}");
    }
    assert!(carried >= 5, "{carried}");
    looks_through(&trader, program, &results, &[]).await;
}
