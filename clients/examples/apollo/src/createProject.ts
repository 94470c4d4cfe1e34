import { graphql } from "./gql/index.js";

/** The key's argument and variable are added when the types are generated. */
export const CreateProject = graphql(`
  mutation CreateProject($input: CreateProjectInput!) {
    createProject(input: $input) {
      project {
        id
        name
        createdAt
      }
    }
  }
`);
