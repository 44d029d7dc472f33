"""The Responses API with the official `openai` package.

    BASE_URL=http://127.0.0.1:8000/v1 API_KEY=sk-test python tests/clients/responses_openai.py [NAME ...]

The server's upstream must be the fake (`tests/fake_qwen`), which follows the directives in the prompts. Prints `ok NAME` or
`FAILED NAME: reason` for each case and exits 1 if any failed.
"""

import asyncio
import json
import sys
import uuid
from typing import Literal

import openai
from pydantic import BaseModel
from python_sdk import PLAIN, THINKER, check, each, entered, percent, refusal, run, same, settle

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
PERSON = {"name": 'Ada "x"', "age": 36, "kind": "public"}


class Person(BaseModel):
    name: str
    age: int
    kind: Literal["public", "private"]


def call(city):
    body = json.dumps({"name": "get_weather", "arguments": {"city": city}})
    return f"[TOOL CALL]\n{body}\n[END TOOL CALL]"


def says(text, keys=""):
    return f"[[fake piece=5 {keys} say={percent(text)}]]"


def steps(*answers):
    return f"[[fake piece=5 steps={'|'.join(percent(answer) for answer in answers)}]]"


async def create(sdk, directive, model=PLAIN, **wishes):
    return await settle(sdk.client.responses.create(model=model, input=directive, **wishes))


def check_response(response, text):
    same((response.object, response.status, response.output_text), ("response", "completed", text))
    check(response.id.startswith("resp_") and response.created_at > 0, f"id, created_at: {response!r}")
    usage = response.usage
    same(usage.total_tokens, usage.input_tokens + usage.output_tokens, "tokens")
    check(usage.input_tokens > 0 and usage.output_tokens > 0, f"usage: {usage!r}")


async def whole(sdk):
    response = await create(sdk, says("Grüße.", "think=Hmm."), THINKER, instructions="Be brief.", metadata={"a": "b"})
    check_response(response, "Grüße.")
    same([item.type for item in response.output], ["reasoning", "message"])
    check("Hm" in response.output[0].summary[0].text, f"reasoning: {response.output[0]!r}")
    same((response.instructions, response.metadata, response.model), ("Be brief.", {"a": "b"}, THINKER))
    same((response.error, response.incomplete_details, response.previous_response_id), (None, None, None))


async def stream(sdk):
    events = [event async for event in each(await create(sdk, says("Grüße.", "think=Hmm."), THINKER, stream=True))]
    same([event.sequence_number for event in events], list(range(len(events))), "numbers")
    same((events[0].type, events[1].type, events[-1].type), ("response.created", "response.in_progress", "response.completed"))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    same(text, "Grüße.", "deltas")
    check_response(events[-1].response, text)
    unknown = [event for event in events if type(event).__name__ == "BaseModel"]
    check(not unknown, f"events that the package does not know: {unknown}")


async def stream_helper(sdk):
    manager = sdk.client.responses.stream(model=PLAIN, input=says(f"I look.\n{call('Oslo')}\n{call('Rome')}"), tools=[WEATHER])
    async with entered(manager) as opened:
        kinds = [event.type async for event in each(opened)]
        response = await settle(opened.get_final_response())
    same([item.type for item in response.output][-3:], ["message", "function_call", "function_call"])
    same([item.parsed_arguments for item in response.output[-2:]], [{"city": "Oslo"}, {"city": "Rome"}])
    check("response.function_call_arguments.done" in kinds, f"events: {kinds}")


async def stream_of_a_schema(sdk):
    directive = says(f"Sure:\n```json\n{json.dumps(PERSON)}\n```")
    async with entered(sdk.client.responses.stream(model=PLAIN, input=directive, text_format=Person)) as opened:
        async for _ in each(opened):
            pass
        response = await settle(opened.get_final_response())
    same(response.output_parsed, Person(**PERSON), "parsed")


async def parse(sdk):
    parse = sdk.client.responses.parse
    response = await settle(parse(model=PLAIN, input=says(f"Sure: {json.dumps(PERSON)}"), text_format=Person))
    same(response.output_parsed, Person(**PERSON), "parsed")
    unfit = steps('{"name": 5}', '{"name": 5}')
    error = await refusal(openai.InternalServerError, 502, parse, model=PLAIN, input=unfit, text_format=Person)
    same(error.code, "invalid_structured_output", "code")


async def kept(sdk):
    word = f"word-{uuid.uuid4()}"
    sent = await create(sdk, f"{says('Hello.', 'think=Hmm.')} {word}", THINKER)
    responses = sdk.client.responses
    same((await settle(responses.retrieve(sent.id))).to_dict(), sent.to_dict(), "retrieved")
    items = [item async for item in each(await settle(responses.input_items.list(sent.id)))]
    same([(item.type, item.role) for item in items], [("message", "user")])
    check(word in items[0].content[0].text, f"items: {items}")
    await settle(responses.delete(sent.id))
    await refusal(openai.NotFoundError, 404, responses.retrieve, sent.id)
    await refusal(openai.NotFoundError, 404, responses.input_items.list, sent.id)
    sent = await create(sdk, says("Hello."), store=False)
    await refusal(openai.NotFoundError, 404, responses.retrieve, sent.id)
    await refusal(openai.BadRequestError, 400, responses.cancel, sent.id)


async def input_items_in_pages(sdk):
    items = [{"role": "user", "content": f"text {number}"} for number in range(45)]
    sent = await create(sdk, items)
    for order, first in (("asc", "text 0"), ("desc", "text 44")):
        listed = sdk.client.responses.input_items.list(sent.id, limit=20, order=order)
        texts = [item.content[0].text async for item in each(await settle(listed))]
        same((len(texts), len(set(texts)), texts[0]), (45, 45, first), "items on all pages")


