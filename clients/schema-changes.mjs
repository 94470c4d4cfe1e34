// Compares a schema with the one before, by graphql-js, and ends with 1 over a change that
// breaks clients and is not accepted.
//
//     node schema-changes.mjs BEFORE.graphql NOW.graphql ACCEPTED
//
// ACCEPTED has a line for each breaking change that is wanted: what graphql-js says of it, a
// " | ", and why it may break clients. Lines that begin with # are comments.
import { readFileSync } from "node:fs";
import {
  buildSchema,
  findBreakingChanges,
  findDangerousChanges,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
} from "graphql";

const [before, now] = process.argv.slice(2, 4).map((path) => buildSchema(readFileSync(path, "utf8")));

const accepted = new Map();
for (const line of readFileSync(process.argv[4], "utf8").split("\n")) {
  if (line.trim() === "" || line.startsWith("#")) continue;
  const [change, reason = ""] = line.split(" | ", 2).map((part) => part.trim());
  accepted.set(change, reason);
}

// Coordinates of what a schema calls deprecated.
function deprecated(schema) {
  const found = new Map();
  const note = (coordinate, { deprecationReason }) => {
    if (deprecationReason != null) found.set(coordinate, deprecationReason);
  };
  for (const type of Object.values(schema.getTypeMap())) {
    if (type.name.startsWith("__")) continue;
    if (isEnumType(type)) for (const value of type.getValues()) note(`${type.name}.${value.name}`, value);
    if (!isObjectType(type) && !isInterfaceType(type) && !isInputObjectType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      note(`${type.name}.${field.name}`, field);
      for (const argument of field.args ?? []) note(`${type.name}.${field.name}(${argument.name}:)`, argument);
    }
  }
  return found;
}

let failed = false;
const fail = (text) => {
  failed = true;
  console.log(text);
};
const breaking = findBreakingChanges(before, now).map(({ description }) => description);
for (const change of breaking) {
  const reason = accepted.get(change);
  if (reason === undefined) fail(`breaking: ${change}`);
  else if (reason === "") fail(`accepted without a reason: ${change}`);
  else console.log(`breaking, accepted: ${change} ${reason}`);
}
for (const change of accepted.keys()) {
  if (!breaking.includes(change)) fail(`accepted, and there is no such change: ${change}`);
}
for (const { description } of findDangerousChanges(before, now)) console.log(`dangerous: ${description}`);
const known = deprecated(before);
for (const [coordinate, reason] of deprecated(now)) {
  if (!known.has(coordinate)) console.log(`deprecated: ${coordinate}: ${reason}`);
}
process.exitCode = failed ? 1 : 0;
