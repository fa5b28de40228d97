// Perfetto's own trace processor (WebAssembly) as a filter: RPC requests on stdin, its answers on stdout.
// node trace_processor.cjs DIRECTORY   (which holds engine_bundle.js and trace_processor*.wasm)
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const directory = process.argv[2];
const bytesOf = (name) => fs.readFileSync(path.join(directory, path.basename(String(name))));
const replies = [];
const scope = {
  console: { log() {}, warn() {}, error: console.error, info() {}, debug() {} },
  WebAssembly, TextDecoder, TextEncoder, URL, performance, setTimeout, clearTimeout, queueMicrotask, Response, crypto,
  fetch: async (name) => new Response(bytesOf(name), { headers: { "Content-Type": "application/wasm" } }),
  location: { href: "http://localhost/engine_bundle.js" },
  importScripts() {},
  WorkerGlobalScope: class {},
};
scope.self = scope.globalThis = scope;
vm.createContext(scope);
vm.runInContext(bytesOf("engine_bundle.js").toString(), scope);

// The bundle tells its readiness to nobody, so what comes before it is asked again until it is taken.
const port = { postMessage: (bytes) => replies.push(Buffer.from(bytes)) };
scope.onmessage({ data: port });
const requests = vm.runInContext("(bytes) => new Uint8Array(bytes)", scope)(fs.readFileSync(0));
const started = Date.now();
function ask() {
  try {
    port.onmessage({ data: requests });
  } catch (error) {
    if (replies.length || Date.now() - started > 60000) throw error;
    setTimeout(ask, 20);
    return;
  }
  process.stdout.write(Buffer.concat(replies), () => process.exit(0));
}
setTimeout(ask, 20);
