//! Delivering an order: the right form, held against what the service promises, once.

use std::sync::Arc;

use alloy_primitives::Address;
use serde_json::{Value, json};

use super::{DeliverOrderArgs, DeliveredView, check_provider, in_turn, is_open, undone};
use crate::{
    app::App,
    error::{Code, Error},
    ids::OrderId,
    marketplaces::{
        Marketplace,
        croo::{
            Croo, Role,
            deliveries::{DeliverOrder, GetDelivery},
            orders::Order,
            services::{GetAgent, GetService, Service},
            shape::Shape,
            steps, word,
        },
    },
    recovery::NextCall,
    tools::{Reply, croo::shown::OrderView},
};

/// The largest result, in bytes.
const RESULT_BYTES_MAX: usize = 256 * 1024;

/// A result in the form in which it is sent.
#[derive(Debug, PartialEq)]
struct Deliverable {
    /// `text` or `schema`.
    kind: &'static str,
    /// The text, or the JSON as text.
    content: String,
}

/// Delivers, unless it is delivered already.
pub(super) async fn deliver(
    app: &Arc<App>,
    args: DeliverOrderArgs,
) -> Result<Reply<DeliveredView>, Error> {
    check(&args.result)?;
    let usdc = app.chain().await?.pins().usdc;
    let (croo, _turn) = in_turn(app).await?;
    let id = &args.order_id;
    let order = croo.order(id).await?;
    let sides = (order.requester_agent_id.as_ref(), order.provider_agent_id.as_ref());
    check_provider(app, &croo, sides).await?;
    if is_delivered(&order) {
        return Ok(delivered_before(&croo, &order, &args.result, usdc).await);
    }
    if !is_due(&order) {
        return Err(not_now(&order));
    }
    let service = service(&croo, &order).await;
    let deliverable = formed(&args, service.as_ref())?;
    let is_schema = deliverable.kind == "schema";
    let part = |wanted| if wanted { deliverable.content.as_str() } else { "" };
    let request = DeliverOrder {
        order_id: id,
        deliverable_type: deliverable.kind,
        deliverable_text: part(!is_schema),
        deliverable_schema: part(is_schema),
    };
    let error = match croo.api.send(&request).await {
        Ok(done) if done.order.order_id == *id && is_delivered(&done.order) => {
            return Ok(delivered(&done.order, None, usdc));
        }
        // The answer says less than it should: the order itself tells.
        Ok(_) => another_written(id),
        Err(error) => error,
    };
    if !is_open(&error) {
        return Err(error);
    }
    let now = croo.order(id).await.map_err(|_| {
        let why = "shows whether it was delivered; send nothing before";
        error.clone().next(NextCall::new("croo_get_order", json!({ "order_id": id }), why))
    })?;
    if is_delivered(&now) {
        return Ok(delivered_before(&croo, &now, &args.result, usdc).await);
    }
    if !is_due(&now) {
        return Err(not_now(&now));
    }
    // The same call is hinted with its result; one that is too long for that is named at least.
    let error = undone(&error, "the order");
    if args.result.to_string().len() < RESULT_HINTED_BYTES_MAX {
        return Err(error);
    }
    let why = "shows that it is still to be delivered; then deliver the same result again";
    Err(error.next(NextCall::new("croo_get_order", json!({ "order_id": id }), why)))
}

/// The longest result that a hint repeats, in bytes.
const RESULT_HINTED_BYTES_MAX: usize = 3 * 1024;

/// What no service takes.
fn check(result: &Value) -> Result<(), Error> {
    let is_empty = match result {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    };
    if is_empty {
        return Err(Error::argument("result", "must not be empty", "{\"summary\":\"…\"}"));
    }
    let bytes = result.to_string().len();
    if bytes > RESULT_BYTES_MAX {
        let problem = format!(
            "has {bytes} bytes, and at most {RESULT_BYTES_MAX} are delivered; store a file with \
             croo_upload_file and deliver its key"
        );
        let example = "{\"object_key\":\"…\"}";
        return Err(Error::argument("result", problem, example));
    }
    Ok(())
}

