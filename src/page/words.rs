//! How values are shown to a person: times, sums, states, and what somebody else wrote.

use std::fmt::Display;

use maud::{Markup, html};

use crate::{
    clock::rfc3339,
    error::MoneyMoved,
    journal::{Delivery, Purchase, State},
    spend::described,
    text::{NAME_CHARS_MAX, TEXT_CHARS_MAX, clean},
};

/// The most characters of an input that are shown.
const INPUT_CHARS_MAX: usize = 4_000;
/// Up to this many, an input is shown at once.
const INPUT_OPEN_CHARS: usize = 300;

/// What a marketplace or a seller wrote, on one line: cleaned, at most `max` characters, and marked.
/// Direction of text does not reach beyond it.
pub(super) fn theirs(text: &str, max: usize) -> Markup {
    let text = clean(text, max).replace(['\n', '\t'], " ");
    html! {
        span.theirs {
            span.unseen { "In the words of the other side: " }
            "“" bdi { (text) } "”"
        }
    }
}

/// An instant.
pub(super) fn moment(seconds: i64) -> Markup {
    let shown = jiff::Timestamp::from_second(seconds)
        .map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
        .unwrap_or_default();
    html! { time datetime=(rfc3339(seconds)) { (shown) } }
}

/// A day in UTC.
pub(super) fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map(|at| at.strftime("%Y-%m-%d").to_string())
        .unwrap_or_default()
}

/// A sum.
pub(super) fn usd(amount: impl Display) -> Markup {
    html! { span.sum { (amount) " USD" } }
}

/// An identifier, or a command. Some identifiers are a marketplace's.
pub(super) fn code(id: impl Display) -> Markup {
    html! { code { (clean(&id.to_string(), NAME_CHARS_MAX)) } }
}

/// `text` as a sentence: with a capital at its beginning and a full stop at its end.
pub(super) fn sentence(text: &str) -> String {
    let text = capital(text);
    if text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}

/// `text` with a capital at its beginning.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The head of a table: its columns, and the last one, of numbers.
pub(super) fn head(columns: &[&str], number: &str) -> Markup {
    html! {
        thead role="rowgroup" {
            tr role="row" {
                @for name in columns { th role="columnheader" scope="col" { (name) } }
                th.number role="columnheader" scope="col" { (number) }
            }
        }
    }
}

/// A name and what it stands for, in a list of facts.
pub(super) fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// Who is paid.
pub(super) fn seller(purchase: &Purchase) -> Markup {
    html! { (theirs(&purchase.seller_name, NAME_CHARS_MAX)) " " (code(&purchase.seller_id)) }
}

/// What is bought: the seller's name for it, then our words.
pub(super) fn item(purchase: &Purchase) -> Markup {
    let ours = described(purchase);
    html! {
        (theirs(&purchase.item_name, NAME_CHARS_MAX))
        @if !ours.contains(&purchase.item_id) { " " (code(&purchase.item_id)) }
        br;
        (clean(&ours, TEXT_CHARS_MAX))
    }
}

/// What goes to the seller, as it goes: bounded, folded away where it is long.
pub(super) fn input(body: &[u8]) -> Markup {
    if body.is_empty() {
        return html! { "nothing" };
    }
    let text = clean(&String::from_utf8_lossy(body), INPUT_CHARS_MAX);
    let shown = html! { pre.theirs-block { bdi { (text) } } };
    if text.chars().count() <= INPUT_OPEN_CHARS {
        return shown;
    }
    html! { details { summary { "Show the input (" (body.len()) " bytes)" } (shown) } }
}

/// Where a purchase stands, in a few words.
pub(super) const fn state(purchase: &Purchase) -> &'static str {
    match (purchase.state, purchase.delivery) {
        (State::Planned, _) => "being planned",
        (State::AwaitingApproval, _) => "waits for you",
        (State::Approved, _) => "approved, not paid yet",
        (State::Reserved, _) => "about to be paid",
        (State::Submitted, _) => "payment is on its way",
        (State::AwaitingExternal, _) => "to be paid from another wallet",
        (State::Unknown, _) => "not known whether it was paid",
        (State::Settled, Delivery::Delivered) => "paid and delivered",
        (State::Settled, Delivery::Failed) => "paid, not delivered",
        (State::Settled, Delivery::None | Delivery::Pending) => "paid, not delivered yet",
        (State::Failed, _) => "not paid",
    }
}

/// Whether money moved, in a word.
pub(super) fn moved(purchase: &Purchase) -> &'static str {
    match purchase.money_moved() {
        MoneyMoved::No => "no",
        MoneyMoved::Yes => "yes",
        MoneyMoved::Maybe => "maybe",
    }
}

/// What a purchase costs, or may cost.
pub(super) fn cost(purchase: &Purchase) -> Markup {
    purchase.amount.map_or_else(|| html! { "up to " (usd(purchase.max_total)) }, usd)
}

/// A few of something, or one.
pub(super) fn count(number: u64, one: &str, more: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_text() {
        #[rustfmt::skip]
        let rows = [
            // what it shows   text                                shown
            ("a tag",          "<script>alert(1)</script>",        "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("quotes",         "a\" onload='x'",                   "a&quot; onload='x'"),
            ("an entity",      "&lt;b&gt;",                        "&amp;lt;b&amp;gt;"),
            ("right to left",  "abc\u{202e}fed",                   "abcfed"),
            ("lines",          "a\nb",                             "a b"),
            ("too long",       "abcdefghijklmnopqrstuvwxyzabcdefghijkl", "abcdefghijklmnopqrstuvwxyzabcd…"),
        ];
        for (row, text, shown) in rows {
            let markup = theirs(text, 30).into_string();
            assert!(markup.contains(&format!("<bdi>{shown}</bdi>")), "{row}: {markup}");
        }
        let input = input(b"</pre><script>\xff").into_string();
        assert!(input.contains("&lt;/pre&gt;&lt;script&gt;\u{fffd}"), "{input}");
    }

    #[test]
    fn instants_are_for_people_and_programs() {
        let shown = moment(1_790_000_000).into_string();
        assert_eq!(shown, "<time datetime=\"2026-09-21T14:13:20Z\">2026-09-21 14:13 UTC</time>");
    }
}
