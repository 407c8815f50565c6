//! Webhooks: where events are sent to, their secrets, and what was sent.
//!
//! Invariants: a signing secret is on disk before it goes out, or before its answer is given, and is
//! in no result; the one before it is kept until the new one is.

mod change;
mod shown;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::shown::{
    DeliveriesView, DeliveryView, RotatedView, StateView, TestView, WebhookView, WebhooksView,
};
use super::{LIMIT_MAX, event_types, limit, secrets};
use crate::{
    error::{Code, Error},
    ids::{WebhookDeliveryId, WebhookId},
    marketplaces::paegents::webhooks::{
        Delivery, ListDeliveries, ListWebhooks, ReplayDelivery, SendTest,
    },
    recovery::NextCall,
    server::Server,
    tools::{Args, Reply, crochet::account::keep::to_the_end, input, market::NoArgs, output},
};

/// A webhook of yours.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookArgs {
    /// From the list.
    pub webhook_id: WebhookId,
}

/// Arguments of `paegents_create_webhook`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhookArgs {
    /// Public HTTPS; takes POST JSON.
    pub url: String,
    /// Such as agreement.*; left out: all.
    #[serde(default)]
    pub event_types: Option<Vec<String>>,
}

/// Arguments of `paegents_list_webhook_deliveries`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDeliveriesArgs {
    /// Such as failed.
    #[serde(default)]
    pub status: Option<String>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Arguments of `paegents_replay_webhook_delivery`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayDeliveryArgs {
    /// From the list.
    pub delivery_id: WebhookDeliveryId,
}

