//! Paegents' payments outside of escrows: mandates, suppliers, direct purchases, and what is read
//! around them.

mod arguments;
pub mod cart;
pub mod direct;
pub mod mandate;
pub mod read;
pub mod supplier;

use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use self::arguments::{begun_or, mail, printable, within};
use crate::{
    error::Error,
    ids::{AgentId, CartMandateId, IntentMandateId, PurchaseId, ReceiptId, ServiceId},
    marketplaces::paegents::{carts::CartRail, suppliers::Domain},
    money::Usdc,
    owner::{Outcome, Owner},
    server::Server,
    tools::{Args, Reply, input, output},
};

/// Arguments of `paegents_create_intent_mandate`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateIntentArgs {
    /// In whole cents.
    pub max_amount_usd: Usdc,
    /// RFC 3339, e.g. 2030-01-31T00:00:00Z.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Free JSON.
    #[serde(default)]
    pub constraints: Option<Map<String, Value>>,
    /// A second one like the last.
    #[serde(default)]
    pub again: Option<bool>,
}

/// Arguments of `paegents_create_cart_mandate`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCartArgs {
    /// Its total must allow it.
    pub intent_mandate_id: IntentMandateId,
    /// In whole cents.
    pub total_usd: Usdc,
    /// Free JSON.
    #[serde(default)]
    pub items: Option<Vec<Map<String, Value>>>,
    /// A second one like the last.
    #[serde(default)]
    pub again: Option<bool>,
}

/// Arguments of `paegents_pay_mandate`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PayMandateArgs {
    /// Of the cart.
    pub intent_mandate_id: IntentMandateId,
    /// Which.
    pub cart_mandate_id: CartMandateId,
    /// How.
    pub rail: CartRail,
    /// The cart's total.
    pub amount_usd: Usdc,
    /// Most to pay.
    pub max_total_usd: Usdc,
    /// Card, e.g. pm_….
    #[serde(default)]
    pub payment_reference: Option<String>,
    /// For stablecoin: the owner's name for who is paid.
    #[serde(default)]
    pub payee: Option<String>,
}

/// Arguments of `paegents_get_signing_digest`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningDigestArgs {
    /// The intent.
    pub intent_mandate_id: IntentMandateId,
    /// The cart.
    pub cart_mandate_id: CartMandateId,
    /// The owner's name for who is paid.
    pub payee: String,
}

/// Arguments of `paegents_pay_supplier`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaySupplierArgs {
    /// Domain, e.g. supplier.example.
    #[schemars(with = "String")]
    pub supplier: Domain,
    /// In whole cents.
    pub amount_usd: Usdc,
    /// What for.
    pub description: String,
    /// The agent owner's mail address.
    pub owner_email: String,
    /// Theirs.
    #[serde(default)]
    pub company_name: Option<String>,
    /// Most to pay.
    pub max_total_usd: Usdc,
    /// Pay the same a second time.
    #[serde(default)]
    pub again: Option<bool>,
    /// Go on with this one.
    #[serde(default)]
    pub purchase_id: Option<PurchaseId>,
}

/// Arguments of `paegents_get_supplier_payment`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetSupplierPaymentArgs {
    /// From the payment.
    pub purchase_id: PurchaseId,
}

/// Arguments of `paegents_buy_direct`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BuyDirectArgs {
    /// The owner's name for the seller's wallet.
    pub payee: String,
    /// The seller.
    pub seller_agent_id: AgentId,
    /// The price, in whole cents.
    pub amount_usd: Usdc,
    /// What for.
    pub description: String,
    /// One of the seller's.
    #[serde(default)]
    pub service_id: Option<ServiceId>,
    /// Most to pay, fee included.
    pub max_total_usd: Usdc,
    /// Buy the same a second time.
    #[serde(default)]
    pub again: Option<bool>,
    /// Go on with this one.
    #[serde(default)]
    pub purchase_id: Option<PurchaseId>,
}

/// Arguments of `paegents_search_recipients`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRecipientsArgs {
    /// Words.
    pub query: String,
    /// Default all.
    #[serde(default)]
    pub payment_method: Option<read::Method>,
    /// 1 to 50, default 20.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Arguments of `paegents_get_balance`: none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetBalanceArgs {}

/// Arguments of `paegents_verify_receipt`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyReceiptArgs {
    /// Which.
    pub receipt_id: ReceiptId,
}

/// Arguments of `paegents_get_payment_requirements`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentRequirementsArgs {
    /// In whole cents.
    pub amount_usd: Usdc,
}

