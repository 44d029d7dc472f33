// The messages on the page.
import { ApiError, explained, needsKey } from "./api.js";
import { pictureCard } from "./media.js";
import { Growing } from "./markdown.js";
import { $, copyIcon, iconButton, make, notice, outside, say, textButton, word } from "./page.js";
import { Calls } from "./tools.js";

/** How much of its time the page may spend on painting an answer: a quarter. */
const REST = 3;

/** Scrolls to the newest message, unless the reader has scrolled back. */
export function follow(change) {
  const talk = $("talk");
  const atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
  change();
  if (atEnd) talk.scrollTop = talk.scrollHeight;
}

/** A message with its name; `acts` are its buttons. */
function message(role, name, children, acts = []) {
  const head = make("h2", {}, make("span", { data: { word: name } }, word(name)));
  return make("article", { className: role }, head, ...children, make("div", { className: "foot" }, ...acts));
}

/**
 * A message of the person. `edit` takes it back into the composer.
 * @param {import("./chats.js").Item} item
 */
export function userMessage({ text, attached = [] }, edit) {
  const said = make("p", { className: "said", dir: "auto" }, text);
  const tags = attached.map(({ name, shown }) => {
    const picture = shown ? [make("img", { src: shown, alt: "" })] : [];
    return make("li", { className: "tag" }, ...picture, make("span", { dir: "auto" }, name));
  });
  const list = tags.length ? [make("ul", { className: "tags" }, ...tags)] : [];
  const body = make("div", { className: "bubble" }, ...(text ? [said] : []), ...list);
  const acts = [...(text ? [copyIcon(() => text, () => said)] : []), iconButton("edit", "editMessage", edit)];
  acts[acts.length - 1].classList.add("last-only");
  return message("user", "user", [body], acts);
}

/** The result of a call. */
export function toolMessage({ text, name }) {
  const said = make("p", { className: "said", dir: "auto" }, text);
  return message("tool", "tool", [make("div", { className: "bubble" }, make("p", {}, make("code", {}, name)), said)]);
}

/**
 * A notice of an error, with what helps: the field for the key, the link of the check, a button that tries again.
 * @param {any} problem
 * @param {(() => void) | null} again
 */
export function problemNotice(problem, again) {
  const text = make("p");
  notice(text, explained(problem), "bad");
  const box = make("div", { className: "problem" }, text);
  if (needsKey(problem) && again) {
    const id = `key-${crypto.randomUUID()}`;
    const input = make("input", { id, type: "password", autocomplete: "off", spellcheck: false, required: true });
    const form = make(
      "form",
      { className: "ask-key" },
      make("label", { htmlFor: id, data: { word: "key" } }, word("key")),
      make("div", { className: "row" }, input, make("button", { type: "submit", className: "main", data: { word: "useKey" } }, word("useKey"))),
      make("p", { className: "hint", data: { word: "tabOnly" } }, word("tabOnly")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      $("key").value = input.value.trim();
      for (const name of ["input", "change"]) $("key").dispatchEvent(new Event(name));
      again();
    });
    box.append(form);
  } else if (again) box.append(textButton("again", again, { className: "again" }));
  return box;
}

/** An answer on the page. While it comes it is painted at most once per frame, and less often where painting takes long. */
export class Answer {
  /** When the thinking began and ended, in milliseconds. */
  #thinkingFrom = 0;
  #paintedThought = 0;
  #painted = 0;
  #cost = 0;
  /** @type {number | null} */
  #frame = null;

  /**
   * @param {import("./chats.js").Item} item Is filled with what comes.
   * @param {{ again(): void, edit(picture: any): void }} acts
   */
  constructor(item, acts) {
    this.item = item;
    this.acts = acts;
    this.summary = make("summary");
    this.thinkingText = make("div", { className: "said", dir: "auto" });
    this.thinking = make("details", { className: "thinking", hidden: true, open: true }, this.summary, this.thinkingText);
    say(this.summary, "thinksNow");
    this.content = make("div", { className: "content", dir: "auto" });
    this.growing = new Growing(this.content);
    this.calls = new Calls();
    this.sources = make("div");
    this.problem = make("div");
    this.element = message("assistant", "assistant", [this.thinking, this.content, this.calls.element, this.sources, this.problem]);
    this.foot = /** @type {HTMLElement} */ (this.element.querySelector(".foot"));
    this.by = make("span", { className: "by" });
    this.element.querySelector("h2")?.append(this.by);
    if (item.model) this.by.textContent = item.model;
    this.element.setAttribute("aria-busy", "true");
  }

  /** Shows an answer of which all is known. */
  static restored(item, acts) {
    const answer = new Answer({ ...item, text: "", thought: "" }, acts);
    answer.item = item;
    answer.growing.add(item.text);
    if (item.calls) answer.calls.list = item.calls;
    answer.end();
    return answer;
  }

