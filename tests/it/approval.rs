//! The owner's word: who is asked, what the answer holds for, and that it holds once.

use haggle::{
    ids::PurchaseId,
    journal::State,
    money::Usdc,
    spend::{
        approvals,
        policy::Policy,
        word::{Word, owner_answers},
    },
};
use rmcp::model::{CallToolRequestParams, CallToolResponse, InputRequiredResult};
use serde_json::{Value, json};

use crate::world::{Era, Make, Person, World};

fn usd(text: &str) -> Usdc {
    text.parse().unwrap()
}

/// The live defaults: everything that costs something is asked.
fn asking(era: Era, answer: Option<bool>) -> Make {
    let person = Person { answer, ..Person::default() };
    Make { policy: Policy::default(), person, era, ..Make::default() }
}

/// A client that shows what it is asked instead of answering.
async fn once(
    world: &World,
    args: &Value,
    state: Option<&str>,
    answer: Option<Value>,
) -> CallToolResponse {
    once_at(world, "crochet_call_listing", args, state, answer).await
}

async fn once_at(
    world: &World,
    tool: &'static str,
    args: &Value,
    state: Option<&str>,
    answer: Option<Value>,
) -> CallToolResponse {
    let Value::Object(args) = args.clone() else { panic!("an object") };
    let mut params = CallToolRequestParams::new(tool).with_arguments(args);
    params.request_state = state.map(str::to_owned);
    params.input_responses = answer.map(|answer| [("approve".to_owned(), answer)].into());
    world.client().call_tool_once(params).await.unwrap()
}

fn yes() -> Value {
    json!({ "action": "accept", "content": { "approve": true } })
}

#[track_caller]
fn asked(response: CallToolResponse) -> InputRequiredResult {
    match response {
        CallToolResponse::InputRequired(question) => question,
        other => panic!("not asked: {other:?}"),
    }
}

#[track_caller]
fn answered(response: CallToolResponse) -> Value {
    match response {
        CallToolResponse::Complete(result) => result.structured_content.unwrap(),
        other => panic!("no answer: {other:?}"),
    }
}

/// The owner's own command.
async fn answer_by_command(world: &World, id: &str, granted: bool) {
    let id: PurchaseId = id.parse().unwrap();
    let said = if granted { Word::Approve } else { Word::Deny };
    let now = world.app.clock().now();
    owner_answers(world.app.store(), &id, said, now).await.unwrap();
}

#[tokio::test]
async fn a_person_says_yes_no_or_is_not_there() {
    #[rustfmt::skip]
    let rows = [
        // era             the person says   ends with            payments
        (Era::Initialize,  Some(true),       Ok(()),                   1),
        (Era::Modern,      Some(true),       Ok(()),                   1),
        (Era::Initialize,  Some(false),      Err("approval_denied"),   0),
        (Era::Modern,      Some(false),      Err("approval_denied"),   0),
        (Era::Initialize,  None,             Err("approval_required"), 0),
        (Era::Modern,      None,             Err("approval_required"), 0),
    ];
    for (era, says, ends, payments) in rows {
        let world = World::start_with(asking(era, says)).await;
        let answer = world.buy(world.purchase_of("auto")).await;
        let row = format!("{era:?} {says:?}: {answer:?}");
        match ends {
            Ok(()) => assert_eq!(answer.unwrap()["purchase"]["delivery"], "delivered", "{row}"),
            Err(code) => {
                let error = answer.unwrap_err();
                assert_eq!(error["code"], code, "{row}");
                assert_eq!(error["money_moved"], "no", "{row}");
                assert_eq!(error["recovery"]["retryable"], false, "{row}");
            }
        }
        assert_eq!(world.charges().await.len(), payments, "{row}");
        let questions = world.make.person.asked.lock().unwrap().clone();
        assert_eq!(questions.len(), usize::from(says.is_some()), "{row}");
        if let Some(question) = questions.first() {
            assert!(question.contains("0.05 USD"), "{question}");
            assert!(!question.contains("Text statistics"), "the seller's words: {question}");
        }
    }
}

