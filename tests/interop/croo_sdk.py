"""Both sides of a trade with CROO's official Python SDK, unchanged, against the sandbox.

Reads the sandbox's announcement from standard input. Prints one JSON object: what the calls gave, and the
events that each side was told. Ends with a status other than 0 where a step does not go as the SDK documents.
"""

import asyncio
import json
import sys

import croo
import httpx
from croo import (
    AgentClient,
    Config,
    DeliverableType,
    DeliverOrderRequest,
    ListOptions,
    NegotiateOrderRequest,
)
from croo.errors import APIError

info = json.load(sys.stdin)
place = info["croo"]
FUND_ADDRESS = info["croo"]["provider"]["wallet"]


def client(key):
    return AgentClient(
        Config(base_url=place["api_url"], ws_url=place["ws_url"], rpc_url=place["rpc_url"]), key
    )


def service(number):
    """The provider's services: text, schema, fund."""
    own = [s for s in place["services"] if s["owner_id"] == place["provider"]["agent_id"]]
    return own[number]


async def until(read, status, tries=200):
    for _ in range(tries):
        found = await read()
        if found.status == status:
            return found
        await asyncio.sleep(0.05)
    raise SystemExit(f"{found.status} did not become {status}")


async def refused(call, is_that):
    try:
        await call
    except APIError as error:
        assert is_that(error), error
        return error.reason
    raise SystemExit("a call that had to be refused was carried out")


async def ordered(requester, provider, number, requirements, fund=""):
    asked = NegotiateOrderRequest(
        service_id=service(number)["id"],
        requirements=requirements,
        fund_amount=fund,
        fund_token=info["chain"]["usdc"] if fund else "",
    )
    negotiation = await requester.negotiate_order(asked)
    assert negotiation.status == "pending", negotiation
    if fund:
        accepted = await provider.accept_negotiation_with_fund_address(
            negotiation.negotiation_id, FUND_ADDRESS
        )
    else:
        accepted = await provider.accept_negotiation(negotiation.negotiation_id)
    assert accepted.negotiation.status == "accepted", accepted
    order_id = accepted.order.order_id
    return await until(lambda: requester.get_order(order_id), "created")


async def main():
    requester, provider = client(place["requester"]["sdk_key"]), client(place["provider"]["sdk_key"])
    told = {"requester": [], "provider": []}
    streams = []
    for name, side in (("requester", requester), ("provider", provider)):
        stream = await side.connect_websocket()
        stream.on_any(lambda event, name=name: told[name].append(event.type))
        streams.append(stream)

    text, schema = service(0)["input_example"], json.dumps(service(1)["input_example"])
    first = await requester.negotiate_order(
        NegotiateOrderRequest(service_id=service(0)["id"], requirements=text, metadata="for the test")
    )
    read = await provider.get_negotiation(first.negotiation_id)
    assert read.requirements == text, read
    pending = await provider.list_negotiations(ListOptions(role="provider", status="pending"))
    assert [n.negotiation_id for n in pending] == [first.negotiation_id]
    assert len(await requester.list_negotiations(ListOptions(role="requester"))) == 1
    accepted = await provider.accept_negotiation(first.negotiation_id)
    order_id = accepted.order.order_id
    await until(lambda: requester.get_order(order_id), "created")
    bought = await requester.list_orders(ListOptions(role="buyer"))
    assert [o.order_id for o in bought] == [order_id]
    assert len(await provider.list_orders(ListOptions(role="provider", status="created"))) == 1
    paid = await requester.pay_order(order_id)
    assert paid.order.status in ("paying", "paid"), paid
    await until(lambda: provider.get_order(order_id), "paid")

    content = b"a,b\n1,2\n"
    key = await provider.upload_file("result.csv", content)
    url = await requester.get_download_url(key)
    async with httpx.AsyncClient() as plain:
        fetched = await plain.get(url)
    assert fetched.content == content and fetched.headers["content-type"] == "text/csv", fetched.headers

    done = await provider.deliver_order(
        order_id, DeliverOrderRequest(deliverable_type=DeliverableType.TEXT, deliverable_text="42 words")
    )
    assert done.delivery.status == "submitted", done
    await until(lambda: requester.get_order(order_id), "completed")
    assert (await requester.get_delivery(order_id)).deliverable_text == "42 words"

    second = await requester.negotiate_order(
        NegotiateOrderRequest(service_id=service(1)["id"], requirements=schema)
    )
    await provider.reject_negotiation(second.negotiation_id, "ask again tomorrow")
    rejected = await requester.get_negotiation(second.negotiation_id)
    assert (rejected.status, rejected.reject_reason) == ("rejected", "ask again tomorrow")

    third = await ordered(requester, provider, 1, schema)
    await requester.reject_order(third.order_id, "not needed any more")
    await until(lambda: requester.get_order(third.order_id), "rejected")

    fourth = await ordered(requester, provider, 1, schema)
    await requester.pay_order(fourth.order_id)
    await until(lambda: provider.get_order(fourth.order_id), "paid")
    result = json.dumps({"verdict": "change", "reasons": []})
    await provider.deliver_order(
        fourth.order_id,
        DeliverOrderRequest(deliverable_type=DeliverableType.SCHEMA, deliverable_schema=result),
    )
    await until(lambda: requester.get_order(fourth.order_id), "completed")
    assert json.loads((await requester.get_delivery(fourth.order_id)).deliverable_schema)

    fifth = await ordered(requester, provider, 2, service(2)["input_example"], fund="1000000")
    assert fifth.provider_fund_address.lower() == FUND_ADDRESS.lower(), fifth
    await requester.pay_order(fifth.order_id)
    await until(lambda: requester.get_order(fifth.order_id), "paid")
    await provider.reject_order(fifth.order_id, "cannot be done")
    await until(lambda: requester.get_order(fifth.order_id), "rejected")

    reasons = [
        await refused(requester.get_order("00000000-0000-4000-8000-000000000000"), croo.is_not_found),
        await refused(client("croo_sk_nobody").get_order(order_id), croo.is_unauthorized),
        await refused(requester.list_orders(), croo.is_invalid_params),
        await refused(requester.list_negotiations(ListOptions(role="buyer")), croo.is_invalid_params),
        await refused(provider.accept_negotiation(first.negotiation_id), croo.is_invalid_status),
    ]
    await asyncio.sleep(0.5)
    for stream in streams:
        assert stream.err() is None
        await stream.close()
    for side in (requester, provider):
        await side.close()
    print(json.dumps({"events": told, "reasons": reasons}))


asyncio.run(main())
