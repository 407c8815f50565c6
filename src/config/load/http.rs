//! The settings of the HTTP server, and its clients.

use std::collections::BTreeMap;

use tokio::sync::Semaphore;

use super::{LoadError, Origin, Picker};
use crate::{
    config::http::{ClientFile, HttpSettings},
    principal::{Principal, PrincipalName},
    profile::Profile,
    spend::policy::Limits,
};

/// Nothing could be served with 0.
const AT_LEAST_ONE: &str = "must be at least 1";
/// Of what is counted by a semaphore there can be no more.
const TOO_MANY: &str = "is more than can be counted";

impl Picker<'_> {
    pub(super) fn http(&mut self, file: HttpSettings) -> Result<HttpSettings, LoadError> {
        let (usual, table) = (table(&HttpSettings::default()), table(&file));
        for (name, value) in &table {
            let origin =
                if usual.get(name) == Some(value) { Origin::Default } else { Origin::File };
            let shown = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            self.note(&format!("http.{name}"), shown, origin);
        }
        let least = [
            ("http.body_bytes_max", file.body_bytes_max),
            ("http.connections_max", file.connections_max),
            ("http.sessions_max", file.sessions_max),
            ("http.in_flight_max", file.in_flight_max),
        ];
        let least = least.map(|(setting, value)| (setting, value == 0, AT_LEAST_ONE)).into_iter();
        let most = Semaphore::MAX_PERMITS;
        let wrong = least.chain([
            ("http.requests_per_minute_max", file.requests_per_minute_max == 0, AT_LEAST_ONE),
            ("http.session_idle_seconds", file.session_idle_seconds == 0, AT_LEAST_ONE),
            ("http.connections_max", file.connections_max > most, TOO_MANY),
            ("http.in_flight_max", file.in_flight_max > most, TOO_MANY),
        ]);
        for (setting, is_wrong, problem) in wrong {
            if is_wrong {
                return Err(LoadError::Value { setting, origin: Origin::File, problem });
            }
        }
        Ok(file)
    }

    /// The clients that have a token. `profiles` and `read_only` are the server's own.
    pub(super) fn clients(
        &mut self,
        file: BTreeMap<PrincipalName, ClientFile>,
        profiles: &[Profile],
        read_only: bool,
    ) -> Result<Vec<Principal>, LoadError> {
        let mut clients = Vec::new();
        for (name, client) in file {
            if client.profiles.iter().flatten().any(|profile| *profile == Profile::Owner) {
                let problem = "has the profile `owner`, which is served over stdio alone: no agent \
                               may agree to what another one asks";
                return Err(LoadError::Value { setting: "clients", origin: Origin::File, problem });
            }
            let mut own = client.profiles.unwrap_or_else(|| profiles.to_vec());
            // The owner's own, served over stdio, is no reason to refuse who is not served then.
            own.retain(|profile| *profile != Profile::Owner);
            own.push(Profile::Market);
            own.sort_unstable();
            own.dedup();
            let names: Vec<_> = own.iter().map(|profile| profile.name()).collect();
            self.note(&format!("clients.{name}.profiles"), names.join(","), Origin::File);
            for (limit, value) in
                [("purchase_max_usd", client.purchase_max_usd), ("day_max_usd", client.day_max_usd)]
            {
                if let Some(value) = value {
                    self.note(&format!("clients.{name}.{limit}"), value, Origin::File);
                }
            }
            clients.push(Principal {
                name: name.into(),
                profiles: own,
                // What the server does not offer, no client of it is offered.
                read_only: read_only || client.read_only.unwrap_or(false),
                limits: Limits {
                    purchase_max: client.purchase_max_usd,
                    day_max: client.day_max_usd,
                },
                token: Some(client.token_sha256),
            });
        }
        Ok(clients)
    }
}

/// The settings by name. They were read from such a table before, so that this does not fail.
fn table(settings: &HttpSettings) -> toml::Table {
    toml::Table::try_from(settings).unwrap_or_default()
}
