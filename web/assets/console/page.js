// Helpers for the page: elements, texts, languages and notices.
import { words } from "./words.js";

/**
 * Returns an element of index.html.
 * @type {<Id extends keyof PageElements>(id: Id) => PageElements[Id]}
 */
export const $ = (id) => /** @type {any} */ (document.getElementById(id));

/**
 * Creates an element. `properties` are set on it; `children` are nodes or text.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} properties
 * @param {(Node | string)[]} children
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

const recall = (name) => {
  try {
    return localStorage.getItem(`qwen-edge.${name}`);
  } catch {
    return null; // The browser may forbid storage.
  }
};

const keep = (name, value) => {
  try {
    localStorage.setItem(`qwen-edge.${name}`, value);
  } catch {
    // The choice is then kept until the page closes.
  }
};

let language = recall("language") ?? (/^zh\b/i.test(navigator.language) ? "zh" : "en");
if (!(language in words)) language = "en";

/** Returns the text for `key`, with `{name}` replaced from `values`. */
export const word = (key, values = {}) =>
  (words[language][key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

export const locale = () => (language === "zh" ? "zh-CN" : "en");

const listeners = [];
/** Calls `listener` now and after each change of the language. */
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

function translate() {
  document.documentElement.lang = locale();
  /** @type {(name: string) => NodeListOf<HTMLInputElement>} */
  const having = (name) => document.querySelectorAll(`[data-${name}]`);
  for (const element of having("word")) element.textContent = word(element.dataset.word);
  for (const element of having("label")) element.setAttribute("aria-label", word(element.dataset.label));
  for (const element of having("hint")) element.placeholder = word(element.dataset.hint);
}

export function startChoices() {
  const [languages, themes] = [$("language"), $("theme")];
  languages.value = language;
  languages.addEventListener("change", () => {
    language = languages.value;
    keep("language", language);
    for (const listener of listeners) listener();
  });
  const theme = recall("theme");
  if (theme === "light" || theme === "dark") themes.value = theme;
  const paint = () => (document.documentElement.dataset.theme = themes.value);
  themes.addEventListener("change", () => {
    keep("theme", themes.value);
    paint();
  });
  paint();
  onLanguage(translate);
}

/** Announces a text to screen readers. */
export function announce(text) {
  $("status").textContent = "";
  // Screen readers do not notice a change in the same tick.
  requestAnimationFrame(() => ($("status").textContent = text));
}

/** Shows `text` in a notice. Hides the notice if there is no text. */
export function notice(element, text, kind = "") {
  element.hidden = !text;
  element.className = `notice ${kind}`;
  element.replaceChildren(...(Array.isArray(text) ? text : [text ?? ""]));
}

/** Copies `text`. If the browser forbids that, selects the text for the person to copy. */
export async function copy(text, source) {
  try {
    await navigator.clipboard.writeText(text);
    announce(word("copied"));
    return true;
  } catch {
    const range = document.createRange();
    if (source) {
      range.selectNodeContents(source);
      getSelection()?.removeAllRanges();
      getSelection()?.addRange(range);
    }
    announce(word("copyYourself"));
    return false;
  }
}

/** Returns a button that copies the result of `text()` and confirms it for a moment. */
export function copyButton(text, source) {
  const button = make("button", { type: "button", className: "copy", data: { word: "copy" } }, word("copy"));
  button.addEventListener("click", async () => {
    const done = await copy(text(), source?.());
    button.textContent = word(done ? "copied" : "copyYourself");
    setTimeout(() => (button.textContent = word("copy")), 2000);
  });
  return button;
}

export const time = (seconds) =>
  new Date(seconds * 1000).toLocaleString(locale(), { dateStyle: "medium", timeStyle: "short" });

export const size = (bytes) => {
  const units = ["B", "KB", "MB", "GB"];
  let at = 0;
  for (; bytes >= 1000 && at < units.length - 1; at++) bytes /= 1000;
  return `${bytes.toLocaleString(locale(), { maximumFractionDigits: at ? 1 : 0 })} ${units[at]}`;
};
