//! Reading a JSON-RPC message strictly: what is none is answered with an error, never with silence.

use rmcp::{RoleServer, service::RxJsonRpcMessage};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::json;

const PARSE_ERROR: i64 = -32700;
/// The code of what is JSON, and no message.
pub(super) const INVALID_REQUEST: i64 = -32600;

/// The message of these bytes, or the error that answers them.
pub(super) fn read(bytes: &[u8]) -> Result<RxJsonRpcMessage<RoleServer>, Value> {
    if let Err(error) = json::check(bytes) {
        let code = if error.is_data() { INVALID_REQUEST } else { PARSE_ERROR };
        return Err(refusal(&id_of(bytes), code, &format!("not a JSON-RPC message: {error}")));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        refusal(&id_of(bytes), INVALID_REQUEST, &format!("not a JSON-RPC message: {error}"))
    })
}

/// The identifier of a message that is JSON, so that its sender knows what was refused.
fn id_of(bytes: &[u8]) -> Value {
    #[derive(Deserialize)]
    struct Identified {
        #[serde(default)]
        id: Value,
    }
    let id = serde_json::from_slice::<Identified>(bytes).map(|it| it.id).unwrap_or_default();
    if id.is_string() || id.is_number() { id } else { Value::Null }
}

/// The error that answers a message.
pub(super) fn refusal(id: &Value, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}
