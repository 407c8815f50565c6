//! Asking for an offer, once. A negotiation costs nothing, but CROO makes a second one of a second
//! request, and a seller may begin to work on both.
//!
//! Invariants: what does not fit the service is not sent; one that was made a moment ago and still
//! stands is given instead of a second one; after a lost answer the list tells, never a repetition.

use std::{collections::BTreeSet, time::Duration};

use alloy_primitives::Address;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    NegotiateOrderArgs,
    service::{gone, negotiation_of},
};
use crate::{
    app::App,
    error::{Code, Error},
    ids::{NegotiationId, PurchaseId, ServiceId},
    marketplaces::{
        Marketplace,
        croo::{
            Croo, Role, instant,
            negotiations::{ListNegotiations, NegotiateOrder, Negotiation},
            offers::Offer,
            steps,
        },
    },
    money::Usdc,
    recovery::NextCall,
    spend::random,
    store::leases::Lease,
    tools::{
        Reply,
        croo::{reading::PAGE_SIZE, shown::NegotiationView},
    },
};

/// The largest input, in bytes.
const REQUIREMENTS_BYTES_MAX: usize = 64 * 1024;
/// The largest free text, in bytes.
const METADATA_BYTES_MAX: usize = 4 * 1024;
/// How long after it was made a negotiation counts as the same one, in seconds.
const SAME_SECONDS: i64 = 600;
/// When the list is asked for a negotiation whose answer was lost: a request may still be under way.
const LOOKS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500)];

/// A negotiation that was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NegotiatedView {
    /// It.
    #[serde(flatten)]
    pub negotiation: NegotiationView,
    /// Whether it was there already: nothing was sent now.
    pub existing: bool,
}

/// What is asked for.
struct Wanted {
    service_id: ServiceId,
    requirements: String,
    metadata: String,
    fund: Option<Usdc>,
}

/// Asks for an offer, or gives the negotiation that the same request began a moment ago.
///
/// # Errors
///
/// [`Code::InvalidArgument`] where the input does not fit, [`Code::PolicyDenied`] where the fund
/// part is above the owner's limit; nothing was sent by either. As sending an operation.
pub(super) async fn negotiate(
    app: &App,
    args: NegotiateOrderArgs,
) -> Result<Reply<NegotiatedView>, Error> {
    bounded(&args)?;
    let croo = app.croo().await?.registered()?;
    let offer = known(croo.offer(&args.service_id).await)?;
    let again = args.again == Some(true);
    let same = json!({ "service_id": args.service_id, "requirements": args.requirements });
    let wanted = checked(app, args, offer.as_ref())?;
    // A sandbox's clock may have been set.
    app.refresh_clock().await?;
    // Two calls at once do not both find that there is none.
    let holder = PurchaseId::from_random(random()?);
    let name = format!("croo:negotiate:{}", wanted.service_id);
    let Some(_lease) = Lease::wait(app.store(), &name, holder.as_str()).await? else {
        let message = "another negotiation with this service is under way";
        return Err(Error::new(Code::Conflict, message).next(same_call(same, &wanted)));
    };
    let before = wanted.made_before(&croo).await?;
    let now = app.clock().now();
    let standing = before.iter().find(|negotiation| is_standing(negotiation, now));
    if let (Some(standing), false) = (standing, again) {
        let reply = shown(standing, true);
        return Ok(reply.next(wanted.second_call(same)));
    }
    let known: BTreeSet<_> = before.iter().map(|found| found.negotiation_id.clone()).collect();
    let negotiation = match wanted.send(&croo, app.chain().await?.pins().usdc).await {
        Ok(negotiation) => negotiation,
        // The same call looks first, so that it is harmless whatever it collided with.
        Err(error) if error.is(Code::Conflict) => return Err(error.next(same_call(same, &wanted))),
        Err(error) if error.repeat_safe => return Err(refused(error, &wanted)),
        Err(error) => match wanted.adopted(&croo, &known).await {
            Some(negotiation) => negotiation,
            None => return Err(error.next(same_call(same, &wanted))),
        },
    };
    Ok(shown(&negotiation, false))
}

