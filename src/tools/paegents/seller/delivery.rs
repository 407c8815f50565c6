//! Telling where a parcel is. The page's table of transitions is kept here before the server does.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value, json};

use super::{Carrier, DeliveryView, UpdateDeliveryArgs};
use crate::{
    app::App,
    error::{Code, Error},
    ids::AgreementId,
    marketplaces::{
        Marketplace,
        crochet::seller::check_endpoint_url,
        lenient::word,
        paegents::{
            agreements::{Agreement, Role},
            selling::{Delivery, Parcel, UpdateDelivery},
            status::{is_given_up, is_proposed},
            steps,
        },
    },
    recovery::NextCall,
    text::{TEXT_CHARS_MAX, clean_json},
    tools::{
        Reply,
        crochet::account::shown::checked_text,
        paegents::{
            reading::{agreement as read, agreement_as, with_next},
            settled::{is_open, undone},
        },
    },
};

/// The longest number of a carrier, in characters.
const NUMBER_CHARS_MAX: usize = 100;
/// The longest note, in characters.
const NOTES_CHARS_MAX: usize = 1000;

impl Carrier {
    /// Its word on the wire.
    const fn word(self) -> &'static str {
        match self {
            Self::Ups => "ups",
            Self::Fedex => "fedex",
            Self::Usps => "usps",
            Self::Dhl => "dhl",
            Self::Other => "other",
        }
    }
}

/// Updates, unless that is what stands.
pub(super) async fn update(
    app: &Arc<App>,
    args: UpdateDeliveryArgs,
) -> Result<Reply<DeliveryView>, Error> {
    let mut update = checked(&args)?;
    let paegents = app.paegents().await?;
    let id = &args.agreement_id;
    let found = agreement_as(&paegents, id, Role::Seller).await?;
    let before = Delivery::of(&found);
    if update.is_done(&before) {
        return Ok(shown(id, &before));
    }
    check(&found, &before, update.status)?;
    update.updates_before = before.updates();
    match paegents.api.send(&update).await {
        Ok(answer) => {
            let told = answer.get("delivery").and_then(Value::as_object).cloned();
            let mut members = told.unwrap_or_else(|| before.members.clone());
            members.insert("status".to_owned(), json!(update.status));
            Ok(shown(id, &Delivery { members }))
        }
        Err(error) if is_open(&error) => {
            let now = read(&paegents, id).await.map_err(|_| {
                let why = "shows whether it was updated; send nothing before";
                let about = json!({ "agreement_id": id });
                error.clone().next(NextCall::new("paegents_get_agreement", about, why))
            })?;
            let after = Delivery::of(&now);
            if update.is_done(&after) {
                return Ok(shown(id, &after));
            }
            check(&now, &after, update.status)?;
            Err(undone(&error, "the delivery"))
        }
        Err(error) => Err(error),
    }
}

/// The request of these arguments.
fn checked(args: &UpdateDeliveryArgs) -> Result<UpdateDelivery<'_>, Error> {
    let text = |field: &str, text: &Option<String>, most: usize, example: &str| {
        text.as_deref().map(|text| checked_text(field, text, most, example).map(drop)).transpose()
    };
    text("tracking_number", &args.tracking_number, NUMBER_CHARS_MAX, "\"1Z999AA10123456784\"")?;
    text("notes", &args.notes, NOTES_CHARS_MAX, "\"Left with a neighbour.\"")?;
    if let Some(url) = &args.tracking_url {
        // Wherever a buyer's browser may be led to: no private place, whatever the mode.
        check_endpoint_url(url, false).map_err(|problem| {
            Error::argument("tracking_url", problem, "\"https://carrier.example/track/7\"")
        })?;
    }
    if let Some(at) = &args.estimated_delivery {
        let is_time = at.parse::<Date>().is_ok() || at.parse::<Timestamp>().is_ok();
        if !is_time {
            let problem = "must be a date, or a time of RFC 3339";
            return Err(Error::argument("estimated_delivery", problem, "\"2026-12-01\""));
        }
    }
    Ok(UpdateDelivery {
        agreement_id: &args.agreement_id,
        status: args.status.into(),
        carrier: args.carrier.map(Carrier::word),
        tracking_number: args.tracking_number.as_deref().map(str::trim),
        tracking_url: args.tracking_url.as_deref(),
        estimated_delivery: args.estimated_delivery.as_deref(),
        notes: args.notes.as_deref().map(str::trim),
        updates_before: 0,
    })
}

/// Refuses a step that the table does not have. From a place that the table does not know, the
/// server decides.
fn check(agreement: &Agreement, before: &Delivery, to: Parcel) -> Result<(), Error> {
    let id = &agreement.agreement_id;
    let wrong = |message: String| Error::new(Code::WrongState, message).at(Marketplace::Paegents);
    if is_proposed(&agreement.status) || is_given_up(&agreement.status) {
        let status = word(&agreement.status);
        let error = wrong(format!("the agreement {id} is {status}: nothing is delivered"));
        return Err(with_next(error, steps::of_agreement(agreement, Some(Role::Seller))));
    }
    let Some(from) = Parcel::named(before.status()) else { return Ok(()) };
    if from.next().contains(&to) {
        return Ok(());
    }
    let words: Vec<&str> = from.next().iter().map(|parcel| parcel.word()).collect();
    let possible = if words.is_empty() {
        "that is final".to_owned()
    } else {
        format!("from there it can be {}", words.join(" or "))
    };
    let message = format!(
        "the parcel of {id} is {}, not on its way to {}; {possible}",
        from.word(),
        to.word()
    );
    Err(with_next(wrong(message), next_of(id, from)))
}

/// The updates that can follow.
fn next_of(id: &AgreementId, from: Parcel) -> Vec<NextCall> {
    let call = |to: &Parcel| {
        let update = json!({ "agreement_id": id, "status": to });
        NextCall::new("paegents_update_delivery", update, format!("once it is {}", to.word()))
    };
    from.next().iter().map(call).collect()
}

fn shown(id: &AgreementId, delivery: &Delivery) -> Reply<DeliveryView> {
    let status = delivery.status();
    let next = Parcel::named(status).map(|from| next_of(id, from)).unwrap_or_default();
    let members = Value::Object(delivery.members.clone());
    let is_empty = delivery.members == Map::new();
    let view = DeliveryView {
        agreement_id: id.to_string(),
        status: status.to_owned(),
        delivery_untrusted: if is_empty {
            Value::Null
        } else {
            clean_json(members, TEXT_CHARS_MAX)
        },
    };
    Reply { view, next }
}