#[tool_router(router = paegents_pay_tools, vis = "pub(crate)")]
impl Server {
    /// Say at Paegents what this agent may spend (AP2); moves no money. A cart comes next.
    #[tool(
        name = "paegents_create_intent_mandate",
        input_schema = input::<CreateIntentArgs>(),
        output_schema = output::<mandate::IntentView>(),
        annotations(
            title = "Create a Paegents intent mandate",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_create_intent_mandate(
        &self,
        Args(args): Args<CreateIntentArgs>,
        owner: Owner,
    ) -> Result<Reply<mandate::IntentView>, Error> {
        mandate::intend(self.app(), &owner, args).await
    }

    /// Make a cart under an intent mandate; moves no money until `paegents_pay_mandate`.
    #[tool(
        name = "paegents_create_cart_mandate",
        input_schema = input::<CreateCartArgs>(),
        output_schema = output::<mandate::CartView>(),
        annotations(
            title = "Create a Paegents cart mandate",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_create_cart_mandate(
        &self,
        Args(args): Args<CreateCartArgs>,
        owner: Owner,
    ) -> Result<Reply<mandate::CartView>, Error> {
        mandate::fill(self.app(), &owner, args).await
    }

    /// Pay a cart that was made here: once, whatever happens. Returns the receipt.
    #[tool(
        name = "paegents_pay_mandate",
        input_schema = input::<PayMandateArgs>(),
        output_schema = output::<cart::PayView>(),
        annotations(
            title = "Pay a Paegents cart",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_pay_mandate(
        &self,
        Args(args): Args<PayMandateArgs>,
        owner: Owner,
    ) -> Result<Outcome<Reply<cart::PayView>>, Error> {
        cart::pay(self.app(), &owner, args).await
    }

    /// The digest that binds a cart and its payee. For looking at: nothing is ever signed blindly.
    #[tool(
        name = "paegents_get_signing_digest",
        input_schema = input::<SigningDigestArgs>(),
        output_schema = output::<mandate::DigestView>(),
        annotations(
            title = "Get a Paegents signing digest",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_signing_digest(
        &self,
        Args(args): Args<SigningDigestArgs>,
    ) -> Result<Reply<mandate::DigestView>, Error> {
        mandate::digest(self.app(), args).await
    }

    /// Pay a business by its domain, through Paegents. It may take a while.
    #[tool(
        name = "paegents_pay_supplier",
        input_schema = input::<PaySupplierArgs>(),
        output_schema = output::<supplier::SupplierView>(),
        annotations(
            title = "Pay a supplier",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_pay_supplier(
        &self,
        Args(args): Args<PaySupplierArgs>,
        owner: Owner,
    ) -> Result<Outcome<Reply<supplier::SupplierView>>, Error> {
        supplier::pay(self.app(), &owner, args).await
    }

    /// What became of a supplier's payment; asks Paegents, pays nothing.
    #[tool(
        name = "paegents_get_supplier_payment",
        input_schema = input::<GetSupplierPaymentArgs>(),
        output_schema = output::<supplier::SupplierView>(),
        annotations(
            title = "Get a supplier's payment",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_supplier_payment(
        &self,
        Args(args): Args<GetSupplierPaymentArgs>,
        owner: Owner,
    ) -> Result<Reply<supplier::SupplierView>, Error> {
        supplier::get(self.app(), &owner, &args).await
    }

    /// Buy once from a Paegents seller in USDC, without escrow: nothing holds the money back. The
    /// seller has ten minutes to accept.
    #[tool(
        name = "paegents_buy_direct",
        input_schema = input::<BuyDirectArgs>(),
        output_schema = output::<direct::DirectView>(),
        annotations(
            title = "Buy on Paegents without escrow",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_buy_direct(
        &self,
        Args(args): Args<BuyDirectArgs>,
        owner: Owner,
    ) -> Result<Outcome<Reply<direct::DirectView>>, Error> {
        direct::buy(self.app(), &owner, args).await
    }

    /// Businesses that Paegents' older payments can reach.
    #[tool(
        name = "paegents_search_recipients",
        input_schema = input::<SearchRecipientsArgs>(),
        output_schema = output::<read::RecipientsView>(),
        annotations(
            title = "Search Paegents recipients",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_search_recipients(
        &self,
        Args(args): Args<SearchRecipientsArgs>,
    ) -> Result<Reply<read::RecipientsView>, Error> {
        read::recipients(self.app(), &args).await
    }

    /// What Paegents lets this agent spend, and what it has spent: not the wallet's balance.
    #[tool(
        name = "paegents_get_balance",
        input_schema = input::<GetBalanceArgs>(),
        output_schema = output::<read::BalanceView>(),
        annotations(
            title = "Get the Paegents spending balance",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_balance(
        &self,
        Args(GetBalanceArgs {}): Args<GetBalanceArgs>,
    ) -> Result<Reply<read::BalanceView>, Error> {
        read::balance(self.app()).await
    }

    /// Whether Paegents stands by a receipt.
    #[tool(
        name = "paegents_verify_receipt",
        input_schema = input::<VerifyReceiptArgs>(),
        output_schema = output::<read::ReceiptView>(),
        annotations(
            title = "Verify a Paegents receipt",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_verify_receipt(
        &self,
        Args(args): Args<VerifyReceiptArgs>,
    ) -> Result<Reply<read::ReceiptView>, Error> {
        read::receipt(self.app(), &args).await
    }

    /// The fee of a direct purchase, by the published formula and by Paegents, and its chain.
    #[tool(
        name = "paegents_get_payment_requirements",
        input_schema = input::<PaymentRequirementsArgs>(),
        output_schema = output::<read::RequirementsView>(),
        annotations(
            title = "Get Paegents payment requirements",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn paegents_get_payment_requirements(
        &self,
        Args(args): Args<PaymentRequirementsArgs>,
    ) -> Result<Reply<read::RequirementsView>, Error> {
        read::requirements(self.app(), &args).await
    }
}
