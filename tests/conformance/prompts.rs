//! The prompts.

use rmcp::{
    ErrorData,
    handler::server::wrapper::Parameters,
    model::{
        ContentBlock, GetPromptRequestParams, GetPromptResult, InputRequiredResult, PromptMessage,
        ResourceContents, Role,
    },
    prompt, prompt_router,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    answers::PNG,
    rounds::{filled_in, form, require},
    server::Fixture,
};

/// What an argument may be completed to.
const WORDS: &[&str] = &["test", "testValue1", "testValue2", "text"];

/// The words that begin like this.
pub(crate) fn completions(begun: &str) -> Vec<String> {
    WORDS.iter().filter(|word| word.starts_with(begun)).map(ToString::to_string).collect()
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Two {
    /// First test argument.
    arg1: String,
    /// Second test argument.
    arg2: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Embedded {
    /// URI of the resource to embed.
    resource_uri: String,
}

fn says(text: impl Into<String>) -> PromptMessage {
    PromptMessage::new_text(Role::User, text)
}

#[expect(clippy::unnecessary_wraps, reason = "the router takes functions of this form")]
#[prompt_router(router = "prompts", vis = "pub(crate)")]
impl Fixture {
    /// One line of text.
    #[prompt(name = "test_simple_prompt")]
    fn simple() -> Result<GetPromptResult, ErrorData> {
        Ok(GetPromptResult::new(vec![says("This is a simple prompt for testing.")]))
    }

    /// A line that repeats its arguments.
    #[prompt(name = "test_prompt_with_arguments")]
    fn with_arguments(
        Parameters(Two { arg1, arg2 }): Parameters<Two>,
    ) -> Result<GetPromptResult, ErrorData> {
        let text = format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'");
        Ok(GetPromptResult::new(vec![says(text)]))
    }

    /// A resource, and what to do with it.
    #[prompt(name = "test_prompt_with_embedded_resource")]
    fn with_resource(Parameters(args): Parameters<Embedded>) -> Result<GetPromptResult, ErrorData> {
        let text = "Embedded resource content for testing.";
        let contents = ResourceContents::text(text, args.resource_uri);
        let resource = ContentBlock::resource(contents.with_mime_type("text/plain"));
        let embedded = PromptMessage::new(Role::User, resource);
        Ok(GetPromptResult::new(vec![
            embedded,
            says("Please process the embedded resource above."),
        ]))
    }

    /// A picture, and what to do with it.
    #[prompt(name = "test_prompt_with_image")]
    fn with_image() -> Result<GetPromptResult, ErrorData> {
        let image = PromptMessage::new(Role::User, ContentBlock::image(PNG, "image/png"));
        Ok(GetPromptResult::new(vec![image, says("Please analyze the image above.")]))
    }

    /// A line about what the person who is asked for it says.
    #[prompt(name = "test_input_required_result_prompt")]
    fn with_input() -> Result<InputRequiredResult, ErrorData> {
        let question = form("What context should the prompt use?", "context", "string");
        require(json!({ "user_context": question }), None)
    }
}

/// The prompt that asks, once it has its answer: the router passes on arguments alone.
pub(crate) fn answered(request: &GetPromptRequestParams) -> Option<GetPromptResult> {
    let said = filled_in(request.input_responses.as_ref(), "user_context", "context")?;
    let result = GetPromptResult::new(vec![says(format!("Context: {said}"))]);
    (request.name == "test_input_required_result_prompt").then_some(result)
}
