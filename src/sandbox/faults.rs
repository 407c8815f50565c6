//! Faults: what goes wrong next, armed by the admin.
//!
//! A fault fires on the requests that match it, `times` times after `skip` of them. One request
//! meets at most one fault. A fault that alters an answer and finds nothing to alter in it (a
//! raised price in an answer that names none) has not fired and waits for the next request.
//!
//! To the faults of event sockets each event that is about to be sent is a request: `GET /ws`, with
//! the event's type as a second name of the path. No other fault strikes there.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};

use crate::{
    money::{MICROS_PER_USDC, Usdc},
    sandbox::world::World,
};

/// Where faults can strike.
const MARKETPLACES: [&str; 7] = ["croo", "crochet", "paegents", "chain", "storage", "socket", "*"];
/// The longest delay, in milliseconds.
const DELAY_MS_MAX: u64 = 600_000;

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// The connection is cut and nothing was done.
    DropBefore,
    /// Everything was done, the answer is lost.
    DropAfter,
    /// The request waits, really, before it is carried out.
    DelayMs(u64),
    /// Another answer instead of carrying it out.
    Status(StatusCode, HeaderMap, Vec<u8>),
    /// The answer breaks off after so many bytes of its body.
    Truncate(usize),
    /// A gateway, or a payment, is answered 202 and nothing is done.
    Pending,
    /// Everything was done; the answer is a 502 instead of the result.
    ChargeThenFail,
    /// Everything was done; the answer is a fresh 402 instead of the result.
    PayAgain,
    /// What is asked for is taken on; its step on CROO's chain then fails.
    Fail,
    /// The price asked for is higher.
    RaisePrice(RaisePrice),
    /// The deposit address of the answer is another.
    SwapPayee(String),
    /// Members of the answer with these names have these values, however deep.
    SwapTerms(Map<String, Value>),
    /// The `Date` of the answer is off by so many seconds.
    SkewS(i64),
    /// An event socket breaks.
    Socket(SocketFault),
}

/// What goes wrong with an event that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketFault {
    /// The line is cut instead.
    Kill,
    /// It is sent twice.
    Duplicate,
    /// It is sent after the next one.
    Reorder,
    /// The connection is closed with 1008 instead.
    Refuse,
    /// It is never sent.
    Drop,
    /// The connection stays open, but nothing is sent from now on, not even a pong.
    Stall,
}

impl SocketFault {
    /// By the words of the contract.
    const NAMED: [(&str, Self); 6] = [
        ("kill", Self::Kill),
        ("duplicate", Self::Duplicate),
        ("reorder", Self::Reorder),
        ("1008", Self::Refuse),
        ("drop", Self::Drop),
        ("stall", Self::Stall),
    ];
}

/// Given to a handler with the request: the step on the chain is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fails;

/// Given back by a handler with the answer: the fault that came with the request did its work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Altered;

/// A factor on the price that the gateway or an order asks for, in millionths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RaisePrice(u64);

impl RaisePrice {
    /// The raised price, in micro-units.
    pub(crate) fn apply(self, micros: u64) -> u64 {
        micros.saturating_mul(self.0) / MICROS_PER_USDC
    }
}

/// A fault as it was armed.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    marketplace: String,
    method: String,
    path: String,
    skip: u32,
    times: u32,
    action: Action,
}

/// Why a fault was not armed: the field, and what is wrong with it.
type Invalid = String;

