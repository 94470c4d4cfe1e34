import type { ResultOf, VariablesOf } from "@graphql-typed-document-node/core";

import type { CreateProject } from "./createProject.js";

type Variables = VariablesOf<typeof CreateProject>;

// The helper fills the key in: it may be left out, and given.
export const withoutKey: Variables = { input: { name: "Apollo" } };
export const withKey: Variables = { input: { name: "Apollo" }, idempotencyKey: "my-first-project" };

// @ts-expect-error The input may not be left out.
export const withoutInput: Variables = {};
// @ts-expect-error Nor its name.
export const withoutName: Variables = { input: {} };
// @ts-expect-error A key is a string.
export const withNumber: Variables = { input: { name: "Apollo" }, idempotencyKey: 1 };

export const id = (result: ResultOf<typeof CreateProject>): string | undefined => result.createProject?.project.id;
// @ts-expect-error What was not selected is not there.
export const archivedAt = (result: ResultOf<typeof CreateProject>) => result.createProject?.project.archivedAt;
