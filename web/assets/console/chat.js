// The playground: a conversation with the server, streamed.
import { ApiError, apiKey, ask, explained, hasStopped, keepInTab } from "./api.js";
import { events } from "./events.js";
import { Attachments } from "./files.js";
import { render } from "./markdown.js";
import { $, announce, copyButton, make, notice, word } from "./page.js";
import { Calls, declaredTools, startTools } from "./tools.js";

/** The messages that are sent to the server. */
let messages = [];
/** @type {AbortController | null} */
let running = null;
/** @type {Attachments} */
let attachments;

/** Scrolls to the newest message, unless the reader has scrolled back. */
function follow(change) {
  const talk = $("talk");
  const atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60;
  change();
  if (atEnd) talk.scrollTop = talk.scrollHeight;
}

function bubble(role, ...children) {
  const article = make("article", { className: role }, make("h3", { data: { word: role } }, word(role)), ...children);
  $("empty").hidden = true;
  follow(() => $("talk").append(article));
  return article;
}

/** An answer on the page. It is painted at most once per frame. */
class Answer {
  constructor() {
    this.text = "";
    this.thought = "";
    this.sources = [];
    this.thinking = make("details", { className: "thinking", hidden: true, open: true }, make("summary", { data: { word: "thoughts" } }, word("thoughts")));
    this.thinkingText = make("div");
    this.thinking.append(this.thinkingText);
    this.content = make("div", { className: "content" });
    this.calls = new Calls();
    this.foot = make("div", { className: "foot" });
    this.article = bubble("assistant", this.thinking, this.content, this.calls.element, this.foot);
    this.article.setAttribute("aria-busy", "true");
  }

  add({ reasoning_content: thought, content, annotations, tool_calls: calls }) {
    if (thought) this.thought += thought;
    if ((content || calls) && !this.text && !this.calls.list.length) this.thinking.open = false;
    if (content) this.text += content;
    if (calls) this.calls.add(calls);
    if (annotations) this.sources = annotations;
    this.frame ??= requestAnimationFrame(() => this.paint());
  }

  /** Says that the second upstream answers. */
  nameSecond() {
    this.content.before(make("p", { className: "hint upstream", data: { word: "bySecond" } }, word("bySecond")));
  }

  paint() {
    this.frame = null;
    follow(() => {
      this.thinking.hidden = !this.thought;
      if (this.thought) this.thinkingText.textContent = this.thought;
      render(this.content, this.text);
      // Once shown, a call may be open or have the focus.
      if (this.calls.list.length !== this.calls.element.children.length) this.calls.show();
    });
  }

  /** Asks the person for the results of the calls. */
  askForResults() {
    const form = this.calls.form(async (results) => {
      if (running || declaredTools() === null) return;
      form.remove();
      for (const { name, message } of results) {
        messages.push(message);
        bubble("tool", make("p", {}, make("code", {}, name)), make("p", { className: "said" }, message.content));
      }
      await answer();
      focusNext();
    });
    follow(() => this.foot.append(form));
  }

