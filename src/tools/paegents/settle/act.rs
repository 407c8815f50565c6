//! Closing, claiming, withdrawing: by the recommended way, once, until it shows.
//!
//! Invariants: what is signed is compared with what is known first; one signature a nonce is alive;
//! a second is made only when the first is over and its nonce was never used.

use alloy_primitives::U256;
use serde_json::json;

use super::{
    SettleArgs, checked,
    shown::{ModeWord, SettleState, SettleView},
};
use crate::{
    app::App,
    error::{Code, Error, MoneyMoved},
    ids::AgreementId,
    journal::actions::{self, Action, Kind, Mode, Stage},
    marketplaces::{
        Marketplace,
        lenient::word,
        paegents::{
            Paegents,
            offer::look,
            settlement::{
                EscrowStatus, GetClaimInstructions, GetCloseCalldata, Options, SponsorAction,
            },
            status::is_settled,
        },
    },
    money::Usdc,
    owner::Owner,
    recovery::{NextAction, NextCall},
    spend::actions::{OwnCall, action_id},
    tools::{
        Reply,
        paegents::{
            reading::agreement as read_agreement,
            shown::{said, shown_time},
        },
        wait::Wait,
    },
    wallet::{
        call::{Approved, CallBounds},
        eip712::{Action as Signing, EscrowBounds, Settlement},
    },
};

/// The longest that a signature holds, in seconds.
const DEADLINE_SECONDS: i64 = 600;
/// How long after its deadline its nonce is believed to stay unused, in seconds.
const FINALITY_SECONDS: i64 = 60;
/// The shortest that a signature can be used, in seconds: a shorter deadline is refused.
const DEADLINE_SECONDS_MIN: i64 = 60;

/// One action of one agreement, on its way.
struct Settling<'a> {
    app: &'a App,
    owner: &'a Owner,
    paegents: Paegents,
    agreement_id: AgreementId,
    kind: Kind,
}

/// Carries an action out, or goes on with it wherever that stands.
///
/// # Errors
///
/// Whatever stops it, with whether it may have been carried out.
pub(super) async fn settle(
    app: &App,
    owner: &Owner,
    args: &SettleArgs,
    kind: Kind,
) -> Result<Reply<SettleView>, Error> {
    let mut wait = Wait::begin(app, owner, Some(args.wait_seconds.unwrap_or(45)))?;
    app.refresh_clock().await?;
    let paegents = app.paegents().await?;
    let agreement = read_agreement(&paegents, &args.agreement_id).await?;
    checked::may(&paegents, &agreement, kind)?;
    let agreement_id = args.agreement_id.clone();
    let settling = Settling { app, owner, paegents, agreement_id, kind };
    let _lease = app.spending().action_lease(args.agreement_id.as_str(), kind).await?;
    let status = settling.status().await?;
    if let Some(state) = settling.shows(&status) {
        let open = settling.latest().await?;
        let ended = settling.ended(open).await?;
        return Ok(settling.reply(state, &status, ended.as_ref()));
    }
    let action = match settling.going_on().await? {
        Some(action) => action,
        None => match settling.begun(args.way).await? {
            Ok(action) => action,
            Err(state) => return Ok(settling.reply(state, &status, None)),
        },
    };
    settling.follow(action, &mut wait).await
}

