//! Paegents: whether it is there, whether it knows us, and whether its escrow can be paid.

use super::{Finding, remote::ask};
use crate::{
    app::App,
    error::Error,
    marketplaces::paegents::Paegents,
    wallet::pins::{self, escrow},
};

/// What there is to say of Paegents.
pub(super) async fn findings(app: &App) -> Vec<Finding> {
    let unusable = |error: Error| {
        Finding::broken("paegents", error.to_string(), "check PAEGENTS_API_URL and the sandbox")
    };
    let paegents = match app.paegents().await {
        Ok(paegents) => paegents,
        Err(error) => return vec![unusable(error)],
    };
    let host = paegents.api.base.host_str().unwrap_or_default().to_owned();
    let mut findings = match ask(&paegents.api, "paegents.health", "/health", false).await {
        Err(problem) => {
            let todo = "nothing can be agreed there now; check the network";
            vec![Finding::broken("paegents", format!("{host}: {problem}"), todo)]
        }
        Ok(answer) if answer.status.is_server_error() => {
            let text = format!("{host} answers HTTP {}", answer.status.as_u16());
            vec![Finding::broken("paegents", text, "it has trouble; try again later")]
        }
        Ok(_) => {
            let reached = Finding::good("paegents", format!("{host} answers"));
            vec![reached, agent(&paegents).await]
        }
    };
    match funding(app).await {
        Ok(finding) => findings.push(finding),
        // What is wrong with the wallet was said before.
        Err(error) => findings.push(Finding::note(
            "paegents escrow",
            format!("unknown: {error}"),
            "no escrow can be funded until the wallet can be read",
        )),
    }
    findings
}

async fn agent(paegents: &Paegents) -> Finding {
    const AREA: &str = "paegents agent";
    let Ok(agent) = paegents.agent() else {
        return Finding::note(
            AREA,
            "there is no key: services can be searched, not bought or sold",
            "make an agent in Paegents' dashboard and set PAEGENTS_AGENT_ID and PAEGENTS_API_KEY; \
             or, where the wallet has one, serve with --profile buy,account and let the agent call \
             paegents_recover_credentials",
        );
    };
    let path = format!("/mcp/balance/{agent}");
    match ask(&paegents.api, "paegents.check_balance", &path, true).await {
        Err(problem) => Finding::broken(AREA, problem, "ask again"),
        Ok(answer) if answer.status.is_success() => {
            Finding::good(AREA, format!("Paegents accepts the key of {agent}"))
        }
        Ok(answer) if matches!(answer.status.as_u16(), 401 | 403) => Finding::broken(
            AREA,
            format!("Paegents does not accept the key (HTTP {})", answer.status.as_u16()),
            "set another PAEGENTS_API_KEY; or unset it, serve with --profile buy,account and let \
             the agent call paegents_recover_credentials",
        ),
        Ok(answer) => Finding::note(
            AREA,
            format!("unknown: Paegents answers HTTP {}", answer.status.as_u16()),
            "ask again later",
        ),
    }
}

/// Whether an escrow can be funded: a wallet that signs, and a contract that is known.
async fn funding(app: &App) -> Result<Finding, Error> {
    const AREA: &str = "paegents escrow";
    let venue = app.venue().await?;
    if venue.wallet.evm_address().is_none() {
        return Ok(Finding::note(
            AREA,
            "there is no EVM key: agreements can be made, not paid",
            "`haggle keys generate` or `haggle keys import`",
        ));
    }
    let Some(chain) = pins::chain(venue.chain_id) else {
        let text = format!("chain {} is none that is paid on", venue.chain_id);
        return Ok(Finding::broken(AREA, text, "set HAGGLE_CHAIN_ID to 8453 or 84532"));
    };
    Ok(match (escrow(chain, app.settings().paegents.escrow), chain.escrow) {
        (Ok(contract), Some(_)) => {
            Finding::good(AREA, format!("{contract} on {}, as published", chain.name))
        }
        (Ok(contract), None) => {
            Finding::good(AREA, format!("{contract} on {}, as you configured it", chain.name))
        }
        (Err(_), None) if app.settings().paegents.escrow.is_none() => Finding::note(
            AREA,
            format!("Paegents has published no contract for {}: no escrow is funded", chain.name),
            "set `escrow` in the section [paegents] to the contract, once you know it from Paegents \
             itself",
        ),
        (Err(refused), _) => {
            Finding::broken(AREA, refused.to_string(), "correct `escrow` in the section [paegents]")
        }
    })
}
