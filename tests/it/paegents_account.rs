//! Paegents' account tools against the sandbox, which recovers every signature's address: a lost key,
//! and invitations.

use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use haggle::{access::secret_names, asks::ANSWER_SECONDS};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::{
    paegents_owner::{agreed, question, raw, says},
    world::{Make, World},
};

const TOOL: &str = "paegents_recover_credentials";
/// A wallet that no agent has.
const NEW_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/// What was asked for at this path.
async fn asked(world: &World, path: &str) -> Vec<Value> {
    let requests = world.requests().await;
    let ends = |entry: &Value| entry["path"].as_str().is_some_and(|p| p.ends_with(path));
    requests.into_iter().filter(ends).collect()
}

/// The key that is kept.
async fn kept(world: &World) -> Option<String> {
    let kept = world.app.secret(secret_names::PAEGENTS_KEY).await.unwrap()?;
    Some(kept.expose_secret().split_once(' ').unwrap().1.to_owned())
}

/// The wallet as another program uses it: it recovers the key itself, and gives it.
async fn recovered_elsewhere(world: &World) -> String {
    let buyer = world.sandbox.info().paegents.buyer;
    let wallet = buyer.wallet.to_lowercase();
    let path = format!("/wallet/recovery-challenge?wallet_address={wallet}");
    let (_, challenge) = raw(world, ("GET", &path), "none", None).await;
    let signer: PrivateKeySigner = buyer.wallet_private_key.parse().unwrap();
    let message = challenge["message"].as_str().unwrap();
    let signature = signer.sign_message_sync(message.as_bytes()).unwrap();
    let proof = json!({ "wallet_address": wallet, "nonce": challenge["nonce"],
        "issued_at": challenge["issued_at"],
        "signature": format!("0x{}", hex::encode(signature.as_bytes())) });
    let (status, issued) = raw(world, ("POST", "/wallet/recover"), "none", Some(proof)).await;
    assert_eq!(status, 200, "{issued}");
    issued["api_key"].as_str().unwrap().to_owned()
}

/// Keeps a key as another process of this store does.
async fn keeps(world: &World, key: &str) {
    let agent = world.sandbox.info().paegents.buyer.agent_id;
    let secret = SecretString::from(format!("{agent} {key}"));
    world.app.keep_secret(secret_names::PAEGENTS_KEY, &secret).await.unwrap();
}

/// Asks for a recovery, and agrees to it.
async fn agree(world: &World) {
    let refused = world.call(TOOL, json!({})).await.unwrap_err();
    says(world, &question(&refused), true).await;
}

#[tokio::test]
async fn a_lost_key_is_recovered_and_never_shown() {
    let world = World::start().await;
    let old = world.sandbox.info().paegents.buyer;
    let (done, told) = agreed(&world, TOOL, json!({})).await;
    assert_eq!(done["agent_id"], old.agent_id);
    assert_eq!(done["api_key"], "stored as paegents.account");
    assert_eq!(done["keys_revoked"], 1);
    for words in [&*old.wallet, "All keys that the agent has now end", "127.0.0.1"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let new = kept(&world).await.unwrap();
    assert!(new != old.api_key && !done.to_string().contains(&new), "{done}");
    let address = old.wallet.to_lowercase();
    let challenge = &asked(&world, "/recovery-challenge").await[0];
    assert_eq!(challenge["query"], format!("wallet_address={address}"));
    let proof = asked(&world, "/wallet/recover").await[0].clone();
    assert!(
        proof["headers"].get("authorization").is_none()
            && proof["headers"].get("x-api-key").is_none()
    );
    assert!(proof["body"].as_str().unwrap().contains(&address), "{proof}");

    // It works at once, and after a restart; the old one has ended.
    world.call("paegents_list_invites", json!({})).await.unwrap();
    assert_eq!(raw(&world, ("GET", "/invites"), &old.api_key, None).await.0, 401);
    let world = world.restart().await;
    world.call("paegents_list_invites", json!({})).await.unwrap();
    let again = world.call(TOOL, json!({})).await.unwrap_err();
    assert_eq!(again["code"], "approval_required", "the yes was used");
}

#[tokio::test]
async fn f18_a_strange_challenge_is_not_signed_and_the_yes_stays() {
    let world = World::start().await;
    let wallet = world.sandbox.info().paegents.buyer.wallet;
    agree(&world).await;
    for message in [
        "I authorise 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC to spend all I have".to_owned(),
        "0x8c4eaa4d2fb6a82699c3e57850fa47af0888549a93a0004205a97ad271e4d6df".to_owned(),
        format!("Sign in as {wallet} at https://evil.example with this and all that"),
        format!("Wallet {wallet} agrees to\u{202e} everything there is"),
        format!(r#"{{"types":{{}},"domain":{{}},"message":"{wallet} pays all"}}"#),
        "Nothing in here is about anybody at all".to_owned(),
    ] {
        let swap = json!({ "swap_terms": { "message": message } });
        world.fault("paegents", "/wallet/recovery-challenge", 0, swap).await;
        let refused = world.call(TOOL, json!({})).await.unwrap_err();
        assert_eq!(refused["code"], "signing_refused", "{message}: {refused}");
        assert!(!refused["message"].as_str().unwrap().contains(&message));
        assert!(asked(&world, "/wallet/recover").await.is_empty());
    }
    world.call(TOOL, json!({})).await.unwrap();
}

#[tokio::test]
async fn f18_two_processes_recover_once_for_one_yes() {
    let world = World::start().await;
    let beside = world.beside().await;
    agree(&world).await;
    let (one, other) = tokio::join!(world.call(TOOL, json!({})), beside.call(TOOL, json!({})));
    let (done, refused): (Vec<_>, Vec<_>) = [one, other].into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 1), "{done:?} {refused:?}");
    assert_eq!(refused[0].as_ref().unwrap_err()["code"], "approval_required");
    assert_eq!(asked(&world, "/wallet/recover").await.len(), 1);
    for process in [&world, &beside] {
        process.call("paegents_list_invites", json!({})).await.unwrap();
    }
}

