// The models of the account, and what each of them can do, in words.
import { json } from "./api.js";
import { $, make, notice, onLanguage, word } from "./page.js";
import { closeDrawer } from "./panel.js";

let list = [];
/** @type {Error | null} */
let problem = null;
/** @type {Promise<any[]> | null} */
let asked = null;
/** Called with a model that makes pictures or videos. @type {(model: any) => void} */
let onMaker = () => {};

export const makes = ({ capabilities }) => Boolean(capabilities.image_generation || capabilities.video_generation);

/** Returns the models; none if they cannot be listed. */
export async function models() {
  asked ??= json("/v1/models").then(({ data }) => data);
  return asked.catch((error) => {
    problem = error;
    return [];
  });
}

/** Why there is no list; empty if there is one. */
export const whyNone = () => (problem ? word("modelsFail", { why: problem.message }) : "");

/** What a person may want to know, the most telling first. The site has more names, also of what concerns its own page only. */
const ABILITIES = ["thinking", "vision", "video", "audio", "document", "search", "image_generation", "image_edit", "video_generation"];

/** What a model can do, in a few words: "thinks · sees pictures". */
export function abilities({ capabilities, context_length: length }) {
  const words = ABILITIES.filter((ability) => capabilities[ability]).map((ability) => word(`can_${ability}`));
  if (length) words.push(word("context", { tokens: length >= 1_000_000 ? `${Math.round(length / 100_000) / 10}M` : `${Math.round(length / 1000)}K` }));
  return words.join(" · ");
}

/** The models that fit a text: its words are all in the name or the abilities. */
export function fitting(models, text) {
  const wanted = text.trim().toLowerCase().split(/\s+/);
  return models.filter((model) => {
    const names = Object.keys(model.capabilities).filter((ability) => model.capabilities[ability]);
    const all = [model.id, model.name, abilities(model), ...names].join(" ").toLowerCase();
    return wanted.every((part) => all.includes(part));
  });
}

/** Shows the name of a model, and what it can do. */
export const describe = (model) => [
  make("span", { className: "model-name" }, make("code", {}, model.id), model.name && model.name !== model.id ? ` ${model.name}` : ""),
  make("span", { className: "hint abilities" }, abilities(model)),
];

/** Takes a model for what it is good for. */
export function use(model) {
  if (makes(model)) return onMaker(model);
  $("kind").value = "chat";
  $("kind").dispatchEvent(new Event("change"));
  $("model").value = model.id;
  $("model").dispatchEvent(new Event("input", { bubbles: true }));
}

function show() {
  notice($("models-problem"), whyNone(), "bad");
  const found = fitting(list, $("filter").value);
  $("model-list").replaceChildren(
    ...found.map((model) => {
      const button = make("button", { type: "button", "aria-label": `${word("use")}: ${model.id}` }, word("use"));
      button.addEventListener("click", () => {
        closeDrawer();
        use(model);
        $("question").focus();
      });
      return make("li", {}, make("div", { className: "grow" }, ...describe(model)), button);
    }),
  );
  if (list.length && !found.length) $("model-list").append(make("li", { className: "hint" }, word("noneFits")));
}

/** @param {(model: any) => void} maker */
export async function startModels(maker) {
  onMaker = maker;
  $("filter").addEventListener("input", show);
  onLanguage(show);
  list = await models();
  show();
}
