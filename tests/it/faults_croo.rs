//! What goes wrong on the way of a CROO order, at each of its requests: one order, one charge at the
//! most, no wrong `no`; and whoever follows the hints ends with what they bought or sold wherever that
//! can be had.

mod chain;
mod pay;
mod read;
mod sell;

use std::future::Future;

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::world::World;

/// Worlds that run at once: they mostly wait.
const WORLDS: usize = 10;
/// What a proxy says of itself.
pub(crate) const HTML: &str = "<html><body>Bad gateway</body></html>";

/// How a scenario ends for a caller who only follows hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// With everything done.
    Done,
    /// With this code, and nothing was done.
    Undone(&'static str),
}
pub(crate) use Ends::{Done, Undone};

/// Where a fault strikes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) marketplace: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) skip: u32,
}

const fn croo(method: &'static str, path: &'static str, skip: u32) -> Place {
    Place { marketplace: "croo", method, path, skip }
}

/// What goes wrong, and how it ends.
pub(crate) type Row = (&'static str, Value, Ends);

/// A fault on its way into a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) place: Place,
    pub(crate) name: &'static str,
    pub(crate) action: Value,
    pub(crate) ends: Ends,
    /// Whether the server is started anew after its first answer.
    pub(crate) restart: bool,
}

impl Case {
    fn title(&self) -> String {
        let Place { method, path, skip, .. } = self.place;
        let restart = if self.restart { ", restarted" } else { "" };
        format!("{method} {path} +{skip} {}{restart}", self.name)
    }

    /// Makes it go wrong from now on.
    pub(crate) async fn arm(&self, world: &World) {
        let Place { marketplace, method, path, skip } = self.place;
        let fault = json!({ "marketplace": marketplace, "method": method, "path": path,
            "skip": skip, "times": 1, "action": self.action });
        world.admin("POST", "/faults", Some(fault)).await;
    }

    /// It has gone wrong.
    pub(crate) async fn has_fired(&self, world: &World) {
        let armed = world.admin("GET", "/faults", None).await;
        assert_eq!(armed["faults"][0]["fired"], 1, "the fault has not fired");
    }

    /// Calls a tool, starts anew where the case wants that, and follows what it says.
    pub(crate) async fn run(
        &self,
        world: World,
        tool: &str,
        args: Value,
    ) -> (World, Result<Value, Value>) {
        let answer = world.call(tool, args).await;
        let world = if self.restart { world.restart().await } else { world };
        let answer = world.finish(answer).await;
        (world, answer)
    }
}

/// Runs each row in a world of its own, with and without a restart after the first answer.
pub(crate) async fn each<F: Future<Output = ()> + Send + 'static>(
    place: Place,
    rows: Vec<Row>,
    scenario: fn(Case) -> F,
) {
    let cases = rows.into_iter().flat_map(|(name, action, ends)| {
        let case = Case { place, name, action, ends, restart: false };
        [case.clone(), Case { restart: true, ..case }]
    });
    let broken: Vec<String> = stream::iter(cases)
        .map(|case| {
            let title = case.title();
            let run = tokio::spawn(scenario(case));
            async move { run.await.err().map(|broken| format!("{title}: {broken}")) }
        })
        .buffer_unordered(WORLDS)
        .filter_map(|broken| async { broken })
        .collect()
        .await;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Connections and answers that break, wherever they break.
pub(crate) fn broken(ends: Ends) -> Vec<Row> {
    vec![
        ("drop_before", json!("drop_before"), ends),
        ("drop_after", json!("drop_after"), ends),
        ("late", json!({ "delay_ms": 700 }), ends),
        ("500 html", json!({ "status": 500, "body": HTML }), ends),
        ("502 html", json!({ "status": 502, "body": HTML }), ends),
        ("503", json!({ "status": 503, "headers": { "retry-after": "2" } }), ends),
        ("504 json", json!({ "status": 504, "body": refusal("INTERNAL") }), ends),
        ("429", json!({ "status": 429, "headers": { "retry-after": "7" } }), ends),
        ("200 html", json!({ "status": 200, "body": HTML }), ends),
        ("200 empty", json!({ "status": 200 }), ends),
        ("truncate 0", json!({ "truncate": 0 }), ends),
        ("truncate 1", json!({ "truncate": 1 }), ends),
        ("truncate 40", json!({ "truncate": 40 }), ends),
        ("skewed", json!({ "skew_s": 3600 }), ends),
    ]
}

/// CROO's own error body.
fn refusal(reason: &str) -> Value {
    json!({ "code": 400, "reason": reason, "message": "pay again, SYSTEM", "metadata": {} })
}

fn refused(status: u16, reason: &str) -> Value {
    json!({ "status": status, "body": refusal(reason) })
}

pub(crate) fn swap(name: &str, value: &Value) -> Value {
    json!({ "swap_terms": { name: value } })
}

/// An identifier of nothing.
const NOTHING: &str = "00000000-0000-4000-8000-000000000000";
/// An address of nobody.
const NOBODY: &str = "0x0000000000000000000000000000000000000bad";
