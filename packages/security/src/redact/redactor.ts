// Redactor: takes secrets out of logs, errors and everything else that people will read.

const REPLACEMENT = '***';
/** Shorter values occur by chance in ordinary text, and hiding them would make it unreadable. */
const MIN_SECRET_LENGTH = 6;
/** Bounds what a long-lived process remembers; beyond, the oldest goes (key names and patterns still apply). */
const MAX_SECRETS = 10_000;
const MAX_DEPTH = 16;

/** Names whose value is a secret wherever they occur: `password`, `DB_PASSWORD`, `apiKey`, `x-api-key`, `client_secret`... */
const SECRET_NAME =
  /(pass(word|wd|phrase)?|secret|token|api[-_]?key|private[-_]?key|access[-_]?key|encryption[-_]?key|signing[-_]?key|credential|authorization|cookie)s?$/i;
/** Names that look like the above and hold nothing secret. */
const PUBLIC_NAME = /^(token(_?type|s?_?count)?s?_?expires(_?at)?|secretEnvironment)$/i;

/** Forms of secrets that are told by their look alone. */
const PATTERNS: readonly (readonly [RegExp, string])[] = [
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}/gi, `$1 ${REPLACEMENT}`],
  [/\b(hpt|hrt)_[A-Za-z0-9._~-]{16,}/g, `$1_${REPLACEMENT}`],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*/g, REPLACEMENT],
  [/\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s@/]+@/gi, `$1:${REPLACEMENT}@`],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, REPLACEMENT],
  [
    /\b([A-Za-z0-9_-]*(?:password|passwd|secret|token|api[-_]?key))(["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&"']+)/gi,
    `$1$2${REPLACEMENT}`,
  ],
];

/**
 * Replaces secrets by `***`: known values (also in base64 and percent-encoded form), values under telling names, and what
 * looks like a token, a private key or a password in a URL.
 *
 * @example
 * ```ts
 * import { Redactor } from '@heptad/security';
 *
 * const redactor = new Redactor();
 * redactor.addSecret('hunter2-hunter2');
 * console.log(redactor.text('login with hunter2-hunter2 failed')); // login with *** failed
 * console.log(redactor.value({ user: 'ada', password: 'x' })); // { user: 'ada', password: '***' }
 * ```
 */
export class Redactor {
  readonly #secrets = new Set<string>();
  /** Longest first: a secret that begins with another one must not leave its rest behind. */
  #ordered: readonly string[] | undefined;

  /** Remembers a secret value; every later text loses it. Values under 6 characters are not remembered. */
  addSecret(secret: string): void {
    if (secret.length < MIN_SECRET_LENGTH) return;
    for (const form of [secret, Buffer.from(secret).toString('base64'), encodeURIComponent(secret)]) {
      this.#secrets.delete(form);
      this.#secrets.add(form);
    }
    for (const oldest of this.#secrets) {
      if (this.#secrets.size <= MAX_SECRETS) break;
      this.#secrets.delete(oldest);
    }
    this.#ordered = undefined;
  }

  /** The text without secrets. */
  text(text: string): string {
    let clean = text;
    this.#ordered ??= [...this.#secrets].sort((a, b) => b.length - a.length);
    for (const secret of this.#ordered) {
      if (clean.includes(secret)) clean = clean.replaceAll(secret, REPLACEMENT);
    }
    for (const [pattern, replacement] of PATTERNS) clean = clean.replace(pattern, replacement);
    return clean;
  }

  /** A copy without secrets, of plain data: strings cleaned, values under telling names replaced, errors as data. */
  value(value: unknown): unknown {
    return this.#copy(value, 0, new Set());
  }

  /** Environment variables for showing: those named in `secretNames`, and those with telling names, are replaced. */
  environment(
    environment: Readonly<Record<string, string>>,
    secretNames: readonly string[] = [],
  ): Record<string, string> {
    return Object.fromEntries(
      Object.entries(environment).map(([name, value]) => [
        name,
        secretNames.includes(name) || isSecretName(name) ? REPLACEMENT : this.text(value),
      ]),
    );
  }

  #copy(value: unknown, depth: number, ancestors: Set<object>): unknown {
    if (typeof value === 'string') return this.text(value);
    if (typeof value !== 'object' || value === null) return typeof value === 'function' ? undefined : value;
    if (depth > MAX_DEPTH) return '[too deep]';
    if (ancestors.has(value)) return '[circular]';
    // Bytes may be keys; nobody reads them in a log.
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
    ancestors.add(value);
    try {
      if (value instanceof Map) return this.#members([...value.entries()], depth, ancestors);
      if (Array.isArray(value) || value instanceof Set) {
        return [...value].map((item) => this.#copy(item, depth + 1, ancestors));
      }
      if (value instanceof Date) return value.toISOString();
      const own = Object.entries(value);
      if (value instanceof Error) {
        own.unshift(['name', value.name], ['message', value.message], ['stack', value.stack]);
        if (value.cause !== undefined) own.push(['cause', value.cause]);
      }
      return this.#members(own, depth, ancestors);
    } finally {
      ancestors.delete(value);
    }
  }

  #members(
    members: readonly (readonly [unknown, unknown])[],
    depth: number,
    ancestors: Set<object>,
  ): Record<string, unknown> {
    const copy: Record<string, unknown> = {};
    for (const [name, value] of members) {
      const key = this.text(String(name));
      const hide =
        isSecretName(String(name)) && value !== undefined && value !== null && typeof value !== 'boolean';
      Object.defineProperty(copy, key, {
        value: hide ? REPLACEMENT : this.#copy(value, depth + 1, ancestors),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    return copy;
  }
}

/** Whether a field, header or variable of this name holds a secret. */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) && !PUBLIC_NAME.test(name);
}
