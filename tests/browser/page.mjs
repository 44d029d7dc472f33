// Opens pages in a headless Chromium, and checks what every page must keep to.
//
//   BASE_URL=… API_KEY=… [SCREENSHOTS=folder] [CHROMIUM=path]

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

import { launch } from "./chromium.mjs";

export const { BASE_URL, API_KEY, SCREENSHOTS } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TIMEOUT_MS = 60_000;

export const browser = await launch(["--lang=en-US"]);
/** What no check expects. @type {string[]} */
export const problems = [];

/**
 * Opens a page; records unexpected console messages, exceptions and requests to other origins.
 * @param {string} where
 * @param {import("puppeteer-core").Viewport} viewport
 * @param {Record<string, Partial<import("puppeteer-core").ResponseForRequest>>} answers Given in place of the server's, by the end of the path.
 * @param {string[]} expected Parts of the console errors that the check expects.
 */
export async function open(where, viewport = { width: 1100, height: 900 }, answers = {}, expected = []) {
  const context = await browser.createBrowserContext();
  await context.overridePermissions(BASE_URL, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);
  const page = Object.assign(await context.newPage(), { expected });
  page.setDefaultTimeout(TIMEOUT_MS);
  await page.setViewport(viewport);
  page.on("console", (message) => {
    if (!["error", "warn", "issue"].includes(message.type())) return;
    const text = `${message.text()} ${message.location().url ?? ""}`;
    // Chromium reports each error response; a check may expect one.
    if (!page.expected.some((expected) => text.includes(expected))) problems.push(`console: ${text}`);
  });
  page.on("pageerror", (error) => problems.push(`exception: ${error instanceof Error ? error.stack : error}`));
  page.on("requestfailed", (request) => {
    if (request.failure().errorText !== "net::ERR_ABORTED") problems.push(`failed: ${request.url()}`);
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== BASE_URL && !["data:", "blob:"].includes(url.protocol)) problems.push(`request to another origin: ${url}`);
  });
  if (Object.keys(answers).length) {
    await page.setRequestInterception(true);
    page.on("request", (request) => {
      const { pathname } = new URL(request.url());
      const end = Object.keys(answers).find((end) => pathname.endsWith(end));
      if (end) request.respond(answers[end]);
      else request.continue();
    });
  }
  await page.evaluateOnNewDocument(() =>
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => console.error(`policy: ${violatedDirective} ${blockedURI}`)),
  );
  await page.goto(BASE_URL + where, { waitUntil: "networkidle0" });
  return page;
}

export const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
export const waitForText = (page, selector, expected) =>
  page.waitForFunction((selector, expected) => document.querySelector(selector)?.textContent.includes(expected), {}, selector, expected);
export const setValue = (page, selector, value) =>
  page.$eval(
    selector,
    (input, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    },
    value,
  );

export async function assertAccessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const violationTexts = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(({ html, failureSummary }) => `${html}\n  ${failureSummary}`).join("\n  ")}`);
  assert.equal(violations.length, 0, `${what}: ${violationTexts.join("\n")}`);
}

/** The least height and width of what is touched on a phone. */
const TOUCH = 40;

/** Nothing is wider than the page, and what is touched is large enough. */
export async function assertFits(page, what) {
  const { wide, available, small } = await page.evaluate((least) => {
    const shown = [...document.querySelectorAll("button, select, summary, a.button, input:not([type=checkbox]), label.switch")].filter((element) => element.checkVisibility());
    const small = shown.filter((element) => {
      const { width, height } = element.getBoundingClientRect();
      return Math.min(width, height) < least && !element.closest(".model");
    });
    return { wide: document.documentElement.scrollWidth, available: innerWidth, small: small.map(({ outerHTML }) => outerHTML.slice(0, 120)) };
  }, TOUCH);
  assert.ok(wide <= available, `${what}: ${wide} > ${available}`);
  assert.deepEqual(small, [], what);
}

/** Answers the page's requests to a path itself, until the returned function is called. */
export async function intercept(page, end, answer) {
  const listener = (request) => (new URL(request.url()).pathname.endsWith(end) ? request.respond(answer) : request.continue());
  await page.setRequestInterception(true);
  page.on("request", listener);
  return async () => {
    page.off("request", listener);
    await page.setRequestInterception(false);
  };
}

/** Opens a section of the menu. */
export const section = (page, id) => page.$eval(`#${id}`, (/** @type {HTMLDetailsElement} */ details) => (details.open = true));

export async function screenshot(page, name, fullPage = true) {
  if (!SCREENSHOTS) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`), fullPage });
}

/** A prompt with a directive for the fake upstream. */
export const fake = (directive, rest = "x") => {
  const pairs = Object.entries(directive).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return `[[fake ${pairs.join(" ")}]] ${rest}`;
};

/** Runs a check; fails if it records a problem. */
export async function check(name, work) {
  await work();
  assert.deepEqual(problems, [], name);
  console.log(`ok ${name}`);
}

/** A picture of one pixel. */
export const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** Waits until nothing is asked for in the open chat. */
export const ended = (page) => page.waitForSelector('#send[data-doing="send"]:not(:disabled)');

/** Sends what is in the field by keyboard, and waits for the end of the answer. */
export async function submit(page) {
  const before = await page.$$eval("article.assistant", (all) => all.length);
  await page.focus("#question");
  await page.keyboard.press("Enter");
  await page.waitForFunction((before) => document.querySelectorAll("article.assistant").length > before, {}, before);
  await page.waitForSelector("article.assistant:last-of-type:not([aria-busy])");
  await ended(page);
}

/** Sends a message, and waits for the end of the answer. */
export async function sendMessage(page, text) {
  await setValue(page, "#question", text);
  await submit(page);
}

export const ANSWER = "article.assistant:last-of-type";
export const value = (page, selector) => page.$eval(selector, (/** @type {HTMLInputElement} */ { value }) => value);
export const isOpen = (page, selector) => page.$eval(selector, (/** @type {HTMLDetailsElement} */ { open }) => open);
export const focused = (page) => page.evaluate(() => document.activeElement.id);
export const copied = (page) => page.evaluate(() => navigator.clipboard.readText());
export const content = (page) => page.$eval(`${ANSWER} .content`, (/** @type {HTMLElement} */ { innerText }) => innerText.trim());

export const health = (state, changes = {}) => ({
  status: 200,
  contentType: "application/json",
  body: JSON.stringify({
    status: "healthy",
    version: "1",
    session: { state },
    accounts: { total: 1, usable: 1 },
    store: { ok: true, errors: 0, persistent: true },
    ...changes,
  }),
});

export const errorAnswer = (status, error) => ({ status, contentType: "application/json", body: JSON.stringify({ error }) });

/** Runs the checks of a script. Exits with 1 at the first failure. */
export async function run(checks) {
  try {
    await checks();
  } catch (error) {
    for (const problem of problems) console.error(problem);
    console.error(error);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}
