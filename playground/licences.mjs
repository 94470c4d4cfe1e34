// Prints the licences of what the playground is made of; fails over one that is
// unknown or asks for more than a notice.
import { readFileSync } from "node:fs";

const noticeOnly = /^\(?(MIT|ISC|BSD-[23]-Clause|0BSD|Apache-2\.0|PSF-2\.0|MPL-2\.0 OR Apache-2\.0)\)?$/;
const { packages } = JSON.parse(readFileSync(new URL("package-lock.json", import.meta.url), "utf8"));
for (const [path, { license, dev }] of Object.entries(packages)) {
  if (!path || dev) continue;
  console.log((license ?? "unknown").padEnd(14), path.replace(/^.*node_modules\//, ""));
  if (!noticeOnly.test(license)) process.exitCode = 1;
}
