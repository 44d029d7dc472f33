"""Tools and structured output with the official `openai` package. Called as fake_site.py says; prints `ok` or `FAILED` a case."""

import asyncio
import json

import openai
from fake_site import (
    API_KEY, BASE_URL, EVENT, FENCED, PLAIN, REMINDER, THINKER, UNFIT, Again, Event, Talk, call, check, clean, entry, error_of,
    native, result, run, same,
)  # fmt: skip
from pydantic import BaseModel, Field

WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"name": "get_weather", "description": "The weather of a city.", "parameters": WEATHER_SCHEMA}
CLOCK = {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": function} for function in (WEATHER, CLOCK)]
# The catalogue as the site is told of it.
CATALOGUE = [json.dumps({"type": "function", "function": function}, separators=(",", ":")) for function in (WEATHER, CLOCK)]
ROME, PARIS = {"city": 'Rome "centro"\n', "days": 2}, {"city": "Köln 🙂"}
TWO_CALLS = f"I look it up.\n{call('get_weather', ROME)}\n{call('get_weather', PARIS)}"
TWO_NATIVE = native(("get_weather", ROME), ("get_weather", PARIS))
FIT = {"city": "Rome", "days": 2}

sdk = openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, timeout=60, max_retries=0)
completions = sdk.chat.completions


class GetWeather(BaseModel):
    """The weather of a city."""

    city: str = Field(description="Its name.")
    days: int


STRICT = openai.pydantic_function_tool(GetWeather)


async def streamed(messages, **wishes):
    """An answer of a stream, put together: its text, its calls, its finish reasons. Checks the form of the deltas."""
    chunks = [chunk async for chunk in await completions.create(messages=messages, stream=True, **wishes)]
    text, thinking, calls, finishes = "", "", [], []
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        check(not finishes, "a choice after the finish")
        text += choice.delta.content or ""
        thinking += getattr(choice.delta, "reasoning_content", None) or ""
        parts = choice.delta.tool_calls or []
        check(len(parts) <= 1, f"calls in one chunk: {parts}")
        check(not (parts and choice.delta.content), f"text beside a call: {choice.delta}")
        for part in parts:
            if part.index == len(calls):
                check(part.id and part.type == "function" and part.function.name, f"first delta of a call: {part}")
                calls.append({"id": part.id, "name": part.function.name, "arguments": ""})
            else:
                same((part.index, part.id, part.function.name), (len(calls) - 1, None, None), "delta of a call")
            calls[-1]["arguments"] += part.function.arguments or ""
        finishes += [choice.finish_reason] if choice.finish_reason else []
    clean(text, thinking, calls)
    return text, calls, finishes


def check_ids(ids):
    same(len(set(ids)), len(ids), "number of ids")
    check(all(id.startswith("call_") and len(id) == 29 and id[5:].isalnum() for id in ids), f"ids: {ids}")


async def tools_whole():
    for answer, text in ((TWO_CALLS, "I look it up."), (TWO_NATIVE, None)):
        for model in (PLAIN, THINKER):
            talk = Talk(answer)
            choice = (await completions.create(messages=talk.messages, model=model, tools=TOOLS)).choices[0]
            message = choice.message
            same((message.content and message.content.strip(), choice.finish_reason), (text, "tool_calls"))
            calls = [(part.type, part.function.name, json.loads(part.function.arguments)) for part in message.tool_calls]
            same(calls, [("function", "get_weather", ROME), ("function", "get_weather", PARIS)], "calls")
            check_ids([part.id for part in message.tool_calls])
            clean(message)
            talk.reached([*CATALOGUE, talk.prompt])


async def tools_streamed():
    for answer, text in ((TWO_CALLS, "I look it up."), (TWO_NATIVE, "")):
        for piece in (1, 3, 1000):
            talk = Talk(answer, piece=piece)
            content, calls, finish = await streamed(talk.messages, model=THINKER, tools=TOOLS)
            same((content.strip(), finish), (text, ["tool_calls"]), f"text, finish_reason, {piece}")
            got = [(part["name"], json.loads(part["arguments"])) for part in calls]
            same(got, [("get_weather", ROME), ("get_weather", PARIS)], "calls")
            check_ids([part["id"] for part in calls])
            talk.reached([*CATALOGUE, talk.prompt])