impl Spec {
    /// Reads a fault; unknown members are refused.
    pub(crate) fn parse(value: &Value) -> Result<Self, Invalid> {
        let members = value.as_object().ok_or("a fault must be an object")?;
        let known = ["marketplace", "method", "path", "skip", "times", "action"];
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("{name}: is no member of a fault"));
        }
        let text = |name: &str, default: Option<&str>| match (members.get(name), default) {
            (Some(Value::String(text)), _) => Ok(text.clone()),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(format!("{name}: is required")),
            (Some(_), _) => Err(format!("{name}: must be text")),
        };
        let count = |name: &str, default: u32| match members.get(name) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| format!("{name}: must be a whole number")),
        };
        let marketplace = text("marketplace", None)?;
        if !MARKETPLACES.contains(&marketplace.as_str()) {
            return Err(format!("marketplace: must be one of {}", MARKETPLACES.join(", ")));
        }
        let method = text("method", Some("*"))?;
        if method != "*" && Method::from_bytes(method.as_bytes()).is_err() {
            return Err("method: must be an HTTP method or *".to_owned());
        }
        let action = parse_action(members.get("action").ok_or("action: is required")?)?;
        if matches!(action, Action::Socket(_)) && !["socket", "*"].contains(&marketplace.as_str()) {
            return Err("marketplace: events are sent by socket alone".to_owned());
        }
        let times = count("times", 1)?;
        if times == 0 {
            return Err("times: must be at least 1".to_owned());
        }
        Ok(Self {
            marketplace,
            method,
            path: text("path", Some("*"))?,
            skip: count("skip", 0)?,
            times,
            action,
        })
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        matches!(self.action, Action::Socket(_)) == target.is_event
            && (self.marketplace == "*" || self.marketplace == target.marketplace)
            && (self.method == "*"
                || self.method.eq_ignore_ascii_case(target.method)
                || target.calls.contains(&self.method))
            && (is_match(&self.path, target.path)
                || target.calls.iter().any(|call| is_match(&self.path, call)))
    }
}

fn parse_action(action: &Value) -> Result<Action, Invalid> {
    match action {
        Value::String(name) => match name.as_str() {
            "drop_before" => Ok(Action::DropBefore),
            "drop_after" => Ok(Action::DropAfter),
            "pending" => Ok(Action::Pending),
            "fail" => Ok(Action::Fail),
            "charge_then_fail" => Ok(Action::ChargeThenFail),
            "pay_again" => Ok(Action::PayAgain),
            _ => Err(format!("action: {name} is not known")),
        },
        Value::Object(members) if members.contains_key("status") => parse_status(members),
        Value::Object(members) if members.len() == 1 => {
            let (name, value) = members.iter().next().ok_or("action: is empty")?;
            parse_valued(name, value)
        }
        _ => Err("action: must be a name or an object with one member".to_owned()),
    }
}

fn parse_valued(name: &str, value: &Value) -> Result<Action, Invalid> {
    let wrong = |what: &str| format!("action.{name}: must be {what}");
    match name {
        "delay_ms" => value
            .as_u64()
            .filter(|delay| *delay <= DELAY_MS_MAX)
            .map(Action::DelayMs)
            .ok_or_else(|| wrong("a whole number up to 600000")),
        "truncate" => value
            .as_u64()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Action::Truncate)
            .ok_or_else(|| wrong("a whole number of bytes")),
        "raise_price" => value
            .as_str()
            .and_then(|text| text.parse::<Usdc>().ok())
            .filter(|factor| *factor > Usdc::ZERO)
            .map(|factor| Action::RaisePrice(RaisePrice(factor.micros())))
            .ok_or_else(|| wrong("a positive decimal as text, such as \"1.5\"")),
        "swap_payee" => value
            .as_str()
            .map(|payee| Action::SwapPayee(payee.to_owned()))
            .ok_or_else(|| wrong("an address")),
        "swap_terms" => value
            .as_object()
            .filter(|terms| !terms.is_empty())
            .map(|terms| Action::SwapTerms(terms.clone()))
            .ok_or_else(|| wrong("an object of names and values")),
        "skew_s" => {
            value.as_i64().map(Action::SkewS).ok_or_else(|| wrong("a whole number of seconds"))
        }
        "socket" => value
            .as_str()
            .and_then(|what| SocketFault::NAMED.into_iter().find(|(name, _)| *name == what))
            .map(|(_, fault)| Action::Socket(fault))
            .ok_or_else(|| {
                wrong(&format!("one of {}", SocketFault::NAMED.map(|(name, _)| name).join(", ")))
            }),
        _ => Err(format!("action: {name} is not known")),
    }
}

