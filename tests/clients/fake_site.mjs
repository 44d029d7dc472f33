// Shared by the cases with tools and structured output: talks with the fake site, what reached it, and checks.
//
// The environment names the server (BASE_URL, API_KEY) and the fake site behind it (SITE_URL). The fake plays the model: each talk
// has answers, one a turn, which stand at the site under the talk's unique word. What the model was asked is read from the site.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";

const { SITE_URL } = process.env;
// Parts of the prompts and of the site's refusals; no client may see them.
const MARKERS = ["TOOL CALL", "TOOL RESULT", "<tool_call", "<tools>", "<function=", "does not exist"];

// What the structured cases ask for, and an answer of the site.
export const EVENT = { name: 'The "Fair" of Köln', day: 7, guests: ["Ann", "Bob"], kind: "public" };
export const FENCED = `Here you are:\n\`\`\`json\n${JSON.stringify(EVENT, null, 2)}\n\`\`\`\nAnything else?`;
// Of the wrong type, and without required fields.
export const UNFIT = '{"name": "Fair", "day": "Sunday"}';
export const Event = z.object({
  name: z.string(),
  day: z.number().int(),
  guests: z.array(z.string()),
  kind: z.enum(["public", "private"]),
});

/** A call in the form that the server teaches. */
export const call = (name, input) => `[TOOL CALL]\n${JSON.stringify({ name, arguments: input })}\n[END TOOL CALL]`;

/** A step of native calls, which the site refuses. */
export function native(...calls) {
  const words = calls.map(([name, input]) => `call=${name} args=${encodeURIComponent(JSON.stringify(input))}`);
  return `[[fake ${words.join(" ")}]]`;
}

/** How the site is told of a result. */
export const result = (number, name, text) => `[TOOL RESULT #${number}: ${name}]\n${text}\n[END TOOL RESULT]`;

/** How an entry of the catalogue begins. */
export const entry = (name) => `{"type":"function","function":{"name":"${name}"`;

/** The texts of a turn in which the server itself asks once more: it replaces the one before, and has all of its text. */
export class Again extends Array {}

/** Sets the answers to a chat whose first prompt contains the marker. */
export async function directive(marker, answers, { piece = 5, id = "" } = {}) {
  const steps = `steps=${answers.map(encodeURIComponent).join("|")} piece=${piece}`;
  // With an id all chats count their steps together.
  const body = JSON.stringify({ marker, directive: id ? `${steps} id=${id}` : steps });
  const headers = { "content-type": "application/json" };
  const reply = await fetch(`${SITE_URL}/fake/directive`, { method: "POST", headers, body });
  assert.equal(reply.status, 200);
}

/** The chats with a word, each with its messages: `parent`, `role`, `text`. */
export const siteChats = async (word) =>
  (await fetch(`${SITE_URL}/fake/chats?${new URLSearchParams({ word })}`)).json();

/** A conversation whose answers are known. */
export class Talk {
  word = `talk-${randomUUID()}`;
  prompt = `${this.word}: what now?`;
  messages = [{ role: /** @type {const} */ ("user"), content: this.prompt }];

  static async of(answers, options = {}) {
    const talk = new Talk();
    await directive(talk.word, answers, options);
    return talk;
  }

  /** What the model was asked, turn by turn: the message before, and the text. There is one chat with so many turns. */
  async turns(count) {
    let asked = [];
    // The last answer may be recorded after the client has it.
    for (let attempt = 0; attempt < 100; attempt++) {
      asked = (await siteChats(this.word)).map(({ messages }) => messages.filter(({ role }) => role === "user"));
      if (asked.length === 1 && asked[0].length >= count) break;
      await sleep(50);
    }
    assert.deepEqual(asked.map((messages) => messages.length), [count], "turns of each chat");
    return asked[0];
  }

  /** Checks what reached the site: one chat, these texts in each turn, and in later turns nothing but their news. */
  async reached(...turns) {
    let before = { parent: null, text: "" };
    for (const [index, { parent, text }] of (await this.turns(turns.length)).entries()) {
      for (const part of turns[index]) assert(text.includes(part), `turn ${index + 1} lacks ${part}: ${text}`);
      if (turns[index] instanceof Again) {
        assert(parent === before.parent && text.startsWith(before.text), `turn ${index + 1} is no other: ${text}`);
      } else if (index > 0) {
        for (const part of [this.word, "<tools>"]) assert(!text.includes(part), `turn ${index + 1} repeats ${part}: ${text}`);
      }
      before = { parent, text };
    }
  }
}

/** Checks that nothing that a client shows holds a marker. */
export function clean(...shown) {
  const text = JSON.stringify(shown);
  const found = MARKERS.filter((marker) => text.includes(marker));
  assert.deepEqual(found, [], `markers in ${text}`);
}

export async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

/** Runs the cases named on the command line, or all, at the same time. */
export async function run(cases) {
  const wanted = process.argv.slice(2);
  const attempt = async ([name, work]) => {
    try {
      await work();
      console.log(`ok ${name}`);
    } catch (error) {
      process.exitCode = 1;
      const place = error.stack?.split("\n").find((line) => line.includes("/tests/clients/tools_")) ?? "";
      console.log(`FAILED ${name}: ${`${error} ${place}`.replace(/\s+/g, " ")}`);
    }
  };
  await Promise.all(Object.entries(cases).filter(([name]) => wanted.length === 0 || wanted.includes(name)).map(attempt));
}
