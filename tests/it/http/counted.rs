//! What is counted, where an answer is no result of a tool.

use futures::FutureExt as _;
use haggle::{server::Server, spend::policy::Policy};
use rmcp::{
    ClientServiceExt as _, ErrorData, ServiceExt as _,
    handler::server::router::tool::{ToolRoute, ToolRouter},
    model::{CallToolRequestParams, Tool},
};
use serde_json::{Value, json};

use super::{Site, client};
use crate::world::{Era, Make, Person, World, lifecycle};

#[tokio::test]
async fn a_question_to_the_person_is_counted() {
    let clients = vec![client("ann")];
    let site = Site::with(Make { policy: Policy::default(), clients, ..Make::default() }).await;
    let args = site.world.purchase_of("auto");
    let params = json!({ "name": "crochet_call_listing", "arguments": args });
    let answer = site.ask("ann", "tools/call", params).await;
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    let counted = site.metrics("ann").await;
    let line = "haggle_tool_calls_total{tool=\"crochet_call_listing\",outcome=\"asked\"} 1";
    assert!(counted.contains(line), "{counted}");
}

#[tokio::test]
async fn an_error_of_the_protocol_is_counted() {
    let world = World::start().await;
    let tool = Tool::new("test_refuses", "Refuses.", haggle::tools::input::<Value>());
    let refuses = ToolRoute::new_dyn(tool, |_| {
        async { Err(ErrorData::internal_error("on purpose", None)) }.boxed()
    });
    let server = Server::with_router(world.app.clone(), ToolRouter::new().with_route(refuses));
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move { server.serve(theirs).await.unwrap().waiting().await });
    let client = Person::default().serve_with_lifecycle(ours, lifecycle(Era::Modern)).await;
    let called = client.unwrap();
    called.call_tool(CallToolRequestParams::new("test_refuses")).await.unwrap_err();
    let counted = world.app.metrics().text().unwrap();
    let line = "haggle_tool_calls_total{tool=\"test_refuses\",outcome=\"refused\"} 1";
    assert!(counted.contains(line), "{counted}");
}
