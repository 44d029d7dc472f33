// Coding agents that write a file through the server, for scripts/clients. The fake site plays the model: an answer with a call of
// the agent's own tool, in the form that the server teaches or native, then a sentence.
//
// The environment names the server (BASE_URL, API_KEY), the fake site behind it (SITE_URL) and a folder for everything (FOLDER).
// Prints `ok` or `FAILED` an agent and a form of the call, and exits with 1 if one failed.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { call, clean, directive, entry, native, siteChats } from "./fake_site.mjs";

const { BASE_URL, API_KEY, FOLDER } = process.env;
const CONTENT = 'Hello from "the edge" 🙂\n';
const END = "The file is written.";
const TIME_LIMIT = 180_000;

const model = { id: "qwen3-max", name: "Q" };
const agents = {
  pi: {
    program: "pi",
    arguments: (prompt) => ["--provider", "edge", "--model", model.id, "--no-session", "-p", prompt],
    environment: (home) => ({ PI_CODING_AGENT_DIR: home, EDGE_KEY: API_KEY }),
    prepare({ home }) {
      const limits = { contextWindow: 256_000, maxTokens: 32_000, cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 } };
      const models = [{ ...model, reasoning: true, input: ["text"], ...limits }];
      const edge = { baseUrl: BASE_URL, api: "openai-completions", apiKey: "EDGE_KEY", models };
      writeFileSync(path.join(home, "models.json"), JSON.stringify({ providers: { edge } }));
    },
    tool: "write",
    input: (file) => ({ path: file, content: CONTENT }),
  },

  opencode: {
    program: "opencode",
    arguments: (prompt) => ["run", "--model", `edge/${model.id}`, prompt],
    environment: (home) => ({
      OPENCODE_DISABLE_MODELS_FETCH: "1",
      ...Object.fromEntries(["CONFIG", "DATA", "CACHE", "STATE"].map((kind) => [`XDG_${kind}_HOME`, path.join(home, kind)])),
    }),
    prepare({ work }) {
      const options = { baseURL: BASE_URL, apiKey: API_KEY };
      const models = { [model.id]: { name: model.name, limit: { context: 256_000, output: 32_000 } } };
      const provider = { edge: { npm: "@ai-sdk/openai-compatible", options, models } };
      const name = `edge/${model.id}`;
      const settings = { model: name, small_model: name, autoupdate: false, share: "disabled", permission: "allow", provider };
      writeFileSync(path.join(work, "opencode.json"), JSON.stringify(settings));
    },
    tool: "write",
    input: (file) => ({ filePath: file, content: CONTENT }),
  },

  "qwen-code": {
    program: "qwen",
    arguments: (prompt) => ["--auth-type", "openai", "-y", "-p", prompt],
    environment: () => ({ OPENAI_API_KEY: API_KEY, OPENAI_BASE_URL: BASE_URL, OPENAI_MODEL: model.id }),
    prepare() {},
    tool: "write_file",
    input: (file) => ({ file_path: file, content: CONTENT }),
  },
};

/** Runs a program without input; returns its exit code and all that it prints. */
function output(program, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"], timeout: TIME_LIMIT });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (part) => (text += part));
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code: code ?? signal, text }));
  });
}

async function attempt(agent, form) {
  const [home, work] = ["home", "work"].map((name) => path.join(FOLDER, randomUUID(), name));
  for (const folder of [home, work]) mkdirSync(folder, { recursive: true });
  execFileSync("git", ["init", "--quiet", work]);
  agent.prepare({ home, work });
  const file = path.join(work, "hello.txt");
  const input = agent.input(file);
  const first = form === "native" ? native([agent.tool, input]) : `I write it.\n${call(agent.tool, input)}`;
  // The model can only call what it was told of. Side calls, which have no tools, get another answer.
  await directive(entry(agent.tool), [first, END], { piece: 7 });

  const word = `task-${randomUUID()}`;
  const prompt = `Write the file hello.txt (${word}).`;
  // Nothing else of this process: neither the settings of the server nor those of whoever runs this.
  const environment = { PATH: process.env.PATH, HOME: home, ...agent.environment(home) };
  const { code, text } = await output(agent.program, agent.arguments(prompt), { cwd: work, env: environment });
  const told = `exit code ${code}, output: ${text}`;
  assert.equal(code, 0, told);
  assert.equal(readFileSync(file, "utf8"), CONTENT, told);
  assert(text.includes(END), told);
  clean(text);

  const chats = await siteChats(word);
  const tasks = chats.filter(({ messages }) => messages.some((message) => message.text.includes("<tools>")));
  assert.equal(tasks.length, 1, "chats of the task");
  const asked = tasks[0].messages.filter(({ role }) => role === "user").map((message) => message.text);
  assert.equal(asked.length, 2, `turns: ${asked.map((turn) => turn.slice(-500)).join("\n---\n")}`);
  assert(asked[0].includes(entry(agent.tool)) && asked[0].includes(prompt), asked[0]);
  assert(asked[1].includes(`[TOOL RESULT #1: ${agent.tool}]\n`), asked[1]);
  assert(!asked[1].includes(`Tool ${agent.tool} does not exist`), asked[1]);
  // Behind a native call the site has its refusal: the turn forks from the one before, and says everything again.
  if (form !== "native") assert(!asked[1].includes("<tools>") && !asked[1].includes(prompt), asked[1]);
  return `${chats.length - 1} side calls, prompts of ${asked.map((turn) => turn.length).join(" and ")} characters`;
}

const wanted = process.argv.slice(2);
for (const name of wanted) assert(agents[name], `the agents are ${Object.keys(agents).join(", ")}`);
for (const [name, agent] of Object.entries(agents)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  for (const form of ["taught", "native"]) {
    try {
      console.log(`ok ${name}, ${form} call: ${await attempt(agent, form)}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAILED ${name}, ${form} call: ${error.message}`);
    }
  }
}
