"""LangChain's `ChatAnthropic`, which talks Messages. Called as fake_site.py says; prints `ok` or `FAILED` a case."""

import asyncio
import json

import anthropic
from fake_site import (
    API_KEY, BASE_URL, EVENT, FENCED, PLAIN, THINKER, Event, Talk, call, check, clean, entry, error_of, native, result,
    run, same,
)  # fmt: skip
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool


@tool
def get_weather(city: str, days: int) -> str:
    """The weather of a city."""
    return f"sun in {city} for {days}"


@tool
def clock() -> str:
    """The time."""
    raise ValueError("it is broken")


ROME = {"city": 'Rome "centro"', "days": 2}
TOOLS = {"get_weather": get_weather, "clock": clock}


def chat(model=PLAIN, **settings):
    url = BASE_URL.removesuffix("/v1")
    return ChatAnthropic(base_url=url, api_key=API_KEY, model=model, timeout=60, max_retries=0, **settings)


async def answer_of(model, messages, streams):
    if not streams:
        return await model.ainvoke(messages)
    answer = None
    async for chunk in model.astream(messages):
        answer = chunk if answer is None else answer + chunk
    return answer


async def plain():
    thinker = chat(THINKER, thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=4096)
    for streams in (False, True):
        talk = Talk("[[fake think=Hmm say=Hello.]]")
        answer = await answer_of(thinker, talk.prompt, streams)
        same((answer.text, answer.response_metadata["stop_reason"]), ("Hello.", "end_turn"))
        kinds = [block["type"] for block in answer.content_blocks]
        same(kinds, ["reasoning", "text"], "blocks")
        usage = answer.usage_metadata
        check(usage["input_tokens"] > 0 and usage["output_tokens"] > 0, f"usage: {usage}")
        talk.reached([talk.prompt])


async def limits():
    for settings, text, reason in (
        ({"max_tokens": 3}, "1 2 3 ", "max_tokens"),
        ({"stop_sequences": ["4 "]}, "1 2 3 ", "stop_sequence"),
    ):
        for streams in (False, True):
            model = chat(thinking={"type": "disabled"}, **settings)
            answer = await answer_of(model, Talk("[[fake stream=count n=50]]").prompt, streams)
            same((answer.text, answer.response_metadata["stop_reason"]), (text, reason))


async def loop(model, talk, streams):
    """Calls tools until the model answers; returns its text and the results."""
    messages, results = [SystemMessage("Be brief."), HumanMessage(talk.prompt)], []
    for _ in range(8):
        answer = await answer_of(model, messages, streams)
        clean(answer.content, answer.tool_calls)
        same(answer.invalid_tool_calls, [], "invalid_tool_calls")
        messages.append(answer)
        reason = answer.response_metadata["stop_reason"]
        if not answer.tool_calls:
            same(reason, "end_turn", "stop_reason")
            return answer.text, results
        same(reason, "tool_use", "stop_reason")
        for made in answer.tool_calls:
            try:
                got = await TOOLS[made["name"]].ainvoke(made)
            except ValueError as error:
                got = ToolMessage(f"Error: {error}", tool_call_id=made["id"], status="error")
            results.append(got.content)
            messages.append(got)
    raise AssertionError("no end")


async def bind_tools():
    for streams in (False, True):
        both = f"I look.\n{call('get_weather', ROME)}\n{call('clock', {})}"
        talk = Talk(both, call("get_weather", {"city": "Bonn", "days": 1}), "It is sunny.")
        got = await loop(chat(THINKER).bind_tools(list(TOOLS.values())), talk, streams)
        results = ['sun in Rome "centro" for 2', "Error: it is broken", "sun in Bonn for 1"]
        same(got, ("It is sunny.", results))
        talk.reached(
            ["Be brief.", entry("get_weather"), entry("clock"), talk.prompt],
            [result(1, "get_weather", results[0]), result(2, "clock, error", results[1])],
            [result(1, "get_weather", results[2])],
        )


async def native_calls():
    """Calls that the site refused are calls for the client."""
    for streams in (False, True):
        talk = Talk(native(("get_weather", ROME)), "It is sunny.")
        got = await loop(chat(THINKER).bind_tools([get_weather]), talk, streams)
        same(got, ("It is sunny.", ['sun in Rome "centro" for 2']))
        told = talk.turns(2)[1][1]
        check(result(1, "get_weather", 'sun in Rome "centro" for 2') in told and "does not exist" not in told, told)


async def tool_choice():
    for choice, told in (("any", "[Call at least one"), ("get_weather", "[Call the function get_weather ")):
        talk = Talk(call("get_weather", ROME))
        answer = await chat().bind_tools(list(TOOLS.values()), tool_choice=choice).ainvoke(talk.prompt)
        same([(made["name"], made["args"]) for made in answer.tool_calls], [("get_weather", ROME)], choice)
        talk.reached([told])


async def structured_function_calling():
    """A named tool. Models also write the bare arguments."""
    for answer in (call("Event", EVENT), json.dumps(EVENT)):
        talk = Talk(answer)
        same(await chat().with_structured_output(Event).ainvoke(talk.prompt), Event(**EVENT), "value")
        talk.reached([entry("Event"), "[Call the function Event ", talk.prompt])


async def structured_json_schema():
    talk = Talk(FENCED)
    model = chat().with_structured_output(Event, method="json_schema", include_raw=True)
    got = await model.ainvoke(talk.prompt)
    same((got["parsed"], got["parsing_error"]), (Event(**EVENT), None), "value")
    clean(got["raw"])
    talk.reached([talk.prompt, "fits the following JSON schema", '"enum":["public","private"]'])


async def structured_streams():
    for method, answer in (("function_calling", call("Event", EVENT)), ("json_schema", FENCED)):
        talk = Talk(answer, piece=3)
        values = [value async for value in chat(THINKER).with_structured_output(Event, method=method).astream(talk.prompt)]
        same(values[-1], Event(**EVENT), method)
        talk.reached([talk.prompt])


async def count_tokens():
    def count(*arguments, **settings):
        return asyncio.to_thread(chat().get_num_tokens_from_messages, *arguments, **settings)

    messages = [SystemMessage("Be brief."), HumanMessage("Hello there")]
    short, long = await count(messages), await count(messages, tools=[get_weather])
    check(0 < short < long, f"{short}, {long}")


async def errors():
    for name, kind, code in (
        ("model_not_found", anthropic.NotFoundError, "model_not_found"),
        ("rate_limited_hours", anthropic.RateLimitError, "quota_exceeded"),
    ):
        for streams in (False, True):
            talk = Talk(f"[[fake fail=recorded name={name}]]")
            error = await error_of(kind, answer_of(chat(), talk.prompt, streams))
            same(error.body["error"]["code"], code)


run([
    plain, limits, bind_tools, native_calls, tool_choice, structured_function_calling, structured_json_schema,
    structured_streams, count_tokens, errors,
])  # fmt: skip
