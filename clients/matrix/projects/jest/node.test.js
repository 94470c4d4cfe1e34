const run = require("./entries");

test("in Node.js", () => run(process.env.NAME));
