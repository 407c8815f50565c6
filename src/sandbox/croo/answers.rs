//! CROO's error body, and how requests are read.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// What a handler answers.
pub(crate) type Answer = Result<Response, ApiError>;

/// An error as it leaves.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    reason: &'static str,
    message: String,
    metadata: Map<String, Value>,
}

impl ApiError {
    /// An error without particulars.
    pub(crate) fn new(
        status: StatusCode,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { status, reason, message: message.into(), metadata: Map::new() }
    }

    /// What is wrong, in words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// With a particular; all of them are text.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(name.to_owned(), Value::String(value.into()));
        self
    }

    /// The body is no JSON, or a member has another type.
    pub(crate) fn codec(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "CODEC", message)
    }

    /// A parameter is wrong.
    pub(crate) fn parameters(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETERS", message).with("field", field)
    }

    /// The call does not go with the status.
    pub(crate) fn status(what: &str, status: &str) -> Self {
        let message = format!("the {what} is {status}");
        Self::new(StatusCode::BAD_REQUEST, "INVALID_STATUS", message).with("status", status)
    }

    /// There is no such thing, or not for this caller.
    pub(crate) fn not_found(reason: &'static str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason, "not found").with("id", id)
    }

    /// The caller takes part, but in the other role.
    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the sandbox's store failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the sandbox's store failed")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({
            "code": self.status.as_u16(),
            "reason": self.reason,
            "message": self.message,
            "metadata": self.metadata,
        });
        (self.status, Json(body)).into_response()
    }
}

/// The value as the body: there is no envelope.
#[expect(clippy::unnecessary_wraps, reason = "it ends handlers")]
pub(crate) fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

/// Members of text; what is empty is absent.
pub(crate) fn shown<const N: usize>(members: [(&str, String); N]) -> Map<String, Value> {
    let filled = members.into_iter().filter(|(_, text)| !text.is_empty());
    filled.map(|(name, text)| (name.to_owned(), Value::String(text))).collect()
}

/// Reads a JSON body; an empty one is an empty object.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let message = format!("body unmarshal {field}: {}", error.inner());
        ApiError::codec(message).with("field", field)
    })
}

/// The value of a query parameter that is not empty.
pub(crate) fn find<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, v)| v.as_str())
}

/// No such path.
pub(crate) async fn no_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "ROUTE_NOT_FOUND", "no such path")
}

/// No such method on this path.
pub(crate) async fn no_method() -> ApiError {
    let message = "the path has no such method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}
