// The official TypeScript client, first line: `@modelcontextprotocol/sdk` 1.
'use strict';

const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { SSEClientTransport } = require('@modelcontextprotocol/sdk/client/sse.js');
const { StdioClientTransport } = require('@modelcontextprotocol/sdk/client/stdio.js');
const {
  StreamableHTTPClientTransport,
} = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { ElicitRequestSchema } = require('@modelcontextprotocol/sdk/types.js');

const { answer, journey, run, transport } = require('./journey.cjs');

const client = new Client(
  { name: 'interop', version: '1.0.0' },
  { capabilities: { elicitation: {} } },
);
client.setRequestHandler(ElicitRequestSchema, answer);
const chosen = transport(StdioClientTransport, SSEClientTransport, StreamableHTTPClientTransport);
// It keeps what was agreed on for the transport alone.
let revision;
chosen.setProtocolVersion = ((before) => (version) => {
  revision = version;
  before?.call(chosen, version);
})(chosen.setProtocolVersion);
run(journey(client, chosen, () => revision));
