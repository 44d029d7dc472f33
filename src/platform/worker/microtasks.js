// Runs the tasks of Rust by promises.
//
// wasm-bindgen's executor (`js_sys::futures`) hands each round of woken tasks to the global function `queueMicrotask`. In workerd
// that is a function of the runtime, and a call of it costs more than the reaction of a promise, which never leaves V8. The executor
// takes no other function, so the global one is replaced, for the whole isolate; only the executor calls it there. One thing differs:
// what a microtask throws is an unhandled rejection instead of an uncaught error.
// scripts/build-edge fails when the executor calls it no longer: this file would then be without effect.

const RESOLVED = Promise.resolve();

export function runTasksByPromises() {
  globalThis.queueMicrotask = (task) => void RESOLVED.then(/** @type {() => void} */ (task));
}
