"""What every Python client does: look for three things, ask too little for each, then try to buy it.

The plan comes as JSON on standard input, and what was seen goes as JSON to standard output. A client is
two functions: one lists the names of the tools, one calls a tool and gives what is structured of its result.
"""

import json
import sys

plan = json.load(sys.stdin)
# The questions to the owner, and what the owner still answers.
asked = []
answers = plan["answers"]


def next_call(body):
    """The first call that a result offers on Crochet."""
    return next(call for call in body["next"] if call["tool"].startswith("crochet_"))


async def purchase(call, query):
    """The call that buys what a search finds first, filled in by the server."""
    found = await call("market_search", {"query": query})
    look = next_call(found)
    return next_call(await call(look["tool"], look["arguments"]))


def answer(question):
    """Whether the owner says yes."""
    asked.append(question)
    return answers.pop(0)


async def journey(names, call):
    seen = {"tools": await names(), "refused": [], "tried": []}
    for query in plan["queries"]:
        buy = await purchase(call, query)
        too_little = {**buy["arguments"], "max_total_usd": "0.000001"}
        seen["refused"].append(await call(buy["tool"], too_little))
        seen["tried"].append(await call(buy["tool"], buy["arguments"]))
    return seen


def report(seen, revision):
    json.dump({**seen, "revision": revision, "asked": asked}, sys.stdout)
