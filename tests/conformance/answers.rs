//! The tools that answer at once: each kind of content, an error, progress, logs, changed lists.
#![expect(deprecated, reason = "logging was in the older revisions")]
#![expect(clippy::needless_pass_by_value, reason = "the router hands out whole values")]

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    handler::server::wrapper::Parameters,
    model::{
        CallToolResult, ClientCapabilities, ContentBlock, JsonObject, LoggingLevel,
        LoggingMessageNotificationParam, ProgressNotificationParam, ProtocolVersion,
        ResourceContents,
    },
    service::RequestContext,
    tool, tool_router,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::server::{Change, Fixture};

/// A picture of one red pixel.
pub(crate) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AA\
                              AAMBAQD3A0FDAAAAAElFTkSuQmCC";
/// Half a millisecond of silence.
const WAV: &str = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQgAAAAAAAAAAAAAAA==";
/// Between two messages, so that a client sees them come one by one.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Deserialize, JsonSchema)]
struct Mirrored {
    /// Which region; a client repeats it in a header.
    #[schemars(extend("x-mcp-header" = "Region"))]
    region: String,
}

/// A result that is one line of text.
pub(crate) fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

/// Whether the caller speaks the newest revision.
fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

fn schema_2020_12() -> JsonObject {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": { "street": { "type": "string" }, "city": { "type": "string" } }
        } },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" }
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": {
            "properties": { "contactMethod": { "const": "phone" } },
            "required": ["contactMethod"]
        },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false
    });
    schema.as_object().cloned().unwrap_or_default()
}

#[tool_router(router = answers, vis = "pub(crate)")]
impl Fixture {
    /// Returns a line of text.
    #[tool(name = "test_simple_text")]
    fn simple_text() -> CallToolResult {
        text("This is a simple text response for testing.")
    }

    /// Returns a picture.
    #[tool(name = "test_image_content")]
    fn image_content() -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::image(PNG, "image/png")])
    }

    /// Returns a sound.
    #[tool(name = "test_audio_content")]
    fn audio_content() -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::audio(WAV, "audio/wav")])
    }

    /// Returns a resource.
    #[tool(name = "test_embedded_resource")]
    fn embedded_resource() -> CallToolResult {
        let text = "This is an embedded resource content.";
        let contents = ResourceContents::text(text, "test://embedded-resource");
        CallToolResult::success(vec![ContentBlock::resource(contents.with_mime_type("text/plain"))])
    }

    /// Returns a text, a picture and a resource.
    #[tool(name = "test_multiple_content_types")]
    fn multiple_content_types() -> CallToolResult {
        let data = json!({ "test": "data", "value": 123 }).to_string();
        let contents = ResourceContents::text(data, "test://mixed-content-resource");
        CallToolResult::success(vec![
            ContentBlock::text("Multiple content types test:"),
            ContentBlock::image(PNG, "image/png"),
            ContentBlock::resource(contents.with_mime_type("application/json")),
        ])
    }

    /// Fails, always.
    #[tool(name = "test_error_handling")]
    fn error_handling() -> CallToolResult {
        let message = "This tool intentionally returns an error for testing";
        CallToolResult::error(vec![ContentBlock::text(message)])
    }

    /// Tells three times how far it is.
    #[tool(name = "test_tool_with_progress")]
    async fn with_progress(context: RequestContext<RoleServer>) -> CallToolResult {
        let token = context.meta.get_progress_token();
        for progress in [0.0, 50.0, 100.0] {
            if let Some(token) = token.clone() {
                let progress = ProgressNotificationParam::new(token, progress).with_total(100.0);
                // A caller that has gone hears nothing more.
                let _ = context.peer.notify_progress(progress).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
        text("Three steps were made.")
    }

    /// Logs three lines.
    #[tool(name = "test_tool_with_logging")]
    async fn with_logging(context: RequestContext<RoleServer>) -> CallToolResult {
        let steps = ["Tool execution started", "Tool processing data", "Tool execution completed"];
        for step in steps {
            log(&context, step).await;
            tokio::time::sleep(PAUSE).await;
        }
        text("Three lines were logged.")
    }

    /// Logs a line, for a caller who asked for logs.
    #[tool(name = "test_logging_tool")]
    async fn logging_tool(context: RequestContext<RoleServer>) -> CallToolResult {
        log(&context, "Tool execution started").await;
        text("A line was logged, if it was asked for.")
    }

    /// Has an input schema with the vocabulary of JSON Schema 2020-12.
    #[tool(name = "json_schema_2020_12_tool", input_schema = schema_2020_12())]
    fn json_schema() -> CallToolResult {
        text("The schema is what matters.")
    }

    /// Has an argument that a client repeats in a header.
    #[tool(name = "test_mirrored_argument")]
    fn mirrored_argument(Parameters(Mirrored { region }): Parameters<Mirrored>) -> CallToolResult {
        text(format!("The region is {region}."))
    }

    /// Needs a client that can sample.
    #[tool(name = "test_missing_capability")]
    fn missing_capability(
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let needed = ClientCapabilities::builder().enable_sampling().build();
        match context.client_capabilities().and_then(|capabilities| capabilities.sampling) {
            Some(_) => Ok(text("The client can sample.")),
            None => Err(ErrorData::missing_required_client_capability(needed)),
        }
    }

    /// Says that the list of tools has changed.
    #[tool(name = "test_trigger_tool_change")]
    fn trigger_tool_change(&self) -> CallToolResult {
        self.announce(Change::Tools);
        text("All who listen were told.")
    }

    /// Says that the list of prompts has changed.
    #[tool(name = "test_trigger_prompt_change")]
    fn trigger_prompt_change(&self) -> CallToolResult {
        self.announce(Change::Prompts);
        text("All who listen were told.")
    }
}

/// Logs a line; in the newest revision only where the request asks for logs.
async fn log(context: &RequestContext<RoleServer>, line: &str) {
    if is_modern(context) && context.meta.log_level().is_none() {
        return;
    }
    let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
    // A caller that has gone hears nothing more.
    let _ = context.peer.notify_logging_message(message).await;
}
