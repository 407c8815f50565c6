// The official TypeScript client, second line: `@modelcontextprotocol/client` 2.
'use strict';

const {
  Client,
  SSEClientTransport,
  StreamableHTTPClientTransport,
} = require('@modelcontextprotocol/client');
const { StdioClientTransport } = require('@modelcontextprotocol/client/stdio');

const { answer, journey, plan, run, transport } = require('./journey.cjs');

const client = new Client(
  { name: 'interop', version: '1.0.0' },
  { capabilities: { elicitation: {} }, versionNegotiation: { mode: plan.era } },
);
client.setRequestHandler('elicitation/create', answer);
const chosen = transport(StdioClientTransport, SSEClientTransport, StreamableHTTPClientTransport);
run(journey(client, chosen, () => client.getNegotiatedProtocolVersion()));
