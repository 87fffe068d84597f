// What a plugin finds without its own code: the gateway's imports, and what the build adds to the engine.

declare module "hookweir:plugin/host@0.1.0" {
  const host: {
    /** Writes a line to the plugin's log, kept with the attempt. */
    log(level: "debug" | "info" | "warn" | "error", message: string): void;
    /** The plugin's `config` table as JSON text, `{}` where there is none. */
    config(): string;
  };
  export default host;
}

/** Lines of the plugin's log. */
declare const console: {
  debug(...values: unknown[]): void;
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
  trace(...values: unknown[]): void;
  dir(value: unknown): void;
  assert(holds: unknown, ...values: unknown[]): void;
};

/** UTF-8 alone, and all of the data at once. */
declare class TextDecoder {
  constructor(label?: "utf-8", options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: "utf-8";
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(data?: ArrayBufferView | ArrayBuffer): string;
}

declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
}
