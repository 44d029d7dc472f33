"""Errors in the `openai` package: their class, and whether the client retries, with its default of two retries."""

import contextlib
import os
import uuid
from unittest import mock

import openai
from python_sdk import Sdk, check, content_of, refusal, same

# Errors that a retry does not fix.
FINAL = [
    ("rate_limited_hours", openai.RateLimitError, 429, "quota_exceeded"),
    ("rate_limited_quota_without_num", openai.RateLimitError, 429, "quota_exceeded"),
    ("http_429_with_a_longer_wait", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("data_inspection", openai.BadRequestError, 400, "content_filter"),
    ("stream_inspection_before", openai.BadRequestError, 400, "content_filter"),
    ("model_not_found", openai.NotFoundError, 404, "model_not_found"),
    ("validation", openai.BadRequestError, 400, "upstream_rejected"),
    ("http_413", openai.APIStatusError, 413, "request_too_large"),
]
# Errors to retry after a number of seconds, and the upstream attempts per request.
LATER = [
    ("http_429_with_a_wait", 7, 1),
    ("parallel_limited", 30, 1),
    ("stream_rate_limited_bare", 30, 1),
    ("http_429_with_the_longest_wait_for_clients", 60, 1),
    ("in_progress", 5, 2),
]
# Errors to retry soon. The server has retried once before it returns them.
SOON = [
    ("stream_empty", "upstream_empty"),
    ("sign_in_page", "upstream_invalid"),
    ("stream_created_only", "upstream_empty"),
    ("http_500", "upstream_error"),
    ("chat_not_found", "upstream_error"),
]


class Patient(Sdk):
    """A client with the default number of retries."""

    def __init__(self, name, **options):
        super().__init__(name, max_retries=openai.DEFAULT_MAX_RETRIES, **options)

    async def refused(self, kind, status, code, requests, ask, *arguments, **wishes):
        """Returns the error after `requests` requests, and the waits between them, which are skipped."""
        before = len(self.sent)
        with no_waiting() as waits:
            error = await refusal(kind, status, ask, *arguments, **wishes)
        same((error.code, len(self.sent) - before, len(waits)), (code, requests, requests - 1), "code, requests, waits")
        return error, waits


@contextlib.contextmanager
def no_waiting():
    """Skips the sleeps of the client and records their seconds."""
    waits = []

    async def record_sleep(seconds):
        waits.append(seconds)

    with mock.patch("time.sleep", waits.append), mock.patch("anyio.sleep", record_sleep):
        yield waits


def recorded(row):
    return f"fail=recorded name={row}"


async def errors_that_are_final(sdk):
    async with Patient(sdk.name) as patient:
        for wishes in ({}, {"stream": True}):
            for row, kind, status, code in FINAL:
                await patient.refused(kind, status, code, 1, patient.create, recorded(row), **wishes)


async def errors_of_the_request(sdk):
    async with Patient(sdk.name) as patient, Patient(sdk.name, api_key="sk-wrong") as stranger:
        post, chat = patient.client.post, {"path": "/chat/completions", "cast_to": object}
        json = {"content": b"{", "options": {"headers": {"Content-Type": "application/json"}}}
        await patient.refused(openai.BadRequestError, 400, "invalid_json", 1, post, **chat, **json)
        await patient.refused(openai.BadRequestError, 400, "invalid_request", 1, post, **chat, body={"messages": 5})
        huge = "x" * (33 * 1024 * 1024)
        await patient.refused(openai.APIStatusError, 413, "request_too_large", 1, patient.create, "say=no", huge)
        ask = stranger.create
        await stranger.refused(openai.PermissionDeniedError, 403, "invalid_api_key", 1, ask, "say=no")
        nobody = {"extra_headers": {"Authorization": openai.Omit()}}
        await stranger.refused(openai.AuthenticationError, 401, "missing_api_key", 1, ask, "say=no", **nobody)


async def errors_to_repeat_later(sdk):
    async with Patient(sdk.name) as patient:
        for row, wait, tries in LATER:
            for wishes in ({}, {"stream": True}):
                refused = patient.refused(
                    openai.RateLimitError, 429, "rate_limit_exceeded", 3, patient.create, recorded(row), **wishes
                )
                _, waits = await refused
                same(waits, [wait, wait], f"{row}: waits")
            await heals(patient, f"{recorded(row)} times={tries}", [wait])


async def errors_to_repeat_soon(sdk):
    async with Patient(sdk.name) as patient:
        for row, code in SOON:
            for wishes in ({}, {"stream": True}):
                await patient.refused(
                    openai.InternalServerError, 502, code, 3, patient.create, recorded(row), **wishes
                )
            await heals(patient, f"{recorded(row)} times=2")
        # A stream has begun by then and cannot be retried.
        await patient.refused(
            openai.InternalServerError, 502, "upstream_truncated", 3, patient.create, recorded("stream_cut")
        )
        await heals(patient, f"{recorded('stream_cut')} times=2", streams=False)


async def heals(patient, directive, expected=None, streams=True):
    """The first retry of the client succeeds."""
    for stream in (False, True)[: 1 + streams]:
        before, directive_of_its_own = len(patient.sent), f"{directive} say=Healed id={uuid.uuid4()}"
        with no_waiting() as waits:
            if stream:
                text = content_of(await patient.chunks(directive_of_its_own))
            else:
                text = (await patient.create(directive_of_its_own)).choices[0].message.content
        same((text, len(patient.sent) - before, len(waits)), ("Healed", 2, 1), f"{directive}: text, requests, waits")
        same(waits, expected or waits, f"{directive}: waits")


async def error_of_a_silent_site(sdk):
    if "HASTY_URL" not in os.environ:
        return
    hasty = {"base_url": os.environ["HASTY_URL"]}
    async with Patient(sdk.name, **hasty) as patient, Sdk(sdk.name, **hasty) as impatient:
        await heals(patient, "hang=1 times=1")
        error = await refusal(openai.InternalServerError, 504, impatient.create, "hang=1")
        same(error.code, "upstream_timeout", "code")


async def error_of_a_challenge(sdk):
    if "CHALLENGED_URL" not in os.environ:
        return
    async with Patient(sdk.name, base_url=os.environ["CHALLENGED_URL"]) as patient:
        for directive in (recorded("waf_json"), "say=no"):
            for wishes in ({}, {"stream": True}):
                error, _ = await patient.refused(
                    openai.PermissionDeniedError, 403, "qwen_challenge", 1, patient.create, directive, **wishes
                )
                check("/_____tmd_____/punish" in error.body["verify_url"], f"verify_url: {error.body}")


async def error_of_an_ended_session(sdk):
    if "ENDED_URL" not in os.environ:
        return
    async with Patient(sdk.name, base_url=os.environ["ENDED_URL"]) as patient:
        # The site refuses the session once; the server answers from then on.
        for directive in (recorded("unauthorized"), "say=no"):
            for wishes in ({}, {"stream": True}):
                await patient.refused(
                    openai.AuthenticationError, 401, "qwen_session_expired", 1, patient.create, directive, **wishes
                )


async def error_without_a_session(sdk):
    if "SESSIONLESS_URL" not in os.environ:
        return
    async with Patient(sdk.name, base_url=os.environ["SESSIONLESS_URL"]) as patient:
        ask = patient.create
        await patient.refused(openai.AuthenticationError, 401, "qwen_session_missing", 1, ask, "say=no")
        await patient.refused(openai.AuthenticationError, 401, "qwen_session_missing", 1, ask, "say=no", stream=True)


CASES = [
    errors_that_are_final, errors_of_the_request, errors_to_repeat_later, errors_to_repeat_soon,
    error_of_a_silent_site, error_of_a_challenge, error_of_an_ended_session, error_without_a_session,
]  # fmt: skip
