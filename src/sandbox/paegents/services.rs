//! Services: their row, and how they are shown.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{money::Usdc, sandbox::clock::rfc3339};

/// Its tables.
pub(crate) const TABLES: &str = "
CREATE TABLE paegents_services (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL,
    is_active INTEGER NOT NULL, record TEXT NOT NULL);
CREATE INDEX paegents_offered ON paegents_services (agent, seq);
";

/// Micro-units in a cent.
pub(crate) const MICROS_PER_CENT: u64 = 10_000;

/// A service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Service {
    /// Its identifier, `svc_` and hex digits.
    pub(crate) id: String,
    /// The identifier of the agent who sells it.
    pub(crate) agent: String,
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) description: String,
    /// Its category, a word.
    pub(crate) category: String,
    /// `per_unit`, `subscription` or `tiered`.
    pub(crate) price_model: String,
    /// What a unit costs, in cents.
    pub(crate) base_price_cents: u64,
    /// What is counted.
    pub(crate) unit: String,
    /// The fewest units of an agreement.
    pub(crate) min_quantity: u64,
    /// The most units of an agreement.
    pub(crate) max_quantity: Option<u64>,
    /// The seller's own words on what it can do.
    pub(crate) capabilities: Option<Value>,
    /// Whatever else the seller keeps with it.
    pub(crate) metadata: Option<Value>,
    /// Where metered calls are forwarded to.
    pub(crate) api_base_url: Option<String>,
    /// The seller's own secret for what is behind `api_base_url`.
    pub(crate) api_key: Option<String>,
    /// The header that carries the secret.
    pub(crate) api_auth_header: String,
    /// Whether it is on sale.
    pub(crate) is_active: bool,
    /// When it was registered, in milliseconds.
    pub(crate) created_at: i64,
    /// When it was changed, in milliseconds.
    pub(crate) updated_at: i64,
    /// How it behaves; the words of the contract.
    pub(crate) behaviour: String,
    /// A call that works, or null for what cannot be called.
    pub(crate) input_example: Value,
}

impl Service {
    /// What a unit costs.
    pub(crate) fn price(&self) -> Usdc {
        Usdc::from_micros(self.base_price_cents.saturating_mul(MICROS_PER_CENT))
    }

    /// As lists and searches show it.
    pub(crate) fn view(&self) -> Value {
        json!({
            "service_id": self.id,
            "agent_id": self.agent,
            "service_name": self.name,
            "description": self.description,
            "category": self.category,
            "price_model": self.price_model,
            "base_price_cents": self.base_price_cents,
            "unit": self.unit,
            "min_quantity": self.min_quantity,
            "max_quantity": self.max_quantity,
            "capabilities": self.capabilities.clone().unwrap_or_else(|| json!({})),
            "metadata": self.metadata.clone().unwrap_or_else(|| json!({})),
            "is_active": self.is_active,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
        })
    }

    /// As a read of this one shows it: with the upstream, but never with its secret.
    pub(crate) fn details(&self) -> Value {
        let mut view = self.view();
        if let Some(members) = view.as_object_mut() {
            members.insert("api_base_url".to_owned(), json!(self.api_base_url));
            let masked = self.api_key.as_deref().map(masked);
            members.insert("api_key_masked".to_owned(), json!(masked));
            members.insert("api_auth_header".to_owned(), json!(self.api_auth_header));
        }
        view
    }
}

/// Enough of a secret to know it again: its last four characters, where it has many more.
fn masked(secret: &str) -> String {
    let count = secret.chars().count();
    let shown: String =
        if count >= 12 { secret.chars().skip(count - 4).collect() } else { String::new() };
    format!("****{shown}")
}

fn parse(record: &str) -> rusqlite::Result<Service> {
    let wrong = |error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
    };
    serde_json::from_str(record).map_err(wrong)
}

/// Writes a service, new or changed.
pub(crate) fn save(db: &Connection, service: &Service) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO paegents_services (id, agent, is_active, record) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET is_active = excluded.is_active, record = excluded.record",
    )?
    .execute(params![
        service.id,
        service.agent,
        service.is_active,
        json!(service).to_string()
    ])?;
    Ok(())
}

/// Reads a service, on sale or not.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Service>> {
    db.prepare_cached("SELECT record FROM paegents_services WHERE id = ?1")?
        .query_row([id], |row| parse(&row.get::<_, String>(0)?))
        .optional()
}

/// All services that are on sale, oldest first; of one agent, or of everybody.
pub(crate) fn on_sale(db: &Connection, agent: Option<&str>) -> rusqlite::Result<Vec<Service>> {
    db.prepare_cached(
        "SELECT record FROM paegents_services
         WHERE is_active AND (?1 IS NULL OR agent = ?1) ORDER BY seq",
    )?
    .query_map([agent], |row| parse(&row.get::<_, String>(0)?))?
    .collect()
}
