// Draws, edits and films in the console of a running server, in a headless Chromium.
//
//   BASE_URL=… API_KEY=… [SCREENSHOTS=folder] [CHROMIUM=path] node tests/browser/pictures.mjs
//
// Prints a line for each check; exits with 1 at the first failure. The server stands before the fake site, with
// ALLOW_PRIVATE_URLS=true. A challenge comes last: after it the site is not asked for some minutes.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { API_KEY, BASE_URL, PIXEL, assertAccessible, assertFits, check, fake, intercept, open, run, screenshot, section, setValue, text, waitForText } from "./page.mjs";

/** The newest thing that was made, and what is said of the newest order. */
const LAST = ".thread > article:last-of-type";
const NEWEST = `${LAST} .made > li:last-child`;
const PROBLEM = `${LAST} .notice`;

/** Asks by keyboard. */
async function order(page, prompt) {
  await setValue(page, "#question", prompt);
  await page.focus("#question");
  await page.keyboard.press("Enter");
}

const ended = (page) => page.waitForSelector('#send[data-doing="send"]:not(:disabled)');
const count = (page) => page.$$eval(".thread .made > li", ({ length }) => length);
const focused = (page) => page.evaluate(() => document.activeElement.id);

/** Draws; returns how many pictures came. */
async function draw(page, prompt) {
  const before = await count(page);
  const articles = await page.$$eval("article", ({ length }) => length);
  await order(page, prompt);
  await page.waitForFunction((before) => document.querySelectorAll("article").length > before, {}, articles);
  await ended(page);
  await page.waitForFunction(() => [...document.querySelectorAll(".made img")].every((/** @type {HTMLImageElement} */ { complete }) => complete));
  return (await count(page)) - before;
}

/** Drops a file on the section. */
const drop = (page, name, type, base64) =>
  page.evaluate(
    (name, type, base64) => {
      const dataTransfer = new DataTransfer();
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      dataTransfer.items.add(new File([bytes], name, { type }));
      for (const event of ["dragenter", "dragover", "drop"]) {
        document.getElementById("question").dispatchEvent(new DragEvent(event, { dataTransfer, bubbles: true, cancelable: true }));
      }
    },
    name,
    type,
    base64,
  );

const facts = (page) => text(page, `${NEWEST} .facts`);
/** Downloads the newest; returns the file's name and its bytes. */
async function download(page) {
  const folder = mkdtempSync(path.join(tmpdir(), "download-"));
  const session = await page.createCDPSession();
  const { id: browserContextId } = page.browserContext();
  await session.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: folder, browserContextId, eventsEnabled: true });
  const done = new Promise((resolve) => session.on("Browser.downloadProgress", ({ state }) => state === "completed" && resolve(undefined)));
  await page.click(`${NEWEST} a[download]`);
  await done;
  const [name] = readdirSync(folder);
  const bytes = readFileSync(path.join(folder, name));
  rmSync(folder, { recursive: true });
  return { name, bytes };
}

