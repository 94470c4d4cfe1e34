const modules = require("./entries.cjs");
const exercise = require("./exercise.cjs");

const [url, name] = process.argv.slice(2);
exercise(modules, { url, name }).then((outcomes) => console.log(JSON.stringify(outcomes)));
