// The helpers of the official `openai` package for Node: tools that run, parsed values, streams. Called as fake_site.mjs says;
// prints `ok` or `FAILED` a case.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import * as z from "zod";
import { Again, EVENT, Event, FENCED, Talk, UNFIT, all, call, clean, entry, native, result, run } from "./fake_site.mjs";

const { BASE_URL: baseURL, API_KEY: apiKey } = process.env;
const THINKER = "qwen3-max";
const PLAIN = "qwen3-coder-plus";
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const { completions } = client.chat;

const City = z.object({ city: z.string().describe("Its name."), days: z.number() });
const BE_BRIEF = { role: /** @type {const} */ ("system"), content: "Be brief." };
const ROME = { city: 'Rome "centro"\n', days: 2 };
const BONN = { city: "Bonn", days: 1 };

/** Tools for `runTools`, and the inputs that they were called with. */
function weatherTools() {
  const inputs = [];
  const get = zodFunction({
    name: "get_weather",
    description: "The weather of a city.",
    parameters: City,
    function: (input) => {
      inputs.push(input);
      return `sun in ${input.city.trim()}`;
    },
  });
  const clock = zodFunction({ name: "clock", description: "The time.", parameters: z.object({}), function: () => "noon" });
  return { tools: [get, clock], inputs };
}

const ANSWERS = [`I look.\n${call("get_weather", ROME)}\n${call("clock", {})}`, call("get_weather", BONN), "It is sunny."];
const reached = (talk) =>
  talk.reached(
    ["Be brief.", entry("get_weather"), entry("clock"), '"description":"Its name."', talk.prompt],
    [result(1, "get_weather", 'sun in Rome "centro"'), result(2, "clock", "noon")],
    [result(1, "get_weather", "sun in Bonn")],
  );

