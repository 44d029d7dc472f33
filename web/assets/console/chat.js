// The chat: what the person writes is sent, and the answer streamed into the page.
import { ApiError, apiKey, ask, hasStopped, keepInTab } from "./api.js";
import { begin, current, keep, showHistory, startChats } from "./chats.js";
import { events } from "./events.js";
import { Attachments } from "./files.js";
import { Answer, follow, kept, toolMessage, userMessage } from "./messages.js";
import { $, announce, onLanguage, say, textButton, word } from "./page.js";
import { closeDrawer } from "./panel.js";
import { Made, fitFields, orderOf } from "./pictures.js";
import { sawAnswer, sawError } from "./session.js";
import { declaredTools, sentCalls, startTools } from "./tools.js";

/** @type {Attachments} */
let attachments;
/** How much of an answer is read out when it is complete. */
const READ_OUT = 280;

const PARTS = {
  image: ({ url, file_info }) => ({ type: "image_url", image_url: { url }, file_info }),
  video: ({ url, file_info }) => ({ type: "video_url", video_url: { url }, file_info }),
  audio: ({ url, file_info }) => ({ type: "audio_url", audio_url: { url }, file_info }),
  file: ({ id, file_info }) => ({ type: "file", file: { file_id: id }, file_info }),
};

function part({ link, done }) {
  if (link) return { type: "image_url", image_url: { url: new URL(link, location.href).href } };
  return (PARTS[done.filetype] ?? PARTS.file)(done);
}

/** What the server gets of a chat: not what was ordered and made, and no call without its result. */
function messagesOf({ items }) {
  const messages = [];
  for (const [at, item] of items.entries()) {
    const { role, text, attached = [], calls, order } = item;
    if (role === "user" && !order) {
      const parts = attached.map(part);
      messages.push({ role, content: parts.length ? [...(text ? [{ type: "text", text }] : []), ...parts] : text });
    } else if (role === "assistant") {
      const isAnswered = calls && items[at + 1]?.role === "tool";
      if (isAnswered) messages.push({ role, content: text || null, tool_calls: sentCalls(calls) });
      else if (text) messages.push({ role, content: text });
    } else if (role === "tool") messages.push({ role, tool_call_id: item.call, content: text });
  }
  return messages;
}

function request(chat, model, tools) {
  const body = { model, messages: messagesOf(chat), tools, stream: true, stream_options: { include_usage: true } };
  if ($("thinking").value) body.enable_thinking = $("thinking").value === "on";
  if ($("search").checked) body.enable_search = true;
  return JSON.stringify(body);
}

/** What the buttons of a message do. The message is the last of its kind. */
const acts = (chat, item, view) => ({
  again() {
    if (chat.running || chat.items.at(-1) !== item || (item.role !== "made" && declaredTools() === null)) return;
    chat.cut(item);
    view().element.remove();
    if (item.role === "made") produce(chat, item.order);
    else answer(chat);
  },
  edit(picture) {
    $("kind").value = "picture";
    $("kind").dispatchEvent(new Event("change"));
    attachments.clear();
    attachments.addLink(picture.url, picture.prompt);
    $("question").focus();
  },
});

/** Shows an item that is known. */
function place(chat, item) {
  let view;
  const itsActs = acts(chat, item, () => view);
  if (item.role === "user") view = { element: userMessage(item, () => takeBack(chat, item)) };
  else if (item.role === "tool") view = { element: toolMessage(item) };
  else if (item.role === "made") view = Made.restored(chat, item, itsActs);
  else view = Answer.restored(item, itsActs);
  chat.element.append(view.element);
  return view;
}

/** Takes a message back into the composer, with what came after it. */
function takeBack(chat, item) {
  if (chat.running) return;
  const elements = [...chat.element.children];
  for (const element of elements.slice(chat.items.indexOf(item))) element.remove();
  chat.cut(item);
  if (!chat.items.length) chat.title = "";
  if (item.kind) $("kind").value = item.kind;
  $("kind").dispatchEvent(new Event("change"));
  $("question").value = item.text;
  attachments.clear();
  attachments.addKnown((item.attached ?? []).map(({ name, done, link }) => ({ name, done, link, shown: link, sent: 1 })));
  grow();
  fit();
  $("question").focus();
}

/**
 * Requests the answer to the messages so far.
 * @param {import("./chats.js").Chat} chat
 */
async function answer(chat) {
  const tools = declaredTools();
  if (tools === null || chat.running) return;
  const running = (chat.running = new AbortController());
  const model = $("model").value.trim() || undefined;
  /** @type {import("./chats.js").Item} */
  const item = { role: "assistant", text: "", model };
  // What was not answered is left out.
  for (const form of chat.element.querySelectorAll("form.results")) form.remove();
  const shown = new Answer(item, acts(chat, item, () => shown));
  const body = request(chat, model, tools);
  chat.add(item);
  follow(() => chat.element.append(shown.element));
  fit();
  announce(word("answering"));
  const started = performance.now();
  /** @type {number | null} */
  let first = null;
  /** @type {any} */
  let usage = null;
  let ended = false;
  try {
    const headers = { ...apiKey(), "content-type": "application/json" };
    const response = await ask("/v1/chat/completions", { method: "POST", headers, body, signal: running.signal });
    shown.nameUpstream(response.headers.get("x-upstream") ?? "");
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
    if (!ended) item.problem = kept(null);
    sawAnswer(item.upstream);
  } catch (error) {
    if (hasStopped(error)) item.stopped = true;
    else item.problem = kept(error);
  }
  if (ended && shown.calls.list.length) item.calls = shown.calls.list;
  item.figures = { first: first && ((first - started) / 1000).toFixed(2), input: usage?.prompt_tokens, output: usage?.completion_tokens };
  try {
    shown.end();
    if (item.calls) askForResults(chat, shown);
  } finally {
    // After any error on the page the person can continue.
    chat.running = null;
    fit();
    keep();
  }
  if (item.problem) sawError(item.problem);
  if (item.problem) announce(item.problem.message);
  else if (item.calls) announce(word("called", { names: shown.calls.names }));
  else announce(item.stopped ? word("stopped") : word("answered", { text: (shown.content.textContent ?? "").slice(0, READ_OUT) }));
}