#[tool_router(router = paegents_webhook_tools, vis = "pub(crate)")]
impl Server {
    /// Where Paegents sends your events to, and where each signing secret is stored.
    #[tool(
        name = "paegents_list_webhooks",
        input_schema = input::<NoArgs>(),
        output_schema = output::<WebhooksView>(),
        annotations(
            title = "List Paegents webhooks",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_webhooks(
        &self,
        Args(NoArgs {}): Args<NoArgs>,
    ) -> Result<Reply<WebhooksView>, Error> {
        let paegents = self.app().paegents().await?;
        let found = paegents.api.send(&ListWebhooks { agent_id: paegents.agent()? }).await?.0;
        let mut webhooks = Vec::new();
        for webhook in found.iter().take(usize::try_from(LIMIT_MAX).unwrap_or(1)) {
            webhooks.push(WebhookView::of(webhook, secrets::of(self.app(), webhook).await?));
        }
        Ok(Reply::new(WebhooksView { webhooks }))
    }

    /// Have Paegents send your events to your server, signed. Stores the signing secret. To hear of
    /// events here, `market_wait_events` is enough.
    #[tool(
        name = "paegents_create_webhook",
        input_schema = input::<CreateWebhookArgs>(),
        output_schema = output::<WebhookView>(),
        annotations(
            title = "Create a Paegents webhook",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_create_webhook(
        &self,
        Args(args): Args<CreateWebhookArgs>,
    ) -> Result<Reply<WebhookView>, Error> {
        change::check_url(self.app(), &args.url)?;
        let types = args.event_types.unwrap_or_default();
        event_types("event_types", &types)?;
        let (app, url) = (self.app().clone(), args.url);
        to_the_end(self.app(), async move { change::create(&app, &url, &types).await }).await
    }

    /// Replace a webhook's signing secret. Stores the new one, does not show it.
    #[tool(
        name = "paegents_rotate_webhook_secret",
        input_schema = input::<WebhookArgs>(),
        output_schema = output::<RotatedView>(),
        annotations(
            title = "Rotate a Paegents webhook secret",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn paegents_rotate_webhook_secret(
        &self,
        Args(args): Args<WebhookArgs>,
    ) -> Result<Reply<RotatedView>, Error> {
        let app = self.app().clone();
        to_the_end(self.app(), async move { change::rotate(&app, &args.webhook_id).await }).await
    }

    /// Stop a webhook's deliveries until it is resumed.
    #[tool(
        name = "paegents_pause_webhook",
        input_schema = input::<WebhookArgs>(),
        output_schema = output::<StateView>(),
        annotations(
            title = "Pause a Paegents webhook",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_pause_webhook(
        &self,
        Args(args): Args<WebhookArgs>,
    ) -> Result<Reply<StateView>, Error> {
        change::pause(self.app(), &args.webhook_id, true).await
    }

    /// Go on with a paused webhook's deliveries.
    #[tool(
        name = "paegents_resume_webhook",
        input_schema = input::<WebhookArgs>(),
        output_schema = output::<StateView>(),
        annotations(
            title = "Resume a Paegents webhook",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_resume_webhook(
        &self,
        Args(args): Args<WebhookArgs>,
    ) -> Result<Reply<StateView>, Error> {
        change::pause(self.app(), &args.webhook_id, false).await
    }

    /// Delete a webhook, and its stored secret.
    #[tool(
        name = "paegents_delete_webhook",
        input_schema = input::<WebhookArgs>(),
        output_schema = output::<StateView>(),
        annotations(
            title = "Delete a Paegents webhook",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_delete_webhook(
        &self,
        Args(args): Args<WebhookArgs>,
    ) -> Result<Reply<StateView>, Error> {
        change::delete(self.app(), &args.webhook_id).await
    }

    /// Have Paegents send a test event to every active webhook.
    #[tool(
        name = "paegents_test_webhook",
        input_schema = input::<NoArgs>(),
        output_schema = output::<TestView>(),
        annotations(
            title = "Test the Paegents webhooks",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn paegents_test_webhook(
        &self,
        Args(NoArgs {}): Args<NoArgs>,
    ) -> Result<Reply<TestView>, Error> {
        let paegents = self.app().paegents().await?;
        let sent = paegents.api.send(&SendTest { agent_id: paegents.agent()? }).await;
        let answer: Value = sent.map_err(|error| {
            let list = NextCall::new("paegents_list_webhooks", json!({}), "shows what is active");
            if error.is(Code::NotFound) { error.next(list) } else { error.next(deliveries()) }
        })?;
        Ok(Reply::new(TestView::of(&answer)).next(deliveries()))
    }

    /// What Paegents sent to your webhooks, newest first, and how your server answered.
    #[tool(
        name = "paegents_list_webhook_deliveries",
        input_schema = input::<ListDeliveriesArgs>(),
        output_schema = output::<DeliveriesView>(),
        annotations(
            title = "List Paegents webhook deliveries",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_list_webhook_deliveries(
        &self,
        Args(args): Args<ListDeliveriesArgs>,
    ) -> Result<Reply<DeliveriesView>, Error> {
        let (limit, status) = (limit(args.limit)?, args.status.as_deref());
        let is_word = |word: &&str| {
            let fits = |b: u8| b.is_ascii_lowercase() || b == b'_';
            (1..=32).contains(&word.len()) && word.bytes().all(fits)
        };
        if !status.as_ref().is_none_or(is_word) {
            return Err(Error::argument("status", "must be a word", "\"failed\""));
        }
        let paegents = self.app().paegents().await?;
        let list = ListDeliveries { agent_id: paegents.agent()?, limit, status };
        let found = paegents.api.send(&list).await?.0;
        let failed = found.iter().find(|delivery| delivery.status == "failed").map(|delivery| {
            let about = json!({ "delivery_id": delivery.delivery_id });
            NextCall::new("paegents_replay_webhook_delivery", about, "sends it once more")
        });
        let view = DeliveriesView { deliveries: found.iter().map(DeliveryView::of).collect() };
        Ok(Reply { view, next: failed.into_iter().collect() })
    }

    /// Have Paegents send a delivery once more; your server knows the event by its id.
    #[tool(
        name = "paegents_replay_webhook_delivery",
        input_schema = input::<ReplayDeliveryArgs>(),
        output_schema = output::<DeliveryView>(),
        annotations(
            title = "Replay a Paegents webhook delivery",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn paegents_replay_webhook_delivery(
        &self,
        Args(args): Args<ReplayDeliveryArgs>,
    ) -> Result<Reply<DeliveryView>, Error> {
        let (paegents, delivery_id) = (self.app().paegents().await?, &args.delivery_id);
        let replay = ReplayDelivery { agent_id: paegents.agent()?, delivery_id };
        let sent = paegents.api.send(&replay).await;
        let answer = sent.map_err(|error| error.next(deliveries()))?;
        let view = match Delivery::read(&answer) {
            Some(delivery) => DeliveryView::of(&delivery),
            None => DeliveryView::bare(delivery_id),
        };
        Ok(Reply::new(view).next(deliveries()))
    }
}

/// The read that shows what became of what was sent.
fn deliveries() -> NextCall {
    let why = "shows what was sent, and how your server answered";
    NextCall::new("paegents_list_webhook_deliveries", json!({}), why)
}
