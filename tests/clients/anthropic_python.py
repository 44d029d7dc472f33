"""The official `anthropic` package against a running server, with its synchronous and its asynchronous client.

    BASE_URL=http://127.0.0.1:8000/v1 API_KEY=sk-test python tests/clients/anthropic_python.py [NAME ...]

As `openai_python.py`, which says what the server needs. With SECOND_UPSTREAM=1 the second upstream answers: nothing is counted
at the site, and nothing is asked for once more.
"""

import asyncio
import base64
import os
import sys
import uuid
from pathlib import Path

import anthropic
import pydantic
from python_sdk import PLAIN, THINKER, check, each, entered, percent, run, same, settle

IS_SECOND = os.environ.get("SECOND_UPSTREAM") == "1"
TEXT = "Grüße aus Köln 🙂 and\na second line"
CALL = '[TOOL CALL]\n{"name": "weather", "arguments": {"city": "Köln"}}\n[END TOOL CALL]'
WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Sdk:
    """The synchronous or the asynchronous client; `settle` and `each` work with both."""

    def __init__(self, name, url=None, **options):
        self.name = name
        url = (url or os.environ["BASE_URL"]).removesuffix("/v1")
        settings = {"base_url": url, "api_key": os.environ["API_KEY"], "timeout": 60, "max_retries": 0} | options
        self.client = (anthropic.Anthropic if name == "sync" else anthropic.AsyncAnthropic)(**settings)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await settle(self.client.close())

    async def create(self, directive, line="hi", model=PLAIN, **wishes):
        return await settle(self.client.messages.create(**request(directive, line, model), **wishes))


def request(directive, line="hi", model=PLAIN):
    messages = [{"role": "user", "content": f"[[fake {directive}]] {line}"}]
    return {"max_tokens": 1024, "messages": messages, "model": model}


def steps(*texts):
    return "steps=" + "|".join(percent(text) for text in texts)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


async def refusal(kind, status, ask, *arguments, **wishes):
    """Returns the error; checks its exact class and its status."""
    try:
        await settle(ask(*arguments, **wishes))
    except anthropic.APIStatusError as error:
        same((type(error), error.status_code), (kind, status), f"error: {error}")
        same(error.body["type"], "error", "body")
        same(error.body["request_id"], error.request_id, "request id")
        check(error.request_id, f"request id: {error!r}")
        return error.body["error"]
    raise AssertionError(f"no {kind.__name__}")


async def models_list(sdk):
    models = {model.id: model async for model in each(await settle(sdk.client.models.list(limit=3)))}
    check({THINKER, PLAIN, "qwq-32b", "qwen3-vl-plus"} <= set(models), f"models: {sorted(models)}")
    for model in models.values():
        same((model.type, model.lifecycle), ("model", "active"))
        check(model.created_at.year > 2000 and model.display_name, f"created_at, display_name: {model}")
    same(models[THINKER].max_input_tokens, 262_144, "max_input_tokens")
    pages = await settle(sdk.client.models.list(limit=3))
    same((len(pages.data), pages.has_more), (3, True), "a page")


async def models_retrieve(sdk):
    same((await settle(sdk.client.models.retrieve("gpt-4-turbo"))).id, THINKER)
    error = await refusal(anthropic.NotFoundError, 404, sdk.client.models.retrieve, "no-such-model")
    same((error["type"], error["code"]), ("not_found_error", "model_not_found"))


async def plain(sdk):
    message = await sdk.create(f"say={percent(TEXT)} think=Hmm", model="gpt-4-turbo")
    same((message.type, message.role, message.model), ("message", "assistant", "gpt-4-turbo"))
    check(message.id.startswith("msg_") and message._request_id, f"id: {message.id}, {message._request_id}")
    same([block.type for block in message.content], ["thinking", "text"])
    check("Hmm" in message.content[0].thinking and message.content[0].signature, f"thinking: {message.content[0]}")
    same((message.content[1].text, message.stop_reason, message.stop_sequence), (TEXT, "end_turn", None))
    check(message.usage.input_tokens >= 1000 and message.usage.output_tokens > 5, f"usage: {message.usage}")


async def no_thinking(sdk):
    message = await sdk.create("say=Hello think=Hmm", model=THINKER, thinking={"type": "disabled"})
    same([block.type for block in message.content], ["text"])


async def stream_helper(sdk):
    texts, kinds = [], []
    manager = sdk.client.messages.stream(**request(f"say={percent(TEXT)} think=Hmm", model=THINKER))
    async with entered(manager) as stream:
        async for event in each(stream):
            kinds.append(event.type)
            if event.type == "text":
                texts.append(event.text)
        final = await settle(stream.get_final_message())
    same(("".join(texts), text_of(final), final.stop_reason), (TEXT, TEXT, "end_turn"))
    same([block.type for block in final.content], ["thinking", "text"])
    check("Hmm" in final.content[0].thinking and final.content[0].signature, f"thinking: {final.content[0]}")
    check(final.usage.input_tokens >= 1000 and final.usage.output_tokens > 5, f"usage: {final.usage}")
    same((kinds[0], kinds[-1]), ("message_start", "message_stop"))


