// Coding agents that write a file through the server, for scripts/clients: pi and opencode in each of the three dialects, Qwen Code,
// Cline and Continue with chat completions, Codex with Responses, Claude Code with Messages. The fake site plays the model: an answer
// with a call of the agent's own tool, then a sentence.
//
// The environment names the server (ORIGIN, API_KEY), another one whose session the site refuses (ENDED_ORIGIN), one that nothing
// else uses (CHALLENGED_ORIGIN), the fake site behind all (SITE_URL) and a folder for everything (FOLDER).
// With arguments: only these agents; `pi` and `opencode` stand for their dialects too.
// Prints `ok` or `FAILED` an agent and a variant, and exits with 1 if one failed.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { call, clean, directive, entry, native, siteChats } from "./fake_site.mjs";

const { ORIGIN, ENDED_ORIGIN, CHALLENGED_ORIGIN, API_KEY, FOLDER } = process.env;
const CONTENT = 'Hello from "the edge" 🙂\n';
const END = "The file is written.";
const PIECE = 7;
const TIME_LIMIT = 180_000;

// 429 with `Retry-After: 7`.
const TOO_MANY = "[[fake fail=recorded name=http_429_with_a_wait]]";
const THOUGHT = "A tool can write it.";

const model = { id: "qwen3-max", name: "Q" };

/** pi with one of its APIs. */
function pi(api, base = "/v1") {
  return {
    program: "pi",
    arguments: (prompt) => ["--provider", "edge", "--model", model.id, "--no-session", "-p", prompt],
    environment: (home) => ({ PI_CODING_AGENT_DIR: home, EDGE_KEY: API_KEY }),
    prepare({ home, origin }) {
      const limits = { contextWindow: 256_000, maxTokens: 32_000, cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 } };
      const models = [{ ...model, reasoning: true, input: ["text"], ...limits }];
      const edge = { baseUrl: origin + base, api, apiKey: "EDGE_KEY", models };
      writeFileSync(path.join(home, "models.json"), JSON.stringify({ providers: { edge } }));
    },
    tool: "write",
    input: (file) => ({ path: file, content: CONTENT }),
  };
}

/** opencode with a provider of the AI SDK; it has them on board. */
function opencode(npm) {
  return {
    program: "opencode",
    arguments: (prompt) => ["run", "--model", `edge/${model.id}`, prompt],
    environment: (home) => ({
      OPENCODE_DISABLE_MODELS_FETCH: "1",
      ...Object.fromEntries(["CONFIG", "DATA", "CACHE", "STATE"].map((kind) => [`XDG_${kind}_HOME`, path.join(home, kind)])),
    }),
    prepare({ work, origin }) {
      const options = { baseURL: `${origin}/v1`, apiKey: API_KEY };
      const models = { [model.id]: { name: model.name, limit: { context: 256_000, output: 32_000 } } };
      const provider = { edge: { npm, options, models } };
      const name = `edge/${model.id}`;
      const settings = { model: name, small_model: name, autoupdate: false, share: "disabled", permission: "allow", provider };
      writeFileSync(path.join(work, "opencode.json"), JSON.stringify(settings));
    },
    tool: "write",
    input: (file) => ({ filePath: file, content: CONTENT }),
  };
}

