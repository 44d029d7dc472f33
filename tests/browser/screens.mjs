// The console of a running server in both languages and themes, on wide and on narrow screens, in a headless Chromium.
//
//   BASE_URL=… API_KEY=… [SCREENSHOTS=folder] [CHROMIUM=path] node tests/browser/screens.mjs
//
// Prints a line for each check; exits with 1 at the first failure.

import assert from "node:assert/strict";

import {
  ANSWER, API_KEY, assertAccessible, assertFits, check, ended, fake, focused, open, run, screenshot, section,
  sendMessage, setValue, submit, text, waitForText,
} from "./page.mjs";

await run(async () => {
  const page = await open("/");
  await setValue(page, "#key", API_KEY);

  await check("six states are accessible in both themes and languages", async () => {
    for (const id of ["accounts", "models", "tools-panel", "clients", "settings", "about"]) await section(page, id);
    const states = {
      empty: () => page.click("#new"),
      answer: async () => {
        await setValue(page, "#model", "qwen3-max");
        await page.click("#tools-example");
        const [table, code] = ["| colour | share |\n|---|---|\n| blue | most |", "```\nI ∝ 1/λ⁴\n```"];
        const call = '[TOOL CALL]\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n[END TOOL CALL]';
        const say = `**Rayleigh scattering**: see \`λ⁻⁴\`.\n\n${table}\n\n${code}\n${call}`;
        await sendMessage(page, fake({ think: "Air scatters short waves more.", say }));
        await page.$eval(`${ANSWER} .thinking`, (/** @type {HTMLDetailsElement} */ details) => (details.open = true));
        await page.click(`${ANSWER} .call summary`);
      },
      error: async () => {
        await setValue(page, "#tools", "");
        await sendMessage(page, fake({ say: "some words and then nothing more to be said", delay_ms: 20, cut: 1200 }));
      },
      fields: () => page.select("#kind", "picture"),
      models: async () => {
        await page.select("#kind", "chat");
        await page.click("#model");
        await page.keyboard.press("ArrowDown");
      },
      menu: () => page.click("#close-panel").then(() => page.click("#toggle-panel")),
    };
    for (const [name, show] of Object.entries(states)) {
      await show();
      for (const [theme, language] of [["light", "en"], ["dark", "zh"]]) {
        await page.$eval("#theme", (/** @type {HTMLSelectElement} */ field, theme) => {
          field.value = theme;
          field.dispatchEvent(new Event("change"));
        }, theme);
        await page.$eval("#language", (/** @type {HTMLSelectElement} */ field, language) => {
          field.value = language;
          field.dispatchEvent(new Event("change"));
        }, language);
        await assertAccessible(page, `${name} ${theme} ${language}`);
        await screenshot(page, `console-${name}-${theme}-${language}`, false);
      }
    }
  });

  await check("language and theme are stored, and all texts follow", async () => {
    assert.equal(await text(page, "#send-text"), "发送");
    await page.reload({ waitUntil: "networkidle0" });
    assert.equal(await text(page, "#send-text"), "发送");
    assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).colorScheme), "dark");
    const english = await page.$$eval("button, label, summary, option, h2, h3, .hint", (all) =>
      all
        .filter((element) => element.checkVisibility() && !element.closest("[lang=en]:not(:root), #talk, #history, #client-list, #model-list"))
        .map(({ textContent }) => textContent.trim())
        .filter((text) => /^[A-Z][a-z]+ [a-z]+/.test(text)),
    );
    assert.deepEqual(english, []);
    await page.select("#language", "en");
    await page.select("#theme", "auto");
    assert.equal(await text(page, "#send-text"), "Send");
    assert.match(await text(page, "article.assistant .thinking summary"), /^Thought for/, "also those with values");
    for (const scheme of ["dark", "light"]) {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      const [red] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g));
      assert.equal(Number(red) < 100, scheme === "dark");
    }
    const words = await page.evaluate(async () => {
      const { words } = await import("/assets/console/words.js");
      return Object.values(words).map((language) => Object.entries(language).map(([key, text]) => [key, ...text.matchAll(/\{\w+\}/g)].map(String).sort().join(" ")));
    });
    assert.deepEqual(words[0].sort(), words[1].sort(), "both languages have the same keys and values");
  });

  await check("nothing moves where a person wants no motion", async () => {
    await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
    await page.click("#new");
    await setValue(page, "#question", fake({ say: "one two three", delay_ms: 200 }));
    await page.focus("#question");
    await page.keyboard.press("Enter");
    await waitForText(page, `${ANSWER} .content`, "one");
    assert.equal(await page.$eval(`${ANSWER} .content`, (element) => getComputedStyle(element, "::after").animationName), "none");
    await ended(page);
    await page.emulateMediaFeatures([]);
  });

  await check("the menu is a column, and stays as it was left", async () => {
    await page.click("#close-panel");
    assert.ok(await page.$eval("#panel", (panel) => !panel.checkVisibility()));
    await page.reload({ waitUntil: "networkidle0" });
    assert.ok(await page.$eval("#panel", (panel) => !panel.checkVisibility()));
    assert.equal(await page.$eval("#toggle-panel", (button) => button.getAttribute("aria-expanded")), "false");
    await page.click("#toggle-panel");
    assert.ok(await page.$("#chat:not([inert])"), "the chat stays in reach");
  });

  await check("the page fits a phone, and large text", async () => {
    for (const width of [390, 320]) {
      const phone = await open("/", { width, height: 740, isMobile: true, hasTouch: true });
      await setValue(phone, "#key", API_KEY);
      await setValue(phone, "#question", fake({ say: `${"long".repeat(60)}\n\n\`\`\`\n${"code ".repeat(40)}\n\`\`\`\n\n| ${"cell ".repeat(20)} | b |\n|---|---|\n| 1 | 2 |` }));
      await submit(phone);
      await assertFits(phone, `an answer at ${width}`);
      await assertAccessible(phone, `phone ${width}`);
      await screenshot(phone, `console-phone-${width}`);
      await phone.select("#kind", "picture");
      await assertFits(phone, `fields at ${width}`);
      await phone.select("#kind", "chat");
      await phone.tap("#model");
      await assertFits(phone, `models at ${width}`);
      await phone.keyboard.press("Escape");
      // The drawer: a dialog with everything else out of reach.
      await phone.tap("#toggle-panel");
      assert.equal(await focused(phone), "close-panel");
      assert.ok(await phone.$('#panel[role="dialog"][aria-modal="true"]') && await phone.$("#chat[inert]") && await phone.$("#top[inert]"));
      for (const id of ["session", "renew", "models", "tools-panel", "clients", "settings", "about"]) await section(phone, id);
      await assertFits(phone, `menu at ${width}`);
      await assertAccessible(phone, `menu at ${width}`);
      for (let n = 0; n < 60; n++) {
        await phone.keyboard.press("Tab");
        assert.ok(await phone.evaluate(() => !document.activeElement.closest("#chat, #top")), "the focus stays in the drawer");
      }
      await phone.focus("#filter");
      await phone.keyboard.press("Escape");
      assert.equal(await focused(phone), "toggle-panel");
      assert.ok(await phone.$("#chat:not([inert])"));
      await phone.tap("#toggle-panel");
      await phone.mouse.click(10, 400);
      assert.ok(await phone.$("#backdrop[hidden]"), "a tap beside it closes it");
      await phone.close();
    }
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
