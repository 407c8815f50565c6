"""Paegents' official Python SDK, unchanged, as a signer to be compared with ours.

Reads a JSON array of cases from standard input, each with the function to call and its arguments. Prints a JSON
array: the signature of each, or the payment header. The SDK takes the time from the clock and the nonce of a header
from the system's random numbers; both come from the case here.
"""

import json
import sys
import time

from eth_account import Account
from paegents import create_signed_x402_payment, escrow_signing
from x402.clients.base import x402Client, decode_x_payment_response
from x402.types import PaymentPayload

ACTIONS = {
    "close": escrow_signing.sign_initiate_close_intent,
    "claim": escrow_signing.sign_seller_claim_intent,
    "withdraw": escrow_signing.sign_buyer_withdraw_intent,
}
HASHES = ("agreement_key", "platform_agreement_id_hash", "service_hash", "terms_hash", "salt")


def number(text):
    return int(text)


def permit(case):
    return escrow_signing.sign_usdc_permit(
        buyer_private_key=case["key"],
        spender=case["spender"],
        value=number(case["value"]),
        nonce=number(case["nonce"]),
        deadline=number(case["deadline"]),
        chain_id=number(case["chain_id"]),
    )["signature"]


def deposit(case):
    return escrow_signing.sign_deposit_authorization(
        buyer_private_key=case["key"],
        agreement_id=number(case["agreement_id"]),
        deadline=number(case["deadline"]),
        chain_id=number(case["chain_id"]),
        escrow_contract_address=case["escrow"],
    )["signature"]


def action(case):
    return ACTIONS[case["function"]](
        signer_private_key=case["key"],
        agreement_id=number(case["agreement_id"]),
        nonce=number(case["nonce"]),
        deadline=number(case["deadline"]),
        chain_id=number(case["chain_id"]),
        escrow_contract_address=case["escrow"],
    )["signature"]


def activation(case):
    # The SDK takes the five hashes as bytes; what it documents, as text, it cannot sign.
    intent = {
        name: bytes.fromhex(value.removeprefix("0x")) if name in HASHES else value
        for name, value in case["intent"].items()
    }
    return escrow_signing.sign_buyer_activation_intent(
        buyer_private_key=case["key"],
        escrow_contract_address=case["escrow"],
        chain_id=number(case["chain_id"]),
        intent=intent,
    )["signature"]


def header(case):
    x402Client.generate_nonce = lambda self: case["nonce"].removeprefix("0x")
    return create_signed_x402_payment(
        payer_private_key=case["key"],
        destination_wallet=case["to"],
        amount_cents=number(case["cents"]),
        network=case["network"],
        resource_id="agreement:1",
        max_timeout_seconds=number(case["timeout"]),
    )


def decode(case):
    """Reads a header of ours as the first library does; prints the members that it read."""
    read = PaymentPayload.model_validate(decode_x_payment_response(case["header"]))
    fields = read.payload.authorization
    return {
        "scheme": read.scheme,
        "network": read.network,
        "signature": read.payload.signature,
        "authorization": fields.model_dump(by_alias=True),
    }


FUNCTIONS = {
    "permit": permit,
    "deposit": deposit,
    "close": action,
    "claim": action,
    "withdraw": action,
    "activation": activation,
    "header": header,
    "decode": decode,
    "address": lambda case: Account.from_key(case["key"]).address,
}


def main():
    answers = []
    for case in json.load(sys.stdin):
        time.time = lambda now=case["now"]: int(now)
        answers.append(FUNCTIONS[case["function"]](case))
    print(json.dumps(answers))


main()
