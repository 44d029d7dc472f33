// The Responses API with the official `openai` package for Node.
//
//   BASE_URL=http://127.0.0.1:8000/v1 API_KEY=sk-test node tests/clients/responses_openai.mjs [NAME ...]
//
// The server's upstream must be the fake (tests/fake_qwen), which follows the directives in the prompts. Prints `ok NAME` or
// `FAILED NAME: reason` for each case and exits 1 if any failed.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { PLAIN, THINKER, all, percent, refusal, run } from "./node_sdk.mjs";

const WEATHER = {
  type: "function",
  name: "get_weather",
  description: "The weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
  strict: true,
};
const call = (city) => `[TOOL CALL]\n${JSON.stringify({ name: "get_weather", arguments: { city } })}\n[END TOOL CALL]`;
const says = (text, keys = "") => `[[fake piece=5 ${keys} say=${percent(text)}]]`;
const steps = (...answers) => `[[fake piece=5 steps=${answers.map(percent).join("|")}]]`;

const cases = {
  async whole(client) {
    const response = await client.responses.create({ model: THINKER, input: says("Grüße.", "think=Hmm.") });
    assert.deepEqual([response.status, response.output_text], ["completed", "Grüße."]);
    assert.deepEqual(response.output.map(({ type }) => type), ["reasoning", "message"]);
    assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
  },

  async stream(client) {
    const events = await all(await client.responses.create({ model: THINKER, input: says("Grüße.", "think=Hmm."), stream: true }));
    assert.deepEqual(events.map(({ sequence_number }) => sequence_number), [...events.keys()]);
    const deltas = events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta);
    assert.equal(deltas.join(""), "Grüße.");
    assert.equal(events.at(-1).response.status, "completed");
  },

  async stream_helper(client) {
    const stream = client.responses.stream({ model: PLAIN, input: says(`I look.\n${call("Oslo")}`), tools: [WEATHER] });
    const seen = new Set();
    stream.on("event", ({ type }) => seen.add(type));
    const response = await stream.finalResponse();
    assert(seen.has("response.function_call_arguments.done"));
    const made = response.output.at(-1);
    assert.deepEqual([made.type, made.name, JSON.parse(made.arguments)], ["function_call", "get_weather", { city: "Oslo" }]);
    assert.equal(response.output_text.trim(), "I look.");
  },

  async loop(client) {
    let input = steps(call("Oslo"), call("Rome"), "It rains.");
    let previous;
    const made = [];
    for (;;) {
      const request = { model: PLAIN, input, tools: [WEATHER], previous_response_id: previous };
      const response = await client.responses.create(request);
      const calls = response.output.filter(({ type }) => type === "function_call");
      if (calls.length === 0) {
        assert.equal(response.output_text, "It rains.");
        break;
      }
      made.push(...calls.map((item) => JSON.parse(item.arguments).city));
      input = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "rain" }));
      previous = response.id;
    }
    assert.deepEqual(made, ["Oslo", "Rome"]);
  },

  async parse(client) {
    const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"], additionalProperties: false };
    const text = { format: { type: "json_schema", name: "n", strict: true, schema } };
    const response = await client.responses.parse({ model: PLAIN, input: says('Sure: {"a": 1}'), text });
    assert.deepEqual(JSON.parse(response.output_text), { a: 1 });
  },

  async kept(client) {
    const sent = await client.responses.create({ model: PLAIN, input: says("Hello.") });
    assert.deepEqual((await client.responses.retrieve(sent.id)).output, sent.output);
    assert.equal((await all(client.responses.inputItems.list(sent.id))).length, 1);
    await client.responses.delete(sent.id);
    await refusal(OpenAI.NotFoundError, 404, client.responses.retrieve(sent.id));
  },

  async errors(client) {
    const stream = await client.responses.create({ model: PLAIN, input: "[[fake stream=count n=6 fail=error_amid]]", stream: true });
    const { type, response } = (await all(stream)).at(-1);
    assert.deepEqual([type, response.error.code], ["response.failed", "upstream_error"]);
    const unknown = client.responses.create({ model: PLAIN, input: "x", previous_response_id: "resp_0" });
    assert.equal((await refusal(OpenAI.NotFoundError, 404, unknown)).code, "previous_response_not_found");
  },
};

await run(cases);
