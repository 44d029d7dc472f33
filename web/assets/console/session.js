// The Qwen session: its state with what to do next, always in sight, and how to replace it.
import { DEFAULT, chosen, lookForAccounts, owner, sessionPath, startAccounts } from "./accounts.js";
import { adminKey, ask, json, keepInTab } from "./api.js";
import { $, announce, make, notice, onLanguage, outside, shortTime, time, word } from "./page.js";
import { openSection } from "./panel.js";

const EVERY = 15_000;
/** The last response of the server, as openapi.json describes it. @type {any} */
let health = null;
/** @type {any} */
let details = null;
/** @type {unknown} */
let problem = null;
/** Where the human check is that an error named. @type {string | undefined} */
let checkLink;
/** The upstream of the last answer. @type {string | undefined} */
let upstream;

const state = () => (problem ? "unreachable" : (health?.session.state ?? "unknown"));

function facts() {
  const rows = [];
  const add = (name, value) => value !== null && value !== undefined && value !== "" && rows.push([word(name), value]);
  const session = details ?? health?.session;
  if (!session) return rows;
  add("account", details?.account);
  add("expires", session.expires_at && time(session.expires_at));
  add("checked", session.checked_at && time(session.checked_at));
  if (details) {
    add("renews", word(details.renewable ? "yes" : "no"));
    add("source", details.source && word(`source_${details.source}`));
    add("encrypted", word(details.encrypted ? "yes" : "no"));
    add("warning", details.warning);
  }
  if (health?.accounts.total > 1) add("accounts", word("accountsUsable", health.accounts));
  if (health && !health.store.ok) add("store", word("storeFails"));
  return rows;
}

/** What else a person should know: short, one after the other. */
function remarks() {
  const list = [];
  const name = details?.account ?? owner();
  if (name && state() === "valid") list.push(name);
  if (upstream === "fallback") list.push(word("secondAnswers"));
  if (health && !health.store.ok) list.push(`${word("store")}: ${word("storeFails")}`);
  else if (health && !health.store.persistent) list.push(word("notPersistent"));
  if (health && health.accounts.usable < health.accounts.total && health.accounts.total > 1) list.push(word("accountsRemark", health.accounts));
  return list.map((remark) => `· ${remark}`).join(" ");
}

/** The button of the strip: its text, and what it does. */
const REMEDIES = {
  expiring: ["giveCookies", () => paste()],
  expired: ["giveCookies", () => paste()],
  challenged: ["giveCookies", () => paste()],
  missing: ["giveCookies", () => paste()],
  unreachable: ["lookAgain", () => look()],
};

function paste() {
  $("renew").open = true;
  openSection("session", $("pasted"));
}

function showStrip(name, until) {
  $("strip").dataset.state = name;
  const isKnown = until && ["valid", "expiring"].includes(name);
  $("state").textContent = isKnown ? word(`until_${name}`, { time: shortTime(until) }) : word(`strip_${name}`);
  $("remarks").textContent = remarks();
  const [text] = REMEDIES[name] ?? [];
  $("remedy").hidden = !text;
  $("remedy").textContent = text ? word(text) : "";
  const link = details?.challenge?.verify_url ?? checkLink ?? "";
  $("check").hidden = name !== "challenged" || !/^https?:/i.test(link);
  if (!$("check").hidden) $("check").href = link;
}

function show() {
  const name = state();
  showStrip(name, health?.session.expires_at);
  $("advice").textContent = word(`advice_${name}`);
  $("advice").dataset.state = name;
  if (details?.challenge) $("advice").append(" ", outside(details.challenge.verify_url, word("openCheck")));
  $("version").textContent = health?.version ?? "";
  $("session-facts").replaceChildren(
    ...facts().map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value))),
  );
}

async function look() {
  const before = health && state();
  try {
    health = await json("/health");
    problem = null;
  } catch (error) {
    problem = error;
  }
  const now = state();
  if (details && now !== details.state) details = null;
  if (now === "valid") checkLink = undefined;
  if (before && before !== now) announce(`${word("session")}: ${word(`strip_${now}`)}`);
  if (REMEDIES[now] && now !== "unreachable" && before !== now) {
    $("session").open = true;
    $("renew").open = true;
  }
  show();
}

/** Takes note of which upstream answered. */
export function sawAnswer(name) {
  upstream = name;
  show();
  // Then the site took the session.
  if (name === "qwen" && state() !== "valid") look();
}

/** Takes note of an error of a chat: the session may have ended. */
export function sawError({ code, link }) {
  checkLink = link ?? checkLink;
  if (link || /^qwen_/.test(code ?? "")) look();
}

function explain(error) {
  const parts = [error.message];
  if (error.status === 401 && !$("admin-key").value) parts.push(` ${word("needAdmin")}`);
  if (error.code === "admin_disabled") parts.push(` ${word("adminDisabled")}`);
  if (error.link) parts.push(" ", outside(error.link, word("openCheck")));
  notice($("session-result"), parts, "bad");
  if ([401, 403].includes(error.status) && ["missing_api_key", "invalid_api_key"].includes(error.code)) $("admin-key").focus();
}

/** What was done, or how the session of an account is that the top of the page does not show. */
function outcome(method, session, account) {
  if (session.warning) return [session.warning];
  const parts = method === "GET" ? [] : [word(`done_${method}`)];
  if (account !== DEFAULT) {
    const names = [account, session.account].filter(Boolean).join(" – ");
    parts.unshift(`${names}: ${word(`state_${session.state}`)}. `);
    if (session.challenge) parts.push(outside(session.challenge.verify_url, word("openCheck")));
  }
  return parts.length ? parts : "";
}

async function administer(method, body) {
  if (!$("account").reportValidity()) return;
  const account = chosen();
  const buttons = $("session-form").querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    const response = await ask(sessionPath(), { method, body, headers: { ...adminKey(), ...(body && { "content-type": "text/plain" }) } });
    const session = await response.json();
    details = account === DEFAULT ? session : null;
    if (method === "PUT") $("pasted").value = "";
    notice($("session-result"), outcome(method, session, account), "good");
    await lookForAccounts();
  } catch (error) {
    explain(error);
  } finally {
    for (const button of buttons) button.disabled = false;
    await look();
  }
}

export function startSession() {
  keepInTab($("admin-key"));
  $("remedy").addEventListener("click", () => REMEDIES[state()]?.[1]());
  $("session-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = $("pasted").value.trim();
    if (!text) {
      $("pasted").focus();
      return;
    }
    await administer("PUT", text);
  });
  $("session-show").addEventListener("click", () => administer("GET"));
  $("session-forget").addEventListener("click", () => {
    if (confirm(word("forgetSure", { account: chosen() }))) administer("DELETE");
  });
  startAccounts(show);
  onLanguage(show);
  look();
  setInterval(() => document.hidden || look(), EVERY);
  document.addEventListener("visibilitychange", () => document.hidden || look());
}
