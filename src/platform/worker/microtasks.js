// Runs the tasks of Rust as reactions of a promise.
//
// wasm-bindgen's executor (`js_sys::futures`) passes each round of woken tasks to the global function `queueMicrotask`. In workerd
// that is a function of the runtime, and a call of it costs more than the reaction of a promise, which never leaves V8. The executor
// accepts no other function, so the global one is replaced in the whole isolate, where only the executor calls it. The difference:
// an exception in a microtask becomes an unhandled rejection instead of an uncaught error.
// scripts/build-edge fails if the executor stops calling it, because this file would then have no effect.

const RESOLVED = Promise.resolve();

export function runTasksByPromises() {
  globalThis.queueMicrotask = (task) => void RESOLVED.then(/** @type {() => void} */ (task));
}
