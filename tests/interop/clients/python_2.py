"""The official Python client, `mcp` 2."""

import asyncio

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp_types import ElicitResult

from journey import answer, journey, plan, report


async def ask(_context, params):
    if answer(params.message):
        return ElicitResult(action="accept", content={"approve": True})
    return ElicitResult(action="decline")


def server():
    if "url" in plan:
        http_client = create_mcp_http_client(headers=plan["headers"])
        return streamable_http_client(plan["url"], http_client=http_client)
    return StdioServerParameters(command=plan["command"], args=plan["args"], env=plan["env"])


async def main():
    async with Client(server(), mode=plan["era"], elicitation_callback=ask) as client:

        async def names():
            return [tool.name for tool in (await client.list_tools()).tools]

        async def call(tool, arguments):
            result = await client.call_tool(tool, arguments)
            assert result.is_error == ("error" in result.structured_content), result
            return result.structured_content

        report(await journey(names, call), client.protocol_version)


asyncio.run(main())