async def no_call_needed():
    text = "It is [fine], see `[TOOL`: x < 3 { and \"so\" on }."
    answer = await completions.create(messages=Talk(text, piece=2).messages, model=PLAIN, tools=TOOLS)
    same(answer.choices[0].message.content, text, "whole")
    got = await streamed(Talk(text, piece=2).messages, model=PLAIN, tools=TOOLS)
    same(got, (text, [], ["stop"]), "stream")


async def required_choices():
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice, told in (("required", "[Call at least one function"), (named, "[Call the function get_weather ")):
        # The second answer is that to the server's own question.
        for answers in ((call("get_weather", PARIS),), ("It is fine there.", call("get_weather", PARIS))):
            wishes = {"model": PLAIN, "tools": TOOLS, "tool_choice": choice}
            later = [Again(["[You did not call "])] * (len(answers) - 1)
            talk = Talk(*answers)
            content, calls, finish = await streamed(talk.messages, **wishes)
            got = [(part["name"], json.loads(part["arguments"])) for part in calls]
            same((content, got, finish), ("", [("get_weather", PARIS)], ["tool_calls"]), f"{choice}")
            talk.reached([*CATALOGUE, told], *later)
            talk = Talk(*answers)
            answer = (await completions.create(messages=talk.messages, **wishes)).choices[0]
            got = [(part.function.name, json.loads(part.function.arguments)) for part in answer.message.tool_calls]
            same((answer.message.content, got), (None, [("get_weather", PARIS)]), f"{choice}")
            same(answer.finish_reason, "tool_calls")
            talk.reached([*CATALOGUE, told], *later)


async def unsatisfied_choice():
    for wishes in ({}, {"stream": True}):
        talk = Talk("No.", "Never.", call("get_weather", ROME))
        job = completions.create(messages=talk.messages, model=PLAIN, tools=TOOLS, tool_choice="required", **wishes)
        error = await error_of(openai.InternalServerError, job)
        same((error.status_code, error.code), (502, "tool_choice_unsatisfied"), "error")
        talk.reached([], Again())


async def tool_loop():
    """Whole answers and streams in turn, with calls in the text and native ones. One chat has them all."""
    for native_too in (False, True):
        first = TWO_NATIVE if native_too else TWO_CALLS
        answers = [first, native(("clock", {})) if native_too else call("clock", {}), call("get_weather", PARIS), "It is sunny."]
        talk = Talk(*answers)
        messages = [{"role": "system", "content": "Be brief."}, *talk.messages]
        made, text = [], None
        for number in range(len(answers)):
            if number % 2 == 0:
                message = (await completions.create(messages=messages, model=THINKER, tools=TOOLS)).choices[0].message
                clean(message)
                text, calls = message.content, message.to_dict().get("tool_calls") or []
            else:
                text, parts, _ = await streamed(messages, model=THINKER, tools=TOOLS)
                calls = [
                    {"id": part["id"], "type": "function", "function": {"name": part["name"], "arguments": part["arguments"]}}
                    for part in parts
                ]
            if not calls:
                break
            messages.append({"role": "assistant", "content": text or None, "tool_calls": calls})
            for part in calls:
                made.append((part["function"]["name"], json.loads(part["function"]["arguments"])))
                messages.append({"role": "tool", "tool_call_id": part["id"], "content": f"result {len(made)}"})
        expected = [("get_weather", ROME), ("get_weather", PARIS), ("clock", {}), ("get_weather", PARIS)]
        same((text, made), ("It is sunny.", expected))
        turns = [
            [*CATALOGUE, "Be brief.", talk.prompt],
            [result(1, "get_weather", "result 1"), result(2, "get_weather", "result 2")],
            [result(1, "clock", "result 3")],
            [result(1, "get_weather", "result 4"), REMINDER],
        ]
        if native_too:
            # Behind a native call the site has a refusal: the next turn says again what it replaces.
            prompts = [prompt for _, prompt in talk.turns(4)]
            for prompt, texts in zip(prompts, turns, strict=True):
                check(all(text in prompt for text in texts), f"{texts} in {prompt!r}")
            check("does not exist" not in "".join(prompts), f"refusals in {prompts}")
        else:
            talk.reached(*turns)
            check(all(REMINDER in prompt for _, prompt in talk.turns(4)[1:]), "a reminder in each later turn")


