//! The registry: every tool, the profiles it is in, and what it can do.

pub mod crochet;
pub mod croo;
pub mod market;
pub mod paegents;
mod wait;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use rmcp::{
    ErrorData,
    handler::server::{
        common::FromContextPart,
        router::tool::ToolRouter,
        tool::{IntoCallToolResult, ToolCallContext},
    },
    model::{CallToolResponse, CallToolResult, ContentBlock, JsonObject, Tool},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    error::Error,
    marketplaces::Marketplace,
    profile::Profile,
    recovery::NextCall,
    server::Server,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean, mask},
};

/// What a tool can do, which decides the profiles, `--read-only` and what a fault in it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes nothing.
    Read,
    /// Changes something at a marketplace or in the store.
    Write,
    /// Can spend.
    Spend,
}

/// A tool's place: its profiles and its kind.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The tool.
    pub name: &'static str,
    /// The profiles it is in.
    pub profiles: &'static [Profile],
    /// What it can do.
    pub kind: Kind,
}

impl Place {
    /// The marketplace that it is a tool of: the first word of its name. `None` for those of all.
    #[must_use]
    pub fn marketplace(&self) -> Option<Marketplace> {
        self.name.split('_').next().and_then(Marketplace::named)
    }
}

use Kind::{Read, Spend, Write};
use Profile::{Account, Browse, Buy, Events, Legacy, Market, Owner, Pay, Sell, Settle};

