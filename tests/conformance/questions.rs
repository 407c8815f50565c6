//! The tools that send the client a request while their call is open, as revisions before 2026-07-28 do.
#![expect(deprecated, reason = "sampling was in the older revisions")]

use rmcp::{
    ErrorData, RoleServer,
    handler::server::wrapper::Parameters,
    model::{CallToolResult, CreateMessageRequestParams, ElicitRequestParams, SamplingMessage},
    service::{RequestContext, ServiceError},
    tool, tool_router,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{answers::text, rounds::internal, server::Fixture};

/// The longest answer of a model, in tokens.
const TOKENS_MAX: u32 = 100;

#[derive(Debug, Deserialize, JsonSchema)]
struct Sampling {
    /// The prompt to send to the LLM.
    prompt: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Elicitation {
    /// The message to show the user.
    message: String,
}

#[tool_router(router = questions, vis = "pub(crate)")]
impl Fixture {
    /// Has the client's model answer a prompt.
    #[tool(name = "test_sampling")]
    async fn sampling(
        Parameters(Sampling { prompt }): Parameters<Sampling>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let messages = vec![SamplingMessage::user_text(prompt)];
        let request = CreateMessageRequestParams::new(messages, TOKENS_MAX);
        let answer = context.peer.create_message(request).await.map_err(unanswered)?;
        let said = answer.message.content.first().and_then(|content| content.as_text());
        let said = said.map(|content| content.text.as_str()).unwrap_or_default();
        Ok(text(format!("LLM response: {said}")))
    }

    /// Asks the user for a name and an address.
    #[tool(name = "test_elicitation")]
    async fn elicitation(
        Parameters(Elicitation { message }): Parameters<Elicitation>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let schema = json!({
            "type": "object",
            "properties": {
                "username": { "type": "string", "description": "User's response" },
                "email": { "type": "string", "description": "User's email address" }
            },
            "required": ["username", "email"]
        });
        ask(&context, "User response", message, schema).await
    }

    /// Asks the user with a form whose fields are filled in.
    #[tool(name = "test_elicitation_sep1034_defaults")]
    async fn defaults(context: RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
        let statuses = ["active", "inactive", "pending"];
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string", "default": "John Doe" },
                "age": { "type": "integer", "default": 30 },
                "score": { "type": "number", "default": 95.5 },
                "status": { "type": "string", "enum": statuses, "default": "active" },
                "verified": { "type": "boolean", "default": true }
            }
        });
        let message = "Check what is filled in.".to_owned();
        ask(&context, "Elicitation completed", message, schema).await
    }

    /// Asks the user with a form that has each way to choose.
    #[tool(name = "test_elicitation_sep1330_enums")]
    async fn enums(context: RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
        let plain = ["option1", "option2", "option3"];
        let legacy = ["opt1", "opt2", "opt3"];
        let legacy_names = ["Option One", "Option Two", "Option Three"];
        let titled = |noun: &str| {
            let one = |(value, ordinal): (&str, &str)| json!({ "const": value, "title": format!("{ordinal} {noun}") });
            let values = [("value1", "First"), ("value2", "Second"), ("value3", "Third")];
            Value::Array(values.map(one).to_vec())
        };
        let schema = json!({
            "type": "object",
            "properties": {
                "untitledSingle": { "type": "string", "enum": plain },
                "titledSingle": { "type": "string", "oneOf": titled("Option") },
                "legacyEnum": { "type": "string", "enum": legacy, "enumNames": legacy_names },
                "untitledMulti": {
                    "type": "array", "items": { "type": "string", "enum": plain }
                },
                "titledMulti": { "type": "array", "items": { "anyOf": titled("Choice") } }
            }
        });
        ask(&context, "Elicitation completed", "Choose.".to_owned(), schema).await
    }
}

/// Puts a form to the user, and says what they did with it.
async fn ask(
    context: &RequestContext<RoleServer>,
    label: &str,
    message: String,
    schema: Value,
) -> Result<CallToolResult, ErrorData> {
    let requested_schema = serde_json::from_value(schema).map_err(internal)?;
    let form = ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
    let answer = context.peer.create_elicitation(form).await.map_err(unanswered)?;
    let action = serde_json::to_value(&answer.action).map_err(internal)?;
    let action = action.as_str().unwrap_or_default();
    let filled_in = json!(answer.content);
    Ok(text(format!("{label}: action={action}, content={filled_in}")))
}

/// The client cannot be asked, or did not answer.
fn unanswered(error: ServiceError) -> ErrorData {
    match error {
        ServiceError::McpError(refusal) => refusal,
        other => internal(other),
    }
}