/// Above `client_approval_max_usd` the client's person is not even asked.
#[tokio::test]
async fn above_the_client_s_word_only_the_owner_s_command_counts() {
    for era in [Era::Initialize, Era::Modern] {
        let mut make = asking(era, Some(true));
        make.policy.client_approval_max_usd = usd("0.01");
        let world = World::start_with(make).await;
        let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
        assert_eq!(error["code"], "approval_required");
        let id = error["purchase_id"].as_str().unwrap().to_owned();
        assert!(error["message"].as_str().unwrap().contains(&format!("haggle approve {id}")));
        assert!(world.make.person.asked.lock().unwrap().is_empty());
        // It is still so after a restart, and status says what waits.
        let world = world.restart().await;
        let status = world.call("market_status", json!({})).await.unwrap();
        assert_eq!(status["waits_for_owner"][0]["command"], format!("haggle approve {id}"));
        let resume = json!({ "purchase_id": id });
        let error = world.call("crochet_resume_call", resume.clone()).await.unwrap_err();
        assert_eq!(error["code"], "approval_required");
        answer_by_command(&world, &id, true).await;
        let done = world.call("crochet_resume_call", resume).await.unwrap();
        assert_eq!(done["purchase"]["delivery"], "delivered");
        assert_eq!(world.charges().await.len(), 1);
        world.audit().await;
    }
}

#[tokio::test]
async fn the_owner_s_no_ends_it() {
    let world = World::start_with(asking(Era::Modern, None)).await;
    let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
    let id = error["purchase_id"].as_str().unwrap();
    answer_by_command(&world, id, false).await;
    let error = world.call("crochet_resume_call", json!({ "purchase_id": id })).await.unwrap_err();
    assert_eq!(error["code"], "approval_denied");
    assert_eq!(world.purchase(&error).await.state, State::Failed);
    assert!(world.charges().await.is_empty());
}

/// Another body, another maximum, another listing: each is another purchase and asks anew.
#[tokio::test]
async fn a_yes_holds_for_what_was_asked_and_nothing_else() {
    let world = World::start_with(asking(Era::Modern, Some(true))).await;
    let args = world.purchase_of("auto");
    let question = asked(once(&world, &args, None, None).await);
    let state = question.request_state.as_deref();
    let mut other_body = args.clone();
    other_body["body"] = json!({ "text": "something else" });
    let mut other_price = args.clone();
    other_price["max_total_usd"] = json!("4");
    for other in [other_body, other_price, world.purchase_of("slow")] {
        let again = asked(once(&world, &other, state, Some(yes())).await);
        assert_ne!(again.request_state.as_deref(), state, "{other}");
    }
    assert!(world.charges().await.is_empty());
}

