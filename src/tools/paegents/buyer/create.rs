//! Proposing an agreement, once. A proposal costs nothing, but a seller may begin to work on each.
//!
//! Invariants: what does not fit the service is not sent; one that was made a moment ago and still
//! stands is given instead of a second one; a proposal has a name made of what is asked for, under
//! which the platform makes one of it; after a lost answer the list tells, never a repetition.

use std::{collections::BTreeSet, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    CreateAgreementArgs,
    service::{example_address, least, needs_shipping, others, service as read_service},
};
use crate::{
    app::App,
    error::{Code, Error},
    ids::{AgentId, AgreementId, PurchaseId},
    marketplaces::{
        Marketplace,
        lenient::instant,
        paegents::{
            Paegents,
            agreements::{Agreement, Role},
            create::{CreateAgreement, ListBought, Shipping},
            services::Service,
            status::is_given_up,
            steps,
        },
    },
    recovery::{NextAction, NextCall},
    spend::random,
    store::leases::Lease,
    text::shows,
    tools::{
        Reply,
        paegents::{QUANTITY_MAX, free::check_items, shown::AgreementView},
    },
};

/// The longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 2_000;
/// The longest member of an address, in bytes.
const ADDRESS_BYTES_MAX: usize = 200;
/// How long a seller may think about it by default, in hours.
const EXPIRES_HOURS: u64 = 24;
/// The longest that a proposal stands, in hours.
const EXPIRES_HOURS_MAX: u64 = 720;
/// How long after it was made an agreement counts as the same one, in seconds.
const SAME_SECONDS: i64 = 600;
/// When the list is asked for a proposal whose answer was lost: a request may still be under way.
const LOOKS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500)];

/// An agreement that was proposed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CreatedView {
    /// It.
    #[serde(flatten)]
    pub agreement: AgreementView,
    /// Whether it was there already: nothing was sent now.
    pub existing: bool,
}

/// Proposes an agreement, or gives the one that the same request made a moment ago.
///
/// # Errors
///
/// [`Code::InvalidArgument`] where it does not fit the service, [`Code::WrongState`] where that is
/// not sold; nothing was sent by either. As sending an operation.
pub(super) async fn create(
    app: &App,
    args: CreateAgreementArgs,
) -> Result<Reply<CreatedView>, Error> {
    bounded(&args)?;
    let paegents = app.paegents().await?;
    let own = paegents.agent()?.clone();
    let service = read_service(&paegents, &args.service_id).await?;
    let seller = sold(&service, &args, &own)?;
    let wallet = app.wallet().await?;
    let buyer = wallet.evm_address().ok_or_else(no_wallet)?;
    let again = args.again == Some(true);
    let cents = service.base_price_cents.unwrap_or_default();
    let mut request = CreateAgreement::new(
        (seller, &service.service_id),
        (args.quantity, &service.unit, cents),
        buyer,
        args.expires_hours.unwrap_or(EXPIRES_HOURS) * 3_600,
    );
    request.service_description = args.description.as_deref();
    request.cart_items = args.cart_items.as_deref();
    request.shipping_address = args.shipping.as_ref();
    let wanted = Wanted { own: &own, name: name(&own, &request), request };
    // A sandbox's clock may have been set.
    app.refresh_clock().await?;
    // Two calls at once do not both find that there is none.
    let holder = PurchaseId::from_random(random()?);
    let lease = format!("paegents:create:{}", args.service_id);
    let Some(_lease) = Lease::wait(app.store(), &lease, holder.as_str()).await? else {
        let message = "another proposal for this service is under way";
        return Err(Error::new(Code::Conflict, message).next(same_call(&args)));
    };
    let before = wanted.made_before(&paegents).await?;
    let now = app.clock().now();
    let standing = before.iter().find(|agreement| is_standing(agreement, now));
    if let (Some(standing), false) = (standing, again) {
        return Ok(shown(standing, true).next(second_call(&args)));
    }
    match wanted.propose(&paegents, &before).await {
        Ok(made) => Ok(shown(&made, false)),
        // What the service wants can be read.
        Err(error) if error.is(Code::UpstreamRejected) && error.repeat_safe => {
            let about = json!({ "service_id": args.service_id });
            let why = "says what is sold, and how many";
            Err(error.next(NextCall::new("paegents_get_service", about, why)))
        }
        // The same call looks first, so that it is harmless whatever became of this one.
        Err(error) => match error.recovery.next_action {
            NextAction::Retry | NextAction::Wait | NextAction::Check => {
                Err(error.next(same_call(&args)))
            }
            _ => Err(error),
        },
    }
}