/** Asks for the results of the calls of an answer, and goes on with them. */
function askForResults(chat, shown) {
  const form = shown.askForResults(async (results) => {
    if (chat.running || declaredTools() === null) return;
    form.remove();
    for (const { name, message } of results) place(chat, chat.add({ role: "tool", text: message.content, name, call: message.tool_call_id }));
    await answer(chat);
    focusNext(chat);
  });
}

/** Orders a picture or a video. */
async function produce(chat, order) {
  const item = chat.add({ role: "made", text: "", order, pictures: [] });
  const made = new Made(chat, item, acts(chat, item, () => made));
  follow(() => chat.element.append(made.element));
  const end = made.run();
  fit();
  await end;
  if (item.problem) sawError(item.problem);
  fit();
}

/** Shows what can be done now. */
function fit() {
  const [chat, kind] = [current(), $("kind").value];
  const isBusy = chat.running !== null;
  const stop = chat.items.at(-1)?.role === "made" ? "leave" : "stop";
  const name = isBusy ? stop : { picture: attachments.all.length ? "edit" : "draw", video: "film" }[kind] ?? "send";
  $("send").dataset.doing = isBusy ? "stop" : "send";
  $("send").querySelector("use")?.setAttribute("href", isBusy ? "#i-stop" : "#i-send");
  say($("send-text"), name);
  $("empty").hidden = chat.items.length > 0;
  fitFields();
  const hint = kind === "chat" ? "questionHint" : "promptHint";
  $("question").dataset.hint = hint;
  $("question").placeholder = word(hint);
  attachments.arePictures = kind !== "chat";
  showHistory();
}

/** Makes the field as high as its text, where the browser does not do it by itself. */
function grow() {
  const field = $("question");
  if (CSS.supports("field-sizing", "content")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
}

async function send() {
  const chat = current();
  const text = $("question").value.trim();
  const kind = $("kind").value;
  if (chat.running) return;
  if (!text && (kind !== "chat" || !attachments.all.length)) {
    if (kind !== "chat") announce(word("needPrompt"));
    $("question").focus();
    return;
  }
  if (kind === "chat" && declaredTools() === null) return;
  $("send").disabled = true;
  const given = await attachments.ready().finally(() => ($("send").disabled = false));
  if (!given) return announce(word("uploadFailed"));
  const attached = given.map(({ name, done, link, shown }) => ({ name, done, link, shown }));
  const order = kind === "chat" ? undefined : orderOf(text, given);
  const item = chat.add({ role: "user", text, kind, attached: attached.map(({ name, done, link }) => ({ name, done, link })), order });
  // Their pictures are shown as long as the page lives.
  attachments.clear(true);
  const element = userMessage({ ...item, attached }, () => takeBack(chat, item));
  chat.element.append(element);
  $("talk").scrollTop = $("talk").scrollHeight;
  $("question").value = "";
  grow();
  keep();
  if (order) await produce(chat, order);
  else await answer(chat);
  if (document.activeElement === document.body || document.activeElement === $("send")) focusNext(chat);
}

/** Moves the focus to what the person writes next: the result of a call, or a message. */
function focusNext(chat) {
  if (chat !== current()) return;
  /** @type {HTMLElement} */ (chat.element.querySelector("form.results textarea") ?? $("question")).focus();
}

/** Called after a chat was opened: shows its messages, once. */
function opened() {
  const chat = current();
  if (!chat.isShown) {
    chat.isShown = true;
    for (const item of chat.items) {
      const view = place(chat, item);
      if (item.calls && item === chat.items.at(-1)) askForResults(chat, view);
    }
  }
  fit();
  closeDrawer();
  $("talk").scrollTop = chat.items.length ? $("talk").scrollHeight : 0;
}

const EXAMPLES = [
  ["exampleAsk", "chat"],
  ["exampleDraw", "picture"],
  ["exampleFile", "chat"],
];

export function startChat() {
  keepInTab($("key"));
  keepInTab($("model"));
  attachments = new Attachments({
    zone: $("chat"),
    list: $("files"),
    button: $("attach"),
    picker: $("picker"),
    text: $("question"),
    changed: () => attachments && fit(),
  });
  $("examples").replaceChildren(
    ...EXAMPLES.map(([key, kind]) =>
      textButton(key, () => {
        $("kind").value = kind;
        $("kind").dispatchEvent(new Event("change"));
        $("question").value = word(key);
        grow();
        $("question").focus();
        if (key === "exampleFile") $("picker").click();
      }),
    ),
  );
  startTools();
  startChats(opened);
  onLanguage(fit);
  $("kind").addEventListener("change", fit);
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const { running } = current();
    if (running) running.abort();
    else send();
  });
  $("question").addEventListener("input", grow);
  $("question").addEventListener("keydown", (event) => {
    // While an input method is composing, Enter confirms its text.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    send();
  });
  $("new").addEventListener("click", () => {
    begin();
    $("question").focus();
  });
}
