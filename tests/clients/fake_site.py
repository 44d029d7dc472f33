"""Shared by the cases with tools and structured output: talks with the fake site, what reached it, and checks.

The environment names the server (BASE_URL, API_KEY) and the fake site behind it (SITE_URL). The fake plays the model: each talk
has answers, one a turn, which stand at the site under the talk's unique word. What the model was asked is read from the site.

With SECOND_UPSTREAM=1 the fake behind the server is the second upstream, which knows tools and formats by itself: a call in an
answer is a native one there, and each turn brings the whole conversation.
"""

import asyncio
import json
import os
import sys
import time
import traceback
import urllib.request
import uuid
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel

BASE_URL, API_KEY, SITE_URL = (os.environ[name] for name in ("BASE_URL", "API_KEY", "SITE_URL"))
IS_SECOND = os.environ.get("SECOND_UPSTREAM") == "1"
THINKER, PLAIN = "qwen3-max", "qwen3-coder-plus"
# Parts of the prompts and of the site's refusals; no client may see them.
MARKERS = ("TOOL CALL", "TOOL RESULT", "<tool_call", "<tools>", "<function=", "does not exist")
REMINDER = "[Functions are called with a [TOOL CALL] block as described above"

# What the structured cases ask for, and an answer of the site.
EVENT = {"name": 'The "Fair" of Köln', "day": 7, "guests": ["Ann", "Bob"], "kind": "public"}
FENCED = f"Here you are:\n```json\n{json.dumps(EVENT, ensure_ascii=False, indent=2)}\n```\nAnything else?"
# Of the wrong type, and without required fields.
UNFIT = '{"name": "Fair", "day": "Sunday"}'


class Event(BaseModel):
    """Something that people go to."""

    name: str
    day: int
    guests: list[str]
    kind: Literal["public", "private"]


def percent(text):
    return quote(text, safe="")


def call(name, arguments):
    """A call in the form that the server teaches."""
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"[TOOL CALL]\n{body}\n[END TOOL CALL]"


def native(*calls):
    """A step of native calls, which the site refuses."""
    words = [f"call={name} args={percent(json.dumps(arguments))}" for name, arguments in calls]
    return f"[[fake {' '.join(words)}]]"


def result(number, name, text):
    """How the site is told of a result."""
    return f"[TOOL RESULT #{number}: {name}]\n{text}\n[END TOOL RESULT]"


def entry(name):
    """How an entry of the catalogue begins."""
    return f'{{"type":"function","function":{{"name":"{name}"'


class Again(tuple):
    """The texts of a turn in which the server itself asks once more: it replaces the one before, and has all of its text."""


class Talk:
    """A conversation whose answers are known."""

    def __init__(self, *answers, piece=5, keys=""):
        self.word = f"talk-{uuid.uuid4().hex}"
        self.prompt = f"{self.word}: what now?"
        steps = "|".join(percent(answer) for answer in answers)
        directive = f"steps={steps} piece={piece} {keys}"
        body = json.dumps({"marker": self.word, "directive": directive}).encode()
        request = urllib.request.Request(f"{SITE_URL}/fake/directive", body, {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()

    @property
    def messages(self):
        return [{"role": "user", "content": self.prompt}]

    def turns(self, count):
        """What the model was asked, turn by turn: the message before, and the text. There is one chat with so many turns."""
        # The last answer may be recorded after the client has it.
        for _ in range(100):
            with urllib.request.urlopen(f"{SITE_URL}/fake/chats?word={self.word}", timeout=30) as answer:
                chats = [chat["messages"] for chat in json.load(answer)]
            asked = [[message for message in messages if message["role"] == "user"] for messages in chats]
            if len(asked) == 1 and len(asked[0]) >= count:
                break
            time.sleep(0.05)
        same([len(messages) for messages in asked], [count], "turns of each chat")
        return [(message["parent"], message["text"]) for message in asked[0]]

    def reached(self, *turns):
        """Checks what reached the site: one chat, these texts in each turn, and in later turns nothing but their news."""
        if IS_SECOND:
            self.reached_second(len(turns))
            return
        before = (None, "")
        for number, ((parent, prompt), texts) in enumerate(zip(self.turns(len(turns)), turns, strict=True), 1):
            for text in texts:
                check(text in prompt, f"turn {number} lacks {text!r}: {prompt!r}")
            if isinstance(texts, Again):
                check(parent == before[0] and prompt.startswith(before[1]), f"turn {number} is no other {before!r}: {prompt!r}")
            elif number > 1:
                for text in (self.word, "<tools>"):
                    check(text not in prompt, f"turn {number} repeats {text!r}: {prompt!r}")
            before = (parent, prompt)

    def reached_second(self, count):
        """Checks that the second upstream got so many turns, each with all that was said before."""
        with urllib.request.urlopen(f"{SITE_URL}/fake/asked?word={self.word}", timeout=30) as answer:
            asked = [body["messages"] for body in json.load(answer)]
        same(len(asked), count, "turns")
        for before, after in zip(asked, asked[1:], strict=False):
            check(after[: len(before)] == before and len(after) > len(before), f"{after} does not go on from {before}")


def clean(*shown):
    """Checks that nothing that a client shows holds a marker."""
    for item in shown:
        text = item if isinstance(item, str) else repr(item)
        found = [marker for marker in MARKERS if marker in text]
        check(not found, f"markers {found} in {text}")


def same(got, expected, what="value"):
    if got != expected:
        raise AssertionError(f"{what}: got {got!r}, expected {expected!r}")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


async def error_of(kind, job):
    """Returns the error that the job fails with."""
    try:
        got = await job
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}, but {got!r}")


def run(cases):
    """Runs the cases named on the command line, or all, some at the same time. Exits with 1 if one failed."""
    wanted, places = set(sys.argv[1:]), asyncio.Semaphore(4)

    async def attempt(case):
        try:
            async with places:
                await asyncio.wait_for(case(), 60)
        except Exception as error:  # run the other cases
            lines = traceback.extract_tb(error.__traceback__)
            place = next((f"{line.name}:{line.lineno}" for line in reversed(lines) if "/tests/clients/" in line.filename), "")
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"FAILED {case.__name__} at {place}: {reason}", flush=True)
            return True
        print(f"ok {case.__name__}", flush=True)
        return False

    async def attempt_all():
        return await asyncio.gather(*(attempt(case) for case in cases if not wanted or case.__name__ in wanted))

    sys.exit(any(asyncio.run(attempt_all())))
