/**
 * A new idempotency key: a UUID of version 7 (RFC 9562, section 5.7) with 72 random
 * bits. It begins with the time, so that keys made together lie together in the
 * server's index. Throws where there is no crypto.getRandomValues.
 */
export function newKey(): string {
  // React Native has none of its own.
  if (!globalThis.crypto?.getRandomValues) throw Error("crypto.getRandomValues is missing: import react-native-get-random-values");
  const time = Date.now().toString(16).padStart(12, "0");
  const random = () => (crypto.getRandomValues(new Uint8Array(1))[0]! & 15).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7xxx-8xxx-xxxxxxxxxxxx`.replace(/x/g, random);
}
