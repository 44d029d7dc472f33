"""Videos with the official `openai` package, with both of its clients. Prints `ok` or `FAILED` a case.

The environment names the server (BASE_URL, API_KEY) and the fake site behind it (SITE_URL), which follows the directives in the
prompts and tells how often it was asked: each request to the site is a video of the day.
"""

import asyncio
import json
import os
import sys
import urllib.request
import uuid
import warnings
from pathlib import Path
from urllib.parse import urlencode

import openai
from python_sdk import Sdk, check, each, refusal, run, same, settle

FILES = Path(__file__).parents[1] / "files"
# The package marks each method of its videos as deprecated.
warnings.simplefilter("ignore", DeprecationWarning)


class Filmer(Sdk):
    """A client that retries as it does by default, and checks answers by their types."""

    def __init__(self, name):
        super().__init__(name, max_retries=2, _strict_response_validation=True)

    @property
    def videos(self):
        return self.client.videos

    async def begin(self, prompt, **wishes):
        return await settle(self.videos.create(prompt=prompt, **wishes))

    async def film(self, prompt, **wishes):
        return await settle(self.videos.create_and_poll(prompt=prompt, **wishes))


def words(directive="polls=0"):
    """A prompt that nobody else has."""
    return f"[[fake {directive}]] a kite {uuid.uuid4().hex}"


def asked(prompt):
    """What reached the site for a prompt."""
    query = urlencode({"word": prompt.split()[-1]})
    with urllib.request.urlopen(f"{os.environ['SITE_URL']}/fake/media?{query}", timeout=30) as answer:
        return json.load(answer)


def shape(prompt):
    """Of each job: its kind, the shape, the number of first frames."""
    return [(job["chat_type"], job["size"], job["files"]) for job in asked(prompt)["jobs"]]


def plain(method, path, body=None):
    """A request as LobeHub sends it: JSON and the key, no SDK."""
    headers = {"authorization": f"Bearer {os.environ['API_KEY']}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["BASE_URL"] + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, answer.read()


async def made_and_downloaded(sdk):
    prompt = words("polls=1 bytes=70000")
    made = await sdk.film(prompt, model="sora-2", size="1280x720", seconds="4")
    same((made.status, made.progress, made.error, made.model), ("completed", 100, None, "sora-2"), "job")
    same((made.seconds, made.prompt), ("5", prompt), "fields")
    check(sdk.sent[0].headers["content-type"].startswith("multipart/form-data"), "the SDK sends a form")
    # Without the header it would ask every second.
    check(len(sdk.sent) <= 5, f"requests: {len(sdk.sent)}")
    same(shape(prompt), [("t2v", "16:9", 0)], "jobs")
    content = await settle(sdk.videos.download_content(made.id))
    same((len(content.content), content.content[4:8]), (70000, b"ftyp"), "content")
    same(content.response.headers["content-type"], "video/mp4", "type")
    again = await settle(sdk.videos.download_content(made.id, variant="video"))
    same(again.content, content.content, "bytes")
    error = await refusal(openai.BadRequestError, 400, sdk.videos.download_content, made.id, variant="thumbnail")
    same(error.code, "unsupported_value", "code")


async def a_first_frame(sdk):
    prompt = words()
    begun = await sdk.begin(prompt, input_reference=FILES / "truecolor.png", size="720x1280")
    check(begun.status in ("queued", "in_progress"), begun.status)
    same([(kind, files) for kind, _, files in shape(prompt)], [("i2v", 1)], "jobs")


async def listed_and_forgotten(sdk):
    ids = [(await sdk.begin(words("polls=9"))).id for _ in range(3)]
    page = await settle(sdk.videos.list(limit=2))
    same(([video.id for video in page.data], page.has_more), (ids[:0:-1], True), "newest first")
    found = [video.id async for video in each(await settle(sdk.videos.list(limit=1, order="asc")))]
    same(found[-3:], ids, "page by page")
    same((await settle(sdk.videos.retrieve(ids[0]))).id, ids[0], "one")
    gone = await settle(sdk.videos.delete(ids[0]))
    same((gone.id, gone.deleted, gone.object), (ids[0], True, "video.deleted"), "answer")
    for ask in (sdk.videos.retrieve, sdk.videos.delete, sdk.videos.download_content):
        error = await refusal(openai.NotFoundError, 404, ask, ids[0])
        same(error.code, "video_not_found", "code")


async def content_before_the_end(sdk):
    begun = await sdk.begin(words("polls=9"))
    error = await refusal(openai.BadRequestError, 400, sdk.videos.download_content, begun.id)
    same(error.code, "video_not_ready", "code")


async def a_failed_job(sdk):
    made = await sdk.film(words("polls=0 end_state=failed message=no%20luck"))
    same((made.status, made.error.code), ("failed", "video_failed"), "job")
    error = await refusal(openai.BadRequestError, 400, sdk.videos.download_content, made.id)
    same(error.code, "video_failed", "code")


async def a_used_up_quota_is_not_asked_again(sdk):
    prompt = words("fail=video_quota")
    error = await refusal(openai.RateLimitError, 429, sdk.videos.create, prompt=prompt)
    same((error.code, error.response.headers["x-should-retry"]), ("quota_exceeded", "false"), "error")
    same((asked(prompt)["requests"], len(sdk.sent)), (1, 1), "requests")


async def json_as_lobehub_sends_it(_sdk):
    prompt = words("polls=0 bytes=5000")
    begun = json.loads(plain("POST", "/videos", {"model": "sora-2", "prompt": prompt, "seconds": "4"})[1])
    while True:
        job = json.loads(plain("GET", f"/videos/{begun['id']}")[1])
        if job["status"] not in ("queued", "in_progress"):
            break
        await asyncio.sleep(1)
    same(job["status"], "completed", "status")
    headers, content = plain("GET", f"/videos/{begun['id']}/content")
    same((headers["content-type"], len(content), content[4:8]), ("video/mp4", 5000, b"ftyp"), "content")


CASES = [
    made_and_downloaded,
    a_first_frame,
    listed_and_forgotten,
    content_before_the_end,
    a_failed_job,
    a_used_up_quota_is_not_asked_again,
    json_as_lobehub_sends_it,
]

sys.exit(asyncio.run(run(CASES, Filmer)))
