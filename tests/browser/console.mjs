// Uses the web pages of a running server in a headless Chromium.
//
//   BASE_URL=… API_KEY=… ADMIN_KEY=… SESSION=<new cookies> OTHER_SESSION=<for the account anna> [SCREENSHOTS=folder] [CHROMIUM=path] node tests/browser/console.mjs
//
// Prints a line for each check; exits with 1 at the first failure.

import assert from "node:assert/strict";

import { API_KEY, BASE_URL, PIXEL, assertAccessible, check, fake, open, run, screenshot, setValue, text, waitForText } from "./page.mjs";

const { ADMIN_KEY, SESSION, OTHER_SESSION } = process.env;

/** Sends a message by keyboard and waits for the end of the answer. */
async function sendMessage(page, text) {
  const before = await page.$$eval("article.assistant", (all) => all.length);
  await page.focus("#question");
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
  await page.waitForFunction((before) => document.querySelectorAll("article.assistant").length > before, {}, before);
  await page.waitForSelector("article.assistant:last-of-type:not([aria-busy])");
}

const ANSWER = "article.assistant:last-of-type";

await run(async () => {
  const page = await open("/");

  await check("the session state is shown", async () => {
    await page.waitForFunction(() => document.querySelector("#version").textContent !== "");
    assert.match(await text(page, "#advice"), /\w/);
  });

  await check("without a key the page says what to do", async () => {
    page.expected = ["401"];
    await sendMessage(page, fake({ say: "hello" }));
    assert.match(await text(page, `${ANSWER} .notice`), /API keys above/);
    page.expected = [];
  });

  await check("an answer streams with its thinking, using the keyboard only", async () => {
    await setValue(page, "#key", API_KEY);
    await page.click("#new");
    await sendMessage(page, fake({ think: "Considering it", say: "**bold** and `code`" }));
    assert.equal(await text(page, `${ANSWER} .content`), "bold and code\n");
    assert.match(await text(page, `${ANSWER} .thinking div`), /Considering/);
    assert.equal(await page.$eval(`${ANSWER} .thinking`, (/** @type {HTMLDetailsElement} */ { open }) => open), false, "thinking collapses when the answer begins");
    assert.equal(await page.$eval(`${ANSWER} .content strong`, (strong) => strong.textContent), "bold");
    assert.match(await text(page, "#figures"), /first word after [\d.]+ s · \d+ tokens in, \d+ out/);
    assert.equal(await page.evaluate(() => document.activeElement.id), "question");
  });

  await check("an answer of the second upstream says so, and one of the site does not", async () => {
    assert.equal(await page.$(`${ANSWER} .upstream`), null);
    const model = await page.$eval("#model", (/** @type {HTMLInputElement} */ { value }) => value);
    await setValue(page, "#model", "api:second-small");
    await page.click("#new");
    await sendMessage(page, "[[api say=Paid%20words. think=Hm.]]");
    assert.equal(await text(page, `${ANSWER} .content`), "Paid words.\n");
    assert.match(await text(page, `${ANSWER} .upstream`), /second upstream/);
    await screenshot(page, "console-second");
    await setValue(page, "#model", model);
    await page.click("#new");
    await sendMessage(page, fake({ think: "Considering it", say: "**bold** and `code`" }));
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

  await check("an answer that the Markdown parser rejects is shown as text", async () => {
    for (const odd of [`${"> ".repeat(5000)}deep`, `${"[".repeat(20000)}deep`, `${"- ".repeat(5000)}deep`]) {
      await setValue(page, "#question", fake({ say: odd }));
      await page.focus("#question");
      const before = await page.$$eval("article.assistant", (all) => all.length);
      await page.keyboard.press("Enter");
      await page.waitForFunction((before) => document.querySelectorAll("article.assistant").length > before, {}, before);
      await page.waitForSelector("article.assistant:last-of-type:not([aria-busy])");
      assert.match(await text(page, `${ANSWER} .content`), /deep/);
      assert.equal(await page.$eval("#send", (/** @type {HTMLButtonElement} */ { disabled }) => disabled), false);
    }
    await page.click("#new");
    await sendMessage(page, fake({ say: "hello again" }));
    assert.equal(await text(page, `${ANSWER} .content`), "hello again\n");
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
    assert.equal(await text(page, `${ANSWER} .content`), "seen\n");
    assert.equal(await text(page, "article.user:nth-last-of-type(2) .tag"), "pixel.png");
  });

  await check("files are dropped, removed, and rejected with a reason", async () => {
    const drop = (name, content) =>
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
    page.expected = ["400"];
    await drop("broken.bin", "\u0000\u0001\u0002\u0003");
    await page.waitForSelector("#files .bad");
    assert.match(await text(page, "#files .bad"), /format/);
    await page.click("#files button");
    assert.equal((await page.$$("#files li")).length, 0);
    page.expected = [];
    await drop("notes.txt", "some notes");
    await page.waitForSelector("#files .good");
    await sendMessage(page, fake({ say: "read" }));
    assert.equal(await text(page, `${ANSWER} .content`), "read\n");
  });

  await check("an error in an answer is shown with a button to retry", async () => {
    await sendMessage(page, fake({ say: "some words and then nothing more to be said of it", delay_ms: 50, cut: 1200 }));
    await page.waitForSelector(`${ANSWER} .notice`);
    assert.match(await text(page, `${ANSWER} .notice`), /\w/);
    assert.equal(await text(page, `${ANSWER} .foot button:last-child`), "Try again");
  });

  await check("an answer can be stopped", async () => {
    await page.click("#new");
    await page.focus("#question");
    await page.keyboard.type(fake({ say: "one two three four five six seven eight nine ten", thinking: 0, delay_ms: 400 }));
    await page.keyboard.press("Enter");
    await waitForText(page, `${ANSWER} .content`, "one");
    await page.click("#stop");
    await page.waitForSelector(`${ANSWER}:not([aria-busy])`);
    assert.doesNotMatch(await text(page, ANSWER), /ten|broke off/);
    assert.equal(await page.$eval("#send", (/** @type {HTMLButtonElement} */ { disabled }) => disabled), false);
  });

  await check("a tool is declared, its call shown, and the result sent back", async () => {
    await page.click("#new");
    await page.click("#tools-panel summary");
    await page.type("#tools", "{}");
    await page.focus("#question");
    await page.keyboard.type("not sent");
    await page.keyboard.press("Enter");
    assert.match(await text(page, "#tools-problem"), /JSON array/);
    assert.equal(await page.evaluate(() => document.activeElement.id), "tools");
    assert.equal((await page.$$("article")).length, 0, "nothing is sent with unreadable tools");
    await page.click("#tools-example");
    await setValue(page, "#question", "");
    const call = (city) => `[TOOL CALL]\n{"name": "get_weather", "arguments": {"city": ${JSON.stringify(city)}}}\n[END TOOL CALL]\n`;
    await sendMessage(page, fake({ think: "Two cities.", say: `I look.\n${call("Paris")}${call("<b>Oslo</b>")}` }));
    assert.equal(await text(page, `${ANSWER} .content`), "I look.\n");
    const calls = () => page.$$eval(`${ANSWER} .call`, (all) => all.map((/** @type {HTMLDetailsElement} */ { textContent, open }) => [textContent, open]));
    assert.deepEqual(await calls(), [
      ['Calls get_weather{\n  "city": "Paris"\n}', false],
      ['Calls get_weather{\n  "city": "<b>Oslo</b>"\n}', false],
    ]);
    assert.equal(await page.$eval(`${ANSWER} .thinking`, (/** @type {HTMLDetailsElement} */ { open }) => open), false);
    // By keyboard: the first result has the focus.
    await page.keyboard.type("18 degrees");
    await page.keyboard.press("Tab");
    await page.keyboard.type(fake({ say: "Paris is warmer." }));
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await waitForText(page, `${ANSWER} .content`, "Paris is warmer.");
    assert.deepEqual(await page.$$eval("article.tool .said", (all) => all.map(({ textContent }) => textContent.split(" ")[0])), ["18", "[[fake"]);
    assert.equal(await page.$("form.results"), null);
    await page.waitForSelector(`${ANSWER}:not([aria-busy])`);
    await setValue(page, "#tools", "");
    await page.click("#tools-panel summary");
  });

  await check("models are filtered and selected", async () => {
    await setValue(page, "#filter", "qwen3-coder");
    const found = await page.$$eval("#model-list code", (codes) => codes.map((code) => code.textContent));
    assert.ok(found.length > 0 && found.every((id) => id.includes("coder")), String(found));
    await page.click("#model-list button");
    assert.equal(await page.$eval("#model", (/** @type {HTMLInputElement} */ { value }) => value), found[0]);
    await setValue(page, "#filter", "");
  });

  await check("client settings are copied, with the key only on request", async () => {
    await page.click("#client-curl summary");
    await page.click("#client-curl .copy");
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(copied.includes(`${BASE_URL}/v1/chat/completions`) && !copied.includes(API_KEY), copied);
    await page.click("#with-key");
    assert.ok((await text(page, "#client-curl code")).includes(API_KEY));
    await page.click("#with-key");
  });

  await check("a session is stored, and an invalid one rejected", async () => {
    page.expected = ["400", "401", "403"];
    await page.click("#renew summary");
    await page.type("#pasted", "nonsense, this");
    await page.click("#session-form .main");
    await page.waitForSelector("#session-result.bad:not([hidden])");
    assert.match(await text(page, "#session-result"), /administrator's key/);
    await setValue(page, "#admin-key", ADMIN_KEY);
    await page.click("#session-form .main");
    await waitForText(page, "#session-result", "neither");
    assert.equal(await page.$eval("#pasted", (/** @type {HTMLInputElement} */ { value }) => value), "nonsense, this", "the input is kept");
    page.expected = [];
    await setValue(page, "#pasted", SESSION);
    await page.click("#session-form .main");
    await waitForText(page, "#session-result", "in use");
    assert.equal(await page.$eval("#pasted", (/** @type {HTMLInputElement} */ { value }) => value), "");
    assert.equal(await text(page, "#state"), "works");
    await waitForText(page, "#session-facts", "the database");
  });

  await check("a session is given to another account, by keyboard", async () => {
    await page.waitForSelector("#account-list li:nth-child(2)");
    assert.match(await text(page, "#account-list"), /default.*works.*anna.*none/);
    await page.focus('#account-list button[data-account="anna"]');
    await page.keyboard.press("Enter");
    assert.equal(await page.$eval("#account", (/** @type {HTMLInputElement} */ { value }) => value), "anna");
    assert.equal(await page.evaluate(() => document.activeElement.id), "pasted");
    await setValue(page, "#pasted", OTHER_SESSION);
    await page.click("#session-form .main");
    await waitForText(page, "#session-result", "anna – ");
    await page.waitForFunction(() => /anna.*works/.test(document.querySelector("#account-list").textContent));
    await waitForText(page, "#session-facts", "2 of 2 can be used");
    await setValue(page, "#account", "Not A Name");
    await setValue(page, "#pasted", "token=x");
    await page.click("#session-form .main");
    assert.equal(await page.evaluate(() => document.activeElement.id), "account", "the browser says what is wrong");
    await setValue(page, "#account", "default");
    await setValue(page, "#pasted", "");
  });

  await check("keys are stored only for the tab", async () => {
    const [local, tab] = await page.evaluate(() => [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })]);
    assert.ok(!local.includes(API_KEY) && !local.includes(ADMIN_KEY) && tab.includes(API_KEY), local);
    assert.ok(!page.url().includes(API_KEY));
  });

  await check("language and theme are stored and accessible", async () => {
    await page.click("#new");
    await sendMessage(page, fake({ think: "Air scatters short waves more.", say: "**Rayleigh scattering**: see `λ⁻⁴`.\n\n| colour | share |\n|---|---|\n| blue | most |\n\n```\nI ∝ 1/λ⁴\n```" }));
    await page.$eval(`${ANSWER} .thinking`, (/** @type {HTMLDetailsElement} */ details) => (details.open = true));
    await page.click("#tools-panel summary");
    await page.click("#tools-example");
    await sendMessage(page, fake({ say: 'I look.\n[TOOL CALL]\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n[END TOOL CALL]' }));
    await page.click(`${ANSWER} .call summary`);
    for (const [theme, language] of [["light", "en"], ["dark", "zh"], ["dark", "en"], ["light", "zh"]]) {
      await page.select("#theme", theme);
      await page.select("#language", language);
      assert.equal(await text(page, "#send"), language === "zh" ? "发送" : "Send");
      assert.equal(await page.evaluate(() => document.documentElement.lang), language === "zh" ? "zh-CN" : "en");
      await assertAccessible(page, `${theme} ${language}`);
      await screenshot(page, `console-${theme}-${language}`);
    }
    await page.reload({ waitUntil: "networkidle0" });
    assert.equal(await text(page, "#send"), "发送");
    const words = await page.evaluate(async () => {
      const { words } = await import("/assets/console/words.js");
      return Object.values(words).map((language) => Object.keys(language));
    });
    assert.deepEqual(words[0], words[1], "both languages have the same keys");
  });

  await check("the page fits a phone", async () => {
    const phone = await open("/", { width: 360, height: 740, isMobile: true, hasTouch: true });
    await setValue(phone, "#key", API_KEY);
    await sendMessage(phone, fake({ say: "long".repeat(60) }));
    const { page: width, window: available } = await phone.evaluate(() => ({ page: document.documentElement.scrollWidth, window: innerWidth }));
    assert.ok(width <= available, `${width} > ${available}`);
    await assertAccessible(phone, "phone");
    await screenshot(phone, "console-phone");
    await phone.close();
  });

  await check("the API document is a page", async () => {
    const docs = await open("/docs");
    await docs.waitForSelector("#operations-Chat-createChatCompletion");
    await docs.click("#operations-Chat-createChatCompletion .opblock-summary-control");
    await docs.waitForSelector("#operations-Chat-createChatCompletion .responses-table");
    await screenshot(docs, "docs");
    await docs.close();
  });
});
