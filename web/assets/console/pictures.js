// Pictures and videos: what is asked for, and how long it takes.
import { ApiError, apiKey, ask, explained, hasStopped } from "./api.js";
import { events } from "./events.js";
import { Attachments } from "./files.js";
import { addFilm, addPicture, startGallery } from "./gallery.js";
import { models } from "./models.js";
import { $, announce, make, notice, onLanguage, word } from "./page.js";

/** The site's image models, for a server that cannot list any now. */
const MODELS = ["qwen-image", "qwen-image-3.0-pro", "qwen-image-3.0", "qwen-image-2.0-pro"];
/** While its store fails, the server sends pictures of up to 32 MiB as base64. */
const LONGEST = 48_000_000;

/** @type {Attachments} */
let inputs;
/** @type {AbortController | null} */
let running = null;
/** Requests that were answered in this tab. Who sends one again wants other pictures. */
const answered = new Set();

const isFilm = () => $("kind").value === "video";

/** Shows the fields and the button for what is to be made. */
function fit() {
  const forPictures = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".for-pictures"));
  for (const field of forPictures) field.hidden = isFilm();
  // A model is of one quality.
  $("quality").disabled = $("picture-model").value !== "";
  const name = isFilm() ? "film" : inputs?.all.length ? "edit" : "draw";
  $("draw").dataset.word = name;
  $("draw").textContent = word(name);
}

/** Shows how long the request takes. Returns what ends that. */
function tell() {
  const started = performance.now();
  const name = isFilm() ? "filmBegins" : "drawingFor";
  const show = () => ($("making-text").textContent = word(name, { seconds: Math.floor((performance.now() - started) / 1000) }));
  show();
  $("making").hidden = false;
  $("leave").hidden = false;
  $("draw").disabled = true;
  const timer = setInterval(show, 1000);
  return () => {
    clearInterval(timer);
    $("making").hidden = true;
    $("leave").hidden = true;
    $("draw").disabled = false;
  };
}

/** @param {import("./files.js").Attachment[]} given */
function request(prompt, given) {
  const pictures = given.map(({ link, done }) => (link ? { image_url: new URL(link, location.href).href } : { file_id: done.id }));
  const size = $("shape").value || undefined;
  if (isFilm()) return { path: "/v1/videos", body: { prompt, size, input_reference: pictures.length > 1 ? pictures : pictures[0] } };
  const [model, quality] = [$("picture-model").value || undefined, $("quality").value || undefined];
  const body = { prompt, model, size, quality: model ? undefined : quality, n: Number($("number").value), response_format: "url", stream: true };
  return pictures.length ? { path: "/v1/images/edits", body: { ...body, images: pictures } } : { path: "/v1/images/generations", body };
}

async function send(path, body, signal) {
  const text = JSON.stringify(body);
  /** @type {Record<string, string>} */
  const headers = { ...apiKey(), "content-type": "application/json" };
  if (answered.has(path + text)) headers["x-fresh"] = "true";
  const response = await ask(path, { method: "POST", headers, body: text, signal });
  if (path === "/v1/videos") {
    addFilm(await response.json());
    announce(word("filmBegun"));
  } else {
    let count = 0;
    for await (const data of events(response.body, LONGEST)) {
      if (data === "[DONE]") break;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(200, event.error);
      addPicture(event, body.prompt);
      count++;
    }
    if (!count) throw new ApiError(0, { message: word("cutOff") });
    if (count < body.n) notice($("picture-problem"), word("someDrawn", { count, wanted: body.n }), "warn");
    announce(word("drawn", { count }));
  }
  answered.add(path + text);
}

async function draw() {
  const prompt = $("picture-prompt").value.trim();
  if (running) return;
  notice($("picture-problem"), prompt ? "" : word("needPrompt"), "bad");
  if (!prompt) {
    $("picture-prompt").focus();
    return;
  }
  running = new AbortController();
  const end = tell();
  try {
    const given = await inputs.ready();
    if (!given) throw new ApiError(0, { message: word("uploadFailed") });
    running.signal.throwIfAborted();
    announce(word("making"));
    const { path, body } = request(prompt, given);
    await send(path, body, running.signal);
  } catch (error) {
    if (hasStopped(error)) notice($("picture-problem"), word("left"));
    else notice($("picture-problem"), explained(error instanceof ApiError ? error : new ApiError(0, { message: word("cutOff") })), "bad");
  } finally {
    const hadFocus = document.activeElement === $("leave");
    end();
    running = null;
    if (hadFocus) $("draw").focus();
  }
}

async function listModels() {
  const listed = (await models()).filter(({ capabilities }) => capabilities.image_generation).map(({ id }) => id);
  $("picture-model").append(...(listed.length ? listed : MODELS).map((id) => make("option", { value: id }, id)));
}

/** Chooses what a model makes, and the model. */
export function useModel({ id, capabilities }) {
  $("kind").value = capabilities.video_generation ? "video" : "picture";
  if (capabilities.image_generation) $("picture-model").value = id;
  fit();
  $("picture-prompt").focus();
}

export function startPictures() {
  inputs = new Attachments({
    zone: $("pictures"),
    list: $("inputs"),
    button: $("add-inputs"),
    picker: $("input-picker"),
    text: $("picture-prompt"),
    arePictures: true,
    changed: fit,
  });
  startGallery(({ url, prompt }) => {
    inputs.clear();
    inputs.addLink(url, prompt);
    $("picture-prompt").focus();
  });
  $("picture-form").addEventListener("submit", (event) => {
    event.preventDefault();
    draw();
  });
  $("picture-prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    draw();
  });
  $("leave").addEventListener("click", () => running?.abort());
  for (const choice of [$("kind"), $("picture-model")]) choice.addEventListener("change", fit);
  onLanguage(fit);
  listModels();
}