/// Every tool. A test holds it against the routers.
#[rustfmt::skip]
pub const PLACES: &[Place] = &[
    Place { name: "market_search",                 profiles: &[Market],        kind: Read },
    Place { name: "market_status",                 profiles: &[Market],        kind: Read },
    Place { name: "market_list_purchases",         profiles: &[Market],        kind: Read },
    Place { name: "market_check_purchase",         profiles: &[Market],        kind: Write },
    Place { name: "market_wait_events",            profiles: &[Market],        kind: Read },
    Place { name: "croo_get_service",              profiles: &[Buy],           kind: Read },
    Place { name: "croo_negotiate_order",          profiles: &[Buy],           kind: Write },
    Place { name: "croo_get_negotiation",          profiles: &[Buy],           kind: Read },
    Place { name: "croo_list_negotiations",        profiles: &[Buy, Sell],     kind: Read },
    Place { name: "croo_pay_order",                profiles: &[Buy],           kind: Spend },
    Place { name: "croo_get_order",                profiles: &[Buy, Sell],     kind: Read },
    Place { name: "croo_list_orders",              profiles: &[Buy, Sell],     kind: Read },
    Place { name: "croo_reject_order",             profiles: &[Buy, Sell],     kind: Write },
    Place { name: "croo_get_delivery",             profiles: &[Buy],           kind: Read },
    Place { name: "croo_download_file",            profiles: &[Buy],           kind: Write },
    Place { name: "croo_accept_negotiation",       profiles: &[Sell],          kind: Write },
    Place { name: "croo_reject_negotiation",       profiles: &[Sell],          kind: Write },
    Place { name: "croo_deliver_order",            profiles: &[Sell],          kind: Write },
    Place { name: "croo_upload_file",              profiles: &[Sell],          kind: Write },
    Place { name: "croo_get_download_url",         profiles: &[Sell],          kind: Read },
    Place { name: "croo_search_services",          profiles: &[Browse],        kind: Read },
    Place { name: "croo_browse_store",             profiles: &[Browse],        kind: Read },
    Place { name: "paegents_get_service",          profiles: &[Buy],           kind: Read },
    Place { name: "paegents_create_agreement",     profiles: &[Buy],           kind: Write },
    Place { name: "paegents_get_agreement",        profiles: &[Buy, Sell],     kind: Read },
    Place { name: "paegents_list_agreements",      profiles: &[Sell, Settle],  kind: Read },
    Place { name: "paegents_register_service",     profiles: &[Sell],          kind: Write },
    Place { name: "paegents_update_service",       profiles: &[Sell],          kind: Write },
    Place { name: "paegents_delete_service",       profiles: &[Sell],          kind: Write },
    Place { name: "paegents_list_my_services",     profiles: &[Sell],          kind: Read },
    Place { name: "paegents_accept_agreement",     profiles: &[Sell],          kind: Write },
    Place { name: "paegents_reject_agreement",     profiles: &[Sell],          kind: Write },
    Place { name: "paegents_record_usage",         profiles: &[Sell],          kind: Write },
    Place { name: "paegents_update_delivery",      profiles: &[Sell],          kind: Write },
    Place { name: "paegents_list_webhooks",           profiles: &[Events],     kind: Read },
    Place { name: "paegents_create_webhook",          profiles: &[Events],     kind: Write },
    Place { name: "paegents_rotate_webhook_secret",   profiles: &[Events],     kind: Write },
    Place { name: "paegents_pause_webhook",           profiles: &[Events],     kind: Write },
    Place { name: "paegents_resume_webhook",          profiles: &[Events],     kind: Write },
    Place { name: "paegents_delete_webhook",          profiles: &[Events],     kind: Write },
    Place { name: "paegents_test_webhook",            profiles: &[Events],     kind: Write },
    Place { name: "paegents_list_webhook_deliveries", profiles: &[Events],     kind: Read },
    Place { name: "paegents_replay_webhook_delivery", profiles: &[Events],     kind: Write },
    Place { name: "paegents_verify_webhook",          profiles: &[Events],     kind: Read },
    Place { name: "paegents_list_events",             profiles: &[Events],     kind: Read },
    Place { name: "paegents_ack_event",               profiles: &[Events],     kind: Write },
    Place { name: "paegents_activate_escrow",      profiles: &[Buy],           kind: Spend },
    Place { name: "paegents_close_escrow",         profiles: &[Buy, Sell, Settle], kind: Write },
    Place { name: "paegents_claim_earnings",       profiles: &[Sell, Settle],  kind: Write },
    Place { name: "paegents_withdraw_remainder",   profiles: &[Buy, Settle],   kind: Write },
    Place { name: "paegents_get_activation_package", profiles: &[Settle],      kind: Read },
    Place { name: "paegents_get_escrow_status",      profiles: &[Settle],      kind: Read },
    Place { name: "paegents_get_settlement_options", profiles: &[Settle],      kind: Read },
    Place { name: "paegents_get_claim_instructions", profiles: &[Settle],      kind: Read },
    Place { name: "paegents_get_close_calldata",     profiles: &[Settle],      kind: Read },
    Place { name: "paegents_get_deposit_params",     profiles: &[Settle],      kind: Read },
    Place { name: "paegents_refresh_permit",         profiles: &[Settle],      kind: Write },
    Place { name: "paegents_list_call_proofs",       profiles: &[Settle],      kind: Read },
    Place { name: "paegents_list_receipts",          profiles: &[Settle],      kind: Read },
    Place { name: "paegents_recover_credentials",  profiles: &[Account],       kind: Write },
    Place { name: "paegents_create_invite",        profiles: &[Account],       kind: Write },
    Place { name: "paegents_list_invites",         profiles: &[Account],       kind: Read },
    Place { name: "paegents_get_invite",           profiles: &[Account, Owner], kind: Read },
    Place { name: "paegents_get_policies",         profiles: &[Owner],         kind: Read },
    Place { name: "paegents_update_policies",      profiles: &[Owner],         kind: Write },
    Place { name: "paegents_list_approvals",       profiles: &[Owner],         kind: Read },
    Place { name: "paegents_approve_request",      profiles: &[Owner],         kind: Write },
    Place { name: "paegents_reject_request",       profiles: &[Owner],         kind: Write },
    Place { name: "paegents_get_spending_limits",  profiles: &[Owner],         kind: Read },
    Place { name: "paegents_update_spending_limits", profiles: &[Owner],       kind: Write },
    Place { name: "paegents_accept_invite",        profiles: &[Owner],         kind: Write },
    Place { name: "paegents_create_intent_mandate",   profiles: &[Pay],            kind: Write },
    Place { name: "paegents_create_cart_mandate",     profiles: &[Pay],            kind: Write },
    Place { name: "paegents_pay_mandate",             profiles: &[Pay],            kind: Spend },
    Place { name: "paegents_get_signing_digest",      profiles: &[Pay],            kind: Read },
    Place { name: "paegents_pay_supplier",            profiles: &[Pay],            kind: Spend },
    Place { name: "paegents_get_supplier_payment",    profiles: &[Pay],            kind: Read },
    Place { name: "paegents_buy_direct",              profiles: &[Pay],            kind: Spend },
    Place { name: "paegents_search_recipients",       profiles: &[Pay],            kind: Read },
    Place { name: "paegents_get_balance",             profiles: &[Pay],            kind: Read },
    Place { name: "paegents_verify_receipt",          profiles: &[Pay],            kind: Read },
    Place { name: "paegents_get_payment_requirements", profiles: &[Pay],            kind: Read },
    Place { name: "paegents_create_payment",          profiles: &[Legacy],         kind: Spend },
    Place { name: "paegents_create_a2a_payment",      profiles: &[Legacy],         kind: Spend },
    Place { name: "paegents_call_service",         profiles: &[Buy],           kind: Write },
    Place { name: "paegents_get_usage",            profiles: &[Buy],           kind: Read },
    Place { name: "paegents_cancel_agreement",     profiles: &[Buy],           kind: Write },
    Place { name: "paegents_dispute_agreement",    profiles: &[Buy],           kind: Write },
    Place { name: "paegents_search_services",      profiles: &[Browse],        kind: Read },
    Place { name: "crochet_get_listing",           profiles: &[Buy],           kind: Read },
    Place { name: "crochet_call_listing",          profiles: &[Buy],           kind: Spend },
    Place { name: "crochet_resume_call",           profiles: &[Buy],           kind: Spend },
    Place { name: "crochet_create_listing",        profiles: &[Sell],          kind: Write },
    Place { name: "crochet_update_listing",        profiles: &[Sell],          kind: Write },
    Place { name: "crochet_delete_listing",        profiles: &[Sell],          kind: Write },
    Place { name: "crochet_get_endpoint",          profiles: &[Sell],          kind: Read },
    Place { name: "crochet_set_endpoint",          profiles: &[Sell],          kind: Write },
    Place { name: "crochet_test_endpoint",         profiles: &[Sell],          kind: Write },
    Place { name: "crochet_rotate_secret",         profiles: &[Sell],          kind: Write },
    Place { name: "crochet_verify_request",        profiles: &[Sell],          kind: Read },
    Place { name: "crochet_list_gateway_requests", profiles: &[Sell, Account], kind: Read },
    Place { name: "crochet_search_listings",       profiles: &[Browse],        kind: Read },
    Place { name: "crochet_list_categories",       profiles: &[Browse],        kind: Read },
    Place { name: "crochet_get_score",             profiles: &[Browse],        kind: Read },
    Place { name: "crochet_register",              profiles: &[Account],       kind: Write },
    Place { name: "crochet_recover_account",       profiles: &[Account],       kind: Write },
    Place { name: "crochet_get_profile",           profiles: &[Account],       kind: Read },
    Place { name: "crochet_list_wallets",          profiles: &[Account],       kind: Read },
    Place { name: "crochet_link_wallet",           profiles: &[Account],       kind: Write },
    Place { name: "crochet_update_wallet",         profiles: &[Account],       kind: Write },
    Place { name: "crochet_list_api_keys",         profiles: &[Account],       kind: Read },
    Place { name: "crochet_create_api_key",        profiles: &[Account],       kind: Write },
    Place { name: "crochet_revoke_api_key",        profiles: &[Account],       kind: Write },
    Place { name: "crochet_review_listing",        profiles: &[Account],       kind: Write },
    Place { name: "crochet_list_ledger",           profiles: &[Account],       kind: Read },
];

