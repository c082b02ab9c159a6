// Routes: `GET /items/:id` -> handler.

import { HeptadError, invalidArgument } from '@heptad/core';
import type { ServiceHandler } from './http.ts';

/** Handlers by method and path: `GET /items/:id`. Exact segments win over `:names`. */
export type ServiceRoutes = Readonly<Record<string, ServiceHandler>>;

interface Route {
  readonly method: string;
  readonly segments: readonly string[];
  readonly handler: ServiceHandler;
}

/** A compiled table of routes. */
export class RouteTable {
  readonly #routes: readonly Route[];

  /** Errors: `INVALID_ARGUMENT` for a malformed or double route. */
  constructor(routes: ServiceRoutes) {
    this.#routes = Object.entries(routes).map(([pattern, handler]) => compile(pattern, handler));
    const seen = new Set<string>();
    for (const { method, segments } of this.#routes) {
      const shape = `${method} /${segments.map((segment) => (segment.startsWith(':') ? ':' : segment)).join('/')}`;
      if (seen.has(shape)) throw invalidArgument(`two routes match the same requests: ${shape}`);
      seen.add(shape);
    }
  }

  /** The handler and the values of its `:names`. Errors: `NOT_FOUND`, `METHOD_NOT_ALLOWED`. */
  find(method: string, path: string): { handler: ServiceHandler; params: Record<string, string> } {
    const segments = split(path);
    const fitting = this.#routes.filter((route) => fits(route.segments, segments));
    // HEAD is answered by GET's handler; node leaves the body out.
    const wanted = method === 'HEAD' ? ['HEAD', 'GET'] : [method];
    const allowed = fitting.filter((route) => wanted.includes(route.method));
    const best = allowed.sort((a, b) => names(a) - names(b))[0];
    if (best === undefined) {
      if (fitting.length === 0) throw new HeptadError('NOT_FOUND', `there is nothing at ${path}`);
      const methods = fitting.map((route) => route.method).join(', ');
      throw new HeptadError('METHOD_NOT_ALLOWED', `${method} is not served at ${path}`, {
        hint: `use ${methods}`,
      });
    }
    const params: Record<string, string> = {};
    best.segments.forEach((segment, index) => {
      if (segment.startsWith(':')) params[segment.slice(1)] = decode(segments[index] ?? '');
    });
    return { handler: best.handler, params };
  }
}

function compile(pattern: string, handler: ServiceHandler): Route {
  const match = /^([A-Z]+) (\/\S*)$/.exec(pattern);
  if (match?.[1] === undefined || match[2] === undefined) {
    throw invalidArgument(`"${pattern}" is not a route`, 'write method and path, such as "GET /items/:id"');
  }
  return { method: match[1], segments: split(match[2]), handler };
}

function split(path: string): string[] {
  return path.split('/').filter((segment) => segment !== '');
}

function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  if (pattern.length !== segments.length) return false;
  return pattern.every((part, index) => part.startsWith(':') || part === segments[index]);
}

function names(route: Route): number {
  return route.segments.filter((segment) => segment.startsWith(':')).length;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new HeptadError('INVALID_ARGUMENT', `"${segment}" in the path is not valid percent-encoding`, {
      cause,
    });
  }
}
