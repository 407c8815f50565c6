//! What there is beside tools: prompts, completions, resources that are read, progress, and a person
//! who is sent to the owner's page.

use std::sync::{Arc, Mutex};

use haggle::{
    app::App,
    ids::PurchaseId,
    spend::{
        policy::Policy,
        word::{Word, owner_answers},
    },
    transports::stdio,
};
use rmcp::{
    ClientHandler, ClientServiceExt, ErrorData, RoleClient,
    model::{
        ArgumentInfo, CallToolRequestParams, ClientCapabilities, ClientConfig,
        CompleteRequestParams, ElicitRequestParams, ElicitResult, ElicitationAction,
        GetPromptRequestParams, Implementation, ProgressNotificationParam,
        ReadResourceRequestParams, Reference,
    },
    service::{NotificationContext, RequestContext},
};
use serde_json::{Value, json};

use crate::world::{Era, Make, World, lifecycle};

/// Where the page is, in these tests.
const PAGE: &str = "http://127.0.0.1:1/owner";

async fn completed(world: &World, of: Reference, name: &str, start: &str) -> Vec<String> {
    let argument =
        serde_json::from_value::<ArgumentInfo>(json!({ "name": name, "value": start })).unwrap();
    let asked = CompleteRequestParams::new(of, argument);
    world.client().complete(asked).await.unwrap().completion.values
}

