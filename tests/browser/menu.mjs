// What is around the chat in the console of a running server, in a headless Chromium: the menu, and the strip at the top.
//
//   BASE_URL=… API_KEY=… ADMIN_KEY=… SESSION=<new cookies> OTHER_SESSION=<for the account anna> [CHROMIUM=path] node tests/browser/menu.mjs
//
// Prints a line for each check; exits with 1 at the first failure.

import assert from "node:assert/strict";

import {
  ANSWER, API_KEY, BASE_URL, assertAccessible, check, copied, errorAnswer, focused, health, open, run, section,
  sendMessage, setValue, text, value, waitForText,
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
});
