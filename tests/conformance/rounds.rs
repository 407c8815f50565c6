//! The tools that take more than one round: what they need goes out as their result, and the same call
//! comes again with the answers, as revision 2026-07-28 has it.
#![expect(deprecated, reason = "roots and sampling can still be asked for")]
#![expect(clippy::needless_pass_by_value, reason = "the router hands out whole values")]

use rmcp::{
    ErrorData, RoleServer,
    handler::server::tool::{InputResponses as Given, RequestState},
    model::{
        CallToolResponse, CreateMessageResult, ElicitResult, ElicitationAction,
        InputRequiredResult, InputResponses, ListRootsResult, SealOptions,
    },
    service::RequestContext,
    tool, tool_router,
};
use serde_json::{Value, json};

use crate::{answers::text, server::Fixture};

type Round = Result<CallToolResponse, ErrorData>;

/// A fault of this program.
pub(crate) fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

/// A form with one field.
pub(crate) fn form(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({
        "type": "object", "properties": { field: { "type": kind } }, "required": [field]
    });
    let params = json!({ "mode": "form", "message": message, "requestedSchema": schema });
    json!({ "method": "elicitation/create", "params": params })
}

fn sample(prompt: &str, tokens_max: u32) -> Value {
    let content = json!({ "type": "text", "text": prompt });
    let messages = json!([{ "role": "user", "content": content }]);
    json!({
        "method": "sampling/createMessage",
        "params": { "messages": messages, "maxTokens": tokens_max }
    })
}

fn roots() -> Value {
    json!({ "method": "roots/list" })
}

/// The result that asks for these.
pub(crate) fn require(
    requests: Value,
    state: Option<String>,
) -> Result<InputRequiredResult, ErrorData> {
    let requests = serde_json::from_value(requests).map_err(internal)?;
    Ok(InputRequiredResult::new(Some(requests), state))
}

/// What was filled in in a form, if it was sent off.
pub(crate) fn filled_in(
    answers: Option<&InputResponses>,
    name: &str,
    field: &str,
) -> Option<Value> {
    let answer: ElicitResult = read(answers, name)?;
    let content = answer.content.filter(|_| answer.action == ElicitationAction::Accept)?;
    content.get(field).filter(|value| !value.is_null()).cloned()
}

/// An answer, if it is there and can be read.
fn read<T: serde::de::DeserializeOwned>(answers: Option<&InputResponses>, name: &str) -> Option<T> {
    serde_json::from_value(answers?.get(name)?.clone()).ok()
}

fn sampled(answers: Option<&InputResponses>, name: &str) -> Option<String> {
    let result: CreateMessageResult = read(answers, name)?;
    let content = result.message.content.first()?.as_text()?;
    Some(content.text.clone())
}

impl Fixture {
    /// Seals how far a tool is, for the caller to carry.
    fn seal(&self, tool: &str, step: u32) -> Result<Option<String>, ErrorData> {
        let options = SealOptions::new().associated_data(tool.as_bytes());
        self.states().seal_json_with(&step, &options).map(Some).map_err(internal)
    }

    /// How far a tool is: nowhere without a state.
    fn open(&self, tool: &str, state: Option<&str>) -> Result<u32, ErrorData> {
        let Some(state) = state else { return Ok(0) };
        let opened = self.states().open_json_with::<u32>(state, tool.as_bytes());
        opened.map_err(|error| ErrorData::invalid_params(error.to_string(), None))
    }

    /// A question whose state has to come back as it was.
    fn confirmed(
        &self,
        tool: &str,
        state: Option<&str>,
        answers: Option<&InputResponses>,
    ) -> Round {
        let step = self.open(tool, state)?;
        if step == 1 && filled_in(answers, "confirm", "ok").is_some() {
            return Ok(text("state-ok").into());
        }
        let question = json!({ "confirm": form("Please confirm", "ok", "boolean") });
        Ok(require(question, self.seal(tool, 1)?)?.into())
    }
}

#[tool_router(router = rounds, vis = "pub(crate)")]
impl Fixture {
    /// Asks for a name and greets.
    #[tool(name = "test_input_required_result_elicitation")]
    fn round_elicitation(Given(answers): Given) -> Round {
        let name = filled_in(answers.as_ref(), "user_name", "name");
        if let Some(name) = name.as_ref().and_then(Value::as_str) {
            return Ok(text(format!("Hello, {name}!")).into());
        }
        let question = form("What is your name?", "name", "string");
        Ok(require(json!({ "user_name": question }), None)?.into())
    }

