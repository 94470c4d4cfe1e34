// Runs graphql-http's audit suite against the URL that it is given and prints
// the results as JSON: [{id, name, status, reason}].
import { auditServer } from "graphql-http";

const results = await auditServer({ url: process.argv[2] });
console.log(
  JSON.stringify(
    results.map(({ id, name, status, reason }) => ({ id, name, status, reason: String(reason ?? "") })),
  ),
);
