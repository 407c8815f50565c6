// The official TypeScript client, second line: `@modelcontextprotocol/client` 2.
'use strict';

const {
  Client,
  SSEClientTransport,
  StreamableHTTPClientTransport,
} = require('@modelcontextprotocol/client');
const { StdioClientTransport } = require('@modelcontextprotocol/client/stdio');

const { answer, journey, plan, run } = require('./journey.cjs');

function transport() {
  if (!plan.url) return new StdioClientTransport(plan);
  const url = new URL(plan.url);
  const options = { requestInit: { headers: plan.headers } };
  if (url.pathname === '/sse') return new SSEClientTransport(url, options);
  return new StreamableHTTPClientTransport(url, options);
}

const client = new Client(
  { name: 'interop', version: '1.0.0' },
  { capabilities: { elicitation: {} }, versionNegotiation: { mode: plan.era } },
);
client.setRequestHandler('elicitation/create', answer);
run(journey(client, transport(), () => client.getNegotiatedProtocolVersion()));
