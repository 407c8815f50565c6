//! A service with what it wants: two reads of the public store, of which the second may fail.
//! Source: protocols/croo.md §12.1.

use serde_json::{Value, json};

use super::{
    Croo,
    services::{Agent, GetAgent, GetService, Service},
    shape::Shape,
};
use crate::{
    error::{Code, Error},
    ids::ServiceId,
    marketplaces::Marketplace,
};

/// A service and its agent, as far as the store tells.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The service, with what its agent's page adds.
    pub service: Service,
    /// The agent's page, where it could be read.
    pub agent: Option<Agent>,
    /// The agent's name, in its owner's words.
    pub agent_name: String,
}

impl Croo {
    /// Reads a service and, where that can be read, the page that says what it wants.
    ///
    /// # Errors
    ///
    /// Where the service cannot be read.
    pub async fn offer(&self, service_id: &ServiceId) -> Result<Offer, Error> {
        let served = self.api.send(&GetService { service_id }).await?;
        let mut service = served.service;
        if service.service_id != *service_id {
            let message = format!("CROO answered for the service {service_id} with another one");
            return Err(Error::new(Code::UpstreamMalformed, message).at(Marketplace::Croo));
        }
        let agent = match &service.agent_id {
            Some(agent_id) => self.api.send(&GetAgent { agent_id }).await.ok().map(|a| a.agent),
            None => None,
        };
        let listed = agent.as_ref().and_then(|agent| {
            agent.services.iter().find(|listed| listed.service_id == *service_id)
        });
        if let Some(listed) = listed {
            service.fill_in(listed);
        }
        Ok(Offer { service, agent, agent_name: served.agent_name })
    }
}

impl Service {
    /// Takes over from another description of it what this one leaves out.
    fn fill_in(&mut self, other: &Self) {
        let members = [
            (&mut self.description, &other.description),
            (&mut self.sla_minutes, &other.sla_minutes),
            (&mut self.fee_config, &other.fee_config),
            (&mut self.requirement_type, &other.requirement_type),
            (&mut self.requirement_text, &other.requirement_text),
            (&mut self.requirement_schema, &other.requirement_schema),
            (&mut self.deliverable_type, &other.deliverable_type),
            (&mut self.deliverable_text, &other.deliverable_text),
            (&mut self.deliverable_schema, &other.deliverable_schema),
        ];
        for (own, theirs) in members {
            if own.is_empty() {
                own.clone_from(theirs);
            }
        }
    }

    /// The shape that its input has to have; `None` where it takes a text, or says nothing.
    #[must_use]
    pub fn requirements(&self) -> Option<Shape> {
        if self.requirement_type == "text" {
            return None;
        }
        Shape::read(&self.requirement_schema)
    }

    /// An input of the right shape, with placeholders in it.
    #[must_use]
    pub fn example(&self) -> Value {
        self.requirements().map_or_else(|| json!("…"), |shape| shape.example())
    }
}