fn parse_status(members: &Map<String, Value>) -> Result<Action, Invalid> {
    let known = ["status", "headers", "body", "body_base64"];
    if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("action.{name}: is no member of a status fault"));
    }
    let status = members
        .get("status")
        .and_then(Value::as_u64)
        .filter(|status| (200..600).contains(status))
        .and_then(|status| u16::try_from(status).ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or("action.status: must be from 200 to 599")?;
    let mut headers = HeaderMap::new();
    match members.get("headers") {
        None => {}
        Some(Value::Object(all)) => {
            for (name, value) in all {
                let wrong = || format!("action.headers.{name}: is no header");
                let key: HeaderName = name.parse().map_err(|_| wrong())?;
                let value = value.as_str().ok_or_else(wrong)?;
                headers.append(key, HeaderValue::from_str(value).map_err(|_| wrong())?);
            }
        }
        Some(_) => return Err("action.headers: must be an object".to_owned()),
    }
    let body = match (members.get("body"), members.get("body_base64")) {
        (Some(_), Some(_)) => {
            return Err("action.body_base64: cannot stand beside body".to_owned());
        }
        (Some(Value::String(text)), None) => text.clone().into_bytes(),
        (Some(json), None) => json.to_string().into_bytes(),
        (None, Some(text)) => text
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or("action.body_base64: is no base64")?,
        (None, None) => Vec::new(),
    };
    if members.get("body").is_some_and(|body| !body.is_string()) {
        headers.entry("content-type").or_insert(HeaderValue::from_static("application/json"));
    }
    Ok(Action::Status(status, headers, body))
}

/// Whether `text` fits a pattern in which `*` stands for anything.
fn is_match(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    let starts = (0..=text.len()).filter_map(|at| text.get(at..));
    rest.is_empty() || starts.into_iter().any(|text| is_match(rest, text))
}

/// A request that may meet a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Whose it is.
    pub(crate) marketplace: &'a str,
    /// The HTTP method.
    pub(crate) method: &'a str,
    /// The path from the marketplace's base.
    pub(crate) path: &'a str,
    /// The JSON-RPC methods that it calls, or the type of an event.
    pub(crate) calls: &'a [String],
    /// Whether it is no request, but an event that is about to be sent.
    pub(crate) is_event: bool,
}

/// A fault that fires.
#[derive(Clone, Debug)]
pub(crate) struct Fired {
    /// Its identifier.
    pub(crate) id: i64,
    /// What goes wrong.
    pub(crate) action: Action,
}

/// Arms a fault; answers its identifier.
pub(crate) fn arm(db: &Connection, text: &Value) -> Result<Result<i64, Invalid>, rusqlite::Error> {
    let spec = match Spec::parse(text) {
        Ok(spec) => spec,
        Err(invalid) => return Ok(Err(invalid)),
    };
    db.execute(
        "INSERT INTO faults (spec, skip_left, times_left) VALUES (?1, ?2, ?3)",
        params![text.to_string(), spec.skip, spec.times],
    )?;
    Ok(Ok(db.last_insert_rowid()))
}

/// All faults, with how often each has fired and will yet.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Value>> {
    db.prepare_cached("SELECT id, spec, skip_left, times_left, fired FROM faults ORDER BY id")?
        .query_map([], |row| {
            let spec: String = row.get(1)?;
            let mut fault: Value = serde_json::from_str(&spec).unwrap_or_default();
            if let Some(members) = fault.as_object_mut() {
                members.insert("id".to_owned(), json!(row.get::<_, i64>(0)?));
                members.insert("skip_left".to_owned(), json!(row.get::<_, i64>(2)?));
                members.insert("times_left".to_owned(), json!(row.get::<_, i64>(3)?));
                members.insert("fired".to_owned(), json!(row.get::<_, i64>(4)?));
            }
            Ok(fault)
        })?
        .collect()
}

