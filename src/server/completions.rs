//! Completions: what an argument of a prompt or of a resource's address may be, as it is being typed.

use rmcp::{
    ErrorData,
    model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference},
};

use super::{Server, prompts};
use crate::{
    error::Error,
    journal::State,
    marketplaces::Marketplace,
    store::seen::{self, Seen},
};

impl Server {
    /// The values that begin like what was typed, at most as many as the protocol allows.
    pub(super) async fn completed(
        &self,
        request: &CompleteRequestParams,
    ) -> Result<CompleteResult, ErrorData> {
        let (name, start) = (&*request.argument.name, request.argument.value.clone());
        let is_known = match &request.r#ref {
            Reference::Prompt(prompt) => prompts::has_argument(&prompt.name, name),
            Reference::Resource(_) => name == "purchase_id",
            // What a later revision refers to.
            _ => false,
        };
        if !is_known {
            return Ok(CompleteResult::default());
        }
        let words = |words: Vec<&'static str>| {
            let fit = words.into_iter().filter(|word| word.starts_with(&start));
            fit.map(ToOwned::to_owned).collect()
        };
        let values: Vec<String> = match name {
            "marketplace" => {
                let marketplaces = &self.app().settings().marketplaces;
                words(marketplaces.iter().copied().map(Marketplace::name).collect())
            }
            "state" => words(State::ALL.iter().copied().map(State::name).collect()),
            "purchase_id" => self.seen(name, Seen::Purchase, start).await?,
            "listing_id" => self.seen(name, Seen::Item, start).await?,
            "order_id" => self.seen(name, Seen::Order, start).await?,
            "agreement_id" => self.seen(name, Seen::Agreement, start).await?,
            _ => Vec::new(),
        };
        let info = CompletionInfo::with_all_values(values);
        info.map(CompleteResult::new).map_err(|error| ErrorData::internal_error(error, None))
    }

    async fn seen(&self, name: &str, seen: Seen, start: String) -> Result<Vec<String>, ErrorData> {
        let store = self.app().store();
        if !store.path().exists() {
            return Ok(Vec::new());
        }
        let who = self.principal().name.clone();
        let found = store.with(move |db| {
            seen::beginning_with(db, &who, seen, &start, CompletionInfo::MAX_VALUES)
        });
        let own = async { self.only_own(name, found.await?).await };
        own.await.map_err(|error: Error| ErrorData::internal_error(error.to_string(), None))
    }
}
