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

export const recall = (name) => {
  try {
    return localStorage.getItem(`qwen-edge.${name}`);
  } catch {
    return null; // The browser may forbid storage.
  }
};

export const keep = (name, value) => {
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

/** Texts with values are kept with them, for a change of the language. */
const valuesOf = (element) => (element.dataset.values ? JSON.parse(element.dataset.values) : {});

/** Shows a text that follows the language. */
export function say(element, key, values) {
  element.dataset.word = key;
  if (values) element.dataset.values = JSON.stringify(values);
  else delete element.dataset.values;
  element.textContent = word(key, values);
}

/**
 * Shows the texts of an element in the chosen language.
 * @param {Document | HTMLElement} root
 */
export function translate(root) {
  /** @type {(name: string) => NodeListOf<HTMLInputElement>} */
  const having = (name) => root.querySelectorAll(`[data-${name}]`);
  for (const element of having("word")) element.textContent = word(element.dataset.word, valuesOf(element));
  for (const element of having("label")) element.setAttribute("aria-label", word(element.dataset.label));
  for (const element of having("tip")) tip(element, element.dataset.tip, valuesOf(element));
  for (const element of having("hint")) element.placeholder = word(element.dataset.hint);
}

/** Names an element that shows no text, also for those who see it. */
function tip(element, key, values = {}) {
  element.dataset.tip = key;
  element.dataset.values = JSON.stringify(values);
  element.title = word(key, values);
  element.setAttribute("aria-label", word(key, values));
}

/** Returns an icon of index.html. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const [svg, use] = [document.createElementNS(space, "svg"), document.createElementNS(space, "use")];
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Returns a button that shows an icon only. */
export function iconButton(name, key, work, values = {}) {
  const button = make("button", { type: "button", className: "plain square act" }, icon(name));
  tip(button, key, values);
  button.addEventListener("click", work);
  return button;
}

/** Returns a button with a text. */
export function textButton(key, work, properties = {}) {
  const button = make("button", { type: "button", data: { word: key }, ...properties }, word(key));
  button.addEventListener("click", work);
  return button;
}

/** Returns a link to another site; the text alone, if the address is no address of a site. */
export const outside = (href, ...children) =>
  /^https?:/i.test(href) ? make("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children) : make("span", {}, ...children);

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
  onLanguage(() => {
    document.documentElement.lang = locale();
    translate(document);
  });
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
  const button = textButton("copy", async () => {
    say(button, (await copy(text(), source?.())) ? "copied" : "copyYourself");
    setTimeout(() => say(button, "copy"), 2000);
  });
  button.classList.add("copy");
  return button;
}

/** The same with an icon. */
export function copyIcon(text, source) {
  const button = iconButton("copy", "copy", async () => {
    const done = await copy(text(), source?.());
    tip(button, done ? "copied" : "copyYourself");
    button.replaceChildren(icon(done ? "done" : "copy"));
    setTimeout(() => {
      tip(button, "copy");
      button.replaceChildren(icon("copy"));
    }, 2000);
  });
  button.classList.add("copy");
  return button;
}

export const time = (seconds) =>
  new Date(seconds * 1000).toLocaleString(locale(), { dateStyle: "medium", timeStyle: "short" });

/** The time alone, if it is today. */
export const shortTime = (seconds) => {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString(locale(), { timeStyle: "short" }) : time(seconds);
};

export const size = (bytes) => {
  const units = ["B", "KB", "MB", "GB"];
  let at = 0;
  for (; bytes >= 1000 && at < units.length - 1; at++) bytes /= 1000;
  return `${bytes.toLocaleString(locale(), { maximumFractionDigits: at ? 1 : 0 })} ${units[at]}`;
};
