// Pictures with the Vercel AI SDK, with its models of OpenAI and of compatible servers. Called as images_openai.mjs says.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";
import { asked, fixture, isPng, shape, words } from "./images.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const { BASE_URL: baseURL, API_KEY: apiKey } = process.env;
const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({ name: "edge", baseURL, apiKey });

function checkPictures({ images }, count) {
  assert.equal(images.length, count);
  for (const { mediaType, uint8Array } of images) {
    assert.equal(mediaType, "image/png");
    assert(isPng(Buffer.from(uint8Array)));
  }
}

const cases = {
  async generated_by_each_kind_of_model() {
    for (const [model, expected] of [
      [openai.image("qwen-image"), null],
      [openai.image("gpt-image-1"), null],
      [compatible.imageModel("qwen-image-3.0"), "qwen-image-3.0"],
    ]) {
      const prompt = words();
      checkPictures(await generateImage({ model, prompt, size: "1536x1024" }), 1);
      assert.deepEqual(await shape(prompt), [["t2i", expected, "4:3", 0]]);
    }
  },

  async several_in_one_request() {
    // Of models with this name the SDK asks for all in one request.
    const prompt = words();
    checkPictures(await generateImage({ model: openai.image("gpt-image-1"), prompt, n: 3 }), 3);
    assert.equal((await asked(prompt)).requests, 3);
  },

  async several_in_equal_requests() {
    // Of other models it sends a request for each, all alike. They share a picture unless they say that they want new ones.
    const prompt = words();
    const model = openai.image("qwen-image");
    const { images } = await generateImage({ model, prompt, n: 2 });
    assert.deepEqual(images[0].uint8Array, images[1].uint8Array);
    assert.equal((await asked(prompt)).requests, 1);
    const other = words();
    checkPictures(await generateImage({ model, prompt: other, n: 2, headers: { "x-fresh": "true" } }), 2);
    assert.equal((await asked(other)).requests, 2);
  },

  async edited() {
    for (const model of [openai.image("gpt-image-1"), compatible.imageModel("gpt-image-1")]) {
      const text = words();
      const prompt = { text, images: [fixture("truecolor.png"), fixture("gif87a.gif")] };
      checkPictures(await generateImage({ model, prompt }), 1);
      assert.deepEqual(await shape(text), [["image_edit", null, null, 2]]);
    }
  },

  async a_used_up_quota_is_an_error() {
    const prompt = words("fail=picture_quota");
    const job = generateImage({ model: openai.image("gpt-image-1"), prompt, maxRetries: 0 });
    await assert.rejects(job, ({ statusCode, responseBody }) => statusCode === 429 && responseBody.includes("quota_exceeded"));
    assert.equal((await asked(prompt)).requests, 1);
  },

  async retries_do_not_look_at_x_should_retry() {
    // The SDK goes by the status alone. A refusal draws nothing, so the repeats cost no picture.
    const prompt = words("fail=picture_quota");
    const job = generateImage({ model: openai.image("gpt-image-1"), prompt, maxRetries: 1 });
    await assert.rejects(job, /quota|failed/i);
    const { jobs, requests } = await asked(prompt);
    assert.deepEqual([jobs.length, requests], [0, 2]);
  },
};

for (const [name, attempt] of Object.entries(cases)) {
  try {
    await attempt();
    console.log(`ok ${name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${name}: ${`${error} ${error.responseBody ?? ""}`.replace(/\s+/g, " ")}`);
  }
}