/// Disarms all faults, or one; answers how many there were.
pub(crate) fn disarm(db: &Connection, id: Option<i64>) -> rusqlite::Result<usize> {
    db.execute("DELETE FROM faults WHERE ?1 IS NULL OR id = ?1", params![id])
}

/// The fault that the request meets.
pub(crate) fn take(world: &World, target: &Target<'_>) -> rusqlite::Result<Option<Fired>> {
    world.store.transact(|db| {
        let armed: Vec<(i64, String, i64)> = db
            .prepare_cached(
                "SELECT id, spec, skip_left FROM faults WHERE times_left > 0 ORDER BY id",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (id, text, skip_left) in armed {
            let spec = serde_json::from_str(&text).ok().and_then(|value| Spec::parse(&value).ok());
            let Some(spec) = spec.filter(|spec| spec.matches(target)) else { continue };
            if skip_left > 0 {
                db.execute("UPDATE faults SET skip_left = skip_left - 1 WHERE id = ?1", [id])?;
                continue;
            }
            db.execute(
                "UPDATE faults SET times_left = times_left - 1, fired = fired + 1 WHERE id = ?1",
                [id],
            )?;
            return Ok(Some(Fired { id, action: spec.action }));
        }
        Ok(None)
    })
}

/// The fault that an event of this type meets when it is about to be sent.
pub(crate) fn take_on_event(world: &World, kind: &str) -> rusqlite::Result<Option<SocketFault>> {
    let calls = [kind.to_owned()];
    let target =
        Target { marketplace: "socket", method: "GET", path: "/ws", calls: &calls, is_event: true };
    Ok(take(world, &target)?.and_then(|fired| match fired.action {
        Action::Socket(fault) => Some(fault),
        _ => None,
    }))
}

/// The fault found nothing to alter: it has not fired.
pub(crate) fn put_back(world: &World, fired: &Fired) -> rusqlite::Result<()> {
    world.store.transact(|db| {
        db.execute(
            "UPDATE faults SET times_left = times_left + 1, fired = fired - 1 WHERE id = ?1",
            [fired.id],
        )?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_paths() {
        #[rustfmt::skip]
        let rows = [
            ("*",                "/anything",        true),
            ("/gateway/*",       "/gateway/1",       true),
            ("/gateway/*",       "/gateway",         false),
            ("/listings/*/test", "/listings/1/test", true),
            ("/listings/*/test", "/listings/1/tes",  false),
            ("/me",              "/me",              true),
            ("/me",              "/me/wallets",      false),
            ("*wallets",         "/me/wallets",      true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(is_match(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let base = json!({ "marketplace": "crochet", "action": "pending" });
        assert!(Spec::parse(&base).is_ok());
        #[rustfmt::skip]
        let rows = [
            ("marketplace", json!("ebay")),
            ("method",      json!(7)),
            ("skip",        json!(-1)),
            ("times",       json!(0)),
            ("path",        json!(["/"])),
            ("action",      json!("explode")),
            ("action",      json!({ "status": 99 })),
            ("action",      json!({ "raise_price": 1.5 })),
            ("action",      json!({ "body_base64": "!" })),
            ("action",      json!({ "socket": "melt" })),
            ("colour",      json!("red")),
        ];
        for (field, value) in rows {
            let mut spec = base.clone();
            spec[field] = value.clone();
            let error = Spec::parse(&spec).unwrap_err();
            assert!(error.starts_with(field), "{field} {value}: {error}");
        }
        let of_events = |marketplace| {
            let fault = json!({ "marketplace": marketplace, "action": { "socket": "stall" } });
            Spec::parse(&fault).map(|_| ())
        };
        assert_eq!((of_events("socket"), of_events("*")), (Ok(()), Ok(())));
        assert!(of_events("crochet").unwrap_err().starts_with("marketplace"));
    }
}
