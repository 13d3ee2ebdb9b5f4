// Tests run as compiled JavaScript, each file in a process of its own: a test may map memory, change its signal
// handlers or crash. `./weir test` compiles first and removes compiled tests whose source is gone.
module.exports = {
  files: [
    "packages/*/dist/test/**/*.test.js",
    "examples/dist/test/**/*.test.js",
    "!**/fixtures/**",
  ],
  workerThreads: false,
  concurrency: 2,
  timeout: "2m",
  // Nothing is written to node_modules, which may belong to somebody else.
  cache: false,
};