  add({ reasoning_content: thought, content, annotations, tool_calls: calls }) {
    if (thought) {
      this.#thinkingFrom ||= performance.now();
      this.item.thought = (this.item.thought ?? "") + thought;
    }
    if (content || calls) this.#endThinking();
    if (content) {
      this.item.text += content;
      this.growing.add(content);
    }
    if (calls) this.calls.add(calls);
    if (annotations) this.item.sources = annotations;
    this.#frame ??= requestAnimationFrame((now) => this.#tick(now));
  }

  /** Folds the thinking when it is over, and says how long it took. */
  #endThinking() {
    if (!this.#thinkingFrom || this.item.thoughtSeconds !== undefined) return;
    this.item.thoughtSeconds = Math.max(1, Math.round((performance.now() - this.#thinkingFrom) / 1000));
    this.thinking.open = false;
  }

  /** Says which upstream answers. */
  nameUpstream(name) {
    this.item.upstream = name;
    if (name !== "fallback") return;
    const mark = make("span", { className: "upstream", data: { word: "bySecond" } }, word("bySecond"));
    this.by.replaceChildren(this.item.model ?? "", " · ", mark);
  }

  #tick(now) {
    if (now - this.#painted < this.#cost * REST) {
      this.#frame = requestAnimationFrame((next) => this.#tick(next));
      return;
    }
    this.#frame = null;
    const from = performance.now();
    this.paint();
    this.#painted = performance.now();
    this.#cost = this.#painted - from;
  }

  paint() {
    follow(() => {
      const { thought = "", thoughtSeconds } = this.item;
      this.thinking.hidden = !thought;
      if (thought.length > this.#paintedThought) {
        this.thinkingText.append(thought.slice(this.#paintedThought));
        this.#paintedThought = thought.length;
      }
      if (thoughtSeconds !== undefined) say(this.summary, "thoughtFor", { seconds: thoughtSeconds });
      this.growing.paint();
      // Once shown, a call may be open or have the focus.
      if (this.calls.list.length !== this.calls.element.children.length) this.calls.show();
    });
  }

  /** Shows what is known at the end only. */
  end() {
    if (this.#frame) cancelAnimationFrame(this.#frame);
    const { item } = this;
    this.#endThinking();
    if (item.thought && item.thoughtSeconds === undefined) item.thoughtSeconds = 1;
    if (item.thought) this.thinking.open = false;
    if (item.upstream) this.nameUpstream(item.upstream);
    // The last arguments may have come after the calls were shown.
    this.calls.show();
    this.paint();
    follow(() => {
      this.growing.end();
      this.#showPictures();
      this.element.removeAttribute("aria-busy");
      this.#showSources();
      const { problem, stopped, figures } = item;
      if (problem) this.problem.append(problemNotice(problem, () => this.acts.again()));
      if (item.text) this.foot.append(copyIcon(() => item.text, () => this.content));
      const again = iconButton("again", "regenerate", () => this.acts.again());
      again.classList.add("last-only", "regenerate");
      if (!problem) this.foot.append(again);
      const facts = make("span", { className: "hint figures" });
      const parts = [];
      if (stopped) parts.push(["stopped"]);
      if (figures?.first) parts.push(["firstToken", { seconds: figures.first }]);
      if (figures?.input !== undefined) parts.push(["tokens", figures]);
      for (const [key, values] of parts) {
        const part = make("span");
        say(part, key, values);
        facts.append(...(facts.childNodes.length ? [" · "] : []), part);
      }
      this.foot.append(facts);
    });
  }

  /** Pictures of the answer get what the made ones have. */
  #showPictures() {
    for (const image of this.content.querySelectorAll("img")) {
      const [, format = ""] = /^data:image\/(\w+)/.exec(image.src) ?? [];
      const picture = { url: image.getAttribute("src") ?? "", format, prompt: image.alt };
      const list = make("ul", { className: "made" }, pictureCard(picture, () => this.acts.edit(picture)));
      const paragraph = image.closest("p");
      if (paragraph && !paragraph.textContent?.trim() && paragraph.querySelectorAll("img").length === 1) paragraph.replaceWith(list);
      else if (paragraph) {
        paragraph.after(list);
        image.remove();
      }
    }
  }

  #showSources() {
    const links = (this.item.sources ?? [])
      .map(({ url_citation: source }) => source)
      .filter((source) => /^https?:/i.test(source?.url))
      .map(({ url, title }) => make("li", { dir: "auto" }, outside(url, title || url)));
    if (!links.length) return;
    const summary = make("summary");
    say(summary, "sourcesOf", { count: links.length });
    this.sources.replaceChildren(make("details", { className: "sources", open: links.length <= 5 }, summary, make("ol", {}, ...links)));
  }

  /**
   * Asks the person for the results of the calls.
   * @param {(results: { name: string, message: any }[]) => void} done
   */
  askForResults(done) {
    const form = this.calls.form(done);
    follow(() => this.problem.append(form));
    return form;
  }
}

/** What is kept of an error. */
export const kept = (error) => {
  const { message, status, code, link, wait } = error instanceof ApiError ? error : new ApiError(0, { message: word("cutOff") });
  return { message, status, code, link, wait };
};