/// What is asked for.
struct Wanted<'a> {
    own: &'a AgentId,
    /// The name of every proposal that asks for it, but for the number at its end.
    name: String,
    request: CreateAgreement<'a>,
}

impl Wanted<'_> {
    /// Our newest agreements that ask for the same, whatever became of them.
    async fn made_before(&self, paegents: &Paegents) -> Result<Vec<Agreement>, Error> {
        let mut found = paegents.api.send(&ListBought::of(self.own)).await?.0;
        found.retain(|agreement| self.is_same(agreement));
        Ok(found)
    }

    /// Sends the proposal. Its name holds how many there were before: a request that is still under
    /// way somewhere has the same one, and so is the same proposal.
    async fn propose(&self, paegents: &Paegents, before: &[Agreement]) -> Result<Agreement, Error> {
        let known: BTreeSet<_> = before.iter().map(|found| &found.agreement_id).collect();
        let made = self.send(paegents, &before.len().to_string(), &known).await?;
        if !known.contains(&made.agreement_id) && !is_given_up(&made.status) {
            return Ok(made);
        }
        // The platform remembers the name from an agreement that is over.
        let fresh = hex::encode(random()?);
        let made = self.send(paegents, &fresh, &known).await?;
        if known.contains(&made.agreement_id) {
            let message = format!("Paegents answered with {}, an earlier one", made.agreement_id);
            return Err(Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents));
        }
        Ok(made)
    }

    async fn send(
        &self,
        paegents: &Paegents,
        number: &str,
        known: &BTreeSet<&AgreementId>,
    ) -> Result<Agreement, Error> {
        let mut request = self.request.clone();
        request.client_proposal_id = format!("{}-{number}", self.name);
        let error = match paegents.api.send(&request).await {
            Ok(made) if self.is_meant(&made) => return Ok(made),
            // The list tells what was made.
            Ok(made) => {
                let id = &made.agreement_id;
                let message =
                    format!("Paegents answered with {id}, which is not what was proposed");
                let error = Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents);
                error.uncertain_write()
            }
            // A gateway in between says nothing about the platform.
            Err(error) if matches!(error.http_status, Some(408 | 425 | 499)) => {
                error.uncertain_write()
            }
            Err(error) if error.repeat_safe && !error.is(Code::Conflict) => return Err(error),
            Err(error) => error,
        };
        self.adopted(paegents, known).await.ok_or(error)
    }

    /// The agreement that a request whose answer was lost has made.
    async fn adopted(
        &self,
        paegents: &Paegents,
        known: &BTreeSet<&AgreementId>,
    ) -> Option<Agreement> {
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            let found = self.made_before(paegents).await.unwrap_or_default();
            let new = found.into_iter().find(|found| !known.contains(&found.agreement_id));
            if new.is_some() {
                return new;
            }
        }
        None
    }

    /// Whether an answer is about what was proposed.
    fn is_meant(&self, made: &Agreement) -> bool {
        let is_ours = made.role_of(self.own).is_none_or(|role| role == Role::Buyer);
        is_ours && self.has_terms(made)
    }

    fn has_terms(&self, made: &Agreement) -> bool {
        let request = &self.request;
        made.seller_agent_id.as_ref().is_none_or(|seller| seller == request.seller_agent_id)
            && made.service_id.as_ref().is_none_or(|service| service == request.service_id)
            && made.quantity == request.quantity
            && made.price_per_unit_cents == request.price_per_unit_cents
    }

    /// Whether an agreement asks for the same: by the name that we gave it, or where the platform
    /// does not say that (§14.13) by what it says.
    fn is_same(&self, other: &Agreement) -> bool {
        let kept = other.metadata.get("client_proposal_id").and_then(Value::as_str);
        let named = [other.client_proposal_id.as_str(), kept.unwrap_or_default()];
        if let Some(named) = named.into_iter().find(|named| !named.is_empty()) {
            return named.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('-'));
        }
        self.has_terms(other)
            && other.seller_agent_id.is_some()
            && other.unit == self.request.unit
            && other.service_description == self.request.service_description.unwrap_or_default()
    }
}

