const { request } = require("node:http");

const modules = require("./entries.cjs");
const exercise = require("./exercise.cjs");

// jsdom has no fetch: tests bring one.
const fetch = (url, { method, headers, body }) =>
  new Promise((resolve, reject) => {
    const sent = request(url, { method, headers }, async (received) => {
      let text = "";
      for await (const part of received.setEncoding("utf8")) text += part;
      const { statusCode: status } = received;
      resolve({ ok: status === 200, status, headers: new Map(Object.entries(received.headers)), text: async () => text });
    });
    sent.on("error", reject).end(body);
  });

test("the clients", async () => {
  const outcomes = await exercise(modules, { url: process.env.ENDPOINT, name: process.env.NAME, fetch });
  expect(outcomes).toEqual(["apollo replayed", "urql replayed", "relay replayed"]);
});
