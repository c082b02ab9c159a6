// The images a Dockerfile builds on: found, so that they can be given from our store, and replaced by what they are there. Pure.

import { ContainerError } from '../errors.ts';

/** An image that a Dockerfile names. */
export interface NamedImage {
  /** As it is once its variables are filled in. */
  readonly name: string;
  /** Where the name is: number of the line from 0, and from which character to which. */
  readonly line: number;
  readonly from: number;
  readonly to: number;
}

/** A Dockerfile of more is no Dockerfile. */
const MAX_DOCKERFILE_CHARACTERS: number = 4 * 1024 * 1024;

/**
 * The images in `FROM` and in `--from=` of `COPY`, `ADD` and `RUN --mount`, without `scratch` and the names of stages.
 * Variables are those of `ARG` before the first `FROM`, overridden by `args`. Throws `BUILD_FAILED` naming the line.
 */
export function namedImages(text: string, args: Readonly<Record<string, string>> = {}): NamedImage[] {
  if (text.length > MAX_DOCKERFILE_CHARACTERS)
    throw new ContainerError('LIMIT_EXCEEDED', 'cannot build: the Dockerfile has more than 4 MiB');
  const found: NamedImage[] = [];
  const variables = new Map<string, string>();
  const stages = new Set<string>();
  let stageCount = 0;
  for (const [line, content] of instructions(text)) {
    if (stageCount === 0) declare(content, variables, args);
    const from = /^(\s*FROM\s+(?:--\S+\s+)*)(\S+)(?:\s+AS\s+(\S+))?/i.exec(content);
    if (from !== null) {
      const [, before = '', written = '', stage] = from;
      const name = substitute(written, variables, line);
      if (name !== 'scratch' && !stages.has(name.toLowerCase()))
        found.push({ name, line, from: before.length, to: before.length + written.length });
      if (stage !== undefined) stages.add(stage.toLowerCase());
      stageCount += 1;
      continue;
    }
    if (!/^\s*(COPY|ADD|RUN)\s/i.test(content)) continue;
    for (const match of content.matchAll(/(\s--from=|\s--mount=\S*?\bfrom=)([^\s,]+)/g)) {
      const [, before = '', written = ''] = match;
      const name = substitute(written, variables, line);
      // A number is a stage by its place.
      if (/^\d+$/.test(name) || stages.has(name.toLowerCase())) continue;
      const start = match.index + before.length;
      found.push({ name, line, from: start, to: start + written.length });
    }
  }
  if (stageCount > 0) return found;
  throw new ContainerError('BUILD_FAILED', 'cannot build: the Dockerfile has no FROM', {
    hint: 'begin it with FROM and the name of an image, or FROM scratch',
  });
}

/** The text with other names in the images' places. */
export function replaceImages(
  text: string,
  replacements: readonly (NamedImage & { readonly by: string })[],
): string {
  const lines = text.split('\n');
  // From the end of a line to its beginning, so that the places before stay where they are.
  for (const { line, from, to, by } of [...replacements].sort((one, other) => other.from - one.from)) {
    const content = lines[line] ?? '';
    lines[line] = content.slice(0, from) + by + content.slice(to);
  }
  return lines.join('\n');
}

/** Lines that may begin an instruction or go on with one: no comments, and nothing of a here-document. */
function* instructions(text: string): Generator<[line: number, content: string]> {
  let hereEnd: string | undefined;
  for (const [line, content] of text.split('\n').entries()) {
    if (hereEnd !== undefined) {
      if (content.replace(/^\t+|\r$/g, '') === hereEnd) hereEnd = undefined;
      continue;
    }
    if (/^\s*#/.test(content)) continue;
    yield [line, content];
    if (/^\s*(RUN|COPY|ADD)\s/i.test(content)) hereEnd = /<<-?["']?(\w+)["']?/.exec(content)?.[1];
  }
}

function declare(
  content: string,
  variables: Map<string, string>,
  args: Readonly<Record<string, string>>,
): void {
  const declared = /^\s*ARG\s+([A-Za-z_]\w*)(?:=(\S*))?/i.exec(content);
  const [, name, value] = declared ?? [];
  if (name === undefined) return;
  const given = args[name] ?? value?.replace(/^(["'])(.*)\1$/, '$2');
  if (given !== undefined) variables.set(name, given);
}

function substitute(text: string, variables: ReadonlyMap<string, string>, line: number): string {
  return text.replace(
    /\$(?:\{([A-Za-z_]\w*)(?::-([^}]*))?\}|([A-Za-z_]\w*))/g,
    (_, braced?: string, fallback?: string, plain?: string) => {
      const name = braced ?? plain ?? '';
      const value = variables.get(name) || fallback;
      if (value !== undefined) return value;
      throw new ContainerError(
        'BUILD_FAILED',
        `cannot build: line ${line + 1} of the Dockerfile names an image with $${name}, which has no value`,
        { hint: `give it with --build-arg ${name}=..., or declare "ARG ${name}=..." before the first FROM` },
      );
    },
  );
}
