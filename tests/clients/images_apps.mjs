// Pictures as chat programs ask for them: their requests, field by field, and what they read from the answers. Called as
// images_openai.mjs says.

import assert from "node:assert/strict";
import { isIP } from "node:net";
import { newClient } from "./node_sdk.mjs";
import { asked, bytesOf, fixture, isPng, shape, words } from "./images.mjs";

const { BASE_URL, API_KEY } = process.env;
const bearer = { authorization: `Bearer ${API_KEY}` };

const post = (path, body, headers = {}) =>
  fetch(`${BASE_URL}${path}`, {
    method: "POST",
    headers: { ...bearer, ...(body instanceof FormData ? {} : { "content-type": "application/json" }), ...headers },
    body: body instanceof FormData ? body : JSON.stringify(body),
  });

/** A form of texts and files: values are texts, or `[bytes, name, type]`. */
function form(...fields) {
  const data = new FormData();
  for (const [field, value] of fields) {
    if (typeof value === "string") data.append(field, value);
    else data.append(field, new Blob([value[0]], { type: value[2] }), value[1]);
  }
  return data;
}

/** @returns {[Uint8Array<ArrayBuffer>, string, string]} */
const sea = () => [fixture("truecolor.png"), "sea.png", "image/png"];
/** @returns {[Uint8Array<ArrayBuffer>, string, string]} */
const boat = () => [fixture("gif87a.gif"), "boat.gif", "image/gif"];

async function okay(answer) {
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  return JSON.parse(text);
}

