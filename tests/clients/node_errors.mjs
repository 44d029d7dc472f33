// Errors in the `openai` package: their class, and whether the client retries, with its default of two retries.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import OpenAI from "openai";
import { PLAIN, chunksOf, contentOf, create, newClient, prompt, refusal, withoutWaiting } from "./node_sdk.mjs";

const { CHALLENGED_URL, ENDED_URL, HASTY_URL, SESSIONLESS_URL } = process.env;
const {
  APIError, AuthenticationError, BadRequestError, InternalServerError, NotFoundError, PermissionDeniedError,
  RateLimitError,
} = OpenAI;

// Errors that a retry does not fix.
const FINAL = [
  ["rate_limited_hours", RateLimitError, 429, "quota_exceeded"],
  ["rate_limited_quota_without_num", RateLimitError, 429, "quota_exceeded"],
  ["http_429_with_a_longer_wait", RateLimitError, 429, "rate_limit_exceeded"],
  ["data_inspection", BadRequestError, 400, "content_filter"],
  ["stream_inspection_before", BadRequestError, 400, "content_filter"],
  ["model_not_found", NotFoundError, 404, "model_not_found"],
  ["validation", BadRequestError, 400, "upstream_rejected"],
  ["http_413", APIError, 413, "request_too_large"],
];
// Errors to retry after a number of seconds, and the upstream attempts per request.
const LATER = [
  ["http_429_with_a_wait", 7, 1],
  ["parallel_limited", 30, 1],
  ["stream_rate_limited_bare", 30, 1],
  ["http_429_with_the_longest_wait_for_clients", 60, 1],
  ["in_progress", 5, 2],
];
// Errors to retry soon. The server has retried once before it returns them.
const SOON = [
  ["stream_empty", "upstream_empty"],
  ["sign_in_page", "upstream_invalid"],
  ["stream_created_only", "upstream_empty"],
  ["http_500", "upstream_error"],
  ["chat_not_found", "upstream_error"],
];
const FORMS = [{}, { stream: true }];

const recorded = (row) => `fail=recorded name=${row}`;
const newPatient = (options = {}) => newClient({ maxRetries: undefined, ...options });

/** Returns the error after `requests` requests, and the waits between them, which are skipped. */
async function refused(client, kind, status, code, requests, ask) {
  const before = client.sent.length;
  const { result: error, waits } = await withoutWaiting(() => refusal(kind, status, ask()));
  const got = [error.code, client.sent.length - before, waits.length];
  assert.deepEqual(got, [code, requests, requests - 1], `code, requests, waits of ${error}`);
  return { error, waits };
}

/** The first retry of the client succeeds. */
async function heals(client, directive, expected, forms = FORMS) {
  for (const form of forms) {
    const [before, own] = [client.sent.length, `${directive} say=Healed id=${randomUUID()}`];
    const { result: text, waits } = await withoutWaiting(async () =>
      form.stream
        ? contentOf(await chunksOf(client, own))
        : (await create(client, own)).choices[0].message.content);
    assert.deepEqual([text, client.sent.length - before, waits.length], ["Healed", 2, 1], directive);
    if (expected) assert.deepEqual(waits, expected, directive);
  }
}

export const errors = {
  async errors_that_are_final() {
    const patient = newPatient();
    for (const form of FORMS)
      for (const [row, kind, status, code] of FINAL)
        await refused(patient, kind, status, code, 1, () => create(patient, recorded(row), form));
  },

  async errors_of_the_request() {
    const patient = newPatient();
    const headers = { "Content-Type": "application/json" };
    const post = (body) => () => patient.post("/chat/completions", { body, headers });
    await refused(patient, BadRequestError, 400, "invalid_json", 1, post("{"));
    await refused(patient, BadRequestError, 400, "invalid_request", 1, post({ messages: 5 }));
    const messages = prompt("say=no", "x".repeat(33 * 1024 * 1024));
    await refused(patient, APIError, 413, "request_too_large", 1, post({ model: PLAIN, messages }));
    const stranger = newPatient({ apiKey: "sk-wrong" });
    const ask = (options) => () => create(stranger, "say=no", {}, options);
    await refused(stranger, PermissionDeniedError, 403, "invalid_api_key", 1, ask({}));
    const nobody = { headers: { Authorization: null } };
    await refused(stranger, AuthenticationError, 401, "missing_api_key", 1, ask(nobody));
  },

  async errors_to_repeat_later() {
    const patient = newPatient();
    for (const [row, wait, tries] of LATER) {
      for (const form of FORMS) {
        const ask = () => create(patient, recorded(row), form);
        const { waits } = await refused(patient, RateLimitError, 429, "rate_limit_exceeded", 3, ask);
        assert.deepEqual(waits, [wait, wait], String(row));
      }
      await heals(patient, `${recorded(row)} times=${tries}`, [wait]);
    }
  },

  async errors_to_repeat_soon() {
    const patient = newPatient();
    for (const [row, code] of SOON) {
      for (const form of FORMS)
        await refused(patient, InternalServerError, 502, code, 3, () => create(patient, recorded(row), form));
      await heals(patient, `${recorded(row)} times=2`);
    }
    // A stream has begun by then and cannot be retried.
    const ask = () => create(patient, recorded("stream_cut"));
    await refused(patient, InternalServerError, 502, "upstream_truncated", 3, ask);
    await heals(patient, `${recorded("stream_cut")} times=2`, undefined, [{}]);
  },

  async error_of_a_silent_site() {
    if (!HASTY_URL) return;
    await heals(newPatient({ baseURL: HASTY_URL }), "hang=1 times=1");
    const impatient = newClient({ baseURL: HASTY_URL });
    const error = await refusal(InternalServerError, 504, create(impatient, "hang=1"));
    assert.equal(error.code, "upstream_timeout");
  },

  async error_of_a_challenge() {
    if (!CHALLENGED_URL) return;
    const patient = newPatient({ baseURL: CHALLENGED_URL });
    for (const directive of [recorded("waf_json"), "say=no"])
      for (const form of FORMS) {
        const ask = () => create(patient, directive, form);
        const { error } = await refused(patient, PermissionDeniedError, 403, "qwen_challenge", 1, ask);
        assert.match(error.error.verify_url, /_____tmd_____\/punish/);
      }
  },

  async error_of_an_ended_session() {
    if (!ENDED_URL) return;
    const patient = newPatient({ baseURL: ENDED_URL });
    // The site refuses the session once; the server answers from then on.
    for (const directive of [recorded("unauthorized"), "say=no"])
      for (const form of FORMS) {
        const ask = () => create(patient, directive, form);
        await refused(patient, AuthenticationError, 401, "qwen_session_expired", 1, ask);
      }
  },

  async error_without_a_session() {
    if (!SESSIONLESS_URL) return;
    const patient = newPatient({ baseURL: SESSIONLESS_URL });
    for (const form of FORMS) {
      const ask = () => create(patient, "say=no", form);
      await refused(patient, AuthenticationError, 401, "qwen_session_missing", 1, ask);
    }
  },
};
