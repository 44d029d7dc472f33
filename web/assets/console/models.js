// The models of the account.
import { json } from "./api.js";
import { $, make, notice, onLanguage, word } from "./page.js";

let models = [];
/** @type {Error | null} */
let problem = null;

function show() {
  notice($("models-problem"), problem && word("modelsFail", { why: problem.message }), "bad");
  const wanted = $("filter").value.trim().toLowerCase();
  const found = models.filter(({ id, name, capabilities }) =>
    [id, name, ...Object.keys(capabilities).filter((ability) => capabilities[ability])].join(" ").toLowerCase().includes(wanted),
  );
  $("model-list").replaceChildren(
    ...found.map(({ id, name, context_length: length, capabilities }) => {
      const use = make("button", { type: "button", "aria-label": `${word("use")} ${id}` }, word("use"));
      use.addEventListener("click", () => {
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
  if (models.length && !found.length) $("model-list").append(make("li", { className: "hint" }, word("noneFits")));
}

export async function startModels() {
  $("filter").addEventListener("input", show);
  onLanguage(show);
  try {
    models = (await json("/v1/models")).data;
  } catch (error) {
    problem = /** @type {Error} */ (error);
  }
  $("model-ids").replaceChildren(...models.map(({ id }) => make("option", { value: id })));
  show();
}
