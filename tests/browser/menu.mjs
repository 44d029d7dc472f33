// What is around the chat in the console of a running server, in a headless Chromium: the menu, the strip at the top, languages,
// themes and screens.
//
//   BASE_URL=… API_KEY=… ADMIN_KEY=… SESSION=<new cookies> OTHER_SESSION=<for the account anna> [SCREENSHOTS=folder]
//   [CHROMIUM=path] node tests/browser/menu.mjs
//
// Prints a line for each check; exits with 1 at the first failure.

import assert from "node:assert/strict";

import {
  ANSWER, API_KEY, BASE_URL, assertAccessible, assertFits, check, copied, ended, errorAnswer, fake, focused,
  health, open, run, screenshot, section, sendMessage, setValue, submit, text, value, waitForText,
} from "./page.mjs";

const { ADMIN_KEY, SESSION, OTHER_SESSION } = process.env;

await run(async () => {
  const page = await open("/");

  await check("client settings are copied, with the key only on request", async () => {
    await section(page, "settings");
    await page.type("#key", API_KEY);
    await section(page, "clients");
    await page.click("#client-curl summary");
    await page.click("#client-curl .copy");
    const settings = await copied(page);
    assert.ok(settings.includes(`${BASE_URL}/v1/chat/completions`) && !settings.includes(API_KEY), settings);
    await page.click("#with-key");
    assert.ok((await text(page, "#client-curl code")).includes(API_KEY));
    await page.click("#with-key");
  });

  await check("a session is stored, and an invalid one rejected", async () => {
    page.expected = ["400", "401", "403"];
    await section(page, "session");
    await section(page, "renew");
    await page.type("#pasted", "nonsense, this");
    await page.click("#session-form .main");
    await page.waitForSelector("#session-result.bad:not([hidden])");
    assert.match(await text(page, "#session-result"), /administrator's key/);
    await section(page, "accounts");
    await page.click("#accounts-show");
    await page.waitForSelector("#accounts-problem:not([hidden])");
    assert.match(await text(page, "#accounts-problem"), /administrator's key/);
    await setValue(page, "#admin-key", ADMIN_KEY);
    await page.click("#session-form .main");
    await waitForText(page, "#session-result", "neither");
    assert.equal(await value(page, "#pasted"), "nonsense, this", "the input is kept");
    page.expected = [];
    await setValue(page, "#pasted", SESSION);
    await page.click("#session-form .main");
    await waitForText(page, "#session-result", "in use");
    assert.equal(await value(page, "#pasted"), "");
    assert.match(await text(page, "#state"), /^Session valid until /);
    await waitForText(page, "#session-facts", "the database");
  });

  await check("a session is given to another account, by keyboard", async () => {
    await page.waitForSelector("#account-list li:nth-child(2)");
    assert.match(await text(page, "#account-list"), /default.*valid.*anna.*none/);
    assert.match(await text(page, "#remarks"), /1 of 2 accounts usable/);
    await page.focus('#account-list button[data-account="anna"]');
    await page.keyboard.press("Enter");
    assert.equal(await value(page, "#account"), "anna");
    assert.equal(await focused(page), "pasted");
    await setValue(page, "#pasted", OTHER_SESSION);
    await page.click("#session-form .main");
    await waitForText(page, "#session-result", "anna – ");
    await page.waitForFunction(() => /anna.*valid/.test(document.querySelector("#account-list").textContent));
    await waitForText(page, "#session-facts", "2 of 2 can be used");
    assert.doesNotMatch(await text(page, "#remarks"), /accounts/);
    await setValue(page, "#account", "Not A Name");
    await setValue(page, "#pasted", "token=x");
    await page.click("#session-form .main");
    assert.equal(await focused(page), "account", "the browser says what is wrong");
    await setValue(page, "#account", "default");
    await setValue(page, "#pasted", "");
  });

  await check("the strip says what is wrong and what to do", async () => {
    for (const [answer, sentence] of /** @type {const} */ ([
      [health("expired"), /Session ended – paste new cookies/],
      [health("missing"), /No session yet/],
      [health("expiring", { session: { state: "expiring", expires_at: Math.round(Date.now() / 1000) + 60 } }), /Session ends at \d/],
    ])) {
      const ill = await open("/", undefined, { "/health": answer });
      await ill.waitForFunction(() => !/…|not tried/.test(document.querySelector("#state").textContent));
      assert.match(await text(ill, "#state"), sentence);
      await ill.click("#close-panel");
      await ill.click("#remedy");
      assert.equal(await focused(ill), "pasted", "the button leads to the field");
      for (const theme of ["light", "dark"]) {
        await section(ill, "settings");
        await ill.select("#theme", theme);
        await assertAccessible(ill, `${sentence} ${theme}`);
      }
      await ill.close();
    }
    const notes = health("valid", { session: { state: "valid", expires_at: null }, store: { ok: true, errors: 0, persistent: false }, accounts: { total: 3, usable: 2 } });
    const odd = await open("/", undefined, { "/health": notes });
    await waitForText(odd, "#remarks", "ends with the server · 2 of 3 accounts usable");
    await odd.close();
    const away = await open("/", undefined, { "/health": { status: 500, body: "" } }, ["500"]);
    await waitForText(away, "#state", "does not answer");
    assert.equal(await text(away, "#remedy"), "Look again");
    await away.close();
  });

  await check("a human check has its link, in the message and in the strip", async () => {
    const link = "https://chat.qwen.ai/check?x=1";
    const answers = {
      "/health": health("challenged"),
      "/chat/completions": errorAnswer(403, { message: "chat.qwen.ai asks for a human check", code: "qwen_challenge", verify_url: link }),
    };
    const checked = await open("/", undefined, answers, ["403"]);
    await waitForText(checked, "#state", "asks for a human check");
    await sendMessage(checked, "hello");
    assert.equal(await checked.$eval(`${ANSWER} .notice a`, (/** @type {HTMLAnchorElement} */ { href }) => href), link);
    await checked.waitForSelector("#check:not([hidden])");
    assert.equal(await checked.$eval("#check", (/** @type {HTMLAnchorElement} */ { href }) => href), link);
    await checked.close();
  });

  await check("keys are stored only for the tab", async () => {
    const [local, tab] = await page.evaluate(() => [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })]);
    assert.ok(!local.includes(API_KEY) && !local.includes(ADMIN_KEY) && tab.includes(API_KEY), local);
    assert.ok(!page.url().includes(API_KEY));
  });

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
    await page.focus("#question");
    await page.keyboard.type(fake({ say: "one two three", delay_ms: 200 }));
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