async def one_chat(sdk, word, turns):
    listed = await settle(sdk.client.get("/chats", cast_to=object))
    same([chat["turns"] for chat in listed["data"] if word in chat["title"]], [turns], "turns of one chat")


async def loop_with_previous_response(sdk):
    word = f"word-{uuid.uuid4().hex[:8]}"
    answers = steps(call("Oslo"), "\n".join((call("Rome"), call("Bern"))), "It rains.", "Bye.")
    response = await create(sdk, f"{word} {answers}", tools=[WEATHER])
    made = []
    while calls := [item for item in response.output if item.type == "function_call"]:
        made += [json.loads(item.arguments)["city"] for item in calls]
        results = [{"type": "function_call_output", "call_id": item.call_id, "output": "rain"} for item in calls]
        before, response = response, await create(sdk, results, tools=[WEATHER], previous_response_id=response.id)
        same(response.previous_response_id, before.id, "previous_response_id")
    same((made, response.output_text), (["Oslo", "Rome", "Bern"], "It rains."))
    same((await create(sdk, "Thanks.", previous_response_id=response.id)).output_text, "Bye.")
    await one_chat(sdk, word, 4)


async def loop_with_full_input(sdk):
    word = f"word-{uuid.uuid4().hex[:8]}"
    answers = steps("\n".join(("I look.", call("Oslo"))), call("Rome"), "It rains.")
    items, made = [{"role": "user", "content": f"{word} {answers}"}], []
    for _ in range(5):
        response = await create(sdk, items, tools=[WEATHER], store=False)
        items += [item.to_dict() for item in response.output]
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            break
        made += [json.loads(item.arguments)["city"] for item in calls]
        items += [{"type": "function_call_output", "call_id": item.call_id, "output": "rain"} for item in calls]
    same((made, response.output_text), (["Oslo", "Rome"], "It rains."))
    await one_chat(sdk, word, 3)


async def custom_tool(sdk):
    body = json.dumps({"name": "patch", "arguments": {"input": 'raw "text"\n'}})
    tools = [{"type": "custom", "name": "patch", "description": "Edits.", "format": {"type": "text"}}]
    response = await create(sdk, says(f"[TOOL CALL]\n{body}\n[END TOOL CALL]"), tools=tools)
    item = response.output[-1]
    same((item.type, item.name, item.input), ("custom_tool_call", "patch", 'raw "text"\n'))


async def ends(sdk):
    response = await create(sdk, says("word " * 60), max_output_tokens=5)
    same((response.status, response.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    directive = "[[fake stream=count n=6 fail=error_amid]]"
    events = [event async for event in each(await create(sdk, directive, stream=True))]
    failed = events[-1]
    same((failed.type, failed.response.status, failed.response.error.code), ("response.failed", "failed", "upstream_error"))
    check(failed.response.error.message, "a failed response says why")
    for wishes, code in (({"previous_response_id": "resp_0"}, "previous_response_not_found"),):
        error = await refusal(openai.NotFoundError, 404, create, sdk, "x", **wishes)
        same((error.code, error.param), (code, "previous_response_id"))
    error = await refusal(openai.BadRequestError, 400, create, sdk, "x", background=True)
    same(error.param, "background", "param")


async def strict_validation(sdk):
    """Whatever comes has the types that the package declares, to the last field, but for our codes of errors."""
    settings = {"base_url": sdk.client.base_url, "api_key": sdk.client.api_key, "max_retries": 0}
    kind = openai.OpenAI if sdk.name == "sync" else openai.AsyncOpenAI
    client = kind(_strict_response_validation=True, **settings)
    patch = {"type": "custom", "name": "patch", "format": {"type": "text"}}
    space = {"type": "namespace", "name": "ns", "description": "d", "tools": [WEATHER]}
    called = "\n".join(f"[TOOL CALL]\n{json.dumps({'name': name, 'arguments': {key: 'x'}})}\n[END TOOL CALL]"
                       for name, key in (("get_weather", "city"), ("patch", "input"), ("ns__get_weather", "city")))  # fmt: skip
    for directive, wishes in (
        (says("Grüße.", "think=Hmm."), {"instructions": "i", "metadata": {"a": "b"}, "reasoning": {"effort": "high"}}),
        (says(called), {"tools": [WEATHER, patch, space], "tool_choice": "required"}),
        (says(call("Oslo")), {"tools": [WEATHER, patch], "tool_choice": {"type": "function", "name": "get_weather"}}),
        (says("word " * 60), {"max_output_tokens": 5, "reasoning": {"effort": "none"}}),
        ("[[fake stream=web_search]]", {}),
        ("[[fake stream=count n=6 fail=error_amid code=data_inspection_failed]]", {}),
    ):
        response = await settle(client.responses.create(model=THINKER, input=directive, **wishes))
        same((await settle(client.responses.retrieve(response.id))).to_dict(), response.to_dict(), "retrieved")
        await settle(client.responses.input_items.list(response.id))
        opened = await settle(client.responses.create(model=THINKER, input=directive, stream=True, **wishes))
        async for event in each(opened):
            check(type(event).__name__ != "BaseModel", f"an event that the package does not know: {event!r}")
    await settle(client.close())


async def input_tokens(sdk):
    counted = await settle(sdk.client.responses.input_tokens.count(model=PLAIN, input="Hello there. " * 100))
    same(counted.object, "response.input_tokens", "object")
    check(100 < counted.input_tokens < 800, f"tokens: {counted!r}")


CASES = [
    whole, stream, stream_helper, stream_of_a_schema, parse, kept, input_items_in_pages, loop_with_previous_response,
    loop_with_full_input, custom_tool, ends, strict_validation, input_tokens,
]  # fmt: skip


sys.exit(asyncio.run(run(CASES)))
