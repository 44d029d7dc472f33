// Videos with the official `openai` package for Node, which has no method that waits for a video.
//
//   BASE_URL=http://127.0.0.1:8000/v1 API_KEY=sk-test SITE_URL=http://127.0.0.1:9000 node tests/clients/videos_openai.mjs [NAME ...]
//
// The fake site (tests/fake_qwen) follows the directives in the prompts and says how often it was asked: each request to it is a
// video of the day. Prints `ok NAME` or `FAILED NAME: reason` for each case and exits 1 if any failed.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI, { toFile } from "openai";
import { asked, fixture, words } from "./images.mjs";
import { all, newClient, refusal, run } from "./node_sdk.mjs";

const { BASE_URL, API_KEY } = process.env;
const runs = ({ status }) => ["queued", "in_progress"].includes(status);

/** The job when it is over, asked for as often as the server says. */
async function ended(client, id) {
  for (;;) {
    const { data, response } = await client.videos.retrieve(id).withResponse();
    if (!runs(data)) return data;
    assert.equal(response.headers.get("openai-poll-after-ms"), "5000");
    await sleep(Number(response.headers.get("openai-poll-after-ms")));
  }
}

async function isVideo(response, length) {
  assert.equal(response.headers.get("content-type"), "video/mp4");
  const bytes = Buffer.from(await response.arrayBuffer());
  assert.deepEqual([bytes.length, bytes.toString("latin1", 4, 8)], [length, "ftyp"]);
  return bytes;
}

const cases = {
  async made_and_downloaded(client) {
    const prompt = words("polls=1 bytes=70000");
    const begun = await client.videos.create({ prompt, model: "sora-2", size: "720x1280", seconds: "4" });
    assert(runs(begun), begun.status);
    const early = await refusal(OpenAI.BadRequestError, 400, client.videos.downloadContent(begun.id));
    assert.equal(early.code, "video_not_ready");
    const made = await ended(client, begun.id);
    assert.deepEqual([made.status, made.progress, made.error, made.seconds], ["completed", 100, null, "5"]);
    const bytes = await isVideo(await client.videos.downloadContent(begun.id), 70_000);
    assert((await isVideo(await client.videos.downloadContent(begun.id, { variant: "video" }), 70_000)).equals(bytes));
    assert.deepEqual((await asked(prompt)).jobs.map(({ chat_type, size }) => [chat_type, size]), [["t2v", "9:16"]]);
  },

  async a_first_frame(client) {
    const prompt = words("polls=0");
    const frame = await toFile(fixture("truecolor.png"), "sea.png", { type: "image/png" });
    await client.videos.create({ prompt, input_reference: frame });
    assert.deepEqual((await asked(prompt)).jobs.map(({ chat_type, files }) => [chat_type, files]), [["i2v", 1]]);
  },

  async listed_and_forgotten(client) {
    const ids = [];
    for (let n = 0; n < 3; n++) ids.push((await client.videos.create({ prompt: words("polls=9") })).id);
    const found = await all(client.videos.list({ limit: 1, order: "asc" }));
    assert.deepEqual(found.slice(-3).map(({ id }) => id), ids);
    assert.deepEqual((await client.videos.list({ limit: 2 })).data.map(({ id }) => id), [ids[2], ids[1]]);
    const gone = await client.videos.delete(ids[0]);
    assert.deepEqual([gone.id, gone.deleted], [ids[0], true]);
    const error = await refusal(OpenAI.NotFoundError, 404, client.videos.retrieve(ids[0]));
    assert.equal(error.code, "video_not_found");
  },

  async a_failed_job(client) {
    const { id } = await client.videos.create({ prompt: words("polls=0 end_state=failed message=no%20luck") });
    const made = await ended(client, id);
    assert.deepEqual([made.status, made.error.code], ["failed", "video_failed"]);
  },

  async a_used_up_quota_is_not_asked_again() {
    const [client, prompt] = [newClient({ maxRetries: 2 }), words("fail=video_quota")];
    const error = await refusal(OpenAI.RateLimitError, 429, client.videos.create({ prompt }));
    assert.deepEqual([error.code, error.headers.get("x-should-retry")], ["quota_exceeded", "false"]);
    assert.deepEqual([(await asked(prompt)).requests, client.sent.length], [1, 1]);
  },

  // JSON, then plain requests with the key.
  async json_as_lobehub_sends_it(client) {
    const headers = { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" };
    const body = JSON.stringify({ model: "sora-2", prompt: words("polls=0 bytes=5000"), seconds: "4" });
    const { id } = await (await fetch(`${BASE_URL}/videos`, { method: "POST", headers, body })).json();
    assert.equal((await ended(client, id)).status, "completed");
    await isVideo(await fetch(`${BASE_URL}/videos/${id}/content`, { headers }), 5000);
  },
};

await run(cases);
