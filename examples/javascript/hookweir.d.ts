// The plugin contract in TypeScript's terms: wit/*.wit says what each part means.

/** One event of the plugin's own tenant. */
export interface Event {
  readonly id: string;
  /** A dotted name, such as `order.created`. */
  readonly type: string;
  readonly source: string;
  readonly subject: string | null;
  /** RFC 3339, in UTC. */
  readonly time: string;
  readonly contentType: string;
  readonly attributes: ReadonlyArray<[string, string]>;
  /** The exact bytes that the sender sent. */
  readonly data: Uint8Array;
}

/** Thrown, never returned: `invalid` ends the delivery as failed, `unavailable` has it tried again. */
export type Failure = { tag: "invalid"; val: string } | { tag: "unavailable"; val: string };

export type Verdict = { tag: "keep" } | { tag: "drop"; val: string };

export interface Filter {
  filter(event: Event): Verdict;
}

/** What is sent in the event's place. */
export interface Outgoing {
  contentType: string;
  headers: Array<[string, string]>;
  data: Uint8Array;
}

export interface Transformer {
  transform(event: Event): Outgoing;
}
