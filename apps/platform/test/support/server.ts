// A real server in this process, with a home and ports of its own, and a way to talk to it.

import './require-ws.ts';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { type IncomingHttpHeaders, request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { ApiClient } from '../../src/client/api-client.ts';
import { configFromEnvironment, type PlatformConfig } from '../../src/config.ts';
import { runServer } from '../../src/server/run-server.ts';

/** What a request answered. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly body: any;
}

/** How to ask. */
export interface Ask {
  readonly token?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  /** Address to come from: who has no token is limited by it. */
  readonly from?: string;
  readonly port?: number;
}

function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

/** Two free ports in a row below those that the kernel gives to outgoing connections. */
async function freePorts(): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 11_000);
    if ((await isFree(first)) && (await isFree(first + 1))) return first;
  }
}

/** A running server. */
export class TestServer implements AsyncDisposable {
  readonly config: PlatformConfig;
  readonly firstAdmin: { readonly username: string; readonly password: string };
  readonly adminToken: string;
  readonly nodeToken: string;
  #running: AsyncDisposable;

  private constructor(config: PlatformConfig, running: AsyncDisposable, secrets: readonly string[]) {
    this.config = config;
    this.#running = running;
    this.firstAdmin = JSON.parse(secrets[0] ?? '');
    this.adminToken = secrets[1]?.trim() ?? '';
    this.nodeToken = secrets[2]?.trim() ?? '';
  }

  static async start(): Promise<TestServer> {
    const home = await mkdtemp(join(tmpdir(), 'heptad-server-'));
    const port = await freePorts();
    const config = { ...configFromEnvironment({ HEPTAD_HOME: home }), port, otlpPort: port + 1 };
    const running = await runServer({ config, logger: pino({ level: 'silent' }) });
    const secrets = ['first-admin.json', 'admin.token', 'node.token'];
    const texts = await Promise.all(secrets.map((name) => readFile(join(home, 'run', name), 'utf8')));
    return new TestServer(config, running, texts);
  }

  /** Ends it and starts it again over the same home. */
  async restart(): Promise<void> {
    await this.#running[Symbol.asyncDispose]();
    this.#running = await runServer({ config: this.config, logger: pino({ level: 'silent' }) });
  }

  get url(): string {
    return `http://127.0.0.1:${this.config.port}`;
  }

  client(token: string): ApiClient {
    return new ApiClient({ server: this.url, token });
  }

  /** One request on a connection of its own. */
  ask(method: string, path: string, ask: Ask = {}): Promise<Answer> {
    const { token, body, headers = {}, from = '127.0.0.1', port = this.config.port } = ask;
    return new Promise((resolve, reject) => {
      const asked = request(
        {
          host: '127.0.0.1',
          port,
          method,
          path,
          localAddress: from,
          agent: false,
          headers: {
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...headers,
          },
        },
        async (response) => {
          let text = '';
          for await (const chunk of response) text += String(chunk);
          const isJson = String(response.headers['content-type']).includes('json') && text !== '';
          const parsed: unknown = isJson ? JSON.parse(text) : undefined;
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: parsed });
        },
      );
      asked.on('error', reject);
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** As the local administrator. */
  admin(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.ask(method, path, { token: this.adminToken, body, headers });
  }

  /** A person with a role, logged in. */
  async person(
    name: string,
    role: string,
  ): Promise<{ password: string; accessToken: string; refreshToken: string }> {
    const { body: made } = await this.admin('POST', '/api/v1/users', { name, roles: [role] });
    const { body: tokens } = await this.ask('POST', '/api/v1/auth/login', {
      body: { username: name, password: made.password },
      from: '127.0.1.1',
    });
    return { password: made.password, accessToken: tokens.accessToken, refreshToken: tokens.refreshToken };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running[Symbol.asyncDispose]();
    await rm(this.config.home, { recursive: true, force: true });
  }
}

/** A service that nobody can run here: there is no node. */
export function serviceSpecOf(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    image: 'demo:1',
    replicas: 1,
    resources: { requests: { cpuMillis: 0, memoryBytes: 0, storageBytes: 0, networkMbps: 0 }, limits: {} },
    ports: [{ name: 'http', port: 8080 }],
    environment: {},
    dependencies: [],
    labels: {},
    volumes: [],
    ...more,
  };
}
