"""Buyer, seller and owner with Paegents' official Python SDK, unchanged, against the sandbox.

Reads the sandbox's announcement from standard input. Prints a JSON line for every method that the SDK offers over
HTTP: its name and what it gave, or why it cannot run. Ends with a status other than 0 where a step does not go as
the SDK documents. The SDK's signers look at the clock; where the sandbox's was set on, theirs is, too.
"""

import dataclasses
import http.server
import inspect
import json
import os
import sys
import threading
import time

import paegents
import requests
from paegents import agent_payments
from paegents.agent_payments import (
    AgentPaymentsSDK,
    MeteredClient,
    PaymentRequest,
    RecordUsageRequest,
    ServiceRegistration,
    ShippingAddress,
    UpdateDeliveryRequest,
    UsageAgreementRequest,
)

info = json.load(sys.stdin)
place, chain = info["paegents"], info["chain"]
CHAIN_ID, JWT = chain["chain_id"], place["owner_jwt"]
KEYS = {name: place[name]["wallet_private_key"] for name in ("buyer", "seller")}
WALLETS = {name: place[name]["wallet"] for name in ("buyer", "seller")}
DAY_SECONDS = 24 * 60 * 60
told, called = {}, set()
real_time, offset = time.time, 0


class Watched:
    """An object of the SDK, of which is noted what was called."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        method = getattr(self._inner, name)

        def call(*args, **kwargs):
            answer = method(*args, **kwargs)
            called.add(name)
            return answer

        return call


def tell(method, **values):
    """What a method gave: it has to have been called, and to have answered."""
    assert method in called, f"{method} was not called"
    told[method] = values


def admin(method, path, body=None):
    answer = requests.request(method, info["admin_url"] + path, json=body)
    answer.raise_for_status()
    return answer.json()


def set_clock_on(seconds):
    global offset
    offset += seconds
    admin("POST", "/clock", {"advance_s": seconds})
    time.time = lambda: real_time() + offset


def permit_nonce():
    """The buyer's next, as the token has it: what the SDK leaves to its caller."""
    data = "0x7ecebe00" + WALLETS["buyer"][2:].lower().rjust(64, "0")
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"to": chain["usdc"], "data": data}, "latest"]}
    return int(requests.post(chain["rpc_url"], json=call).json()["result"], 16)


def deadline():
    return int(time.time()) + 600


def until(read, is_it, tries=200):
    for _ in range(tries):
        found = read()
        if is_it(found):
            return found
        time.sleep(0.05)
    raise SystemExit(f"it has not come to this: {found}")


def refused(call, kind, status):
    try:
        call()
    except kind as error:
        assert type(error) is kind and error.status == status, error
        return str(error)
    raise SystemExit("a call that had to be refused was carried out")


class Upstream(http.server.BaseHTTPRequestHandler):
    """The seller's own API, and where webhooks go to: it says what it was asked."""

    keys, hooks = [], []

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/hook":
            self.hooks.append((self.headers.get("Paegents-Signature"), body.decode()))
            answer = {}
        else:
            self.keys.append(self.headers.get("X-API-Key"))
            answer = {"method": self.command, "path": self.path, "body": json.loads(body) if body else None}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=server.serve_forever, daemon=True).start()
UPSTREAM = f"http://127.0.0.1:{server.server_address[1]}"

buyer, seller = (
    Watched(AgentPaymentsSDK(place["api_url"], place[name]["agent_id"], place[name]["api_key"]))
    for name in ("buyer", "seller")
)


def catalog():
    asked = ServiceRegistration(
        service_name="Interop echo",
        description="Says what it was asked.",
        category="utilities",
        price_model="per_unit",
        base_price_cents=2,
        unit="api_calls",
        min_quantity=1,
        max_quantity=1000,
        capabilities={"languages": ["en"]},
        api_base_url=UPSTREAM,
        api_key="upstream-key",
    )
    made = seller.register_service(asked)
    tell("register_service", price=made.base_price_cents, active=made.is_active, header=made.api_auth_header)
    changed = seller.update_service(made.service_id, base_price_cents=3, description="Says what it heard.")
    tell("update_service", price=changed["base_price_cents"])
    read = seller.get_service(made.service_id)
    assert "upstream" not in read.api_key_masked, read
    tell("get_service", price=read.base_price_cents, description=read.description, masked=bool(read.api_key_masked))
    other = seller.register_service(dataclasses.replace(asked, service_name="Interop other"))
    seller.delete_service(other.service_id)
    tell("delete_service")
    mine = {service.service_id: service.is_active for service in seller.list_my_services(limit=50)}
    tell("list_my_services", first=mine[made.service_id], second=mine.get(other.service_id, False))
    found = buyer.search_services(query="Interop echo")
    tell("search_services", total=found.total, price=found.results[0].base_price_cents)
    return made.service_id


