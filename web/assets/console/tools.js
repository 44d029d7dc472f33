// Tools to try: what the person declares, the calls of an answer, and the results that the person types in.
import { keepInTab } from "./api.js";
import { $, make, notice, onLanguage, word } from "./page.js";
import { openSection } from "./panel.js";

const EXAMPLE = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

/** Returns the declared tools, `undefined` if there are none. If they cannot be read, says so and returns `null`. */
export function declaredTools() {
  const text = $("tools").value.trim();
  notice($("tools-problem"), "");
  if (!text) return undefined;
  try {
    const tools = JSON.parse(text);
    if (Array.isArray(tools) && tools.every((tool) => tool instanceof Object)) return tools.length ? tools : undefined;
  } catch {
    // The notice says what is needed.
  }
  notice($("tools-problem"), word("toolsWrong"), "bad");
  openSection("tools-panel", $("tools"));
  return null;
}

/** Calls as they are sent back. */
export const sentCalls = (calls) =>
  calls.map(({ id, type, name, input }) =>
    type === "custom" ? { id, type, custom: { name, input } } : { id, type, function: { name, arguments: input } },
  );

/** The calls of one answer. */
export class Calls {
  constructor() {
    this.list = [];
    this.element = make("div", { className: "calls" });
  }

  /** Takes what a delta says. */
  add(deltas) {
    for (const { index, id, type, function: called, custom } of deltas) {
      const call = (this.list[index] ??= { id: "", type: "function", name: "", input: "" });
      call.id = id ?? call.id;
      call.type = type ?? call.type;
      call.name = called?.name ?? custom?.name ?? call.name;
      call.input += called?.arguments ?? custom?.input ?? "";
    }
  }

  get names() {
    return this.list.map(({ name }) => name).join(", ");
  }

  /** Shows each call, folded. */
  show() {
    this.element.replaceChildren(
      ...this.list.map(({ name, input }) =>
        make(
          "details",
          { className: "call" },
          make("summary", {}, make("span", { data: { word: "calls" } }, word("calls")), " ", make("code", {}, name)),
          make("pre", { tabIndex: 0 }, make("code", {}, indented(input))),
        ),
      ),
    );
  }

  /** Returns a form for the results; `done` gets them as messages. */
  form(done) {
    const inputs = this.list.map(({ id, name }) => ({ id, name, input: make("textarea", { rows: 2, spellcheck: false }) }));
    const fields = inputs.map(({ name, input }) => {
      const text = make("span", { data: { word: "resultOf" } }, word("resultOf"));
      return make("label", {}, text, " ", make("code", {}, name), input);
    });
    const send = make("button", { type: "submit", className: "main", data: { word: "sendResults" } }, word("sendResults"));
    const form = make("form", { className: "results" }, ...fields, make("div", { className: "row" }, send));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      done(inputs.map(({ id, name, input }) => ({ name, message: { role: "tool", tool_call_id: id, content: input.value } })));
    });
    return form;
  }
}

function indented(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

export function startTools() {
  keepInTab($("tools"));
  $("tools").addEventListener("input", () => notice($("tools-problem"), ""));
  $("tools-example").addEventListener("click", () => {
    $("tools").value = JSON.stringify(EXAMPLE, null, 2);
    $("tools").dispatchEvent(new Event("input"));
    $("tools").focus();
    $("tools").setSelectionRange(0, 0);
    $("tools").scrollTop = 0;
  });
  // A message in the other language would stay.
  onLanguage(() => notice($("tools-problem"), ""));
}
