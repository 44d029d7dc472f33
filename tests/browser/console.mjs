// Chats in the console of a running server, in a headless Chromium.
//
//   BASE_URL=… API_KEY=… [SCREENSHOTS=folder] [CHROMIUM=path] node tests/browser/console.mjs
//
// Prints a line for each check; exits with 1 at the first failure.

import assert from "node:assert/strict";

import {
  ANSWER, API_KEY, BASE_URL, PIXEL, check, content, copied, ended, errorAnswer, fake, focused, intercept, isOpen, open,
  run, screenshot, section, sendMessage, setValue, submit, text, value, waitForText,
} from "./page.mjs";

/** Drops a file on the chat. */
const drop = (page, name, content) =>
  page.evaluate(
    (name, content) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([content], name));
      for (const type of ["dragenter", "dragover", "drop"]) {
        document.getElementById("talk").dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
      }
    },
    name,
    content,
  );

await run(async () => {
  const page = await open("/");

  await check("the state of the session is in sight", async () => {
    await page.waitForFunction(() => document.querySelector("#version").textContent !== "");
    assert.match(await text(page, "#state"), /^Session (valid until|not tried yet)/);
    assert.ok(await page.$("#remedy[hidden]"));
  });

  await check("without a key the chat asks for it in place, and goes on with it", async () => {
    page.expected = ["401"];
    await sendMessage(page, fake({ say: "hello" }));
    assert.match(await text(page, `${ANSWER} .notice`), /\w/);
    page.expected = [];
    await page.type(`${ANSWER} .ask-key input`, API_KEY);
    await page.keyboard.press("Enter");
    await waitForText(page, `${ANSWER} .content`, "hello");
    await ended(page);
    assert.equal((await page.$$("article")).length, 2, "the failed answer is gone");
    assert.equal(await value(page, "#key"), API_KEY);
    await waitForText(page, "#state", "Session valid until ");
  });

  await check("without a key an attachment asks for it, and is uploaded with it", async () => {
    const fresh = await open("/", undefined, {}, ["401"]);
    await drop(fresh, "notes.txt", "some notes");
    await fresh.waitForSelector("#files .bad");
    await fresh.click("#files li button");
    assert.equal(await focused(fresh), "key");
    await fresh.keyboard.type(API_KEY);
    await fresh.keyboard.press("Tab");
    await fresh.waitForSelector("#files .good");
    await fresh.close();
  });

  await check("an answer streams with its thinking, using the keyboard only", async () => {
    await page.click("#new");
    await page.keyboard.type(fake({ think: "Considering it", say: "**bold** and `code`" }));
    await submit(page);
    assert.equal(await content(page), "bold and code");
    assert.match(await text(page, `${ANSWER} .thinking div`), /Considering/);
    assert.equal(await isOpen(page, `${ANSWER} .thinking`), false, "thinking folds when the answer begins");
    assert.match(await text(page, `${ANSWER} .thinking summary`), /^Thought for \d+ s$/);
    assert.equal(await text(page, `${ANSWER} .content strong`), "bold");
    assert.match(await text(page, `${ANSWER} .figures`), /first word after [\d.]+ s · \d+ tokens in, \d+ out/);
    assert.match(await text(page, `${ANSWER} h2`), /^Qwen.*qwen3-max/);
    assert.equal(await focused(page), "question");
    await waitForText(page, "#status", "The answer is complete: bold and code");
  });

  await check("thinking is open while it lasts", async () => {
    await setValue(page, "#question", fake({ think: "one two three four five six", say: "done", delay_ms: 150 }));
    await page.focus("#question");
    await page.keyboard.press("Enter");
    await page.waitForSelector(`${ANSWER}[aria-busy] .thinking[open]:not([hidden])`);
    assert.equal(await text(page, `${ANSWER} .thinking summary`), "Thinking…");
    await ended(page);
    assert.equal(await isOpen(page, `${ANSWER} .thinking`), false);
  });

  await check("messages are copied, asked again and edited", async () => {
    await page.click("#new");
    await sendMessage(page, fake({ say: "the *first*" }));
    await page.click(`${ANSWER} .foot .copy`);
    assert.equal(await copied(page), "the *first*");
    await page.click(`${ANSWER} .regenerate`);
    await page.waitForSelector(`${ANSWER}:not([aria-busy]) .figures`);
    await ended(page);
    assert.equal((await page.$$("article")).length, 2);
    assert.equal(await content(page), "the first");
    await sendMessage(page, fake({ say: "the second" }));
    assert.equal((await page.$$(".regenerate")).length, 2);
    assert.equal(await page.$$eval(".regenerate", (all) => all.filter((button) => button.checkVisibility()).length), 1, "only the last answer can be asked for again");
    await page.hover("article.user:nth-last-of-type(2)");
    await page.click("article.user:nth-last-of-type(2) .act.last-only");
    assert.match(await value(page, "#question"), /second/);
    assert.equal(await focused(page), "question");
    assert.equal((await page.$$("article")).length, 2);
    await setValue(page, "#question", fake({ say: "another" }));
    await submit(page);
    assert.equal(await content(page), "another");
    assert.equal((await page.$$("article")).length, 4);
  });

  await check("code is copied alone, and keeps its direction", async () => {
    await sendMessage(page, fake({ say: "שלום עולם\n\n```js\nlet a = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |" }));
    await page.click(`${ANSWER} .code .copy`);
    assert.equal((await copied(page)).trim(), "let a = 1;");
    const directions = await page.$$eval(`${ANSWER} .content :is(p, pre)`, (all) => all.map((element) => getComputedStyle(element).direction));
    assert.deepEqual(directions, ["rtl", "ltr"]);
  });

  await check("an answer of the second upstream says so, and one of the site does not", async () => {
    assert.equal(await page.$(`${ANSWER} .upstream`), null);
    const model = await value(page, "#model");
    await setValue(page, "#model", "api:second-small");
    await page.click("#new");
    await sendMessage(page, "[[api say=Paid%20words. think=Hm.]]");
    assert.equal(await content(page), "Paid words.");
    assert.match(await text(page, `${ANSWER} .upstream`), /second upstream/);
    assert.match(await text(page, "#remarks"), /the second upstream answers/);
    await screenshot(page, "console-second");
    await setValue(page, "#model", model);
    await page.click("#new");
    await sendMessage(page, fake({ say: "again the site" }));
    assert.doesNotMatch(await text(page, "#remarks"), /second upstream/);
  });

  await check("active content of an answer is neutralized", async () => {
    await sendMessage(page, fake({ say: "![pixel](https://example.com/p.png) [bad](javascript:window.hit=1) <b style=color:red>b</b>\n\n<img src=x onerror=window.hit=1>\n\n<script>window.hit=1</script>" }));
    await waitForText(page, `${ANSWER} .content`, "pixel");
    assert.equal(await page.evaluate(() => window.hit), undefined);
    assert.equal(await page.$(`${ANSWER} .content :is(img, b, script, [href^="javascript:"])`), null);
    assert.match(await text(page, `${ANSWER} .content`), /<b style=color:red>b<\/b>/, "HTML stays text");
    assert.deepEqual(await page.$eval(`${ANSWER} .content a[href]`, ({ href, rel, target }) => [href, rel, target]), [
      "https://example.com/p.png",
      "noopener noreferrer",
      "_blank",
    ]);
  });

  await check("active content of titles, names of files, errors, sources and calls is neutralized", async () => {
    const attack = '<img src=x onerror="window.hit=1">';
    await page.click("#new");
    await drop(page, `${attack}.txt`, "some notes");
    await page.waitForSelector("#files .good");
    await setValue(page, "#question", `${attack} ${fake({ say: "read" })}`);
    await submit(page);
    assert.match(await text(page, "#history li:first-child button"), /<img src=x/);
    assert.match(await text(page, "article.user .tag"), /<img src=x/);
    page.expected = ["403"];
    let release = await intercept(page, "/chat/completions", errorAnswer(403, { message: attack, code: "qwen_challenge", verify_url: "javascript:window.hit=1" }));
    await setValue(page, "#question", "an error");
    await submit(page);
    await release();
    page.expected = [];
    assert.match(await text(page, `${ANSWER} .notice`), /<img src=x/);
    assert.equal(await page.$(`${ANSWER} .notice a`), null, "only links to sites are links");
    const delta = {
      content: "x",
      annotations: ["javascript:window.hit=1", "https://example.com/source"].map((url) => ({ type: "url_citation", url_citation: { url, title: attack } })),
      tool_calls: [{ index: 0, id: "a", type: "function", function: { name: attack, arguments: attack } }],
    };
    const body = `data: ${JSON.stringify({ choices: [{ delta }] })}\n\ndata: [DONE]\n\n`;
    release = await intercept(page, "/chat/completions", { status: 200, contentType: "text/event-stream", body });
    await setValue(page, "#question", "sources");
    await submit(page);
    await release();
    const sources = await page.$$eval(`${ANSWER} .sources a`, (all) => all.map((/** @type {HTMLAnchorElement} */ { href, textContent }) => [href, textContent]));
    assert.deepEqual(sources, [["https://example.com/source", attack]]);
    assert.match(await text(page, `${ANSWER} .call summary`), /<img src=x/);
    await page.reload({ waitUntil: "networkidle0" });
    await page.waitForSelector("article.user .tag");
    assert.equal(await page.evaluate(() => window.hit), undefined);
    assert.equal(await page.$("#talk img"), null);
    await page.click("#new");
  });

  await check("an answer that the Markdown parser rejects is shown as text", async () => {
    for (const odd of [`${"> ".repeat(5000)}deep`, `${"[".repeat(20000)}deep`, `${"- ".repeat(5000)}deep`]) {
      await setValue(page, "#question", fake({ say: odd }));
      await submit(page);
      assert.match(await text(page, `${ANSWER} .content`), /deep/);
    }
    await page.click("#new");
    await sendMessage(page, fake({ say: "hello again" }));
    assert.equal(await content(page), "hello again");
  });

  await check("the work for a long answer is in proportion to its length", async () => {
    const { pieces, length, added, nodes, same, ms } = await page.evaluate(async () => {
      const markdown = "/assets/console/markdown.js";
      const { Growing } = await import(markdown);
      const block = (n) =>
        [
          `Paragraph ${n} with **bold**, \`code\` and a [link][l${n}].`,
          "1. one\n2. two\n\n   - inner\n\n3. three",
          `| a | b |\n|---|---|\n| ${n} | x |`,
          `\`\`\`js\nlet a = ${n};\n\nlet b;\n\`\`\``,
          `> quoted ${n}\n\n`,
        ].join("\n\n");
      let text = "";
      for (let n = 0; text.length < 100_000; n++) text += block(n);
      const whole = document.createElement("div");
      const once = new Growing(whole);
      once.add(text);
      once.end();
      const element = document.createElement("div");
      let added = 0;
      const growing = new Growing(element);
      const observer = new MutationObserver((records) => records.forEach(({ addedNodes }) => (added += addedNodes.length)));
      observer.observe(element, { childList: true, subtree: true });
      const pieces = Math.ceil(text.length / 50);
      const from = performance.now();
      for (let at = 0; at < text.length; at += 50) {
        growing.add(text.slice(at, at + 50));
        growing.paint();
      }
      growing.end();
      const ms = performance.now() - from;
      for (const { addedNodes } of observer.takeRecords()) added += addedNodes.length;
      const shown = ({ textContent }) => textContent.replace(/\s+/g, " ").trim();
      return { pieces, length: text.length, added, nodes: whole.querySelectorAll("*").length, same: shown(whole) === shown(element), ms };
    });
    console.log(`   ${length} characters in ${pieces} pieces: ${Math.round(ms)} ms, ${added} blocks set for ${nodes} elements`);
    assert.ok(same, "piece by piece comes to the same");
    assert.ok(added < pieces * 12, `${added} blocks for ${pieces} pieces`);
  });

  await check("an image is attached with the button", async () => {
    await page.$eval("#files", (list) => {
      window.progress = 0;
      new MutationObserver(() => (window.progress += list.querySelectorAll("progress").length)).observe(list, { childList: true });
    });
    await page.evaluate((pixel) => {
      const bytes = Uint8Array.from(atob(pixel), (letter) => letter.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], "pixel.png", { type: "image/png" }));
      const picker = /** @type {HTMLInputElement} */ (document.getElementById("picker"));
      picker.files = transfer.files;
      picker.dispatchEvent(new Event("change"));
    }, PIXEL);
    await page.waitForSelector("#files .good");
    assert.ok((await page.evaluate(() => window.progress)) > 0, "progress was shown");
    await sendMessage(page, fake({ say: "seen" }));
    assert.equal(await content(page), "seen");
    assert.equal(await text(page, "article.user:nth-last-of-type(2) .tag"), "pixel.png");
    assert.ok(await page.$("article.user:nth-last-of-type(2) .tag img"), "the picture is shown");
  });

  await check("files are dropped, pasted, removed, and rejected with a reason", async () => {
    page.expected = ["400"];
    await drop(page, "broken.bin", "\u0000\u0001\u0002\u0003");
    await page.waitForSelector("#files .bad");
    assert.match(await text(page, "#files .bad"), /format/);
    await page.click("#files button");
    assert.equal((await page.$$("#files li")).length, 0);
    page.expected = [];
    await page.$eval("#question", (field) => {
      const clipboardData = new DataTransfer();
      clipboardData.items.add(new File(["some notes"], "notes.txt"));
      field.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    });
    await page.waitForSelector("#files .good");
    await sendMessage(page, fake({ say: "read" }));
    assert.equal(await content(page), "read");
  });

  await check("an error in an answer is shown with a button to retry", async () => {
    await sendMessage(page, fake({ say: "some words and then nothing more to be said of it", delay_ms: 50, cut: 1200 }));
    await page.waitForSelector(`${ANSWER} .notice`);
    assert.match(await text(page, `${ANSWER} .notice`), /\w/);
    assert.equal(await text(page, `${ANSWER} .again`), "Try again");
    const before = (await page.$$("article")).length;
    await page.click(`${ANSWER} .again`);
    await page.waitForSelector(`${ANSWER}:not([aria-busy]) .notice`);
    await ended(page);
    assert.equal((await page.$$("article")).length, before, "it takes the place of the failed one");
  });

  await check("an answer can be stopped, and what came stays", async () => {
    await page.click("#new");
    await setValue(page, "#question", fake({ say: "one two three four five six seven eight nine ten", thinking: 0, delay_ms: 400 }));
    await page.focus("#question");
    await page.keyboard.press("Enter");
    await waitForText(page, `${ANSWER} .content`, "one");
    assert.equal(await text(page, "#send-text"), "Stop");
    await page.click("#send");
    await page.waitForSelector(`${ANSWER}:not([aria-busy])`);
    assert.match(await text(page, `${ANSWER} .content`), /one/);
    assert.doesNotMatch(await text(page, ANSWER), /ten|broke off/);
    assert.match(await text(page, `${ANSWER} .figures`), /^Stopped\./);
    await ended(page);
  });

  await check("a tool is declared, its call shown, and the result sent back", async () => {
    await page.click("#new");
    await section(page, "tools-panel");
    await page.type("#tools", "{}");
    await page.focus("#question");
    await page.keyboard.type("not sent");
    await page.keyboard.press("Enter");
    assert.match(await text(page, "#tools-problem"), /JSON array/);
    assert.equal(await focused(page), "tools");
    assert.equal((await page.$$("article")).length, 0, "nothing is sent with unreadable tools");
    await page.click("#tools-example");
    await setValue(page, "#question", "");
    const call = (city) => `[TOOL CALL]\n{"name": "get_weather", "arguments": {"city": ${JSON.stringify(city)}}}\n[END TOOL CALL]\n`;
    await sendMessage(page, fake({ think: "Two cities.", say: `I look.\n${call("Paris")}${call("<b>Oslo</b>")}` }));
    assert.equal(await content(page), "I look.");
    const calls = () => page.$$eval(`${ANSWER} .call`, (all) => all.map((/** @type {HTMLDetailsElement} */ { textContent, open }) => [textContent, open]));
    assert.deepEqual(await calls(), [
      ['Calls get_weather{\n  "city": "Paris"\n}', false],
      ['Calls get_weather{\n  "city": "<b>Oslo</b>"\n}', false],
    ]);
    assert.equal(await isOpen(page, `${ANSWER} .thinking`), false);
    // By keyboard: the first result has the focus.
    await page.focus("form.results textarea");
    await page.keyboard.type("18 degrees");
    await page.keyboard.press("Tab");
    await page.keyboard.type(fake({ say: "Paris is warmer." }));
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await waitForText(page, `${ANSWER} .content`, "Paris is warmer.");
    assert.deepEqual(await page.$$eval("article.tool .said", (all) => all.map(({ textContent }) => textContent.split(" ")[0])), ["18", "[[fake"]);
    assert.equal(await page.$("form.results"), null);
    await ended(page);
    await setValue(page, "#tools", "");
  });

  await check("chats are kept in the tab: switched, reloaded and deleted", async () => {
    const chats = () => page.$$eval("#history li[data-chat]", ({ length }) => length);
    await page.click("#new");
    const before = await chats();
    await sendMessage(page, `first of two ${fake({ think: "Hm.", say: "kept **well** data:image/png;base64,AAAA" })}`);
    await page.click("#new");
    // An answer goes on while another chat is open.
    await setValue(page, "#question", `second of two ${fake({ say: "one two three", delay_ms: 200 })}`);
    await page.focus("#question");
    await page.keyboard.press("Enter");
    await waitForText(page, `${ANSWER} .content`, "one");
    assert.equal(await chats(), before + 2);
    await page.click("#history li:nth-child(2) button");
    assert.equal(await text(page, `${ANSWER} .content strong`), "well");
    assert.equal(await text(page, "#send-text"), "Send", "nothing runs in this one");
    await page.click("#history li:first-child button");
    await ended(page);
    assert.match(await content(page), /one two three/);
    await page.reload({ waitUntil: "networkidle0" });
    assert.equal(await chats(), before + 2);
    assert.match(await content(page), /one two three/);
    await page.click("#history li:nth-child(2) button");
    assert.equal(await text(page, `${ANSWER} .content strong`), "well");
    assert.match(await text(page, `${ANSWER} .thinking summary`), /Thought for/);
    assert.ok(!(await page.evaluate(() => sessionStorage.getItem("qwen-edge.chats"))).includes("base64,A"));
    await sendMessage(page, fake({ say: "it goes on" }));
    assert.equal(await content(page), "it goes on");
    await page.click("#history li:nth-child(2) button:last-child");
    assert.equal(await chats(), before + 1);
    const other = await page.browserContext().newPage();
    await other.goto(BASE_URL, { waitUntil: "networkidle0" });
    assert.equal(await other.$("article"), null, "another tab has none of them");
    await other.close();
  });

  await check("what is kept is bounded, and what cannot be read is left out", async () => {
    const room = await open("/");
    const sizes = await room.evaluate(async () => {
      const path = "/assets/console/chats.js";
      const { begin, current, keep } = await import(path);
      for (let chat = 0; chat < 40; chat++) {
        begin();
        for (let n = 0; n < 4; n++) {
          current().add({ role: "user", text: "q".repeat(1000) });
          current().add({ role: "assistant", text: "a".repeat(40_000), figures: {} });
        }
      }
      const data = "data:image/png;base64,QUJD";
      current().add({ role: "user", text: "", attached: [{ name: "p", link: data }], order: { path: "/v1/images/edits", body: { images: [{ image_url: data }] } } });
      keep();
      if (sessionStorage.getItem("qwen-edge.chats").includes("QUJD")) throw new Error("a picture is kept");
      return [sessionStorage.getItem("qwen-edge.chats").length, document.querySelectorAll("#history li").length];
    });
    assert.ok(sizes[0] > 500_000 && sizes[0] < 2_100_000 && sizes[1] <= 31, String(sizes));
    await room.reload({ waitUntil: "networkidle0" });
    assert.ok((await room.$$("#history li")).length > 5);
    for (const broken of ["{", "null", '{"chats":[{"id":1},{"id":"a","title":"t","items":[{"role":"user"},null]}]}']) {
      await room.evaluate((broken) => {
        addEventListener("pagehide", (event) => event.stopImmediatePropagation(), true);
        sessionStorage.setItem("qwen-edge.chats", broken);
      }, broken);
      await room.reload({ waitUntil: "networkidle0" });
      assert.equal(await text(room, "#send-text"), "Send");
    }
    await room.close();
  });

  await check("the model is chosen by keyboard from a list that is searched", async () => {
    await page.focus("#model");
    await page.keyboard.press("ArrowDown");
    await page.waitForSelector('#model[aria-expanded="true"]');
    const active = () => page.$eval("#model", (field) => document.getElementById(field.getAttribute("aria-activedescendant"))?.querySelector("code").textContent);
    assert.equal(await active(), "qwen3-max", "it begins at the chosen one");
    const all = await page.$$eval("#model-options code", (codes) => codes.map(({ textContent }) => textContent));
    await page.keyboard.press("Home");
    assert.equal(await active(), all[0]);
    await page.keyboard.press("End");
    assert.equal(await active(), all.at(-1));
    await page.keyboard.press("ArrowDown");
    assert.equal(await active(), all[0]);
    assert.match(await text(page, "#model-options li .abilities"), /thinks · sees pictures · .*tokens/);
    await page.keyboard.press("Escape");
    assert.ok(await page.$("#model-popup[hidden]"));
    await page.keyboard.press("ArrowUp");
    await page.keyboard.type("coder");
    assert.deepEqual(await page.$$eval("#model-options code", (codes) => codes.map(({ textContent }) => textContent)), ["qwen3-coder-plus", "coder"]);
    await page.keyboard.press("Escape");
    assert.equal(await value(page, "#model"), "qwen3-max");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.type("coder");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    assert.equal(await value(page, "#model"), "qwen3-coder-plus");
    await page.click("#model-open");
    await page.keyboard.type("sees pictures hears");
    const found = await page.$$eval("#model-options .abilities", (all) => all.map(({ textContent }) => textContent));
    assert.ok(found.length > 0 && found.every((abilities) => /pictures.*hears/.test(abilities)), String(found));
    await page.keyboard.down("Control");
    await page.keyboard.press("a");
    await page.keyboard.up("Control");
    await page.keyboard.type("api:second-small");
    assert.match(await text(page, "#model-options li"), /second upstream/);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    assert.equal(await value(page, "#model"), "api:second-small");
    await setValue(page, "#model", "qwen3-max");
  });

  await check("the list of models may be long, or missing", async () => {
    const capabilities = { vision: true, thinking: true, mcp: true };
    const data = Array.from({ length: 60 }, (_, n) => ({ id: `model-${n}`, name: `Model ${n}`, capabilities, context_length: 262_144 }));
    const model = await open("/", undefined, { "/v1/models": { status: 200, contentType: "application/json", body: JSON.stringify({ object: "list", data }) } });
    await model.click("#model");
    assert.equal((await model.$$("#model-options li")).length, 60);
    await model.keyboard.press("End");
    const inside = await model.evaluate(() => {
      const [box, option] = [document.querySelector("#model-options"), document.querySelector("#model-options [data-active]")].map((element) => element.getBoundingClientRect());
      return box.top >= 0 && option.top >= box.top && option.bottom <= box.bottom + 1;
    });
    assert.ok(inside, "the list scrolls to the option");
    await model.close();
    const none = await open("/", undefined, { "/v1/models": errorAnswer(502, { message: "the site is away" }) }, ["502"]);
    await none.click("#model");
    assert.match(await text(none, "#model-note"), /the site is away.*Type the name/);
    await none.keyboard.type("qwen-next");
    await none.keyboard.press("ArrowDown");
    await none.keyboard.press("Enter");
    assert.equal(await value(none, "#model"), "qwen-next");
    await section(none, "models");
    assert.match(await text(none, "#models-problem"), /the site is away/);
    await none.close();
  });

  await check("models are filtered and taken in the menu", async () => {
    await section(page, "models");
    await setValue(page, "#filter", "qwen3-coder");
    const found = await page.$$eval("#model-list code", (codes) => codes.map((code) => code.textContent));
    assert.ok(found.length > 0 && found.every((id) => id.includes("coder")), String(found));
    await page.click("#model-list button");
    assert.equal(await value(page, "#model"), found[0]);
    assert.equal(await focused(page), "question");
    await setValue(page, "#filter", "");
  });
});
