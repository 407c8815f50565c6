//! What a payment needs besides its amount: fee, gas wallet, chain; and whether the platform lives.

use std::sync::Arc;

use axum::extract::{Query, State};
use serde_json::json;

use crate::sandbox::{
    chain::{CHAIN_ID, USDC},
    clock::rfc3339,
    paegents::{
        answers::{Answer, ApiError, find, number, ok},
        direct, gas_address,
        pay::charges::usdc,
    },
    world::World,
};

/// `GET /health`
pub(crate) async fn health(State(world): State<Arc<World>>) -> Answer {
    ok(json!({ "status": "ok", "service": "paegents", "time": rfc3339(world.clock.now_ms()) }))
}

/// `GET /payment-requirements`
pub(crate) async fn show(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    if find(&query, "amount_cents").is_none() {
        return Err(ApiError::invalid_query("amount_cents", "Field required"));
    }
    let cents = number(&query, "amount_cents", 0, (1, 1_000_000_000))?;
    let cents = u64::try_from(cents).unwrap_or_default();
    let rail = find(&query, "rail").unwrap_or("stablecoin");
    match rail {
        "stablecoin" => ok(json!({
            "rail": rail,
            "amount_cents": cents,
            "service_amount_atomic": usdc(cents).micros(),
            "infra_fee_amount_atomic": direct::fee(cents),
            "fee": { "minimum_usd": "0.10", "percent": "2", "fixed_usd": "0.003" },
            "gas_wallet_address": gas_address(&world).to_string(),
            "usdc_address": USDC.to_string(),
            "chain_id": CHAIN_ID,
            "network": "base-sepolia",
        })),
        "card" | "braintree" => ok(json!({
            "rail": rail,
            "amount_cents": cents,
            "infra_fee_amount_atomic": 0,
        })),
        _ => {
            let message = "Input should be 'card', 'braintree' or 'stablecoin'";
            Err(ApiError::invalid_query("rail", message))
        }
    }
}
