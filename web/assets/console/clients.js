// Ready-made settings for clients.
import { $, copyButton, make, onLanguage, word } from "./page.js";

const base = `${location.origin}/v1`;

const CLIENTS = [
  {
    name: "Cherry Studio",
    where: "whereCherry",
    text: ({ key, model }) => `${word("provider")}: OpenAI\nAPI Host: ${location.origin}\nAPI Key: ${key}\n${word("model")}: ${model}`,
  },
  {
    name: "Open WebUI",
    where: "whereOpenWebUi",
    text: ({ key }) => `OPENAI_API_BASE_URL=${base}\nOPENAI_API_KEY=${key}\nENABLE_FORWARD_USER_INFO_HEADERS=true`,
  },
  {
    name: "Cline",
    where: "whereCline",
    text: ({ key, model }) => `API Provider: OpenAI Compatible\nBase URL: ${base}\nOpenAI Compatible API Key: ${key}\nModel ID: ${model}`,
  },
  {
    name: "Claude Code",
    where: "whereClaudeCode",
    text: ({ key, model }) => `export ANTHROPIC_BASE_URL=${location.origin}
export ANTHROPIC_AUTH_TOKEN=${key}
export ANTHROPIC_MODEL=${model}
export ANTHROPIC_DEFAULT_HAIKU_MODEL=${model}
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1`,
  },
  {
    name: "Codex",
    where: "whereCodex",
    text: ({ model }) => `model = "${model}"
model_provider = "edge"

[model_providers.edge]
name = "edge"
base_url = "${base}"
env_key = "EDGE_KEY"
wire_api = "responses"`,
  },
  {
    name: "opencode",
    where: "whereOpencode",
    text: ({ key, model }) =>
      JSON.stringify(
        {
          model: `edge/${model}`,
          provider: {
            edge: {
              npm: "@ai-sdk/openai-compatible",
              options: { baseURL: base, apiKey: key },
              models: { [model]: { name: model } },
            },
          },
        },
        null,
        2,
      ),
  },
  {
    name: "Qwen Code",
    where: "whereQwenCode",
    text: ({ key, model }) =>
      `export OPENAI_BASE_URL=${base}\nexport OPENAI_API_KEY=${key}\nexport OPENAI_MODEL=${model}\nqwen --auth-type openai`,
  },
  {
    name: "n8n",
    where: "whereN8n",
    text: ({ key, model }) => `API Key: ${key}\nBase URL: ${base}\n${word("model")}: ${model}`,
  },
  {
    name: "openai-python",
    where: "wherePython",
    text: ({ key, model }) => `from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="${key}")

stream = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Why is the sky blue?"}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)`,
  },
  {
    name: "openai-node",
    where: "whereNode",
    text: ({ key, model }) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}", apiKey: "${key}" });

const stream = await client.chat.completions.create({
  model: "${model}",
  messages: [{ role: "user", content: "Why is the sky blue?" }],
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
}`,
  },
  {
    name: "curl",
    where: "whereCurl",
    text: ({ key, model }) => `curl -N ${base}/chat/completions \\
  -H 'Authorization: Bearer ${key}' \\
  -H 'Content-Type: application/json' \\
  -d '{"model": "${model}", "stream": true, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}'`,
  },
];

function show() {
  const key = ($("with-key").checked && $("key").value.trim()) || "sk-…";
  const model = $("model").value.trim() || "qwen3-max";
  const open = new Set([...document.querySelectorAll("#client-list details[open]")].map(({ id }) => id));
  $("client-list").replaceChildren(
    ...CLIENTS.map(({ name, where, text }) => {
      const id = `client-${name.replaceAll(/\W/g, "-").toLowerCase()}`;
      const code = make("code", {}, text({ key, model }));
      return make(
        "details",
        { id, open: open.has(id) },
        make("summary", {}, name),
        make("p", { className: "hint" }, word(where)),
        make("pre", { tabIndex: 0 }, code),
        copyButton(() => code.textContent, () => code),
      );
    }),
  );
}

export function startClients() {
  for (const input of [$("with-key"), $("key"), $("model")]) input.addEventListener("input", show);
  onLanguage(show);
}