/** Open WebUI 0.6: `url` counts first. It is fetched with the key of the images API, and must say that it is a picture. */
async function openWebUi(answer) {
  const made = (await okay(answer)).data;
  const pictures = [];
  for (const image of made) {
    if (!("url" in image)) {
      pictures.push(Buffer.from(image.b64_json, "base64"));
      continue;
    }
    const file = await fetch(image.url, { headers: bearer });
    assert.match(file.headers.get("content-type"), /^image\//);
    pictures.push(Buffer.from(await file.arrayBuffer()));
  }
  assert(pictures.every(isPng));
  return pictures.length;
}

/** Cherry Studio's page of new-api: all links and all bytes. */
async function cherry(answer) {
  const { data } = await okay(answer);
  const links = data.filter(({ url }) => url).map(({ url }) => url);
  const bytes = data.filter(({ b64_json }) => b64_json).map(({ b64_json }) => Buffer.from(b64_json, "base64"));
  assert(bytes.every(isPng));
  return [links.length, bytes.length];
}

const cases = {
  async open_webui_generates() {
    const prompt = words();
    const body = { model: "qwen-image", prompt, n: 1, size: "512x512", response_format: "b64_json" };
    const headers = { "x-openwebui-user-name": "Mei", "x-openwebui-user-id": "1", "x-openwebui-user-role": "user" };
    assert.equal(await openWebUi(await post("/images/generations", body, headers)), 1);
    assert.deepEqual(await shape(prompt), [["t2i", null, "1:1", 0]]);
  },

  async open_webui_generates_with_gpt_image() {
    // Names that begin so get no `response_format`.
    const body = { model: "gpt-image-1", prompt: words(), n: 2, size: "1024x1024" };
    assert.equal(await openWebUi(await post("/images/generations", body)), 2);
  },

  async open_webui_follows_links() {
    const body = { model: "dall-e-3", prompt: words(), n: 1, size: "1024x1024" };
    assert.equal(await openWebUi(await post("/images/generations", body)), 1);
    const { data: [{ url }] } = await okay(await post("/images/generations", body));
    // The tests' server is on this machine; Open WebUI refuses such an address unless it is told to allow it.
    assert(isIP(new URL(url).hostname), url);
  },

  async open_webui_edits() {
    const one = words();
    const texts = [["model", "qwen-image"], ["n", "1"], ["size", "1024x1024"], ["response_format", "b64_json"]];
    assert.equal(await openWebUi(await post("/images/edits", form(["prompt", one], ...texts, ["image", sea()]))), 1);
    const two = words("echo=1");
    const files = [["image[]", sea()], ["image[]", boat()]];
    assert.equal(await openWebUi(await post("/images/edits", form(["prompt", two], ...texts, ...files))), 1);
    assert.deepEqual([await shape(one), await shape(two)], [[["image_edit", null, null, 1]], [["image_edit", null, null, 2]]]);
  },

  async lobehub_generates() {
    // What its runtime leaves in: `auto` is taken out, other parameters of the model stay.
    const prompt = words();
    /** @type {any} */
    const more = { model: "qwen-image", n: 1, prompt, seed: 7, cfg: 4.5, aspectRatio: "1:1" };
    const made = await newClient().images.generate(more);
    assert(isPng(bytesOf(made.data[0])));
    /** @type {any} */
    const old = { model: "dall-e-3", n: 1, prompt: words(), response_format: "b64_json", size: "1024x1024", quality: "standard" };
    assert(isPng(bytesOf((await newClient().images.generate(old)).data[0])));
  },

  async lobehub_edits() {
    const files = [sea(), boat()].map(([bytes, name, type]) => new File([bytes], name, { type }));
    for (const image of [files[0], files]) {
      const prompt = words();
      const made = await newClient().images.edit({ model: "gpt-image-1", n: 1, prompt, image, input_fidelity: "high" });
      assert(isPng(bytesOf(made.data[0])));
      assert.equal((await asked(prompt)).jobs[0].files, [image].flat().length);
    }
  },

  async cherry_studio_generates() {
    const body = { model: "qwen-image", prompt: words(), n: 2, quality: "high", moderation: "low", background: "opaque" };
    assert.deepEqual(await cherry(await post("/images/generations", body)), [0, 2]);
    assert.deepEqual(await cherry(await post("/images/generations", { ...body, model: "dall-e-3", n: 1 })), [1, 0]);
  },

  async cherry_studio_edits() {
    const prompt = words();
    const sent = form(["model", "gpt-image-1"], ["prompt", prompt], ["image", sea()], ["image", boat()], ["quality", "low"]);
    assert.deepEqual(await cherry(await post("/images/edits", sent)), [0, 1]);
    assert.deepEqual(await shape(prompt), [["image_edit", "qwen-image-3.0", null, 2]]);
  },

  async cherry_studio_shows_what_went_wrong() {
    const answer = await post("/images/generations", { model: "qwen-image", prompt: words("fail=picture_quota"), n: 1 });
    assert.equal(answer.status, 429);
    const { error } = await answer.json();
    assert(error.message.length > 20, error.message);
    // It asks again without `response_format` where an error speaks of it; no other error may.
    assert(!error.message.includes("response_format"), error.message);
  },

  async nextchat_generates() {
    // It draws with one model only, by its name.
    for (const size of ["1024x1024", "1792x1024", "1024x1792"]) {
      const prompt = words();
      const body = { model: "dall-e-3", prompt, response_format: "b64_json", n: 1, size, quality: "standard", style: "vivid" };
      const { data } = await okay(await post("/images/generations", body));
      assert(isPng(Buffer.from(data[0].b64_json, "base64")) && !("url" in data[0]));
      assert.equal((await shape(prompt)).length, 1);
    }
  },

  async the_prefix_may_be_missing_or_doubled() {
    for (const path of ["/../images/generations", "/v1/images/generations"]) {
      const { data } = await okay(await post(path, { prompt: words() }));
      assert.equal(data.length, 1, path);
    }
  },

  async browsers_may_read_answers() {
    const origin = { origin: "https://app.example" };
    const answer = await post("/images/generations", { prompt: words(), response_format: "url" }, origin);
    assert.equal(answer.headers.get("access-control-allow-origin"), "*");
    assert(answer.headers.get("access-control-expose-headers").includes("x-images"));
    const { data: [{ url }] } = await okay(answer);
    assert.equal((await fetch(url, { headers: origin })).headers.get("access-control-allow-origin"), "*");
  },
};

const wanted = process.argv.slice(2);
for (const [name, attempt] of Object.entries(cases)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  try {
    await attempt();
    console.log(`ok ${name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${name}: ${String(error).replace(/\s+/g, " ")}`);
  }
}
