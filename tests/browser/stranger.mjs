// A page of another origin on the same machine has no access to a server without keys, and the server's own pages have full
// access, in a headless Chromium.
//
//   BASE_URL=… [CHROMIUM=path] node tests/browser/stranger.mjs
//
// Prints a line for each request with the expected result; exits with 1 at the first other result.

import assert from "node:assert/strict";
import { createServer } from "node:http";

import { launch } from "./chromium.mjs";

const { BASE_URL } = process.env;
const body = (content) => JSON.stringify({ model: "qwen3-max", messages: [{ role: "user", content }] });
const session = async () => (await fetch(`${BASE_URL}/admin/session`)).json();

const foreign = createServer((_, answer) => answer.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>"));
await new Promise((listening) => foreign.listen(0, "127.0.0.1", () => listening(undefined)));
const { port } = /** @type {import("node:net").AddressInfo} */ (foreign.address());
const browser = await launch();

/** Requests each keyed route from the page; returns the responses and whether the page may read them. */
const ask = (page, routes, mode, body) =>
  page.evaluate(
    async (base, routes, mode, body) => {
      const results = [];
      for (const { method, path } of routes) {
        const url = base + path.replace("{id}", "some-id");
        const hasBody = !["GET", "HEAD", "DELETE"].includes(method);
        // "text/plain" needs no preflight.
        for (const type of hasBody ? ["application/json", "text/plain"] : [undefined]) {
          /** @type {RequestInit} */
          const options = { method, mode, credentials: "include" };
          if (hasBody) Object.assign(options, { body, headers: { "content-type": type } });
          try {
            const answer = await fetch(url, options);
            const readable = answer.type !== "opaque";
            results.push({ method, path, type, status: answer.status, readable, text: await answer.text() });
          } catch (error) {
            results.push({ method, path, type, blocked: String(error) });
          }
        }
      }
      return results;
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
    await page.goto(`http://${host}:${port}/`);
    for (const mode of ["cors", "no-cors"]) {
      for (const result of await ask(page, routes, mode, body("from a stranger"))) {
        assert(result.blocked || (!result.readable && result.text === ""), JSON.stringify(result));
        console.log(`ok ${host} ${mode} ${result.method} ${result.path} ${result.type ?? ""}`);
      }
    }
    // A page may submit forms and load images from any origin, but cannot read the response.
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
    console.log(`ok ${host} forms and images`);
    await page.close();
  }

  assert.deepEqual(await session(), before);

  const own = await browser.newPage();
  await own.goto(`${BASE_URL}/console`);
  for (const result of await ask(own, routes, "cors", body("from its own page"))) {
    assert(result.readable && result.status !== 403, JSON.stringify(result));
    console.log(`ok own ${result.method} ${result.path} ${result.type ?? ""}`);
  }
  // In the console a chat works at once.
  await own.goto(BASE_URL, { waitUntil: "networkidle0" });
  await own.type("#question", "from the console itself");
  await own.keyboard.press("Enter");
  await own.waitForSelector('article.assistant:not([aria-busy]) .figures');
  assert.match(await own.$eval("article.assistant .content", ({ textContent }) => textContent), /from the console itself/);
  assert.equal(await own.$(".notice:not([hidden])"), null);
  console.log("ok the console needs no key");
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
  foreign.close();
}