// `thoughts`: it prints what the model thinks.
const agents = {
  pi: pi("openai-completions"),
  "pi-responses": pi("openai-responses"),
  "pi-messages": pi("anthropic-messages", ""),

  opencode: opencode("@ai-sdk/openai-compatible"),
  "opencode-responses": opencode("@ai-sdk/openai"),
  "opencode-messages": opencode("@ai-sdk/anthropic"),

  "qwen-code": {
    program: "qwen",
    arguments: (prompt) => ["--auth-type", "openai", "-y", "-p", prompt],
    environment: (home, origin) => ({ OPENAI_API_KEY: API_KEY, OPENAI_BASE_URL: `${origin}/v1`, OPENAI_MODEL: model.id }),
    prepare() {},
    tool: "write_file",
    input: (file) => ({ file_path: file, content: CONTENT }),
  },

  cline: {
    program: "cline",
    arguments: (prompt, home) =>
      ["--data-dir", home, "--json", "--auto-approve", "true", "-P", "openai-compatible", "-m", model.id, "-k", API_KEY, prompt],
    environment: () => ({}),
    prepare({ home, origin }) {
      const settings = ["openai-compatible", "-k", API_KEY, "-m", model.id, "-b", `${origin}/v1`, "--data-dir", home];
      execFileSync("cline", ["auth", ...settings], { env: { PATH: process.env.PATH, HOME: home }, stdio: "ignore" });
    },
    tool: "editor",
    input: (file) => ({ path: file, new_text: CONTENT }),
    thoughts: true,
  },

  continue: {
    program: "cn",
    arguments: (prompt, home) => ["-p", "--auto", "--config", path.join(home, "edge.json"), prompt],
    environment: (home) => ({ CONTINUE_GLOBAL_DIR: home }),
    prepare({ home, origin }) {
      const edge = { provider: "openai", model: model.id, apiBase: `${origin}/v1`, apiKey: API_KEY, capabilities: ["tool_use"] };
      const settings = { name: "edge", version: "0.0.1", schema: "v1", models: [{ name: model.name, roles: ["chat"], ...edge }] };
      // Every JSON text is YAML.
      writeFileSync(path.join(home, "edge.json"), JSON.stringify(settings));
    },
    tool: "Write",
    input: (file) => ({ filepath: file, content: CONTENT }),
  },

  codex: {
    program: "codex",
    arguments: (prompt) => ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json", prompt],
    environment: (home) => ({ CODEX_HOME: home, EDGE_KEY: API_KEY }),
    prepare({ home, origin }) {
      const settings = `model = "${model.id}"
model_provider = "edge"
[model_providers.edge]
name = "edge"
base_url = "${origin}/v1"
env_key = "EDGE_KEY"
wire_api = "responses"
# Else it waits for the end of a captcha cooldown, five times.
${origin === CHALLENGED_ORIGIN ? "stream_max_retries = 0" : ""}
`;
      writeFileSync(path.join(home, "config.toml"), settings);
    },
    tool: "exec_command",
    // For a model that it does not know it has no tool of its own for files.
    input: (file) => ({ cmd: `printf %s '${CONTENT}' > '${file}'` }),
    thoughts: true,
  },

  "claude-code": {
    program: "claude",
    arguments: (prompt) =>
      ["-p", prompt, "--output-format", "stream-json", "--verbose", "--permission-mode", "bypassPermissions"],
    environment: (home, origin) => ({
      ANTHROPIC_BASE_URL: origin,
      ANTHROPIC_AUTH_TOKEN: API_KEY,
      ANTHROPIC_MODEL: model.id,
      ANTHROPIC_DEFAULT_HAIKU_MODEL: model.id,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      CLAUDE_CONFIG_DIR: home,
      DISABLE_AUTOUPDATER: "1",
      // Root may not pass over its questions without it.
      IS_SANDBOX: "1",
    }),
    prepare() {},
    tool: "Write",
    input: (file) => ({ file_path: file, content: CONTENT }),
    thoughts: true,
  },
};