  end(problem) {
    cancelAnimationFrame(this.frame);
    // The last arguments may have come after the calls were shown.
    this.calls.show();
    this.paint();
    this.article.removeAttribute("aria-busy");
    const links = this.sources
      .map(({ url_citation: source }) => source)
      .filter(({ url }) => /^https?:/i.test(url))
      .map(({ url, title }) => make("li", {}, make("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, title || url)));
    if (links.length) this.foot.append(make("ol", { className: "sources" }, ...links));
    if (this.text) this.foot.append(copyButton(() => this.text, () => this.content));
    if (problem) {
      const box = make("p");
      notice(box, explained(problem), "bad");
      const again = make("button", { type: "button", data: { word: "again" } }, word("again"));
      again.addEventListener("click", () => running || (this.article.remove(), answer()));
      this.foot.append(box, again);
      announce(problem.message);
    }
  }
}

function request(tools) {
  const body = { model: $("model").value.trim() || undefined, messages, tools, stream: true, stream_options: { include_usage: true } };
  if ($("thinking").value) body.enable_thinking = $("thinking").value === "on";
  if ($("search").checked) body.enable_search = true;
  return JSON.stringify(body);
}

function figures(started, first, usage) {
  const parts = [];
  if (first) parts.push(word("firstToken", { seconds: ((first - started) / 1000).toFixed(2) }));
  if (usage) parts.push(word("tokens", { input: usage.prompt_tokens, output: usage.completion_tokens }));
  $("figures").textContent = parts.join(" · ");
}

/** Requests the answer to the messages so far. */
async function answer() {
  const tools = declaredTools();
  if (tools === null) return;
  running = new AbortController();
  busy(true);
  // What was not answered is left out.
  for (const form of $("talk").querySelectorAll("form.results")) form.remove();
  const shown = new Answer();
  const started = performance.now();
  /** @type {number | null} */
  let first = null;
  /** @type {ApiError | null} */
  let problem = null;
  let usage = null;
  let ended = false;
  try {
    const headers = { ...apiKey(), "content-type": "application/json" };
    const response = await ask("/v1/chat/completions", { method: "POST", headers, body: request(tools), signal: running.signal });
    if (response.headers.get("x-upstream") === "fallback") shown.nameSecond();
    for await (const data of events(response.body)) {
      if (data === "[DONE]") {
        ended = true;
        break;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(200, chunk.error);
      usage = chunk.usage ?? usage;
      const delta = chunk.choices?.[0]?.delta;
      if (!delta) continue;
      if (delta.content || delta.reasoning_content || delta.tool_calls) first ??= performance.now();
      shown.add(delta);
    }
    if (!ended) problem = new ApiError(0, { message: word("cutOff") });
  } catch (error) {
    if (!hasStopped(error)) problem = error instanceof ApiError ? error : new ApiError(0, { message: word("cutOff") });
  }
  const called = ended && shown.calls.list.length > 0;
  if (called) messages.push({ role: "assistant", content: shown.text || null, tool_calls: shown.calls.sent });
  else if (shown.text) messages.push({ role: "assistant", content: shown.text });
  try {
    shown.end(problem);
    if (called) shown.askForResults();
    figures(started, first, usage);
  } finally {
    // After any error on the page the person can continue.
    running = null;
    busy(false);
  }
  if (called) announce(word("called", { names: shown.calls.names }));
  else if (!problem) announce(word(ended ? "answered" : "stopped"));
}

function busy(is) {
  $("send").disabled = is;
  $("stop").hidden = !is;
  $("new").disabled = is;
}

const PARTS = {
  image: ({ url, file_info }) => ({ type: "image_url", image_url: { url }, file_info }),
  video: ({ url, file_info }) => ({ type: "video_url", video_url: { url }, file_info }),
  audio: ({ url, file_info }) => ({ type: "audio_url", audio_url: { url }, file_info }),
  file: ({ id, file_info }) => ({ type: "file", file: { file_id: id }, file_info }),
};

async function send() {
  const text = $("question").value.trim();
  if (running || !(text || $("files").children.length) || declaredTools() === null) return;
  $("send").disabled = true;
  const attached = await attachments.ready().finally(() => ($("send").disabled = false));
  if (!attached) {
    announce(word("uploadFailed"));
    return;
  }
  attachments.clear();
  const parts = attached.map(({ done }) => (PARTS[done.filetype] ?? PARTS.file)(done));
  messages.push({ role: "user", content: parts.length ? [...(text ? [{ type: "text", text }] : []), ...parts] : text });
  const names = attached.map(({ name }) => make("span", { className: "tag" }, name));
  bubble("user", make("p", { className: "said" }, text), ...(names.length ? [make("p", {}, ...names)] : []));
  $("question").value = "";
  await answer();
  focusNext();
}

/** Moves the focus to what the person writes next: the result of a call, or a message. */
function focusNext() {
  /** @type {HTMLElement} */ ($("talk").querySelector("form.results textarea") ?? $("question")).focus();
}

export function startChat() {
  keepInTab($("key"));
  attachments = new Attachments({ zone: $("chat"), list: $("files"), button: $("attach"), picker: $("picker"), text: $("question") });
  startTools();
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("question").addEventListener("keydown", (event) => {
    // While an input method is composing, Enter confirms its text.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    send();
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("new").addEventListener("click", () => {
    messages = [];
    for (const article of $("talk").querySelectorAll("article")) article.remove();
    $("empty").hidden = false;
    $("figures").textContent = "";
    $("question").focus();
  });
}