/// The result in the form that the service promises; where that is not known, in the one it has.
fn formed(args: &DeliverOrderArgs, service: Option<&Service>) -> Result<Deliverable, Error> {
    let promised = service.map(|service| service.deliverable_type.trim());
    let result = &args.result;
    let is_structured = matches!(result, Value::Object(_) | Value::Array(_));
    match promised {
        Some("schema") => structured(args, service),
        Some("text") => Ok(Deliverable { kind: "text", content: plain(result) }),
        Some(_) | None if is_structured => {
            Ok(Deliverable { kind: "schema", content: result.to_string() })
        }
        Some(_) | None => Ok(Deliverable { kind: "text", content: plain(result) }),
    }
}

/// A text as it is, anything else as JSON.
fn plain(result: &Value) -> String {
    match result {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The result as JSON that fits the declared shape. JSON that was written as text is taken as well.
fn structured(args: &DeliverOrderArgs, service: Option<&Service>) -> Result<Deliverable, Error> {
    let shape = service.and_then(|service| Shape::read(&service.deliverable_schema));
    let parsed = match &args.result {
        Value::String(text) => crate::marketplaces::http::read_json(text.as_bytes()).ok(),
        other => Some(other.clone()),
    };
    let example = shape.as_ref().map_or_else(|| json!({ "result": "…" }), Shape::example);
    let refused = |field: &str, problem: &str| {
        let text = example.to_string();
        let why = "delivers a result of the right shape; fill it in";
        let arguments = json!({ "order_id": args.order_id, "result": example });
        let call = NextCall::new("croo_deliver_order", arguments, why);
        Error::argument(field, problem, &text).next(call)
    };
    let Some(result) = parsed else {
        return Err(refused("result", "must be JSON, since the service promises fields"));
    };
    let misfit = shape.as_ref().and_then(|shape| shape.check(&result).err());
    match misfit {
        Some(misfit) if misfit.field.is_empty() => Err(refused("result", &misfit.problem)),
        Some(misfit) => Err(refused(&format!("result.{}", misfit.field), &misfit.problem)),
        None => Ok(Deliverable { kind: "schema", content: result.to_string() }),
    }
}

/// The service of an order, as far as the public store tells. That is no part of the documented
/// contract, so an order is delivered without it, too.
async fn service(croo: &Croo, order: &Order) -> Option<Service> {
    let service_id = order.service_id.as_ref()?;
    let read = croo.api.send(&GetService { service_id }).await;
    let found = read.ok().map(|served| served.service);
    match found {
        Some(service) if !service.deliverable_type.trim().is_empty() => Some(service),
        found => {
            let agent_id = order.provider_agent_id.as_ref()?;
            let agent = croo.api.send(&GetAgent { agent_id }).await.ok()?.agent;
            agent.services.into_iter().find(|sold| sold.service_id == *service_id).or(found)
        }
    }
}

/// What came back is about another order: this one may have been delivered.
fn another_written(id: &OrderId) -> Error {
    let message = format!("CROO's answer for {id} is not about its delivery");
    let mut error = Error::new(Code::UpstreamMalformed, message).at(Marketplace::Croo);
    error.not_repeat_safe();
    error
}

fn is_delivered(order: &Order) -> bool {
    matches!(order.status.as_str(), "delivering" | "evaluating" | "completed")
}

fn is_due(order: &Order) -> bool {
    matches!(order.status.as_str(), "paid" | "deliver_failed")
}

fn not_now(order: &Order) -> Error {
    let message = format!(
        "the order {} is {}, and only a paid one can be delivered",
        order.order_id,
        word(&order.status)
    );
    let error = Error::new(Code::WrongState, message).at(Marketplace::Croo);
    steps::of_order(order, Some(Role::Provider), None).into_iter().fold(error, Error::next)
}

fn delivered(order: &Order, is_this_result: Option<bool>, usdc: Address) -> Reply<DeliveredView> {
    let role = Some(Role::Provider);
    let view = DeliveredView { order: OrderView::of(order, role, usdc), is_this_result };
    Reply { view, next: steps::of_order(order, role, None) }
}

/// It had been delivered: whether this was the result is told where it can be read.
async fn delivered_before(
    croo: &Croo,
    order: &Order,
    result: &Value,
    usdc: Address,
) -> Reply<DeliveredView> {
    let read = croo.api.send(&GetDelivery { order_id: &order.order_id }).await;
    let is_same = read.ok().map(|got| is_same(result, got.delivery.content()));
    delivered(order, is_same, usdc)
}

/// Whether a delivery's content is this result, however it is written.
fn is_same(result: &Value, content: &str) -> bool {
    let as_json = |text: &str| serde_json::from_str::<Value>(text).ok();
    match result {
        Value::String(text) if text == content => true,
        Value::String(text) => as_json(text).is_some_and(|own| as_json(content) == Some(own)),
        other => as_json(content).as_ref() == Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"[{"name":"verdict","type":"string","required":true},
        {"name":"reasons","type":"array"}]"#;

    fn service(kind: &str) -> Service {
        let json =
            json!({ "serviceId": "s", "deliverableType": kind, "deliverableSchema": SCHEMA });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn gives_a_result_the_form_that_is_promised() {
        let fits = json!({ "verdict": "keep" });
        #[rustfmt::skip]
        let rows = [
            // promised         result                              kind, or the field that is wrong
            (Some("schema"),    fits.clone(),                       Ok("schema")),
            (Some("schema"),    json!("{\"verdict\":\"keep\"}"),    Ok("schema")),
            (Some("schema"),    json!("keep"),                      Err("result")),
            (Some("schema"),    json!([1]),                         Err("result")),
            (Some("schema"),    json!({}),                          Err("result.verdict")),
            (Some("schema"),    json!({ "verdict": 1 }),            Err("result.verdict")),
            (Some("schema"),    json!({ "verdict": "x", "y": 1 }),  Err("result.y")),
            (Some("text"),      json!("keep"),                      Ok("text")),
            (Some("text"),      fits.clone(),                       Ok("text")),
            (Some("hologram"),  fits.clone(),                       Ok("schema")),
            (Some(""),          json!("keep"),                      Ok("text")),
            (None,              fits,                               Ok("schema")),
            (None,              json!([1]),                         Ok("schema")),
            (None,              json!("keep"),                      Ok("text")),
            (None,              json!(7),                           Ok("text")),
        ];
        for (promised, result, expected) in rows {
            let args = DeliverOrderArgs { order_id: "o".parse().unwrap(), result };
            let formed = formed(&args, promised.map(service).as_ref());
            match (formed, expected) {
                (Ok(formed), Ok(kind)) => assert_eq!(formed.kind, kind, "{args:?}"),
                (Err(error), Err(field)) => {
                    assert_eq!(error.field.as_deref(), Some(field), "{args:?}");
                    let hinted = &error.recovery.next[0].arguments["result"];
                    assert_eq!(Shape::read(SCHEMA).unwrap().check(hinted), Ok(()));
                }
                (formed, _) => panic!("{args:?}: {formed:?}"),
            }
        }
    }

    #[test]
    fn refuses_what_is_empty_or_too_large() {
        let fits = "a".repeat(RESULT_BYTES_MAX - 2);
        let longer = "a".repeat(RESULT_BYTES_MAX - 1);
        #[rustfmt::skip]
        let rows = [
            (json!("a"), true), (json!(""), false), (json!(" \n"), false), (json!(null), false),
            (json!(0), true),   (json!({}), true),  (json!(fits), true),   (json!(longer), false),
        ];
        for (result, accepted) in rows {
            assert_eq!(check(&result).is_ok(), accepted);
        }
    }

    #[test]
    fn knows_its_own_result_again() {
        #[rustfmt::skip]
        let rows = [
            (json!("memo"),             "memo",               true),
            (json!("memo"),             "other",              false),
            (json!({ "a": 1, "b": 2 }), r#"{"b":2, "a":1}"#,  true),
            (json!({ "a": 1 }),         r#"{"a":2}"#,         false),
            (json!("{\"a\":1}"),        r#"{ "a": 1 }"#,      true),
            (json!({ "a": 1 }),         "memo",               false),
        ];
        for (result, content, expected) in rows {
            assert_eq!(is_same(&result, content), expected, "{result} {content}");
        }
    }
}
