//! Services: their row, and what they want from a requester.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use crate::{
    money::Usdc,
    sandbox::{
        chain::{signed, unsigned},
        croo::answers::ApiError,
        ledger::micros,
    },
};

/// A service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Service {
    /// Its identifier, a UUID.
    pub(crate) id: String,
    /// The agent who sells it.
    pub(crate) agent: String,
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) description: String,
    /// Its listed price.
    pub(crate) price: Usdc,
    /// How long the provider has from the payment on.
    pub(crate) sla_minutes: u64,
    /// `text` or `schema`.
    pub(crate) requirement_type: String,
    /// For `text`: what the seller wants to be told.
    pub(crate) requirement_text: String,
    /// For `schema`: a JSON array of fields, as text.
    pub(crate) requirement_schema: String,
    /// `text` or `schema`.
    pub(crate) deliverable_type: String,
    /// For `text`: what comes back.
    pub(crate) deliverable_text: String,
    /// For `schema`: a JSON array of fields, as text.
    pub(crate) deliverable_schema: String,
    /// Whether the requester also hands over a fund.
    pub(crate) needs_fund: bool,
    /// The fee of the escrow, for a service with a fund.
    pub(crate) fee: Usdc,
    /// How it behaves; the words of the contract.
    pub(crate) behaviour: String,
    /// What work a built-in seller does.
    pub(crate) worker: String,
    /// An input that works, as JSON.
    pub(crate) input_example: String,
}

const COLUMNS: &str = "id, agent, name, description, micros, sla_minutes, requirement_type, \
     requirement_text, requirement_schema, deliverable_type, deliverable_text, \
     deliverable_schema, needs_fund, fee_micros, behaviour, worker, input_example";

fn row(row: &Row<'_>) -> rusqlite::Result<Service> {
    Ok(Service {
        id: row.get(0)?,
        agent: row.get(1)?,
        name: row.get(2)?,
        description: row.get(3)?,
        price: micros(row.get(4)?),
        sla_minutes: unsigned(row.get(5)?),
        requirement_type: row.get(6)?,
        requirement_text: row.get(7)?,
        requirement_schema: row.get(8)?,
        deliverable_type: row.get(9)?,
        deliverable_text: row.get(10)?,
        deliverable_schema: row.get(11)?,
        needs_fund: row.get(12)?,
        fee: micros(row.get(13)?),
        behaviour: row.get(14)?,
        worker: row.get(15)?,
        input_example: row.get(16)?,
    })
}

/// Lists a service.
pub(crate) fn insert(db: &Connection, service: &Service) -> rusqlite::Result<()> {
    db.prepare_cached(&format!(
        "INSERT INTO croo_services ({COLUMNS}) VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
    ))?
    .execute(params![
        service.id,
        service.agent,
        service.name,
        service.description,
        signed(service.price.micros()),
        signed(service.sla_minutes),
        service.requirement_type,
        service.requirement_text,
        service.requirement_schema,
        service.deliverable_type,
        service.deliverable_text,
        service.deliverable_schema,
        service.needs_fund,
        signed(service.fee.micros()),
        service.behaviour,
        service.worker,
        service.input_example,
    ])?;
    Ok(())
}

/// Reads a service.
pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<Service>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM croo_services WHERE id = ?1"))?
        .query_row([id], row)
        .optional()
}

