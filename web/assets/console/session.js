// The Qwen session: its state, what to do, and how to replace it.
import { DEFAULT, chosen, lookForAccounts, sessionPath, startAccounts } from "./accounts.js";
import { adminKey, ask, json, keepInTab } from "./api.js";
import { $, announce, make, notice, onLanguage, time, word } from "./page.js";

const EVERY = 15_000;
/** The last response of the server, as openapi.json describes it. @type {any} */
let health = null;
/** @type {any} */
let details = null;
/** @type {unknown} */
let problem = null;

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

function show() {
  const state = problem ? "unreachable" : (health?.session.state ?? "unknown");
  $("state").textContent = word(`state_${state}`);
  $("state").dataset.state = state;
  $("advice").textContent = word(`advice_${state}`);
  if (details?.challenge) {
    const link = make("a", { href: details.challenge.verify_url, target: "_blank", rel: "noopener noreferrer" }, word("openCheck"));
    $("advice").append(" ", link);
  }
  $("version").textContent = health?.version ?? "";
  $("session-facts").replaceChildren(
    ...facts().map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
}

export async function look() {
  const before = health?.session.state;
  try {
    health = await json("/health");
    problem = null;
  } catch (error) {
    problem = error;
  }
  const state = health?.session.state;
  if (details && state !== details.state) details = null;
  if (before && state && before !== state) announce(`${word("session")}: ${word(`state_${state}`)}`);
  if (["expired", "missing", "challenged"].includes(state) && before !== state) $("renew").open = true;
  show();
}

function explain(error) {
  const parts = [error.message];
  if (error.status === 401 && !$("admin-key").value) parts.push(` ${word("needAdmin")}`);
  if (error.code === "admin_disabled") parts.push(` ${word("adminDisabled")}`);
  if (error.link) {
    parts.push(" ", make("a", { href: error.link, target: "_blank", rel: "noopener noreferrer" }, word("openCheck")));
  }
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
    if (session.challenge) {
      parts.push(make("a", { href: session.challenge.verify_url, target: "_blank", rel: "noopener noreferrer" }, word("openCheck")));
    }
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
  startAccounts();
  onLanguage(show);
  look();
  setInterval(() => document.hidden || look(), EVERY);
  document.addEventListener("visibilitychange", () => document.hidden || look());
}
