const { request } = require("node:http");

const run = require("./entries");

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

test("in jsdom, which chooses what is for browsers", () => run(process.env.NAME, fetch));