impl Settling<'_> {
    async fn status(&self) -> Result<EscrowStatus, Error> {
        checked::status(&self.paegents, &self.agreement_id).await
    }

    /// What the status says of this action, where it says that nothing is left to do.
    fn shows(&self, status: &EscrowStatus) -> Option<SettleState> {
        let nothing = |left: Option<u64>| left == Some(0);
        let closing = matches!(status.settlement_status.as_str(), "closing" | "close_initiated");
        let over = is_settled(&status.settlement_status);
        match self.kind {
            Kind::Close => (closing || over).then_some(SettleState::Done),
            Kind::Claim if nothing(status.seller_claimable_atomic) => {
                let any = status.aggregate_claimed_atomic.is_some_and(|claimed| claimed > 0);
                Some(if any { SettleState::Done } else { SettleState::NothingLeft })
            }
            Kind::Withdraw if over && nothing(status.buyer_withdrawable_atomic) => {
                let any = status.aggregate_withdrawn_atomic.is_some_and(|taken| taken > 0);
                Some(if any { SettleState::Done } else { SettleState::NothingLeft })
            }
            Kind::Withdraw if !over => Some(SettleState::Waiting),
            Kind::Claim | Kind::Withdraw | Kind::Approve => None,
        }
    }

    async fn latest(&self) -> Result<Option<Action>, Error> {
        let (who, kind) = (self.owner.principal.clone(), self.kind);
        let agreement = self.agreement_id.to_string();
        self.app.store().with(move |db| actions::latest(db, &who, &agreement, kind)).await
    }

    /// An action that shows is over.
    async fn ended(&self, open: Option<Action>) -> Result<Option<Action>, Error> {
        match open {
            Some(open) if open.stage == Stage::Submitted => {
                let done = Action { stage: Stage::Done, ..open };
                self.app.spending().record_action(done).await.map(Some)
            }
            known => Ok(known),
        }
    }

    async fn options(&self) -> Result<(Options, EscrowBounds), Error> {
        checked::options(self.app, &self.paegents, &self.agreement_id, self.kind).await
    }

    /// Goes on with an action that was begun: `None` where there is none, or it is dead.
    async fn going_on(&self) -> Result<Option<Action>, Error> {
        let open = self.latest().await?.filter(|action| action.stage == Stage::Submitted);
        let Some(open) = open else { return Ok(None) };
        let (options, bounds) = self.options().await?;
        let followed = match open.mode {
            Mode::Own => {
                let bounds = self.call_bounds(&bounds)?;
                self.app.spending().follow_own(self.app, open, &bounds).await?
            }
            Mode::Sponsored => self.handed_in_again(open, &options, &bounds).await?,
        };
        Ok((followed.stage != Stage::Failed).then_some(followed))
    }

    /// Hands the same signature in again while it holds; the nonce tells whether it was used.
    async fn handed_in_again(
        &self,
        open: Action,
        options: &Options,
        bounds: &EscrowBounds,
    ) -> Result<Action, Error> {
        let fields = signing_of(&open)?;
        let (spending, chain) = (self.app.spending(), self.app.chain().await?);
        let deadline = i64::try_from(fields.deadline).unwrap_or(0);
        let is_over = chain.time().await? > deadline.saturating_add(FINALITY_SECONDS);
        if U256::from(options.current_nonce) > fields.nonce {
            // What is under way may be counted as well (assumed), and can still come to nothing.
            let hash = open.tx_hash.as_deref().and_then(|hash| hash.parse().ok());
            let named = match hash {
                Some(hash) => chain.receipt(hash).await?.map(|receipt| receipt.succeeded),
                None => Some(true),
            };
            // Once nothing can be under way any more, another transaction than the named one did it.
            match named.or(is_over.then_some(true)) {
                Some(true) => {
                    return spending.record_action(Action { stage: Stage::Done, ..open }).await;
                }
                Some(false) => {}
                None => return Ok(open),
            }
        }
        if is_over {
            let failure = Some("its deadline passed, and it was never used".to_owned());
            return spending.record_action(Action { stage: Stage::Failed, failure, ..open }).await;
        }
        if self.app.clock().now() < deadline {
            let fixed_at = open.details.get("fixed_at").and_then(serde_json::Value::as_u64);
            let bounds = EscrowBounds { now: fixed_at.unwrap_or(bounds.now), ..bounds.clone() };
            return self.hand_in(open, &fields, &bounds).await;
        }
        Ok(open)
    }

    /// Begins an action by the recommended way; the inner error is why there is nothing to do.
    async fn begun(&self, wanted: Option<ModeWord>) -> Result<Result<Action, SettleState>, Error> {
        let (options, bounds) = self.options().await?;
        let mode = match (wanted, options.recommended_mode.as_str()) {
            (Some(mode), _) => mode,
            (None, "sponsored") => ModeWord::Sponsored,
            (None, "direct") => ModeWord::Direct,
            // A word that is not known counts as unavailable (§14.7, assumed).
            (None, _) => return Err(self.unavailable(&options)),
        };
        if self.kind != Kind::Close && options.claimable_atomic == Some(0) {
            return Ok(Err(SettleState::NothingLeft));
        }
        match mode {
            ModeWord::Sponsored if options.sponsored_available => {
                self.sponsored(&options, &bounds).await.map(Ok)
            }
            ModeWord::Direct if options.direct_available => self.direct(&bounds).await.map(Ok),
            ModeWord::Sponsored | ModeWord::Direct => Err(self.unavailable(&options)),
        }
    }

    fn unavailable(&self, options: &Options) -> Error {
        let message = format!(
            "{} of the agreement {} is not available: {} ({})",
            self.kind.name(),
            self.agreement_id,
            word(&options.availability_reason),
            word(&options.recommendation_reason),
        );
        Error::new(Code::WrongState, message)
            .at(Marketplace::Paegents)
            .next(look(&self.agreement_id))
    }

    /// Signs, writes down, hands in.
    async fn sponsored(&self, options: &Options, bounds: &EscrowBounds) -> Result<Action, Error> {
        let own = self.app.wallet().await?.evm_address().unwrap_or_default();
        let now = self.app.clock().now();
        let suggested = i64::try_from(options.suggested_deadline).unwrap_or(0);
        let most = now.saturating_add(DEADLINE_SECONDS);
        let deadline = if suggested > 0 { suggested.min(most) } else { most };
        if deadline < now.saturating_add(DEADLINE_SECONDS_MIN) {
            let message =
                "the options' suggested_deadline is over, or too near; nothing was signed";
            return Err(Error::new(Code::SigningRefused, message)
                .at(Marketplace::Paegents)
                .field("suggested_deadline", None));
        }
        let fields = Signing {
            chain_id: bounds.chain_id,
            escrow: bounds.escrow,
            signer: own,
            agreement_id: bounds.agreement_id,
            nonce: U256::from(options.current_nonce),
            deadline: u64::try_from(deadline).unwrap_or(0),
        };
        let action = Action {
            id: action_id()?,
            principal: self.owner.principal.clone(),
            agreement_id: self.agreement_id.to_string(),
            kind: self.kind,
            mode: Mode::Sponsored,
            chain_id: bounds.chain_id,
            account: own.to_checksum(None),
            account_nonce: None,
            details: json!({ "signing": fields, "fixed_at": bounds.now }),
            stage: Stage::Submitted,
            tx_hash: None,
            failure: None,
        };
        let action = self.app.spending().begin_action(action).await?;
        self.hand_in(action, &fields, bounds).await
    }

    async fn hand_in(
        &self,
        action: Action,
        fields: &Signing,
        bounds: &EscrowBounds,
    ) -> Result<Action, Error> {
        let wallet = self.app.wallet().await?;
        let signed = match self.kind.settlement() {
            Some(Settlement::Close) => wallet.sign_close(fields, bounds),
            Some(Settlement::Claim) => wallet.sign_claim(fields, bounds),
            Some(Settlement::Withdraw) | None => wallet.sign_withdraw(fields, bounds),
        };
        let signed = match signed {
            Ok(signed) => signed,
            Err(error) => {
                let message = format!("nothing was signed: {error}");
                let failure = Some(error.to_string());
                let failed = Action { stage: Stage::Failed, failure, ..action };
                self.app.spending().record_action(failed).await?;
                return Err(Error::new(Code::SigningRefused, message).at(Marketplace::Paegents));
            }
        };
        let request = SponsorAction {
            agreement_id: &self.agreement_id,
            kind: self.kind,
            signer_wallet_address: fields.signer.to_checksum(None),
            nonce: u64::try_from(fields.nonce).unwrap_or(0),
            deadline: fields.deadline,
            signature: signed.signature,
        };
        match self.paegents.api.send(&request).await {
            Ok(sponsored) => {
                let hash = Some(sponsored.tx_hash).filter(|hash| is_hash(hash));
                let tx_hash = hash.or_else(|| action.tx_hash.clone());
                self.app.spending().record_action(Action { tx_hash, ..action }).await
            }
            // What was refused in the platform's own words is not used; it could still be.
            Err(error) => Err(self.not_told(error)),
        }
    }

    /// The signature is out: it may be used until its deadline.
    fn not_told(&self, error: Error) -> Error {
        let again = json!({ "agreement_id": self.agreement_id });
        let tool = tool_of(self.kind);
        let why = "looks whether it was carried out, and hands the same signature in again";
        error.money(MoneyMoved::Maybe).next(NextCall::new(tool, again, why)).recovery(|r| {
            let summary = "It may have been carried out. The same call asks first; nothing is \
                           done twice.";
            r.set(NextAction::Check, true, summary);
        })
    }

    /// Reads the calldata, compares it, and sends a transaction of the wallet.
    async fn direct(&self, bounds: &EscrowBounds) -> Result<Action, Error> {
        let agreement_id = &self.agreement_id;
        let api = &self.paegents.api;
        let instructions = match self.kind {
            Kind::Close => api.send(&GetCloseCalldata { agreement_id }).await?,
            _ => api.send(&GetClaimInstructions { agreement_id }).await?,
        };
        let settlement = self.kind.settlement().unwrap_or(Settlement::Close);
        let act = checked::call(&instructions, settlement, bounds)?;
        let call = OwnCall {
            principal: &self.owner.principal,
            agreement_id: self.agreement_id.as_str(),
            kind: self.kind,
            act,
            bounds: self.call_bounds(bounds)?,
        };
        self.app.spending().send_own(self.app, call).await
    }

    fn call_bounds(&self, bounds: &EscrowBounds) -> Result<CallBounds, Error> {
        let settlement = self.kind.settlement().ok_or_else(|| {
            Error::new(Code::Internal, "an allowance is no settlement").at(Marketplace::Paegents)
        })?;
        Ok(CallBounds {
            chain_id: bounds.chain_id,
            escrow: bounds.escrow,
            approved: Approved::Settlement(settlement, bounds.agreement_id),
        })
    }

    /// Asks until it shows, or the caller's time is over.
    async fn follow(
        &self,
        mut action: Action,
        wait: &mut Wait<'_>,
    ) -> Result<Reply<SettleView>, Error> {
        loop {
            let status = self.status().await.map_err(|error| self.not_told(error))?;
            if let Some(state @ (SettleState::Done | SettleState::NothingLeft)) =
                self.shows(&status)
            {
                let ended = self.ended(Some(action)).await?;
                return Ok(self.reply(state, &status, ended.as_ref()));
            }
            if !wait.again("waiting until it shows").await {
                return Ok(self.reply(SettleState::Submitted, &status, Some(&action)));
            }
            if let Some(followed) = self.going_on().await? {
                action = followed;
            }
        }
    }

    fn reply(
        &self,
        state: SettleState,
        status: &EscrowStatus,
        action: Option<&Action>,
    ) -> Reply<SettleView> {
        let usd = |atomic: Option<u64>| atomic.map(Usdc::from_micros);
        let (received, left) = match self.kind {
            Kind::Claim => (status.aggregate_claimed_atomic, status.seller_claimable_atomic),
            Kind::Withdraw => (status.aggregate_withdrawn_atomic, status.buyer_withdrawable_atomic),
            Kind::Close | Kind::Approve => (None, None),
        };
        let view = SettleView {
            agreement_id: self.agreement_id.to_string(),
            state,
            way: action.map(|action| match action.mode {
                Mode::Sponsored => ModeWord::Sponsored,
                Mode::Own => ModeWord::Direct,
            }),
            received_usd: usd(received),
            left_usd: usd(left),
            tx_hash: action.and_then(|action| action.tx_hash.clone()),
            settlement_status: said(&status.settlement_status),
            challenge_window_expires_at: shown_time(&status.challenge_window_expires_at),
        };
        let mut reply = Reply::new(view);
        reply.next = self.next(state, status);
        reply
    }

    fn next(&self, state: SettleState, status: &EscrowStatus) -> Vec<NextCall> {
        let own = json!({ "agreement_id": self.agreement_id });
        let until = shown_time(&status.challenge_window_expires_at)
            .map(|at| format!(" after {at}"))
            .unwrap_or_default();
        match (self.kind, state) {
            (Kind::Close, SettleState::Done) => {
                ["paegents_withdraw_remainder", "paegents_claim_earnings"]
                    .into_iter()
                    .map(|tool| NextCall::new(tool, own.clone(), format!("takes your part{until}")))
                    .collect()
            }
            (_, SettleState::Waiting)
                if !status.settlement_status.is_empty() && !until.is_empty() =>
            {
                let why = format!("takes it, once the challenge window is over{until}");
                vec![NextCall::new(tool_of(self.kind), own, why)]
            }
            (_, SettleState::Waiting) => {
                let why = "ends the agreement first; what was not used comes back after a day";
                vec![NextCall::new("paegents_close_escrow", own, why)]
            }
            (_, SettleState::Submitted) => {
                vec![NextCall::new(tool_of(self.kind), own, "waits until it shows")]
            }
            (_, SettleState::Done | SettleState::NothingLeft) => Vec::new(),
        }
    }
}

fn signing_of(action: &Action) -> Result<Signing, Error> {
    let fields = action.details.get("signing").cloned().unwrap_or_default();
    serde_json::from_value(fields)
        .map_err(|_| Error::new(Code::Internal, "the journal's action is no signature's"))
}

fn is_hash(text: &str) -> bool {
    text.parse::<alloy_primitives::B256>().is_ok()
}

const fn tool_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Close | Kind::Approve => "paegents_close_escrow",
        Kind::Claim => "paegents_claim_earnings",
        Kind::Withdraw => "paegents_withdraw_remainder",
    }
}
