//! What every result has, whatever the tool: the mode, calls that can be made, a bounded size.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};

use super::{RESULT_BYTES_MAX, Server};
use crate::error::{Code, Error, MoneyMoved};

/// The longest arguments that are said back to their caller.
const REPEAT_BYTES_MAX: usize = 4 * 1024;

impl Server {
    /// Leaves out the calls of tools that are not offered.
    fn offer_only(&self, next: &mut Value) {
        if let Some(calls) = next.as_array_mut() {
            calls.retain(|call| call["tool"].as_str().is_some_and(|name| self.offers(name)));
        }
    }

    pub(super) fn say_mode(&self, body: &mut Value) {
        if let Some(object) = body.as_object_mut() {
            object.insert("mode".to_owned(), json!(self.shared.app.settings().mode.name()));
        }
    }

    /// Adds what every result has, drops what the caller cannot call, and bounds the size.
    pub(super) fn finish(
        &self,
        tool: &str,
        same: &Value,
        mut result: CallToolResult,
    ) -> CallToolResult {
        let Some(mut body) = result.structured_content.take() else { return result };
        repeat(&mut body, tool, same);
        self.say_mode(&mut body);
        let code = body.pointer("/error/code").and_then(Value::as_str);
        if code == Some(Code::UpstreamUnavailable.name()) {
            // The process that served the shared sandbox may be gone: the next call looks for it.
            self.shared.app.forget_venue();
        }
        for pointer in ["/next", "/error/recovery/next"] {
            if let Some(next) = body.pointer_mut(pointer) {
                self.offer_only(next);
            }
        }
        let mut text = body.to_string();
        if text.len() > RESULT_BYTES_MAX {
            let size = text.len();
            tracing::warn!(tool, size, "a result was too large");
            body = too_large(&body, size).to_json();
            self.say_mode(&mut body);
            text = body.to_string();
            result.is_error = Some(true);
        }
        result.content = vec![ContentBlock::text(text)];
        result.structured_content = Some(body);
        result
    }
}

/// A failure that says to do the same again, and names no call, names this one.
fn repeat(body: &mut Value, tool: &str, same: &Value) {
    let at = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let repeats = matches!(at("/error/recovery/next_action"), Some("retry" | "wait"));
    let again = repeats && body.pointer("/error/repeat_safe") == Some(&Value::Bool(true));
    if !again || same.to_string().len() > REPEAT_BYTES_MAX {
        return;
    }
    if let Some(recovery) = body.pointer_mut("/error/recovery").and_then(Value::as_object_mut) {
        let call = json!({ "tool": tool, "arguments": same, "why": "the same call again" });
        recovery.entry("next").or_insert_with(|| json!([call]));
    }
}

/// What a result or a failure says of money.
pub(super) fn money_in(body: &Value) -> MoneyMoved {
    let said = ["/error/money_moved", "/purchase/money_moved"]
        .into_iter()
        .find_map(|pointer| body.pointer(pointer).and_then(Value::as_str));
    match said {
        Some("yes") => MoneyMoved::Yes,
        Some("maybe") => MoneyMoved::Maybe,
        _ => MoneyMoved::No,
    }
}

/// What is said in place of a result that is too large: what it says of money stays true.
fn too_large(body: &Value, size: usize) -> Error {
    let text = |pointers: [&str; 2]| {
        pointers.iter().find_map(|pointer| body.pointer(pointer).and_then(Value::as_str))
    };
    let moved = money_in(body);
    let error = Error::new(
        Code::UpstreamTooLarge,
        format!("the result has {size} bytes, more than the {RESULT_BYTES_MAX} that are shown"),
    )
    .money(moved);
    match text(["/error/purchase_id", "/purchase/id"]).and_then(|id| id.parse().ok()) {
        Some(id) => error.purchase(&id).recovery(|r| {
            "It is in the journal; the owner reads it with `haggle purchases show`."
                .clone_into(&mut r.summary);
        }),
        None => error,
    }
}
