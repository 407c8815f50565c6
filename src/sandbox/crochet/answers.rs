//! Crochet's envelope, its errors and their recovery objects.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Where the hints point. Nothing is served there by the sandbox.
const DOCS_URL: &str = "https://getcrochet.ai/docs";

/// What a handler answers.
pub(crate) type Answer = Result<Response, ApiError>;

/// What the caller should do about an error.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Recovery {
    retryable: bool,
    next_action: &'static str,
    summary: String,
    preserve: Vec<&'static str>,
    discard: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
    docs_url: String,
    reference_url: String,
}

impl Recovery {
    /// A hint without names to keep or drop.
    pub(crate) fn new(retryable: bool, next_action: &'static str, summary: &str) -> Self {
        Self {
            retryable,
            next_action,
            summary: summary.to_owned(),
            preserve: Vec::new(),
            discard: Vec::new(),
            retry_after_seconds: None,
            docs_url: DOCS_URL.to_owned(),
            reference_url: format!("{DOCS_URL}/api-reference.txt"),
        }
    }

    /// Names to keep for the retry.
    pub(crate) fn preserve(mut self, names: &[&'static str]) -> Self {
        self.preserve = names.to_vec();
        self
    }

    /// Names to drop.
    pub(crate) fn discard(mut self, names: &[&'static str]) -> Self {
        self.discard = names.to_vec();
        self
    }

    /// The least time to wait.
    pub(crate) fn after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

/// An error as it leaves.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    /// The status.
    pub(crate) status: StatusCode,
    code: &'static str,
    message: String,
    recovery: Option<Box<Recovery>>,
    details: Option<Value>,
}

impl ApiError {
    /// An error without a hint.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), recovery: None, details: None }
    }

    /// A member of the request is wrong.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "VALIDATION_ERROR",
            format!("{field}: {}", message.into()),
        )
        .details(json!({ "field": field }))
        .recovery(Recovery::new(
            false,
            "fix_request",
            "Correct the named field and send again.",
        ))
    }

    /// There is no such thing, or not for this caller.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("{what} not found"))
    }

    /// The thing belongs to somebody else.
    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// No key, or not a valid one.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "a valid agent API key is required")
            .recovery(
            Recovery::new(
                false,
                "recover_account",
                "Verify the key with GET /me; recover the account with its wallet if it is lost.",
            )
            .preserve(&["wallet_address"])
            .discard(&["api_key"]),
        )
    }

    /// With a hint.
    pub(crate) fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = Some(Box::new(recovery));
        self
    }

    /// With particulars.
    pub(crate) fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The body.
    pub(crate) fn body(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(members) = error.as_object_mut() {
            if let Some(recovery) = &self.recovery {
                members.insert("recovery".to_owned(), json!(recovery));
            }
            if let Some(details) = &self.details {
                members.insert("details".to_owned(), details.clone());
            }
        }
        json!({ "success": false, "error": error })
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the sandbox's store failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the sandbox's store failed")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.recovery.and_then(|recovery| recovery.retry_after_seconds) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[derive(Serialize)]
struct Success<T> {
    success: bool,
    data: T,
}

/// `{"success": true, "data": …}`
#[expect(clippy::unnecessary_wraps, reason = "it ends handlers")]
pub(crate) fn ok(data: impl Serialize) -> Answer {
    Ok(Json(Success { success: true, data }).into_response())
}

/// The same with status 201.
pub(crate) fn created(data: impl Serialize) -> Answer {
    let mut response = ok(data)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// A page of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    page: u32,
    /// Rows on it.
    pub(crate) limit: u32,
}

impl Page {
    /// Reads `page` and `limit`.
    pub(crate) fn from_query(query: &[(String, String)]) -> Result<Self, ApiError> {
        let number = |name: &str, default: u32| match find(query, name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (1..=100_000).contains(number))
                .ok_or_else(|| ApiError::invalid(name, "must be a whole number from 1")),
        };
        Ok(Self { page: number("page", 1)?, limit: number("limit", 20)?.min(100) })
    }

    /// Rows before it.
    pub(crate) fn offset(self) -> u32 {
        (self.page - 1).saturating_mul(self.limit)
    }

    /// The list with its `pagination`.
    #[expect(clippy::unnecessary_wraps, reason = "it ends handlers")]
    pub(crate) fn answer(self, rows: impl Serialize, total: u32) -> Answer {
        #[derive(Serialize)]
        struct List<T> {
            success: bool,
            data: T,
            pagination: Value,
        }
        let pagination = json!({
            "page": self.page,
            "limit": self.limit,
            "total": total,
            "totalPages": total.div_ceil(self.limit),
        });
        Ok(Json(List { success: true, data: rows, pagination }).into_response())
    }
}

/// The value of a query parameter that is not empty.
pub(crate) fn find<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, v)| v.as_str())
}

/// Reads a JSON body; an empty one is an empty object.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        ApiError::invalid(if field == "." { "body" } else { &field }, error.inner().to_string())
    })
}

/// An empty text is as good as none.
pub(crate) fn required(field: &str, text: &str, chars_max: usize) -> Result<String, ApiError> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(ApiError::invalid(field, "is required")),
        count if count > chars_max => {
            Err(ApiError::invalid(field, format!("has more than {chars_max} characters")))
        }
        _ => Ok(text.to_owned()),
    }
}

/// For routes that need a login which nobody has here.
pub(crate) async fn unauthenticated() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "a human login is required")
}

/// No such route.
pub(crate) async fn no_route() -> ApiError {
    ApiError::not_found("route")
}

/// No such method on this route.
pub(crate) async fn no_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "method not allowed")
}
