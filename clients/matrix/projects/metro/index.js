import * as modules from "./entries.mjs";
import exercise from "./exercise.cjs";

global.run = (options) => exercise(modules, options);