/// The offer; `None` where the store does not know the service in its own words, since it is no part
/// of the documented contract. Then CROO decides about the input.
fn known(read: Result<Offer, Error>) -> Result<Option<Offer>, Error> {
    match read {
        Ok(offer) => Ok(Some(offer)),
        Err(error) if error.is(Code::NotFound) && error.upstream_code.is_none() => Ok(None),
        Err(error) => Err(gone(error)),
    }
}

/// Refuses what is too long for any service, before anything is asked.
fn bounded(args: &NegotiateOrderArgs) -> Result<(), Error> {
    let requirements = match &args.requirements {
        Value::String(text) => text.len(),
        value => value.to_string().len(),
    };
    let metadata = args.metadata.as_ref().map_or(0, String::len);
    let sizes = [
        ("requirements", requirements, REQUIREMENTS_BYTES_MAX),
        ("metadata", metadata, METADATA_BYTES_MAX),
    ];
    match sizes.iter().find(|(_, bytes, most)| bytes > most) {
        None => Ok(()),
        Some((field, bytes, most)) => {
            let problem = format!("has {bytes} bytes, more than {most}");
            Err(Error::argument(field, problem, "\"…\""))
        }
    }
}

/// The arguments as they go over the wire, where they fit the service.
fn checked(app: &App, args: NegotiateOrderArgs, offer: Option<&Offer>) -> Result<Wanted, Error> {
    let requirements = match args.requirements {
        Value::Null => Value::String(String::new()),
        value => value,
    };
    let requirements = match offer.and_then(|offer| offer.service.requirements()) {
        Some(shape) => {
            // A model may hand over JSON as text.
            let value = match &requirements {
                Value::String(text) => {
                    serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or(requirements)
                }
                _ => requirements,
            };
            if let (Err(misfit), Some(offer)) = (shape.check(&value), offer) {
                return Err(unfit(&misfit.field, &misfit.problem, offer));
            }
            value.to_string()
        }
        None => match requirements {
            Value::String(text) => text,
            value => value.to_string(),
        },
    };
    let metadata = args.metadata.unwrap_or_default();
    let fund = args.fund_usd.filter(|fund| *fund > Usdc::ZERO);
    match (fund, offer.map(|offer| offer.service.wants_fund())) {
        (None, Some(true)) => {
            let problem = "is required: the service takes a fund part";
            return Err(Error::argument("fund_usd", problem, "\"0.01\""));
        }
        (Some(_), Some(false)) => {
            let problem = "must be left out: the service takes no fund part";
            return Err(Error::argument("fund_usd", problem, "nothing"));
        }
        _ => {}
    }
    let limit = app.settings().policy.fund_max_usd;
    if let Some(fund) = fund.filter(|fund| *fund > limit) {
        let message = format!(
            "{fund} USD would go straight to an address that the seller chooses; the owner's limit \
             for that, fund_max_usd, is {limit} USD"
        );
        let error = Error::new(Code::PolicyDenied, message).at(Marketplace::Croo);
        return Err(error.field("fund_usd", Some(&limit.to_string())));
    }
    Ok(Wanted { service_id: args.service_id, requirements, metadata, fund })
}

/// An input that does not have the service's shape.
fn unfit(name: &str, problem: &str, offer: &Offer) -> Error {
    let field =
        if name.is_empty() { "requirements".to_owned() } else { format!("requirements.{name}") };
    let example = offer.service.example().to_string();
    let service_id = &offer.service.service_id;
    let about = json!({ "service_id": service_id });
    let message = format!(
        "`{field}` {problem}: the service {service_id} takes an object such as {example}; nothing \
         was sent"
    );
    Error::new(Code::InvalidArgument, message)
        .at(Marketplace::Croo)
        .field(field, Some(&example))
        .next(negotiation_of(offer, "has the right shape; put your own values in"))
        .next(NextCall::new("croo_get_service", about, "says what each field is"))
}

