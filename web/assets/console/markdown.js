// Converts Markdown to elements. The text is from a model: HTML in it stays text, and nothing in it is fetched but pictures that
// this server hands out.
import { Marked } from "../vendor/marked.esm.js";
import createPurify from "../vendor/purify.es.mjs";
import { copyIcon, make } from "./page.js";

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

/** The elements of some tokens, or of a text. */
function elements(html) {
  const clean = purify.sanitize(html, RULES);
  // Each block has the direction of its own text; code has that of code.
  for (const block of clean.children) block.setAttribute("dir", "auto");
  for (const wide of clean.querySelectorAll("pre, table")) {
    // An element that scrolls must be reachable by keyboard.
    wide.setAttribute("tabindex", "0");
    if (wide.tagName !== "PRE") continue;
    wide.setAttribute("dir", "ltr");
    const box = make("div", { className: "code" });
    wide.replaceWith(box);
    box.append(wide, copyIcon(() => wide.textContent ?? "", () => wide));
  }
  // The checkboxes of a task list are read-only.
  for (const box of clean.querySelectorAll("input")) box.replaceWith(box.checked ? "☑" : "☐");
  return clean;
}

/** A definition of a link counts for the whole text, also for what is before it. */
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;
/** The blocks at the end that may still change: a list goes on after a paragraph that turns out to be its next number. */
const OPEN_BLOCKS = 2;

/**
 * A text that grows. What is complete is converted once; only its last blocks are converted again. Never throws: what is not valid
 * Markdown is shown as plain text.
 */
export class Growing {
  text = "";
  /** What is not converted for good. */
  #rest = "";

  /** @param {HTMLElement} element */
  constructor(element) {
    this.settled = make("div", { className: "blocks" });
    this.open = make("div", { className: "blocks" });
    element.replaceChildren(this.settled, this.open);
  }

  /** @param {string} more */
  add(more) {
    this.text += more;
    this.#rest += more;
  }

  /** Shows what was added. */
  paint() {
    try {
      // A return at the very end may be the half of a line's end.
      this.#rest = this.#rest.replace(/\r\n|\r(?!$)/g, "\n");
      const tokens = marked.lexer(this.#rest);
      let from = tokens.length;
      for (let blocks = 0; from > 0 && blocks < OPEN_BLOCKS; from--) blocks += Number(tokens[from - 1].type !== "space");
      if (from > 0) {
        const done = tokens.slice(0, from);
        const length = done.reduce((sum, { raw }) => sum + raw.length, 0);
        this.settled.append(elements(marked.parser(done)));
        this.#rest = this.#rest.slice(length);
      }
      this.open.replaceChildren(elements(marked.parser(tokens.slice(from))));
    } catch {
      this.open.replaceChildren(make("p", { className: "said" }, this.#rest));
    }
  }

  /** Shows all of it as one text. */
  end() {
    this.paint();
    if (!DEFINITION.test(this.text)) return;
    this.open.replaceChildren();
    try {
      this.settled.replaceChildren(elements(marked.parse(this.text, { async: false })));
    } catch {
      this.settled.replaceChildren(make("p", { className: "said" }, this.text));
    }
  }
}
