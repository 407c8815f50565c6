//! What several of Paegents' tools read: an agreement, who we are in it, what the journal has of it.

use serde_json::json;

use crate::{
    app::App,
    error::{Code, Error, MoneyMoved},
    ids::AgreementId,
    journal::{self, Purchase},
    marketplaces::{
        Marketplace,
        paegents::{
            Paegents,
            agreements::{Agreement, Role},
            steps,
        },
    },
    owner::Owner,
    recovery::NextCall,
};

/// Reads an agreement.
///
/// # Errors
///
/// As [`Paegents::agreement`].
pub(super) async fn agreement(paegents: &Paegents, id: &AgreementId) -> Result<Agreement, Error> {
    paegents.agreement(id).await.map_err(lists_instead)
}

/// Reads an agreement in which we are on this side.
///
/// # Errors
///
/// As [`agreement`]; [`Code::NotAllowed`] where we are on the other side, or on none.
pub(super) async fn agreement_as(
    paegents: &Paegents,
    id: &AgreementId,
    role: Role,
) -> Result<Agreement, Error> {
    let own = paegents.agent()?.clone();
    let found = agreement(paegents, id).await?;
    let ours = found.role_of(&own);
    if ours == Some(role) {
        return Ok(found);
    }
    let message = format!("only the {} of the agreement {id} can do this", role.word());
    let error = Error::new(Code::NotAllowed, message).at(Marketplace::Paegents);
    Err(with_next(error, steps::of_agreement(&found, ours)))
}

/// What is not there may have another identifier: the list has them.
fn lists_instead(error: Error) -> Error {
    if !error.is(Code::NotFound) {
        return error;
    }
    let why = "lists your agreements";
    error.next(NextCall::new("paegents_list_agreements", json!({}), why))
}

/// A failure with the calls that make sense.
#[must_use]
pub(super) fn with_next(error: Error, calls: Vec<NextCall>) -> Error {
    calls.into_iter().fold(error, Error::next)
}

/// The journal's purchase of this natural key: the open one, else the one that was paid.
///
/// # Errors
///
/// Where the store fails: then it may have been paid.
pub(super) async fn purchase_of(
    app: &App,
    owner: &Owner,
    natural_key: &str,
) -> Result<Option<Purchase>, Error> {
    let (who, key) = (owner.principal.clone(), natural_key.to_owned());
    let found = app.store().with(move |db| {
        Ok(match journal::open_by_key(db, &who, &key)? {
            Some(open) => Some(open),
            None => journal::recent_by_key(db, &who, &key, i64::MIN)?,
        })
    });
    found.await.map_err(|error| error.at_least(MoneyMoved::Maybe))
}
