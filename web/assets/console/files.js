// Attachments: files are chosen, dropped or pasted, and uploaded with a progress bar.
import { ApiError, apiKey, errorOf } from "./api.js";
import { $, announce, make, onLanguage, size, word } from "./page.js";

/** One file. `done` is the server's object for it after the upload. */
const attachments = [];

function show() {
  $("files").replaceChildren(
    ...attachments.map((attachment) => {
      const { file, problem, done, sent } = attachment;
      const remove = make("button", { type: "button", "aria-label": word("remove", { name: file.name }) }, "×");
      remove.addEventListener("click", () => drop(attachment));
      const line = make("li", {}, make("span", { className: "name" }, file.name), make("span", { className: "hint" }, size(file.size)));
      if (problem) line.append(make("span", { className: "bad", role: "alert" }, problem.message));
      else if (!done) {
        const progress = make("progress", { max: 1, "aria-label": word("uploading", { name: file.name }) });
        progress.value = sent;
        attachment.progress = progress;
        line.append(progress);
      } else line.append(make("span", { className: "good" }, "✓"));
      line.append(remove);
      return line;
    }),
  );
}

function drop(attachment) {
  attachment.request?.abort();
  attachments.splice(attachments.indexOf(attachment), 1);
  show();
  $("question").focus();
}

/** Uploads the file. Only `XMLHttpRequest` reports the progress. */
function upload(attachment) {
  const request = new XMLHttpRequest();
  const form = new FormData();
  form.append("file", attachment.file, attachment.file.name || "pasted");
  attachment.request = request;
  return /** @type {Promise<void>} */ (new Promise((resolve) => {
    const end = (problem, done) => {
      Object.assign(attachment, { problem, done });
      if (problem) announce(problem.message);
      else announce(word("uploaded", { name: attachment.file.name }));
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

function add(files) {
  for (const file of files) {
    const attachment = { file, sent: 0 };
    attachments.push(attachment);
    attachment.ended = upload(attachment);
  }
  show();
}

const PARTS = {
  image: ({ url, file_info }) => ({ type: "image_url", image_url: { url }, file_info }),
  video: ({ url, file_info }) => ({ type: "video_url", video_url: { url }, file_info }),
  audio: ({ url, file_info }) => ({ type: "audio_url", audio_url: { url }, file_info }),
  file: ({ id, file_info }) => ({ type: "file", file: { file_id: id }, file_info }),
};

/** Waits for all uploads. Returns the content parts and empties the list, or returns nothing if an upload failed. */
export async function take() {
  await Promise.all(attachments.map(({ ended }) => ended));
  if (attachments.some(({ problem }) => problem)) return null;
  const taken = attachments.splice(0);
  show();
  return taken.map(({ file, done }) => ({ name: file.name, part: (PARTS[done.filetype] ?? PARTS.file)(done) }));
}

export function startFiles() {
  const zone = $("chat");
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  for (const name of ["dragenter", "dragover"]) {
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
    add(event.dataTransfer?.files ?? []);
  });
  $("question").addEventListener("paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (!files.length) return;
    event.preventDefault();
    add(files);
  });
  $("attach").addEventListener("click", () => $("picker").click());
  $("picker").addEventListener("change", () => {
    add($("picker").files);
    $("picker").value = "";
  });
  onLanguage(show);
}
