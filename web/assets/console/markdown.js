// Converts Markdown to elements. The text is from a model: HTML in it stays text, and nothing in it is fetched but pictures that
// this server hands out.
import { Marked } from "../vendor/marked.esm.js";
import createPurify from "../vendor/purify.es.mjs";

const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** A picture that was made here: its link, wherever this server says that it is, or its bytes. */
const MADE = /^(?:https?:\/\/.*(\/v1\/media\/[\w-]+)|(data:image\/(?:png|jpeg|webp);base64,[\w+/=]+))$/;

function picture(href, text) {
  const found = MADE.exec(href);
  if (!found) return `<a href="${escaped(href)}">${escaped(text || href)}</a>`;
  return `<img src="${found[1] ?? found[2]}" alt="${escaped(text)}">`;
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escaped(text),
    // Other images become links.
    image: ({ href, text }) => picture(href, text),
    // Headings become bold paragraphs. Headings of the page structure the page only.
    heading({ tokens }) {
      return `<p><strong>${this.parser.parseInline(tokens)}</strong></p>`;
    },
  },
});

const purify = createPurify();
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  if (!/^https?:/i.test(node.getAttribute("href") ?? "")) node.removeAttribute("href");
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});

const RULES = {
  ALLOWED_TAGS: "a blockquote br code del em hr img input li ol p pre strong table tbody td th thead tr ul".split(" "),
  ALLOWED_ATTR: ["href", "src", "alt", "title", "start", "align", "type", "checked", "disabled"],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: /** @type {const} */ (true),
};

/** Replaces the content of `element` by `text`. Never throws: text that is not valid Markdown is shown as plain text. */
export function render(element, text) {
  try {
    element.replaceChildren(parsed(text));
  } catch {
    element.textContent = text;
  }
}

function parsed(text) {
  const clean = purify.sanitize(marked.parse(text, { async: false }), RULES);
  // An element that scrolls must be reachable by keyboard.
  for (const wide of clean.querySelectorAll("pre, table")) wide.setAttribute("tabindex", "0");
  // The checkboxes of a task list are read-only.
  for (const box of clean.querySelectorAll("input")) box.replaceWith(box.checked ? "☑" : "☐");
  return clean;
}
