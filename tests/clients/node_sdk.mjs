// Shared by the cases of the `openai` package: clients, prompts, and the content of streams.

import assert from "node:assert/strict";
import OpenAI from "openai";

const { BASE_URL: baseURL, API_KEY: apiKey } = process.env;
export const THINKER = "qwen3-max";
export const PLAIN = "qwen3-coder-plus";
export const INCLUDE_USAGE = { stream: true, stream_options: { include_usage: true } };

/** A client that records the headers of each request. */
export function newClient(options = {}) {
  const sent = [];
  const recordingFetch = (url, init) => {
    sent.push(new Headers(init.headers));
    return fetch(url, init);
  };
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000, fetch: recordingFetch, ...options });
  return Object.assign(client, { sent });
}

/** Returns the result of the work, and the waits of the clients in seconds, which are skipped. */
export async function withoutWaiting(work) {
  const waits = [];
  const timer = globalThis.setTimeout;
  const hurried = (callback, milliseconds, ...more) => {
    // Node's `fetch` also uses timers.
    const isSleep = new Error().stack.includes("/openai/internal/utils/sleep.mjs");
    if (!isSleep) return timer(callback, milliseconds, ...more);
    waits.push(milliseconds / 1000);
    return timer(callback, 0, ...more);
  };
  globalThis.setTimeout = Object.assign(hurried, timer);
  try {
    return { result: await work(), waits };
  } finally {
    globalThis.setTimeout = timer;
  }
}

export const percent = encodeURIComponent;
export const prompt = (directive, line = "hi") => [{ role: "user", content: `[[fake ${directive}]] ${line}` }];
export const create = (client, directive, wishes = {}, options = {}) =>
  client.chat.completions.create({ model: PLAIN, messages: prompt(directive), ...wishes }, options);

export async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

export const chunksOf = async (client, directive, wishes) =>
  all(await create(client, directive, { stream: true, ...wishes }));
export const choicesOf = (chunks) => chunks.flatMap((chunk) => chunk.choices);
export const contentOf = (chunks) => choicesOf(chunks).map(({ delta }) => delta.content ?? "").join("");
export const finishes = (chunks) => choicesOf(chunks).flatMap((choice) => choice.finish_reason ?? []);

/** Returns the error; checks its exact class and its status. */
export async function refusal(kind, status, work) {
  const error = await work.then(() => assert.fail(`no ${kind.name}`), (error) => error);
  assert.deepEqual([error.constructor.name, error.status], [kind.name, status], String(error));
  assert(error.message && error.requestID, `no message or request id: ${error}`);
  return error;
}

/** Runs the cases named on the command line, or all. */
export async function run(cases) {
  const wanted = process.argv.slice(2);
  for (const [name, attempt] of Object.entries(cases)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    try {
      await attempt(newClient());
      console.log(`ok ${name}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAILED ${name}: ${String(error).replace(/\s+/g, " ")}`);
    }
  }
}
