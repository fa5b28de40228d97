// Perfetto's own trace processor (WebAssembly) as a filter: RPC requests on stdin, its answers on stdout.
// node trace_processor.cjs DIRECTORY   (which holds engine_bundle.js and trace_processor*.wasm)
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const directory = process.argv[2];
const bytesOf = (name) => fs.readFileSync(path.join(directory, path.basename(String(name))));
const fail = (error) => {
  fs.writeSync(2, `\n${error && error.message}\n${String(error && error.stack).slice(-400)}\n`);
  process.exit(1);
};
process.on("uncaughtException", fail); // whose own report quotes the bundle, which is one line of 150 kB
process.on("unhandledRejection", fail);

const replies = [];
const port = { postMessage: (bytes) => replies.push(Buffer.from(bytes)) };
const answer = (scope) => {
  const requests = vm.runInContext("(bytes) => new Uint8Array(bytes)", scope)(fs.readFileSync(0));
  port.onmessage({ data: requests });
  process.stdout.write(Buffer.concat(replies), () => process.exit(0));
};

const scope = {
  console: { log() {}, warn() {}, error() {}, info() {}, debug() {} },
  TextDecoder, TextEncoder, URL, performance, setTimeout, clearTimeout, queueMicrotask, crypto,
  location: { href: "http://localhost/engine_bundle.js", protocol: "http:", host: "localhost" },
  XMLHttpRequest: class {
    open(method, name) {
      this.name = name;
    }
    send() {
      const bytes = bytesOf(this.name);
      this.status = 200;
      this.response = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    }
  },
  importScripts() {},
  WorkerGlobalScope: class {},
};
scope.self = scope;
vm.createContext(scope);
vm.runInContext(bytesOf("engine_bundle.js").toString(), scope);
scope.onmessage({ data: port });
setTimeout(answer, 10, scope); // the module is made at once, and what follows it are microtasks
