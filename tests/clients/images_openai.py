"""Pictures with the official `openai` package, with both of its clients. Prints `ok` or `FAILED` a case.

The environment names the server (BASE_URL, API_KEY) and the fake site behind it (SITE_URL), which follows the directives in the
prompts and tells how often it was asked: each request to the site is a picture of the day.
"""

import asyncio
import base64
import json
import os
import sys
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlencode

import openai
from python_sdk import Sdk, check, each, refusal, run, same, settle

FILES = Path(__file__).parents[1] / "files"
PNG = b"\x89PNG"


class Drawer(Sdk):
    """A client that retries as it does by default, and checks answers by their types."""

    def __init__(self, name):
        super().__init__(name, max_retries=2, _strict_response_validation=True)

    @property
    def images(self):
        return self.client.images

    async def generate(self, prompt, **wishes):
        return await settle(self.images.generate(prompt=prompt, **wishes))

    async def edit(self, image, prompt, **wishes):
        return await settle(self.images.edit(image=image, prompt=prompt, **wishes))


def words(directive=""):
    """A prompt that nobody else has."""
    return f"[[fake {directive or 'pictures=1'}]] a kite {uuid.uuid4().hex}"


def asked(prompt):
    """What reached the site for a prompt."""
    query = urlencode({"word": prompt.split()[-1]})
    with urllib.request.urlopen(f"{os.environ['SITE_URL']}/fake/media?{query}", timeout=30) as answer:
        return json.load(answer)


def shape(prompt):
    """Of each job: its kind, the image model, the size, the number of pictures to draw from."""
    return [(job["chat_type"], job["model"], job["size"], job["files"]) for job in asked(prompt)["jobs"]]


def bytes_of(image):
    same(image.url, None, "url beside bytes")
    return base64.b64decode(image.b64_json, validate=True)


async def generated_as_bytes(sdk):
    prompt = words("px=928x1664")
    made = await sdk.generate(prompt, model="gpt-image-1", size="1024x1536", quality="high", n=2, moderation="low")
    same([bytes_of(image)[:4] for image in made.data], [PNG, PNG], "pictures")
    same((made.output_format, made.quality, made.background), ("png", "high", "opaque"), "fields")
    same(made.to_dict()["size"], "928x1664", "pixels")
    same((made.usage.total_tokens, made.usage.input_tokens_details.text_tokens), (0, 0), "usage")
    check(made.created > 1_700_000_000, f"created: {made.created}")
    same(shape(prompt), [("t2i", "qwen-image-3.0-pro", "3:4", 0)] * 2, "jobs")


async def generated_with_a_prompt_alone(sdk):
    prompt = words()
    made = await sdk.generate(prompt)
    same([bytes_of(image)[:4] for image in made.data], [PNG], "pictures")
    same(made.quality, None, "no word of OpenAI's")
    same(shape(prompt), [("t2i", None, "auto", 0)], "jobs")


async def generated_as_links(sdk):
    prompt = words("px=1664x928")
    made = await sdk.generate(prompt, model="dall-e-3", size="1792x1024", quality="hd", style="vivid")
    (image,) = made.data
    same((image.b64_json, made.to_dict()["size"]), (None, "1664x928"), "fields")
    check(image.url.startswith(os.environ["BASE_URL"] + "/media/"), f"link: {image.url}")
    # A browser has no key.
    with urllib.request.urlopen(image.url, timeout=30) as answer:
        same((answer.headers["content-type"], answer.read(4)), ("image/png", PNG), "what the link leads to")
    again = await sdk.generate(prompt, model="dall-e-3", size="1792x1024", quality="hd", response_format="b64_json")
    same(bytes_of(again.data[0])[:4], PNG, "the same as bytes")
    same(shape(prompt), [("t2i", "qwen-image-3.0-pro", "16:9", 0)], "one picture in two forms")


async def edited_with_one_file(sdk):
    prompt = words()
    picture = FILES / "truecolor.png"
    forms = (picture, ("sea.png", picture.read_bytes(), "image/png"), picture.read_bytes())
    for number, image in enumerate(forms):
        made = await sdk.edit(image, f"{number} {prompt}", model="gpt-image-1", input_fidelity="high", size="auto")
        same(bytes_of(made.data[0])[:4], PNG, f"form {number}")
    with picture.open("rb") as file:
        await sdk.edit(file, f"handle {prompt}", quality="low", n=1)
    same(shape(prompt), [("image_edit", None, None, 1)] * 3 + [("image_edit", "qwen-image-3.0", None, 1)], "jobs")


async def edited_with_several_files(sdk):
    prompt = words("echo=1")
    files = [FILES / "truecolor.png", ("boat.gif", (FILES / "gif87a.gif").read_bytes(), "image/gif"), FILES / "lossy.webp"]
    made = await sdk.edit(files, prompt, response_format="url")
    check(made.data[0].url.startswith(os.environ["BASE_URL"]), f"link: {made.data}")
    same((len(made.data), shape(prompt)), (1, [("image_edit", None, None, 3)]), "jobs")


async def an_edit_of_an_edit(sdk):
    prompt = words()
    first = await sdk.generate(prompt)
    await sdk.edit(("first.png", bytes_of(first.data[0]), "image/png"), prompt)
    same([kind for kind, *_ in shape(prompt)], ["t2i", "image_edit"], "jobs")


async def streamed(sdk):
    for name, stream in (
        ("image_generation", sdk.generate(words(), stream=True, partial_images=2, n=2)),
        ("image_edit", sdk.edit(FILES / "truecolor.png", words(), stream=True, partial_images=0)),
    ):
        events = [event async for event in each(await stream)]
        same([event.type for event in events], [f"{name}.completed"] * (2 if name == "image_generation" else 1), "events")
        for event in events:
            same(base64.b64decode(event.b64_json, validate=True)[:4], PNG, "picture")
            same((event.output_format, event.background, event.usage.total_tokens), ("png", "opaque", 0), "fields")


