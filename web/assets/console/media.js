// Pictures and videos that were made, each with what can be done with it.
import { ApiError, apiKey, ask, explained } from "./api.js";
import { announce, make, notice, onLanguage, say, textButton, word } from "./page.js";

/** @typedef {{ url: string, format: string, prompt: string }} Picture */

/** How long to wait between two looks at a video, unless the server says it. */
const POLL_MS = 5000;

function downloadLink(href, prompt, format) {
  const name = prompt.replace(/\[\[.*?\]\]/g, "").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40) || "qwen";
  return make("a", { className: "button", href, download: format ? `${name}.${format}` : name, data: { word: "download" } }, word("download"));
}

/** A card, with the text that its buttons are described by. */
function card(prompt) {
  const id = `made-${crypto.randomUUID()}`;
  const facts = make("p", { className: "hint facts" });
  const actions = make("div", { className: "row" });
  const caption = make("figcaption", {}, make("p", { id, className: "visually-hidden" }, prompt), facts, actions);
  const figure = make("figure", {}, caption);
  const act = (...elements) => {
    for (const element of elements) element.setAttribute("aria-describedby", id);
    actions.replaceChildren(...elements);
  };
  return { element: make("li", {}, figure), facts, act, show: (/** @type {HTMLElement} */ content) => figure.replaceChildren(content, caption) };
}

/**
 * @param {Picture} picture
 * @param {() => void} edit
 */
export function pictureCard({ url, format, prompt }, edit) {
  const { element, facts, act, show } = card(prompt);
  const image = make("img", { src: url, alt: prompt });
  image.addEventListener("load", () => {
    facts.textContent = [`${image.naturalWidth} × ${image.naturalHeight}`, format.toUpperCase()].filter(Boolean).join(" · ");
  });
  image.addEventListener("error", () => {
    show(make("p", { className: "hint gone", data: { word: "linkEnded" } }, word("linkEnded")));
    act();
  });
  show(make("a", { href: url, target: "_blank", rel: "noopener" }, image));
  act(downloadLink(url, prompt, format), textButton("editThis", edit));
  return element;
}

/** Minutes and seconds. */
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

/** The cards whose texts show the time. @type {Set<FilmCard>} */
const running = new Set();

/** A video: how far it is, then the video itself. */
export class FilmCard {
  /**
   * @param {{ id: string, prompt: string }} film
   * @param {any} job The server's object, if it is known already.
   */
  constructor({ id, prompt }, job = null) {
    this.path = `/v1/videos/${encodeURIComponent(id)}`;
    this.prompt = prompt;
    this.card = card(prompt);
    this.element = this.card.element;
    this.progress = make("progress", { max: 100, data: { label: "making" }, "aria-label": word("making") });
    this.card.show(make("div", { className: "waiting" }, this.progress));
    this.isWatched = Boolean(job);
    this.job = job;
    running.add(this);
    if (job) this.take(job, POLL_MS);
    else this.look();
  }

  async look() {
    if (this.isForgotten) return;
    try {
      const response = await ask(this.path, { headers: apiKey() });
      const wait = Number(response.headers.get("openai-poll-after-ms")) || POLL_MS;
      this.take(await response.json(), Math.min(Math.max(wait, 1000), 60_000));
    } catch (error) {
      // A lost connection comes back. What the server refuses, it refuses again.
      if (error instanceof ApiError && error.status && error.status < 500) this.fail(explained(error), () => this.look());
      else this.timer = setTimeout(() => this.look(), POLL_MS);
    }
  }

  take(job, wait) {
    const before = this.job?.status;
    this.job = job;
    if (job.status === "completed") {
      this.progress.value = 100;
      this.card.facts.textContent = "";
      if (this.isWatched) this.load();
      else this.card.act(textButton("showFilm", () => this.load()));
    } else if (job.status === "failed") {
      this.fail([job.error?.message ?? word("filmFailed")]);
      if (before) announce(word("filmFailed"));
    } else {
      this.isWatched = true;
      this.progress.value = job.progress;
      this.tell();
      this.timer = setTimeout(() => this.look(), wait);
    }
  }

  /** Says how far the video is. */
  tell() {
    if (!["queued", "in_progress"].includes(this.job?.status)) return;
    const seconds = Math.max(0, Date.now() / 1000 - this.job.created_at);
    this.card.facts.textContent = word("filmRunning", { time: clock(seconds), percent: this.job.progress });
  }

  /** Loads the video. A key may be needed for it, which no element sends. */
  async load() {
    this.card.act();
    this.card.show(make("div", { className: "waiting" }, this.progress));
    this.progress.removeAttribute("value");
    try {
      const bytes = await (await ask(`${this.path}/content`, { headers: apiKey() })).blob();
      if (this.isForgotten) return;
      this.url = URL.createObjectURL(bytes);
      const video = make("video", { src: this.url, controls: true, loop: true, playsInline: true, "aria-label": this.prompt });
      video.addEventListener("loadedmetadata", () => {
        this.card.facts.textContent = `${video.videoWidth} × ${video.videoHeight} · MP4`;
      });
      video.addEventListener("error", () => say(this.card.facts, "cannotPlay"));
      this.card.show(video);
      this.card.act(downloadLink(this.url, this.prompt, "mp4"));
      announce(word("filmDone"));
    } catch (error) {
      this.fail(explained(error instanceof ApiError ? error : new ApiError(0)), () => this.load());
    }
  }

  /** Shows a problem, with a button if a repetition may help. */
  fail(parts, repeat) {
    const problem = make("p");
    notice(problem, parts, "bad");
    this.card.show(problem);
    this.card.facts.textContent = "";
    this.card.act();
    if (!repeat) return;
    const again = textButton("again", () => {
      this.card.show(make("div", { className: "waiting" }, this.progress));
      this.card.act();
      repeat();
    });
    this.card.act(again);
  }

  forget() {
    this.isForgotten = true;
    running.delete(this);
    clearTimeout(this.timer);
    if (this.url) URL.revokeObjectURL(this.url);
  }
}

export function startMedia() {
  onLanguage(() => running.forEach((film) => film.tell()));
  setInterval(() => running.forEach((film) => film.tell()), 1000);
}
