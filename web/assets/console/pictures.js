// Pictures and videos: what is asked for, how long it takes, and what comes of it.
import { ApiError, apiKey, ask, hasStopped } from "./api.js";
import { OWN_LINK, keep } from "./chats.js";
import { events } from "./events.js";
import { FilmCard, pictureCard } from "./media.js";
import { follow, kept, problemNotice } from "./messages.js";
import { models } from "./models.js";
import { $, announce, iconButton, make, notice, say, word } from "./page.js";

/** The site's image models, for a server that cannot list any now. */
const MODELS = ["qwen-image", "qwen-image-3.0-pro", "qwen-image-3.0", "qwen-image-2.0-pro"];
/** While its store fails, the server sends pictures of up to 32 MiB as base64. */
const LONGEST = 48_000_000;

/** Requests that were answered in this tab. Who sends one again wants other pictures. */
const answered = new Set();

/** Shows the fields for what is to be made. */
export function fitFields() {
  const [isChat, isFilm] = [$("kind").value === "chat", $("kind").value === "video"];
  const those = (name) => /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`.for-${name}`));
  for (const field of those("chat")) field.hidden = !isChat;
  for (const field of those("pictures")) field.hidden = isFilm;
  $("picture-fields").hidden = isChat;
  // A model is of one quality.
  $("quality").disabled = $("picture-model").value !== "";
}

/**
 * The request for what the fields say.
 * @param {import("./files.js").Attachment[]} given
 */
export function orderOf(prompt, given) {
  const pictures = given.map(({ link, done }) => (link ? { image_url: new URL(link, location.href).href } : { file_id: done.id }));
  const size = $("shape").value || undefined;
  if ($("kind").value === "video") return { path: "/v1/videos", body: { prompt, size, input_reference: pictures.length > 1 ? pictures : pictures[0] } };
  const [model, quality] = [$("picture-model").value || undefined, $("quality").value || undefined];
  const body = { prompt, model, size, quality: model ? undefined : quality, n: Number($("number").value), response_format: "url", stream: true };
  return pictures.length ? { path: "/v1/images/edits", body: { ...body, images: pictures } } : { path: "/v1/images/generations", body };
}

/** What came of an order, on the page. */
export class Made {
  /**
   * @param {import("./chats.js").Chat} chat
   * @param {import("./chats.js").Item} item `order` is what is asked for; is filled with what comes.
   * @param {{ again(): void, edit(picture: any): void }} acts
   */
  constructor(chat, item, acts) {
    this.chat = chat;
    this.item = item;
    this.acts = acts;
    this.list = make("ul", { className: "made" });
    this.waiting = make("div", { className: "making", hidden: true });
    this.notes = make("div");
    this.foot = make("div", { className: "foot" });
    const name = make("h2", {}, make("span", { data: { word: "assistant" } }, word("assistant")));
    this.element = make("article", { className: "assistant" }, name, this.list, this.waiting, this.notes, this.foot);
  }

  /** Shows what is known of an order that ended. */
  static restored(chat, item, acts) {
    const made = new Made(chat, item, acts);
    for (const picture of item.pictures) made.list.append(pictureCard(picture, () => acts.edit(picture)));
    if (item.film) made.#showFilm(item.film);
    made.end();
    return made;
  }

  /** Shows how long the request takes. Returns what ends that. */
  #tell() {
    const started = performance.now();
    const name = this.item.order.path === "/v1/videos" ? "filmBegins" : "drawingFor";
    const text = make("span", { className: "hint making-text", role: "timer" });
    const show = () => say(text, name, { seconds: Math.floor((performance.now() - started) / 1000) });
    show();
    this.waiting.replaceChildren(make("progress", { data: { label: "making" }, "aria-label": word("making") }), text);
    follow(() => (this.waiting.hidden = false));
    const timer = setInterval(show, 1000);
    return () => {
      clearInterval(timer);
      this.waiting.hidden = true;
    };
  }

  #addPicture({ url, output_format: format }) {
    const own = OWN_LINK.exec(url);
    const picture = { url: own ? own[0] : url, format, prompt: this.item.order.body.prompt };
    this.item.pictures.push(picture);
    follow(() => this.list.append(pictureCard(picture, () => this.acts.edit(picture))));
  }

  #showFilm(film, job = null) {
    const card = new FilmCard({ id: film.id, prompt: this.item.order.body.prompt }, job);
    this.chat.films.push(card);
    follow(() => this.list.append(card.element));
  }

  async #send(signal) {
    const { path, body } = this.item.order;
    const text = JSON.stringify(body);
    /** @type {Record<string, string>} */
    const headers = { ...apiKey(), "content-type": "application/json" };
    if (answered.has(path + text)) headers["x-fresh"] = "true";
    const response = await ask(path, { method: "POST", headers, body: text, signal });
    if (path === "/v1/videos") {
      const job = await response.json();
      this.item.film = { id: job.id };
      this.#showFilm(job, job);
      announce(word("filmBegun"));
    } else {
      for await (const data of events(response.body, LONGEST)) {
        if (data === "[DONE]") break;
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(200, event.error);
        this.#addPicture(event);
      }
      const count = this.item.pictures.length;
      if (!count) throw new ApiError(0, { message: word("cutOff") });
      if (count < body.n) this.item.note = ["someDrawn", { count, wanted: body.n }];
      announce(word("drawn", { count }));
    }
    answered.add(path + text);
  }

  /** Asks the server. Never throws. */
  async run() {
    const stop = (this.chat.running = new AbortController());
    const end = this.#tell();
    announce(word("making"));
    try {
      await this.#send(stop.signal);
    } catch (error) {
      if (hasStopped(error)) this.item.note = ["left"];
      else {
        this.item.problem = kept(error);
        announce(this.item.problem.message);
      }
    } finally {
      end();
      this.chat.running = null;
      this.end();
      keep();
    }
  }

  end() {
    follow(() => {
      const { note, problem, film } = this.item;
      if (note) {
        const text = make("p");
        notice(text, word(...note), "warn");
        this.notes.append(text);
        say(text, ...note);
      }
      if (problem) this.notes.append(problemNotice(problem, () => this.acts.again()));
      else if (!film) {
        const again = iconButton("again", "drawAgain", () => this.acts.again());
        again.classList.add("last-only", "regenerate");
        this.foot.append(again);
      }
    });
  }
}

/** Chooses what a model makes, and the model. */
export function useMaker({ id, capabilities }) {
  $("kind").value = capabilities.video_generation ? "video" : "picture";
  if (capabilities.image_generation) $("picture-model").value = id;
  $("kind").dispatchEvent(new Event("change"));
  $("question").focus();
}

export async function startPictures() {
  $("picture-model").addEventListener("change", fitFields);
  fitFields();
  const listed = (await models()).filter(({ capabilities }) => capabilities.image_generation).map(({ id }) => id);
  $("picture-model").append(...(listed.length ? listed : MODELS).map((id) => make("option", { value: id }, id)));
}