/// What every proposal for the same is named by: who asks, and all that is asked for.
fn name(own: &AgentId, request: &CreateAgreement<'_>) -> String {
    let digest = Sha256::digest(json!([own, request]).to_string());
    format!("haggle-{}", hex::encode(digest).get(..24).unwrap_or_default())
}

/// Whether an agreement still stands and was made a moment ago. One whose age cannot be read may
/// have been.
fn is_standing(agreement: &Agreement, now: i64) -> bool {
    let recent = instant(&agreement.created_at).is_none_or(|at| now - at < SAME_SECONDS);
    recent && matches!(agreement.status.as_str(), "proposed" | "pending" | "accepted" | "active")
}

fn shown(agreement: &Agreement, existing: bool) -> Reply<CreatedView> {
    let role = Some(Role::Buyer);
    let view = CreatedView { agreement: AgreementView::of(agreement, role), existing };
    Reply { view, next: steps::of_agreement(agreement, role) }
}

fn no_wallet() -> Error {
    let message = "there is no EVM wallet to pay from: `haggle keys generate` makes one";
    Error::new(Code::InsufficientFunds, message).at(Marketplace::Paegents)
}

/// The seller, where the service sells as much as is asked for.
fn sold<'a>(
    service: &'a Service,
    args: &CreateAgreementArgs,
    own: &AgentId,
) -> Result<&'a AgentId, Error> {
    let id = &service.service_id;
    if !service.is_active {
        let message = format!("the service {id} is not sold any more; nothing was sent");
        return Err(Error::new(Code::WrongState, message)
            .at(Marketplace::Paegents)
            .recovery(|r| {
                r.set(NextAction::ChooseOther, true, "Look for something else.");
            })
            .next(others()));
    }
    let unreadable = |field: &str| {
        let message = format!("the member {field} of the service {id} cannot be read");
        Error::new(Code::UpstreamMalformed, message).at(Marketplace::Paegents).field(field, None)
    };
    let seller = service.agent_id.as_ref().ok_or_else(|| unreadable("agent_id"))?;
    service.unit_price().ok_or_else(|| unreadable("base_price_cents"))?;
    if seller == own {
        let message = format!("the service {id} is your own");
        return Err(Error::new(Code::NotAllowed, message).at(Marketplace::Paegents));
    }
    let (least, most) = (least(service), service.max_quantity.unwrap_or(u64::MAX));
    if !(least..=most).contains(&args.quantity) {
        let bounds = match service.max_quantity {
            Some(most) => format!("must be {least} to {most}"),
            None => format!("must be at least {least}"),
        };
        let example = args.quantity.clamp(least, most.max(least)).to_string();
        let mut arguments = arguments(args);
        if let Some(members) = arguments.as_object_mut() {
            members
                .insert("quantity".to_owned(), json!(args.quantity.clamp(least, most.max(least))));
        }
        let why = "proposes as many as are sold";
        return Err(Error::argument("quantity", bounds, &example)
            .at(Marketplace::Paegents)
            .next(NextCall::new("paegents_create_agreement", arguments, why)));
    }
    if needs_shipping(service) && args.shipping.is_none() {
        let problem = "is required: the service sends goods";
        return Err(Error::argument("shipping", problem, &example_address().to_string())
            .at(Marketplace::Paegents));
    }
    Ok(seller)
}

