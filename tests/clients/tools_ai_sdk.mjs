// The Vercel AI SDK with its two providers for chat completions and the one for Messages: tools in several steps, objects. Called as
// fake_site.mjs says; prints `ok` or `FAILED` a case.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { NoObjectGeneratedError, Output, generateObject, generateText, isStepCount, streamObject, streamText, tool } from "ai";
import * as z from "zod";
import { Again, EVENT, Event, FENCED, Talk, UNFIT, all, call, clean, entry, native, result, run } from "./fake_site.mjs";

const { BASE_URL: baseURL, API_KEY: apiKey } = process.env;
const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({ name: "edge", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
// It sends `json_object`, and no schema.
const plain = createOpenAICompatible({ name: "edge", baseURL, apiKey });
const anthropic = createAnthropic({ baseURL, apiKey });
const PROVIDERS = {
  openai: (name) => openai.chat(name),
  compatible: (name) => compatible(name),
  anthropic: (name) => anthropic(name),
};
// For a model that it does not know, the provider for Messages else has a tool of its own take the object.
const once = { maxRetries: 0, providerOptions: { anthropic: { structuredOutputMode: /** @type {const} */ ("outputFormat") } } };
const THINKER = "qwen3-max";
const PLAIN = "qwen3-coder-plus";

const ROME = { city: 'Rome "centro"\n', days: 2 };
const BONN = { city: "Bonn", days: 1 };
globalThis.AI_SDK_LOG_WARNINGS = false;
/** @returns {string} */
const fail = (message) => {
  throw new Error(message);
};
const tools = {
  get_weather: tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.string(), days: z.number() }),
    execute: ({ city }) => `sun in ${city.trim()}`,
  }),
  clock: tool({
    description: "The time.",
    inputSchema: z.object({}),
    execute: () => fail("it is broken"),
  }),
};
const ANSWERS = [`I look.\n${call("get_weather", ROME)}\n${call("clock", {})}`, call("get_weather", BONN), "It is sunny."];
const wishes = (model, talk) => ({
  model, prompt: talk.prompt, tools, instructions: "Be brief.", stopWhen: isStepCount(8), ...once,
});

/** Checks the steps of a loop, and what reached the site. */
async function checkLoop(steps, talk) {
  const made = steps.flatMap(({ toolCalls }) => toolCalls.map(({ toolName, input }) => [toolName, input]));
  assert.deepEqual(made, [["get_weather", ROME], ["clock", {}], ["get_weather", BONN]]);
  assert.deepEqual(steps.map(({ finishReason }) => finishReason), ["tool-calls", "tool-calls", "stop"]);
  assert.deepEqual(steps.map(({ text }) => text.trim()), ["I look.", "", "It is sunny."]);
  clean(steps.map(({ text, reasoningText, toolCalls }) => [text, reasoningText, toolCalls]));
  await talk.reached(
    ["Be brief.", entry("get_weather"), entry("clock"), talk.prompt],
    // Messages says that a result is an error.
    [result(1, "get_weather", 'sun in Rome "centro"'), "[TOOL RESULT #2: clock", "it is broken"],
    [result(1, "get_weather", "sun in Bonn")],
  );
}

