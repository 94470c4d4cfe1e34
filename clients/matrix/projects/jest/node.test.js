// As Jest loads a test unless it is told otherwise: CommonJS.
const modules = require("./entries.cjs");
const exercise = require("./exercise.cjs");

test("the clients", async () => {
  const outcomes = await exercise(modules, { url: process.env.ENDPOINT, name: process.env.NAME });
  expect(outcomes).toEqual(["apollo replayed", "urql replayed", "relay replayed"]);
});