def proposal(service_id, quantity, **more):
    more.setdefault("client_proposal_id", f"interop-{quantity}")
    return UsageAgreementRequest(
        seller_agent_id=place["seller"]["agent_id"],
        quantity=quantity,
        unit="api_calls",
        price_per_unit_cents=3,
        buyer_wallet_address=WALLETS["buyer"],
        service_id=service_id,
        **more,
    )


def negotiations(service_id):
    """Proposals that come to nothing."""
    first = buyer.create_usage_agreement(proposal(service_id, 5))
    again = buyer.create_usage_agreement(proposal(service_id, 5))
    assert again.agreement_id == first.agreement_id, again
    buyer.cancel_usage_agreement(first.agreement_id)
    tell("cancel_usage_agreement", status=buyer.get_usage_agreement(first.agreement_id).status)
    second = buyer.create_usage_agreement(proposal(service_id, 6))
    seller.reject_usage_agreement(second.agreement_id)
    tell("reject_usage_agreement", status=buyer.get_usage_agreement(second.agreement_id).status)
    third = buyer.create_usage_agreement(proposal(service_id, 7))
    seller.reject_usage_agreement_with_suggestions(
        third.agreement_id, reason="Ten are the least.", suggested_total_cents=30
    )
    status = buyer.get_usage_agreement(third.agreement_id).status
    tell("reject_usage_agreement_with_suggestions", status=status)


def activated(agreement_id):
    """Signs what the activation package asks for, with the SDK's signers, and waits for the escrow."""
    package = buyer.get_activation_package(agreement_id)
    terms, fee = package.terms, package.infra_fee
    intent = {
        "agreement_key": package.agreement_key,
        "platform_agreement_id_hash": package.platform_agreement_id_hash,
        "buyer": terms.buyer,
        "seller": terms.seller,
        "token": terms.token,
        "quantity": terms.quantity,
        "price_per_unit": terms.price_per_unit_atomic,
        "deposit_amount": terms.deposit_amount_atomic,
        "challenge_window_seconds": terms.challenge_window_seconds,
        "service_hash": terms.service_hash,
        "terms_hash": terms.terms_hash,
        "expiry": terms.expiry,
        "nonce": package.nonces.buyer_activation_nonce,
        "salt": terms.salt,
    }
    # The signer wants bytes where the body has text.
    hashes = ("agreement_key", "platform_agreement_id_hash", "service_hash", "terms_hash", "salt")
    as_bytes = {name: bytes.fromhex(intent[name][2:]) for name in hashes}
    signed = paegents.sign_buyer_activation_intent(
        buyer_private_key=KEYS["buyer"],
        escrow_contract_address=package.funding.spender,
        chain_id=CHAIN_ID,
        intent={**intent, **as_bytes},
    )
    nonce, until_s = permit_nonce(), deadline()
    funding = paegents.build_erc2612_funding_authorization(
        buyer_private_key=KEYS["buyer"],
        spender=package.funding.spender,
        amount=terms.deposit_amount_atomic,
        nonce=nonce,
        deadline=until_s,
        chain_id=CHAIN_ID,
    )
    is_due = fee is not None and not fee.waived and fee.status != "paid"
    permit = is_due and paegents.sign_infra_fee_permit(
        buyer_private_key=KEYS["buyer"],
        spender=fee.spender,
        value=fee.amount_atomic,
        nonce=nonce + 1,
        deadline=until_s,
        chain_id=CHAIN_ID,
    )
    begun = buyer.activate_escrow(
        agreement_id,
        paegents.ActivateEscrowRequestV2(
            buyer_intent=paegents.BuyerActivationIntentRequest(**intent),
            buyer_signature=signed["signature"],
            funding_authorization=paegents.FundingAuthorizationRequestV2(**funding),
            buyer_infra_fee_permit_signature=permit["signature"] if permit else None,
            buyer_infra_fee_permit_deadline=until_s if permit else None,
        ),
    )
    active = until(lambda: buyer.get_usage_agreement(agreement_id), lambda a: a.status == "active")
    assert active.activation_status == "confirmed" and active.activation_tx_hash, active
    return package, begun, active


