// The API as the console uses it: one token, refreshed before it ends, and errors that say something.

import { now } from '../lib/clock.ts';
import { ProblemError, problemFrom, toProblemError } from './problem.ts';
import type { ListPage, Session } from './types.ts';

const STORAGE_KEY = 'heptad.session';
/** Refreshed this long before it ends, so that no request meets an expired token. */
const REFRESH_BEFORE_MS = 60_000;
/** Pages of a list followed at most: beyond 10,000 items a table helps nobody. */
const MAX_PAGES = 10;
const PAGE_SIZE = 1_000;

/** What the client tells of its session. */
export interface SessionObserver {
  /** A new session, or none: the user must log in again. `why` is shown then. */
  changed(session: Session | undefined, why?: string): void;
}

/** Talks to the platform. */
export class ApiClient {
  readonly #observer: SessionObserver;
  #session: Session | undefined;
  #refreshing: Promise<void> | undefined;

  constructor(observer: SessionObserver) {
    this.#observer = observer;
    this.#session = restored();
  }

  /** The session of this tab, if there is one. */
  get session(): Session | undefined {
    return this.#session;
  }

  async login(username: string, password: string): Promise<void> {
    const answer = await this.#send('/api/v1/auth/login', {
      method: 'POST',
      body: { username, password },
      anonymous: true,
    });
    this.#keep(parseSession(await answer.json()));
  }

  /** Forgets the session. */
  logout(why?: string): void {
    this.#keep(undefined, why);
  }

  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await this.open(path, signal)).json();
  }

  /** All items of a list, page after page. */
  async list<T>(path: string, signal?: AbortSignal): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const query = new URLSearchParams({
        limit: String(PAGE_SIZE),
        ...(cursor === undefined ? {} : { cursor }),
      });
      const answer = await this.get<ListPage<T>>(`${path}?${query}`, signal);
      items.push(...answer.items);
      cursor = answer.nextCursor;
      if (cursor === undefined) break;
    }
    return items;
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    return (await this.#send(path, { method: 'POST', body })).json();
  }

  /** A successful answer whose body is read by the caller, such as a stream. */
  open(path: string, signal?: AbortSignal, headers: Record<string, string> = {}): Promise<Response> {
    return this.#send(path, { headers, ...(signal === undefined ? {} : { signal }) });
  }

  async #send(
    path: string,
    request: {
      readonly method?: string;
      readonly body?: unknown;
      readonly headers?: Record<string, string>;
      readonly signal?: AbortSignal;
      readonly anonymous?: boolean;
    },
  ): Promise<Response> {
    if (request.anonymous !== true) await this.#refreshIfDue();
    const token = request.anonymous === true ? undefined : this.#session?.accessToken;
    const answer = await fetch(path, {
      method: request.method ?? 'GET',
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...request.headers,
      },
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    if (answer.ok) return answer;
    const problem = problemFrom(answer.status, await answer.json().catch(() => undefined));
    if (answer.status === 401 && request.anonymous !== true && token === this.#session?.accessToken) {
      this.logout(`Your session has ended (${problem.detail}). Please log in again.`);
    }
    throw problem;
  }

  async #refreshIfDue(): Promise<void> {
    const session = this.#session;
    if (session?.refreshToken === undefined || session.expiresAt - now() > REFRESH_BEFORE_MS) return;
    this.#refreshing ??= this.#refresh(session.refreshToken).finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
  }

  async #refresh(refreshToken: string): Promise<void> {
    try {
      const answer = await this.#send('/api/v1/auth/refresh', {
        method: 'POST',
        body: { refreshToken },
        anonymous: true,
      });
      this.#keep(parseSession(await answer.json()));
    } catch (error) {
      // A refusal ends the session. A network failure does not: the present token may still be good.
      if (
        error instanceof ProblemError &&
        error.status >= 400 &&
        error.status < 500 &&
        error.status !== 429
      ) {
        this.logout('Your session has ended. Please log in again.');
      }
      throw toProblemError(error);
    }
  }

  #keep(session: Session | undefined, why?: string): void {
    this.#session = session;
    if (session === undefined) sessionStorage.removeItem(STORAGE_KEY);
    else sessionStorage.setItem(STORAGE_KEY, JSON.stringify(session));
    this.#observer.changed(session, why);
  }
}

function restored(): Session | undefined {
  try {
    const text = sessionStorage.getItem(STORAGE_KEY);
    return text === null ? undefined : parseSession(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** The session in an answer; throws when it has not the form of one. */
export function parseSession(value: unknown): Session {
  if (
    typeof value === 'object' &&
    value !== null &&
    'accessToken' in value &&
    'expiresAt' in value &&
    'user' in value
  ) {
    const { accessToken, expiresAt, user } = value;
    const refreshToken =
      'refreshToken' in value && typeof value.refreshToken === 'string' ? value.refreshToken : undefined;
    if (
      typeof accessToken === 'string' &&
      typeof expiresAt === 'number' &&
      typeof user === 'object' &&
      user !== null
    ) {
      const name = 'name' in user && typeof user.name === 'string' ? user.name : '';
      const roles =
        'roles' in user && Array.isArray(user.roles)
          ? user.roles.filter((role) => typeof role === 'string')
          : [];
      return {
        accessToken,
        expiresAt,
        user: { name, roles },
        ...(refreshToken === undefined ? {} : { refreshToken }),
      };
    }
  }
  throw new Error('the server answered a login with something else than a session');
}
