"""Shared by the cases of the `openai` package: a common interface of its two clients, and checks."""

import asyncio
import contextlib
import inspect
import os
import sys
from urllib.parse import quote

import openai

THINKER, PLAIN = "qwen3-max", "qwen3-coder-plus"


class Sdk:
    """The synchronous or the asynchronous client; `settle` and `each` work with both."""

    def __init__(self, name, **options):
        self.name, self.sent = name, []
        settings = {"base_url": os.environ["BASE_URL"], "api_key": os.environ["API_KEY"]}
        settings |= {"timeout": 60, "max_retries": 0} | options
        if name == "sync":
            http = openai.DefaultHttpxClient(event_hooks={"request": [self.sent.append]})
            self.client = openai.OpenAI(http_client=http, **settings)
        else:
            http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [self.note]})
            self.client = openai.AsyncOpenAI(http_client=http, **settings)

    async def note(self, request):
        self.sent.append(request)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await settle(self.client.close())

    def create(self, directive, line="hi", model=PLAIN, **wishes):
        return self.ask(prompt(directive, line), model, **wishes)

    async def ask(self, messages, model, **wishes):
        return await settle(self.client.chat.completions.create(messages=messages, model=model, **wishes))

    async def chunks(self, directive, **wishes):
        return [chunk async for chunk in each(await self.create(directive, stream=True, **wishes))]

    async def gather(self, jobs):
        """Runs all jobs concurrently, in threads if the client is synchronous."""
        if self.name == "sync":
            jobs = [asyncio.to_thread(asyncio.run, job) for job in jobs]
        return await asyncio.gather(*jobs)


def prompt(directive, line="hi"):
    return [{"role": "user", "content": f"[[fake {directive}]] {line}"}]


def percent(text):
    return quote(text, safe="")


async def settle(value):
    return await value if inspect.isawaitable(value) else value


async def each(stream):
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


@contextlib.asynccontextmanager
async def entered(manager):
    async with contextlib.AsyncExitStack() as stack:
        if hasattr(manager, "__aenter__"):
            yield await stack.enter_async_context(manager)
        else:
            yield stack.enter_context(manager)


async def refusal(kind, status, ask, *arguments, **wishes):
    """Returns the error; checks its exact class and its status."""
    try:
        await settle(ask(*arguments, **wishes))
    except openai.APIStatusError as error:
        same((type(error), error.status_code), (kind, status), f"error: {error}")
        if not (error.message and error.request_id):
            raise AssertionError(f"no message or request id: {error!r}") from error
        return error
    raise AssertionError(f"no {kind.__name__}")


def same(got, expected, what="value"):
    if got != expected:
        raise AssertionError(f"{what}: got {got!r}, expected {expected!r}")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def content_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def reasoning(delta):
    return getattr(delta, "reasoning_content", None) or ""


def finishes(chunks):
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


async def run(cases, client=Sdk):
    """Runs the cases named on the command line, or all, with both clients. Returns whether one failed."""
    wanted, failed = set(sys.argv[1:]), False
    for kind in ("sync", "async"):
        for case in cases:
            name = f"{kind}/{case.__name__}"
            if wanted and not {name, case.__name__} & wanted:
                continue
            try:
                async with client(kind) as sdk:
                    await case(sdk)
                print(f"ok {name}", flush=True)
            except Exception as error:  # run the other cases
                failed = True
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                print(f"FAILED {name}: {reason}", flush=True)
    return failed