async def stream_events(sdk):
    events = [event async for event in each(await sdk.create("say=Hello", stream=True, thinking={"type": "disabled"}))]
    expected = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
    same([event.type for event in events], [*expected, "message_stop"])
    check(events[0].message.usage.input_tokens > 0, "an estimate")


async def heartbeat(sdk):
    manager = sdk.client.messages.stream(**request("gap_ms=2500 say=late", model=THINKER))
    async with entered(manager) as stream:
        same(text_of(await settle(stream.get_final_message())), "late")


async def stop(sdk):
    for stream in (False, True):
        asked = request("stream=count n=50") | {"stop_sequences": ["x", "4 "], "thinking": {"type": "disabled"}}
        if stream:
            async with entered(sdk.client.messages.stream(**asked)) as opened:
                message = await settle(opened.get_final_message())
        else:
            message = await settle(sdk.client.messages.create(**asked))
        same((text_of(message), message.stop_reason, message.stop_sequence), ("1 2 3 ", "stop_sequence", "4 "))


async def limit(sdk):
    asked = request("stream=count n=50") | {"max_tokens": 3, "thinking": {"type": "disabled"}}
    message = await settle(sdk.client.messages.create(**asked))
    same((text_of(message), message.stop_reason), ("1 2 3 ", "max_tokens"))


async def tools(sdk):
    """A run of an agent: two rounds of calls, with one chat at the site."""
    word = f"talk-{uuid.uuid4()}"
    directive = steps(f"I look.\n{CALL}", f"{CALL}\n{CALL.replace('Köln', 'Bonn')}", "It rains.")
    messages = [{"role": "user", "content": f"{word} [[fake {directive}]]"}]
    wishes = {"model": THINKER, "max_tokens": 1024, "tools": [WEATHER], "system": "Be brief."}
    for expected in (["Köln"], ["Köln", "Bonn"], []):
        async with entered(sdk.client.messages.stream(messages=messages, **wishes)) as stream:
            message = await settle(stream.get_final_message())
        calls = [block for block in message.content if block.type == "tool_use"]
        same([call.input.get("city") for call in calls], expected, "cities")
        same(message.stop_reason, "tool_use" if expected else "end_turn")
        check(all(call.id.startswith("toolu_") for call in calls), f"ids: {calls}")
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in calls]
        messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    same(text_of(message), "It rains.")
    if IS_SECOND:
        return
    listed = await settle(sdk.client.get("/v1/chats", cast_to=object))
    same([chat["turns"] for chat in listed["data"] if word in chat["title"]], [3], "one chat of three turns")


async def forced_tool(sdk):
    choice = {"type": "tool", "name": "weather"}
    message = await sdk.create(steps('{"city": "Köln"}'), tools=[WEATHER], tool_choice=choice)
    call = message.content[-1]
    same((call.type, call.name, call.input), ("tool_use", "weather", {"city": "Köln"}))


