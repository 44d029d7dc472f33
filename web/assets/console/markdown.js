// Markdown to elements. The text comes from a model: it is cleaned, and it makes the browser fetch nothing.
import { marked } from "../vendor/marked.esm.js";
import createPurify from "../vendor/purify.es.mjs";

const purify = createPurify(window);

// Pictures become links to them.
purify.addHook("uponSanitizeElement", (node, { tagName }) => {
  if (tagName !== "img") return;
  const link = document.createElement("a");
  const address = node.getAttribute("src") ?? "";
  link.textContent = node.getAttribute("alt") || address;
  link.setAttribute("href", address);
  node.replaceWith(link);
});
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  if (!/^https?:/i.test(node.getAttribute("href") ?? "")) node.removeAttribute("href");
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});

const RULES = {
  ALLOWED_TAGS:
    "a b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p pre s span strong sub summary sup table tbody td th thead tr u ul".split(" "),
  ALLOWED_ATTR: ["href", "title", "alt", "src", "start", "align"],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** Replaces what `element` holds by `text`. */
export function render(element, text) {
  const clean = purify.sanitize(marked.parse(text, { gfm: true, breaks: true }), RULES);
  // The page has headings of its own.
  for (const heading of clean.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const strong = document.createElement("p");
    strong.className = "heading";
    strong.append(...heading.childNodes);
    heading.replaceWith(strong);
  }
  for (const wide of clean.querySelectorAll("pre, table")) {
    wide.tabIndex = 0;
    wide.setAttribute("role", wide.tagName === "PRE" ? "group" : "table");
  }
  element.replaceChildren(clean);
}
