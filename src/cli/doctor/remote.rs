//! What has to be asked elsewhere: the chain's node and the marketplaces.

use std::fmt;

use alloy_primitives::{Address, U256};
use jiff::fmt::rfc2822;
use reqwest::{
    Method,
    header::{DATE, HeaderMap},
};

use super::Finding;
use crate::{
    app::App,
    chain::ChainError,
    clock::wall_ms,
    config::Mode,
    error::Error,
    marketplaces::{
        Marketplace,
        crochet::Crochet,
        http::{ANSWER_BYTES_MAX, Answer, Api, Exchange, REQUEST_TIMEOUT},
    },
    money::Usdc,
};

/// The most that this machine's clock may differ from a marketplace's, in seconds.
const SKEW_SECONDS_MAX: i64 = 60;
const WEI_PER_GWEI: u64 = 1_000_000_000;

/// What the wallet has.
#[derive(Debug)]
pub(super) struct Funds {
    address: Address,
    usdc: Usdc,
    wei: U256,
}

impl Funds {
    pub(super) fn can_pay(&self) -> bool {
        self.usdc > Usdc::ZERO && !self.wei.is_zero()
    }
}

impl fmt::Display for Funds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has {} USDC and {} ETH", self.address, self.usdc, ether(self.wei))
    }
}

