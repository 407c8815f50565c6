//! Paegents' requests: of an agent's owner, and of its account.

use std::collections::BTreeSet;

use haggle::profile::Profile;
use serde_json::{Value, json};

use super::{Known, hold, know, read_fixtures, text};
use crate::{
    paegents_owner::{agreed, held_back},
    world::{Make, World},
};

const REASON: &str = "too much / \"no\" & never+again";

/// The fixtures that are met here.
const MET: [&str; 15] = [
    "accept_invite",
    "approve_approval",
    "create_invite",
    "get_agent_policies",
    "get_invite",
    "get_recovery_challenge",
    "get_spending_limits_owner",
    "list_approvals",
    "list_approvals_by_status",
    "list_invites",
    "recover_wallet",
    "reject_approval",
    "reject_approval_without_reason",
    "update_agent_policies",
    "update_spending_limits_owner",
];

async fn done(world: &World, tool: &str, args: Value) -> Value {
    world.call(tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
}

/// What the agent sends for its account.
async fn of_the_account(world: &World, known: &mut Known) -> Value {
    know(known, "invite_email", "ada@company.example");
    know(known, "invite_comment", "Join \"us\".");
    let letter = json!({ "email": "ada@company.example", "comment": "Join \"us\"." });
    let invite = done(world, "paegents_create_invite", letter).await;
    know(known, "invite_email", "bob@company.example");
    done(world, "paegents_create_invite", json!({ "email": "bob@company.example" })).await;
    done(world, "paegents_list_invites", json!({})).await;
    let token = json!({ "token": invite["token"] });
    know(known, "invite_token", text(&invite["token"]));
    done(world, "paegents_get_invite", token.clone()).await;
    token
}

/// What the owner decides.
async fn of_the_owner(world: &World, known: &mut Known, token: Value) {
    let policies = json!({ "approvals": { "threshold_cents": 1_000 },
        "rails": { "allowed": ["card", "stablecoin"] },
        "spending": { "daily_limit_cents": 10_000 } });
    agreed(world, "paegents_update_policies", json!({ "policies": policies })).await;
    done(world, "paegents_list_approvals", json!({ "status": "pending", "limit": 7 })).await;
    know(known, "reject_reason", REASON);
    for (tool, reason) in [
        ("paegents_approve_request", None),
        ("paegents_reject_request", Some(REASON)),
        ("paegents_reject_request", None),
    ] {
        let (request, _) = held_back(world).await;
        know(known, "request_id", request.as_str());
        let mut args = json!({ "request_id": request });
        if let Some(reason) = reason {
            args["reason"] = json!(reason);
        }
        agreed(world, tool, args).await;
    }
    let limits = json!({ "daily_limit_usd": "10.50", "monthly_limit_usd": "200" });
    agreed(world, "paegents_update_spending_limits", limits).await;
    agreed(world, "paegents_accept_invite", token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_those_of_the_page() {
    let mut known = Known::new();
    let account = World::start().await;
    let paegents = account.sandbox.info().paegents;
    know(&mut known, "agent_id", paegents.buyer.agent_id.as_str());
    know(&mut known, "api_key", paegents.buyer.api_key.as_str());
    know(&mut known, "owner_jwt", paegents.owner_jwt.as_str());
    know(&mut known, "wallet_lower_case", paegents.buyer.wallet.to_lowercase());
    let token = of_the_account(&account, &mut known).await;
    let profiles = vec![Profile::Market, Profile::Owner];
    let make = Make { profiles, ..Make::default() };
    let owner = World::start_on(account.sandbox.clone(), make).await;
    of_the_owner(&owner, &mut known, token).await;
    agreed(&account, "paegents_recover_credentials", json!({})).await;

    let mut requests = account.requests().await;
    let theirs = ["/ap2/", "/health"];
    requests.retain(|request| {
        let path = request["path"].as_str().unwrap();
        request["marketplace"] == "paegents" && !theirs.iter().any(|it| path.contains(it))
    });
    let fixtures = read_fixtures("paegents");
    let met = hold(&fixtures, &requests, &known);
    let names: BTreeSet<String> = MET.iter().map(ToString::to_string).collect();
    assert_eq!(met, names, "a fixture was not met");
    // Key and token go into their headers and nowhere else, and the token to its own calls alone.
    for mut request in requests {
        let path = request["path"].as_str().unwrap().to_owned();
        let headers = request["headers"].as_object_mut().unwrap();
        let bearer = headers.remove("authorization").unwrap_or_default().to_string();
        let owners = ["/policies", "/approvals", "/spending", "/accept"];
        let is_owners = owners.iter().any(|part| path.contains(part));
        assert_eq!(bearer.contains(&paegents.owner_jwt), is_owners, "{path}");
        headers.remove("x-api-key");
        let rest = request.to_string();
        assert!(!rest.contains(&paegents.buyer.api_key) && !rest.contains(&paegents.owner_jwt));
    }
}