await run(async () => {
  const page = await open("/");

  await check("without a key or a text the page says what to do", async () => {
    await page.select("#kind", "picture");
    assert.equal(await text(page, "#send-text"), "Draw");
    await order(page, " ");
    await waitForText(page, "#status", "Say what is to be seen.");
    assert.equal(await focused(page), "question");
    page.expected = ["401"];
    await order(page, fake({ px: "1024x1024" }, "a kite"));
    await page.waitForSelector(`${LAST} .ask-key input`);
    page.expected = [];
    await page.type(`${LAST} .ask-key input`, API_KEY);
    await page.keyboard.press("Enter");
    await waitForText(page, `${NEWEST} .facts`, "1024 × 1024 · PNG");
    await ended(page);
  });

  await check("a picture is drawn, with the time that it takes, its real size and a download", async () => {
    await page.select("#shape", "16:9");
    await order(page, fake({ px: "1664x928", first_ms: 2500 }, "a red kite above a grey sea"));
    await waitForText(page, `${LAST} .making-text`, "Drawing for 1 s");
    assert.equal(await text(page, "#send-text"), "Stop waiting");
    await screenshot(page, "pictures-running");
    await ended(page);
    await waitForText(page, `${NEWEST} .facts`, "1664 × 928 · PNG");
    const { name, bytes } = await download(page);
    assert.deepEqual([name, bytes.toString("latin1", 1, 4)], ["a-red-kite-above-a-grey-sea.png", "PNG"]);
    assert.ok((await page.$eval(`${NEWEST} img`, (/** @type {HTMLImageElement} */ { src }) => src)).startsWith(`${BASE_URL}/v1/media/`));
    assert.ok(await page.$(`${LAST} .making[hidden]`));
    assert.match(await page.$eval(`${NEWEST} img`, (/** @type {HTMLImageElement} */ { alt }) => alt), /red kite/);
    await page.select("#shape", "");
  });

  await check("model, number and quality are chosen, and the same again is another picture", async () => {
    await page.select("#number", "2");
    await page.select("#quality", "high");
    assert.equal(await draw(page, fake({ px: "1024x1024" }, "number two")), 2);
    assert.equal(await draw(page, fake({ px: "1024x1024" }, "number two")), 2);
    const first = await page.$eval(`${NEWEST} img`, (/** @type {HTMLImageElement} */ { src }) => src);
    await page.click(`${LAST} .regenerate`);
    await page.waitForFunction((selector, first) => (/** @type {HTMLImageElement} */ (document.querySelector(selector))?.src ?? first) !== first, {}, `${NEWEST} img`, first);
    await ended(page);
    await page.select("#number", "1");
    await page.select("#picture-model", "qwen-image-2.0-pro");
    assert.ok(await page.$("#quality:disabled"));
    assert.equal(await draw(page, fake({ px: "928x1664", type: "webp" }, "a tall one")), 1);
    assert.equal(await facts(page), "928 × 1664 · WEBP");
    await page.select("#picture-model", "");
  });

  await check("a dropped picture is edited, and what is no picture is rejected", async () => {
    await drop(page, "notes.txt", "text/plain", btoa("notes"));
    assert.match(await text(page, "#files .bad"), /no picture/);
    const before = await page.$$eval("article", ({ length }) => length);
    await order(page, "not sent");
    await waitForText(page, "#status", "could not be uploaded");
    assert.equal(await page.$$eval("article", ({ length }) => length), before);
    await page.click("#files button");
    await drop(page, "wrong.png", "image/png", btoa("not one, whatever its name says"));
    await page.waitForSelector("#files .bad");
    await page.click("#files button");
    await drop(page, "pixel.png", "image/png", PIXEL);
    await page.waitForSelector("#files .good");
    assert.equal(await text(page, "#send-text"), "Edit the picture");
    assert.match(await page.$eval("#files img", (/** @type {HTMLImageElement} */ { src }) => src), /^blob:/);
    assert.equal(await draw(page, fake({ px: "1328x1328" }, "dropped-edit")), 1);
    assert.equal(await facts(page), "1328 × 1328 · PNG");
  });

  await check("a result is edited, alone or with another", async () => {
    await page.click(`${NEWEST} button`);
    assert.equal(await page.$$eval("#files li", ({ length }) => length), 1, "it takes the place of the others");
    assert.equal(await focused(page), "question");
    await drop(page, "second.png", "image/png", PIXEL);
    await page.waitForSelector("#files li:last-child .good");
    assert.equal(await draw(page, "result-edit"), 1);
    await screenshot(page, "pictures-editing");
    assert.equal(await page.$$eval(`${LAST.replace("last-of-type", "nth-last-of-type(2)")} .tag`, ({ length }) => length), 2);
    assert.equal(await text(page, "#send-text"), "Draw");
  });

  await check("errors say what to do, and those that were drawn are shown", async () => {
    page.expected = ["429", "400"];
    assert.equal(await draw(page, fake({ fail: "picture_quota" }, "over the quota")), 0);
    assert.match(await text(page, PROBLEM), /quota.*Again from \w/);
    await screenshot(page, "pictures-error");
    assert.equal(await draw(page, fake({ fail: "error_before", code: "inspection_input" }, "refused")), 0);
    assert.match(await text(page, PROBLEM), /\w/);
    page.expected = [];
    await page.select("#number", "3");
    assert.equal(await draw(page, fake({ fail: "error_before", code: "unknown_error", times: 1, id: "one-of-three" }, "three")), 2);
    assert.ok(await page.$(`${LAST} .notice.warn`));
    assert.equal(await text(page, PROBLEM), "2 of 3 pictures are drawn. The others failed.");
    await page.select("#number", "1");
  });

  await check("waiting can be given up, and the picture fetched later", async () => {
    const slow = fake({ first_ms: 3000 }, "left-alone");
    await order(page, slow);
    await waitForText(page, `${LAST} .making-text`, "1 s");
    await page.focus("#send");
    await page.keyboard.press("Enter");
    await ended(page);
    assert.match(await text(page, PROBLEM), /makes it all the same, and it counts/);
    assert.equal(await draw(page, slow), 1);
    assert.equal(await page.$(PROBLEM), null);
  });

  await check("a picture that has no link is shown and downloaded", async () => {
    const event = { type: "image_generation.completed", url: `data:image/png;base64,${PIXEL}`, output_format: "png" };
    const body = `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
    const release = await intercept(page, "/images/generations", { status: 200, contentType: "text/event-stream", body });
    assert.equal(await draw(page, "in itself"), 1);
    await release();
    assert.equal(await facts(page), "1 × 1 · PNG");
    const { name, bytes } = await download(page);
    assert.deepEqual([name, bytes.toString("base64")], ["in-itself.png", PIXEL]);
  });

  await check("what was made stays in this tab, and holds no picture and no key", async () => {
    const before = await count(page);
    const kept = await page.evaluate(() => sessionStorage.getItem("qwen-edge.chats"));
    assert.ok(!kept.includes("base64") && !kept.includes(API_KEY) && kept.includes("/v1/media/"), kept);
    assert.ok(!(await page.evaluate(() => JSON.stringify({ ...localStorage }))).includes("/v1/media/"));
    await page.reload({ waitUntil: "networkidle0" });
    assert.equal(await count(page), before - 1, "all but the one without a link");
    const second = await page.browserContext().newPage();
    await second.goto(BASE_URL, { waitUntil: "networkidle0" });
    assert.equal(await count(second), 0);
    await second.close();
  });

  await check("a video is made, watched, played and downloaded", async () => {
    await page.select("#kind", "video");
    assert.equal(await text(page, "#send-text"), "Make the video");
    assert.ok(await page.$("#number").then((number) => number.isHidden()));
    const before = await count(page);
    await drop(page, "first.png", "image/png", PIXEL);
    await page.waitForSelector("#files .good");
    await order(page, fake({ polls: 1, bytes: 20_000 }, "a kite rises"));
    await ended(page);
    assert.equal(await count(page), before + 1);
    await waitForText(page, `${NEWEST} .facts`, "In the making for 0:0");
    assert.ok(await page.$(`${NEWEST} progress`));
    await screenshot(page, "pictures-video-running");
    // It goes on where the page is loaded anew.
    await page.reload({ waitUntil: "networkidle0" });
    // The fake's video has no frames.
    await waitForText(page, `${NEWEST} .facts`, "cannot play");
    const { name, bytes } = await download(page);
    assert.deepEqual([name, bytes.length, bytes.toString("latin1", 4, 8)], ["a-kite-rises.mp4", 20_000, "ftyp"]);
    // Once it is there, it is loaded when it is wanted.
    await page.reload({ waitUntil: "networkidle0" });
    const film = { status: 200, contentType: "video/mp4", body: readFileSync(new URL("../files/vp8.webm", import.meta.url)) };
    const release = await intercept(page, "/content", film);
    await page.waitForSelector(`${NEWEST} button`);
    await page.click(`${NEWEST} button`);
    await waitForText(page, `${NEWEST} .facts`, "MP4");
    await page.$eval(`${NEWEST} video`, (/** @type {HTMLVideoElement} */ video) => video.play());
    await release();
  });

  await check("a picture in a chat is shown, downloaded and edited", async () => {
    await page.select("#kind", "chat");
    await page.click("#new");
    await setValue(page, "#model", "qwen-image");
    await page.focus("#question");
    await page.keyboard.type(fake({ px: "800x600" }, "in a chat"));
    await page.keyboard.press("Enter");
    await page.waitForSelector("article.assistant:not([aria-busy]) .content img");
    await page.waitForFunction(() => /** @type {HTMLImageElement} */ (document.querySelector(".content img")).naturalWidth === 800);
    await ended(page);
    const { bytes } = await download(page);
    assert.equal(bytes.toString("latin1", 1, 4), "PNG");
    await page.click(`${NEWEST} button`);
    assert.equal(await page.$eval("#kind", (/** @type {HTMLSelectElement} */ { value }) => value), "picture");
    assert.equal((await page.$$("#files li")).length, 1);
    await page.click("#files button");
  });

  await check("a model that draws is used for drawing", async () => {
    await page.select("#kind", "chat");
    await setValue(page, "#model", "qwen3-max");
    await page.click("#model");
    await page.keyboard.type("image-2.0");
    assert.match(await text(page, "#model-options li:first-child"), /draws/);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    assert.equal(await page.$eval("#picture-model", (/** @type {HTMLSelectElement} */ { value }) => value), "qwen-image-2.0-pro");
    assert.equal(await focused(page), "question");
    assert.equal(await page.$eval("#model", (/** @type {HTMLInputElement} */ { value }) => value), "qwen3-max");
    await page.select("#kind", "chat");
    await section(page, "models");
    await setValue(page, "#filter", "image-3.0-pro");
    await page.click("#model-list button");
    assert.equal(await page.$eval("#picture-model", (/** @type {HTMLSelectElement} */ { value }) => value), "qwen-image-3.0-pro");
    assert.ok(await page.$("#picture-fields:not([hidden])"));
    await setValue(page, "#filter", "");
    await page.select("#picture-model", "");
  });

  await check("a failed video says why", async () => {
    await page.select("#kind", "video");
    await order(page, fake({ polls: 0, end_state: "failed", message: "the kite has no string" }, "a fall"));
    await page.waitForSelector(`${NEWEST} .notice`);
    assert.match(await text(page, `${NEWEST} .notice`), /\w/);
    page.expected = ["429"];
    const before = await count(page);
    await order(page, fake({ fail: "video_quota" }, "one too many"));
    await ended(page);
    assert.equal(await count(page), before);
    assert.match(await text(page, PROBLEM), /quota/);
    page.expected = [];
    await page.select("#kind", "picture");
  });

  await check("it is accessible in both languages and themes, at each width", async () => {
    await page.click("#history li:nth-child(2) button");
    await drop(page, "pixel.png", "image/png", PIXEL);
    await page.waitForSelector("#files .good");
    await section(page, "settings");
    for (const [theme, language, width] of /** @type {const} */ ([["light", "en", 1440], ["dark", "zh", 1440], ["dark", "en", 1024], ["light", "zh", 390], ["dark", "en", 390]])) {
      await page.setViewport({ width, height: 900 });
      await page.select("#theme", theme);
      await page.select("#language", language);
      assert.equal(await text(page, "#send-text"), language === "zh" ? "编辑图片" : "Edit the picture");
      if (width < 400) await assertFits(page, `${theme} ${language}`);
      await assertAccessible(page, `${theme} ${language} ${width}`);
      await screenshot(page, `pictures-${theme}-${language}-${width}`);
    }
    await page.setViewport({ width: 1100, height: 900 });
    await page.select("#language", "en");
    await page.click("#files button");
  });

  await check("a chat with pictures and videos is deleted", async () => {
    assert.ok((await count(page)) > 5);
    const chats = await page.$$eval("#history li", ({ length }) => length);
    await page.click("#history [aria-current] + button");
    assert.equal(await page.$$eval("#history li", ({ length }) => length), chats - 1);
    assert.ok(!(await page.evaluate(() => sessionStorage.getItem("qwen-edge.chats"))).includes("a red kite above"));
  });

  await check("a challenge has its link", async () => {
    page.expected = ["403"];
    await page.select("#kind", "picture");
    assert.equal(await draw(page, fake({ fail: "waf_json" }, "challenged")), 0);
    assert.match(await page.$eval(`${PROBLEM} a`, (/** @type {HTMLAnchorElement} */ { href }) => href), /^https:/);
    page.expected = [];
  });
});