/// Refuses what is too long or cannot be shown, before anything is asked.
fn bounded(args: &CreateAgreementArgs) -> Result<(), Error> {
    let is_text = |text: &str, most: usize| {
        !text.trim().is_empty() && text.len() <= most && text.chars().all(shows)
    };
    let text = |most| format!("must be 1 to {most} bytes of printable text");
    if !args.description.as_deref().is_none_or(|said| is_text(said, DESCRIPTION_BYTES_MAX)) {
        return Err(Error::argument("description", text(DESCRIPTION_BYTES_MAX), "\"a survey\""));
    }
    if !(1..=QUANTITY_MAX).contains(&args.quantity) {
        let problem = format!("must be 1 to {QUANTITY_MAX}");
        return Err(Error::argument("quantity", problem, "100"));
    }
    if !args.expires_hours.is_none_or(|hours| (1..=EXPIRES_HOURS_MAX).contains(&hours)) {
        let problem = format!("must be 1 to {EXPIRES_HOURS_MAX}");
        return Err(Error::argument("expires_hours", problem, "24"));
    }
    if let Some(items) = &args.cart_items {
        check_items("cart_items", items)?;
    }
    args.shipping.as_ref().map_or(Ok(()), address)
}

/// An address that can be sent: every part of it a line of its own.
fn address(shipping: &Shipping) -> Result<(), Error> {
    let is_line = |text: &str| {
        !matches!(text.trim(), "" | "…")
            && text.len() <= ADDRESS_BYTES_MAX
            && text.chars().all(|c| shows(c) && c != '\n')
    };
    let wrong = shipping.members().into_iter().find(|(_, text)| !text.is_none_or(is_line));
    if let Some((name, _)) = wrong {
        let problem = format!("must be 1 to {ADDRESS_BYTES_MAX} bytes in one line");
        return Err(Error::argument(&format!("shipping.{name}"), problem, "\"1 Example Street\""));
    }
    let country = &shipping.country;
    if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
        let problem = "must be two capital letters";
        return Err(Error::argument("shipping.country", problem, "\"US\""));
    }
    Ok(())
}

/// The arguments as they came, but for `again`.
fn arguments(args: &CreateAgreementArgs) -> Value {
    let mut arguments = json!({ "service_id": args.service_id, "quantity": args.quantity });
    let members = [
        ("description", args.description.as_ref().map(|said| json!(said))),
        ("cart_items", args.cart_items.as_ref().map(|items| json!(items))),
        ("shipping", args.shipping.as_ref().map(address_of)),
        ("expires_hours", args.expires_hours.map(|hours| json!(hours))),
    ];
    if let Some(object) = arguments.as_object_mut() {
        for (name, value) in members {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        }
    }
    arguments
}

fn address_of(shipping: &Shipping) -> Value {
    let members = shipping.members().into_iter();
    members.filter_map(|(name, text)| Some((name.to_owned(), json!(text?)))).collect()
}

/// The same call without `again`: it looks first, so that it makes no second agreement.
fn same_call(args: &CreateAgreementArgs) -> NextCall {
    let why = "looks first whether it was proposed, and proposes it if not";
    NextCall::new("paegents_create_agreement", arguments(args), why)
}

/// The call that proposes a second one on purpose.
fn second_call(args: &CreateAgreementArgs) -> NextCall {
    let mut arguments = arguments(args);
    if let Some(members) = arguments.as_object_mut() {
        members.insert("again".to_owned(), json!(true));
    }
    let why = "only if you want the same a second time";
    NextCall::new("paegents_create_agreement", arguments, why)
}
