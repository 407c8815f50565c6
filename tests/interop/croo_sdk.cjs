// Both sides of a trade with CROO's official Node SDK, unchanged, against the sandbox.
//
// Reads the sandbox's announcement from standard input. Prints one JSON object: what the calls gave, and the events
// that each side was told. Ends with a status other than 0 where a step does not go as the SDK documents.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const croo = require("@croo-network/sdk");

const info = JSON.parse(fs.readFileSync(0, "utf8"));
const place = info.croo;
const fundAddress = place.provider.wallet;
const quiet = { info() {}, warn() {}, error() {}, debug() {} };
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const client = (key) =>
  new croo.AgentClient(
    { baseURL: place.api_url, wsURL: place.ws_url, rpcURL: place.rpc_url, logger: quiet },
    key,
  );
// The provider's services: text, schema, fund.
const service = (number) =>
  place.services.filter((s) => s.owner_id === place.provider.agent_id)[number];

async function until(read, status) {
  let found;
  for (let tries = 0; tries < 200; tries += 1) {
    found = await read();
    if (found.status === status) return found;
    await sleep(50);
  }
  throw new Error(`${found.status} did not become ${status}`);
}

async function refused(call, isThat) {
  try {
    await call;
  } catch (error) {
    assert(isThat(error), String(error));
    return error.reason;
  }
  throw new Error("a call that had to be refused was carried out");
}

async function ordered(requester, provider, number, requirements, fund) {
  const request = { serviceId: service(number).id, requirements };
  if (fund) Object.assign(request, { fundAmount: fund, fundToken: info.chain.usdc });
  const { negotiationId } = await requester.negotiateOrder(request);
  const accepted = fund
    ? await provider.acceptNegotiationWithFundAddress(negotiationId, fundAddress)
    : await provider.acceptNegotiation(negotiationId);
  return until(() => requester.getOrder(accepted.order.orderId), "created");
}

async function main() {
  const requester = client(place.requester.sdk_key);
  const provider = client(place.provider.sdk_key);
  const told = { requester: [], provider: [] };
  const streams = [];
  for (const [name, side] of [["requester", requester], ["provider", provider]]) {
    const stream = await side.connectWebSocket();
    stream.onAny((event) => told[name].push(event.type));
    streams.push(stream);
  }

  const text = service(0).input_example;
  const schema = JSON.stringify(service(1).input_example);
  const first = await requester.negotiateOrder({
    serviceId: service(0).id,
    requirements: text,
    metadata: "for the test",
  });
  assert.equal((await provider.getNegotiation(first.negotiationId)).requirements, text);
  const pending = await provider.listNegotiations({ role: "provider", status: "pending" });
  assert.deepEqual(pending.map((n) => n.negotiationId), [first.negotiationId]);
  assert.equal((await requester.listNegotiations({ role: "requester" })).length, 1);
  const { orderId } = (await provider.acceptNegotiation(first.negotiationId)).order;
  await until(() => requester.getOrder(orderId), "created");
  assert.equal((await requester.listOrders({ role: "buyer" })).length, 1);
  assert.equal((await provider.listOrders({ role: "provider", status: "created" })).length, 1);
  await requester.payOrder(orderId);
  await until(() => provider.getOrder(orderId), "paid");

  const content = Buffer.from("a,b\n1,2\n");
  const key = await provider.uploadFile("result.csv", content);
  const fetched = await fetch(await requester.getDownloadURL(key));
  assert.deepEqual(Buffer.from(await fetched.arrayBuffer()), content);

  await provider.deliverOrder(orderId, {
    deliverableType: croo.DeliverableType.Text,
    deliverableText: "42 words",
  });
  await until(() => requester.getOrder(orderId), "completed");
  assert.equal((await requester.getDelivery(orderId)).deliverableText, "42 words");

  const second = await requester.negotiateOrder({
    serviceId: service(1).id,
    requirements: schema,
  });
  await provider.rejectNegotiation(second.negotiationId, "ask again tomorrow");
  assert.equal((await requester.getNegotiation(second.negotiationId)).status, "rejected");

  const third = await ordered(requester, provider, 1, schema);
  await requester.rejectOrder(third.orderId, "not needed any more");
  await until(() => requester.getOrder(third.orderId), "rejected");

  const fourth = await ordered(requester, provider, 1, schema);
  await requester.payOrder(fourth.orderId);
  await until(() => provider.getOrder(fourth.orderId), "paid");
  await provider.deliverOrder(fourth.orderId, {
    deliverableType: croo.DeliverableType.Schema,
    deliverableSchema: JSON.stringify({ verdict: "change", reasons: [] }),
  });
  await until(() => requester.getOrder(fourth.orderId), "completed");
  assert(JSON.parse((await requester.getDelivery(fourth.orderId)).deliverableSchema));

  const errand = service(2).input_example;
  const fifth = await ordered(requester, provider, 2, errand, "1000000");
  assert.equal(fifth.providerFundAddress.toLowerCase(), fundAddress.toLowerCase());
  await requester.payOrder(fifth.orderId);
  await until(() => requester.getOrder(fifth.orderId), "paid");
  await provider.rejectOrder(fifth.orderId, "cannot be done");
  await until(() => requester.getOrder(fifth.orderId), "rejected");

  const nothing = "00000000-0000-4000-8000-000000000000";
  const reasons = [
    await refused(requester.getOrder(nothing), croo.isNotFound),
    await refused(client("croo_sk_nobody").getOrder(orderId), croo.isUnauthorized),
    await refused(requester.listOrders(), croo.isInvalidParams),
    await refused(requester.listNegotiations({ role: "buyer" }), croo.isInvalidParams),
    await refused(provider.acceptNegotiation(first.negotiationId), croo.isInvalidStatus),
  ];
  await sleep(500);
  for (const stream of streams) {
    assert.equal(stream.err(), null);
    stream.close();
  }
  console.log(JSON.stringify({ events: told, reasons }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
