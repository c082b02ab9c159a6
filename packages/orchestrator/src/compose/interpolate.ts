// Variables in Compose values: $NAME, ${NAME}, ${NAME:-default}, ${NAME:?message}, ${NAME:+instead}, $$.

/** What interpolation made of a text. */
export interface Interpolated {
  readonly text: string;
  /** What is wrong, as sentences; empty when nothing is. */
  readonly problems: readonly { readonly message: string; readonly hint: string }[];
}

/** Defaults may contain variables, whose defaults may contain variables, ...: this deep at most. */
const MAXIMUM_DEPTH = 10;

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;

/**
 * Replaces variables as the Compose Specification says, except that a variable that is not set and has no default is
 * a problem, not an empty text: half of all broken deployments begin with one.
 *
 * Source: Compose Specification, "Interpolation".
 */
export function interpolate(text: string, environment: Readonly<Record<string, string>>): Interpolated {
  const problems: { message: string; hint: string }[] = [];
  const result = expand(text, environment, problems, 0);
  return { text: result, problems };
}

type Problems = { message: string; hint: string }[];

function expand(
  text: string,
  environment: Readonly<Record<string, string>>,
  problems: Problems,
  depth: number,
): string {
  if (!text.includes('$')) return text;
  if (depth > MAXIMUM_DEPTH) {
    problems.push({ message: `variables are nested deeper than ${MAXIMUM_DEPTH}`, hint: 'write it plainer' });
    return text;
  }
  let result = '';
  let at = 0;
  while (at < text.length) {
    const dollar = text.indexOf('$', at);
    if (dollar < 0) break;
    result += text.slice(at, dollar);
    const next = text[dollar + 1];
    if (next === '$') {
      result += '$';
      at = dollar + 2;
    } else if (next === '{') {
      const end = closingBrace(text, dollar + 2);
      if (end < 0) {
        problems.push({
          message: `"${text.slice(dollar)}" has no closing brace`,
          hint: 'write $$ for a dollar sign',
        });
        return result + text.slice(dollar);
      }
      result += braced(text.slice(dollar + 2, end), environment, problems, depth);
      at = end + 1;
    } else {
      NAME.lastIndex = dollar + 1;
      const name = NAME.exec(text)?.[0];
      if (name === undefined) {
        problems.push({
          message: `the dollar sign in "${text}" begins no variable`,
          hint: 'write $$ for a dollar sign',
        });
        return result + text.slice(dollar);
      }
      result += variable(name, environment, problems);
      at = dollar + 1 + name.length;
    }
  }
  return result + text.slice(at);
}

/** Position of the brace that closes the one before `start`. */
function closingBrace(text: string, start: number): number {
  let open = 1;
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === '{' && text[at - 1] === '$') open += 1;
    else if (text[at] === '}') open -= 1;
    if (open === 0) return at;
  }
  return -1;
}

function variable(name: string, environment: Readonly<Record<string, string>>, problems: Problems): string {
  const value = environment[name];
  if (value !== undefined) return value;
  problems.push({
    message: `the variable ${name} is not set`,
    hint: `set it, or give it a default: \${${name}:-something} (\${${name}:-} for none)`,
  });
  return '';
}

function braced(
  inner: string,
  environment: Readonly<Record<string, string>>,
  problems: Problems,
  depth: number,
): string {
  const match = /^([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])([\s\S]*))?$/.exec(inner);
  const name = match?.[1];
  if (match === null || name === undefined) {
    problems.push({
      message: `"\${${inner}}" is no variable`,
      hint: `write ${'$'}{NAME}, ${'$'}{NAME:-default}, ${'$'}{NAME:?message} or ${'$'}{NAME:+instead}; $$ for a dollar sign`,
    });
    return '';
  }
  const operator = match[2];
  const argument = match[3] ?? '';
  if (operator === undefined) return variable(name, environment, problems);
  const value = environment[name];
  // With a colon an empty variable counts as not set.
  const set = value !== undefined && !(operator.startsWith(':') && value === '');
  switch (operator.at(-1)) {
    case '-':
      return set ? value : expand(argument, environment, problems, depth + 1);
    case '+':
      return set ? expand(argument, environment, problems, depth + 1) : '';
    default: {
      if (set) return value;
      const message = expand(argument, environment, problems, depth + 1);
      problems.push({
        message: message === '' ? `the variable ${name} is required` : `${name}: ${message}`,
        hint: `set the variable ${name}`,
      });
      return '';
    }
  }
}