/// Wei as ether, cut after nine places.
fn ether(wei: U256) -> String {
    let gwei = wei / U256::from(WEI_PER_GWEI);
    let (whole, places) = (gwei / U256::from(WEI_PER_GWEI), gwei % U256::from(WEI_PER_GWEI));
    let text = format!("{whole}.{places:0>9}", places = places.to_string());
    match wei.is_zero() {
        true => "0".to_owned(),
        false if gwei.is_zero() => "less than 0.000000001".to_owned(),
        false => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

/// What the wallet has; `None` where there is no wallet for the chain.
pub(super) async fn funds(app: &App) -> Result<Option<Funds>, Error> {
    let Some(address) = app.wallet().await?.evm_address() else { return Ok(None) };
    let chain = app.chain().await?;
    let asked: Result<_, ChainError> =
        async { Ok((chain.usdc_balance(address).await?, chain.eth_balance(address).await?)) }.await;
    let (usdc, wei) = asked.map_err(Error::from)?;
    Ok(Some(Funds { address, usdc, wei }))
}

/// The wallet, its chain and its balances.
pub(super) async fn wallet(app: &App) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wallet = match app.wallet().await {
        Ok(wallet) => wallet,
        Err(error) => {
            let todo = "no payment can be signed; `haggle keys list` says where keys are";
            return vec![Finding::broken("wallet", error.to_string(), todo)];
        }
    };
    if let Some(address) = wallet.solana_address() {
        let text = format!("Solana {address}; its balance is not asked");
        findings.push(Finding::good("wallet", text));
    }
    match wallet.evm_address() {
        None if app.settings().marketplaces == [Marketplace::Croo] => findings.push(Finding::good(
            "wallet",
            "there is no EVM key, and none is needed: CROO pays from the agent's wallet there",
        )),
        None => findings.push(Finding::note(
            "wallet",
            "there is no EVM key: nothing can be paid but CROO's orders",
            "`haggle keys generate` or `haggle keys import`",
        )),
        Some(address) => findings.push(Finding::good("wallet", address.to_string())),
    }
    let chain = match app.chain().await {
        Ok(chain) => chain,
        Err(error) => {
            findings.push(Finding::broken("chain", error.to_string(), "check BASE_RPC_URL"));
            return findings;
        }
    };
    let (pins, host) = (chain.pins(), chain.host());
    match chain.chain_id().await {
        Ok(id) => {
            findings.push(Finding::good("chain", format!("{} (chain {id}) at {host}", pins.name)));
        }
        Err(error) => {
            let todo =
                "no payment can be made or checked; set BASE_RPC_URL to a node of that chain";
            findings.push(Finding::broken("chain", error.to_string(), todo));
            findings.push(Finding::note(
                "balance",
                "unknown: the chain cannot be asked",
                "it is not zero for that",
            ));
            return findings;
        }
    }
    match funds(app).await {
        Ok(None) => {}
        Ok(Some(funds)) if funds.can_pay() => {
            findings.push(Finding::good("balance", funds.to_string()));
        }
        Ok(Some(funds)) => findings.push(Finding::note(
            "balance",
            funds.to_string(),
            format!("send USDC, and a little ETH for fees, on {}", pins.name),
        )),
        Err(error) => {
            let text = format!("unknown: {error}");
            findings.push(Finding::note("balance", text, "it is not zero for that; ask again"));
        }
    }
    findings
}

/// Crochet: whether it is there, whether it knows us, and what time it has.
pub(super) async fn crochet(app: &App) -> Vec<Finding> {
    let unusable = |error: Error| {
        Finding::broken("crochet", error.to_string(), "check CROCHET_API_URL and the sandbox")
    };
    let crochet = match app.crochet().await {
        Ok(crochet) => crochet,
        Err(error) => return vec![unusable(error)],
    };
    let host = crochet.api.base.host_str().unwrap_or_default().to_owned();
    let health = match ask(&crochet.api, "crochet.health", "/health", false).await {
        Ok(answer) => answer,
        Err(problem) => {
            let todo = "nothing can be bought there now; check the network";
            return vec![Finding::broken("crochet", format!("{host}: {problem}"), todo)];
        }
    };
    let mut findings = Vec::new();
    findings.push(if health.status.is_server_error() {
        let text = format!("{host} answers HTTP {}", health.status.as_u16());
        Finding::broken("crochet", text, "it has trouble; try again later")
    } else {
        Finding::good("crochet", format!("{host} answers"))
    });
    if app.settings().mode == Mode::Live {
        findings.extend(clock(&health.headers));
    }
    findings.push(account(&crochet).await);
    findings
}

async fn account(crochet: &Crochet) -> Finding {
    if crochet.api.key().is_none() {
        return Finding::note(
            "account",
            "there is none at Crochet yet: it can be searched, not bought from",
            "serve with --profile buy,account and let the agent call crochet_register; or set \
             CROCHET_API_KEY",
        );
    }
    match ask(&crochet.api, "crochet.get_profile", "/me", true).await {
        Err(problem) => Finding::broken("account", problem, "ask again"),
        Ok(answer) if answer.status.is_success() => {
            Finding::good("account", "Crochet accepts the key")
        }
        Ok(answer) if matches!(answer.status.as_u16(), 401 | 403) => Finding::broken(
            "account",
            format!("Crochet does not accept the key (HTTP {})", answer.status.as_u16()),
            "set another CROCHET_API_KEY, or let the agent call crochet_recover_account",
        ),
        Ok(answer) => Finding::note(
            "account",
            format!("unknown: Crochet answers HTTP {}", answer.status.as_u16()),
            "ask again later",
        ),
    }
}

/// One read of a marketplace.
pub(super) async fn ask(
    api: &Api,
    name: &'static str,
    path: &str,
    authenticated: bool,
) -> Result<Answer, String> {
    let exchange = Exchange {
        name,
        method: Method::GET,
        path,
        authenticated,
        headers: Vec::new(),
        body: None,
        timeout: REQUEST_TIMEOUT,
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let sent = api.exchange(exchange).await.map_err(|error| error.to_string())?;
    sent.map_err(|lost| format!("no answer: {lost}"))
}

/// How far this machine's clock is from the marketplace's.
fn clock(headers: &HeaderMap) -> Option<Finding> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?.as_second();
    let ahead = wall_ms() / 1000 - theirs;
    Some(if ahead.abs() <= SKEW_SECONDS_MAX {
        Finding::good("clock", format!("within {} s of Crochet's", ahead.abs().max(1)))
    } else {
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        let text = format!("{} s {side} Crochet's", ahead.abs());
        Finding::broken(
            "clock",
            text,
            "set this machine's clock: approvals and payments expire by it",
        )
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;
    use crate::cli::doctor::Mark;

    #[test]
    fn shows_ether() {
        #[rustfmt::skip]
        let rows = [
            // what it shows   wei                           ether
            ("nothing",        0,                            "0"),
            ("dust",           999_999_999,                  "less than 0.000000001"),
            ("a gwei",         1_000_000_000,                "0.000000001"),
            ("a half",         500_000_000_000_000_000,      "0.5"),
            ("twelve",         12_000_000_000_000_000_000,   "12"),
        ];
        for (row, wei, expected) in rows {
            assert_eq!(ether(U256::from::<u128>(wei)), expected, "{row}");
        }
    }

    #[test]
    fn compares_the_clocks() {
        let at = |seconds: i64| {
            let then = jiff::Timestamp::from_second(wall_ms() / 1000 + seconds).unwrap();
            let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_str(&date).unwrap());
            clock(&headers).unwrap().mark
        };
        assert_eq!(at(0), Mark::Good);
        assert_eq!(at(55), Mark::Good);
        assert_eq!(at(-70), Mark::Broken);
        assert_eq!(at(70), Mark::Broken);
        assert!(clock(&HeaderMap::new()).is_none());
    }
}
