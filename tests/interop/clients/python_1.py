"""The official Python client of earlier days, `mcp` 1."""

import asyncio

from mcp import ClientSession, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import ElicitResult

from journey import answer, journey, plan, report


async def ask(_context, params):
    if answer(params.message):
        return ElicitResult(action="accept", content={"approve": True})
    return ElicitResult(action="decline")


def server():
    if "url" not in plan:
        started = StdioServerParameters(command=plan["command"], args=plan["args"], env=plan["env"])
        return stdio_client(started)
    over = sse_client if plan["url"].endswith("/sse") else streamablehttp_client
    return over(plan["url"], headers=plan["headers"])


async def main():
    async with server() as (read, write, *_):
        async with ClientSession(read, write, elicitation_callback=ask) as session:
            agreed = await session.initialize()

            async def names():
                return [tool.name for tool in (await session.list_tools()).tools]

            async def call(tool, arguments):
                result = await session.call_tool(tool, arguments)
                assert result.isError == ("error" in result.structuredContent), result
                return result.structuredContent

            report(await journey(names, call), agreed.protocolVersion)


asyncio.run(main())