/// All routers summed.
#[must_use]
pub fn router() -> ToolRouter<Server> {
    Server::market_tools()
        + Server::market_search_tools()
        + Server::market_purchase_tools()
        + Server::market_event_tools()
        + Server::croo_negotiation_tools()
        + Server::croo_buyer_tools()
        + Server::croo_order_tools()
        + Server::croo_provider_tools()
        + Server::croo_file_tools()
        + Server::croo_store_tools()
        + Server::crochet_buyer_tools()
        + Server::crochet_seller_tools()
        + Server::crochet_browse_tools()
        + Server::crochet_account_tools()
        + Server::paegents_agreement_tools()
        + Server::paegents_seller_tools()
        + Server::paegents_catalog_tools()
        + Server::paegents_event_tools()
        + Server::paegents_webhook_tools()
        + Server::paegents_buyer_tools()
        + Server::paegents_settle_tools()
        + Server::paegents_settlement_read_tools()
        + Server::paegents_evidence_tools()
        + Server::paegents_account_tools()
        + Server::paegents_owner_tools()
        + Server::paegents_pay_tools()
        + Server::paegents_legacy_tools()
        + Server::paegents_browse_tools()
}

/// The tools in use: those of the profiles and marketplaces, and with `read_only` only those that read. Their order
/// is that of their names.
#[must_use]
pub fn in_use(
    profiles: &[Profile],
    marketplaces: &[Marketplace],
    read_only: bool,
) -> BTreeMap<&'static str, Kind> {
    PLACES
        .iter()
        .filter(|place| place.marketplace().is_none_or(|of| marketplaces.contains(&of)))
        .filter(|place| place.profiles.iter().any(|p| *p == Market || profiles.contains(p)))
        .filter(|place| !read_only || place.kind == Read)
        .map(|place| (place.name, place.kind))
        .collect()
}