/// The service with this identifier, which some row refers to.
pub(crate) fn present(db: &Connection, id: &str) -> rusqlite::Result<Service> {
    find(db, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// All services, in the order of the catalog.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Service>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM croo_services ORDER BY seq"))?
        .query_map([], row)?
        .collect()
}

/// The services of one agent.
pub(crate) fn of_agent(db: &Connection, agent: &str) -> rusqlite::Result<Vec<Service>> {
    Ok(all(db)?.into_iter().filter(|service| service.agent == agent).collect())
}

impl Service {
    /// `feeConfig`: JSON as text, for a service with a fund.
    pub(crate) fn fee_config(&self) -> Option<String> {
        let config = json!({
            "fund_transfer_required": true,
            "price_model": "flat",
            "fee_amount": self.fee.micros().to_string(),
        });
        self.needs_fund.then(|| config.to_string())
    }

    /// Whether these requirements are what the service asks for.
    ///
    /// Free text goes with a service that asks for text. A service with a schema takes a JSON
    /// object of the fields it names.
    pub(crate) fn check(&self, requirements: &str) -> Result<(), ApiError> {
        if self.requirement_type != "schema" {
            return Ok(());
        }
        let refuse = |message: String| Err(ApiError::parameters("requirements", message));
        let Ok(Value::Object(given)) = serde_json::from_str::<Value>(requirements) else {
            return refuse("requirements must be a JSON object, as text".to_owned());
        };
        let fields: Vec<Value> = serde_json::from_str(&self.requirement_schema).unwrap_or_default();
        let word = |field: &Value, name: &str| {
            field.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        if let Some(name) =
            given.keys().find(|name| !fields.iter().any(|field| word(field, "name") == **name))
        {
            return refuse(format!("unsupported requirement field: {name}"));
        }
        for field in &fields {
            let (name, kind) = (word(field, "name"), word(field, "type"));
            match given.get(&name) {
                None if field.get("required") == Some(&Value::Bool(true)) => {
                    return refuse(format!("requirement field {name} is required"));
                }
                Some(value) if !is_kind(value, &kind) => {
                    return refuse(format!("requirement field {name} must be of type {kind}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The requirements as a worker's input: an object, or the plain text.
    pub(crate) fn input(requirements: &str) -> Value {
        match serde_json::from_str::<Value>(requirements) {
            Ok(input @ Value::Object(_)) => input,
            _ => json!({ "text": requirements }),
        }
    }

    /// The example as requirements: JSON text of an object, or the plain text.
    pub(crate) fn example(&self) -> String {
        match serde_json::from_str::<Value>(&self.input_example) {
            Ok(Value::String(text)) => text,
            _ => self.input_example.clone(),
        }
    }

    /// Its members as every public list shows them. Integers of 64 bits are text.
    pub(crate) fn members(&self, orders_7d: i64) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("serviceId".to_owned(), json!(self.id));
        members.insert("agentId".to_owned(), json!(self.agent));
        members.insert("name".to_owned(), json!(self.name));
        members.insert("description".to_owned(), json!(self.description));
        members.insert("price".to_owned(), json!(self.price.micros().to_string()));
        members.insert("slaMinutes".to_owned(), json!(self.sla_minutes));
        members.insert("orders7d".to_owned(), json!(orders_7d.to_string()));
        members.insert("chain".to_owned(), json!("base"));
        if let Some(config) = self.fee_config() {
            members.insert("feeConfig".to_owned(), json!(config));
        }
        members
    }

    /// Its members where one service, or one agent with its services, is shown.
    pub(crate) fn details(&self, orders_7d: i64) -> Value {
        let mut members = self.members(orders_7d);
        for (name, text) in [
            ("requirementType", &self.requirement_type),
            ("requirementText", &self.requirement_text),
            ("requirementSchema", &self.requirement_schema),
            ("deliverableType", &self.deliverable_type),
            ("deliverableText", &self.deliverable_text),
            ("deliverableSchema", &self.deliverable_schema),
        ] {
            if !text.is_empty() {
                members.insert(name.to_owned(), json!(text));
            }
        }
        if self.needs_fund {
            members.insert("requireFundTransfer".to_owned(), json!(true));
        }
        members.insert("priceModel".to_owned(), json!("flat"));
        Value::Object(members)
    }
}

fn is_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_requirements() {
        let schema = r#"[{"name":"csv","type":"string","required":true},
            {"name":"rows","type":"number","required":false}]"#;
        let service = Service {
            requirement_type: "schema".to_owned(),
            requirement_schema: schema.to_owned(),
            ..Service::default()
        };
        #[rustfmt::skip]
        let rows = [
            (r#"{"csv":"a"}"#,            true),
            (r#"{"csv":"a","rows":1}"#,   true),
            (r#"{"csv":"a","rows":"1"}"#, false),
            (r#"{"csv":7}"#,              false),
            (r#"{"rows":1}"#,             false),
            (r#"{"csv":"a","x":1}"#,      false),
            (r#"["csv"]"#,                false),
            ("csv",                       false),
        ];
        for (requirements, expected) in rows {
            assert_eq!(service.check(requirements).is_ok(), expected, "{requirements}");
        }
        let text = Service { requirement_type: "text".to_owned(), ..Service::default() };
        assert!(text.check("anything").is_ok());
    }
}
