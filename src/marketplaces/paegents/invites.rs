//! Invitations to Paegents, by mail. Source: protocols/paegents.md §3.9.

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{
    ids::{AskId, InviteToken},
    marketplaces::{
        http::{Effect, Operation},
        lenient::list_of,
    },
};

/// Invites somebody: `POST /invites`. Each one is a letter to a person, and the platform counts
/// them, so that there is no key under which a second one would be the first again.
#[derive(Debug, Serialize)]
pub struct CreateInvite<'a> {
    /// To whom.
    pub email: &'a str,
    /// A word to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<&'a str>,
}

impl Operation for CreateInvite<'_> {
    const NAME: &'static str = "paegents.create_invite";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    type Output = Invite;

    fn path(&self) -> String {
        "/invites".to_owned()
    }
}

/// Lists the agent's invitations: `GET /invites`.
#[derive(Debug, Serialize)]
pub struct ListInvites {}

impl Operation for ListInvites {
    const NAME: &'static str = "paegents.list_invites";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    type Output = Invites;

    fn path(&self) -> String {
        "/invites".to_owned()
    }
}

/// Reads an invitation by its token: `GET /invites/{token}`, without a key.
#[derive(Debug, Serialize)]
pub struct GetInvite<'a> {
    /// Which.
    #[serde(skip)]
    pub token: &'a InviteToken,
}

impl Operation for GetInvite<'_> {
    const NAME: &'static str = "paegents.get_invite";
    const METHOD: Method = Method::GET;
    const EFFECT: Effect = Effect::Read;
    const AUTHENTICATED: bool = false;
    type Output = Invite;

    fn path(&self) -> String {
        format!("/invites/{}", self.token)
    }
}

/// Accepts an invitation with the owner's token: `POST /invites/{token}/accept`.
#[derive(Debug, Serialize)]
pub struct AcceptInvite<'a> {
    /// Which.
    #[serde(skip)]
    pub token: &'a InviteToken,
    /// The owner's yes.
    #[serde(skip)]
    pub ask: &'a AskId,
}

impl Operation for AcceptInvite<'_> {
    const NAME: &'static str = "paegents.accept_invite";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Write;
    const BODY: bool = false;
    type Output = Value;

    fn path(&self) -> String {
        format!("/invites/{}/accept", self.token)
    }

    fn idempotency_key(&self) -> Option<String> {
        Some(self.ask.to_string())
    }
}

/// An invitation.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Invite(pub Map<String, Value>);

impl Invite {
    /// The token, where it is one that can stand in a path.
    #[must_use]
    pub fn token(&self) -> Option<InviteToken> {
        self.text("token").parse().ok()
    }

    /// A member that is a text; empty where there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Invitations; what is none is left out.
#[derive(Debug)]
pub struct Invites(pub Vec<Invite>);

impl<'de> Deserialize<'de> for Invites {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = list_of(Value::deserialize(deserializer)?).into_iter();
        let invites = rows.filter_map(|row| match row {
            Value::Object(members) => Some(Invite(members)),
            _ => None,
        });
        Ok(Self(invites.collect()))
    }
}