    /// Asks for a name, on a stream of its own.
    #[tool(name = "test_streaming_elicitation")]
    fn streaming_elicitation(given: Given) -> Round {
        Self::round_elicitation(given)
    }

    /// Has the client's model name a capital.
    #[tool(name = "test_input_required_result_sampling")]
    fn round_sampling(Given(answers): Given) -> Round {
        if let Some(said) = sampled(answers.as_ref(), "capital_question") {
            return Ok(text(said).into());
        }
        let question = sample("What is the capital of France?", 100);
        Ok(require(json!({ "capital_question": question }), None)?.into())
    }

    /// Asks for the client's folders and names them.
    #[tool(name = "test_input_required_result_list_roots")]
    fn round_list_roots(Given(answers): Given) -> Round {
        match read::<ListRootsResult>(answers.as_ref(), "client_roots") {
            Some(result) => {
                let uris: Vec<_> = result.roots.iter().map(|root| root.uri.as_str()).collect();
                Ok(text(format!("Roots: {}", uris.join(", "))).into())
            }
            None => Ok(require(json!({ "client_roots": roots() }), None)?.into()),
        }
    }

    /// Asks, and looks at the state that comes back.
    #[tool(name = "test_input_required_result_request_state")]
    fn round_state(&self, RequestState(state): RequestState, Given(answers): Given) -> Round {
        self.confirmed("request_state", state.as_deref(), answers.as_ref())
    }

    /// Asks, and refuses a state that was changed.
    #[tool(name = "test_input_required_result_tampered_state")]
    fn round_tampered(&self, RequestState(state): RequestState, Given(answers): Given) -> Round {
        self.confirmed("tampered_state", state.as_deref(), answers.as_ref())
    }

    /// Asks the user, the model and the client at once.
    #[tool(name = "test_input_required_result_multiple_inputs")]
    fn round_multiple(&self, RequestState(state): RequestState, Given(answers): Given) -> Round {
        const TOOL: &str = "multiple_inputs";
        let step = self.open(TOOL, state.as_deref())?;
        let answers = answers.as_ref();
        let name = filled_in(answers, "user_name", "name");
        let greeting = sampled(answers, "greeting");
        let folders = read::<ListRootsResult>(answers, "client_roots");
        if let (1, Some(name), Some(greeting), Some(folders)) = (step, name, greeting, folders) {
            let count = folders.roots.len();
            return Ok(text(format!("{greeting} {name}, {count} folders")).into());
        }
        let questions = json!({
            "user_name": form("What is your name?", "name", "string"),
            "greeting": sample("Generate a greeting", 50),
            "client_roots": roots()
        });
        Ok(require(questions, self.seal(TOOL, 1)?)?.into())
    }

    /// Asks twice, one after the other.
    #[tool(name = "test_input_required_result_multi_round")]
    fn round_multi(&self, RequestState(state): RequestState, Given(answers): Given) -> Round {
        const TOOL: &str = "multi_round";
        let step = self.open(TOOL, state.as_deref())?;
        let name = filled_in(answers.as_ref(), "step1", "name");
        let color = filled_in(answers.as_ref(), "step2", "color");
        match (step, name, color) {
            (2, _, Some(color)) => Ok(text(format!("The color is {color}.")).into()),
            (2, _, None) | (1, Some(_), _) => {
                let question = form("Step 2: What is your favorite color?", "color", "string");
                Ok(require(json!({ "step2": question }), self.seal(TOOL, 2)?)?.into())
            }
            _ => {
                let question = form("Step 1: What is your name?", "name", "string");
                Ok(require(json!({ "step1": question }), self.seal(TOOL, 1)?)?.into())
            }
        }
    }

    /// Asks in each way that the client can be asked.
    #[tool(name = "test_input_required_result_capabilities")]
    fn round_capabilities(Given(answers): Given, context: RequestContext<RoleServer>) -> Round {
        let able = context.client_capabilities().unwrap_or_default();
        let mut questions = serde_json::Map::new();
        if able.elicitation.is_some() {
            let question = form("What is your name?", "name", "string");
            questions.insert("user_name".to_owned(), question);
        }
        if able.sampling.is_some() {
            questions.insert("greeting".to_owned(), sample("Generate a greeting", 50));
        }
        let given = answers.unwrap_or_default();
        if questions.keys().all(|name| given.contains_key(name)) {
            return Ok(text("Nothing more is needed.").into());
        }
        Ok(require(Value::Object(questions), None)?.into())
    }
}
