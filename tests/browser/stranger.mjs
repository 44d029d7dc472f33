// What a page of another program on the same machine can do at a server without keys, in a headless Chromium: nothing; and
// that the server's own pages can do everything.
//
//   BASE_URL=… [CHROMIUM=path] node tests/browser/stranger.mjs
//
// Prints a line for each request that got what it should; ends with 1 at the first that did not.

import assert from "node:assert/strict";
import { createServer } from "node:http";

import { launch } from "./chromium.mjs";

const { BASE_URL } = process.env;
const body = (content) => JSON.stringify({ model: "qwen3-max", messages: [{ role: "user", content }] });
const session = async () => (await fetch(`${BASE_URL}/admin/session`)).json();

const stranger = createServer((_, answer) => answer.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>"));
await new Promise((listening) => stranger.listen(0, "127.0.0.1", listening));
const browser = await launch();

/** Asks for each keyed route in the page, in the ways that pages have; what comes of it, and whether the page may read it. */
const ask = (page, routes, mode, body) =>
  page.evaluate(
    async (base, routes, mode, body) => {
      const told = [];
      for (const { method, path } of routes) {
        const where = base + path.replace("{id}", "some-id");
        const has = !["GET", "HEAD", "DELETE"].includes(method);
        // "text/plain" needs no preflight: it is what a page tries first.
        for (const type of has ? ["application/json", "text/plain"] : [undefined]) {
          const options = { method, mode, credentials: "include" };
          if (has) Object.assign(options, { body, headers: { "content-type": type } });
          try {
            const answer = await fetch(where, options);
            const readable = answer.type !== "opaque";
            told.push({ method, path, type, status: answer.status, readable, text: await answer.text() });
          } catch (error) {
            told.push({ method, path, type, blocked: String(error) });
          }
        }
      }
      return told;
    },
    BASE_URL,
    routes,
    mode,
    body,
  );

try {
  const routes = (await (await fetch(BASE_URL)).json()).routes.filter((route) => route.key);
  assert(routes.length > 12);
  const before = await session();
  for (const host of ["127.0.0.1", "localhost"]) {
    const page = await browser.newPage();
    await page.goto(`http://${host}:${stranger.address().port}/`);
    for (const mode of ["cors", "no-cors"]) {
      for (const told of await ask(page, routes, mode, body("from a stranger"))) {
        assert(told.blocked || (!told.readable && told.text === ""), JSON.stringify(told));
        console.log(`ok ${host} ${mode} ${told.method} ${told.path} ${told.type ?? ""}`);
      }
    }
    // Forms and frames may be sent anywhere; nothing of the answer shows in the page.
    await page.evaluate(
      async (base, body) => {
        document.body.innerHTML = `<iframe name="frame"></iframe><form method="post" target="frame" enctype="text/plain">
          <input name='${body.slice(0, -1)},"x":"' value='"}'></form><img><script></script>`;
        const frame = document.querySelector("iframe");
        for (const path of ["/v1/chat/completions", "/admin/session", "/v1/files/upload"]) {
          const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
          document.forms[0].action = base + path;
          document.forms[0].submit();
          await loaded;
        }
        const image = document.querySelector("img");
        const ended = new Promise((done) => (image.onload = image.onerror = done));
        image.src = `${base}/v1/chats`;
        await ended;
      },
      BASE_URL,
      body("from a stranger"),
    );
    console.log(`ok ${host} forms and pictures`);
    await page.close();
  }

  assert.deepEqual(await session(), before);

  const own = await browser.newPage();
  await own.goto(`${BASE_URL}/console`);
  for (const told of await ask(own, routes, "cors", body("from its own page"))) {
    assert(told.readable && told.status !== 403, JSON.stringify(told));
    console.log(`ok own ${told.method} ${told.path} ${told.type ?? ""}`);
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
  stranger.close();
}
