// The translation of a streamed answer as a Worker in plain JavaScript: the reference of `scripts/bench edge`.
//
// It uses the text decoder and JSON of the runtime, a template for the constant part of each chunk, and one write per read. It
// has no keys, conversations, session, limits, heartbeats, error mapping or log, so it is the lower bound for a Worker that reads
// each event.

const ENCODER = new TextEncoder();

export default {
  async fetch(request, env, context) {
    const { model, messages, stream_options: options } = await request.json();
    const send = senderOf(env);
    const created = await send("/api/v2/chats/new", { models: [model], chat_mode: "normal", chat_type: "t2t" });
    const chat = (await created.json()).data.id;
    const upstream = await send(`/api/v2/chat/completions?chat_id=${chat}`, turn(chat, model, messages.at(-1).content));
    if (!upstream.ok || !upstream.headers.get("content-type")?.startsWith("text/event-stream")) {
      return Response.json({ error: { message: await upstream.text() } }, { status: 502 });
    }
    const { readable, writable } = new TransformStream();
    const translated = translate(upstream.body, writable.getWriter(), model, options, Number(env.COALESCE_MS ?? 0));
    context.waitUntil(translated);
    const headers = { "content-type": "text/event-stream", "cache-control": "no-cache, no-transform" };
    return new Response(readable, { headers });
  },
};

/** Returns a function that sends JSON to the upstream, like a browser. */
function senderOf(env) {
  const headers = {
    accept: "application/json",
    "content-type": "application/json",
    cookie: env.QWEN_COOKIES ?? `token=${env.QWEN_AUTH_TOKEN}`,
    source: "web",
    version: "0.3.12",
  };
  return (path, body) =>
    fetch(env.QWEN_BASE_URL + path, { method: "POST", headers, body: JSON.stringify(body), redirect: "manual" });
}

function turn(chat, model, content) {
  const message = {
    fid: crypto.randomUUID(),
    parentId: null,
    childrenIds: [],
    role: "user",
    content,
    user_action: "chat",
    files: [],
    models: [model],
    chat_type: "t2t",
    sub_chat_type: "t2t",
    feature_config: { thinking_enabled: false, output_schema: "phase" },
    extra: { meta: { subChatType: "t2t" } },
  };
  const body = { stream: true, incremental_output: true, chat_id: chat, chat_mode: "normal", model, parent_id: null };
  return { ...body, messages: [message] };
}

/** Translates events; after the first delta, all writes within `coalesceMs` milliseconds are combined. */
async function translate(body, writer, model, options, coalesceMs) {
  const id = `chatcmpl-${crypto.randomUUID()}`;
  const created = Math.floor(Date.now() / 1000);
  const head = `data: {"id":"${id}","object":"chat.completion.chunk","created":${created},"model":${JSON.stringify(model)},"choices":`;
  const chunk = (delta, finish = null) => `${head}[{"index":0,"delta":${JSON.stringify(delta)},"finish_reason":${JSON.stringify(finish)}}]}\n\n`;

  let out = chunk({ role: "assistant", content: "" });
  let timer;
  const flush = () => {
    timer = undefined;
    const bytes = ENCODER.encode(out);
    out = "";
    return writer.write(bytes);
  };

  const decoder = new TextDecoder();
  let rest = "";
  let usage;
  let hasWritten = false;
  let finished = false;
  const event = (text) => {
    const data = JSON.parse(text);
    const delta = data.choices?.[0]?.delta;
    if (delta === undefined) return;
    usage = data.usage ?? usage;
    if (delta.content) {
      if (delta.phase === "think") out += chunk({ reasoning_content: delta.content });
      else if (delta.phase === "answer" || delta.phase === undefined) out += chunk({ content: delta.content });
    }
    if (delta.phase !== "think" && delta.status === "finished") finished = true;
  };

  for await (const bytes of body) {
    rest += decoder.decode(bytes, { stream: true });
    for (let end; (end = rest.indexOf("\n")) >= 0; rest = rest.slice(end + 1)) {
      const line = rest.slice(0, end).trimEnd();
      if (line.startsWith("data: ") && !finished) event(line.slice(6));
    }
    if (out === "" || finished) continue;
    if (!hasWritten || coalesceMs === 0) await flush();
    else timer ??= setTimeout(flush, coalesceMs);
    hasWritten = true;
  }
  clearTimeout(timer);
  out += chunk({}, "stop");
  if (options?.include_usage) {
    const counts = { prompt_tokens: usage?.input_tokens, completion_tokens: usage?.output_tokens, total_tokens: usage?.total_tokens };
    out += `${head}[],"usage":${JSON.stringify(counts)}}\n\n`;
  }
  out += "data: [DONE]\n\n";
  await flush();
  await writer.close();
}
