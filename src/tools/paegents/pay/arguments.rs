//! What the arguments of several payments have in common: bounds, and going on with one by its name.

use crate::{
    app::App,
    error::{Code, Error},
    ids::PurchaseId,
    journal::{Purchase, Rail},
    money::Usdc,
    owner::{Outcome, Owner},
    spend::{PlanRequest, is_begun},
    text::clean,
};

/// The longest mail address, in bytes (RFC 5321).
const MAIL_BYTES_MAX: usize = 254;

/// A text of one line, 1 to `max` characters, all of which show.
///
/// # Errors
///
/// [`Code::InvalidArgument`], with the argument.
pub(in crate::tools::paegents) fn printable(
    field: &str,
    text: &str,
    max: usize,
    example: &str,
) -> Result<(), Error> {
    let characters = text.chars().count();
    if !(1..=max).contains(&characters) || text.trim().is_empty() {
        let problem = format!("has {characters} characters, and must have 1 to {max}");
        return Err(Error::argument(field, problem, example));
    }
    if clean(text, max) != text || text.contains(['\n', '\t']) {
        return Err(Error::argument(field, "has characters that do not show", example));
    }
    Ok(())
}

/// A mail address.
///
/// # Errors
///
/// [`Code::InvalidArgument`].
pub(in crate::tools::paegents) fn mail(field: &str, text: &str) -> Result<(), Error> {
    let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b',' | b';' | b'"');
    let parts = text.rsplit_once('@');
    let is_mail = parts.is_some_and(|(name, host)| {
        !name.is_empty() && !name.contains('@') && host.contains('.') && !host.ends_with('.')
    });
    if is_mail && text.len() <= MAIL_BYTES_MAX && text.bytes().all(fits) {
        return Ok(());
    }
    Err(Error::argument(field, "must be a mail address", "\"owner@company.example\""))
}

/// That what is to be paid is within what the caller allows.
///
/// # Errors
///
/// [`Code::AboveMaxTotal`], with both figures.
pub(in crate::tools::paegents) fn within(what: &str, total: Usdc, most: Usdc) -> Result<(), Error> {
    if total <= most {
        return Ok(());
    }
    let message = format!("{what} costs {total} USD, and at most {most} were allowed");
    Err(Error::new(Code::AboveMaxTotal, message)
        .at(crate::marketplaces::Marketplace::Paegents)
        .field("max_total_usd", Some(&total.to_string())))
}

/// Goes on with the purchase that is named, where one is; else with what is asked for.
///
/// # Errors
///
/// [`Code::NotFound`] where there is no such purchase of this rail, and whatever stops it.
pub(in crate::tools::paegents) async fn begun_or(
    app: &App,
    owner: &Owner,
    (id, rail, most): (Option<&PurchaseId>, Rail, Usdc),
    fresh: impl Future<Output = Result<PlanRequest, Error>>,
) -> Result<Outcome<Purchase>, Error> {
    let Some(id) = id else {
        app.refresh_clock().await?;
        let request = fresh.await?;
        return app.spending().pay(owner, request).await;
    };
    // A sandbox that is gone is told by what follows, with what is known of the money.
    let _ = app.refresh_clock().await;
    let purchase = app.spending().find(id, &owner.principal).await?;
    if purchase.rail != rail {
        let message = format!("{id} is no purchase of this tool");
        return Err(Error::new(Code::NotFound, message).money(purchase.money_moved()));
    }
    if !is_begun(purchase.state) {
        within(id.as_str(), purchase.max_total, most).map_err(|error| error.purchase(id))?;
    }
    app.spending().resume(owner, id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_address_is_one() {
        for good in ["a@b.co", "owner+x@company.example"] {
            assert!(mail("m", good).is_ok(), "{good}");
        }
        let long = format!("{}@b.co", "a".repeat(MAIL_BYTES_MAX));
        for bad in ["", "a", "@b.co", "a@b", "a@b@c.de", "a b@c.de", "a@c.de\n", "<a@b.co>", &long]
        {
            assert!(mail("m", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_shows_and_is_bounded() {
        assert!(printable("d", "Zażółć 1,50 €", 20, "x").is_ok());
        for bad in ["", "  ", "a\nb", "a\u{202e}b", "a\u{1b}[0m", "a\0", "123456"] {
            assert!(printable("d", bad, 5, "x").is_err(), "{bad:?}");
        }
    }
}