async fn read(world: &World, uri: &str) -> Value {
    let read = ReadResourceRequestParams::new(uri);
    let read = serde_json::to_value(world.client().read_resource(read).await.unwrap()).unwrap();
    serde_json::from_str(read["contents"][0]["text"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn prompts_are_listed_and_filled_in() {
    for era in [Era::Initialize, Era::Modern] {
        let world = World::start_with(Make { era, ..Make::default() }).await;
        let listed = world.client().list_all_prompts().await.unwrap();
        let names: Vec<_> = listed.iter().map(|prompt| prompt.name.as_str()).collect();
        assert_eq!(names, ["buy", "sell", "resolve", "monthly_spending"]);
        let given = json!({ "what": "a summary", "max_usd": "0.10" });
        let asked =
            GetPromptRequestParams::new("buy").with_arguments(given.as_object().unwrap().clone());
        let prompt = world.client().get_prompt(asked).await.unwrap();
        let text = serde_json::to_string(&prompt).unwrap();
        assert!(text.contains("a summary") && text.contains("0.10 USD"), "{text}");
        let refused = world.client().get_prompt(GetPromptRequestParams::new("buy")).await;
        assert!(format!("{refused:?}").contains("`what` is missing"), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_typed_is_completed() {
    let world = World::start().await;
    let prompt = Reference::for_prompt;
    assert_eq!(completed(&world, prompt("buy"), "marketplace", "cro").await, ["croo", "crochet"]);
    assert_eq!(completed(&world, prompt("monthly_spending"), "state", "se").await, ["settled"]);
    assert!(completed(&world, prompt("buy"), "nothing", "").await.is_empty());
    assert!(completed(&world, prompt("resolve"), "purchase_id", "").await.is_empty());

    let bought = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap();
    let order = world.order("auto").await;
    world.pay(&order).await.unwrap();
    let (listing, ..) = world.listing("auto");
    let id = bought["purchase"]["id"].as_str().unwrap();
    let (order, start) =
        (order["order_id"].as_str().unwrap(), |id: &str| id[..id.len() - 3].to_owned());
    for (name, id) in [("purchase_id", id), ("order_id", order)] {
        assert_eq!(completed(&world, prompt("resolve"), name, &start(id)).await, [id], "{name}");
    }
    let listings = completed(&world, prompt("buy"), "listing_id", &start(&listing)).await;
    assert!(listings.contains(&listing), "{listings:?}");
    let template = Reference::for_resource("haggle://purchase/{purchase_id}");
    assert!(completed(&world, template, "purchase_id", "pur_").await.contains(&id.to_owned()));
    // A percent sign or a quote is no pattern.
    for odd in ["%", "_", "'", "pur_%"] {
        assert!(completed(&world, prompt("resolve"), "purchase_id", odd).await.is_empty(), "{odd}");
    }
}

#[tokio::test]
async fn resources_say_what_there_is() {
    let world = World::start().await;
    let templates = world.client().list_all_resource_templates().await.unwrap();
    assert_eq!(templates[0].uri_template, "haggle://purchase/{purchase_id}");
    let before = read(&world, "haggle://policy").await;
    assert_eq!((&before["left_today_usd"], &before["mode"]), (&json!("50"), &json!("sandbox")));
    let bought = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap();
    let id = bought["purchase"]["id"].as_str().unwrap();
    let after = read(&world, "haggle://policy").await;
    assert_ne!(after["left_today_usd"], before["left_today_usd"], "{after}");
    let listed = read(&world, "haggle://purchases").await;
    assert_eq!(listed["purchases"][0]["id"], id, "{listed}");
    let one = read(&world, &format!("haggle://purchase/{id}")).await;
    assert_eq!(one["purchase"]["state"], "settled");
    assert!(one["lines"].as_array().unwrap().len() > 2, "{one}");
    let errors = read(&world, "haggle://errors").await;
    let codes = errors["errors"].as_array().unwrap();
    assert_eq!(codes.len(), haggle::error::Code::ALL.len());
    assert!(codes.iter().all(|code| !code["meaning"].as_str().unwrap().is_empty()));
    for unknown in ["haggle://purchase/pur_0", "haggle://purchase/../x", "haggle://purchase/"] {
        let asked = ReadResourceRequestParams::new(unknown);
        assert!(world.client().read_resource(asked).await.is_err(), "{unknown}");
    }
}

/// A client that hears of progress.
#[derive(Clone, Default)]
struct Hearer(Arc<Mutex<Vec<ProgressNotificationParam>>>);

impl ClientHandler for Hearer {
    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.0.lock().unwrap().push(progress);
    }
}

/// Who waits for a payment hears every second that it goes on.
#[tokio::test]
async fn who_waits_hears_of_progress() {
    for era in [Era::Initialize, Era::Modern] {
        let world = World::start_with(Make { era, ..Make::default() }).await;
        let delay = json!({ "delay_ms": 6_000 });
        world.fault("chain", "eth_sendRawTransaction", 0, delay).await;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(theirs);
        tokio::spawn(stdio::serve_on(world.app.clone(), input, output));
        let hearer = Hearer::default();
        let client = hearer.clone().serve_with_lifecycle(ours, lifecycle(era)).await.unwrap();
        let Value::Object(args) = world.purchase_of("auto") else { panic!("an object") };
        let call = CallToolRequestParams::new("crochet_call_listing").with_arguments(args);
        let done = client.call_tool(call).await.unwrap().structured_content.unwrap();
        assert_eq!(done["purchase"]["state"], "settled", "{done}");
        let heard = hearer.0.lock().unwrap().clone();
        assert!(heard.len() >= 3, "{heard:?}");
        assert!(heard.windows(2).all(|two| two[0].progress < two[1].progress), "{heard:?}");
        assert!(heard.iter().all(|it| it.message.as_deref().is_some_and(|m| m.contains("paying"))));
    }
}

/// Who waits for events hears every second how long that has been, of how long it will be.
#[tokio::test]
async fn who_waits_for_events_hears_how_long() {
    let world = World::start().await;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (input, output) = tokio::io::split(theirs);
    tokio::spawn(stdio::serve_on(world.app.clone(), input, output));
    let hearer = Hearer::default();
    let client = hearer.clone().serve_with_lifecycle(ours, lifecycle(Era::Modern)).await.unwrap();
    let Value::Object(args) = json!({ "wait_seconds": 3 }) else { panic!("an object") };
    let call = CallToolRequestParams::new("market_wait_events").with_arguments(args);
    client.call_tool(call).await.unwrap();
    let heard = hearer.0.lock().unwrap().clone();
    assert!(!heard.is_empty());
    for progress in heard {
        assert_eq!(progress.total, Some(3.0), "{progress:?}");
        assert!(progress.progress >= 1.0 && progress.progress <= 3.0, "{progress:?}");
    }
}

/// A client that sends its person to addresses, and what that person does there.
#[derive(Clone)]
struct Sent {
    app: Arc<App>,
    /// What they answer on the page; nothing where they only look.
    word: Option<Word>,
    to: Arc<Mutex<Vec<String>>>,
}

impl ClientHandler for Sent {
    fn get_info(&self) -> ClientConfig {
        let elicitation = json!({ "elicitation": { "url": {} } });
        let capabilities: ClientCapabilities = serde_json::from_value(elicitation).unwrap();
        ClientConfig::new(capabilities, Implementation::new("test", "0"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::UrlElicitationParams { url, .. } = request else {
            panic!("a form: {request:?}")
        };
        let id: PurchaseId = url.rsplit('/').next().unwrap().parse().unwrap();
        self.to.lock().unwrap().push(url);
        if let Some(word) = self.word {
            let (app, now) = (self.app.clone(), self.app.clock().now());
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                owner_answers(app.store(), &id, word, now).await.unwrap();
            });
        }
        Ok(ElicitResult::new(ElicitationAction::Accept))
    }
}

/// Above what a client may agree to, its person is sent to the page; what they answer there counts.
async fn the_page_answers(era: Era, word: Option<Word>) {
    // Everything is the owner's own to agree to.
    let policy = Policy { client_approval_max_usd: "0".parse().unwrap(), ..Policy::default() };
    let world = World::start_with(Make { policy, era, ..Make::default() }).await;
    world.app.serve_page_at(PAGE.to_owned());
    let sent = Sent { app: world.app.clone(), word, to: Arc::default() };
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (input, output) = tokio::io::split(theirs);
    tokio::spawn(stdio::serve_on(world.app.clone(), input, output));
    let client = sent.clone().serve_with_lifecycle(ours, lifecycle(era)).await.unwrap();
    let Value::Object(args) = world.purchase_of("auto") else { panic!("an object") };
    let call = CallToolRequestParams::new("crochet_call_listing").with_arguments(args);
    let call = client.call_tool(call);
    let Some(word) = word else {
        // They look at it and do not answer: nothing is paid.
        assert!(tokio::time::timeout(std::time::Duration::from_secs(3), call).await.is_err());
        assert!(world.charges().await.is_empty(), "to be sent there is no yes");
        assert_eq!(sent.to.lock().unwrap().len(), 1);
        return;
    };
    let done = call.await.unwrap().structured_content.unwrap();
    let to = sent.to.lock().unwrap().clone();
    assert!(to.len() == 1 && to[0].starts_with(&format!("{PAGE}/purchases/pur_")), "{to:?}");
    if word == Word::Deny {
        assert_eq!(done["error"]["code"], "approval_denied", "{done}");
        assert!(world.charges().await.is_empty());
    } else {
        assert_eq!(done["purchase"]["state"], "settled", "{done}");
        assert_eq!(world.charges().await.len(), 1);
    }
}

#[tokio::test]
async fn who_is_sent_to_the_page_answers_there() {
    for era in [Era::Initialize, Era::Modern] {
        for word in [Some(Word::Approve), Some(Word::Deny), None] {
            the_page_answers(era, word).await;
        }
    }
}

/// Who cannot be sent anywhere is told the command, and the address.
#[tokio::test]
async fn who_cannot_be_sent_is_told_the_address() {
    let policy = Policy { client_approval_max_usd: "0".parse().unwrap(), ..Policy::default() };
    let world = World::start_with(Make { policy, ..Make::default() }).await;
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert!(!error["message"].as_str().unwrap().contains("http"), "{error}");
    world.app.serve_page_at(PAGE.to_owned());
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    let address = format!("{PAGE}/purchases/{}", error["purchase_id"].as_str().unwrap());
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("haggle approve") && message.contains(&address), "{message}");
}
