// .dockerignore: which paths of a build directory stay out of the image.

import { posix } from 'node:path';
import { ContainerError } from '../errors.ts';

interface Rule {
  readonly expression: RegExp;
  readonly excludes: boolean;
}

/** A .dockerignore of this many lines is a mistake, and every path is held against every line. */
const MAX_RULES = 2_000;

/**
 * The rules of a .dockerignore. Of the rules that match a path, or a directory above it, the last one counts.
 * Source: Docker's documentation of .dockerignore, and moby's `patternmatcher`, whose `MatchesOrParentMatches` this follows.
 */
export class IgnoreFile {
  private readonly rules: readonly Rule[];
  /** Whether some rule brings paths back: then a directory that is left out must still be looked into. */
  readonly hasExceptions: boolean;

  private constructor(rules: readonly Rule[]) {
    this.rules = rules;
    this.hasExceptions = rules.some(({ excludes }) => !excludes);
  }

  /** Parses the text of a .dockerignore. Throws `BUILD_FAILED` naming the line that cannot be understood. */
  static parse(text: string): IgnoreFile {
    const rules: Rule[] = [];
    for (const [index, line] of text
      .replace(/^\uFEFF/, '')
      .split(/\r?\n/)
      .entries()) {
      if (line.startsWith('#')) continue;
      const rule = parseRule(line.trim(), index + 1);
      if (rule !== undefined) rules.push(rule);
      if (rules.length > MAX_RULES)
        throw new ContainerError(
          'LIMIT_EXCEEDED',
          `cannot build: .dockerignore has more than ${MAX_RULES} rules`,
        );
    }
    return new IgnoreFile(rules);
  }

  /** Whether `path` (relative, `/` between parts) stays out. */
  excludes(path: string): boolean {
    const parts = path.split('/');
    const candidates = parts.map((_, index) => parts.slice(0, index + 1).join('/'));
    const decisive = this.rules.findLast(({ expression }) =>
      candidates.some((each) => expression.test(each)),
    );
    return decisive?.excludes ?? false;
  }
}

function parseRule(line: string, number: number): Rule | undefined {
  const excludes = !line.startsWith('!');
  const pattern = excludes ? line : line.slice(1).trim();
  if (pattern === '') {
    if (excludes) return undefined;
    throw new ContainerError('BUILD_FAILED', `cannot build: line ${number} of .dockerignore is only "!"`);
  }
  // Cleaned as Go's filepath.Clean does: a leading slash means the root of the build directory, which it is anyway.
  const clean = posix
    .normalize(pattern)
    .replace(/^(\.?\/)+/, '')
    .replace(/\/+$/, '');
  if (clean === '' || clean === '.') return undefined;
  try {
    return { expression: new RegExp(`^${expressionOf(clean)}$`, 'u'), excludes };
  } catch (cause) {
    throw new ContainerError(
      'BUILD_FAILED',
      `cannot build: line ${number} of .dockerignore is no pattern: ${line}`,
      {
        cause,
        hint: 'patterns are those of Docker: *, ?, [a-z], ** and ! for exceptions',
      },
    );
  }
}

/** `*` and `?` stop at a slash; `**` stands for any number of directories, none included. */
function expressionOf(pattern: string): string {
  let expression = '';
  for (let at = 0; at < pattern.length; at += 1) {
    const character = pattern.charAt(at);
    if (character === '*' && pattern.charAt(at + 1) === '*') {
      at += 1;
      if (pattern.charAt(at + 1) === '/') at += 1;
      expression += at + 1 >= pattern.length ? '.*' : '(?:.*/)?';
    } else if (character === '*') expression += '[^/]*';
    else if (character === '?') expression += '[^/]';
    else if (character === '[') {
      const end = pattern.indexOf(']', at + 1);
      if (end < 0) throw new SyntaxError('[ without ]');
      expression += `[${pattern.slice(at + 1, end).replaceAll('\\', '\\\\')}]`;
      at = end;
    } else {
      if (character === '\\' && at + 1 < pattern.length) at += 1;
      expression += pattern.charAt(at).replace(/[\^$\\.*+?()[\]{}|/]/u, '\\$&');
    }
  }
  return expression;
}
