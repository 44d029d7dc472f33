"""openai-agents and LangChain's `use_responses_api` against a running server. Called as responses_openai.py says."""

import asyncio
import json
import os
import sys
import traceback

import agents
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import BaseModel
from python_sdk import PLAIN, check, percent, same

BASE_URL, API_KEY = os.environ["BASE_URL"], os.environ["API_KEY"]
PERSON = {"name": "Ada", "age": 36}


class Person(BaseModel):
    name: str
    age: int


def call(name, /, **arguments):
    return f"[TOOL CALL]\n{json.dumps({'name': name, 'arguments': arguments})}\n[END TOOL CALL]"


def steps(*answers):
    return f"[[fake piece=5 steps={'|'.join(percent(answer) for answer in answers)}]]"


@agents.function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@tool("get_weather")
def langchain_weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def agent(**settings):
    client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
    model = agents.OpenAIResponsesModel(model=PLAIN, openai_client=client)
    return agents.Agent(name="Helper", instructions="Be brief.", model=model, **settings)


LOOP = (f"I look.\n{call('get_weather', city='Oslo')}\n{call('get_weather', city='Rome')}", call("get_weather", city="Bern"), "It rains.")


async def agents_loop():
    result = await agents.Runner.run(agent(tools=[get_weather]), steps(*LOOP))
    same(result.final_output, "It rains.", "output")
    results = [item.output for item in result.new_items if item.type == "tool_call_output_item"]
    same(results, ["rain in Oslo", "rain in Rome", "rain in Bern"], "results")


async def agents_stream():
    result = agents.Runner.run_streamed(agent(tools=[get_weather]), steps(*LOOP))
    kinds = {event.type async for event in result.stream_events()}
    same(result.final_output, "It rains.", "output")
    check("raw_response_event" in kinds, f"events: {kinds}")


async def agents_previous_response():
    first = await agents.Runner.run(agent(tools=[get_weather]), steps("One.", "Two."))
    second = await agents.Runner.run(agent(), "And then?", previous_response_id=first.last_response_id)
    same((first.final_output, second.final_output), ("One.", "Two."))


async def agents_output_type():
    answer = f"Sure:\n```json\n{json.dumps(PERSON)}\n```"
    result = await agents.Runner.run(agent(output_type=Person), steps(answer))
    same(result.final_output, Person(**PERSON), "output")
    result = await agents.Runner.run(agent(output_type=Person, tools=[get_weather]), steps(LOOP[1], answer))
    same(result.final_output, Person(**PERSON), "output after a tool")


def chat(**settings):
    return ChatOpenAI(base_url=BASE_URL, api_key=API_KEY, model=PLAIN, max_retries=0, use_responses_api=True, **settings)


async def langchain_loop(streams=False, **settings):
    model = chat(**settings).bind_tools([langchain_weather])
    messages, made = [HumanMessage(steps(*LOOP))], []
    for _ in range(5):
        if streams:
            answer = None
            async for chunk in model.astream(messages):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = await model.ainvoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            break
        for one in answer.tool_calls:
            made.append(one["args"]["city"])
            messages.append(ToolMessage(f"rain in {one['args']['city']}", tool_call_id=one["id"]))
    same((made, answer.text), (["Oslo", "Rome", "Bern"], "It rains."))


async def langchain_stream():
    await langchain_loop(streams=True)


async def langchain_previous_response():
    await langchain_loop(use_previous_response_id=True)


async def langchain_structured():
    model = chat().with_structured_output(Person, method="json_schema")
    same(await model.ainvoke(steps(f"Sure: {json.dumps(PERSON)}")), Person(**PERSON))
    model = chat().with_structured_output(Person, method="function_calling")
    same(await model.ainvoke(steps(call("Person", **PERSON))), Person(**PERSON))


CASES = [
    agents_loop, agents_stream, agents_previous_response, agents_output_type, langchain_loop, langchain_stream,
    langchain_previous_response, langchain_structured,
]  # fmt: skip


async def run():
    failed = False
    for case in CASES:
        if sys.argv[1:] and case.__name__ not in sys.argv[1:]:
            continue
        try:
            await asyncio.wait_for(case(), 60)
            print(f"ok {case.__name__}", flush=True)
        except Exception as error:  # run the other cases
            failed = True
            traceback.print_exc()
            print(f"FAILED {case.__name__}: {' '.join(f'{type(error).__name__}: {error}'.split())}", flush=True)
    return failed


agents.set_tracing_disabled(True)
sys.exit(asyncio.run(run()))
