"""The second x402 library, unchanged, as a reader and a signer of headers.

Reads a JSON array of cases from standard input. Prints a JSON array: for `decode`, what the library reads in a header
and who has signed it by its own hash; for `pay`, the header that the library makes for a demand. The library takes the
time from the clock and the nonce from the system's random numbers; both come from the case here.
"""

import json
import sys
import time

from eth_account import Account
from x402.client import x402ClientSync
from x402.http.utils import (
    decode_payment_required_header,
    decode_payment_signature_header,
    encode_payment_signature_header,
)
from x402.mechanisms.evm.eip712 import hash_eip3009_authorization
from x402.mechanisms.evm.exact import client as exact
from x402.mechanisms.evm.types import ExactEIP3009Payload


def decode(case):
    read = decode_payment_signature_header(case["header"])
    inner = ExactEIP3009Payload.from_dict(read.payload)
    digest = hash_eip3009_authorization(
        inner.authorization, case["chain_id"], case["token"], case["name"], case["version"]
    )
    return {
        "x402_version": read.x402_version,
        "scheme": read.get_scheme(),
        "network": read.get_network(),
        "signature": inner.signature,
        "authorization": read.payload["authorization"],
        "signer": Account._recover_hash(digest, signature=inner.signature),
    }


def pay(case):
    time.time = lambda: case["now"]
    exact.create_nonce = lambda: case["nonce"]
    client = x402ClientSync()
    client.register(case["network"], exact.ExactEvmScheme(Account.from_key(case["key"])))
    # Its cap of one dollar a payment is not what is compared.
    client.set_spend_controls(False)
    demand = decode_payment_required_header(case["demand"])
    return encode_payment_signature_header(client.create_payment_payload(demand))


FUNCTIONS = {"decode": decode, "pay": pay}
print(json.dumps([FUNCTIONS[case["function"]](case) for case in json.load(sys.stdin)]))