async def stream_helper():
    answer = f"I look.\n{call('GetWeather', FIT)}\n{call('GetWeather', FIT | {'days': 3})}"
    talk = Talk(answer, piece=3)
    async with completions.stream(messages=talk.messages, model=THINKER, tools=[STRICT]) as helper:
        events = [event async for event in helper]
        final = await helper.get_final_completion()
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    expected = [(0, GetWeather(**FIT)), (1, GetWeather(city="Rome", days=3))]
    same([(event.index, event.parsed_arguments) for event in done], expected, "done events")
    deltas = [event.arguments_delta for event in events if event.type == "tool_calls.function.arguments.delta"]
    same("".join(deltas), json.dumps(FIT) + json.dumps(FIT | {"days": 3}), "argument deltas")
    message = final.choices[0].message
    same((message.content.strip(), final.choices[0].finish_reason), ("I look.", "tool_calls"))
    parsed = [part.function.parsed_arguments for part in message.tool_calls]
    same(parsed, [arguments for _, arguments in expected], "parsed_arguments")
    clean(message, "".join(event.delta for event in events if event.type == "content.delta"))
    talk.reached([entry("GetWeather"), '"description":"Its name."', talk.prompt])


async def strict_tools():
    """The package declares such a tool with `strict`: arguments that do not fit are asked for once more."""
    for answers in ((call("GetWeather", FIT),), (call("GetWeather", {"city": "Rome"}), call("GetWeather", FIT))):
        talk = Talk(*answers)
        wishes = {"model": PLAIN, "tools": [STRICT], "tool_choice": "required"}
        answer = await completions.parse(messages=talk.messages, **wishes)
        parsed = [part.function.parsed_arguments for part in answer.choices[0].message.tool_calls]
        same(parsed, [GetWeather(**FIT)], "parsed_arguments")
        talk.reached([entry("GetWeather")], *[Again(["do not fit the function's schema"])] * (len(answers) - 1))


async def custom_tool():
    tool = {"type": "custom", "custom": {"name": "run_sql", "description": "Runs SQL."}}
    talk = Talk(call("run_sql", {"input": "SELECT 1;\n"}), "Done.")
    answer = (await completions.create(messages=talk.messages, model=PLAIN, tools=[tool])).choices[0]
    calls = [(part.type, part.custom.name, part.custom.input) for part in answer.message.tool_calls]
    same((calls, answer.finish_reason), ([("custom", "run_sql", "SELECT 1;\n")], "tool_calls"))
    messages = [*talk.messages, answer.message.to_dict()]
    messages.append({"role": "tool", "tool_call_id": answer.message.tool_calls[0].id, "content": "1"})
    answer = (await completions.create(messages=messages, model=PLAIN, tools=[tool])).choices[0]
    same((answer.message.content, answer.finish_reason), ("Done.", "stop"))
    talk.reached([entry("run_sql"), talk.prompt], [result(1, "run_sql", "1")])


