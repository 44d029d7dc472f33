// The accounts of the server: their states, and the one that is chosen.
import { ApiError, adminKey, ask } from "./api.js";
import { $, make, notice, onLanguage, time, word } from "./page.js";
import { openSection } from "./panel.js";

export const DEFAULT = "default";
/** As openapi.json describes them. @type {any[]} */
let accounts = [];
/** Called when the accounts are known. */
let onKnown = () => {};

/** The name of the chosen account. */
export const chosen = () => $("account").value.trim() || DEFAULT;

/** The path of the chosen account's session. */
export const sessionPath = () => (chosen() === DEFAULT ? "/admin/session" : `/admin/accounts/${encodeURIComponent(chosen())}/session`);

/** Whose account the default one is, if that is known. */
export const owner = () => accounts.find(({ name }) => name === DEFAULT)?.owner;

function item({ name, state, owner, keys, expires_at: end }) {
  const choose = make("button", { type: "button", data: { account: name }, "aria-label": `${word("choose")}: ${name}` }, word("choose"));
  choose.addEventListener("click", () => {
    $("account").value = name;
    $("renew").open = true;
    openSection("session", $("pasted"));
  });
  const facts = [owner, word("accountKeys", { keys }), end && `${word("expires")}: ${time(end)}`].filter(Boolean);
  return make(
    "li",
    {},
    make(
      "div",
      { className: "grow" },
      make("strong", {}, name),
      " ",
      make("span", { className: "badge", data: { state } }, word(`state_${state}`)),
      make("p", { className: "hint", dir: "auto" }, facts.join(" · ")),
    ),
    choose,
  );
}

function show() {
  $("account-list").replaceChildren(...accounts.map(item));
  $("account-names").replaceChildren(...accounts.map(({ name }) => make("option", { value: name })));
  $("accounts-show").hidden = accounts.length > 0;
  onKnown();
}

/**
 * Asks for the accounts.
 * @param {boolean} [isAsked] The person wants to see them: says what is wrong.
 */
export async function lookForAccounts(isAsked = false) {
  try {
    accounts = (await (await ask("/admin/accounts", { headers: adminKey() })).json()).data;
    notice($("accounts-problem"), "");
  } catch (error) {
    accounts = [];
    const { message, status } = error instanceof ApiError ? error : new ApiError(0);
    if (isAsked) notice($("accounts-problem"), `${message} ${status === 401 ? word("needAdmin") : ""}`, "bad");
  }
  show();
}

export function startAccounts(known) {
  onKnown = known;
  onLanguage(show);
  if ($("admin-key").value) lookForAccounts();
  $("admin-key").addEventListener("change", () => lookForAccounts());
  $("accounts-show").addEventListener("click", () => lookForAccounts(true));
}