def accepted(service_id, quantity):
    made = buyer.create_usage_agreement(proposal(service_id, quantity))
    return seller.accept_usage_agreement(made.agreement_id)


def metered(agreement_id):
    client = Watched(buyer.create_metered_client(agreement_id))
    got = client.get("/items", params={"page": 2})
    tell("get", verb=got["method"], path=got["path"])
    for name in ("post", "put", "patch"):
        got = getattr(client, name)("/items/1", json={"by": name})
        tell(name, verb=got["method"], body=got["body"])
    got = client.delete("/items/1")
    tell("delete", verb=got["method"], path=got["path"])
    assert set(Upstream.keys) == {"upstream-key"}, Upstream.keys
    status = client.get_usage_status()
    tell("get_usage_status", used=status.units_used, left=status.units_remaining, status=status.status)


def signed(action, name, agreement_id, sdk):
    """An action signed for the platform to send, as its options say."""
    sign, submit = {
        "initiate_close": (paegents.sign_initiate_close_intent, "submit_sponsored_initiate_close"),
        "seller_claim": (paegents.sign_seller_claim_intent, "submit_sponsored_seller_claim"),
        "buyer_withdraw": (paegents.sign_buyer_withdraw_intent, "submit_sponsored_buyer_withdraw"),
    }[action]
    options = sdk.get_settlement_action_options(agreement_id, action=action, signer_wallet_address=WALLETS[name])
    assert options.sponsored_available, options
    signature = sign(
        signer_private_key=KEYS[name],
        agreement_id=options.onchain_agreement_id,
        nonce=options.current_nonce,
        deadline=options.suggested_deadline,
        chain_id=CHAIN_ID,
        escrow_contract_address=options.escrow_contract_address,
    )
    done = getattr(sdk, submit)(
        agreement_id,
        paegents.SponsoredActionRequest(
            signer_wallet_address=WALLETS[name],
            nonce=options.current_nonce,
            deadline=options.suggested_deadline,
            signature=signature["signature"],
        ),
    )
    tell(submit, role=done.signer_role, action=done.action, sponsored=done.sponsored)
    return options


def escrow(service_id):
    """From the proposal to both sides' money."""
    made = buyer.create_usage_agreement(proposal(service_id, 10, service_description="ten echoes"))
    tell("create_usage_agreement", status=made.status, cents=made.total_cents)
    read = buyer.get_usage_agreement(made.agreement_id)
    tell("get_usage_agreement", status=read.status, quantity=read.quantity)
    listed = seller.list_usage_agreements(status="proposed", role="seller", limit=50)
    tell("list_usage_agreements", ids=[a.agreement_id == made.agreement_id for a in listed])
    agreed = seller.accept_usage_agreement(made.agreement_id)
    tell("accept_usage_agreement", status=agreed.status, activation=agreed.activation_status)
    package, begun, active = activated(made.agreement_id)
    terms, fee = package.terms, package.infra_fee
    tell("get_activation_package", deposit=terms.deposit_amount_atomic, fee=fee.amount_atomic, quantity=terms.quantity)
    tell("activate_escrow", before=begun.activation_status, after=active.activation_status)
    metered(made.agreement_id)
    used = seller.record_usage(made.agreement_id, RecordUsageRequest(units_used=7, usage_proof={"by": "hand"}))
    tell("record_usage", used=used.units_used)
    proofs = buyer.get_call_proofs(made.agreement_id, direction="asc")
    tell("get_call_proofs", calls=[item.call_index for item in proofs.items], more=proofs.has_more)
    receipts = buyer.get_cumulative_receipts(made.agreement_id, direction="asc")
    tell("get_cumulative_receipts", units=[item.cumulative_units for item in receipts.items])
    signed("seller_claim", "seller", made.agreement_id, seller)
    calldata = buyer.get_initiate_close_calldata(made.agreement_id)
    tell("get_initiate_close_calldata", function=calldata.function, value=calldata.transaction.value)
    options = signed("initiate_close", "buyer", made.agreement_id, buyer)
    tell("get_settlement_action_options", mode=options.recommended_mode, chain=options.chain_id)
    until(lambda: buyer.get_escrow_status(made.agreement_id), lambda s: s.settlement_status == "closing")
    set_clock_on(DAY_SECONDS + 60)
    status = paegents.poll_settlement_status(buyer, made.agreement_id, "finalized", interval=0.1, timeout=20)
    tell("get_escrow_status", earned=status.aggregate_earned_atomic, left=status.buyer_withdrawable_atomic)
    how = buyer.get_claim_instructions(made.agreement_id)
    tell("get_claim_instructions", function=how.function, amount=how.claimable_atomic, closed=how.closed)
    signed("buyer_withdraw", "buyer", made.agreement_id, buyer)
    paegents.poll_settlement_status(buyer, made.agreement_id, interval=0.1, timeout=20)
    other = accepted(service_id, 4)
    activated(other.agreement_id)
    disputed = buyer.dispute_usage_agreement(other.agreement_id, "It never answered me.", {"calls": 1})
    tell("dispute_usage_agreement", status=disputed.status)