async def legacy_functions():
    for stream in (False, True):
        talk = Talk(call("get_weather", ROME), "It is sunny.")
        messages, wishes = talk.messages, {"model": PLAIN, "functions": [WEATHER], "function_call": "auto"}
        if stream:
            chunks = [chunk async for chunk in await completions.create(messages=messages, stream=True, **wishes)]
            choices = [choice for chunk in chunks for choice in chunk.choices]
            deltas = [choice.delta.function_call for choice in choices if choice.delta.function_call]
            name = "".join(delta.name or "" for delta in deltas)
            arguments = "".join(delta.arguments or "" for delta in deltas)
            same([choice.finish_reason for choice in choices if choice.finish_reason], ["function_call"])
            clean("".join(choice.delta.content or "" for choice in choices), arguments)
        else:
            answer = (await completions.create(messages=messages, **wishes)).choices[0]
            name, arguments = answer.message.function_call.name, answer.message.function_call.arguments
            same((answer.message.content, answer.finish_reason), (None, "function_call"))
        same((name, json.loads(arguments)), ("get_weather", ROME))
        made = {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": arguments}}
        messages = [*messages, made, {"role": "function", "name": name, "content": "sun"}]
        answer = (await completions.create(messages=messages, **wishes)).choices[0]
        same((answer.message.content, answer.finish_reason), ("It is sunny.", "stop"))
        talk.reached([CATALOGUE[0], talk.prompt], [result(1, "get_weather", "sun")])
    talk = Talk(json.dumps(ROME))
    wishes = {"functions": [WEATHER, CLOCK], "function_call": {"name": "get_weather"}}
    answer = await completions.create(messages=talk.messages, model=PLAIN, **wishes)
    same(json.loads(answer.choices[0].message.function_call.arguments), ROME, "a named function")


async def parsed_model():
    for answer in (FENCED, json.dumps(EVENT)):
        talk = Talk(answer)
        choice = (await completions.parse(messages=talk.messages, model=THINKER, response_format=Event)).choices[0]
        same((choice.message.parsed, choice.finish_reason), (Event(**EVENT), "stop"))
        same((json.loads(choice.message.content), choice.message.refusal), (EVENT, None), "content, refusal")
        talk.reached([talk.prompt, "fits the following JSON schema", '"enum":["public","private"]'])


async def streamed_model():
    for piece in (1, 7, 1000):
        talk = Talk(FENCED, piece=piece)
        async with completions.stream(messages=talk.messages, model=THINKER, response_format=Event) as helper:
            events = [event async for event in helper]
            final = (await helper.get_final_completion()).choices[0]
        same((final.message.parsed, final.finish_reason), (Event(**EVENT), "stop"), "parsed, finish_reason")
        text = "".join(event.delta for event in events if event.type == "content.delta")
        same(json.loads(text), EVENT, "content.delta")
        partial = [event.parsed for event in events if event.type == "content.delta"]
        check(all(isinstance(value, dict) for value in partial if value), f"partial values: {partial}")
        if piece == 1:
            check(len(partial) > 10, f"{len(partial)} deltas")
        talk.reached([talk.prompt, "fits the following JSON schema"])


async def unfit_models():
    for answers, fault in (((UNFIT, FENCED), "day"), (("I cannot say.", FENCED), "")):
        talk = Talk(*answers)
        answer = await completions.parse(messages=talk.messages, model=PLAIN, response_format=Event)
        same(answer.choices[0].message.parsed, Event(**EVENT), "parsed")
        talk.reached([], Again(["[Your last answer does not fit the schema", fault]))
    talk = Talk(UNFIT, UNFIT, FENCED)
    job = completions.parse(messages=talk.messages, model=PLAIN, response_format=Event)
    error = await error_of(openai.InternalServerError, job)
    same((error.status_code, error.code), (502, "invalid_structured_output"), "error")
    talk.reached([], Again())


async def json_object():
    wishes = {"model": PLAIN, "response_format": {"type": "json_object"}}
    talk = Talk(FENCED)
    content = (await completions.create(messages=talk.messages, **wishes)).choices[0].message.content
    same(json.loads(content), EVENT, "whole")
    talk.reached([talk.prompt, "[Answer with nothing but one JSON object"])
    text, _, finish = await streamed(Talk(FENCED).messages, **wishes)
    same((json.loads(text), finish), (EVENT, ["stop"]), "stream")


async def tools_and_a_model():
    """A call comes first; the last answer has the form that was asked for."""
    talk = Talk(call("GetWeather", FIT), FENCED)
    messages, wishes = talk.messages, {"model": PLAIN, "tools": [STRICT], "response_format": Event}
    message = (await completions.parse(messages=messages, **wishes)).choices[0].message
    same([part.function.parsed_arguments for part in message.tool_calls], [GetWeather(**FIT)])
    messages = [*messages, message.to_dict()]
    messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sun"})
    same((await completions.parse(messages=messages, **wishes)).choices[0].message.parsed, Event(**EVENT))
    talk.reached([entry("GetWeather"), "JSON schema"], [result(1, "GetWeather", "sun"), "JSON schema"])


async def synchronous_client():
    def work():
        with openai.OpenAI(base_url=BASE_URL, api_key=API_KEY, timeout=60, max_retries=0) as client:
            talk = Talk(call("GetWeather", FIT), "It is sunny.")
            messages = talk.messages
            with client.chat.completions.stream(messages=messages, model=THINKER, tools=[STRICT]) as helper:
                message = helper.get_final_completion().choices[0].message
            same([part.function.parsed_arguments for part in message.tool_calls], [GetWeather(**FIT)])
            messages = [*messages, message.to_dict()]
            messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sun"})
            answer = client.chat.completions.parse(messages=messages, model=THINKER, tools=[STRICT])
            same(answer.choices[0].message.content, "It is sunny.")
            talk.reached([entry("GetWeather")], [result(1, "GetWeather", "sun")])

    await asyncio.to_thread(work)


run([
    tools_whole, tools_streamed, no_call_needed, required_choices, unsatisfied_choice, tool_loop, stream_helper,
    strict_tools, custom_tool, legacy_functions, parsed_model, streamed_model, unfit_models, json_object,
    tools_and_a_model, synchronous_client,
])  # fmt: skip
