// Runs instances of the built Worker in workerd for the integration tests.
//
//   node tests/worker/harness.mjs --config wrangler.toml [--cwd DIR]
//
// Requests are lines of JSON on stdin, responses lines of JSON on stdout with the same `id`. Requests may overlap.
//
//   {"id":1,"op":"start","vars":{"NAME":"value"}}     {"id":1,"ok":true,"instance":"a1","url":"http://127.0.0.1:PORT","others":[],"pid":123}
//   … "analytics":true                                binds a dataset as ANALYTICS; its data points are logged
//   … "isolates":2                                    … "others":["http://127.0.0.1:PORT"]: another isolate of the Worker with the same database
//   {"id":2,"op":"logs","instance":"a1"}              {"id":2,"ok":true,"logs":["console output since the start"]}
//   {"id":3,"op":"scheduled","instance":"a1","cron":"*/10 * * * *"}
//   {"id":4,"op":"memory","instance":"a1"}            {"id":4,"ok":true,"heap":800000,"buffers":300000,"wasm":1310720}
//   {"id":6,"op":"sql","instance":"a1","sql":"INSERT …;"}
//   {"id":7,"op":"restart","instance":"a1"}           another workerd with the same databases; answers as `start` does
//   {"id":8,"op":"state","instance":"a1"}             {"id":8,"ok":true,"pid":123,"folder":"where the databases are"}
//   {"id":5,"op":"stop","instance":"a1"}              {"id":5,"ok":true}
//   a failure                                         {"id":6,"ok":false,"error":"text"}
//
// The end of stdin, SIGTERM and SIGINT stop everything. Diagnostics go to stderr.
//
// Each instance is one workerd process with its own D1. Its URL is a socket of workerd that is connected to the Worker directly:
// the proxies of `wrangler dev` and `createTestHarness` compress responses and add headers and processes. The harness does not
// run the build command of the configuration: build the Worker first.

import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import diagnostics from "node:diagnostics_channel";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

// Only responses may reach stdout, so the output of libraries is redirected to stderr.
const writeResponse = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

const { values: args } = parseArgs({
  options: { config: { type: "string", default: "wrangler.toml" }, cwd: { type: "string", default: "." } },
});
process.chdir(args.cwd);
const configPath = path.resolve(args.config);

// One folder for all files, removed at exit. Miniflare creates its temporary folder in TMPDIR.
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "worker-harness-"));
process.env.TMPDIR = scratch;
process.env.WRANGLER_SEND_METRICS = "false";
process.env.WRANGLER_LOG ??= "error";
process.env.NO_COLOR = "1";

// Miniflare does not expose its child process. Node publishes each child in the async context of the call that spawned it, so
// concurrent starts can each find their own.
/** @typedef {import("node:child_process").ChildProcess & { leadsGroup?: boolean }} Child */
/** @type {Set<Child>} */
const children = new Set();
const currentStart = new AsyncLocalStorage();
diagnostics.subscribe("child_process", ({ process: child }) => {
  children.add(child);
  child.once("exit", () => children.delete(child));
  currentStart.getStore()?.adopt(child);
});

process.on("exit", () => {
  for (const child of children) {
    child.kill("SIGKILL");
    if (child.leadsGroup) process.kill(-child.pid, "SIGKILL");
  }
  fs.rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
});
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => process.exit(0));
process.stdout.on("error", () => process.exit(0));
// A failure inside a library must not stop the other instances.
process.on("unhandledRejection", (error) => console.error("harness:", error));

const require = createRequire(import.meta.url);
const wranglerMain = require.resolve("wrangler");
const wranglerBin = path.join(path.dirname(require.resolve("wrangler/package.json")), "bin", "wrangler.js");
// The Miniflare version that this wrangler depends on.
const miniflare = createRequire(wranglerMain)("miniflare");
const { unstable_readConfig: readConfig, unstable_getMiniflareWorkerOptions: workerOptionsOf } = require("wrangler");

