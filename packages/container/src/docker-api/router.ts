// Finds the route of a request. The table of routes is data: the server answers from it and the docs are made from it.

import type { ApiCall } from './call.ts';
import type { ApiContext } from './context.ts';

/** A way to answer. */
export type Handler = (context: ApiContext, call: ApiCall) => Promise<void> | void;

/** One endpoint. */
export interface Route {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  /** `{name}` is one part of the path, `{name...}` any number of parts. */
  readonly path: string;
  /** What it is, in Docker's words. */
  readonly summary: string;
  /** Absent: answered with 501 and `unsupported`. */
  readonly handler?: Handler;
  /** Why it is not supported, or what of it is not. */
  readonly note?: string;
  /** The connection may be taken out of HTTP. */
  readonly hijack?: boolean;
}

/** A route that fits a request. */
export interface Match {
  readonly route: Route;
  readonly parameters: Readonly<Record<string, string>>;
}

interface CompiledRoute {
  readonly route: Route;
  readonly pattern: RegExp;
  readonly names: readonly string[];
}

/** Matches paths against a table. */
export class Router {
  private readonly compiled: readonly CompiledRoute[];

  constructor(routes: readonly Route[]) {
    this.compiled = routes.map(compile);
  }

  /** The route for a method and a path without version; undefined when there is none. */
  match(method: string, path: string): Match | undefined {
    for (const { route, pattern, names } of this.compiled) {
      if (route.method !== method) continue;
      const found = pattern.exec(path);
      if (found === null) continue;
      const values = names.map((name, index) => [name, decode(found[index + 1] ?? '')] as const);
      return { route, parameters: Object.fromEntries(values) };
    }
    return undefined;
  }
}

function compile(route: Route): CompiledRoute {
  const names: string[] = [];
  const source = route.path.replace(
    /\{(\w+)(\.\.\.)?\}/g,
    (_whole, name: string, rest: string | undefined) => {
      names.push(name);
      return rest === undefined ? '([^/]+)' : '(.+)';
    },
  );
  return { route, pattern: new RegExp(`^${source}$`), names };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The version in front of a path, and the path without it. */
export function splitVersion(path: string): { version: string | undefined; rest: string } {
  const match = /^\/v(\d+\.\d+)(\/.*)$/.exec(path);
  return match === null ? { version: undefined, rest: path } : { version: match[1], rest: match[2] ?? '/' };
}
