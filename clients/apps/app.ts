import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const installed = join(import.meta.dirname, "node_modules");

/** The schema as the server has it at /schema.graphql. */
export const schema = join(import.meta.dirname, "../../schema.graphql");

/**
 * An app in a directory of its own. It has the packages that it was given and no
 * others: what a dependency brings is not its own, as with a strict package manager.
 */
export class App {
  private constructor(readonly dir: string) {}

  /** A directory with a package.json, and nothing else. */
  static async bare(...packages: string[]): Promise<App> {
    // The real path, as compilers name their inputs by it.
    const app = new App(await realpath(await mkdtemp(join(tmpdir(), "onceql-app-"))));
    await app.write("package.json", JSON.stringify({ private: true, type: "module" }));
    await app.install(...packages);
    return app;
  }

  /** What `npm create vite@latest -- --template react-ts` makes. */
  static async empty(): Promise<App> {
    const app = await App.bare();
    const template = join(installed, "create-vite/template-react-ts");
    await cp(template, app.dir, { recursive: true });
    const { dependencies, devDependencies } = JSON.parse(await readFile(join(template, "package.json"), "utf8"));
    // Nothing is linted here.
    delete devDependencies.oxlint;
    await app.install(...Object.keys({ ...dependencies, ...devDependencies }));
    return app;
  }

  /**
   * Installs packages, `name` or `name@version`, from the lock file of this directory.
   * @onceql/client is that of a tarball.
   */
  async install(...packages: string[]): Promise<void> {
    for (const wanted of packages) {
      const [, name, version] = /^(@?[^@]+)@?(.*)$/.exec(wanted)!;
      const to = join(this.dir, "node_modules", name!);
      await rm(to, { recursive: true, force: true });
      await mkdir(dirname(to), { recursive: true });
      if (name === "@onceql/client") {
        await mkdir(to);
        await run("tar", ["-xzf", tarball(), "-C", to, "--strip-components=1"]);
      } else await symlink(await locked(name!, version!), to);
    }
  }

  async write(path: string, text: string): Promise<void> {
    await mkdir(dirname(join(this.dir, path)), { recursive: true });
    await writeFile(join(this.dir, path), text);
  }

  read(path: string): Promise<string> {
    return readFile(join(this.dir, path), "utf8");
  }

  /** Runs a program of one of its packages; rejects with what it wrote when it fails. */
  async run(program: string, ...parameters: string[]): Promise<string> {
    const [path, script] = await programOf(this.dir, program);
    const { stdout, stderr } = await run(process.execPath, [join(path, script), ...parameters], { cwd: this.dir }).catch((error) => {
      throw new Error(`${program} ${parameters.join(" ")}: ${error.stdout}${error.stderr}`);
    });
    return stdout + stderr;
  }

  remove(): Promise<void> {
    return rm(this.dir, { recursive: true, force: true });
  }
}

/** The package as npm packs it, such as bin/onceql-client-0.1.0.tgz. */
const tarball = () => process.env.ONCEQL_CLIENT ?? missing();

function missing(): never {
  throw new Error("ONCEQL_CLIENT must be the path of the package; `make client-package` makes it");
}

/** Where this directory has a package: two versions of TypeScript, under two names. */
async function locked(name: string, version: string): Promise<string> {
  const path = join(installed, name === "typescript" && version !== "6" ? "typescript7" : name);
  const { version: found } = JSON.parse(await readFile(join(path, "package.json"), "utf8"));
  if (version && found.split(".")[0] !== version) throw new Error(`${name}@${version} is not in the lock file, which has ${found}`);
  return path;
}

// The programs that are not named after their packages.
const owners: Record<string, string> = { tsc: "typescript", "graphql-codegen": "@graphql-codegen/cli" };

async function programOf(dir: string, program: string): Promise<[path: string, script: string]> {
  const path = await realpath(join(dir, "node_modules", owners[program] ?? program));
  const { bin } = JSON.parse(await readFile(join(path, "package.json"), "utf8"));
  return [path, typeof bin === "string" ? bin : bin[program]];
}
