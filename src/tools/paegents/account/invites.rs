//! Invitations: letters to people, which the platform counts.

use serde_json::json;

use super::{CreateInviteArgs, InviteView, InvitesView};
use crate::{
    app::App,
    error::{Code, Error},
    ids::InviteToken,
    marketplaces::paegents::invites::{CreateInvite, GetInvite, Invite, ListInvites},
    recovery::NextCall,
    tools::{
        Reply,
        crochet::account::shown::{checked_text, object},
        paegents::shown::{said, shown_time},
    },
};

/// The longest address, in bytes.
const EMAIL_BYTES_MAX: usize = 254;
/// The longest comment, in characters.
const COMMENT_CHARS_MAX: usize = 500;
/// How many invitations are shown.
const SHOWN_MAX: usize = 50;

impl From<Invite> for InviteView {
    fn from(invite: Invite) -> Self {
        Self {
            token: invite.token(),
            status: said(invite.text("status")),
            expires_at: shown_time(invite.text("expires_at")),
            details_untrusted: object(invite.0),
        }
    }
}

/// Sends one.
///
/// # Errors
///
/// [`Code::InvalidArgument`](crate::error::Code::InvalidArgument), and those of sending.
pub(super) async fn create(app: &App, args: &CreateInviteArgs) -> Result<Reply<InviteView>, Error> {
    let email = args.email.trim();
    if !is_email(email) {
        return Err(Error::argument("email", "must be one address", "\"ada@company.example\""));
    }
    let checked = |comment| checked_text("comment", comment, COMMENT_CHARS_MAX, "\"Join us.\"");
    let comment = args.comment.as_deref().map(checked).transpose()?;
    let paegents = app.paegents().await?;
    let sent = paegents.api.send(&CreateInvite { email, comment }).await;
    let invite = sent.map_err(|error| {
        let lists = "shows whether it was sent, and how often";
        match error.code {
            Code::Conflict | Code::RateLimited => error.next(lists_them(lists)),
            _ if !error.repeat_safe => error.next(lists_them(lists)),
            _ => error,
        }
    })?;
    Ok(Reply::new(invite.into()).next(lists_them("shows all invitations")))
}

fn lists_them(why: &'static str) -> NextCall {
    NextCall::new("paegents_list_invites", json!({}), why)
}

/// Lists them.
///
/// # Errors
///
/// Those of sending.
pub(super) async fn list(app: &App) -> Result<Reply<InvitesView>, Error> {
    let invites = app.paegents().await?.api.send(&ListInvites {}).await?.0;
    let more = invites.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0);
    let invites = invites.into_iter().take(SHOWN_MAX).map(InviteView::from).collect();
    Ok(Reply::new(InvitesView { invites, more }))
}

/// Reads one.
///
/// # Errors
///
/// Those of sending.
pub(super) async fn get(app: &App, token: &InviteToken) -> Result<Reply<InviteView>, Error> {
    let invite = app.paegents().await?.api.send(&GetInvite { token }).await?;
    let pending = invite.text("status") == "pending";
    let reply = Reply::new(InviteView::from(invite));
    if !pending {
        return Ok(reply);
    }
    let why = "accepts it, after the owner's command";
    Ok(reply.next(NextCall::new("paegents_accept_invite", json!({ "token": token }), why)))
}

/// Whether a text is one address that no mail program reads as anything else.
fn is_email(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&b);
    let host = |b: u8| b.is_ascii_alphanumeric() || b".-".contains(&b);
    text.len() <= EMAIL_BYTES_MAX
        && text.split_once('@').is_some_and(|(name, domain)| {
            (1..=64).contains(&name.len())
                && name.bytes().all(plain)
                && domain.bytes().all(host)
                && domain.split('.').count() >= 2
                && domain.split('.').all(|label| !label.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_address() {
        #[rustfmt::skip]
        let rows = [
            // what it shows        text                              is one
            ("plain",               "ada@company.example",            true),
            ("with a tag",          "ada.l+x@mail.company.example",   true),
            ("two",                 "a@b.example,c@d.example",        false),
            ("a name before it",    "Ada <ada@company.example>",      false),
            ("another header",      "a@b.example\r\nBcc: c@d.example", false),
            ("no host",             "ada@",                           false),
            ("no dot",              "ada@localhost",                  false),
            ("an empty label",      "ada@company..example",           false),
            ("no name",             "@company.example",               false),
            ("look-alikes",         "аda@company.example",            false),
            ("nothing",             "",                               false),
        ];
        for (row, text, expected) in rows {
            assert_eq!(is_email(text), expected, "{row}");
        }
        assert!(!is_email(&format!("a@{}.example", "b".repeat(EMAIL_BYTES_MAX))));
    }
}