async def a_used_up_quota_is_not_asked_again(sdk):
    for stream in (False, True):
        prompt = words("fail=picture_quota")
        error = await refusal(openai.RateLimitError, 429, sdk.generate, prompt, n=2, stream=stream)
        same((error.code, error.response.headers["x-should-retry"]), ("quota_exceeded", "false"), "error")
        check(int(error.response.headers["retry-after"]) > 60, "retry-after")
        check(asked(prompt)["requests"] <= 2, f"two at a time, and none after the refusal: {asked(prompt)}")
    prompt = words("fail=error_before code=picture_quota")
    await refusal(openai.RateLimitError, 429, sdk.edit, FILES / "truecolor.png", prompt)
    same((asked(prompt)["requests"], len(sdk.sent)), (1, 3), "requests")


async def a_refused_prompt_is_not_asked_again(sdk):
    prompt = words("fail=error_before code=inspection_input")
    error = await refusal(openai.BadRequestError, 400, sdk.generate, prompt)
    same((error.code, error.type), ("content_filter", "image_generation_user_error"), "error")
    same((asked(prompt)["requests"], len(sdk.sent)), (1, 1), "requests")


async def a_failed_picture_is_not_asked_again(sdk):
    for directive, code in (("fail=empty", "upstream_empty"), ("cdn=404", "media_unavailable")):
        prompt = words(directive)
        error = await refusal(openai.InternalServerError, 502, sdk.generate, prompt)
        same((error.code, asked(prompt)["requests"]), (code, 1), directive)
    same(len(sdk.sent), 2, "requests")


async def an_overloaded_site_is_asked_again_after_a_pause(sdk):
    patient = sdk.client.with_options(max_retries=0)
    error = await refusal(openai.InternalServerError, 503, patient.images.generate, prompt=words("fail=overload"))
    headers = error.response.headers
    same((error.code, headers["retry-after"], headers.get("x-should-retry")), ("upstream_overloaded", "30", None), "error")


async def a_timed_out_request_gets_its_picture_when_it_is_repeated(sdk):
    prompt = words("first_ms=2500")
    hasty = sdk.client.with_options(timeout=1.5)
    made = await settle(hasty.images.generate(prompt=prompt))
    same(bytes_of(made.data[0])[:4], PNG, "picture")
    check(len(sdk.sent) > 1, "the client has asked again")
    same(asked(prompt)["requests"], 1, "requests to the site")


async def an_equal_request_gets_the_same_picture_unless_it_is_fresh(sdk):
    prompt = words()
    one, two = await sdk.generate(prompt), await sdk.generate(prompt)
    same(bytes_of(one.data[0]), bytes_of(two.data[0]), "pictures")
    same(asked(prompt)["requests"], 1, "requests")
    await sdk.generate(prompt, extra_headers={"x-fresh": "true"})
    same(asked(prompt)["requests"], 2, "requests")


async def an_equal_edit_gets_the_same_picture(sdk):
    prompt = words()
    image = ("sea.png", (FILES / "truecolor.png").read_bytes(), "image/png")
    one, two = await sdk.edit(image, prompt), await sdk.edit(image, prompt)
    same(bytes_of(one.data[0]), bytes_of(two.data[0]), "pictures")
    same(asked(prompt)["requests"], 1, "requests")
    await sdk.edit(FILES / "lossy.webp", prompt)
    same(asked(prompt)["requests"], 2, "requests")


async def a_timed_out_edit_gets_its_picture_when_it_is_repeated(sdk):
    prompt = words("first_ms=2500")
    hasty = sdk.client.with_options(timeout=1.5)
    made = await settle(hasty.images.edit(image=FILES / "animated.png", prompt=prompt))
    same(bytes_of(made.data[0])[:4], PNG, "picture")
    check(len(sdk.sent) > 1, "the client has asked again")
    same(asked(prompt)["requests"], 1, "requests to the site")


async def what_the_site_cannot_do_is_refused(sdk):
    picture = FILES / "truecolor.png"
    for wishes, param in (
        ({"mask": picture}, "mask"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "svg"}, "output_format"),
    ):
        error = await refusal(openai.BadRequestError, 400, sdk.edit, picture, words(), **wishes)
        same((error.code, error.param), ("unsupported_value", param), "error")
    error = await refusal(openai.BadRequestError, 400, sdk.generate, words(), n=9)
    same((error.code, error.param), ("invalid_request", "n"), "error")
    error = await refusal(openai.NotFoundError, 404, sdk.images.create_variation, image=picture)
    same(error.code, "unsupported_endpoint", "code")


CASES = [
    generated_as_bytes,
    generated_with_a_prompt_alone,
    generated_as_links,
    edited_with_one_file,
    edited_with_several_files,
    an_edit_of_an_edit,
    streamed,
    a_used_up_quota_is_not_asked_again,
    a_refused_prompt_is_not_asked_again,
    a_failed_picture_is_not_asked_again,
    an_overloaded_site_is_asked_again_after_a_pause,
    a_timed_out_request_gets_its_picture_when_it_is_repeated,
    an_equal_request_gets_the_same_picture_unless_it_is_fresh,
    an_equal_edit_gets_the_same_picture,
    a_timed_out_edit_gets_its_picture_when_it_is_repeated,
    what_the_site_cannot_do_is_refused,
]

sys.exit(asyncio.run(run(CASES, Drawer)))
