//! `haggle purchases`: the journal, read and resolved by its owner.

mod export;

use std::{fmt::Write as _, sync::Arc};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Failure, Report, output, stores, working::Working};
use crate::{
    app::App,
    clock::rfc3339,
    error::Error,
    ids::{AgreementId, PurchaseId},
    journal::{
        self, EventLine, Filter, Purchase, Rail, State,
        draws::{self, Draw},
    },
    spend::{owner_says, resume_tool},
};

/// What about the purchases.
#[derive(Debug, Subcommand)]
pub enum PurchasesCommand {
    /// List the latest
    List {
        /// Only those in this state, such as unknown
        #[arg(long, value_parser = read_state)]
        state: Option<State>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show everything about one; also what a payment from another wallet needs
    Show {
        /// The purchase
        #[arg(value_name = "ID")]
        id: PurchaseId,
        /// Print what was bought, byte for byte, and nothing else
        #[arg(long, conflicts_with = "json")]
        answer: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the marketplace what became of open purchases; pays nothing
    Resolve {
        /// Only this one
        #[arg(value_name = "ID")]
        id: Option<PurchaseId>,
        /// You know that it was paid, and nobody else can tell
        #[arg(long, requires = "id", conflicts_with = "not_paid")]
        paid: bool,
        /// You know that it was not paid and never will be
        #[arg(long, requires = "id")]
        not_paid: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print all of them for another program
    Export {
        /// As what
        #[arg(long, value_enum)]
        format: Format,
    },
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with a heading
    Csv,
    /// A list of objects
    Json,
}

fn read_state(name: &str) -> Result<State, String> {
    State::named(name).ok_or_else(|| {
        let names: Vec<_> = State::ALL.iter().map(|state| state.name()).collect();
        format!("the states are: {}", names.join(", "))
    })
}

/// Runs one of them.
///
/// # Errors
///
/// Where there is no such purchase, or the store fails.
pub async fn run(app: Arc<App>, command: PurchasesCommand) -> Result<Report, Failure> {
    match command {
        PurchasesCommand::List { state, limit, json } => list(&app, state, limit, json).await,
        PurchasesCommand::Show { id, answer, json } => show(&app, id, answer, json).await,
        PurchasesCommand::Resolve { id, paid, not_paid, json } => {
            let word = (paid || not_paid).then_some(paid);
            resolve(&app, id, word, json).await
        }
        PurchasesCommand::Export { format } => {
            let read = app.store().with(|db| Ok((journal::export(db)?, draws::all(db, None)?)));
            let (all, draws) = read.await?;
            Ok(match format {
                Format::Json => {
                    let rows: Vec<_> = all.iter().map(export::row).collect();
                    let draws: Vec<_> = draws.iter().map(export::draw).collect();
                    Report::json(&json!({ "purchases": rows, "draws": draws }))
                }
                Format::Csv => Report::text(export::csv(&all)),
            })
        }
    }
}

async fn list(
    app: &App,
    state: Option<State>,
    limit: u32,
    as_json: bool,
) -> Result<Report, Failure> {
    let filter = Filter { state, limit, ..Filter::default() };
    let found = app.store().with(move |db| journal::list(db, &filter)).await?;
    if as_json {
        let rows: Vec<_> = found.iter().map(export::row).collect();
        return Ok(Report::json(&json!({ "purchases": rows })));
    }
    if found.is_empty() {
        let store = app.store().path().display();
        return Ok(Report::text(format!("There are none in {store}.")));
    }
    Ok(Report::text(table(&found)))
}

fn table(purchases: &[Purchase]) -> String {
    let heading = ["id", "time", "state", "delivery", "usd", "marketplace", "item", "seller"];
    let mut rows = vec![heading.map(ToOwned::to_owned).to_vec()];
    rows.extend(purchases.iter().map(|purchase| {
        vec![
            purchase.id.to_string(),
            rfc3339(purchase.created_at),
            purchase.state.name().to_owned(),
            purchase.delivery.name().to_owned(),
            purchase.amount.unwrap_or(purchase.max_total).to_string(),
            purchase.marketplace.name().to_owned(),
            one_line(&purchase.item_name, 40),
            one_line(&purchase.seller_name, 30),
        ]
    }));
    output::columns(&rows)
}

fn one_line(text: &str, most: usize) -> String {
    let text = text.replace('\n', " ");
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

async fn show(app: &App, id: PurchaseId, answer: bool, as_json: bool) -> Result<Report, Failure> {
    let (place, purchase) = stores::with_purchase(app, &id).await?;
    let (wanted, drawn_on) = (id.clone(), escrowed(&purchase));
    let read = place.store.with(move |db| {
        let draws = drawn_on.map(|agreement| draws::all(db, Some(&agreement))).transpose()?;
        Ok((journal::events_of(db, &wanted)?, draws.unwrap_or_default()))
    });
    let (events, draws) = read.await?;
    if answer {
        return purchase.answer.map(Report::raw).ok_or_else(|| {
            let delivery = purchase.delivery.name();
            Failure::failed(format!("{id} has no answer: its delivery is {delivery}"))
        });
    }
    Ok(if as_json {
        Report::json(&everything(&purchase, &events, &draws))
    } else {
        Report::text(in_words(&purchase, &events, &draws))
    })
}

/// The agreement whose escrow a purchase filled: calls draw on it.
fn escrowed(purchase: &Purchase) -> Option<AgreementId> {
    (purchase.rail == Rail::PaegentsEscrow).then(|| purchase.item_id.parse().ok()).flatten()
}

/// What someone with another wallet has to pay.
fn external(purchase: &Purchase) -> Option<&Value> {
    purchase.instrument.as_ref().filter(|_| purchase.state == State::AwaitingExternal)
}

fn everything(purchase: &Purchase, events: &[EventLine], draws: &[Draw]) -> Value {
    let mut value = export::row(purchase);
    let body = serde_json::from_slice::<Value>(&purchase.body).ok();
    let more = json!({
        "principal": purchase.principal,
        "rail": purchase.rail.name(),
        "origin": purchase.origin,
        "body_untrusted": body,
        "answer_bytes": purchase.answer.as_ref().map(Vec::len),
        "answer_status": purchase.answer_status,
        "account": purchase.account,
        "account_nonce": purchase.account_nonce,
        "external_payment": external(purchase),
        "events": events,
        "draws": draws.iter().map(export::draw).collect::<Vec<_>>(),
    });
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

fn in_words(purchase: &Purchase, events: &[EventLine], draws: &[Draw]) -> String {
    let money = json!(purchase.money_moved());
    let mut rows = vec![
        ("id", purchase.id.to_string()),
        ("state", format!("{}, delivery {}", purchase.state.name(), purchase.delivery.name())),
        ("money moved", money.as_str().unwrap_or_default().to_owned()),
        (
            "amount",
            match purchase.amount {
                Some(amount) => format!("{amount} USD in {}", purchase.asset),
                None => format!("up to {} USD in {}", purchase.max_total, purchase.asset),
            },
        ),
        ("listed for", format!("{} USD", purchase.price)),
        ("item", format!("{} ({})", purchase.item_name, purchase.item_id)),
        ("seller", format!("{} ({})", purchase.seller_name, purchase.seller_id)),
        ("marketplace", format!("{} at {}", purchase.marketplace, purchase.origin)),
        ("chain", purchase.chain_id.to_string()),
        ("input", String::from_utf8_lossy(&purchase.body).into_owned()),
    ];
    if let Some(reference) = &purchase.reference {
        rows.push(("reference", reference.clone()));
    }
    if let Some(account) = &purchase.account {
        let nonce = purchase.account_nonce.map(|nonce| format!(", nonce {nonce}"));
        rows.push(("paid from", format!("{account}{}", nonce.unwrap_or_default())));
    }
    if let Some(fund) = &purchase.fund {
        let what = format!("{} USD of it to {}, which the seller chose", fund.amount, fund.payee);
        rows.push(("handed over", what));
    }
    if let Some(answer) = &purchase.answer {
        let bytes = answer.len();
        rows.push(("answer", format!("{bytes} bytes; `--answer` prints them")));
    }
    if let Some(failure) = &purchase.failure {
        rows.push(("failure", failure.clone()));
    }
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let mut text = output::columns(&rows);
    if let Some(payment) = external(purchase) {
        let payment = serde_json::to_string_pretty(payment).unwrap_or_default();
        let _ = writeln!(text, "\nTo be paid from another wallet:\n{payment}");
    }
    text.push('\n');
    let lines: Vec<_> = events
        .iter()
        .map(|line| {
            vec![rfc3339(line.at), line.state.clone(), line.delivery.clone(), line.note.clone()]
        })
        .collect();
    text.push_str(&output::columns(&lines));
    text.push_str(&drawn(draws));
    text.push_str(&what_now(purchase));
    text
}

/// The calls that used the deposit.
fn drawn(draws: &[Draw]) -> String {
    if draws.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = draws
        .iter()
        .map(|draw| {
            let units = draw.units.map_or_else(|| "?".to_owned(), |units| units.to_string());
            let call = format!("{} /{}", draw.method, draw.path);
            vec![rfc3339(draw.at), draw.state.name().to_owned(), format!("{units} units"), call]
        })
        .collect();
    format!("\nCalls that draw on it:\n{}", output::columns(&lines))
}

/// What the owner can do about a purchase.
fn what_now(purchase: &Purchase) -> String {
    let id = &purchase.id;
    match purchase.state {
        State::AwaitingApproval => {
            format!("\nIt waits for you: `haggle approve {id}` or `haggle deny {id}`.\n")
        }
        State::Submitted | State::Unknown => format!(
            "\n`haggle purchases resolve {id}` asks the marketplace. Only if nobody can tell, say it \
             yourself: --paid or --not-paid.\n"
        ),
        State::AwaitingExternal => format!(
            "\nOnce it is paid, the agent goes on with {}. If it will not be: \
             `haggle purchases resolve {id} --not-paid`.\n",
            resume_tool(purchase)
        ),
        State::Planned | State::Approved | State::Reserved | State::Settled | State::Failed => {
            String::new()
        }
    }
}

async fn resolve(
    app: &App,
    id: Option<PurchaseId>,
    word: Option<bool>,
    as_json: bool,
) -> Result<Report, Failure> {
    let working = Working::on("asking the marketplaces");
    let asked: Vec<Result<Purchase, Error>> = if let Some(id) = id {
        let (place, purchase) = stores::with_purchase(app, &id).await?;
        vec![if let Some(paid) = word {
            owner_says(&place.store, &id, paid, place.now).await
        } else {
            stores::refuse_other_mode(&place, &purchase)?;
            app.spending().check(&id, &purchase.principal).await
        }]
    } else {
        app.follow_clock().await;
        app.spending().check_all().await?
    };
    drop(working);
    let failed = asked.iter().any(Result::is_err);
    if as_json {
        let rows: Vec<_> = asked
            .iter()
            .map(|asked| asked.as_ref().map_or_else(Error::to_json, export::row))
            .collect();
        return Ok(Report::json(&json!({ "purchases": rows })).wrong(failed));
    }
    if asked.is_empty() {
        return Ok(Report::text("Nothing is open."));
    }
    let mut text = String::new();
    for asked in &asked {
        let _ = match asked {
            Ok(purchase) => writeln!(
                text,
                "{}  {}, delivery {}, {} USD{}",
                purchase.id,
                purchase.state.name(),
                purchase.delivery.name(),
                purchase.amount.unwrap_or(purchase.max_total),
                purchase.failure.as_ref().map(|why| format!(": {why}")).unwrap_or_default(),
            ),
            Err(error) => {
                let id = error.purchase_id.as_ref().map(ToString::to_string).unwrap_or_default();
                writeln!(text, "{id}  not resolved: {error}")
            }
        };
    }
    Ok(Report::text(text).wrong(failed))
}
