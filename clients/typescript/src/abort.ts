/**
 * Calls back with the reason when the signal is aborted, at once if it is. What it
 * returns stops listening. React Native's signals have no reason.
 */
export function whenAborted(signal: AbortSignal | null | undefined, then: (reason: any) => void): () => void {
  const listener = () => then(signal!.reason ?? Object.assign(new Error("aborted"), { name: "AbortError" }));
  if (signal?.aborted) listener();
  else signal?.addEventListener("abort", listener);
  return () => signal?.removeEventListener("abort", listener);
}
