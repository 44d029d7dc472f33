"""The official `openai` package against a running server, with its synchronous and its asynchronous client.

    BASE_URL=http://127.0.0.1:8000/v1 API_KEY=sk-test python tests/clients/openai_python.py [NAME ...]

The server's upstream must be the fake (`tests/fake_qwen`), which follows the directives in the prompts. With
HEARTBEAT_SECONDS=1, the setting of the server, the `heartbeat` case requires comment lines. Some errors need separate servers:
CHALLENGED_URL in front of an upstream that no other server uses, ENDED_URL with an account that no other server uses,
SESSIONLESS_URL without a Qwen session, HASTY_URL with UPSTREAM_IDLE_SECONDS=1.
Prints `ok NAME` or `FAILED NAME: reason` for each case and exits 1 if any failed.
"""

import asyncio
import base64
import hashlib
import inspect
import json
import os
import sys
import uuid
from pathlib import Path

import openai
import python_errors
from python_sdk import (
    PLAIN, THINKER, Sdk, check, content_of, each, entered, finishes, percent, prompt, reasoning, refusal, run, same,
    settle,
)  # fmt: skip

TEXT = "Grüße aus Köln 🙂 and\na second line"
NOT_PARAMETERS = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}


async def models_list(sdk):
    models = {model.id: model async for model in each(await settle(sdk.client.models.list()))}
    check({THINKER, PLAIN, "qwq-32b", "qwen3-vl-plus"} <= set(models), f"models: {sorted(models)}")
    for model in models.values():
        same(model.object, "model")
        check(model.created > 0 and model.owned_by, f"created, owned_by: {model}")
    same(models[THINKER].context_length, 262_144, "context_length")


async def models_retrieve(sdk):
    names = {PLAIN: PLAIN, "gpt-4-turbo": THINKER, "GPT-4-Turbo": THINKER, "qwq-thinking": "qwq-32b"}
    for name, expected in names.items():
        model = await settle(sdk.client.models.retrieve(name))
        same((model.id, model.object), (expected, "model"), name)
    error = await refusal(openai.NotFoundError, 404, sdk.client.models.retrieve, "no-such-model")
    same(error.code, "model_not_found", "code")


