//! One request to the gateway, and what its answer means. Source: protocols/crochet.md §7.1, §7.2.

use std::time::Duration;

use reqwest::{
    Method,
    header::{DATE, HeaderName},
};
use serde_json::{Value, json};

use super::{
    Crochet, refusal,
    requirement::{self, Requirement},
};
use crate::{
    access::Access,
    error::{Code, Error},
    marketplaces::{
        Marketplace,
        http::{Answer as HttpAnswer, Effect, Exchange, Lost, read_json},
    },
    recovery::NextCall,
    spend::Answer,
    text::{TEXT_CHARS_MAX, clean_json},
};

/// How long one gateway call may take.
pub const GATEWAY_TIMEOUT: Duration = Duration::from_mins(2);
/// The largest answer of a seller that is read.
pub const GATEWAY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The largest body that is sent.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// How far the marketplace's clock and ours may differ, in seconds.
const SKEW_SECONDS_MAX: i64 = 30;
const NAME: &str = "crochet.call_gateway";

/// What the gateway said.
#[derive(Debug)]
pub(super) enum Said {
    /// What the seller answered.
    Served(Answer),
    /// The settlement is under way.
    Pending,
    /// It wants to be paid.
    Due(Box<Requirement>),
    /// Crochet refused, by its own envelope.
    Refused(Error),
    /// The seller refused, in a body of its own.
    SellerRefused(Answer),
}

/// One request to the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is called.
    pub listing_id: &'a str,
    /// The body, the same bytes each time.
    pub body: &'a [u8],
    /// The key of the logical call.
    pub key: Option<&'a str>,
    /// The payment route; empty for the gateway's own choice.
    pub route: &'a str,
    /// The relay request that was paid.
    pub paid: Option<&'a str>,
}

impl Call<'_> {
    /// Calls a free listing. `None`: it wants to be paid after all.
    ///
    /// # Errors
    ///
    /// Whatever Crochet or the seller refuses; nothing is paid.
    pub async fn free(&self, crochet: &Crochet, access: &Access) -> Result<Option<Answer>, Error> {
        match self.send(crochet, access).await? {
            Said::Served(answer) => Ok(Some(answer)),
            Said::Due(_) | Said::Pending => Ok(None),
            Said::Refused(error) => Err(error),
            Said::SellerRefused(answer) => Err(seller_refused(self.listing_id, &answer)),
        }
    }

    pub(super) async fn send(&self, crochet: &Crochet, access: &Access) -> Result<Said, Error> {
        let path = format!("/gateway/{}", self.listing_id);
        let header = |name: &'static str| HeaderName::from_static(name);
        let mut headers = Vec::new();
        if let Some(key) = self.key {
            headers.push((header("idempotency-key"), key.to_owned()));
        }
        if !self.route.is_empty() {
            headers.push((header("x-crochet-origin-currency"), self.route.to_owned()));
        }
        if let Some(relay) = self.paid {
            headers.push((header("x-crochet-relay-request-id"), relay.to_owned()));
        }
        let exchange = Exchange {
            name: NAME,
            method: Method::POST,
            path: &path,
            authenticated: true,
            headers,
            body: Some(self.body.to_vec()),
            timeout: GATEWAY_TIMEOUT,
            answer_bytes_max: GATEWAY_BYTES_MAX,
        };
        // A call without a payment can be made again; so can one that shows a payment.
        let lost = |lost: &Lost| crochet.api.lost(NAME, Effect::Read, lost);
        let answer = crochet.api.exchange(exchange).await?.map_err(|l| lost(&l))?;
        if self.paid.is_none() {
            check_skew(&answer, access.clock().now())?;
        }
        let whole =
            |answer: HttpAnswer| Answer { status: answer.status.as_u16(), body: answer.body };
        match answer.status.as_u16() {
            202 => Ok(Said::Pending),
            402 => requirement::read(&answer.body, &answer.headers, access.clock().now())
                .map(|requirement| Said::Due(Box::new(requirement))),
            200..=299 => {
                let body: Value =
                    read_json(&answer.body).map_err(|e| lost(&Lost::Unreadable(e)))?;
                if body.get("success") == Some(&Value::Bool(false)) {
                    return Ok(Said::Refused(crochet.api.refused(NAME, &answer)));
                }
                Ok(Said::Served(whole(answer)))
            }
            // Crochet's own refusals have its envelope; other JSON below 500 is the seller's. What is
            // neither comes from something in between and says nothing about the call.
            300..=399 | 401 | 429 => Ok(Said::Refused(crochet.api.refused(NAME, &answer))),
            400..=499 if refusal(&answer.body).code.is_none() => {
                read_json::<Value>(&answer.body).map_err(|e| lost(&Lost::Unreadable(e)))?;
                Ok(Said::SellerRefused(whole(answer)))
            }
            _ if refusal(&answer.body).code.is_some() => {
                Ok(Said::Refused(crochet.api.refused(NAME, &answer)))
            }
            _ => Err(lost(&Lost::Server(answer.status))),
        }
    }
}

pub(super) fn seller_refused(listing_id: &str, answer: &Answer) -> Error {
    let said = serde_json::from_slice::<Value>(&answer.body).unwrap_or_else(|_| {
        Value::String(String::from_utf8_lossy(&answer.body).chars().take(TEXT_CHARS_MAX).collect())
    });
    let message = format!("the seller refused the call with HTTP {}", answer.status);
    Error::new(Code::UpstreamRejected, message)
        .at(Marketplace::Crochet)
        .upstream(Some(answer.status), None)
        .recovery(|recovery| {
            "Read what the seller says, correct `body`, or choose another listing."
                .clone_into(&mut recovery.summary);
            recovery.upstream_untrusted =
                Some(json!({ "seller_answer": clean_json(said, TEXT_CHARS_MAX) }));
        })
        .next(NextCall::new(
            "crochet_get_listing",
            json!({ "listing_id": listing_id }),
            "shows how it is called, with an example",
        ))
}

fn check_skew(answer: &HttpAnswer, now: i64) -> Result<(), Error> {
    let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
    let theirs = date
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|zoned| zoned.timestamp().as_second());
    match theirs {
        Some(theirs) if (theirs - now).abs() > SKEW_SECONDS_MAX => {
            let message = format!(
                "this machine's clock and Crochet's differ by {} s, more than {SKEW_SECONDS_MAX}",
                (theirs - now).abs()
            );
            Err(Error::new(Code::ClockUntrusted, message).at(Marketplace::Crochet))
        }
        _ => Ok(()),
    }
}