/// CROO's refusal: what the service wants can be read.
fn refused(error: Error, wanted: &Wanted) -> Error {
    if !error.is(Code::UpstreamRejected) {
        return error;
    }
    let about = json!({ "service_id": wanted.service_id });
    error.next(NextCall::new("croo_get_service", about, "says what input it takes"))
}

/// The same call without `again`: it looks first, so that it makes no second negotiation.
fn same_call(mut same: Value, wanted: &Wanted) -> NextCall {
    wanted.fill_in(&mut same);
    let why = "looks first whether it was begun, and begins it if not";
    NextCall::new("croo_negotiate_order", same, why)
}

fn shown(negotiation: &Negotiation, existing: bool) -> Reply<NegotiatedView> {
    let role = Some(Role::Buyer);
    let view = NegotiatedView { negotiation: NegotiationView::of(negotiation, role), existing };
    Reply { view, next: steps::of_negotiation(negotiation, role) }
}

impl Wanted {
    async fn send(&self, croo: &Croo, usdc: Address) -> Result<Negotiation, Error> {
        let request = NegotiateOrder {
            service_id: &self.service_id,
            requirements: &self.requirements,
            metadata: &self.metadata,
            fund_amount: self.fund.map(|fund| fund.micros().to_string()),
            fund_token: self.fund.map(|_| usdc),
        };
        Ok(croo.api.send(&request).await?.negotiation)
    }

    /// The newest negotiations of ours that ask for the same.
    async fn made_before(&self, croo: &Croo) -> Result<Vec<Negotiation>, Error> {
        let newest = ListNegotiations::of(Role::Buyer, 1, PAGE_SIZE);
        let mut found = croo.api.send(&newest).await?.negotiations;
        found.retain(|negotiation| self.is_same(negotiation));
        Ok(found)
    }

    /// The negotiation that a request whose answer was lost has made.
    async fn adopted(&self, croo: &Croo, known: &BTreeSet<NegotiationId>) -> Option<Negotiation> {
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            let found = self.made_before(croo).await.unwrap_or_default();
            let new = found.into_iter().find(|found| !known.contains(&found.negotiation_id));
            if new.is_some() {
                return new;
            }
        }
        None
    }

    fn is_same(&self, other: &Negotiation) -> bool {
        let fund = other.fund_amount.trim().parse().unwrap_or(0);
        other.service_id.as_ref() == Some(&self.service_id)
            && is_same_text(&self.requirements, &other.requirements)
            && is_same_text(&self.metadata, &other.metadata)
            && fund == self.fund.unwrap_or_default().micros()
    }

    /// The arguments of the same request.
    fn fill_in(&self, arguments: &mut Value) {
        let Some(members) = arguments.as_object_mut() else { return };
        if !self.metadata.is_empty() {
            members.insert("metadata".to_owned(), json!(self.metadata));
        }
        if let Some(fund) = self.fund {
            members.insert("fund_usd".to_owned(), json!(fund));
        }
    }

    /// The call that begins a second negotiation on purpose.
    fn second_call(&self, mut same: Value) -> NextCall {
        self.fill_in(&mut same);
        if let Some(members) = same.as_object_mut() {
            members.insert("again".to_owned(), json!(true));
        }
        NextCall::new("croo_negotiate_order", same, "only if you want the same a second time")
    }
}

/// Whether a negotiation still stands and was made a moment ago. One whose age cannot be read may
/// have been.
fn is_standing(negotiation: &Negotiation, now: i64) -> bool {
    let recent = instant(&negotiation.created_time).is_none_or(|at| now - at < SAME_SECONDS);
    recent && matches!(negotiation.status.as_str(), "pending" | "accepted")
}

/// Whether two texts are the same, as JSON where both are.
fn is_same_text(own: &str, other: &str) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    own == other || json(own).is_some_and(|own| json(other) == Some(own))
}
