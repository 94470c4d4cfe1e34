import * as modules from "./entries.mjs";
import exercise from "./exercise.cjs";

const [url, name] = process.argv.slice(2);
console.log(JSON.stringify(await exercise(modules, { url, name })));