/** The cases of one provider. */
const casesOf = (name, model) => ({
  async [`${name}_generate_text`]() {
    const talk = await Talk.of(ANSWERS);
    const { steps, text } = await generateText(wishes(model(PLAIN), talk));
    assert.equal(text, "It is sunny.");
    await checkLoop(steps, talk);
  },

  async [`${name}_stream_text`]() {
    const talk = await Talk.of(ANSWERS, { piece: 3 });
    const got = streamText(wishes(model(THINKER), talk));
    const text = (await all(got.textStream)).join("");
    assert.equal(text.replace(/\s+/g, " "), "I look.It is sunny.");
    await checkLoop(await got.steps, talk);
    assert((await got.totalUsage).outputTokens > 0);
  },

  async [`${name}_native_calls`]() {
    const talk = await Talk.of([native(["get_weather", ROME], ["get_weather", BONN]), "It is sunny."]);
    const got = streamText(wishes(model(THINKER), talk));
    assert.equal((await all(got.textStream)).join(""), "It is sunny.");
    const inputs = (await got.steps).flatMap(({ toolCalls }) => toolCalls.map(({ input }) => input));
    assert.deepEqual(inputs, [ROME, BONN]);
    const [, { text }] = await talk.turns(2);
    assert(text.includes(result(2, "get_weather", "sun in Bonn")) && !text.includes("does not exist"), text);
  },

  /** An input that does not fit goes back to the model; without `strict` the SDK does that itself. */
  async [`${name}_unfit_input`]() {
    const talk = await Talk.of([call("get_weather", { city: 1 }), call("get_weather", BONN), "It is sunny."]);
    const { steps, text } = await generateText(wishes(model(PLAIN), talk));
    assert.deepEqual([text, steps.length], ["It is sunny.", 3]);
    await talk.reached([talk.prompt], ["[TOOL RESULT #1: get_weather", "nvalid"], [result(1, "get_weather", "sun in Bonn")]);
  },

  async [`${name}_tool_choice`]() {
    const named = /** @type {const} */ ({ type: "tool", toolName: "get_weather" });
    for (const toolChoice of [/** @type {const} */ ("required"), named]) {
      const told = toolChoice === named ? "[Call the function get_weather " : "[Call at least one";
      const talk = await Talk.of(["It is fine there.", call("get_weather", BONN)]);
      const got = await generateText({ ...wishes(model(PLAIN), talk), toolChoice, stopWhen: isStepCount(1) });
      assert.deepEqual(got.toolCalls.map(({ input }) => input), [BONN]);
      await talk.reached([told, talk.prompt], Again.of("[You did not call "));
    }
  },

  /** `json_schema`: the server asks once more for what does not fit. */
  async [`${name}_generate_object`]() {
    for (const answers of [[FENCED], [UNFIT, FENCED]]) {
      const talk = await Talk.of(answers);
      const { object } = await generateObject({ model: model(PLAIN), schema: Event, prompt: talk.prompt, ...once });
      assert.deepEqual(object, EVENT);
      const later = answers.slice(1).map(() => Again.of("does not fit the schema"));
      await talk.reached([talk.prompt, "fits the following JSON schema", '"enum":["public","private"]'], ...later);
    }
  },

  async [`${name}_stream_object`]() {
    const talk = await Talk.of([FENCED], { piece: 3 });
    const got = streamObject({ model: model(THINKER), schema: Event, prompt: talk.prompt, ...once });
    const partial = await all(got.partialObjectStream);
    assert.deepEqual([await got.object, partial.at(-1)], [EVENT, EVENT]);
    assert(partial.length > 5, `${partial.length} partial objects`);
    await talk.reached([talk.prompt, "fits the following JSON schema"]);
  },

  async [`${name}_tools_and_an_object`]() {
    const talk = await Talk.of([call("get_weather", BONN), FENCED]);
    const got = await generateText({ ...wishes(model(PLAIN), talk), output: Output.object({ schema: Event }) });
    assert.deepEqual(got.output, EVENT);
    const weather = result(1, "get_weather", "sun in Bonn");
    await talk.reached([entry("get_weather"), "JSON schema", talk.prompt], [weather, "JSON schema"]);
  },
});

const cases = {
  ...casesOf("openai", PROVIDERS.openai),
  ...casesOf("compatible", PROVIDERS.compatible),
  ...casesOf("anthropic", PROVIDERS.anthropic),

  /** The tool that takes the object is the only one, and has to be called: the bare object counts as well. */
  async anthropic_object_by_tool() {
    for (const answer of [call("json", EVENT), JSON.stringify(EVENT)]) {
      const talk = await Talk.of([answer, answer], { piece: 3 });
      const asked = { model: PROVIDERS.anthropic(PLAIN), schema: Event, prompt: talk.prompt, maxRetries: 0 };
      assert.deepEqual((await generateObject(asked)).object, EVENT);
      await talk.reached([entry("json"), "[Call at least one", talk.prompt]);
      const again = await Talk.of([answer]);
      const got = streamObject({ ...asked, prompt: again.prompt });
      assert.deepEqual((await all(got.partialObjectStream)).at(-1), EVENT);
    }
  },

  async json_object() {
    const talk = await Talk.of([FENCED]);
    const { object } = await generateObject({ model: plain(PLAIN), schema: Event, prompt: talk.prompt, maxRetries: 0 });
    assert.deepEqual(object, EVENT);
    await talk.reached([talk.prompt, "[Answer with nothing but one JSON object: "]);
    // Here the SDK alone knows the schema.
    const unfit = await Talk.of([UNFIT]);
    const job = generateObject({ model: plain(PLAIN), schema: Event, prompt: unfit.prompt, maxRetries: 0 });
    await assert.rejects(job, (error) => NoObjectGeneratedError.isInstance(error));
  },

  /** An object that does not fit, twice: an error of the server. */
  async unfit_object() {
    const talk = await Talk.of([UNFIT, UNFIT, FENCED]);
    const job = generateObject({ model: compatible(PLAIN), schema: Event, prompt: talk.prompt, maxRetries: 0 });
    await assert.rejects(job, { statusCode: 502 });
    await talk.reached([talk.prompt], new Again());
  },
};

await run(cases);
