"""The client of `fastmcp`."""

import asyncio

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport

from journey import answer, journey, plan, report


async def ask(message, _form, _params, _context):
    if answer(message):
        return {"approve": True}
    return ElicitResult(action="decline")


def server():
    if "url" in plan:
        over = SSETransport if plan["url"].endswith("/sse") else StreamableHttpTransport
        return over(plan["url"], headers=plan["headers"])
    command, args, env = plan["command"], plan["args"], plan["env"]
    return StdioTransport(command=command, args=args, env=env, keep_alive=False)


async def main():
    async with Client(server(), mode=plan["era"], elicitation_handler=ask) as client:

        async def names():
            return [tool.name for tool in await client.list_tools()]

        async def call(tool, arguments):
            result = await client.call_tool(tool, arguments, raise_on_error=False)
            assert result.is_error == ("error" in result.structured_content), result
            return result.structured_content

        report(await journey(names, call), client.protocol_version)


asyncio.run(main())
