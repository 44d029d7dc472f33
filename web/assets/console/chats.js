// The chats of this tab. The tab's storage keeps their texts, and links instead of pictures.
import { $, iconButton, make, onLanguage, translate, word } from "./page.js";

/**
 * One entry of a chat.
 * - `user`: a message, or what a picture or a video is to show (`order`).
 * - `assistant`: an answer.
 * - `tool`: the result of a call.
 * - `made`: what came of an order: pictures, or the id of a video.
 * @typedef {{ role: "user" | "assistant" | "tool" | "made", text: string, [field: string]: any }} Item
 */

const NAME = "qwen-edge.chats";
/** The most chats, and the most characters of them in the tab's storage. Browsers allow some 5 million. */
const MOST = 30;
const LARGEST = 2_000_000;
const TITLE = 60;
/** Where links of this server lead. Its own address in front may be another than that of this page. */
export const OWN_LINK = /\/v1\/media\/[\w-]+$/;
const INLINE = /data:[\w/+.-]+;base64,[\w+/=]+/g;

export class Chat {
  /** @type {AbortController | null} What is asked for now. */
  running = null;
  /** @type {{ forget(): void }[]} What goes on by itself. */
  films = [];

  /** @param {{ id?: string, title?: string, items?: Item[] }} kept */
  constructor({ id = crypto.randomUUID(), title = "", items = [] } = {}) {
    this.id = id;
    this.title = title;
    this.items = items;
    /** The messages on the page; filled when the chat is opened. */
    this.element = make("div", { className: "thread" });
    this.isShown = false;
  }

  /** @param {Item} item */
  add(item) {
    this.items.push(item);
    if (!this.title && item.role === "user") this.title = titleOf(item);
    return item;
  }

  /** Forgets an item and all that follow it. */
  cut(item) {
    const at = this.items.indexOf(item);
    if (at >= 0) this.items.splice(at);
  }
}

function titleOf({ text, attached = [] }) {
  const title = (text || attached.map(({ name }) => name).join(", ")).replace(/\s+/g, " ").trim();
  return title.length > TITLE ? `${title.slice(0, TITLE)}…` : title;
}

/** The newest first. @type {Chat[]} */
let all = [];
/** @type {Chat} */
let open;
/** Called after another chat was opened. */
let onOpen = () => {};

export const current = () => open;

/** An item as text, without what is too large to keep. */
function written(item) {
  const pictures = item.pictures?.filter(({ url }) => OWN_LINK.test(url));
  return JSON.stringify({ ...item, pictures }, (_, value) => (typeof value === "string" ? value.replace(INLINE, "data:,") : value));
}

/** What of a chat fits: all of it, or its newest items. */
function fitting(items, room) {
  const texts = items.map(written);
  let from = texts.length;
  for (let size = 0; from > 0 && (size += texts[from - 1].length) < room; ) from--;
  // A part begins with a message of the person.
  if (from) while (from < items.length && items[from].role !== "user") from++;
  return texts.slice(from);
}

/** Writes the chats to the tab's storage; the oldest are left out where they are too much. */
export function keep() {
  try {
    let room = LARGEST;
    const kept = [];
    for (const { id, title, items } of [open, ...all.filter((chat) => chat !== open)]) {
      if (!items.length) continue;
      const texts = fitting(items, room);
      if (!texts.length) break;
      const text = `{"id":${JSON.stringify(id)},"title":${JSON.stringify(title)},"items":[${texts.join(",")}]}`;
      room -= text.length;
      kept.push([all.findIndex((chat) => chat.id === id), text]);
    }
    const list = kept.sort(([a], [b]) => a - b).map(([, text]) => text);
    sessionStorage.setItem(NAME, `{"open":${JSON.stringify(open.id)},"chats":[${list.join(",")}]}`);
  } catch {
    // The browser may forbid storage. The chats are then kept until the page closes.
  }
}

/** Reads what was kept. What is not as it is written here is left out. */
function recall() {
  try {
    const { open: id, chats } = JSON.parse(sessionStorage.getItem(NAME) ?? "{}");
    all = chats
      .filter(({ id, title, items }) => typeof id === "string" && typeof title === "string" && Array.isArray(items))
      .map((kept) => new Chat({ ...kept, items: kept.items.filter(({ role, text }) => typeof role === "string" && typeof text === "string") }));
    // What the end of the page stopped.
    for (const item of all.flatMap(({ items }) => items)) {
      if (item.role === "assistant" && !item.figures) item.stopped = true;
      if (item.role === "made" && !item.film && !item.problem && !item.pictures.length) item.note ??= ["left"];
    }
    const last = all.find((chat) => chat.id === id);
    if (last) open = last;
  } catch {
    all = [];
  }
}

export function showHistory() {
  $("history").replaceChildren(
    ...all
      .filter((chat) => chat.items.length)
      .map((chat) => {
        const title = chat.title || word("newChat");
        const choose = make("button", { type: "button", className: "plain grow", dir: "auto", title }, title);
        if (chat === open) choose.setAttribute("aria-current", "true");
        choose.addEventListener("click", () => show(chat));
        const remove = () => {
          forget(chat);
          /** @type {HTMLElement} */ ($("history").querySelector("button") ?? $("new")).focus();
        };
        return make("li", { data: { chat: chat.id } }, choose, iconButton("delete", "deleteChat", remove, { title }));
      }),
  );
  if (!$("history").children.length) $("history").append(make("li", { className: "hint", data: { word: "noChats" } }, word("noChats")));
}

/** Opens a chat. @param {Chat} chat */
export function show(chat) {
  open?.element.remove();
  open = chat;
  translate(chat.element);
  $("talk").append(chat.element);
  onOpen();
  showHistory();
  keep();
}

/** Opens a new chat, or the one that is still empty. */
export function begin() {
  let chat = all.find(({ items }) => !items.length);
  if (!chat) {
    chat = new Chat();
    all.unshift(chat);
    const old = all.filter(({ running }) => !running)[MOST];
    if (old) forget(old);
  }
  show(chat);
}

/** @param {Chat} chat */
function forget(chat) {
  chat.running?.abort();
  for (const film of chat.films) film.forget();
  all = all.filter((other) => other !== chat);
  if (chat !== open) {
    showHistory();
    return keep();
  }
  if (all.length) show(all[0]);
  else begin();
}

/** @param {() => void} opened Called after another chat was opened. */
export function startChats(opened) {
  onOpen = opened;
  recall();
  if (open) show(open);
  else begin();
  onLanguage(showHistory);
  addEventListener("pagehide", keep);
}
