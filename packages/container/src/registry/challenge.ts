// Reads WWW-Authenticate: which schemes a registry accepts, and where its tokens come from.

/** One scheme of the header with its parameters. */
export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** Names are in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

const TOKEN = /[A-Za-z0-9!#$%&'*+.^_`|~-]+/y;
const VALUE = /\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/y;
const SEPARATOR = /[\s,]*/y;
// Registries send one or two; a header of kilobytes is not from a registry.
const MAX_HEADER_LENGTH = 8_192;

/**
 * The challenges of a header, in its order. Grammar: RFC 9110, section 11.6.1; what does not follow it ends the list.
 */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, MAX_HEADER_LENGTH);
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(SEPARATOR);
    const word = take(TOKEN)?.[0];
    if (word === undefined) return challenges;
    const value = take(VALUE);
    const current = challenges.at(-1);
    if (value === undefined) {
      challenges.push({ scheme: word.toLowerCase(), parameters: Object.create(null) });
    } else if (current !== undefined) {
      current.parameters[word.toLowerCase()] = value[2] ?? (value[1] ?? '').replace(/\\(.)/g, '$1');
    }
  }
}
