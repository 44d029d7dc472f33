// Pictures with the official `openai` package for Node.
//
//   BASE_URL=http://127.0.0.1:8000/v1 API_KEY=sk-test SITE_URL=http://127.0.0.1:9000 node tests/clients/images_openai.mjs [NAME ...]
//
// The fake site (tests/fake_qwen) follows the directives in the prompts and says how often it was asked: each request to it is a
// picture of the day. Prints `ok NAME` or `FAILED NAME: reason` for each case and exits 1 if any failed.

import assert from "node:assert/strict";
import fs from "node:fs";
import OpenAI, { toFile } from "openai";
import { asked, bytesOf, fixture, isPng, shape, words } from "./images.mjs";
import { all, newClient, refusal, run } from "./node_sdk.mjs";

const { BASE_URL } = process.env;
// The number of retries of clients without settings.
const retrying = () => newClient({ maxRetries: 2 });
const sea = () => toFile(fixture("truecolor.png"), "sea.png", { type: "image/png" });

const cases = {
  async generated_as_bytes(client) {
    const prompt = words("px=928x1664");
    const wishes = { model: "gpt-image-1", size: "1024x1536", quality: "low", n: 2 };
    const made = await client.images.generate({ prompt, ...wishes });
    assert.equal(made.data.map(bytesOf).filter(isPng).length, 2);
    assert.deepEqual([made.size, made.quality, made.output_format, made.background], ["928x1664", "low", "png", "opaque"]);
    assert.deepEqual(await shape(prompt), Array(2).fill(["t2i", "qwen-image-3.0", "3:4", 0]));
  },

  async generated_as_links(client) {
    const { data: [image] } = await client.images.generate({ prompt: words(), model: "dall-e-3", size: "1024x1024" });
    assert(image.url.startsWith(`${BASE_URL}/media/`) && image.b64_json === undefined, JSON.stringify(image));
    const answer = await fetch(image.url);
    assert.equal(answer.headers.get("content-type"), "image/png");
    assert(isPng(Buffer.from(await answer.arrayBuffer())));
  },

  async edited_with_one_file(client) {
    const prompt = words();
    // The client sends `stream` as a text.
    for (const image of [fs.createReadStream("tests/files/truecolor.png"), await sea()]) {
      const made = await client.images.edit({ image, prompt: `${prompt} ${image.constructor.name}`, n: 1, stream: false });
      assert(isPng(bytesOf(made.data[0])));
    }
    assert.deepEqual((await asked(prompt)).jobs.map(({ chat_type, files }) => [chat_type, files]), Array(2).fill(["image_edit", 1]));
  },

  async edited_with_several_files(client) {
    const prompt = words("echo=1");
    const boat = await toFile(fixture("gif87a.gif"), "boat.gif", { type: "image/gif" });
    const made = await client.images.edit({ image: [await sea(), boat], prompt, model: "qwen-image-3.0-pro" });
    assert.equal(made.data.length, 1);
    assert.deepEqual(await shape(prompt), [["image_edit", "qwen-image-3.0-pro", null, 2]]);
  },

  async streamed(client) {
    const events = await all(await client.images.generate({ prompt: words(), stream: true, partial_images: 2, n: 2 }));
    assert.deepEqual(events.map(({ type }) => type), Array(2).fill("image_generation.completed"));
    const edits = await all(await client.images.edit({ image: await sea(), prompt: words(), stream: true }));
    assert.deepEqual(edits.map(({ type }) => type), ["image_edit.completed"]);
    for (const event of [...events, ...edits]) {
      assert(isPng(bytesOf(event)));
      assert.equal(event.usage.total_tokens, 0);
    }
  },

  async a_used_up_quota_is_not_asked_again() {
    for (const stream of [false, true]) {
      const [client, prompt] = [retrying(), words("fail=picture_quota")];
      const error = await refusal(OpenAI.RateLimitError, 429, client.images.generate({ prompt, stream }));
      assert.deepEqual([error.code, error.headers.get("x-should-retry")], ["quota_exceeded", "false"]);
      assert.deepEqual([(await asked(prompt)).requests, client.sent.length], [1, 1]);
    }
  },

  async a_refused_prompt_is_not_asked_again() {
    const [client, prompt] = [retrying(), words("fail=error_before code=inspection_input")];
    const error = await refusal(OpenAI.BadRequestError, 400, client.images.edit({ image: await sea(), prompt }));
    assert.deepEqual([error.code, error.type], ["content_filter", "image_generation_user_error"]);
    assert.deepEqual([(await asked(prompt)).requests, client.sent.length], [1, 1]);
  },

  async a_failed_picture_is_not_asked_again() {
    const [client, prompt] = [retrying(), words("fail=empty")];
    const error = await refusal(OpenAI.InternalServerError, 502, client.images.generate({ prompt }));
    assert.equal(error.code, "upstream_empty");
    assert.deepEqual([(await asked(prompt)).requests, client.sent.length], [1, 1]);
  },

  async a_timed_out_request_gets_its_picture_when_it_is_repeated() {
    const [client, prompt] = [newClient({ maxRetries: 2, timeout: 1500 }), words("first_ms=2500")];
    const made = await client.images.generate({ prompt });
    assert(isPng(bytesOf(made.data[0])));
    assert(client.sent.length > 1, "the client has asked again");
    assert.equal((await asked(prompt)).requests, 1);
  },
};

await run(cases);