async def tool_runner(sdk):
    directive = steps(f"I look.\n{CALL}", "It rains.")
    asked = []

    def weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: The city.
        """
        asked.append(city)
        return "rain"

    async def weather_later(city: str) -> str:
        return weather(city)

    weather_later.__name__, weather_later.__doc__ = "weather", weather.__doc__
    tool = anthropic.beta_tool(weather) if sdk.name == "sync" else anthropic.beta_async_tool(weather_later)
    runner = sdk.client.beta.messages.tool_runner(**request(directive, str(uuid.uuid4()), THINKER), tools=[tool])
    message = await settle(runner.until_done())
    same((text_of(message), asked), ("It rains.", ["Köln"]))


class City(pydantic.BaseModel):
    name: str
    people: int


async def parse(sdk):
    directive = f"say={percent('Here: ' + City(name='Köln', people=1_000_000).model_dump_json())}"
    message = await settle(sdk.client.messages.parse(**request(directive), output_format=City))
    same(message.parsed_output, City(name="Köln", people=1_000_000))
    async with entered(sdk.client.messages.stream(**request(directive), output_format=City)) as stream:
        message = await settle(stream.get_final_message())
    same(message.parsed_output, City(name="Köln", people=1_000_000))
    if IS_SECOND:
        return
    wrong = request("say=no") | {"output_format": City}
    error = await refusal(anthropic.InternalServerError, 502, sdk.client.messages.parse, **wrong)
    same((error["type"], error["code"]), ("api_error", "invalid_structured_output"))


async def images(sdk):
    content = (Path(__file__).parent.parent / "files" / "jfif.jpg").read_bytes() + uuid.uuid4().bytes
    source = {"type": "base64", "media_type": "image/jpeg", "data": base64.b64encode(content).decode()}
    question = [{"type": "image", "source": source}, {"type": "text", "text": "[[fake files=1]]"}]
    messages = [{"role": "user", "content": question}]
    message = await settle(sdk.client.messages.create(model=PLAIN, max_tokens=100, messages=messages))
    check(text_of(message).startswith("image ") and str(len(content)) in text_of(message), text_of(message))


async def count_tokens(sdk):
    messages = [{"role": "user", "content": "Hello there"}]
    short = await settle(sdk.client.messages.count_tokens(model=PLAIN, messages=messages))
    long = await settle(sdk.client.messages.count_tokens(model=PLAIN, messages=messages, tools=[WEATHER], system=TEXT))
    check(0 < short.input_tokens < long.input_tokens, f"{short}, {long}")


async def wrong_fields(sdk):
    for body, param in (
        ({"messages": 5}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
        ({"messages": [], "max_tokens": "many"}, "max_tokens"),
    ):
        wrong = {"path": "/v1/messages", "cast_to": object, "body": body}
        error = await refusal(anthropic.BadRequestError, 400, sdk.client.post, **wrong)
        same((error["type"], error["code"], error["param"]), ("invalid_request_error", "invalid_request", param))


async def keys(sdk):
    async with Sdk(sdk.name, api_key="sk-wrong") as stranger:
        error = await refusal(anthropic.PermissionDeniedError, 403, stranger.create, "say=no")
        same((error["type"], error["code"]), ("permission_error", "invalid_api_key"))
    async with Sdk(sdk.name, api_key=None, auth_token=os.environ["API_KEY"]) as bearer:
        same(text_of(await bearer.create("say=yes")), "yes")


async def upstream_errors(sdk):
    for name, kind, status, code in (
        ("rate_limited_hours", anthropic.RateLimitError, 429, "quota_exceeded"),
        ("data_inspection", anthropic.BadRequestError, 400, "content_filter"),
        ("model_not_found", anthropic.NotFoundError, 404, "model_not_found"),
        ("http_413", anthropic.ContentTooLargeError, 413, "request_too_large"),
        ("http_500", anthropic.InternalServerError, 502, "upstream_error"),
    ):
        for wishes in ({}, {"stream": True}):
            error = await refusal(kind, status, sdk.create, f"fail=recorded name={name}", **wishes)
            same(error["code"], code, name)


async def error_amid(sdk):
    asked = request("stream=count n=6 fail=error_amid code=rate_limited") | {"thinking": {"type": "disabled"}}
    seen = []
    try:
        async with entered(sdk.client.messages.stream(**asked)) as stream:
            async for event in each(stream):
                seen.append(event.type)
    except anthropic.APIStatusError as error:
        same(error.body["error"]["code"], "rate_limit_exceeded")
        check("text" in seen, f"events: {seen}")
        return
    raise AssertionError("no error")


async def retry(sdk):
    """The default of two retries heals an error that is gone by then."""
    async with Sdk(sdk.name, max_retries=2) as patient:
        message = await patient.create(f"fail=recorded name=http_500 times=2 say=Healed id={uuid.uuid4()}")
        same(text_of(message), "Healed")


async def ended_session(sdk):
    if "ENDED_URL" not in os.environ:
        return
    async with Sdk(sdk.name, os.environ["ENDED_URL"], max_retries=2) as ended:
        # The site refuses the session once; the server answers from then on.
        for directive in ("fail=recorded name=unauthorized", "say=no"):
            for wishes in ({}, {"stream": True}):
                error = await refusal(anthropic.AuthenticationError, 401, ended.create, directive, **wishes)
                same(error["code"], "qwen_session_expired")


async def no_session(sdk):
    if "SESSIONLESS_URL" not in os.environ:
        return
    async with Sdk(sdk.name, os.environ["SESSIONLESS_URL"]) as sessionless:
        error = await refusal(anthropic.AuthenticationError, 401, sessionless.create, "say=no")
        same(error["code"], "qwen_session_missing")
        counted = sessionless.client.messages.count_tokens(model=PLAIN, messages=[{"role": "user", "content": "hi"}])
        check((await settle(counted)).input_tokens > 0, "a count without a session")


async def challenge(sdk):
    if "CHALLENGED_URL" not in os.environ:
        return
    async with Sdk(sdk.name, os.environ["CHALLENGED_URL"], max_retries=2) as challenged:
        error = await refusal(anthropic.PermissionDeniedError, 403, challenged.create, "fail=recorded name=waf_json")
        same(error["code"], "qwen_challenge")
        check("/_____tmd_____/punish" in error["verify_url"], f"verify_url: {error}")


CASES = [
    models_list, models_retrieve, plain, no_thinking, stream_helper, stream_events, heartbeat, stop, limit, tools,
    forced_tool, tool_runner, parse, images, count_tokens, wrong_fields, keys, upstream_errors, error_amid, retry,
    ended_session, no_session, challenge,
]  # fmt: skip


sys.exit(asyncio.run(run(CASES, Sdk)))
