// The models of the account.
import { json } from "./api.js";
import { $, make, notice, onLanguage, word } from "./page.js";

let list = [];
/** @type {Error | null} */
let problem = null;
/** @type {Promise<any[]> | null} */
let asked = null;
/** Called with a model that makes pictures or videos. @type {(model: any) => void} */
let onMaker = () => {};

const makes = ({ capabilities }) => capabilities.image_generation || capabilities.video_generation;

/** Returns the models; none if they cannot be listed. */
export async function models() {
  asked ??= json("/v1/models").then(({ data }) => data);
  return asked.catch(() => []);
}

function show() {
  notice($("models-problem"), problem && word("modelsFail", { why: problem.message }), "bad");
  const wanted = $("filter").value.trim().toLowerCase();
  const found = list.filter(({ id, name, capabilities }) =>
    [id, name, ...Object.keys(capabilities).filter((ability) => capabilities[ability])].join(" ").toLowerCase().includes(wanted),
  );
  $("model-list").replaceChildren(
    ...found.map((model) => {
      const { id, name, context_length: length, capabilities } = model;
      const use = make("button", { type: "button", "aria-label": `${word("use")} ${id}` }, word("use"));
      use.addEventListener("click", () => {
        if (makes(model)) return onMaker(model);
        $("model").value = id;
        $("model").dispatchEvent(new Event("input", { bubbles: true }));
        $("question").focus();
      });
      const abilities = Object.keys(capabilities).filter((ability) => capabilities[ability]);
      const tags = abilities.map((ability) => make("span", { className: "tag" }, word(`can_${ability}`).replace(/^can_/, "")));
      const window = length ? [make("span", { className: "hint" }, word("context", { tokens: length.toLocaleString() }))] : [];
      return make("li", {}, make("div", {}, make("code", {}, id), " ", name === id ? "" : name), make("div", { className: "tags" }, ...window, ...tags), use);
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
  await asked?.catch((error) => (problem = error));
  $("model-ids").replaceChildren(...list.map(({ id }) => make("option", { value: id })));
  show();
}
