// The Vercel AI SDK with its Responses model: several steps, streams, objects. Called as responses_openai.mjs says.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, isStepCount, streamText, tool } from "ai";
import * as z from "zod";
import { PLAIN, percent } from "./node_sdk.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const { BASE_URL: baseURL, API_KEY: apiKey } = process.env;
const sent = [];
const fetchAndNote = (url, init) => {
  sent.push(JSON.parse(init.body));
  return fetch(url, init);
};
const model = createOpenAI({ baseURL, apiKey, fetch: fetchAndNote }).responses(PLAIN);
const call = (city) => `[TOOL CALL]\n${JSON.stringify({ name: "get_weather", arguments: { city } })}\n[END TOOL CALL]`;
const steps = (...answers) => `[[fake piece=5 steps=${answers.map(percent).join("|")}]]`;
const tools = {
  get_weather: tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: ({ city }) => `rain in ${city}`,
  }),
};
const LOOP = steps(`I look.\n${call("Oslo")}\n${call("Rome")}`, call("Bern"), "It rains.");
const loop = { model, tools, prompt: LOOP, instructions: "Be brief.", stopWhen: isStepCount(8), maxRetries: 0 };

function checkLoop(made) {
  const cities = made.flatMap(({ toolCalls }) => toolCalls.map(({ input }) => input.city));
  assert.deepEqual(cities, ["Oslo", "Rome", "Bern"]);
  assert.deepEqual(made.map(({ finishReason }) => finishReason), ["tool-calls", "tool-calls", "stop"]);
  assert.equal(made.at(-1).text, "It rains.");
}

const cases = {
  async generate_text() {
    checkLoop((await generateText(loop)).steps);
    assert(sent.at(-1).input.some(({ type }) => type === "item_reference"), "kept items are referred to");
  },

  async generate_text_without_store() {
    checkLoop((await generateText({ ...loop, providerOptions: { openai: { store: false } } })).steps);
  },

  async stream_text() {
    const result = streamText(loop);
    for await (const part of result.fullStream) assert.notEqual(part.type, "error", JSON.stringify(part));
    checkLoop(await result.steps);
  },

  async generate_object() {
    const schema = z.object({ name: z.string(), age: z.number().int() });
    const prompt = steps('Sure: {"name": "Ada", "age": 36}');
    const { object } = await generateObject({ model, schema, prompt, maxRetries: 0 });
    assert.deepEqual(object, { name: "Ada", age: 36 });
  },
};

for (const [name, attempt] of Object.entries(cases)) {
  try {
    await attempt();
    console.log(`ok ${name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${name}: ${`${error} ${JSON.stringify(error.data ?? "")}`.replace(/\s+/g, " ")}`);
  }
}
