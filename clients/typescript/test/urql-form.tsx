import { useIdempotentMutation } from "@onceql/client/urql/react";
import { type FormEvent, useState } from "react";
import { gql, type TypedDocumentNode } from "urql";

// With generated types: graphql(`mutation CreateProject($input: CreateProjectInput!) { … }`).
const CreateProject: TypedDocumentNode<
  { createProject: { project: { id: string; name: string } } | null },
  { input: { name: string }; idempotencyKey?: string }
> = gql`
  mutation CreateProject($input: CreateProjectInput!, $idempotencyKey: String! = "") {
    createProject(input: $input, idempotencyKey: $idempotencyKey) {
      project {
        id
        name
      }
    }
  }
`;

export function NewProject() {
  const [name, setName] = useState("");
  const [asked, setAsked] = useState(false);
  const [found, setFound] = useState("");
  const [create, { pending, outcome, unsettled, resolve, discard }] = useIdempotentMutation(CreateProject, {
    intent: "create-project",
  });

  async function submit(onPayloadChange?: "newKey") {
    setFound("");
    const { error } = await create({ input: { name } }, { onPayloadChange });
    setAsked(error?.networkError?.name === "UnsettledError");
  }
  async function lookUp() {
    try {
      const calls = await resolve();
      setFound(calls.map((call) => (call ? `It was done at ${call.executedAt}.` : "That is not known yet.")).join(" "));
    } catch {
      setFound("The server does not answer.");
    }
  }
  function onSubmit(event: FormEvent) {
    event.preventDefault();
    void submit();
  }

  return (
    <form onSubmit={onSubmit}>
      <input aria-label="Name" value={name} onChange={(event) => setName(event.target.value)} />
      <button disabled={pending}>{pending ? "Sending…" : unsettled ? "Send again" : "Create"}</button>
      {!pending && (outcome?.outcome === "executed" || outcome?.outcome === "replayed") && <p>The project was created.</p>}
      {!pending && outcome?.outcome === "refused" && <p role="alert">{outcome.error?.message}</p>}
      {!pending && unsettled && (
        <div role="alert">
          <p>
            What you sent at {unsettled.sentAt.toLocaleTimeString()} may have been done.{" "}
            {asked ? "Nothing was sent now: it is another one, or that is too long ago." : "It is safe to send the same again."}
          </p>
          <button type="button" onClick={() => void lookUp()}>
            Was it done?
          </button>
          <button type="button" onClick={() => void submit("newKey")}>
            Create this one too
          </button>
          <button type="button" onClick={() => void discard()}>
            Forget it
          </button>
          <p>{found}</p>
        </div>
      )}
    </form>
  );
}
