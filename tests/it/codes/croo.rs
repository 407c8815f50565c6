//! The ways on CROO into codes.

use std::fs;

use futures::{FutureExt, future::BoxFuture};
use haggle::{error::Code, spend::policy::Policy};
use serde_json::{Value, json};

use crate::world::{Make, World};

type Reached = BoxFuture<'static, Value>;

/// Pays an order from a seller who behaves so, while this goes wrong.
fn paying(
    behaviour: &'static str,
    fault: Option<(&'static str, &'static str, u32, Value)>,
) -> Reached {
    async move {
        let world = World::start().await;
        let order = world.order(behaviour).await;
        if let Some((marketplace, path, skip, action)) = fault {
            world.fault(marketplace, path, skip, action).await;
        }
        world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err()
    }
    .boxed()
}

/// The order reads so, the second time.
fn terms(name: &str, value: &Value) -> Reached {
    paying("auto", Some(("croo", "/orders/*-*", 1, json!({ "swap_terms": { name: value } }))))
}

/// Reads a service while this goes wrong.
fn reading(action: Value) -> Reached {
    async move {
        let world = World::start().await;
        world.fault("croo", "/public/services/*", 0, action).await;
        let service = json!({ "service_id": world.item("auto").id });
        world.call("croo_get_service", service).await.unwrap_err()
    }
    .boxed()
}

/// Stores a file while the storage, or the link to it, is like this.
fn storing(marketplace: &'static str, path: &'static str, action: Value) -> Reached {
    async move {
        let world = World::start().await;
        fs::create_dir_all(world.files()).unwrap();
        fs::write(world.files().join("report.csv"), "a,b\n").unwrap();
        for _ in 0..2 {
            world.fault(marketplace, path, 0, action.clone()).await;
        }
        let args = json!({ "file_name": "report.csv" });
        world.call("croo_upload_file", args).await.unwrap_err()
    }
    .boxed()
}

/// Pays an order with a maximum of this share of what it costs.
async fn capped(behaviour: &str, most: &str) -> Value {
    let world = World::start().await;
    let order = world.order(behaviour).await;
    let args = json!({ "order_id": order["order_id"], "max_total_usd": most });
    world.call("croo_pay_order", args).await.unwrap_err()
}

async fn poor() -> Value {
    let world = World::start().await;
    let order = world.order("auto").await;
    world.balance(&json!({ "usdc": "0.01" })).await;
    world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err()
}

async fn denied() -> Value {
    let policy = Policy { day_max_usd: "0.01".parse().unwrap(), ..Policy::sandbox() };
    let world = World::start_with(Make { policy, ..Make::default() }).await;
    let order = world.order("auto").await;
    world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err()
}

async fn unasked() -> Value {
    let world = World::start_with(Make { policy: Policy::default(), ..Make::default() }).await;
    let order = world.order("auto").await;
    world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err()
}

async fn frozen() -> Value {
    let world = World::start().await;
    let order = world.order("auto").await;
    world.freeze(true).await;
    world.call("croo_pay_order", World::payment_of(&order)).await.unwrap_err()
}

async fn collides() -> Value {
    let world = World::start().await;
    let (first, second) = (world.order("auto").await, world.order("slow").await);
    world.fault("croo", "/orders/*/pay", 0, json!("drop_before")).await;
    world.call("croo_pay_order", World::payment_of(&first)).await.unwrap_err();
    world.call("croo_pay_order", World::payment_of(&second)).await.unwrap_err()
}

async fn undelivered() -> Value {
    let world = World::start().await;
    let order = world.order("fails_after_payment").await;
    world.call("croo_pay_order", World::payment_of(&order)).await.unwrap();
    let args = json!({ "order_id": order["order_id"], "wait_seconds": 20 });
    world.call("croo_get_delivery", args).await.unwrap_err()
}

/// A delivery that nobody has paid for.
async fn too_early() -> Value {
    let world = World::start().await;
    let order = world.order("auto").await;
    world.call("croo_get_delivery", json!({ "order_id": order["order_id"] })).await.unwrap_err()
}

#[rustfmt::skip]
pub(super) fn every() -> Vec<(Code, Reached)> {
    use Code::*;
    let status = |status: u16| json!({ "status": status });
    let elsewhere = json!({ "swap_terms": { "uploadUrl": "https://93.184.216.34/x" } });
    let no_gas = json!({ "status": 400, "body": { "reason": "PIMLICO_ERROR" } });
    vec![
        (NotFound,            reading(status(404))),
        (NotAllowed,          reading(status(403))),
        (Unauthorized,        paying("auto", Some(("croo", "/orders/*-*", 0, status(401))))),
        (RateLimited,         reading(status(429))),
        (UpstreamUnavailable, reading(status(503))),
        (UpstreamMalformed,   reading(status(200))),
        (EgressBlocked,       reading(status(307))),
        (EgressBlocked,       storing("croo", "/objects/upload-url", elsewhere)),
        (LinkExpired,         storing("storage", "*", status(403))),
        (WrongState,          too_early().boxed()),
        (Conflict,            collides().boxed()),
        (InsufficientFunds,   poor().boxed()),
        (InsufficientFunds,   paying("auto", Some(("croo", "/orders/*/pay", 0, no_gas)))),
        (ChainUnavailable,    paying("auto", Some(("chain", "eth_call", 0, status(500))))),
        (TermsMismatch,       terms("providerAgentId", &json!("somebody-else"))),
        (PriceChanged,        capped("price_rises", "0.21").boxed()),
        (AboveMaxTotal,       capped("auto", "0.01").boxed()),
        (PolicyDenied,        denied().boxed()),
        (ApprovalRequired,    unasked().boxed()),
        (Frozen,              frozen().boxed()),
        (PaymentUnknown,      paying("auto", Some(("croo", "/orders/*/pay", 0, json!("drop_before"))))),
        (PaidNotDelivered,    undelivered().boxed()),
    ]
}
