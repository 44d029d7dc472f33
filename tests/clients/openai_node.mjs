// The official `openai` package for Node against a running server.
//
//   BASE_URL=http://127.0.0.1:8000/v1 API_KEY=sk-test node tests/clients/openai_node.mjs [NAME ...]
//
// The server's upstream must be the fake (tests/fake_qwen), which follows the directives in the prompts. With
// HEARTBEAT_SECONDS=1, the setting of the server, the `heartbeat` case requires comment lines. Some errors need separate servers:
// CHALLENGED_URL in front of an upstream that no other server uses, ENDED_URL with an account that no other server uses,
// SESSIONLESS_URL without a Qwen session, HASTY_URL with UPSTREAM_IDLE_SECONDS=1.
// Prints `ok NAME` or `FAILED NAME: reason` for each case and exits 1 if any failed.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";
import { errors } from "./node_errors.mjs";
import {
  INCLUDE_USAGE, PLAIN, THINKER, all, choicesOf, chunksOf, contentOf, create, finishes, newClient, percent, prompt,
  refusal, run,
} from "./node_sdk.mjs";

const TEXT = "Grüße aus Köln 🙂 and\na second line";
const words = (text) => text.split(/\s+/).filter(Boolean);

const cases = {
  async models_list(client) {
    const models = await all(client.models.list());
    const ids = models.map(({ id }) => id);
    for (const id of [THINKER, PLAIN, "qwq-32b", "qwen3-vl-plus"]) assert(ids.includes(id), `models: ${ids}`);
    for (const { object, created, owned_by } of models) assert(object === "model" && created > 0 && owned_by);
    assert.equal(models.find(({ id }) => id === THINKER).context_length, 262_144);
  },

  async models_retrieve(client) {
    const names = { [PLAIN]: PLAIN, "gpt-4-turbo": THINKER, "GPT-4-Turbo": THINKER, "qwq-thinking": "qwq-32b" };
    for (const [name, expected] of Object.entries(names)) {
      const { id, object } = await client.models.retrieve(name);
      assert.deepEqual([id, object], [expected, "model"], name);
    }
    const error = await refusal(OpenAI.NotFoundError, 404, client.models.retrieve("no-such-model"));
    assert.equal(error.code, "model_not_found");
  },

  async plain(client) {
    const answer = await create(client, `say=${percent(TEXT)} think=Hmm`, { model: "gpt-4-turbo" });
    const { usage, choices: [choice] } = answer;
    const head = [answer.object, answer.model, answer.choices.length];
    assert.deepEqual(head, ["chat.completion", "gpt-4-turbo", 1]);
    assert(answer.id.startsWith("chatcmpl-") && answer.created > 0);
    assert.deepEqual([choice.index, choice.finish_reason, choice.message.role], [0, "stop", "assistant"]);
    assert.equal(choice.message.content, TEXT);
    assert.match(choice.message.reasoning_content, /Hmm/);
    const wordCount = TEXT.split(" ").length;
    assert.deepEqual([usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens], [wordCount + 1, 1]);
    assert(usage.prompt_tokens >= 1000);
    assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    assert.equal(usage.prompt_tokens_details.cached_tokens, 0);
  },

  async no_thinking(client) {
    const answer = await create(client, "say=Hello think=Hmm", { model: THINKER, enable_thinking: false });
    const { content, reasoning_content } = answer.choices[0].message;
    assert.deepEqual([content, reasoning_content ?? ""], ["Hello", ""]);
  },

  async stream(client) {
    const thinking = "First one, then two, then three.";
    for (const style of ["default", "old"]) {
      const directive = `stream=${style} say=${percent(TEXT)} think=${percent(thinking)}`;
      const chunks = await chunksOf(client, directive, { model: "gpt-4-turbo", ...INCLUDE_USAGE });
      for (const { object, model } of chunks)
        assert.deepEqual([object, model], ["chat.completion.chunk", "gpt-4-turbo"]);
      assert.equal(new Set(chunks.map(({ id, created }) => `${id} ${created}`)).size, 1, "number of ids");
      const deltas = choicesOf(chunks).map(({ delta }) => delta);
      const places = (key) => deltas.flatMap((delta, at) => (delta[key] ? [at] : []));
      assert.deepEqual([places("role"), deltas[0].role], [[0], "assistant"]);
      const [thoughts, texts] = [places("reasoning_content"), places("content")];
      assert(thoughts.length > 1 && texts.length > 1, `deltas: ${thoughts.length} and ${texts.length}`);
      assert(thoughts.at(-1) < texts[0], "thinking after the text began");
      const thought = deltas.map((delta) => delta.reasoning_content ?? "").join("");
      if (style === "old") assert.equal(thought, thinking);
      // The paragraphs of the newer formatat have titles.
      const rest = words(thought).values();
      for (const word of words(thinking)) assert(rest.some((other) => other === word), `thinking: ${thought}`);
      assert.equal(contentOf(chunks), TEXT);
      assert.deepEqual([finishes(chunks), chunks.at(-2).choices[0].finish_reason], [["stop"], "stop"]);
      assert.deepEqual(chunks.filter(({ usage }) => usage).map(({ choices }) => choices), [[]], "usage chunks");
      const { usage } = chunks.at(-1);
      assert.equal(usage.completion_tokens, TEXT.split(" ").length + words(thinking).length);
      assert.equal(usage.completion_tokens_details.reasoning_tokens, words(thinking).length);
      assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    }
  },

  async stream_without_usage(client) {
    for (const wishes of [{}, { stream_options: { include_usage: false } }]) {
      const chunks = await chunksOf(client, "say=Hello%20there", wishes);
      assert(!chunks.some(({ usage }) => usage), "usage nobody asked for");
      assert(chunks.every(({ choices }) => choices.length === 1), "a chunk without choices");
      assert.deepEqual([contentOf(chunks), chunks.at(-1).choices[0].finish_reason], ["Hello there", "stop"]);
    }
  },

  async stream_helper(client) {
    const messages = prompt(`say=${percent(TEXT)} think=Well%20now`);
    const runner = client.chat.completions.stream({ model: THINKER, messages, ...INCLUDE_USAGE });
    let text = "";
    runner.on("content", (delta) => (text += delta));
    const final = await runner.finalChatCompletion();
    assert.equal(text, TEXT, "content events");
    assert.equal(await runner.finalContent(), TEXT, "finalContent");
    const { message, finish_reason } = final.choices[0];
    assert.deepEqual([message.content, message.role, finish_reason], [TEXT, "assistant", "stop"]);
    assert((await runner.totalUsage()).completion_tokens > 0, "totalUsage");
  },

  // The pauses before and within the answer are longer than one second.
  async heartbeat(client) {
    const directive = "n=2 gap_ms=2500 delay_ms=1500";
    const raw = async () => {
      const response = await create(client, directive, { stream: true }).asResponse();
      assert.match(response.headers.get("content-type"), /^text\/event-stream/);
      return response.text();
    };
    const [text, chunks] = await Promise.all([raw(), chunksOf(client, directive)]);
    assert.deepEqual([contentOf(chunks), finishes(chunks)], ["1 2 ", ["stop"]]);
    const lines = text.split("\n");
    assert.deepEqual(lines.filter((line) => line && !/^(data: (\{|\[DONE\]$)|:)/.test(line)), [], "other lines");
    assert(text.endsWith("data: [DONE]\n\n") && text.split("[DONE]").length === 2, `end: ${text.slice(-80)}`);
    if (process.env.HEARTBEAT_SECONDS === "1")
      assert(lines.some((line) => line.startsWith(":")), "no comment line in a silence of more than a second");
  },

  async stop(client) {
    const stop = ["END?", "</stop>"];
    const expected = ["Say EN now, END never. Then ", ["stop"]];
    const chunks = await chunksOf(client, "stream=stop_straddling", { stop });
    assert.deepEqual([contentOf(chunks), finishes(chunks)], expected, "stream");
    const [choice] = (await create(client, "stream=stop_straddling", { stop })).choices;
    assert.deepEqual([choice.message.content, [choice.finish_reason]], expected, "whole");
    const [one] = (await create(client, "say=one%20two%20three piece=2", { stop: "two" })).choices;
    assert.deepEqual([one.message.content, one.finish_reason], ["one ", "stop"], "one text");
  },

  async limit(client) {
    const cut = ["1 2 3 4 ", "length", 4];
    const both = { max_tokens: 900, max_completion_tokens: 4 };
    for (const wishes of [{ max_tokens: 4 }, { max_completion_tokens: 4 }, both]) {
      const { usage, choices: [choice] } = await create(client, "n=50", wishes);
      assert.deepEqual([choice.message.content, choice.finish_reason, usage.completion_tokens], cut, "whole");
      const chunks = await chunksOf(client, "n=50", { ...INCLUDE_USAGE, ...wishes });
      const got = [contentOf(chunks), ...finishes(chunks), chunks.at(-1).usage.completion_tokens];
      assert.deepEqual(got, cut, "stream");
    }
    for (const wishes of [{ max_tokens: 0, max_completion_tokens: 0 }, { max_tokens: 50 }]) {
      const [choice] = (await create(client, "n=9", wishes)).choices;
      assert.deepEqual([choice.message.content, choice.finish_reason], ["1 2 3 4 5 6 7 8 9 ", "stop"]);
    }
  },

  async wrong_fields(client) {
    for (const [wishes, param] of [
      [{ n: 2 }, "n"],
      [{ n: 2, stream: true }, "n"],
      [{ temperature: "hot" }, "temperature"],
      [{ max_tokens: "10" }, "max_tokens"],
      [{ stop: ["a", 5] }, "stop[1]"],
      [{ stream: true, stream_options: { include_usage: "yes" } }, "stream_options.include_usage"],
      [{ messages: "hi" }, "messages"],
      [{ messages: [] }, "messages"],
      [{ messages: [{ role: "robot", content: "hi" }] }, "messages[0].role"],
      [{ messages: [{ role: "user", content: 5 }] }, "messages[0].content"],
    ]) {
      const error = await refusal(OpenAI.BadRequestError, 400, create(client, "say=no", wishes));
      const got = [error.param, error.code, error.type];
      assert.deepEqual(got, [param, "invalid_request", "invalid_request_error"], JSON.stringify(wishes));
    }
  },

  async keys() {
    const other = newClient({ apiKey: "sk-wrong" });
    for (const wishes of [{}, { stream: true }]) {
      const wrong = await refusal(OpenAI.PermissionDeniedError, 403, create(other, "say=no", wishes));
      assert.equal(wrong.code, "invalid_api_key");
      const work = create(other, "say=no", wishes, { headers: { Authorization: null } });
      const missing = await refusal(OpenAI.AuthenticationError, 401, work);
      assert.deepEqual([missing.code, missing.headers.get("www-authenticate")], ["missing_api_key", "Bearer"]);
    }
  },

  async unknown_routes(client) {
    await refusal(OpenAI.NotFoundError, 404, client.get("/no/such/route"));
    const error = await refusal(OpenAI.APIError, 405, client.get("/chat/completions"));
    assert.match(error.headers.get("allow"), /POST/);
    const unknown = await refusal(OpenAI.NotFoundError, 404, create(client, "say=no", { model: "no-such-model" }));
    assert.equal(unknown.code, "model_not_found");
  },

  async upstream_errors(client) {
    for (const wishes of [{}, { stream: true }]) {
      const quota = await refusal(OpenAI.RateLimitError, 429, create(client, "fail=rate_limited num=3", wishes));
      const got = [quota.code, quota.type, quota.headers.get("retry-after")];
      assert.deepEqual(got, ["quota_exceeded", "insufficient_quota", "10800"]);
      const filter = await refusal(OpenAI.BadRequestError, 400, create(client, "fail=data_inspection", wishes));
      assert.equal(filter.code, "content_filter");
      for (const [name, code] of [["bad_gateway_html", "upstream_error"], ["empty", "upstream_empty"]]) {
        const error = await refusal(OpenAI.InternalServerError, 502, create(client, `fail=${name}`, wishes));
        assert.equal(error.code, code);
      }
    }
  },

  async silent_repeat(client) {
    const directive = "say=Healed fail=empty times=1";
    const answer = await create(client, `${directive} id=${randomUUID()}`);
    assert.equal(answer.choices[0].message.content, "Healed", "whole");
    assert.equal(contentOf(await chunksOf(client, `${directive} id=${randomUUID()}`)), "Healed", "stream");
    assert.equal(client.sent.length, 2, "requests");
  },

  // The upstream fails twice: for the request and for the server's retry. The client's retry succeeds.
  async sdk_retry() {
    const directive = "say=Healed fail=bad_gateway_html times=2";
    const patient = newClient({ maxRetries: undefined });
    const answer = await create(patient, `${directive} id=${randomUUID()}`);
    assert.equal(answer.choices[0].message.content, "Healed", "whole");
    assert.equal(contentOf(await chunksOf(patient, `${directive} id=${randomUUID()}`)), "Healed", "stream");
    const retries = patient.sent.map((headers) => headers.get("x-stainless-retry-count"));
    assert.deepEqual(retries, ["0", "1", "0", "1"]);
  },

  async error_amid(client) {
    const directive = "say=one%20two%20three%20four fail=error_amid delay_ms=200";
    const chunks = [];
    const read = async () => {
      for await (const chunk of await create(client, directive, { stream: true })) chunks.push(chunk);
    };
    const error = await read().then(() => assert.fail("no error"), (error) => error);
    assert.deepEqual([error.constructor.name, error.status], ["APIError", undefined], String(error));
    assert.deepEqual([error.code, error.type], ["upstream_error", "upstream_error"]);
    assert.match(error.message, /chat\.qwen\.ai/);
    assert.deepEqual([contentOf(chunks), finishes(chunks)], ["one two ", []], "before the error");
    const runner = client.chat.completions.stream({ model: PLAIN, messages: prompt(directive) });
    await assert.rejects(runner.finalContent(), { name: "Error", code: "upstream_error" });
  },

  async all_parameters(client) {
    const text = '{"ok":true}';
    const wishes = JSON.parse(readFileSync(new URL("all_parameters.json", import.meta.url), "utf8"));
    wishes.messages = prompt(`say=${percent(text)}`, "Say it as JSON.");
    const [choice] = (await create(client, "", wishes)).choices;
    assert.deepEqual([choice.message.content, choice.finish_reason], [text, "stop"], "whole");
    const chunks = await chunksOf(client, "", { ...wishes, ...INCLUDE_USAGE });
    assert.deepEqual([contentOf(chunks), finishes(chunks)], [text, ["stop"]], "stream");
  },

  async roles(client) {
    const call = { id: "call_1", type: "function", function: { name: "look", arguments: "{}" } };
    const text = (text) => ({ type: "text", text });
    const messages = [
      { role: "system", content: "Be brief." },
      { role: "developer", content: [text("Be kind.")] },
      { role: "user", content: "Look.", name: "someone" },
      { role: "assistant", content: null, tool_calls: [call], reasoning_content: "I had better look." },
      { role: "tool", content: "nothing", tool_call_id: "call_1" },
      { role: "assistant", content: "There is nothing." },
      { role: "user", content: [text("Look at this."), text("[[fake say=Seen]] and at that")] },
    ];
    assert.equal((await create(client, "", { messages })).choices[0].message.content, "Seen");
  },

  async request_id(client) {
    const { data, response, request_id } = await create(client, "say=Hi").withResponse();
    assert.equal(data.choices[0].message.content, "Hi");
    const sentId = response.headers.get("x-request-id");
    assert(sentId, "no x-request-id");
    assert.deepEqual([request_id, data._request_id], [sentId, sentId]);
    const mine = `mine-${randomUUID()}`;
    const options = { headers: { "X-Request-Id": mine } };
    assert.equal((await create(client, "say=Hi", {}, options))._request_id, mine, "own id");
    const stream = await create(client, "say=Hi", { stream: true }, options).withResponse();
    assert.deepEqual([contentOf(await all(stream.data)), stream.request_id], ["Hi", mine], "own id of a stream");
  },

  async parallel(client) {
    const texts = Array.from({ length: 20 }, (_, number) =>
      Array.from({ length: 30 }, (_, word) => `stream${number}-${word}`).join(" "));
    const streams = await Promise.all(texts.map((text) => chunksOf(client, `say=${percent(text)} delay_ms=5`)));
    assert.deepEqual(streams.map(contentOf), texts);
    assert.equal(new Set(streams.flat().map(({ id }) => id)).size, texts.length, "number of ids");
  },

  async files(client) {
    const content = Buffer.concat([readFileSync(new URL("../files/jfif.jpg", import.meta.url)), Buffer.from(randomUUID())]);
    const digest = createHash("sha256").update(content).digest("hex");
    const file = await client.files.create({ file: await toFile(content, "ein Bild.jpg"), purpose: "vision" });
    assert.deepEqual([file.object, file.bytes, file.filename, file.purpose], ["file", content.length, "ein Bild.jpg", "vision"]);
    assert.equal((await client.files.retrieve(file.id)).id, file.id);
    assert((await all(client.files.list({ limit: 1 }))).some(({ id }) => id === file.id));
    const url = `data:image/jpeg;base64,${content.toString("base64")}`;
    for (const part of [
      { type: "file", file: { file_id: file.id } },
      { type: "image_url", image_url: { url, detail: "high" } },
      { type: "file", file: { filename: "ein Bild.jpg", file_data: url } },
    ]) {
      const messages = [{ role: "user", content: [{ type: "text", text: "[[fake files=1]]" }, part] }];
      const { content: description } = (await create(client, "", { messages })).choices[0].message;
      assert(description.startsWith("image ") && description.endsWith(` ${content.length} ${digest}`), description);
    }
    const { id, deleted } = await client.files.delete(file.id);
    assert.deepEqual([id, deleted], [file.id, true]);
    await refusal(OpenAI.NotFoundError, 404, client.files.retrieve(file.id));
  },
};

await run({ ...cases, ...errors });
