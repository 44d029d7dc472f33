// Plays the part of Cloudflare's API that `wrangler deploy` and `wrangler d1` use, so that a deployment can be tried without an account:
// CLOUDFLARE_API_BASE_URL=http://127.0.0.1:PORT. D1 databases are SQLite in memory.
//
//   node tests/worker/cloudflare.mjs                  prints its address on the first line of stdout
//   GET /state                                        what it holds: the databases with their tables and migrations, the Worker, its secrets and files

import { createHash } from "node:crypto";
import http from "node:http";
import { DatabaseSync } from "node:sqlite";

/** @typedef {{ uuid: string, name: string, sqlite: DatabaseSync }} Database */
/** @typedef {{ type: string, name: string, id?: string, text?: string }} Binding */

/** @type {Map<string, Database>} */
const databases = new Map();
/** @type {{ bindings: Binding[], modules: string[] } | undefined} */
let worker;
let deployments = 0;
/** @type {string[]} */
let crons = [];
/** @type {string[]} */
let files = [];

/** @param {string} nameOrId */
const find = (nameOrId) => [...databases.values()].find(({ uuid, name }) => uuid === nameOrId || name === nameOrId);

/** @param {DatabaseSync} sqlite @param {string} sql */
const rows = (sqlite, sql) => sqlite.prepare(sql).all();

/** @param {Database} database @param {{ sql: string, params?: (string | number | null)[] }} query */
function run({ sqlite }, { sql, params }) {
  const statements = sql.trim().replace(/;$/, "");
  if (params?.length || /^(SELECT|PRAGMA)\b/i.test(statements)) {
    return [{ results: sqlite.prepare(statements).all(...(params ?? [])), success: true, meta: {} }];
  }
  sqlite.exec(sql);
  return [{ results: [], success: true, meta: {} }];
}

/** @param {FormData} form */
function upload(form) {
  const metadata = JSON.parse(String(form.get("metadata")));
  const before = worker?.bindings ?? [];
  /** @type {Binding[]} */
  const bindings = metadata.bindings.map((/** @type {Binding} */ binding) =>
    binding.type === "inherit" ? before.find(({ name }) => name === binding.name) : binding,
  );
  const kept = before.filter(({ type, name }) => metadata.keep_bindings?.includes(type) && !bindings.some((binding) => binding.name === name));
  worker = { bindings: [...bindings, ...kept], modules: [...form.keys()].filter((name) => name !== "metadata") };
  return { id: "version", startup_time_ms: 1, entry_point: metadata.main_module, resources: { script: { etag: "etag" } } };
}

/**
 * @param {string} route method and path below the account
 * @param {URLSearchParams} query
 * @param {Request} request
 * @returns {Promise<unknown>}
 */
async function answer(route, query, request) {
  const segments = route.split("/").map(decodeURIComponent);
  /** @param {RegExp} pattern */
  const match = (pattern) => pattern.test(route);
  if (route === "GET /d1/database") {
    return query.get("page") === "1" ? [...databases.values()].map(({ uuid, name }) => ({ uuid, name })) : [];
  } else if (route === "POST /d1/database") {
    const { name } = await request.json();
    const uuid = createHash("md5").update(name).digest("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
    databases.set(uuid, { uuid, name, sqlite: new DatabaseSync(":memory:") });
    return { uuid, name };
  } else if (match(/^GET \/d1\/database\/[^/]+$/)) {
    const database = find(segments[3]);
    return database && { uuid: database.uuid, name: database.name };
  } else if (match(/^POST \/d1\/database\/[^/]+\/query$/)) {
    const database = find(segments[3]);
    return database && run(database, await request.json());
  } else if (match(/^GET \/workers\/scripts\/[^/]+\/settings$/)) {
    return worker && { bindings: worker.bindings };
  } else if (match(/^GET \/workers\/services\/[^/]+$/)) {
    return worker && { default_environment: { environment: "production", script: { last_deployed_from: "wrangler" } } };
  } else if (match(/^POST \/workers\/scripts\/[^/]+\/assets-upload-session$/)) {
    const { manifest } = await request.json();
    files = Object.keys(manifest).sort();
    // As if it had them all.
    return { jwt: "completed", buckets: [] };
  } else if (match(/^GET \/workers\/scripts\/[^/]+\/secrets$/)) {
    return worker?.bindings.filter(({ type }) => type === "secret_text").map(({ name, type }) => ({ name, type }));
  } else if (match(/^GET \/workers\/scripts\/[^/]+\/deployments$/)) {
    return { deployments: [] };
  } else if (match(/^PATCH \/workers\/scripts\/[^/]+\/script-settings$/)) {
    return {};
  } else if (match(/^(GET|PUT|PATCH) \/workers\/workers\/[^/]+$/)) {
    return { subdomain: { enabled: true, previews_enabled: true } };
  } else if (route === "GET /workers/subdomain") {
    return { subdomain: "example" };
  } else if (match(/^(GET|POST) \/workers\/scripts\/[^/]+\/subdomain$/)) {
    return { enabled: true, previews_enabled: true };
  } else if (match(/^PUT \/workers\/scripts\/[^/]+\/schedules$/)) {
    crons = (await request.json()).map((/** @type {{ cron: string }} */ { cron }) => cron);
    return { schedules: [] };
  } else if (match(/^POST \/workers\/scripts\/[^/]+\/deployments$/)) {
    deployments += 1;
    return { id: `deployment-${deployments}` };
  } else if (match(/^PUT \/workers\/scripts\/[^/]+$/)) {
    // A first version is deployed at once.
    deployments += 1;
    return upload(await request.formData());
  } else if (match(/^POST \/workers\/scripts\/[^/]+\/versions$/)) {
    return upload(await request.formData());
  }
  throw new Error(`unknown: ${route}`);
}

const server = http.createServer((incoming, outgoing) => {
  const url = new URL(incoming.url ?? "/", "http://127.0.0.1");
  void (async () => {
    const chunks = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const request = new Request(url, {
      method: incoming.method ?? "GET",
      headers: /** @type {Record<string, string>} */ (incoming.headers),
      ...(chunks.length ? { body: Buffer.concat(chunks) } : {}),
    });
    if (url.pathname === "/state") {
      const state = [...databases.values()].map(({ name, sqlite }) => ({
        name,
        tables: rows(sqlite, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").map(({ name }) => name),
        migrations: rows(sqlite, "SELECT name FROM d1_migrations ORDER BY id").map(({ name }) => name),
      }));
      outgoing.end(JSON.stringify({ databases: state, worker, deployments, crons, files }));
      return;
    }
    const route = `${request.method} ${url.pathname.replace(/^\/accounts\/[^/]+/, "")}`;
    let result, message;
    try {
      result = await answer(route, url.searchParams, request);
    } catch (error) {
      message = String(error);
      console.error(message, url.search, Buffer.concat(chunks).toString("utf8").slice(0, 500));
    }
    const success = result !== undefined;
    outgoing.statusCode = success ? 200 : 404;
    outgoing.setHeader("content-type", "application/json");
    outgoing.end(JSON.stringify({ success, result: result ?? null, messages: [], errors: success ? [] : [{ code: route.includes("/workers/") ? 10007 : 7404, message: message ?? "not found" }] }));
  })();
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  console.log(`http://127.0.0.1:${typeof address === "object" ? address?.port : address}`);
});
