//! The buyer that the sandbox acts for: it orders from you, pays, and calls your service.
//!
//! It does nothing that another agent could not do through the API, and signs what it pays with
//! the key of its own wallet.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{Eip712Domain, SolStruct};
use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};

use crate::sandbox::{
    chain::{
        self, ESCROW,
        calls::{Permit, TransferWithAuthorization},
        escrow::domain_v2,
        token,
    },
    paegents::{
        agents::{self, Agent},
        agreements::{self, Agreement, Signed},
        answers::ApiError,
        built_in::AGENT_MS,
        direct,
        escrow::{activation, package},
        gas_address,
        metered::{self, Call},
        proposals::{self, Proposal},
        services::{self, MICROS_PER_CENT, Service},
        steps::{self, Part, step_ms},
        upstreams::Asked,
    },
    world::World,
};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_errands (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, agreement TEXT NOT NULL, nonce TEXT NOT NULL);
";

/// The task of the built-in buyer: carry an agreement further.
pub(crate) const ERRAND: &str = "errand";
/// How many units it orders where the service allows it.
const UNITS: u64 = 10;
/// How often it calls a service.
const CALLS: u64 = 3;
/// How long its proposals are open, in seconds: a day.
const LIFE_SECONDS: u64 = 86_400;
/// How long its permits for an activation are good, in seconds.
const PERMIT_SECONDS: u64 = 3_600;

/// A signature as hexadecimal text: r, s, v, with `v` 27 or 28.
pub(crate) fn sign<T: SolStruct>(
    private_key: &str,
    terms: &T,
    domain: &Eip712Domain,
) -> Option<String> {
    let signer: PrivateKeySigner = private_key.parse().ok()?;
    let signature = signer.sign_hash_sync(&terms.eip712_signing_hash(domain)).ok()?;
    Some(format!("0x{}", hex::encode(signature.as_bytes())))
}

/// A permit of the built-in buyer for `spender` to take `value` micro-units.
pub(crate) fn permit(
    world: &World,
    (spender, value): (Address, u64),
    (nonce, deadline): (u64, u64),
) -> Option<String> {
    let wallet = agents::known_wallet(world, agents::CUSTOMER);
    let terms = Permit {
        owner: wallet.address,
        spender,
        value: U256::from(value),
        nonce: U256::from(nonce),
        deadline: U256::from(deadline),
    };
    sign(&wallet.private_key, &terms, &token::domain())
}

/// The payment header of a direct purchase.
fn payment_header(world: &World, to: Address, micros: u64, terms: (u64, B256)) -> Option<String> {
    let wallet = agents::known_wallet(world, agents::CUSTOMER);
    let (valid_before, nonce) = terms;
    let authorization = TransferWithAuthorization {
        from: wallet.address,
        to,
        value: U256::from(micros),
        validAfter: U256::ZERO,
        validBefore: U256::from(valid_before),
        nonce,
    };
    let signature = sign(&wallet.private_key, &authorization, &token::domain())?;
    let header = json!({
        "x402Version": 1,
        "scheme": "exact",
        "network": "base-sepolia",
        "payload": { "signature": signature, "authorization": {
            "from": wallet.address.to_string(),
            "to": to.to_string(),
            "value": micros.to_string(),
            "validAfter": "0",
            "validBefore": valid_before.to_string(),
            "nonce": nonce.to_string(),
        } },
    });
    Some(STANDARD.encode(header.to_string()))
}

/// The built-in buyer proposes `count` agreements; answers their identifiers.
///
/// # Errors
///
/// 400 where the sandbox itself sells the service.
pub(crate) fn order(
    db: &Connection,
    world: &World,
    now: i64,
    (service, count): (&Service, u32),
) -> Result<Vec<String>, ApiError> {
    let seller = agents::present(db, &service.agent)?;
    if seller.is_built_in {
        return Err(ApiError::bad_request("the service is sold by the sandbox itself"));
    }
    let buyer = agents::present(db, &agents::known_id(world, agents::CUSTOMER))?;
    let made = (0..count).map(|_| {
        let proposal = proposal(db, world, now, (service, &seller, &buyer.id))?;
        Ok(proposals::propose(db, world, now, (&buyer, proposal))?.id)
    });
    made.collect()
}