def permits(service_id):
    """The older way: what was signed with the proposal funds the escrow when the seller accepts."""
    made = buyer.create_usage_agreement(proposal(service_id, 8, activation_version="v1"))
    params = buyer.get_deposit_params(made.agreement_id)
    tell("get_deposit_params", amount=params.service_amount_atomic, chain=params.chain_id)
    nonce = permit_nonce()

    def signatures(params, **more):
        made = paegents.build_bilateral_agreement_signatures(
            buyer_private_key=KEYS["buyer"],
            deposit_params=vars(params),
            quantity=8,
            price_per_unit_cents=3,
            permit_deadline=deadline(),
            deposit_auth_deadline=deadline(),
            **more,
        )
        made.pop("buyer_wallet_address")
        return made

    first = signatures(params, usdc_permit_nonce=nonce, infra_fee_permit_nonce=nonce + 1)
    buyer.refresh_permit(made.agreement_id, **first)
    params = buyer.get_deposit_params(made.agreement_id)
    assert params.onchain_agreement_id is not None, params
    buyer.refresh_permit(made.agreement_id, **signatures(params))
    seller.accept_usage_agreement(made.agreement_id)
    active = until(lambda: buyer.get_usage_agreement(made.agreement_id), lambda a: a.status == "active")
    tell("refresh_permit", status=active.status, deposit=active.service_amount_atomic)


def direct_payment(cents):
    """What pays so much directly to the seller, with the fee: members of a proposal."""
    signed = paegents.build_direct_stablecoin_agreement(
        buyer_private_key=KEYS["buyer"],
        seller_wallet=WALLETS["seller"],
        amount_cents=cents,
        resource_id="interop",
        gas_wallet_address=chain["gas_wallet"]["wallet"],
        chain_id=CHAIN_ID,
        usdc_permit_nonce=permit_nonce(),
        permit_deadline=deadline(),
    )
    assert signed.pop("infra_fee_amount_atomic") == 100_000
    return {**signed, "settlement_model": "direct_payment"}


def paid_directly(asked):
    made = buyer.create_usage_agreement(asked)
    seller.accept_usage_agreement(made.agreement_id)
    return until(lambda: buyer.get_usage_agreement(made.agreement_id), lambda a: a.status == "completed")


def goods():
    """A logo and a parcel, paid directly; and a parcel that is not wanted any more."""
    logo = UsageAgreementRequest(
        seller_agent_id=place["seller"]["agent_id"],
        quantity=1,
        unit="purchase",
        price_per_unit_cents=250,
        service_description="A logo",
        client_proposal_id="interop-logo",
        **direct_payment(250),
    )
    paid_directly(logo)
    book = next(s for s in place["services"] if s["name"] == "Printed handbook")
    cart, address = book["input_example"]["cart_items"], book["input_example"]["shipping_address"]
    assert AgentPaymentsSDK.requires_shipping(cart)
    parcel = UsageAgreementRequest(
        seller_agent_id=book["owner_id"],
        quantity=1,
        unit="items",
        price_per_unit_cents=450,
        service_id=book["id"],
        cart_items=cart,
        shipping_address=ShippingAddress(**address),
        client_proposal_id="interop-parcel",
        buyer_wallet_address=WALLETS["buyer"],
    )
    unwanted = buyer.create_usage_agreement(parcel)
    buyer.cancel_usage_agreement(unwanted.agreement_id)
    paid = paid_directly(
        dataclasses.replace(parcel, client_proposal_id="interop-paid-parcel", **direct_payment(450))
    )
    assert buyer.get_shipping_address(paid).recipient_name == address["recipient_name"]
    sent = seller.update_delivery(
        paid.agreement_id, UpdateDeliveryRequest(status="shipped", carrier="ups", tracking_number="1Z999")
    )
    delivery = buyer.get_delivery_info(buyer.get_usage_agreement(paid.agreement_id))
    assert "1Z999" in delivery.tracking_url, delivery
    tell("update_delivery", status=sent.status, carrier=delivery.carrier, seen=[c.status for c in delivery.history])


