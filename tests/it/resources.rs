//! Resources: read and followed, in both eras.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rmcp::{
    model::{ReadResourceRequestParams, ServerNotification, SubscriptionFilter},
    service::Subscription,
};
use serde_json::{Value, json};

use crate::{
    croo_events::hurried,
    world::{Era, Make, World},
};

const INBOX: &str = "haggle://inbox";
const UNKNOWN: &str = "haggle://nothing";
/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// How updates are heard of.
enum Follower {
    Stream(Box<Subscription>),
    Notified(Arc<Mutex<Vec<String>>>),
}

impl Follower {
    /// Follows the inbox, as a client of the world's era does.
    async fn of(world: &World) -> Self {
        let client = world.client();
        if world.make.era == Era::Initialize {
            for (uri, known) in [(INBOX, true), (UNKNOWN, false)] {
                let subscribe = rmcp::model::SubscribeRequestParams::new(uri);
                #[expect(deprecated, reason = "it is what such a client does")]
                let subscribed = client.subscribe(subscribe).await;
                assert_eq!(subscribed.is_ok(), known, "{uri}");
            }
            return Self::Notified(world.make.person.updated.clone());
        }
        let wanted = [INBOX.to_owned(), UNKNOWN.to_owned()];
        let filter = SubscriptionFilter::builder().resource_subscriptions(wanted).build();
        let stream = client.listen(filter).await.unwrap();
        let known = stream.acknowledged().resource_subscriptions.clone();
        assert_eq!(known, Some(vec![INBOX.to_owned()]));
        Self::Stream(Box::new(stream))
    }

    /// The next update, which is one of the inbox.
    async fn hears(&mut self, of: &str) {
        let heard = async {
            match self {
                Self::Stream(stream) => match stream.next().await.unwrap().unwrap() {
                    ServerNotification::ResourceUpdatedNotification(update) => update.params.uri,
                    other => panic!("{other:?}"),
                },
                Self::Notified(updates) => loop {
                    let update = updates.lock().unwrap().pop();
                    if let Some(uri) = update {
                        return uri;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                },
            }
        };
        let heard = tokio::time::timeout(LONG, heard).await;
        assert_eq!(heard.as_deref(), Ok(INBOX), "no update of {of}");
    }

    /// Forgets what was heard so far, once nothing more comes.
    async fn settles(&mut self) {
        let quiet = Duration::from_millis(1500);
        match self {
            Self::Stream(stream) => {
                while tokio::time::timeout(quiet, stream.next()).await.is_ok() {}
            }
            Self::Notified(updates) => {
                tokio::time::sleep(quiet).await;
                updates.lock().unwrap().clear();
            }
        }
    }
}

async fn read(world: &World) -> Value {
    let read = ReadResourceRequestParams::new(INBOX);
    let read = serde_json::to_value(world.client().read_resource(read).await.unwrap()).unwrap();
    let scope = if world.make.era == Era::Modern { json!("private") } else { Value::Null };
    assert_eq!(read["cacheScope"], scope, "{read}");
    serde_json::from_str(read["contents"][0]["text"].as_str().unwrap()).unwrap()
}

async fn the_inbox_is_followed(era: Era) {
    let make = Make { era, times: Some(hurried()), ..Make::default() };
    let world = World::start_with(make).await;
    let listed = world.client().list_all_resources().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|resource| resource.uri.as_str()).collect();
    let all = ["haggle://purchases", INBOX, "haggle://policy", "haggle://errors"];
    assert_eq!(listed, all);
    assert_eq!(read(&world).await, json!({ "events": [], "cursor": 0, "mode": "sandbox" }));
    let unknown = ReadResourceRequestParams::new(UNKNOWN);
    let refused = format!("{:?}", world.client().read_resource(unknown).await.unwrap_err());
    let code = if era == Era::Modern { "-32602" } else { "-32002" };
    assert!(refused.contains(code), "{refused}");

    let mut follower = Follower::of(&world).await;
    world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap();
    follower.hears("what this process stored").await;
    follower.settles().await;
    let before = read(&world).await;
    let last = before["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["kind"], "purchase_changed", "{before}");
    assert_eq!(last["cursor"], before["cursor"]);
    // Another process of the same store.
    let beside = world.beside().await;
    beside.call("crochet_call_listing", beside.purchase_of("slow")).await.unwrap();
    follower.hears("what another process stored").await;
    let begun = Instant::now();
    while read(&world).await["cursor"] == before["cursor"] {
        assert!(begun.elapsed() < LONG);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_is_followed_by_a_client_of_the_legacy_era() {
    the_inbox_is_followed(Era::Initialize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_is_followed_by_a_client_of_the_modern_era() {
    the_inbox_is_followed(Era::Modern).await;
}

/// Who has unsubscribed is told no more.
#[tokio::test(flavor = "multi_thread")]
async fn an_ended_subscription_is_silent() {
    let world = World::start_with(Make { era: Era::Initialize, ..Make::default() }).await;
    let mut follower = Follower::of(&world).await;
    world.call("crochet_call_listing", world.purchase_of("auto")).await.unwrap();
    follower.hears("a purchase").await;
    follower.settles().await;
    let unsubscribe = rmcp::model::UnsubscribeRequestParams::new(INBOX);
    #[expect(deprecated, reason = "it is what such a client does")]
    world.client().unsubscribe(unsubscribe).await.unwrap();
    world.call("crochet_call_listing", world.purchase_of("slow")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(*world.make.person.updated.lock().unwrap(), [""; 0]);
}
