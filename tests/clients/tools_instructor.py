"""instructor in three of its modes. Called as fake_site.py says; prints `ok` or `FAILED` a case."""

import json

import instructor
import openai
from fake_site import API_KEY, BASE_URL, EVENT, FENCED, PLAIN, THINKER, UNFIT, Again, Event, Talk, call, check, entry, run, same

sdk = openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, timeout=60, max_retries=0)
TOOLS, JSON, JSON_SCHEMA = (
    instructor.from_openai(sdk, mode=mode)
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA)
)


async def value(client, talk, model=PLAIN, **wishes):
    got = await client.chat.completions.create(messages=talk.messages, model=model, response_model=Event, **wishes)
    check(isinstance(got, Event), f"{type(got)}")
    return got.model_dump()


async def tools():
    """A named tool. Models also write the bare arguments."""
    for answers in ((call("Event", EVENT),), (json.dumps(EVENT),), ("It is the fair.", call("Event", EVENT))):
        talk = Talk(*answers)
        same(await value(TOOLS, talk, max_retries=0), EVENT, "value")
        later = [Again(["[You did not call "])] * (len(answers) - 1)
        talk.reached([entry("Event"), "[Call the function Event ", talk.prompt], *later)


async def tools_retried():
    """The library asks again itself, in the same chat."""
    talk = Talk(call("Event", json.loads(UNFIT)), call("Event", EVENT))
    same(await value(TOOLS, talk, max_retries=2), EVENT, "value")
    talk.reached([entry("Event"), talk.prompt], ["[TOOL RESULT #1: Event]", "alidation"])


async def json_mode():
    talk = Talk(FENCED)
    same(await value(JSON, talk, max_retries=0), EVENT, "value")
    talk.reached([talk.prompt, '"guests"', "[Answer with nothing but one JSON object: "])


async def json_mode_retried():
    talk = Talk(UNFIT, FENCED)
    same(await value(JSON, talk, max_retries=2), EVENT, "value")
    talk.reached([talk.prompt, '"guests"'], ["alidation", "[Answer with nothing but one JSON object: "])


async def json_schema():
    """The server asks once more for what does not fit."""
    for answers in ((FENCED,), (UNFIT, FENCED)):
        talk = Talk(*answers)
        same(await value(JSON_SCHEMA, talk, max_retries=0), EVENT, "value")
        later = [Again(["does not fit the schema"])] * (len(answers) - 1)
        talk.reached([talk.prompt, "fits the following JSON schema", '"enum":["public","private"]'], *later)


async def partial_values():
    for client, answer in ((TOOLS, call("PartialEvent", EVENT)), (JSON, FENCED), (JSON_SCHEMA, FENCED)):
        talk = Talk(answer, piece=3)
        values = client.chat.completions.create_partial(messages=talk.messages, model=THINKER, response_model=Event)
        values = [value async for value in values]
        same(values[-1].model_dump(), EVENT, "value")
        check(client is TOOLS or len(values) > 5, f"{len(values)} values")
        talk.reached([talk.prompt])


run([tools, tools_retried, json_mode, json_mode_retried, json_schema, partial_values])
