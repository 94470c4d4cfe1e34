import { execFile } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect } from "vitest";

import manifest from "../../typescript/package.json" with { type: "json" };
import { effects, server } from "../../typescript/test/server.js";

const root = join(import.meta.dirname, "..");

/** The package as npm packs it, such as bin/onceql-client-0.1.0.tgz. */
export const tarball = process.env.ONCEQL_CLIENT ?? missing();

function missing(): never {
  throw new Error("ONCEQL_CLIENT must be the path of the package; `make client-matrix` makes it");
}

/** The entries of the package, such as "./apollo". */
export const entries = Object.keys(manifest.exports).filter((entry) => entry !== "./package.json");

/** Whether all of the matrix runs, and not one of each kind. */
export const all = process.env.CLIENT_MATRIX === "all";

/** Where the other packages of a project are from: this directory, or newer/. */
export type Base = "." | "newer";

/** The path of a file of an installed package, which its exports need not have. */
export const fileOf = (name: string, file: string, base: Base = "."): string => join(root, base, "node_modules", name, file);

/** The program of that version of Node.js, such as v22; it is there on Linux, on x64 and arm64. */
export const nodeOf = (version: string): string => fileOf(`node-${version.slice(1)}-linux-${process.arch}`, "bin/node", "newer");

/** A project that has the package from the tarball. */
export interface Project {
  dir: string;
  /** Runs this Node.js, or the one given, and returns what it printed. */
  node(args: string[], env?: Record<string, string>, node?: string): Promise<string>;
}

/** Makes an empty project, installs the package, and copies to it what shared/ has, and projects/ under the name. */
export async function install(name: string, manifest: object = {}, base: Base = "."): Promise<Project> {
  const dir = join(root, base, "installed", name);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "package.json"), JSON.stringify({ private: true, ...manifest }));
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", "--silent", tarball], dir);
  cpSync(join(root, "projects", name), dir, { recursive: true });
  cpSync(join(root, "shared"), dir, { recursive: true });
  return { dir, node: (args, env, node = process.execPath) => run(node, args, dir, env) };
}

const exec = promisify(execFile);

async function run(program: string, args: string[], cwd: string, env?: Record<string, string>): Promise<string> {
  // A project is not the test that runs it.
  const { NODE_ENV, VITEST, VITEST_POOL_ID, VITEST_WORKER_ID, VITEST_MODE, ...inherited } = process.env;
  const options = { cwd, env: { ...inherited, ...env }, maxBuffer: 1 << 26 };
  const { stdout } = await exec(program, args, options).catch((error) => {
    throw new Error(`${error.message}\n${error.stdout}`);
  });
  return stdout;
}

export const endpoint = server + "/graphql";

/** Expects that the exercise was done: its calls were replayed, and each made one project of that name. */
export async function expectDone(printed: string, name: string): Promise<void> {
  expect(JSON.parse(printed.trim().split("\n").at(-1)!)).toEqual(["apollo replayed", "urql replayed", "relay replayed"]);
  await expectEffects(name);
}

/** Expects that each of the exercise's calls made one project. */
export async function expectEffects(name: string): Promise<void> {
  for (const client of ["Apollo", "urql", "Relay"]) expect(await effects(`${name}, ${client}`)).toBe(1);
}
