// The accounts of the server: their states, and the one that is chosen.
import { adminKey, ask } from "./api.js";
import { $, make, onLanguage, time, word } from "./page.js";

export const DEFAULT = "default";
/** As openapi.json describes them. @type {any[]} */
let accounts = [];

/** The name of the chosen account. */
export const chosen = () => $("account").value.trim() || DEFAULT;

/** The path of the chosen account's session. */
export const sessionPath = () => (chosen() === DEFAULT ? "/admin/session" : `/admin/accounts/${encodeURIComponent(chosen())}/session`);

function item({ name, state, owner, keys, expires_at: end }) {
  const choose = make("button", { type: "button", data: { account: name }, "aria-label": `${word("choose")}: ${name}` }, word("choose"));
  choose.addEventListener("click", () => {
    $("account").value = name;
    $("renew").open = true;
    $("pasted").focus();
  });
  const facts = [owner, word("accountKeys", { keys }), end && `${word("expires")}: ${time(end)}`].filter(Boolean);
  return make(
    "li",
    {},
    make("strong", {}, name),
    make("span", { className: "badge", data: { state } }, word(`state_${state}`)),
    make("span", { className: "hint" }, facts.join(" · ")),
    choose,
  );
}

function show() {
  // One account is what the page shows anyway.
  $("accounts").hidden = accounts.length < 2;
  $("account-list").replaceChildren(...accounts.map(item));
  $("account-names").replaceChildren(...accounts.map(({ name }) => make("option", { value: name })));
}

/** Asks for the accounts, if the page has what opens them. */
export async function lookForAccounts() {
  try {
    accounts = (await (await ask("/admin/accounts", { headers: adminKey() })).json()).data;
  } catch {
    // The form says what is wrong when it is used.
    accounts = [];
  }
  show();
}

export function startAccounts() {
  onLanguage(show);
  if ($("admin-key").value) lookForAccounts();
  $("admin-key").addEventListener("change", lookForAccounts);
}