def older_payments():
    found = buyer.search_recipients("acme", "stripe")
    tell("search_recipients", found=found.total_found, account=found.results[0]["account_id"])
    paid = buyer.create_payment(
        PaymentRequest(
            agent_id=place["buyer"]["agent_id"], amount=125, description="hosting", recipient_account_id="acct_acme"
        )
    )
    tell("create_payment", status=paid.status, amount=paid.receipt["amount"])
    receipt = buyer.verify_receipt(paid.receipt["receipt_id"])
    tell("verify_receipt", valid=receipt["valid"])
    gave = buyer.create_a2a_payment(place["seller"]["agent_id"], 75, memo="thanks")
    tell("create_a2a_payment", status=gave["status"])
    pay = lambda supplier, cents, txn_id: buyer.pay_supplier(
        supplier, cents, "paper", "owner@company.example", place["buyer"]["agent_id"], txn_id=txn_id
    )
    paid = pay("supplier.example", 200, "agt_txn_interop")
    assert pay("supplier.example", 200, "agt_txn_interop") == paid
    tell("pay_supplier", status=paid.status, txn_id=paid.txn_id)
    begun = pay("slow.example", 100, "agt_txn_slow")
    until(lambda: buyer.check_a2a_status("agt_txn_slow"), lambda found: found.status == "paid")
    tell("check_a2a_status", before=begun.status, after="paid")
    tell("check_balance", spent=buyer.check_balance().daily_spent)


def carts(total):
    intent = buyer.create_ap2_intent_mandate(policy={"max_amount": {"value": total}, "currency": "usd"})
    cart = buyer.create_ap2_cart_mandate(intent_mandate_id=intent.id, cart={"total": total, "currency": "usd"})
    tell("create_ap2_intent_mandate", status=intent.status, most=intent.policy["max_amount"]["value"])
    tell("create_ap2_cart_mandate", status=cart.status, total=cart.cart["total"])
    return {"intent_mandate_id": intent.id, "cart_mandate_id": cart.id}


def mandates():
    ids = carts(250)
    card = paegents.build_card_payment_method(payment_reference="pm_1")
    first = buyer.ap2_pay(**ids, payment_method=card, idempotency_key="interop-card")
    again = buyer.ap2_pay(**ids, payment_method=card, idempotency_key="interop-card")
    assert again.processor_ref == first.processor_ref, again
    by_braintree = paegents.build_braintree_payment_method()
    second = buyer.ap2_pay(**carts(150), payment_method=by_braintree)
    ids = carts(350)
    digest = buyer.get_ap2_signing_digest(**ids, destination_wallet=WALLETS["seller"])
    tell("get_ap2_signing_digest", amount=digest["amount_atomic"], chain=digest["chain_id"])
    coin = paegents.build_stablecoin_payment_method(
        payer_private_key=KEYS["buyer"],
        destination_wallet=WALLETS["seller"],
        amount_cents=350,
        resource_id=ids["cart_mandate_id"],
    )
    third = buyer.ap2_pay(**ids, payment_method=coin)
    assert third.onchain_txid, third
    rails = [paid.rail for paid in (first, second, third)]
    tell("ap2_pay", status=sorted({paid.status for paid in (first, second, third)}), rails=rails)
    return card


def owner(card):
    """What the owner decides: a yes, a no, the policy and the limits."""
    ids = carts(2500)
    waits = buyer.ap2_pay(**ids, payment_method=card, idempotency_key="interop-large")
    assert waits["approval_required"], waits
    listed = buyer.list_approvals(status="pending", jwt_token=JWT)["approvals"]
    tell("list_approvals", ids=[one["id"] == waits["request_id"] for one in listed])
    buyer.approve_approval(waits["request_id"], jwt_token=JWT)
    paid = buyer.ap2_pay(**ids, payment_method=card, idempotency_key="interop-large")
    tell("approve_approval", status=paid.status)
    ids = carts(2600)
    waits = buyer.ap2_pay(**ids, payment_method=card, idempotency_key="interop-larger")
    said = buyer.reject_approval(waits["request_id"], reason="too much / no", jwt_token=JWT)
    tell("reject_approval", status=said["status"], reason=said["reason"])
    pay = lambda: buyer.ap2_pay(**ids, payment_method=card, idempotency_key="interop-larger")
    assert "policy_denied" in refused(pay, paegents.PolicyDeniedError, 403)
    policy = buyer.get_agent_policies(jwt_token=JWT)
    tell("get_agent_policies", threshold=policy["approvals"]["threshold_cents"])
    policy["approvals"]["threshold_cents"] = 3_000
    after = buyer.update_agent_policies(policy, jwt_token=JWT)
    tell("update_agent_policies", threshold=after["approvals"]["threshold_cents"])
    limits = buyer.get_spending_limits_owner(JWT)
    tell("get_spending_limits_owner", daily=limits["daily_limit"], monthly=limits["monthly_limit"])
    limits = buyer.update_spending_limits_owner(200.0, 20_000, JWT)
    tell("update_spending_limits_owner", daily=limits["daily_limit"], monthly=limits["monthly_limit"])
    assert refused(lambda: buyer.list_approvals(), paegents.ApiError, 401)


