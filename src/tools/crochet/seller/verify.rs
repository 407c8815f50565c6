//! Checking a forwarded request with the stored or the configured signing secret.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    access::secret_names,
    app::App,
    config::Mode,
    error::{Code, Error},
    ids::ListingId,
    marketplaces::{
        Marketplace,
        crochet::{
            listings::GetListing,
            seller::verify::{Forwarded, Invalid, Scheme, calibrate, verify as judge},
        },
    },
    recovery::NextCall,
    text::{NAME_CHARS_MAX, clean},
    tools::Reply,
};

/// The largest body that is checked, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const HEADERS_MAX: usize = 100;
const METHOD_BYTES_MAX: usize = 16;
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Arguments of `crochet_verify_request`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequestArgs {
    /// Yours.
    pub listing_id: ListingId,
    /// As received.
    pub headers: BTreeMap<String, String>,
    /// Raw, byte for byte.
    pub body: String,
    /// Default POST.
    #[serde(default)]
    pub method: Option<String>,
    /// Its path, if signed.
    #[serde(default)]
    pub path: Option<String>,
    /// From calibrating; else the default.
    #[serde(default)]
    pub scheme: Option<String>,
    /// Find the scheme.
    #[serde(default)]
    pub calibrate: bool,
}

/// Whether a request is Crochet's.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VerifyView {
    /// Process the request only if true; else answer 401.
    pub valid: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it is signed, for later calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Remember it: the same one again is a repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id_untrusted: Option<String>,
    /// What the caller has to do besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// Checks a request, or finds the scheme of a genuine one.
///
/// # Errors
///
/// [`Code::InvalidArgument`]; [`Code::NotFound`] where there is no secret for the listing.
pub(super) async fn verify(app: &App, args: VerifyRequestArgs) -> Result<Reply<VerifyView>, Error> {
    let headers = checked_headers(&args.headers)?;
    if args.body.len() > BODY_BYTES_MAX {
        return Err(Error::argument("body", "must have at most 1 MiB", "\"{}\""));
    }
    let scheme = match args.scheme.as_deref() {
        Some(text) => text.parse().map_err(|problem| {
            Error::argument("scheme", problem, &format!("\"{}\"", Scheme::default()))
        })?,
        None => Scheme::default(),
    };
    let method = args.method.as_deref().unwrap_or("POST").to_ascii_uppercase();
    if !(1..=METHOD_BYTES_MAX).contains(&method.len())
        || !method.bytes().all(|b| b.is_ascii_uppercase())
    {
        return Err(Error::argument("method", "must be an HTTP method", "\"POST\""));
    }
    if args.path.as_ref().is_some_and(|path| path.len() > HEADER_BYTES_MAX) {
        return Err(Error::argument("path", "must have at most 8 KiB", "\"/hook\""));
    }
    let request = Forwarded {
        method: &method,
        path: args.path.as_deref().unwrap_or("/"),
        headers: &headers,
        body: args.body.as_bytes(),
    };
    let secrets = secrets_of(app, &args.listing_id).await?;
    let request_id = headers.get("x-crochet-request-id").map(|id| clean(id, NAME_CHARS_MAX));
    if args.calibrate {
        let found = secrets.iter().find_map(|secret| calibrate(&request, secret));
        return Ok(Reply::new(calibrated(found, request_id)));
    }
    if matches!(app.settings().mode, Mode::Sandbox { .. }) {
        // Its clock can be advanced; where it does not answer, the last known one is used.
        let _ = app.refresh_clock().await;
    }
    let now = app.clock().now();
    let mut judged = Err(Invalid::Mismatch);
    for secret in &secrets {
        judged = judge(&request, &scheme, secret, now);
        if judged.is_ok() {
            break;
        }
    }
    let note = scheme.needs_request_store().then_some(
        "this scheme has no timestamp: keep every request id for ever and refuse one seen before",
    );
    let view = VerifyView {
        valid: judged.is_ok(),
        reason: judged.err().map(|reason| reason.to_string()),
        scheme: None,
        request_id_untrusted: request_id,
        note,
    };
    let reply = Reply::new(view);
    Ok(match judged {
        Err(Invalid::Mismatch) if args.scheme.is_none() => {
            let why = "makes Crochet send a genuine request; verify that one with calibrate: true";
            let arguments = json!({ "listing_id": args.listing_id });
            reply.next(NextCall::new("crochet_test_endpoint", arguments, why))
        }
        _ => reply,
    })
}

fn calibrated(found: Option<Scheme>, request_id: Option<String>) -> VerifyView {
    let note = match &found {
        Some(_) => "found by this request, whose age was not checked; give `scheme` from now on",
        None => "no usual scheme fits: the secret is another one, or the body is not byte for byte",
    };
    VerifyView {
        valid: found.is_some(),
        reason: found.is_none().then(|| Invalid::Mismatch.to_string()),
        scheme: found.map(|scheme| scheme.to_string()),
        request_id_untrusted: request_id,
        note: Some(note),
    }
}

/// The headers by their names in lower case; one that is given twice is refused.
fn checked_headers(given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    let refused =
        |problem: &str| Err(Error::argument("headers", problem, "{\"X-Crochet-Signature\":\"…\"}"));
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if given.len() > HEADERS_MAX || bytes > HEADERS_MAX * HEADER_BYTES_MAX {
        return refused("must be at most 100 of at most 8 KiB");
    }
    let mut headers = BTreeMap::new();
    for (name, value) in given {
        let earlier = headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        if earlier.is_some() {
            return refused("must hold each header once");
        }
    }
    Ok(headers)
}

/// The listing's own secret, and the configured one.
async fn secrets_of(app: &App, listing_id: &ListingId) -> Result<Vec<SecretString>, Error> {
    let stored = app.secret(&secret_names::crochet_signing(listing_id.as_str())).await?;
    let configured = app.settings().crochet.signing_secret.clone();
    let secrets: Vec<_> = stored.into_iter().chain(configured).collect();
    if !secrets.is_empty() {
        return Ok(secrets);
    }
    // It may be the slug, and the secret is kept by the identifier.
    if let Ok(found) = app.crochet().await?.api.send(&GetListing { listing_id }).await
        && let Some(secret) =
            app.secret(&secret_names::crochet_signing(found.0.id.as_str())).await?
    {
        return Ok(vec![secret]);
    }
    let message = format!("there is no signing secret for the listing {listing_id} here");
    let why = "issues another one and stores it; the old one stops working";
    let arguments = json!({ "listing_id": listing_id });
    Err(Error::new(Code::NotFound, message)
        .at(Marketplace::Crochet)
        .field("listing_id", None)
        .next(NextCall::new("crochet_rotate_secret", arguments, why)))
}
