//! Paegents' error bodies, as `FastAPI` writes them, and how requests are read.

use axum::{
    Json,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What a handler answers.
pub(crate) type Answer = Result<Response, ApiError>;

/// An error as it leaves: a status, and a body whose only member is `detail`.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    /// The status.
    pub(crate) status: StatusCode,
    detail: Value,
}

impl ApiError {
    /// An error whose detail is text.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: Value::String(detail.into()) }
    }

    /// 400: what was sent is understood, but cannot be done.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: nobody is known by these credentials.
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: known, but not allowed to do this.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: there is no such thing, or not for this caller.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    /// 409: the call does not go with the state.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422: the value at `field` of the body does not fit.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::unfit(&[json!("body"), json!(field)], &message.into(), "value_error")
    }

    /// 422: the value of a query parameter does not fit.
    pub(crate) fn invalid_query(field: &str, message: &str) -> Self {
        Self::unfit(&[json!("query"), json!(field)], message, "value_error")
    }

    /// 422: what is at `loc` does not fit.
    fn unfit(loc: &[Value], message: &str, kind: &str) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail: json!([{ "loc": loc, "msg": message, "type": kind }]),
        }
    }

    /// The detail in words.
    pub(crate) fn message(&self) -> String {
        self.detail.as_str().map_or_else(|| self.detail.to_string(), str::to_owned)
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the sandbox's store failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "detail": self.detail }))).into_response()
    }
}

/// The value as the body: there is no envelope.
#[expect(clippy::unnecessary_wraps, reason = "it ends handlers")]
pub(crate) fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

/// Reads a JSON body; an empty one is an empty object.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner());
        if inner.is_syntax() || inner.is_eof() {
            let at = [json!("body"), json!(inner.column())];
            return ApiError::unfit(&at, "JSON decode error", "json_invalid");
        }
        let mut loc = vec![json!("body")];
        loc.extend(
            path.split('.').filter(|part| *part != "." && !part.is_empty()).map(Value::from),
        );
        let message = inner.to_string();
        match message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
            Some((name, _)) => {
                loc.push(json!(name));
                ApiError::unfit(&loc, "Field required", "missing")
            }
            None => ApiError::unfit(&loc, &message, "type_error"),
        }
    })
}

/// The value of a query parameter that is not empty.
pub(crate) fn find<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, v)| v.as_str())
}

/// The whole number of a query parameter, from `least` to `most`.
pub(crate) fn number(
    query: &[(String, String)],
    name: &str,
    default: i64,
    (least, most): (i64, i64),
) -> Result<i64, ApiError> {
    let Some(text) = find(query, name) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    let wrong = || format!("Input should be a whole number from {least} to {most}");
    number.ok_or_else(|| ApiError::invalid_query(name, &wrong()))
}

/// A header's value, where it is text and not empty.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

/// No such path.
pub(crate) async fn no_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Not Found")
}

/// No such method on this path.
pub(crate) async fn no_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}
