"""pydantic-ai's agents with tools and its three kinds of output. Called as fake_site.py says; prints `ok` or `FAILED` a case."""

import json

from fake_site import (
    API_KEY, BASE_URL, EVENT, FENCED, PLAIN, THINKER, UNFIT, Again, Event, Talk, call, check, clean, entry, native,
    result, run, same,
)  # fmt: skip
from pydantic_ai import Agent, ModelRetry, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

ROME, LOST = {"city": 'Rome "centro"', "days": 2}, {"city": "Nowhere", "days": 1}


def agent(model=PLAIN, tools=(), **wishes):
    chat = OpenAIChatModel(model, provider=OpenAIProvider(base_url=BASE_URL, api_key=API_KEY))
    return Agent(chat, tools=tools, **wishes)


def get_weather(city: str, days: int) -> str:
    """The weather of a city."""
    if city == "Nowhere":
        raise ModelRetry("no such city")
    return f"sun in {city} for {days}"


async def tools():
    """The model learns of calls that failed. The library declares `strict`: the server asks again for what does not fit, but not
    once it has sent thinking.
    """
    for streams in (False, True):
        answers = [call("get_weather", LOST), call("get_weather", {"city": "Rome"}), call("get_weather", ROME), "It is sunny."]
        talk = Talk(*answers)
        helper = agent(THINKER, [get_weather], instructions="Be brief.", retries=3)
        if streams:
            async with helper.run_stream(talk.prompt) as got:
                text = "".join([delta async for delta in got.stream_text(delta=True)])
                messages = got.all_messages()
        else:
            got = await helper.run(talk.prompt)
            text, messages = got.output, got.all_messages()
        same(text, "It is sunny.")
        clean([part for message in messages if message.kind == "response" for part in message.parts])
        unfit = ["[TOOL RESULT #1: get_weather]", "Field required"] if streams else Again(["do not fit the function's schema"])
        talk.reached(
            ["Be brief.", entry("get_weather"), talk.prompt],
            ["[TOOL RESULT #1: get_weather]", "no such city"],
            unfit,
            [result(1, "get_weather", 'sun in Rome "centro" for 2')],
        )


async def unknown_tool():
    talk = Talk(call("get_time", {}), "I cannot.")
    same((await agent(PLAIN, [get_weather]).run(talk.prompt)).output, "I cannot.")
    talk.reached([entry("get_weather")], ["[TOOL RESULT #1: get_time]", "Unknown tool name"])


async def native_calls():
    talk = Talk(native(("get_weather", ROME), ("get_weather", ROME | {"days": 3})), "It is sunny.")
    got = await agent(THINKER, [get_weather]).run(talk.prompt)
    same(got.output, "It is sunny.")
    prompts = [prompt for _, prompt in talk.turns(2)]
    for text in (result(1, "get_weather", 'sun in Rome "centro" for 2'), result(2, "get_weather", 'sun in Rome "centro" for 3')):
        check(text in prompts[1], f"{text} in {prompts[1]}")
    check("does not exist" not in "".join(prompts), f"refusals in {prompts}")


async def tool_output():
    """The default: a tool that has to be called. The server asks once more for an answer without a call."""
    for output, name in ((Event, "final_result"), (ToolOutput(Event, name="event"), "event")):
        for answers in ((call(name, EVENT),), ("It is the fair.", call(name, EVENT))):
            talk = Talk(*answers)
            same((await agent(output_type=output).run(talk.prompt)).output, Event(**EVENT), name)
            later = [Again(["[You did not call "])] * (len(answers) - 1)
            talk.reached([entry(name), "[Call at least one function", talk.prompt], *later)


async def tool_output_after_tools():
    talk = Talk(call("get_weather", ROME), call("final_result", EVENT))
    same((await agent(PLAIN, [get_weather], output_type=Event).run(talk.prompt)).output, Event(**EVENT), "value")
    talk.reached(
        [entry("get_weather"), entry("final_result"), talk.prompt],
        [result(1, "get_weather", 'sun in Rome "centro" for 2'), "[Call at least one function"],
    )


async def tool_output_streamed():
    talk = Talk(call("final_result", EVENT), piece=3)
    async with agent(THINKER, output_type=Event).run_stream(talk.prompt) as got:
        same(await got.get_output(), Event(**EVENT), "value")
    talk.reached([entry("final_result"), talk.prompt])


async def native_output():
    """`json_schema`: the server asks once more for what does not fit."""
    for answers in ((FENCED,), (UNFIT, json.dumps(EVENT))):
        talk = Talk(*answers)
        same((await agent(output_type=NativeOutput(Event)).run(talk.prompt)).output, Event(**EVENT), "value")
        later = [Again(["does not fit the schema"])] * (len(answers) - 1)
        talk.reached([talk.prompt, "fits the following JSON schema", '"enum":["public","private"]'], *later)


async def native_output_after_tools():
    talk = Talk(call("get_weather", ROME), FENCED)
    helper = agent(PLAIN, [get_weather], output_type=NativeOutput(Event))
    same((await helper.run(talk.prompt)).output, Event(**EVENT), "value")
    weather = result(1, "get_weather", 'sun in Rome "centro" for 2')
    talk.reached([entry("get_weather"), "JSON schema", talk.prompt], [weather, "JSON schema"])


async def native_output_streamed():
    talk = Talk(FENCED, piece=3)
    async with agent(THINKER, output_type=NativeOutput(Event)).run_stream(talk.prompt) as got:
        partial = [value async for value in got.stream_output(debounce_by=None)]
    same(partial[-1], Event(**EVENT), "value")
    talk.reached([talk.prompt, "JSON schema"])


async def prompted_output():
    """`json_object`, with the schema in the library's instructions."""
    talk = Talk(FENCED)
    same((await agent(output_type=PromptedOutput(Event)).run(talk.prompt)).output, Event(**EVENT), "value")
    talk.reached([talk.prompt, '"enum"', "[Answer with nothing but one JSON object: "])


run([
    tools, unknown_tool, native_calls, tool_output, tool_output_after_tools, tool_output_streamed, native_output,
    native_output_after_tools, native_output_streamed, prompted_output,
])  # fmt: skip