/// What it proposes: an escrow for what is called, a direct purchase of what is sent by post.
fn proposal(
    db: &Connection,
    world: &World,
    now: i64,
    (service, seller, buyer): (&Service, &Agent, &str),
) -> Result<Proposal, ApiError> {
    let wallet = agents::known_wallet(world, agents::CUSTOMER);
    let example = |name: &str| service.input_example.get(name).cloned();
    let shipping_address = example("shipping_address").and_then(|value| value.as_object().cloned());
    let is_direct = shipping_address.is_some();
    let wanted = if is_direct { 1 } else { UNITS };
    let most = service.max_quantity.unwrap_or(u64::MAX);
    let quantity = wanted.max(service.min_quantity).min(most);
    let mut payment_method = Map::new();
    payment_method.insert("rail".to_owned(), json!("stablecoin"));
    let mut signed = Signed::default();
    if is_direct {
        let cents = quantity.saturating_mul(service.base_price_cents);
        let deadline = chain::unsigned(now / 1_000) + LIFE_SECONDS;
        let nonce = B256::from(world.fresh(db, "paegents/customer-nonce")?);
        let micros = cents.saturating_mul(MICROS_PER_CENT);
        let header = payment_header(world, seller.wallet, micros, (deadline, nonce));
        payment_method.insert("payment_header".to_owned(), json!(header));
        let terms =
            (chain::account(db, wallet.address)?.permit_nonce + open_fees(db, buyer)?, deadline);
        signed.buyer_infra_fee_permit_signature =
            permit(world, (gas_address(world), direct::fee(cents)), terms);
        signed.buyer_infra_fee_permit_deadline = Some(deadline);
    }
    Ok(Proposal {
        seller_agent_id: seller.id.clone(),
        quantity,
        unit: service.unit.clone(),
        price_per_unit_cents: service.base_price_cents.max(1),
        buyer_wallet_address: wallet.address.to_string(),
        settlement_model: if is_direct { "direct_payment" } else { "bilateral_escrow" }.to_owned(),
        payment_method,
        expires_in_seconds: LIFE_SECONDS,
        activation_version: "v2".to_owned(),
        signed,
        service_id: Some(service.id.clone()),
        service_description: Some(service.name.clone()),
        cart_items: example("cart_items").and_then(|value| value.as_array().cloned()),
        shipping_address,
        metadata: None,
        client_proposal_id: None,
    })
}

/// How many permits of the built-in buyer wait to be used: the next one comes after them.
fn open_fees(db: &Connection, buyer: &str) -> rusqlite::Result<u64> {
    let open: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM paegents_agreements WHERE status = 'proposed'
             AND record ->> '$.settlement_model' = 'direct_payment'
             AND record ->> '$.infra_fee_status' = 'pending'
             AND buyer = ?1",
        )?
        .query_row([buyer], |row| row.get(0))?;
    Ok(chain::unsigned(open))
}

/// Plans its next step, where the agreement is its own.
pub(crate) fn plan_errand(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: &Agreement,
) -> rusqlite::Result<()> {
    if agreement.buyer != agents::known_id(world, agents::CUSTOMER) || !agreement.has_escrow() {
        return Ok(());
    }
    let at = at + step_ms(world, AGENT_MS);
    steps::plan(db, at, Part::Agreements, (ERRAND, &agreement.id))
}

/// It carries an agreement further: funds what was accepted, then calls what is active.
pub(crate) fn errand(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: Agreement,
) -> rusqlite::Result<()> {
    match (agreement.status.as_str(), agreement.activation_status.as_str()) {
        ("accepted", "submitting") => plan_errand(db, world, at, &agreement),
        ("accepted", "ready") => activate(db, world, at, agreement),
        ("active", _) => plan_calls(db, world, &agreement),
        _ => Ok(()),
    }
}

/// Hands an activation in, one at a time: its nonces follow each other.
fn activate(db: &Connection, world: &World, at: i64, agreement: Agreement) -> rusqlite::Result<()> {
    let under_way: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM paegents_agreements WHERE buyer = ?1 AND status = 'accepted'
             AND record ->> '$.activation_status' = 'submitting'",
        )?
        .query_row([&agreement.buyer], |row| row.get(0))?;
    if under_way > 0 {
        return plan_errand(db, world, at, &agreement);
    }
    let Some(body) = activation(db, world, at, &agreement)? else { return Ok(()) };
    let body = body.to_string();
    match activation::submit_for(db, world, at, agreement, body.as_bytes()) {
        Ok(agreement) => plan_errand(db, world, at, &agreement),
        Err(error) => {
            tracing::debug!(detail = error.message(), "the built-in buyer could not activate");
            Ok(())
        }
    }
}