#[tokio::test]
async fn a_sealed_question_is_answered_once() {
    let world = World::start_with(asking(Era::Modern, Some(true))).await;
    let args = world.purchase_of("auto");
    let question = asked(once(&world, &args, None, None).await);
    let state = question.request_state.clone();
    let done = answered(once(&world, &args, state.as_deref(), Some(yes())).await);
    assert_eq!(done["purchase"]["delivery"], "delivered");
    // The same answer again, for one more of the same: that is asked anew.
    let mut again = args.clone();
    again["again"] = json!(true);
    asked(once(&world, &again, state.as_deref(), Some(yes())).await);
    // An invented state is no answer either.
    asked(once(&world, &again, Some(&"0".repeat(32)), Some(yes())).await);
    assert_eq!(world.charges().await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_as_a_yes_is_a_no() {
    let accept = |content: Value| Some(json!({ "action": "accept", "content": content }));
    for answer in [
        None,
        Some(json!({ "action": "cancel" })),
        Some(json!({ "action": "decline", "content": { "approve": true } })),
        Some(json!("accept")),
        accept(json!({})),
        accept(json!({ "approve": "true" })),
        accept(json!({ "approve": false })),
    ] {
        let world = World::start_with(asking(Era::Modern, Some(true))).await;
        let args = world.purchase_of("auto");
        let question = asked(once(&world, &args, None, None).await);
        let error =
            answered(once(&world, &args, question.request_state.as_deref(), answer.clone()).await);
        assert_eq!(error["error"]["code"], "approval_denied", "{answer:?}");
        assert!(world.charges().await.is_empty(), "{answer:?}");
    }
}

/// A yes is for fifteen minutes: then it is asked again.
#[tokio::test]
async fn a_yes_is_over_after_fifteen_minutes() {
    for (minutes, paid) in [(14, true), (16, false)] {
        let world = World::start_with(asking(Era::Modern, None)).await;
        let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
        let id = error["purchase_id"].as_str().unwrap();
        answer_by_command(&world, id, true).await;
        world.advance(minutes * 60).await;
        let answer = world.call("crochet_resume_call", json!({ "purchase_id": id })).await;
        if paid {
            assert_eq!(answer.unwrap()["purchase"]["delivery"], "delivered");
        } else {
            assert_eq!(answer.unwrap_err()["code"], "approval_required");
        }
        assert_eq!(world.charges().await.len(), usize::from(paid), "{minutes}");
    }
}

/// Approved, but the payment is held up for longer than the yes holds: it is asked again, not paid.
#[tokio::test]
async fn a_yes_that_is_over_when_it_comes_to_paying_is_asked_again() {
    let world = World::start_with(asking(Era::Modern, None)).await;
    let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
    let id = error["purchase_id"].as_str().unwrap().to_owned();
    answer_by_command(&world, &id, true).await;
    world.fault("chain", "eth_call", 0, json!({ "status": 502 })).await;
    let resume = json!({ "purchase_id": id });
    let error = world.call("crochet_resume_call", resume.clone()).await.unwrap_err();
    assert_eq!(error["code"], "chain_unavailable");
    assert_eq!(world.purchase(&error).await.state, State::Approved);
    world.advance(16 * 60).await;
    let error = world.call("crochet_resume_call", resume.clone()).await.unwrap_err();
    assert_eq!(error["code"], "approval_required", "{error}");
    answer_by_command(&world, &id, true).await;
    assert!(world.call("crochet_resume_call", resume).await.is_ok());
    assert_eq!(world.charges().await.len(), 1);
}

/// It is over while the instrument is fetched: the transaction that takes the budget asks again.
#[tokio::test]
async fn a_yes_that_ends_on_the_way_is_not_used() {
    let world = World::start_with(asking(Era::Modern, None)).await;
    let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
    let id = error["purchase_id"].as_str().unwrap().to_owned();
    answer_by_command(&world, &id, true).await;
    world.fault("crochet", "/gateway/*", 0, json!({ "delay_ms": 5_000 })).await;
    let resume = json!({ "purchase_id": id });
    let time_passes = async {
        world.fired().await;
        world.advance(16 * 60).await;
        world.app.clock().set_offset(16 * 60);
    };
    let (answer, ()) = tokio::join!(world.call("crochet_resume_call", resume), time_passes);
    let error = answer.unwrap_err();
    assert_eq!(error["code"], "expired", "{error}");
    assert_eq!(world.follow(error).await.unwrap_err()["code"], "approval_required");
    assert!(world.charges().await.is_empty());
}

async fn grant(world: &World, up_to: &'static str) {
    let seller = world.owner_of("auto");
    let now = world.app.clock().now();
    world
        .app
        .store()
        .transact(move |db| {
            let crochet = haggle::marketplaces::Marketplace::Crochet;
            approvals::grant(db, crochet, &seller, usd(up_to), now, now + 86_400)
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_grant_is_used_up_and_not_by_two_at_once() {
    let world = World::start_with(asking(Era::Modern, None)).await;
    grant(&world, "0.12").await;
    let (listing_id, price, _) = world.listing("auto");
    let args = |n: usize| json!({ "listing_id": listing_id, "body": { "text": format!("{n}") }, "max_total_usd": price });
    let answers = futures::future::join_all((0..5).map(|n| world.buy(args(n)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2, "0.05 each of 0.12");
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(error["code"], "approval_required", "{error}");
    }
    let status = world.call("market_status", json!({})).await.unwrap();
    assert_eq!(status["grants"][0]["left_usd"], "0.02");
    world.advance(86_400 + 1).await;
    let error = world.buy(args(9)).await.unwrap_err();
    assert_eq!(error["code"], "approval_required", "the grant is over");
    world.audit().await;
}

/// Asked the first time, not the second.
#[tokio::test]
async fn the_first_purchase_from_a_seller_asks() {
    let mut make = asking(Era::Initialize, Some(true));
    make.policy.ask_above_usd = usd("1");
    let world = World::start_with(make).await;
    let mut args = world.purchase_of("auto");
    for text in ["one", "two"] {
        args["body"] = json!({ "text": text });
        world.buy(args.clone()).await.unwrap();
    }
    assert_eq!(world.make.person.asked.lock().unwrap().len(), 1);
    assert_eq!(world.charges().await.len(), 2);
}

#[tokio::test]
async fn what_costs_nothing_never_asks() {
    let world = World::start_with(asking(Era::Initialize, Some(false))).await;
    world.buy(world.purchase_of("free")).await.unwrap();
    assert!(world.make.person.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn lists_of_sellers_are_kept_even_after_a_yes() {
    let seller = World::start().await.owner_of("auto");
    let denied = Policy { sellers_deny: vec![seller.clone()], ..Policy::sandbox() };
    let only = Policy { sellers_allow: vec!["someone-else".into()], ..Policy::sandbox() };
    for policy in [denied.clone(), only] {
        let world = World::start_with(Make { policy, ..Make::default() }).await;
        let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
        assert_eq!(error["code"], "policy_denied");
        assert!(world.charges().await.is_empty());
    }
    // Approved first, denied in the configuration before it was paid.
    let mut world = World::start_with(asking(Era::Modern, None)).await;
    let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
    let id = error["purchase_id"].as_str().unwrap().to_owned();
    answer_by_command(&world, &id, true).await;
    world.make.policy = denied;
    let world = world.restart().await;
    let error = world.call("crochet_resume_call", json!({ "purchase_id": id })).await.unwrap_err();
    assert_eq!(error["code"], "policy_denied");
    assert!(world.charges().await.is_empty());
}

#[tokio::test]
async fn frozen_between_the_yes_and_the_payment_pays_nothing() {
    let world = World::start_with(asking(Era::Modern, Some(true))).await;
    let args = world.purchase_of("auto");
    let question = asked(once(&world, &args, None, None).await);
    world.freeze(true).await;
    let error = answered(once(&world, &args, question.request_state.as_deref(), Some(yes())).await);
    assert_eq!(error["error"]["code"], "frozen");
    assert!(world.charges().await.is_empty());
    world.freeze(false).await;
    // The question was not used up by the refusal.
    let done = answered(once(&world, &args, question.request_state.as_deref(), Some(yes())).await);
    assert_eq!(done["purchase"]["delivery"], "delivered", "{done}");
    assert_eq!(world.charges().await.len(), 1);
}

/// Stopping all spending does not stop what was paid for from being collected.
#[tokio::test]
async fn what_was_paid_is_collected_while_spending_is_stopped() {
    let world = World::start().await;
    world.fault("crochet", "/gateway/*", 1, json!({ "status": 502 })).await;
    let error = world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap_err();
    assert_eq!(error["money_moved"], "yes");
    world.freeze(true).await;
    let done = world.follow(error).await.unwrap();
    assert_eq!(done["purchase"]["delivery"], "delivered");
    let error = world.call("crochet_call_listing", world.purchase_of("slow")).await.unwrap_err();
    assert_eq!(error["code"], "frozen");
}

/// Two clients show the same question, and both people say yes: one purchase.
#[tokio::test(flavor = "multi_thread")]
async fn two_yeses_are_one_purchase() {
    let world = World::start_with(asking(Era::Modern, Some(true))).await;
    let args = world.purchase_of("auto");
    let one = asked(once(&world, &args, None, None).await).request_state;
    let two = asked(once(&world, &args, None, None).await).request_state;
    let (first, second) = tokio::join!(
        once(&world, &args, one.as_deref(), Some(yes())),
        once(&world, &args, two.as_deref(), Some(yes()))
    );
    for done in [answered(first), answered(second)] {
        let about = done["error"]["purchase_id"].as_str().or(done["purchase"]["id"].as_str());
        assert_eq!(about, Some(world.journal().await[0].id.as_str()), "{done}");
    }
    assert_eq!(world.charges().await.len(), 1);
    world.audit().await;
}

/// No tool of any profile raises a limit or answers for the owner.
#[tokio::test]
async fn a_model_never_approves_itself() {
    let world = World::start_with(asking(Era::Modern, None)).await;
    let tools = world.client().list_all_tools().await.unwrap();
    assert!(!tools.is_empty());
    // What only the owner may let happen waits for their command, in a profile that no agent has.
    let only_owner = |tool: &rmcp::model::Tool| {
        let is_it = |place: &&haggle::tools::Place| place.name == tool.name;
        let place = haggle::tools::PLACES.iter().find(is_it).unwrap();
        place.profiles == [haggle::profile::Profile::Owner]
    };
    for tool in tools.iter().filter(|tool| !only_owner(tool)) {
        for word in ["approve", "policy", "unfreeze", "grant", "limit"] {
            assert!(!tool.name.contains(word), "{}", tool.name);
        }
    }
    let error = world.buy(world.purchase_of("auto")).await.unwrap_err();
    let resume = json!({ "purchase_id": error["purchase_id"] });
    let forged =
        answered(once_at(&world, "crochet_resume_call", &resume, Some("x"), Some(yes())).await);
    assert_eq!(forged["error"]["code"], "approval_required");
    assert!(world.charges().await.is_empty());
}