def in_zone(zone, signature, body, secret):
    """Whether the SDK takes a webhook for genuine on a machine in this time zone."""
    os.environ["TZ"] = zone
    time.tzset()
    try:
        return agent_payments.verify_webhook_signature(signature, body, secret)
    except ValueError as error:
        return str(error)
    finally:
        os.environ["TZ"] = "UTC"
        time.tzset()


def webhooks():
    kinds = ["agreement.*", "webhook.test"]
    made = seller.create_webhook(UPSTREAM + "/hook", event_types=kinds, secret="whsec_interop")
    tell("create_webhook", status=made["status"])
    listed = seller.list_webhooks()
    tell("list_webhooks", members=sorted(listed))
    seller.send_test_webhook()
    tell("send_test_webhook")
    signature, body = until(lambda: Upstream.hooks, len)[0]
    zones = ("UTC", "Asia/Tokyo", "America/New_York")
    zones = {zone: in_zone(zone, signature, body, "whsec_interop") for zone in zones}
    forged = in_zone("UTC", signature, body + " ", "whsec_interop")
    told["verify_webhook_signature"] = {**zones, "forged": forged}
    sent = until(lambda: seller.list_webhook_deliveries(limit=10)["deliveries"], len)
    tell("list_webhook_deliveries", types=[one["event_type"] for one in sent])
    seller.replay_webhook_delivery(sent[0]["id"])
    again = until(lambda: Upstream.hooks, lambda hooks: len(hooks) > 1)[1]
    tell("replay_webhook_delivery", same=again[1] == body)
    rotated = seller.rotate_webhook_secret(made["id"])
    tell("rotate_webhook_secret", fresh=rotated["secret"] != "whsec_interop")
    tell_status = lambda name, answer: tell(name, status=answer["status"])
    tell_status("pause_webhook", seller.pause_webhook(made["id"]))
    tell_status("resume_webhook", seller.resume_webhook(made["id"]))


def events():
    first = buyer.list_agent_events(types=["agreement.*", "escrow.*"], limit=2)
    after = buyer.list_agent_events(types=["agreement.*", "escrow.*"], limit=2, after=first[-1].event_id)
    assert first[-1].event_id not in {event.event_id for event in after}, after
    tell("list_agent_events", types=[event.type for event in first])
    buyer.ack_agent_event(first[0].event_id)
    left = buyer.list_agent_events(limit=50)
    tell("ack_agent_event", gone=first[0].event_id not in {event.event_id for event in left})


def recovery():
    found = paegents.recover_credentials(place["api_url"], KEYS["buyer"])
    assert found.agent_id == place["buyer"]["agent_id"], found
    assert refused(buyer.check_balance, paegents.ApiError, 401)
    fresh = AgentPaymentsSDK(place["api_url"], found.agent_id, found.api_key)
    told["recover_credentials"] = {"revoked": found.keys_revoked, "works": bool(fresh.check_balance())}


def offered():
    """Every public method that speaks HTTP, as the SDK itself has them; the recovery; the check of webhooks."""
    local = {"create_metered_client", "get_delivery_info", "get_shipping_address", "requires_shipping"}
    of = lambda kind: {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"}
    return (of(AgentPaymentsSDK) - local) | of(MeteredClient) | {"recover_credentials", "verify_webhook_signature"}


os.environ["TZ"] = "UTC"
time.tzset()
service = catalog()
webhooks()
negotiations(service)
permits(service)
goods()
older_payments()
owner(mandates())
escrow(service)
events()
recovery()
for name in sorted(offered()):
    print(json.dumps({"method": name, "gave": told.get(name)}))
