"""LangChain's `ChatOpenAI` with tools and structured output. Called as fake_site.py says; prints `ok` or `FAILED` a case."""

import json

from fake_site import (
    API_KEY, BASE_URL, EVENT, FENCED, PLAIN, THINKER, Event, Talk, call, check, clean, entry, error_of, native, result,
    run, same,
)  # fmt: skip
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


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


def chat(model=PLAIN):
    return ChatOpenAI(base_url=BASE_URL, api_key=API_KEY, model=model, timeout=60, max_retries=0)


async def loop(model, talk, streams):
    """Calls tools until the model answers; returns its text and the results."""
    messages, results = [SystemMessage("Be brief."), HumanMessage(talk.prompt)], []
    for _ in range(8):
        if streams:
            answer = None
            async for chunk in model.astream(messages):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = await model.ainvoke(messages)
        clean(answer.content, answer.tool_calls)
        same(answer.invalid_tool_calls, [], "invalid_tool_calls")
        messages.append(answer)
        if not answer.tool_calls:
            same(answer.response_metadata["finish_reason"], "stop", "finish_reason")
            return answer.text, results
        same(answer.response_metadata["finish_reason"], "tool_calls", "finish_reason")
        for made in answer.tool_calls:
            try:
                got = await TOOLS[made["name"]].ainvoke(made)
            except ValueError as error:
                got = ToolMessage(f"Error: {error}", tool_call_id=made["id"], status="error")
            results.append(got.content)
            messages.append(got)
    raise AssertionError("no end")


async def loop_case(streams):
    both = f"I look.\n{call('get_weather', ROME)}\n{call('clock', {})}"
    talk = Talk(both, call("get_weather", {"city": "Bonn", "days": 1}), "It is sunny.")
    got = await loop(chat(THINKER).bind_tools(list(TOOLS.values())), talk, streams)
    results = ['sun in Rome "centro" for 2', "Error: it is broken", "sun in Bonn for 1"]
    same(got, ("It is sunny.", results))
    talk.reached(
        ["Be brief.", entry("get_weather"), entry("clock"), talk.prompt],
        [result(1, "get_weather", results[0]), result(2, "clock", results[1])],
        [result(1, "get_weather", results[2])],
    )


async def bind_tools():
    await loop_case(streams=False)


async def bind_tools_streamed():
    await loop_case(streams=True)


async def native_calls():
    """Calls that the site refused are calls for the client."""
    for streams in (False, True):
        talk = Talk(native(("get_weather", ROME)), "It is sunny.")
        got = await loop(chat(THINKER).bind_tools([get_weather]), talk, streams)
        same(got, ("It is sunny.", ['sun in Rome "centro" for 2']))
        prompts = [prompt for _, prompt in talk.turns(2)]
        check(result(1, "get_weather", 'sun in Rome "centro" for 2') in prompts[1], f"prompts: {prompts}")
        clean_of_refusals = "does not exist" not in "".join(prompts)
        check(clean_of_refusals, f"refusals in {prompts}")


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
        model = chat().with_structured_output(Event, method="function_calling")
        same(await model.ainvoke(talk.prompt), Event(**EVENT), "value")
        talk.reached([entry("Event"), "[Call the function Event ", talk.prompt])


async def structured_json_mode():
    talk = Talk(FENCED)
    same(await chat().with_structured_output(Event, method="json_mode").ainvoke(talk.prompt), Event(**EVENT), "value")
    talk.reached([talk.prompt, "[Answer with nothing but one JSON object: "])
    # In this mode the library alone knows the schema.
    job = chat().with_structured_output(Event, method="json_mode").ainvoke(Talk('{"name": 1}').prompt)
    await error_of(OutputParserException, job)


async def structured_json_schema():
    for strict in (None, True):
        talk = Talk(FENCED)
        model = chat().with_structured_output(Event, method="json_schema", strict=strict, include_raw=True)
        got = await model.ainvoke(talk.prompt)
        same((got["parsed"], got["parsing_error"]), (Event(**EVENT), None), "value")
        clean(got["raw"])
        talk.reached([talk.prompt, "fits the following JSON schema", '"enum":["public","private"]'])


async def structured_streams():
    for method, answer in (("function_calling", call("Event", EVENT)), ("json_mode", FENCED), ("json_schema", FENCED)):
        talk = Talk(answer, piece=3)
        values = [value async for value in chat(THINKER).with_structured_output(Event, method=method).astream(talk.prompt)]
        same(values[-1], Event(**EVENT), method)
        talk.reached([talk.prompt])


run([
    bind_tools, bind_tools_streamed, native_calls, tool_choice, structured_function_calling, structured_json_mode,
    structured_json_schema, structured_streams,
])  # fmt: skip
