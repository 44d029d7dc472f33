// The choice of the model: a field with a list that is filtered while the person types, by the pattern "combobox" of ARIA.
import { describe, fitting, makes, models, use, whyNone } from "./models.js";
import { $, announce, make, word } from "./page.js";

let list = [];
/** What the list shows. @type {{ element: HTMLElement, choose(): void }[]} */
let options = [];
let active = -1;
/** The value that Escape brings back. */
let before = "";

const isOpen = () => !$("model-popup").hidden;

function mark(at) {
  options[active]?.element.removeAttribute("data-active");
  active = at;
  const option = options[active]?.element;
  if (option) {
    option.dataset.active = "true";
    option.scrollIntoView({ block: "nearest" });
    $("model").setAttribute("aria-activedescendant", option.id);
  } else $("model").removeAttribute("aria-activedescendant");
}

function option(isSelected, content, choose) {
  const element = make("li", { role: "option", id: `model-option-${options.length}`, "aria-selected": String(isSelected) }, ...content);
  // The field keeps the focus.
  element.addEventListener("mousedown", (event) => event.preventDefault());
  element.addEventListener("click", () => {
    choose();
    close();
  });
  options.push({ element, choose });
}

/** @param {string} text What is searched for. */
function show(text) {
  const value = $("model").value.trim();
  options = [];
  mark(-1);
  const found = fitting(list, text);
  for (const model of found) {
    option(model.id === value, describe(model), () => {
      // What draws does not answer: the field keeps its model.
      if (makes(model)) set(before);
      use(model);
    });
  }
  // Names with suffixes, aliases and those of a second upstream are in no list.
  if (text.trim() && !list.some(({ id }) => id === text.trim())) {
    const note = word(text.trim().startsWith("api:") ? "typedSecond" : "typed");
    option(false, [make("code", {}, text.trim()), make("span", { className: "hint" }, note)], () => set(text.trim()));
  }
  $("model-options").replaceChildren(...options.map(({ element }) => element));
  const why = whyNone() && `${whyNone()} ${word("typeName")}`;
  $("model-note").textContent = why || (options.length ? "" : word("typeName"));
  $("model-note").hidden = !$("model-note").textContent;
  if (text) announce(word("modelsFound", { count: found.length }));
}

function set(name) {
  $("model").value = name;
  $("model").dispatchEvent(new Event("input", { bubbles: true }));
}

function open(text = "") {
  if (!isOpen()) before = $("model").value;
  show(text);
  $("model-popup").hidden = false;
  $("model").setAttribute("aria-expanded", "true");
  if (text) return;
  // What is typed next is a search.
  $("model").select();
  mark(options.findIndex(({ element }) => element.getAttribute("aria-selected") === "true"));
}

function close() {
  $("model-popup").hidden = true;
  $("model").setAttribute("aria-expanded", "false");
  mark(-1);
  if (!$("model").value.trim()) set(before);
}

const KEYS = {
  ArrowDown: () => (isOpen() ? mark(active + 1 < options.length ? active + 1 : 0) : open()),
  ArrowUp: () => (isOpen() ? mark(active > 0 ? active - 1 : options.length - 1) : open()),
  Home: () => isOpen() && mark(0),
  End: () => isOpen() && mark(options.length - 1),
  Enter: () => {
    if (!isOpen()) return open();
    options[active]?.choose();
    close();
  },
  Escape: () => {
    if (isOpen()) set(before);
    close();
  },
};

export async function startPicker() {
  const field = $("model");
  field.addEventListener("input", (event) => {
    // A change by the page is no search.
    if (event instanceof InputEvent) open(field.value);
  });
  field.addEventListener("click", () => isOpen() || open());
  field.addEventListener("focus", () => field.select());
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const work = KEYS[event.key];
    if (!work || event.isComposing) return;
    if (["Home", "End"].includes(event.key) && !isOpen()) return;
    if (event.key === "Escape" && !isOpen()) return;
    event.preventDefault();
    event.stopPropagation();
    work();
  });
  $("model-open").addEventListener("mousedown", (event) => event.preventDefault());
  $("model-open").addEventListener("click", () => {
    field.focus();
    if (isOpen()) close();
    else open();
  });
  list = await models();
  list = [...list.filter((model) => !makes(model)), ...list.filter(makes)];
}
