// What every Node client does: look for three things, ask too little for each, then try to buy it.
//
// The plan comes as JSON on standard input, and what was seen goes as JSON to standard output.
'use strict';

const { strict: assert } = require('node:assert');
const { readFileSync, writeSync } = require('node:fs');

const plan = JSON.parse(readFileSync(0, 'utf8'));
const asked = [];

/** The owner's answer to a question. */
async function answer(request) {
  asked.push(request.params.message);
  if (!plan.answers.shift()) return { action: 'decline' };
  return { action: 'accept', content: { approve: true } };
}

/** The first call that a result offers on Crochet. */
const nextCall = (body) => body.next.find((call) => call.tool.startsWith('crochet_'));

/** Connects, makes the journey, says what was seen, and ends. */
async function journey(client, transport, revision) {
  await client.connect(transport);
  const call = async (tool, args) => {
    const result = await client.callTool({ name: tool, arguments: args });
    assert.equal(Boolean(result.isError), 'error' in result.structuredContent);
    return result.structuredContent;
  };
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  const seen = { tools, refused: [], tried: [] };
  for (const query of plan.queries) {
    const look = nextCall(await call('market_search', { query }));
    const buy = nextCall(await call(look.tool, look.arguments));
    const tooLittle = { ...buy.arguments, max_total_usd: '0.000001' };
    seen.refused.push(await call(buy.tool, tooLittle));
    seen.tried.push(await call(buy.tool, buy.arguments));
  }
  writeSync(1, JSON.stringify({ ...seen, revision: revision(), asked }));
  await client.close();
}

/** The way to the server that the plan names, by the classes of one line of the client. */
function transport(Stdio, Sse, Http) {
  if (!plan.url) return new Stdio(plan);
  const url = new URL(plan.url);
  const options = { requestInit: { headers: plan.headers } };
  return url.pathname === '/sse' ? new Sse(url, options) : new Http(url, options);
}

/** Ends with a status that says so where the journey fails. */
function run(made) {
  made.catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = { answer, journey, plan, run, transport };