/// What it sends to activate: the intent, the permit of the deposit, the permit of the fee.
fn activation(
    db: &Connection,
    world: &World,
    at: i64,
    agreement: &Agreement,
) -> rusqlite::Result<Option<Value>> {
    let wallet = agents::known_wallet(world, agents::CUSTOMER);
    let package = package::of(db, world, at, agreement)?;
    let intent = package.intent(db)?;
    let shown = package.view(db, world, agreement)?;
    let deadline = chain::unsigned(at / 1_000) + PERMIT_SECONDS;
    let nonce = chain::account(db, wallet.address)?.permit_nonce;
    let deposit = package.deposit;
    let signature = sign(&wallet.private_key, &intent, &domain_v2());
    let permit_data = permit(world, (ESCROW, deposit), (nonce, deadline));
    let (Some(signature), Some(permit_data)) = (signature, permit_data) else { return Ok(None) };
    let term = |name: &str| shown.pointer(&format!("/terms/{name}")).cloned();
    let mut body = json!({
        "buyer_intent": {
            "agreement_key": shown.get("agreement_key"),
            "platform_agreement_id_hash": shown.get("platform_agreement_id_hash"),
            "buyer": term("buyer"),
            "seller": term("seller"),
            "token": term("token"),
            "quantity": term("quantity"),
            "price_per_unit": term("price_per_unit_atomic"),
            "deposit_amount": term("deposit_amount_atomic"),
            "challenge_window_seconds": term("challenge_window_seconds"),
            "service_hash": term("service_hash"),
            "terms_hash": term("terms_hash"),
            "expiry": term("expiry"),
            "nonce": shown.pointer("/nonces/buyer_activation_nonce"),
            "salt": term("salt"),
        },
        "buyer_signature": signature,
        "funding_authorization": { "mode": "erc2612_permit", "amount": deposit,
            "deadline": deadline, "permit_data": permit_data },
    });
    let fee = package.fee;
    if let (1.., Some(members)) = (fee, body.as_object_mut()) {
        let permit = permit(world, (gas_address(world), fee), (nonce + 1, deadline));
        members.insert("buyer_infra_fee_permit_signature".to_owned(), json!(permit));
        members.insert("buyer_infra_fee_permit_deadline".to_owned(), json!(deadline));
    }
    Ok(Some(body))
}

/// Puts calls on its list, where the seller has an API to call.
fn plan_calls(db: &Connection, world: &World, agreement: &Agreement) -> rusqlite::Result<()> {
    let Some(id) = &agreement.service else { return Ok(()) };
    if services::find(db, id)?.is_none_or(|service| service.api_base_url.is_none()) {
        return Ok(());
    }
    for _ in 0..CALLS.min(agreement.quantity) {
        let nonce = world.fresh_uuid(db, "paegents/customer-call")?;
        db.prepare_cached("INSERT INTO paegents_errands (agreement, nonce) VALUES (?1, ?2)")?
            .execute(params![agreement.id, nonce])?;
    }
    Ok(())
}

/// After a request, the calls that became due are made, in the background.
pub(crate) async fn after(
    State(world): State<Arc<World>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    match world.store.transact(due) {
        Ok(calls) if !calls.is_empty() => {
            tokio::spawn(async move {
                for call in calls {
                    make(&world, call).await;
                }
            });
        }
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "the sandbox's store failed"),
    }
    response
}

/// Takes everything from the list: agreement and nonce.
fn due(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let all = db
        .prepare_cached("SELECT agreement, nonce FROM paegents_errands ORDER BY seq")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    if !all.is_empty() {
        db.execute("DELETE FROM paegents_errands", [])?;
    }
    Ok(all)
}

/// Makes one call through the proxy, as the service's example says.
async fn make(world: &World, (agreement, nonce): (String, String)) {
    let prepared = world.transact(|db, _| {
        let buyer = agents::present(db, &agents::known_id(world, agents::CUSTOMER))?;
        let service = agreements::find(db, &agreement)?.and_then(|found| found.service);
        let service = service.map(|id| services::find(db, &id)).transpose()?.flatten();
        Ok::<_, rusqlite::Error>((buyer, service))
    });
    let (buyer, example) = match prepared {
        Ok((buyer, service)) => (buyer, service.map(|service| service.input_example)),
        Err(error) => return tracing::error!(%error, "the sandbox's store failed"),
    };
    let example = example.unwrap_or_default();
    let text = |name: &str| example.get(name).and_then(Value::as_str);
    let method = text("method").and_then(|method| method.parse().ok()).unwrap_or(Method::POST);
    let body = example.get("json").cloned().unwrap_or_else(|| json!({ "sandbox": true }));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let asked = Asked {
        method,
        path: text("path").unwrap_or("/").to_owned(),
        query: None,
        headers,
        body: Bytes::from(body.to_string()),
    };
    if let Err(error) = metered::pass(world, &buyer, Call { agreement, nonce, asked }).await {
        tracing::debug!(detail = error.message(), "a call of the built-in buyer failed");
    }
}