const cases = {
  async run_tools() {
    const talk = await Talk.of(ANSWERS);
    const { tools, inputs } = weatherTools();
    const messages = [BE_BRIEF, ...talk.messages];
    const runner = completions.runTools({ model: PLAIN, messages, tools });
    assert.equal(await runner.finalContent(), "It is sunny.");
    assert.deepEqual(inputs, [ROME, BONN]);
    clean(runner.messages.filter(({ role }) => role === "assistant"));
    await reached(talk);
  },

  async run_tools_streamed() {
    const talk = await Talk.of(ANSWERS, { piece: 3 });
    const { tools, inputs } = weatherTools();
    const messages = [BE_BRIEF, ...talk.messages];
    const runner = completions.runTools({ model: THINKER, messages, tools, stream: true });
    const contents = [];
    runner.on("content", (delta) => contents.push(delta));
    assert.equal(await runner.finalContent(), "It is sunny.");
    assert.equal(contents.join("").replace(/\s+/g, " "), "I look.It is sunny.");
    assert.deepEqual(inputs, [ROME, BONN]);
    clean(contents);
    await reached(talk);
  },

  async run_tools_native() {
    for (const stream of [false, true]) {
      const talk = await Talk.of([native(["get_weather", ROME], ["clock", {}]), "It is sunny."]);
      const { tools, inputs } = weatherTools();
      const wishes = { model: THINKER, messages: talk.messages, tools };
      const runner = stream ? completions.runTools({ ...wishes, stream: true }) : completions.runTools(wishes);
      assert.equal(await runner.finalContent(), "It is sunny.");
      assert.deepEqual(inputs, [ROME]);
      const [, { text }] = await talk.turns(2);
      assert(text.includes(result(2, "clock", "noon")) && !text.includes("does not exist"), text);
    }
  },

  async run_tools_required() {
    const talk = await Talk.of(["It is fine there.", call("get_weather", BONN)]);
    const { tools, inputs } = weatherTools();
    const choice = { type: /** @type {const} */ ("function"), function: { name: "get_weather" } };
    const runner = completions.runTools({ model: PLAIN, messages: talk.messages, tools, tool_choice: choice });
    await runner.done();
    assert.deepEqual(inputs, [BONN]);
    await talk.reached([entry("get_weather"), "[Call the function get_weather "], Again.of("[You did not call "));
  },

  /** Such a tool is `strict`: arguments that do not fit are asked for once more. */
  async parse_tools() {
    const tools = [zodFunction({ name: "get_weather", parameters: City })];
    for (const answers of [[call("get_weather", BONN)], [call("get_weather", { city: "Bonn" }), call("get_weather", BONN)]]) {
      const talk = await Talk.of(answers);
      const answer = await completions.parse({ model: PLAIN, messages: talk.messages, tools });
      assert.deepEqual(answer.choices[0].message.tool_calls.map((made) => made.type === "function" && made.function.parsed_arguments), [BONN]);
      assert.equal(answer.choices[0].message.content, null);
      const later = answers.slice(1).map(() => Again.of("do not fit the function's schema"));
      await talk.reached([entry("get_weather"), talk.prompt], ...later);
    }
  },

  async parse_model() {
    for (const answers of [[FENCED], [UNFIT, JSON.stringify(EVENT)]]) {
      const talk = await Talk.of(answers);
      const wishes = { model: THINKER, response_format: zodResponseFormat(Event, "event") };
      const { message, finish_reason } = (await completions.parse({ messages: talk.messages, ...wishes })).choices[0];
      assert.deepEqual([message.parsed, message.refusal, finish_reason], [EVENT, null, "stop"]);
      const later = answers.slice(1).map(() => Again.of("does not fit the schema"));
      await talk.reached([talk.prompt, "fits the following JSON schema", '"enum":["public","private"]'], ...later);
    }
  },

  async stream_tools() {
    const talk = await Talk.of([`I look.\n${call("get_weather", ROME)}\n${call("get_weather", BONN)}`], { piece: 3 });
    const tools = [zodFunction({ name: "get_weather", parameters: City })];
    const stream = completions.stream({ model: THINKER, messages: talk.messages, tools });
    const done = [];
    stream.on("tool_calls.function.arguments.done", ({ index, parsed_arguments }) => done.push([index, parsed_arguments]));
    const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
    assert.deepEqual(done, [[0, ROME], [1, BONN]]);
    assert.deepEqual([message.content.trim(), finish_reason], ["I look.", "tool_calls"]);
    clean(message);
    await talk.reached([entry("get_weather"), talk.prompt]);
  },

  async stream_model() {
    for (const piece of [1, 7, 1000]) {
      const talk = await Talk.of([FENCED], { piece });
      const wishes = { model: THINKER, response_format: zodResponseFormat(Event, "event") };
      const stream = completions.stream({ messages: talk.messages, ...wishes });
      const parsed = [];
      stream.on("content.delta", (delta) => parsed.push(delta.parsed));
      const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
      assert.deepEqual([message.parsed, JSON.parse(message.content), finish_reason], [EVENT, EVENT, "stop"]);
      assert(piece > 1 || parsed.length > 10, `${parsed.length} deltas`);
      await talk.reached([talk.prompt, "fits the following JSON schema"]);
    }
  },

  async deltas_of_calls() {
    const talk = await Talk.of([`${call("get_weather", ROME)}\n${call("get_weather", BONN)}`]);
    const tools = [zodFunction({ name: "get_weather", parameters: City })];
    const chunks = await all(await completions.create({ model: PLAIN, messages: talk.messages, tools, stream: true }));
    const deltas = chunks.flatMap(({ choices }) => choices).flatMap(({ delta }) => delta.tool_calls ?? []);
    assert.deepEqual([...new Set(deltas.map(({ index }) => index))], [0, 1]);
    assert.deepEqual(deltas.filter(({ id }) => id).map((delta) => delta.function.name), ["get_weather", "get_weather"]);
  },
};

await run(cases);
