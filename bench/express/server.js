// The handler that OnceQL grew out of: Express and pg, one process per core.
import cluster from "node:cluster";
import { createHash, randomUUID } from "node:crypto";
import { availableParallelism } from "node:os";
import express from "express";
import pg from "pg";

const workers = availableParallelism();

if (cluster.isPrimary) {
  const setup = new pg.Client(process.env.DATABASE_URL);
  await setup.connect();
  await setup.query(`create table if not exists express_keys (
    id bigserial primary key, key text not null unique, request_hash text not null,
    response_json jsonb not null, created_at timestamptz not null default now())`);
  await setup.query(`create table if not exists express_projects (
    id uuid primary key, name text not null, description text, created_at timestamptz not null default now())`);
  await setup.end();
  let listening = 0;
  cluster.on("listening", (_, { port }) => {
    if (++listening === workers) console.log(`  API         http://127.0.0.1:${port}/projects`);
  });
  for (let i = 0; i < workers; i++) cluster.fork();
  process.on("SIGTERM", () => process.exit(0));
} else {
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: Math.ceil(18 / workers) });
  const app = express();
  app.use(express.json());
  app.post("/projects", async (req, res) => {
    const key = req.header("idempotency-key") ?? req.body.key;
    if (!key) return res.status(400).json({ error: "MISSING_IDEMPOTENCY_KEY" });
    const hash = createHash("sha256").update(JSON.stringify(req.body)).digest("hex");
    const client = await pool.connect();
    try {
      await client.query("begin");
      const found = await client.query({
        name: "find", text: "select request_hash, response_json from express_keys where key = $1", values: [key],
      });
      if (found.rowCount === 1) {
        await client.query("commit");
        if (found.rows[0].request_hash !== hash) return res.status(409).json({ error: "IDEMPOTENCY_KEY_REUSED" });
        return res.json(found.rows[0].response_json);
      }
      const project = { id: randomUUID(), name: req.body.name, description: req.body.description };
      await client.query({
        name: "project", text: "insert into express_projects (id, name, description) values ($1, $2, $3)",
        values: [project.id, project.name, project.description],
      });
      await client.query({
        name: "key", text: "insert into express_keys (key, request_hash, response_json) values ($1, $2, $3)",
        values: [key, hash, project],
      });
      await client.query("commit");
      res.status(201).json(project);
    } catch (error) {
      await client.query("rollback").catch(() => {});
      res.status(500).json({ error: String(error) });
    } finally {
      client.release();
    }
  });
  app.listen(0, "127.0.0.1");
}
