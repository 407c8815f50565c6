//! What was spent by day and marketplace: bars for the eye, a table for everybody else.

use maud::{Markup, html};

use super::words::{day, usd};
use crate::{
    journal::history::{DaySum, day_of},
    marketplaces::Marketplace,
    money::Usdc,
    spend::policy::DAY_SECONDS,
};

/// How many days are shown, the present one included.
pub(super) const DAYS: i64 = 30;
/// The drawing's height, and the width of a day, in its own units.
const HEIGHT: u64 = 160;
const STEP: i64 = 20;
/// The gap between two days.
const GAP: i64 = 4;
/// What is not nothing is at least this high.
const BAR_MIN: u64 = 2;

/// A rectangle of the drawing: from the left, from the top, its height.
#[derive(Debug, PartialEq, Eq)]
struct Bar {
    x: i64,
    y: u64,
    height: u64,
    sum: DaySum,
}

/// The spending of the days up to `now`, in Unix seconds.
pub(super) fn card(days: &[DaySum], now: i64) -> Markup {
    let (last, first) = (day_of(now), day_of(now) - (DAYS - 1) * DAY_SECONDS);
    let total = sum(days.iter().map(|sum| sum.spent));
    html! {
        section.card aria-labelledby="spending" {
            h2 #spending { "Spent in 30 days" }
            @if days.is_empty() {
                p { "Nothing was spent from " (day(first)) " to " (day(last)) "." }
            } @else {
                p.figure { (usd(total)) }
                (drawing(days, first, last))
                (table(days))
            }
        }
    }
}

fn drawing(days: &[DaySum], first: i64, last: i64) -> Markup {
    let most = highest(days);
    let width = DAYS * STEP;
    html! {
        ul.legend {
            @for marketplace in Marketplace::ALL {
                li { span class={ "swatch " (marketplace.name()) } {} " " (marketplace) }
            }
        }
        svg.chart role="img" aria-labelledby="chart-title chart-text" preserveAspectRatio="none"
            viewBox={ "0 0 " (width) " " (HEIGHT) } {
            title #chart-title { "Spending by day and marketplace" }
            desc #chart-text {
                "Bars for each day from " (day(first)) " to " (day(last)) ". The most on one day was "
                (most) " USD. The table below has the same."
            }
            line x1="0" y1=(HEIGHT) x2=(width) y2=(HEIGHT) {}
            @for bar in bars(days, first) {
                rect class=(bar.sum.marketplace.name()) x=(bar.x) y=(bar.y)
                    width=(STEP - GAP) height=(bar.height) {
                    title { (day(bar.sum.day)) ", " (bar.sum.marketplace) ": " (bar.sum.spent) " USD" }
                }
            }
        }
        p.axis { span { (day(first)) } span { "most on one day: " (usd(most)) } span { (day(last)) } }
    }
}

/// The bars of each day, one above the other.
fn bars(days: &[DaySum], first: i64) -> Vec<Bar> {
    let most = highest(days).micros().max(1);
    let (mut bars, mut floor, mut at) = (Vec::new(), HEIGHT, None);
    for sum in days {
        if at != Some(sum.day) {
            (floor, at) = (HEIGHT, Some(sum.day));
        }
        let share = u128::from(sum.spent.micros()) * u128::from(HEIGHT) / u128::from(most);
        let height = u64::try_from(share).unwrap_or(HEIGHT).max(BAR_MIN).min(floor);
        floor -= height;
        let x = (sum.day - first) / DAY_SECONDS * STEP + GAP / 2;
        bars.push(Bar { x, y: floor, height, sum: sum.clone() });
    }
    bars
}

/// The most that was spent on one day.
fn highest(days: &[DaySum]) -> Usdc {
    let by_day = days.chunk_by(|one, other| one.day == other.day);
    by_day.map(|day| sum(day.iter().map(|sum| sum.spent))).max().unwrap_or_default()
}

fn sum(amounts: impl Iterator<Item = Usdc>) -> Usdc {
    Usdc::from_micros(amounts.fold(0, |all, amount| all.saturating_add(amount.micros())))
}

/// What was spent at one marketplace.
fn spent_at(days: &[DaySum], marketplace: Marketplace) -> Usdc {
    sum(days.iter().filter(|sum| sum.marketplace == marketplace).map(|sum| sum.spent))
}

fn table(days: &[DaySum]) -> Markup {
    html! {
        details {
            summary { "The same as a table" }
            table role="table" {
                thead role="rowgroup" {
                    tr role="row" {
                        th role="columnheader" scope="col" { "Day" }
                        @for marketplace in Marketplace::ALL {
                            th.number role="columnheader" scope="col" { (marketplace) }
                        }
                        th.number role="columnheader" scope="col" { "Total" }
                    }
                }
                tbody role="rowgroup" {
                    @for of_day in days.chunk_by(|one, other| one.day == other.day).rev() {
                        tr role="row" {
                            td role="cell" data-label="Day" { (of_day.first().map(|sum| day(sum.day)).unwrap_or_default()) }
                            @for marketplace in Marketplace::ALL {
                                td.number role="cell" data-label=(marketplace) { (usd(spent_at(of_day, *marketplace))) }
                            }
                            td.number role="cell" data-label="Total" { (usd(sum(of_day.iter().map(|sum| sum.spent)))) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(day: i64, marketplace: Marketplace, micros: u64) -> DaySum {
        DaySum { day: day * DAY_SECONDS, marketplace, spent: Usdc::from_micros(micros) }
    }

    #[test]
    fn bars_stand_on_each_other_and_stay_inside() {
        let days = [
            spent(0, Marketplace::Croo, 3_000_000),
            spent(0, Marketplace::Crochet, 1_000_000),
            spent(29, Marketplace::Paegents, 1),
        ];
        let shown: Vec<_> =
            bars(&days, 0).into_iter().map(|bar| (bar.x, bar.y, bar.height)).collect();
        assert_eq!(shown, [(2, 40, 120), (2, 0, 40), (582, 158, 2)]);
        assert_eq!(highest(&days), Usdc::from_micros(4_000_000));
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        let most = i64::MAX.unsigned_abs();
        let days: Vec<_> =
            Marketplace::ALL.iter().map(|marketplace| spent(3, *marketplace, most)).collect();
        let tops: Vec<_> = bars(&days, 0).iter().map(|bar| bar.y + bar.height).collect();
        assert!(tops.iter().all(|top| *top <= HEIGHT), "{tops:?}");
    }
}