/// Both sides of the race: whichever key the platform issued last is the one that is kept.
#[tokio::test]
async fn f18_an_earlier_key_never_takes_the_place_of_a_later_one() {
    for is_later in [true, false] {
        let world = World::start().await;
        agree(&world).await;
        // While it waits for its challenge, another process recovers, and keeps its key.
        let slow = json!({ "delay_ms": 8_000 });
        world.fault("paegents", "/wallet/recovery-challenge", 0, slow).await;
        if !is_later {
            let agent = world.sandbox.info().paegents.buyer.agent_id;
            let dead = json!({ "agent_id": agent, "api_key": "sk_that_was_issued_before" });
            let fault = json!({ "status": 200, "body": dead });
            world.fault("paegents", "/wallet/recover", 1, fault).await;
        }
        let other = async {
            world.fired().await;
            let key = recovered_elsewhere(&world).await;
            keeps(&world, &key).await;
            key
        };
        let (done, other) = tokio::join!(world.call(TOOL, json!({})), other);
        let now = kept(&world).await.unwrap();
        if is_later {
            done.unwrap();
            assert_ne!(now, other, "the later key is kept");
        } else {
            let error = done.unwrap_err();
            assert_eq!(error["code"], "conflict", "{error}");
            assert_eq!(error["repeat_safe"], false);
            assert_eq!(now, other, "the later key stays");
        }
        world.call("paegents_list_invites", json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_answer_is_told_and_another_recovery_helps() {
    for fault in [json!("drop_after"), json!({ "truncate": 30 })] {
        let world = World::start().await;
        // With a kept key: the sandbox says its own anew.
        agreed(&world, TOOL, json!({})).await;
        agree(&world).await;
        world.fault("paegents", "/wallet/recover", 0, fault.clone()).await;
        let lost = world.call(TOOL, json!({})).await.unwrap_err();
        assert_eq!(
            (&lost["repeat_safe"], &lost["money_moved"]),
            (&json!(false), &json!("no")),
            "{lost}"
        );
        assert!(lost["message"].as_str().unwrap().contains("the old key may have ended"), "{lost}");
        assert_eq!(lost["recovery"]["next"][0]["tool"], TOOL);
        let dead = world.call("paegents_list_invites", json!({})).await.unwrap_err();
        assert_eq!(dead["code"], "unauthorized", "{fault}: the old key has ended");
        assert_eq!(dead["recovery"]["next"][0]["tool"], TOOL, "{dead}");
        agreed(&world, TOOL, json!({})).await;
        world.call("paegents_list_invites", json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_of_another_wallet_is_not_kept() {
    let world = World::start().await;
    agree(&world).await;
    let other = json!({ "agent_id": "agt_other", "api_key": "sk_of_somebody_else_entirely",
        "wallet_address": "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc" });
    let fault = json!({ "status": 200, "body": other });
    world.fault("paegents", "/wallet/recover", 0, fault).await;
    let refused = world.call(TOOL, json!({})).await.unwrap_err();
    assert_eq!(refused["code"], "upstream_malformed", "{refused}");
    assert!(kept(&world).await.is_none());
}

#[tokio::test]
async fn a_configured_key_is_not_recovered() {
    let plain = World::start().await;
    let buyer = plain.sandbox.info().paegents.buyer;
    let make = Make { paegents_agent: Some((buyer.agent_id, buyer.api_key)), ..Make::default() };
    let world = World::start_on(plain.sandbox.clone(), make).await;
    let refused = world.call(TOOL, json!({})).await.unwrap_err();
    assert_eq!(refused["code"], "conflict", "{refused}");
    assert_eq!(refused["recovery"]["next_action"], "ask_owner");
    assert!(asked(&world, "/recovery-challenge").await.is_empty());
}

#[tokio::test]
async fn a_wallet_without_an_agent_is_the_owner_s_matter() {
    let make = Make { private_key: Some(NEW_KEY.to_owned()), ..Make::default() };
    let world = World::start_with(make).await;
    let none = world.call("paegents_list_invites", json!({})).await.unwrap_err();
    assert_eq!(none["code"], "not_registered");
    assert_eq!(none["recovery"]["next"][0]["tool"], TOOL);
    agree(&world).await;
    let refused = world.call(TOOL, json!({})).await.unwrap_err();
    assert_eq!(refused["code"], "not_found", "{refused}");
    assert_eq!(refused["recovery"]["next_action"], "ask_owner");
    assert!(asked(&world, "/wallet/recover").await.is_empty());
}

#[tokio::test]
async fn a_yes_to_a_recovery_ends() {
    let world = World::start().await;
    agree(&world).await;
    world.advance(ANSWER_SECONDS).await;
    let refused = world.call(TOOL, json!({})).await.unwrap_err();
    assert_eq!(refused["code"], "approval_required");
    assert!(asked(&world, "/recovery-challenge").await.is_empty());
}

#[tokio::test]
async fn somebody_is_invited_as_often_as_the_platform_allows() {
    let world = World::start().await;
    let letter = json!({ "email": " ada@company.example ", "comment": "Join us." });
    let sent = world.call("paegents_create_invite", letter.clone()).await.unwrap();
    assert_eq!(sent["status"], "pending", "{sent}");
    assert_eq!(sent["details_untrusted"]["email"], "ada@company.example");
    let soon = world.call("paegents_create_invite", letter).await.unwrap_err();
    assert_eq!(soon["code"], "rate_limited", "{soon}");
    assert!(soon["recovery"]["retry_after_seconds"].as_u64().unwrap() > 1_700);
    assert_eq!(soon["recovery"]["next"][0]["tool"], "paegents_list_invites");
    let list = world.call("paegents_list_invites", json!({})).await.unwrap();
    assert_eq!(list["invites"].as_array().unwrap().len(), 1);
    let token = json!({ "token": list["invites"][0]["token"] });
    let shown = world.call("paegents_get_invite", token.clone()).await.unwrap();
    assert_eq!(shown["details_untrusted"]["comment"], "Join us.");
    assert_eq!(shown["next"][0]["arguments"], token);
    assert!(shown["expires_at"].as_str().unwrap().ends_with('Z'));
    let read = asked(&world, token["token"].as_str().unwrap()).await;
    assert!(read[0]["headers"].get("x-api-key").is_none(), "it needs no key");

    let before = asked(&world, "/invites").await.len();
    for (field, value) in [
        ("email", json!("ada@company.example, bob@company.example")),
        ("email", json!("ada@company.example\r\nBcc: bob@company.example")),
        ("comment", json!("x".repeat(501))),
        ("comment", json!("a\u{7}b")),
    ] {
        let mut letter = json!({ "email": "eve@company.example", "comment": "Hi" });
        letter[field] = value;
        let refused = world.call("paegents_create_invite", letter).await.unwrap_err();
        assert_eq!(refused["field"], field, "{refused}");
    }
    assert_eq!(asked(&world, "/invites").await.len(), before, "nothing was sent");
    world.fault("paegents", "/invites", 0, json!("drop_after")).await;
    let other = json!({ "email": "bob@company.example" });
    let lost = world.call("paegents_create_invite", other).await.unwrap_err();
    assert_eq!(lost["repeat_safe"], false);
    assert_eq!(lost["recovery"]["next"][0]["tool"], "paegents_list_invites");
}