/** `main` and the modules that it imports: the upload of `wrangler deploy` for a built Worker. */
function modulesOf(main) {
  const modules = [];
  const seen = new Set();
  const visit = (file) => {
    if (seen.has(file)) return;
    seen.add(file);
    const type = file.endsWith(".wasm") ? "CompiledWasm" : "ESModule";
    const contents = fs.readFileSync(file, type === "ESModule" ? "utf8" : null);
    modules.push({ type, path: file, contents });
    if (type !== "ESModule") return;
    for (const [, name] of contents.matchAll(/\b(?:from|import)\s*\(?\s*["'](\.{1,2}\/[^"']+)["']/g)) {
      const target = path.resolve(path.dirname(file), name);
      if (fs.existsSync(target)) visit(target);
    }
  };
  visit(main);
  return modules;
}

/** Applies the migrations of `binding` to the local databases in `folder` with wrangler, as users do. */
async function migrate(binding, folder) {
  const command = ["d1", "migrations", "apply", binding, "--local", "--persist-to", folder, "--config", configPath];
  /** @type {Child} */
  const child = spawn(process.execPath, [wranglerBin, ...command], {
    cwd: path.dirname(configPath),
    env: { ...process.env, WRANGLER_LOG: "log", CLOUDFLARE_CF_FETCH_ENABLED: "false" },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // wrangler spawns more processes; a process group can be killed as a whole
  });
  child.leadsGroup = child.pid !== undefined;
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
  const status = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  if (status !== 0) throw new Error(`wrangler ${command.join(" ")} failed:\n${output}`);
}

/** Prepares the options of the configuration and a folder of migrated databases, which each instance copies. */
async function prepare() {
  const config = readConfig({ config: configPath });
  if (!fs.existsSync(config.main ?? "")) throw new Error(`${config.main} does not exist: build the Worker first`);
  const template = path.join(scratch, "template");
  fs.mkdirSync(template);
  // Sequentially: the migrations share files.
  for (const { binding } of config.d1_databases) await migrate(binding, template);

  const { modulesRules: _, ...workerOptions } = workerOptionsOf(configPath).workerOptions;
  const worker = {
    ...workerOptions,
    name: config.name,
    modulesRoot: path.dirname(config.main),
    modules: modulesOf(config.main),
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
  };
  // Without `.dev.vars`: tests must not depend on it.
  return { template, worker, vars: config.vars };
}
const prepared = prepare();
prepared.catch(() => {}); // reported by each start

const instances = new Map();
let started = 0;

function instanceOf(name) {
  const instance = instances.get(name);
  if (instance === undefined) throw new Error(`no instance ${JSON.stringify(name)}`);
  return instance;
}

/** Runs `work` with a function that calls methods of the Chrome DevTools Protocol on the isolate with the inspector `url`. */
async function inspect(url, work) {
  const socket = new WebSocket(url);
  const waiting = new Map(); // by the id of a call, or by the name of an event
  const message = (key) => new Promise((resolve, reject) => waiting.set(key, { resolve, reject }));
  const ended = () => waiting.forEach(({ reject }) => reject(new Error("the inspector closed the connection")));
  socket.addEventListener("close", ended);
  socket.addEventListener("open", () => waiting.get("open").resolve());
  socket.addEventListener("message", ({ data }) => {
    const { id, method, params, result, error } = JSON.parse(data);
    if (error) waiting.get(id)?.reject(new Error(error.message));
    else waiting.get(id ?? method)?.resolve(result ?? params);
  });
  const call = (method, params) => {
    const id = waiting.size + 1;
    socket.send(JSON.stringify({ id, method, params }));
    return message(id);
  };
  try {
    await message("open");
    return await work(call, message);
  } finally {
    socket.removeEventListener("close", ended);
    // workerd ends a session that begins before the last one is closed.
    const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
    socket.close();
    if (socket.readyState !== WebSocket.CLOSED) await closed;
  }
}

/** The Worker with a substitute of an Analytics Engine dataset, which logs its data points. */
const withDataset = (worker) => ({
  ...worker,
  modules: [
    {
      type: "ESModule",
      path: path.join(worker.modulesRoot, "with-dataset.js"),
      contents: `import Worker from "./${path.basename(worker.modules[0].path)}";
const ANALYTICS = { writeDataPoint: (point) => console.log(JSON.stringify({ point })) };
export default class extends Worker {
  constructor(context, env) {
    super(context, new Proxy(env, { get: (all, name) => (name === "ANALYTICS" ? ANALYTICS : all[name]) }));
  }
}`,
    },
    ...worker.modules,
  ],
});

/** Starts workerd for an instance; returns the URLs of its isolates. */
async function begin(instance, isolates, worker, bindings) {
  instance.runtime = currentStart.run(
    instance,
    () =>
      new miniflare.Miniflare(
        miniflare.convertV4MiniflareOptions({
          host: "127.0.0.1",
          port: 0,
          inspectorPort: 0,
          cf: false,
          telemetry: { enabled: false },
          log: new miniflare.Log(miniflare.LogLevel.ERROR),
          handleStructuredLogs: ({ message }) => instance.logs.push(message),
          resourcePersistencePath: path.join(instance.folder, "v3"),
          // Several isolates of the Worker with the same database.
          workers: Array.from({ length: isolates }, (_, at) => ({
            ...worker,
            name: at === 0 ? worker.name : `${worker.name}-${at}`,
            bindings,
          })),
        }),
      ),
  );
  const urls = [];
  for (let at = 0; at < isolates; at++) {
    const url = await instance.runtime.unsafeGetDirectURL(at === 0 ? worker.name : `${worker.name}-${at}`);
    urls.push(url.origin);
  }
  return urls;
}

const operations = {
  async start({ vars = {}, unmigrated = false, isolates = 1, analytics = false }) {
    const { template, worker, vars: configured } = await prepared;
    const name = `a${++started}`;
    const folder = path.join(scratch, name);
    // `unmigrated`: a database without tables, so that each query fails.
    await (unmigrated ? fs.promises.mkdir(folder) : fs.promises.cp(template, folder, { recursive: true }));

    const instance = { folder, logs: [], stopping: false };
    // Miniflare restarts a crashed workerd at the same address with the same databases. The log shows it to the tests.
    instance.adopt = (child) => {
      instance.child = child;
      child.once("exit", (code, signal) => {
        if (!instance.stopping) instance.logs.push(`workerd ended unexpectedly (${signal ?? code})`);
      });
    };
    instance.begin = () => begin(instance, isolates, analytics ? withDataset(worker) : worker, { ...configured, ...vars });
    try {
      const urls = await instance.begin();
      instances.set(name, instance);
      return { instance: name, url: urls[0], others: urls.slice(1), pid: instance.child?.pid };
    } catch (error) {
      instance.stopping = true;
      await instance.runtime.dispose().catch(() => {});
      await fs.promises.rm(folder, { recursive: true, force: true });
      throw error;
    }
  },

  async restart({ instance: name }) {
    const instance = instanceOf(name);
    instance.stopping = true;
    await instance.runtime.dispose();
    const urls = await instance.begin();
    instance.stopping = false;
    return { instance: name, url: urls[0], others: urls.slice(1), pid: instance.child?.pid };
  },

  async state({ instance: name }) {
    const { child, folder } = instanceOf(name);
    return { pid: child?.pid, folder };
  },

  async stop({ instance: name }) {
    const instance = instanceOf(name);
    instances.delete(name);
    instance.stopping = true;
    await instance.runtime.dispose();
    await fs.promises.rm(instance.folder, { recursive: true, force: true });
  },

  async logs({ instance: name }) {
    const { logs } = instanceOf(name);
    // Log output goes through a pipe and can arrive after the response.
    await sleep(50);
    return { logs };
  },

  // The live memory of the isolate: JavaScript objects, their buffers, and the linear memory of the module, which never shrinks.
  async memory({ instance: name }) {
    const { worker } = await prepared;
    const url = new URL(`/core:user:${worker.name}`, await instanceOf(name).runtime.getInspectorURL());
    return inspect(url, async (call, event) => {
      const created = event("Runtime.executionContextCreated");
      // The inspector stores log entries for clients that connect later.
      await call("Runtime.discardConsoleEntries");
      await call("Runtime.enable");
      const contextId = (await created).context.id;
      const { result } = await call("Runtime.evaluate", { contextId, expression: "WebAssembly.Memory.prototype" });
      // `queryObjects` collects garbage first. `HeapProfiler.collectGarbage` would wait until the isolate runs again.
      const { objects } = await call("Runtime.queryObjects", { prototypeObjectId: result.objectId });
      const sum = "function () { return this.reduce((sum, memory) => sum + memory.buffer.byteLength, 0); }";
      const wasm = await call("Runtime.callFunctionOn", { objectId: objects.objectId, functionDeclaration: sum });
      const { usedSize, backingStorageSize } = await call("Runtime.getHeapUsage");
      return { heap: usedSize, buffers: backingStorageSize, wasm: wasm.result.value };
    });
  },

  // Like `wrangler d1 execute --file`, with one statement per line.
  async sql({ instance: name, sql }) {
    const database = await instanceOf(name).runtime.getD1Database("DB");
    for (const statement of sql.split("\n").filter(Boolean)) await database.prepare(statement).run();
  },

  async scheduled({ instance: name, cron }) {
    const worker = await instanceOf(name).runtime.getWorker();
    const { outcome } = await worker.scheduled({ cron, scheduledTime: new Date() });
    if (outcome !== "ok") throw new Error(`the scheduled handler ended with ${JSON.stringify(outcome)}`);
  },
};

async function answer(line) {
  let id = null;
  let reply;
  try {
    const request = JSON.parse(line);
    id = request.id ?? null;
    if (!Object.hasOwn(operations, request.op)) throw new Error(`unknown op ${JSON.stringify(request.op)}`);
    reply = { id, ok: true, ...(await operations[request.op](request)) };
  } catch (error) {
    reply = { id, ok: false, error: error instanceof Error ? error.message : String(error) };
  }
  writeResponse(`${JSON.stringify(reply)}\n`);
}

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => void (line.trim() && answer(line)))
  .on("close", () => process.exit(0));