/// A tool as `tools/list` sends it: its schemas without what only costs tokens.
#[must_use]
pub fn listed(tool: &Tool) -> Tool {
    let mut tool = tool.clone();
    if let Some(description) = &tool.description {
        let words: Vec<&str> = description.split_whitespace().collect();
        tool.description = Some(words.join(" ").into());
    }
    tool.input_schema = Arc::new(slim((*tool.input_schema).clone()));
    tool.output_schema = tool.output_schema.map(|schema| Arc::new(open((*schema).clone())));
    tool
}

/// A schema without `$schema`, titles, formats, a word about each word of a choice and the nullness of what may be left out.
fn slim(mut schema: JsonObject) -> JsonObject {
    slim_members(&mut schema);
    // The tool's own description says it.
    schema.remove("description");
    schema.entry("properties").or_insert_with(|| json!({}));
    schema
}

fn slim_members(schema: &mut JsonObject) {
    for name in ["$schema", "title", "format", "minLength"] {
        // A property may have any of these names; only a keyword is a plain value.
        if schema.get(name).is_some_and(|value| !value.is_object()) {
            schema.remove(name);
        }
    }
    // What is counted is not negative, and free JSON has any members, without a word.
    for (name, plain) in [("minimum", json!(0)), ("additionalProperties", json!(true))] {
        if schema.get(name) == Some(&plain) {
            schema.remove(name);
        }
    }
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    if let Some(only) = only_of(schema) {
        schema.remove("anyOf");
        for (name, keyword) in only {
            // What is said of the member counts more than what is said of its type.
            schema.entry(name).or_insert(keyword);
        }
    }
    if let Some(words) = words_of(schema) {
        schema.remove("oneOf");
        schema.insert("type".to_owned(), json!("string"));
        schema.insert("enum".to_owned(), words);
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    for (name, member) in schema.iter_mut() {
        match member {
            Value::Object(inner) if name == "properties" || name == "$defs" => {
                for property in inner.values_mut().filter_map(Value::as_object_mut) {
                    slim_members(property);
                }
            }
            Value::Object(inner) => slim_members(inner),
            Value::Array(items) => {
                items.iter_mut().filter_map(Value::as_object_mut).for_each(slim_members);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// The one thing that a member is where it is not null.
fn only_of(schema: &JsonObject) -> Option<JsonObject> {
    let options = schema.get("anyOf")?.as_array()?;
    let is_null = |option: &&Value| option.get("type").is_some_and(|kind| kind == "null");
    let mut others = options.iter().filter(|option| !is_null(option));
    let only = others.next()?.as_object()?.clone();
    (others.next().is_none() && options.len() == 2).then_some(only)
}

/// The words of a choice that says more of each than its name does.
fn words_of(schema: &JsonObject) -> Option<Value> {
    let options = schema.get("oneOf")?.as_array()?;
    let words: Option<Vec<Value>> = options
        .iter()
        .map(|option| option.get("const").filter(|word| word.is_string()).cloned())
        .collect();
    words.map(Value::Array)
}

/// An output schema that admits `error` beside its own members and requires nothing at its root:
/// some clients check it even for a failed call.
fn open(schema: JsonObject) -> JsonObject {
    let mut schema = slim(schema);
    schema.remove("required");
    schema.remove("additionalProperties");
    schema.insert("type".to_owned(), json!("object"));
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert("error".to_owned(), json!({ "type": "object" }));
        properties.insert("mode".to_owned(), json!({ "type": "string" }));
    }
    schema
}

/// The input schema of a tool's arguments.
#[must_use]
pub fn input<T: JsonSchema>() -> Arc<JsonObject> {
    schema_of::<T>(schemars::generate::SchemaSettings::draft2020_12())
}

/// The output schema of a tool's view.
#[must_use]
pub fn output<T: JsonSchema>() -> Arc<JsonObject> {
    schema_of::<T>(schemars::generate::SchemaSettings::draft2020_12().for_serialize())
}

fn schema_of<T: JsonSchema>(settings: schemars::generate::SchemaSettings) -> Arc<JsonObject> {
    let settings = settings.with(|s| s.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    match schema.to_value() {
        Value::Object(object) => Arc::new(object),
        _ => Arc::default(),
    }
}

/// A tool's arguments, read strictly: what is wrong comes back as `invalid_argument`, which names
/// the field.
#[derive(Debug)]
pub struct Args<T>(pub T);

impl<T: DeserializeOwned> FromContextPart<ToolCallContext<'_, Server>> for Args<T> {
    fn from_context_part(context: &mut ToolCallContext<'_, Server>) -> Result<Self, ErrorData> {
        let arguments = context.arguments.take().unwrap_or_default();
        serde_path_to_error::deserialize(Value::Object(arguments)).map(Self).map_err(|error| {
            let path = error.path().to_string();
            let problem = error.into_inner().to_string();
            as_protocol_error(&unreadable(&path, &problem, &example_of(context)))
        })
    }
}

/// What is said of an argument that serde refuses.
fn unreadable(path: &str, problem: &str, example: &str) -> Error {
    // serde names an unknown or a missing member between backticks, and not in the path.
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| problem.strip_prefix(start)?.split('`').next());
    let field = match (named, path) {
        (Some(name), "." | "") => name.to_owned(),
        // The path to an unknown member ends with it; that to a missing one with its object.
        (Some(name), path) if path == name || path.ends_with(&format!(".{name}")) => {
            path.to_owned()
        }
        (Some(name), path) => format!("{path}.{name}"),
        (None, path) => path.to_owned(),
    };
    let field = mask(&clean(&field, NAME_CHARS_MAX));
    let problem = mask(&clean(problem, TEXT_CHARS_MAX));
    Error::new(
        crate::error::Code::InvalidArgument,
        format!("`{field}` cannot be used: {problem}; the arguments look like {example}"),
    )
    .field(field, Some(example))
}

/// Arguments that the tool being called would take.
fn example_of(context: &ToolCallContext<'_, Server>) -> String {
    context.service.example_arguments(&context.name)
}

/// Carries a failure through a place where rmcp only lets a protocol error pass; `call_tool` turns
/// it back.
#[must_use]
pub fn as_protocol_error(error: &Error) -> ErrorData {
    ErrorData::invalid_params(error.to_string(), Some(json!({ "haggle": error.to_json() })))
}

/// The failure that was carried by [`as_protocol_error`].
#[must_use]
pub fn from_protocol_error(error: &ErrorData) -> Option<Value> {
    error.data.as_ref()?.get("haggle").cloned()
}

/// What a tool returns: its view, and the calls that make sense now.
#[derive(Debug)]
pub struct Reply<V> {
    /// The tool's own members.
    pub view: V,
    /// The next calls, most useful first.
    pub next: Vec<NextCall>,
}

impl<V> Reply<V> {
    /// A view without a next call.
    #[must_use]
    pub fn new(view: V) -> Self {
        Self { view, next: Vec::new() }
    }

    /// With a call that makes sense now.
    #[must_use]
    pub fn next(mut self, call: NextCall) -> Self {
        self.next.push(call);
        self
    }
}

impl<V: Serialize> IntoCallToolResult for Reply<V> {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        let mut body = serde_json::to_value(&self.view)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        if let (Some(object), false) = (body.as_object_mut(), self.next.is_empty()) {
            object.insert("next".to_owned(), json!(self.next));
        }
        // The text is made where `mode` is added, in `call_tool`.
        let mut result = CallToolResult::success(Vec::<ContentBlock>::new());
        result.structured_content = Some(body);
        Ok(result.into())
    }
}

/// The name of every tool in `router`, sorted.
#[must_use]
pub fn names(router: &ToolRouter<Server>) -> Vec<Cow<'static, str>> {
    let mut names: Vec<_> = router.list_all().into_iter().map(|tool| tool.name).collect();
    names.sort();
    names
}