async def plain(sdk):
    answer = await sdk.create(f"say={percent(TEXT)} think=Hmm", model="gpt-4-turbo")
    choice, usage = answer.choices[0], answer.usage
    same((answer.object, answer.model, len(answer.choices)), ("chat.completion", "gpt-4-turbo", 1))
    check(answer.id.startswith("chatcmpl-") and answer.created > 0, f"id, created: {answer.id}, {answer.created}")
    same((choice.index, choice.finish_reason, choice.message.role), (0, "stop", "assistant"))
    same(choice.message.content, TEXT, "content")
    check("Hmm" in reasoning(choice.message), f"reasoning: {choice.message!r}")
    words = len(TEXT.split(" "))
    same((usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens), (words + 1, 1), "tokens out")
    check(usage.prompt_tokens >= 1000, f"tokens in: {usage.prompt_tokens}")
    same(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens")
    same(usage.prompt_tokens_details.cached_tokens, 0, "cached_tokens")


async def no_thinking(sdk):
    answer = await sdk.create("say=Hello think=Hmm", model=THINKER, extra_body={"enable_thinking": False})
    same((answer.choices[0].message.content, reasoning(answer.choices[0].message)), ("Hello", ""))


async def stream(sdk):
    thinking = "First one, then two, then three."
    for style in ("default", "old"):
        directive = f"stream={style} say={percent(TEXT)} think={percent(thinking)}"
        chunks = await sdk.chunks(directive, model="gpt-4-turbo", stream_options={"include_usage": True})
        same({(chunk.object, chunk.model) for chunk in chunks}, {("chat.completion.chunk", "gpt-4-turbo")})
        same(len({(chunk.id, chunk.created) for chunk in chunks}), 1, "number of ids")
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        same([at for at, delta in enumerate(deltas) if delta.role], [0], "where the role is")
        same(deltas[0].role, "assistant")
        thoughts = [at for at, delta in enumerate(deltas) if reasoning(delta)]
        texts = [at for at, delta in enumerate(deltas) if delta.content]
        check(len(thoughts) > 1 and len(texts) > 1, f"deltas: {len(thoughts)} of thinking, {len(texts)} of text")
        check(thoughts[-1] < texts[0], "thinking after the text began")
        thought = "".join(map(reasoning, deltas))
        if style == "old":
            same(thought, thinking, "thinking")
        # The paragraphs of the newer format have titles.
        rest = iter(thought.split())
        check(all(word in rest for word in thinking.split()), f"thinking: {thought!r}")
        same(content_of(chunks), TEXT, "text")
        same((finishes(chunks), chunks[-2].choices[0].finish_reason), (["stop"], "stop"), "finish_reason")
        same([chunk.choices for chunk in chunks if chunk.usage], [[]], "choices of the usage chunk")
        usage = chunks[-1].usage
        same(usage.completion_tokens, len(TEXT.split(" ")) + len(thinking.split()), "completion_tokens")
        same(usage.completion_tokens_details.reasoning_tokens, len(thinking.split()), "reasoning_tokens")
        same(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens")


async def stream_without_usage(sdk):
    for wishes in ({}, {"stream_options": {"include_usage": False}}):
        chunks = await sdk.chunks("say=Hello%20there", **wishes)
        check(not any(chunk.usage for chunk in chunks), "usage nobody asked for")
        check(all(chunk.choices for chunk in chunks), "a chunk without choices")
        same((content_of(chunks), chunks[-1].choices[0].finish_reason), ("Hello there", "stop"))


async def stream_helper(sdk):
    messages = prompt(f"say={percent(TEXT)} think=Well%20now")
    wishes = {"model": THINKER, "stream_options": {"include_usage": True}}
    async with entered(sdk.client.chat.completions.stream(messages=messages, **wishes)) as helper:
        events = [event async for event in each(helper)]
        final = await settle(helper.get_final_completion())
    same("".join(event.delta for event in events if event.type == "content.delta"), TEXT, "content.delta")
    same([event.content for event in events if event.type == "content.done"], [TEXT], "content.done")
    message = final.choices[0].message
    same((message.content, message.role, final.choices[0].finish_reason), (TEXT, "assistant", "stop"))
    check("Well" in reasoning(message) and "now" in reasoning(message), f"thinking: {message!r}")
    check(final.usage.completion_tokens > 0, f"usage: {final.usage}")


async def heartbeat(sdk):
    """The pauses before and within the answer are longer than one second."""
    directive = "n=2 gap_ms=2500 delay_ms=1500"

    async def raw():
        manager = sdk.client.chat.completions.with_streaming_response
        async with entered(manager.create(messages=prompt(directive), model=PLAIN, stream=True)) as response:
            same(response.headers["content-type"].split(";")[0], "text/event-stream")
            return "".join([text async for text in each(response.iter_text())])

    text, chunks = await sdk.gather([raw(), sdk.chunks(directive)])
    same((content_of(chunks), finishes(chunks)), ("1 2 ", ["stop"]))
    lines = text.split("\n")
    same([line for line in lines if line and not line.startswith(("data: {", "data: [DONE]", ":"))], [], "other lines")
    check(text.endswith("data: [DONE]\n\n") and text.count("[DONE]") == 1, f"end: {text[-80:]!r}")
    if os.environ.get("HEARTBEAT_SECONDS") == "1":
        check(any(line.startswith(":") for line in lines), "no comment line in a silence of more than a second")


async def stop(sdk):
    wishes = {"stop": ["END?", "</stop>"]}
    expected = ("Say EN now, END never. Then ", ["stop"])
    chunks = await sdk.chunks("stream=stop_straddling", **wishes)
    same((content_of(chunks), finishes(chunks)), expected, "stream")
    choice = (await sdk.create("stream=stop_straddling", **wishes)).choices[0]
    same((choice.message.content, [choice.finish_reason]), expected, "whole")
    choice = (await sdk.create("say=one%20two%20three piece=2", stop="two")).choices[0]
    same((choice.message.content, choice.finish_reason), ("one ", "stop"), "one text")


async def limit(sdk):
    for wishes in ({"max_tokens": 4}, {"max_completion_tokens": 4}, {"max_tokens": 900, "max_completion_tokens": 4}):
        answer = await sdk.create("n=50", **wishes)
        got = (answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage.completion_tokens)
        same(got, ("1 2 3 4 ", "length", 4), f"whole, {wishes}")
        chunks = await sdk.chunks("n=50", stream_options={"include_usage": True}, **wishes)
        got = (content_of(chunks), finishes(chunks), chunks[-1].usage.completion_tokens)
        same(got, ("1 2 3 4 ", ["length"], 4), f"stream, {wishes}")
    for wishes in ({"max_tokens": 0, "max_completion_tokens": 0}, {"max_tokens": 50}):
        choice = (await sdk.create("n=9", **wishes)).choices[0]
        same((choice.message.content, choice.finish_reason), ("1 2 3 4 5 6 7 8 9 ", "stop"), f"{wishes}")


async def wrong_fields(sdk):
    cases = [
        ({"n": 2}, "n"),
        ({"n": 2, "stream": True}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"stream_options": {"include_usage": "yes"}, "stream": True}, "stream_options.include_usage"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ]
    for wishes, param in cases:
        request = {"messages": prompt("say=no"), "model": PLAIN} | wishes
        error = await refusal(openai.BadRequestError, 400, sdk.ask, **request)
        same((error.param, error.code, error.type), (param, "invalid_request", "invalid_request_error"), f"{wishes}")


async def keys(sdk):
    async with Sdk(sdk.name, api_key="sk-wrong") as other:
        for wishes in ({}, {"stream": True}):
            error = await refusal(openai.PermissionDeniedError, 403, other.create, "say=no", **wishes)
            same(error.code, "invalid_api_key", "code")
            wishes["extra_headers"] = {"Authorization": openai.Omit()}
            error = await refusal(openai.AuthenticationError, 401, other.create, "say=no", **wishes)
            same(error.code, "missing_api_key", "code")
            same(error.response.headers.get("www-authenticate"), "Bearer", "www-authenticate")


async def unknown_routes(sdk):
    client = sdk.client
    await refusal(openai.NotFoundError, 404, client.get, "/no/such/route", cast_to=object)
    error = await refusal(openai.APIStatusError, 405, client.get, "/chat/completions", cast_to=object)
    check("POST" in error.response.headers.get("allow", ""), "Allow")
    error = await refusal(openai.NotFoundError, 404, sdk.create, "say=no", model="no-such-model")
    same(error.code, "model_not_found", "code")


async def upstream_errors(sdk):
    for wishes in ({}, {"stream": True}):
        error = await refusal(openai.RateLimitError, 429, sdk.create, "fail=rate_limited num=3", **wishes)
        got = (error.code, error.type, error.response.headers.get("retry-after"))
        same(got, ("quota_exceeded", "insufficient_quota", "10800"), "quota")
        error = await refusal(openai.BadRequestError, 400, sdk.create, "fail=data_inspection", **wishes)
        same(error.code, "content_filter", "code")
        error = await refusal(openai.InternalServerError, 502, sdk.create, "fail=bad_gateway_html", **wishes)
        same(error.code, "upstream_error", "code")
        error = await refusal(openai.InternalServerError, 502, sdk.create, "fail=empty", **wishes)
        same(error.code, "upstream_empty", "code")


async def silent_repeat(sdk):
    directive = "say=Healed fail=empty times=1"
    answer = await sdk.create(f"{directive} id={uuid.uuid4()}")
    same(answer.choices[0].message.content, "Healed", "whole")
    same(content_of(await sdk.chunks(f"{directive} id={uuid.uuid4()}")), "Healed", "stream")
    same(len(sdk.sent), 2, "requests")


async def sdk_retry(sdk):
    """The upstream fails twice: for the request and for the server's retry. The client's retry succeeds."""
    directive = "say=Healed fail=bad_gateway_html times=2"
    async with Sdk(sdk.name, max_retries=openai.DEFAULT_MAX_RETRIES) as patient:
        answer = await patient.create(f"{directive} id={uuid.uuid4()}")
        same((answer.choices[0].message.content, len(patient.sent)), ("Healed", 2), "whole, requests")
        same(content_of(await patient.chunks(f"{directive} id={uuid.uuid4()}")), "Healed", "stream")
        same([request.headers["x-stainless-retry-count"] for request in patient.sent], ["0", "1", "0", "1"], "retries")


async def error_amid(sdk):
    opened, chunks = await sdk.create("say=one%20two%20three%20four fail=error_amid delay_ms=200", stream=True), []
    try:
        async for chunk in each(opened):
            chunks.append(chunk)
    except openai.APIError as error:
        same((type(error), error.code, error.type), (openai.APIError, "upstream_error", "upstream_error"))
        check("chat.qwen.ai" in error.message, f"message: {error.message}")
    else:
        raise AssertionError("no error")
    same((content_of(chunks), finishes(chunks)), ("one two ", []), "before the error")


async def all_parameters(sdk):
    text = '{"ok":true}'
    wishes = json.loads(Path(__file__).with_name("all_parameters.json").read_text())
    wishes["messages"] = prompt(f"say={percent(text)}", "Say it as JSON.")
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    known = set(inspect.signature(type(sdk.client.chat.completions).create).parameters) - NOT_PARAMETERS
    same(set(wishes | streamed) ^ known, set(), "parameters not tried, or unknown to the package")
    choice = (await sdk.ask(**wishes)).choices[0]
    same((choice.message.content, choice.finish_reason), (text, "stop"), "whole")
    chunks = [chunk async for chunk in each(await sdk.ask(**wishes, **streamed))]
    same((content_of(chunks), finishes(chunks)), (text, ["stop"]), "stream")


async def roles(sdk):
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    parts = [{"type": "text", "text": "Look at this."}, {"type": "text", "text": "[[fake say=Seen]] and at that"}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "Look.", "name": "someone"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "I had better look."},
        {"role": "tool", "content": "nothing", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "There is nothing."},
        {"role": "user", "content": parts},
    ]
    same((await sdk.ask(messages, PLAIN)).choices[0].message.content, "Seen", "content")


async def request_id(sdk):
    raw = await settle(sdk.client.chat.completions.with_raw_response.create(messages=prompt("say=Hi"), model=PLAIN))
    answer = await settle(raw.parse())
    same(answer.choices[0].message.content, "Hi", "content")
    check(raw.headers.get("x-request-id"), "no x-request-id")
    same((answer._request_id, raw.request_id), (raw.headers["x-request-id"],) * 2, "_request_id")
    mine = f"mine-{uuid.uuid4()}"
    same((await sdk.create("say=Hi", extra_headers={"X-Request-Id": mine}))._request_id, mine, "own id")
    opened = await sdk.create("say=Hi", stream=True, extra_headers={"X-Request-Id": mine})
    same(content_of([chunk async for chunk in each(opened)]), "Hi", "text")
    same(opened.response.headers.get("x-request-id"), mine, "own id of a stream")


async def parallel(sdk):
    texts = [" ".join(f"stream{number}-{word}" for word in range(30)) for number in range(20)]
    streams = await sdk.gather([sdk.chunks(f"say={percent(text)} delay_ms=5") for text in texts])
    same([content_of(chunks) for chunks in streams], texts, "texts")
    same(len({chunk.id for chunks in streams for chunk in chunks}), len(texts), "number of ids")


async def conversation(sdk):
    word = f"talk-{uuid.uuid4()}"
    messages = [{"role": "system", "content": "Be brief."}]
    for number in range(30):
        messages.append({"role": "user", "content": f"{word} {number}"})
        opened = await settle(sdk.client.chat.completions.create(messages=messages, model=PLAIN, stream=number % 2 == 0))
        if number % 2 == 0:
            answer = content_of([chunk async for chunk in each(opened)])
        else:
            answer = opened.choices[0].message.content
        check(answer.endswith(f"{word} {number}"), f"answer {number}: {answer!r}")
        messages.append({"role": "assistant", "content": answer})
    listed = await settle(sdk.client.get("/chats", cast_to=object))
    same([chat["turns"] for chat in listed["data"] if word in chat["title"]], [30], "one chat of thirty turns")


async def files(sdk):
    content = (Path(__file__).parent.parent / "files" / "jfif.jpg").read_bytes() + uuid.uuid4().bytes
    digest = hashlib.sha256(content).hexdigest()
    file = await settle(sdk.client.files.create(file=("ein Bild.jpg", content), purpose="vision"))
    same((file.object, file.bytes, file.filename, file.purpose), ("file", len(content), "ein Bild.jpg", "vision"))
    same((await settle(sdk.client.files.retrieve(file.id))).id, file.id)
    listed = [item.id async for item in each(await settle(sdk.client.files.list(limit=1)))]
    check(file.id in listed, f"files: {listed}")
    data = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    for part in (
        {"type": "file", "file": {"file_id": file.id}},
        {"type": "image_url", "image_url": {"url": data, "detail": "high"}},
        {"type": "file", "file": {"filename": "ein Bild.jpg", "file_data": data}},
    ):
        question = [{"type": "text", "text": "[[fake files=1]]"}, part]
        answer = await settle(
            sdk.client.chat.completions.create(model=PLAIN, messages=[{"role": "user", "content": question}])
        )
        description = answer.choices[0].message.content
        is_complete = description.startswith("image ") and description.endswith(f" {len(content)} {digest}")
        check(is_complete, f"{part['type']}: {description}")
    gone = await settle(sdk.client.files.delete(file.id))
    same((gone.id, gone.deleted), (file.id, True))
    await refusal(openai.NotFoundError, 404, sdk.client.files.retrieve, file.id)
    wrong = sdk.client.files.create
    error = await refusal(openai.BadRequestError, 400, wrong, file=("a.png", b"\x1f\x8b\x08\0\0"), purpose="vision")
    same(error.code, "unsupported_file_type", "code")


CASES = [
    models_list, models_retrieve, plain, no_thinking, stream, stream_without_usage, stream_helper, heartbeat, stop,
    limit, wrong_fields, keys, unknown_routes, upstream_errors, silent_repeat, sdk_retry, error_amid, all_parameters,
    roles, request_id, parallel, conversation, files, *python_errors.CASES,
]  # fmt: skip


sys.exit(asyncio.run(run(CASES)))
