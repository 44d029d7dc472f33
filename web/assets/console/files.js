// Attachments: files are chosen, dropped or pasted, and uploaded with a progress bar.
import { ApiError, apiKey, errorOf, needsKey } from "./api.js";
import { $, announce, icon, iconButton, make, onLanguage, size, textButton, word } from "./page.js";
import { openSection } from "./panel.js";

/**
 * A file, or a picture by its link. `done` is the server's object for it after the upload.
 * @typedef {{ name: string, file?: File, link?: string, shown?: string, sent: number, done?: any, problem?: Error | null,
 *   request?: XMLHttpRequest, progress?: HTMLProgressElement, ended?: Promise<void> }} Attachment
 */

/**
 * Uploads the file of an attachment. Only `XMLHttpRequest` reports the progress.
 * @param {Attachment} attachment
 * @param {() => void} show
 * @param {string} [wanted] The kind that the file must be of.
 */
function upload(attachment, show, wanted) {
  const request = new XMLHttpRequest();
  const form = new FormData();
  if (attachment.file) form.append("file", attachment.file, attachment.name || "pasted");
  attachment.request = request;
  return /** @type {Promise<void>} */ (new Promise((resolve) => {
    /** @type {(problem: Error | null, done?: any) => void} */
    const end = (problem, done) => {
      // The server goes by the bytes.
      if (wanted && done && done.filetype !== wanted) problem = new Error(word("noPicture"));
      Object.assign(attachment, { problem, done });
      if (problem) announce(problem.message);
      else announce(word("uploaded", { name: attachment.name }));
      show();
      resolve();
    };
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      attachment.sent = total ? loaded / total : 0;
      if (attachment.progress) attachment.progress.value = attachment.sent;
    });
    request.addEventListener("load", () => {
      if (request.status !== 200) return end(errorOf(request.status, request.responseText));
      try {
        end(null, JSON.parse(request.responseText));
      } catch {
        end(new ApiError(request.status));
      }
    });
    request.addEventListener("error", () => end(new ApiError(0)));
    request.addEventListener("abort", () => resolve());
    request.open("POST", "/v1/files/upload");
    for (const [name, value] of Object.entries(apiKey())) request.setRequestHeader(name, value);
    request.send(form);
  }));
}

/** Whether the server wants a key for it. @param {Attachment} attachment */
const isRefused = ({ problem }) => problem instanceof ApiError && needsKey(problem);

/** The attachments of one form. */
export class Attachments {
  /** @type {Attachment[]} */
  all = [];

  /**
   * @param {object} elements
   * @param {HTMLElement} elements.zone Where files are dropped.
   * @param {HTMLElement} elements.list
   * @param {HTMLButtonElement} elements.button Opens the picker.
   * @param {HTMLInputElement} elements.picker
   * @param {HTMLTextAreaElement} elements.text Where files are pasted.
   * @param {() => void} [elements.changed] Called after each change.
   */
  constructor({ zone, list, button, picker, text, changed = () => {} }) {
    this.list = list;
    this.text = text;
    /** Whether only pictures are possible. */
    this.arePictures = false;
    this.changed = changed;
    /** @type {(event: DragEvent) => boolean} */
    const hasFiles = ({ dataTransfer }) => [...(dataTransfer?.types ?? [])].includes("Files");
    for (const name of /** @type {const} */ (["dragenter", "dragover"])) {
      zone.addEventListener(name, (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        zone.classList.add("dropping");
      });
    }
    zone.addEventListener("dragleave", ({ relatedTarget: to }) => {
      if (!(to instanceof Node && zone.contains(to))) zone.classList.remove("dropping");
    });
    zone.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      zone.classList.remove("dropping");
      this.add(event.dataTransfer?.files ?? []);
    });
    text.addEventListener("paste", (event) => {
      const files = event.clipboardData?.files ?? [];
      if (!files.length) return;
      event.preventDefault();
      this.add(files);
    });
    button.addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      this.add(picker.files ?? []);
      picker.value = "";
    });
    // What lacked the key is tried again with the new one.
    $("key").addEventListener("change", () => {
      for (const attachment of this.all) if (attachment.file && isRefused(attachment)) this.upload(attachment);
      this.show();
    });
    onLanguage(() => this.show());
  }

  show() {
    this.list.replaceChildren(...this.all.map((attachment) => this.line(attachment)));
    this.changed();
  }

  /** @param {Attachment} attachment */
  line(attachment) {
    const { name, file, shown, problem, done, link, sent } = attachment;
    const remove = () => {
      this.drop(attachment);
      this.text.focus();
    };
    const line = make("li");
    if (shown) line.append(make("img", { src: shown, alt: "" }));
    line.append(make("span", { className: "name", dir: "auto" }, name));
    if (file) line.append(make("span", { className: "hint" }, size(file.size)));
    if (problem) {
      line.append(make("span", { className: "bad", role: "alert" }, problem.message));
      if (isRefused(attachment)) line.append(textButton("giveKey", () => openSection("settings", $("key"))));
    } else if (done || link) {
      const ready = make("span", { className: "visually-hidden" }, word("ready"));
      line.append(make("span", { className: "good" }, icon("done"), ready));
    } else {
      const progress = make("progress", { max: 1, "aria-label": word("uploading", { name }) });
      progress.value = sent;
      attachment.progress = progress;
      line.append(progress);
    }
    line.append(iconButton("close", "remove", remove, { name }));
    return line;
  }

  /** @param {Iterable<File>} files */
  add(files) {
    for (const file of files) {
      /** @type {Attachment} */
      const attachment = { name: file.name, file, sent: 0 };
      this.all.push(attachment);
      if (this.arePictures && file.type && !file.type.startsWith("image/")) {
        attachment.problem = new Error(word("noPicture"));
        continue;
      }
      if (file.type.startsWith("image/")) attachment.shown = URL.createObjectURL(file);
      this.upload(attachment);
    }
    this.show();
  }

  /** @param {Attachment} attachment */
  upload(attachment) {
    attachment.problem = null;
    attachment.ended = upload(attachment, () => this.show(), this.arePictures ? "image" : undefined);
  }

  /** Adds a picture that needs no upload. */
  addLink(link, name) {
    this.addKnown([{ name, link, shown: link, sent: 1 }]);
  }

  /** Adds what is uploaded already. @param {Attachment[]} known */
  addKnown(known) {
    this.all.push(...known);
    this.show();
  }

  /**
   * @param {Attachment} attachment
   * @param {boolean} [isUsed] Its picture is shown elsewhere from now on.
   */
  drop(attachment, isUsed = false) {
    attachment.request?.abort();
    if (attachment.file && attachment.shown && !isUsed) URL.revokeObjectURL(attachment.shown);
    this.all.splice(this.all.indexOf(attachment), 1);
    this.show();
  }

  clear(areUsed = false) {
    for (const attachment of [...this.all]) this.drop(attachment, areUsed);
  }

  /** Waits for all uploads. Returns the attachments, or nothing if one cannot be used. */
  async ready() {
    await Promise.all(this.all.map(({ ended }) => ended));
    for (const attachment of this.all) {
      // One may have been attached for another purpose.
      if (this.arePictures && attachment.done && attachment.done.filetype !== "image") attachment.problem = new Error(word("noPicture"));
    }
    if (!this.all.some(({ problem }) => problem)) return [...this.all];
    this.show();
    return null;
  }
}