/** The first answers of the site, by variant: what calls the tool with each input. */
const variants = {
  taught: (tool, [input]) => `I write it.\n${call(tool, input)}`,
  // The server says each second that it is still there; the first status comes before the site's.
  slow: (tool, [input]) => `[[fake first_ms=2500 gap_ms=2500 say=${encodeURIComponent(call(tool, input))}]]`,
  limited: (tool, [input]) => `I write it.\n${call(tool, input)}`,
  native: (tool, [input]) => native([tool, input]),
  thinking: (tool, [input]) => `[[fake think=${encodeURIComponent(THOUGHT)} say=${encodeURIComponent(call(tool, input))}]]`,
  two: (tool, inputs) => `I write both.\n${inputs.map((input) => call(tool, input)).join("\n")}`,
  "two native": (tool, inputs) => native(...inputs.map((input) => [tool, input])),
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

/** Prepares a task at a server. Returns its folder, its word, its prompt, and how to run it. */
function task(agent, origin) {
  const [home, work] = ["home", "work"].map((name) => path.join(FOLDER, randomUUID(), name));
  for (const folder of [home, work]) mkdirSync(folder, { recursive: true });
  execFileSync("git", ["init", "--quiet", work]);
  agent.prepare({ home, work, origin });
  const word = `task-${randomUUID()}`;
  const prompt = `Write the file hello.txt (${word}).`;
  // Nothing else of this process: neither the settings of the server nor those of whoever runs this.
  const environment = { PATH: process.env.PATH, HOME: home, ...agent.environment(home, origin) };
  const run = () => output(agent.program, agent.arguments(prompt, home), { cwd: work, env: environment });
  return { work, word, prompt, run };
}

async function attempt(agent, variant) {
  const { work, word, prompt, run } = task(agent, ORIGIN);
  const names = variant.startsWith("two") ? ["hello.txt", "again.txt"] : ["hello.txt"];
  const files = names.map((name) => path.join(work, name));
  const first = variants[variant](agent.tool, files.map(agent.input));
  // The model can only call what it was told of. Side calls, which have no tools, get another answer.
  const answers = { piece: PIECE };
  if (variant === "limited") {
    // The agent sends the refused request again, and that begins another chat.
    await directive(entry(agent.tool), [TOO_MANY, first, END], { ...answers, id: randomUUID() });
  } else {
    await directive(entry(agent.tool), [first, END], answers);
  }

  const { code, text } = await run();
  const told = `exit code ${code}, output: ${text}`;
  assert.equal(code, 0, told);
  for (const file of files) assert(existsSync(file) && readFileSync(file, "utf8") === CONTENT, `${file}: ${told}`);
  assert(text.includes(END), told);
  // Titles part the thoughts between pieces.
  if (agent.thoughts && variant === "thinking") assert(text.includes(THOUGHT.slice(0, PIECE)), told);
  clean(text);

  const chats = await siteChats(word);
  const tasks = chats.filter(({ messages }) => messages.some((message) => message.text.includes("<tools>")));
  assert.equal(tasks.length, 1, "chats of the task");
  const asked = tasks[0].messages.filter(({ role }) => role === "user").map((message) => message.text);
  assert.equal(asked.length, 2, `turns: ${asked.map((turn) => turn.slice(-500)).join("\n---\n")}`);
  assert(asked[0].includes(entry(agent.tool)) && asked[0].includes(prompt), asked[0]);
  for (const number of files.keys()) assert(asked[1].includes(`[TOOL RESULT #${number + 1}: ${agent.tool}]\n`), asked[1]);
  assert(!asked[1].includes(`Tool ${agent.tool} does not exist`), asked[1]);
  // Behind a native call the site has its refusal: the turn forks from the one before, and says everything again.
  if (!variant.endsWith("native")) assert(!asked[1].includes("<tools>") && !asked[1].includes(prompt), asked[1]);
  return `${chats.length - 1} side calls, prompts of ${asked.map((turn) => turn.length).join(" and ")} characters`;
}

/** An error in the middle of the first answer: the agent tries again, or tells of it. */
async function amid(agent) {
  const { work, run } = task(agent, ORIGIN);
  const file = path.join(work, "hello.txt");
  const error = "[[fake say=I%20begin%20with%20the%20file. fail=error_amid]]";
  // The agent may try again in another chat.
  const answers = [error, `I write it.\n${call(agent.tool, agent.input(file))}`, END];
  await directive(entry(agent.tool), answers, { piece: PIECE, id: randomUUID() });
  const { code, text } = await run();
  const told = `exit code ${code}, output: ${text}`;
  clean(text);
  if (existsSync(file)) {
    assert(code === 0 && readFileSync(file, "utf8") === CONTENT && text.includes(END), told);
    return "tried again";
  }
  assert(text.includes("reports a fault of its own"), told);
  return `told of it, exit code ${code}`;
}

/** How many requests a server has sent to the site, by its metrics. */
async function requests(origin) {
  const reply = await fetch(`${origin}/metrics`, { headers: { authorization: `Bearer ${API_KEY}` } });
  const lines = (await reply.text()).split("\n").filter((line) => line.startsWith("qwen_edge_upstream_seconds_count"));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
}

/** The session has ended: the agent tells what to do, and the site is not asked, however often the agent asks. */
async function ended(agent) {
  const { run } = task(agent, ENDED_ORIGIN);
  const before = await requests(ENDED_ORIGIN);
  const { text } = await run();
  assert(text.includes("The Qwen session has ended"), text);
  const asked = (await requests(ENDED_ORIGIN)) - before;
  // One each half minute, as the site may have been wrong.
  assert(asked <= 1, `${asked} requests to the site`);
  return `${asked} requests to the site`;
}

/** The site asks for a human check: the agent says so, and the site is not asked again. */
async function challenged(agent) {
  const { word, run } = task(agent, CHALLENGED_ORIGIN);
  await directive(word, ["[[fake fail=recorded name=waf_json]]"], { id: randomUUID() });
  const before = await requests(CHALLENGED_ORIGIN);
  const { text } = await run();
  assert(text.includes("human check"), text);
  const asked = (await requests(CHALLENGED_ORIGIN)) - before;
  // The first agent makes a chat and asks in it; the captcha cooldown is for all of them.
  assert(asked <= 2, `${asked} requests to the site`);
  return `${asked} requests to the site`;
}

const wanted = process.argv.slice(2);
for (const name of wanted) assert(agents[name], `the agents are ${Object.keys(agents).join(", ")}`);
for (const [name, agent] of Object.entries(agents)) {
  if (wanted.length > 0 && !wanted.some((chosen) => name === chosen || name.startsWith(`${chosen}-`))) continue;
  const cases = Object.fromEntries(Object.keys(variants).map((variant) => [variant, () => attempt(agent, variant)]));
  cases["error amid"] = () => amid(agent);
  cases["ended session"] = () => ended(agent);
  cases["human check"] = () => challenged(agent);
  for (const [variant, run] of Object.entries(cases)) {
    const start = Date.now();
    try {
      const told = await run();
      console.log(`ok ${name}, ${variant}: ${told}, ${((Date.now() - start) / 1000).toFixed(1)} s`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAILED ${name}, ${variant}: ${error.message}`);
    }
  }
}
