// Real registries for the tests: Debian's docker-registry plain, with TLS and passwords, or with a token server; and a proxy with faults.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Why registries cannot be tested here; undefined when they can. With CI=true a missing one is a failure. */
export const noRegistry: string | undefined = whyNot([
  'docker-registry',
  'skopeo',
  'buildah',
  'htpasswd',
  'openssl',
]);

/** What is missing of some programs; throws in CI. */
export function whyNot(programs: readonly string[]): string | undefined {
  const path = (process.env.PATH ?? '').split(':').concat('/usr/sbin', '/sbin');
  const missing = programs.filter((name) => !path.some((directory) => existsSync(join(directory, name))));
  if (missing.length === 0) return undefined;
  const why = `not installed: ${missing.join(', ')}`;
  if (process.env.CI === 'true') throw new Error(`registries must work in CI: ${why}`);
  process.stderr.write(`skipped, ${why}\n`);
  return why;
}

/** Runs a program and returns its standard output; its standard error is in what it throws. */
export async function command(file: string, ...args: string[]): Promise<string> {
  const { stdout } = await execute(file, args, { maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

/** A port nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** How a registry is protected. */
export interface RegistryProtection {
  /** TLS with a certificate of an authority of its own, for localhost and 127.0.0.1. */
  readonly tls?: boolean;
  /** A user that must log in. */
  readonly basic?: { readonly username: string; readonly password: string };
  /** A token server that must be asked; see {@link TokenServer}. */
  readonly token?: TokenServer;
}

/** A running docker-registry. */
export interface Registry extends AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly host: string;
  readonly port: number;
  /** PEM of the authority, with TLS. */
  readonly ca: string;
  readonly caPath: string;
  /** Where it keeps blobs. */
  readonly storage: string;
}

/** Starts Debian's docker-registry in `home`. */
export async function startRegistry(home: string, protection: RegistryProtection = {}): Promise<Registry> {
  const directory = join(home, `registry-${randomBytes(4).toString('hex')}`);
  await mkdir(directory, { recursive: true });
  const port = await freePort();
  const lines = [
    'version: 0.1',
    'log: {level: error, accesslog: {disabled: true}}',
    `storage: {filesystem: {rootdirectory: ${directory}/storage}, delete: {enabled: true}}`,
    'http:',
    `  addr: 127.0.0.1:${port}`,
  ];
  let ca = '';
  const caPath = join(directory, 'ca.pem');
  if (protection.tls === true) {
    ca = await makeCertificates(directory);
    lines.push(`  tls: {certificate: ${directory}/server.pem, key: ${directory}/server.key}`);
  }
  if (protection.basic !== undefined) {
    const { username, password } = protection.basic;
    await writeFile(join(directory, 'htpasswd'), await command('htpasswd', '-Bbn', username, password));
    lines.push(`auth: {htpasswd: {realm: test, path: ${directory}/htpasswd}}`);
  }
  if (protection.token !== undefined) {
    const { realm, service, issuer, certificatePath } = protection.token;
    lines.push(
      `auth: {token: {realm: "${realm}", service: ${service}, issuer: ${issuer}, rootcertbundle: ${certificatePath}}}`,
    );
  }
  await writeFile(join(directory, 'config.yml'), `${lines.join('\n')}\n`);
  const child = spawn('docker-registry', ['serve', join(directory, 'config.yml')], { stdio: 'ignore' });
  await untilListening(port, child);
  return {
    host: `127.0.0.1:${port}`,
    port,
    ca,
    caPath,
    storage: join(directory, 'storage'),
    async [Symbol.asyncDispose]() {
      await stop(child);
    },
  };
}

/** Ends a process of ours and waits for it. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`);
    const isUp = await new Promise<boolean>((resolve) => {
      const probe = request({ host: '127.0.0.1', port, path: '/' }, (response) => {
        response.resume();
        resolve(true);
      });
      // A TLS server hangs up on plain HTTP: it listens.
      probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
      probe.end();
    });
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('docker-registry did not listen within 20 s');
}

/** An authority and a certificate of it, by openssl; returns the authority's PEM. */
async function makeCertificates(directory: string): Promise<string> {
  const at = (name: string): string => join(directory, name);
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await command(
    'openssl',
    ...['req', '-x509', ...newKey, '-keyout', at('ca.key'), '-out', at('ca.pem')],
    ...['-days', '2', '-subj', '/CN=heptad test authority'],
  );
  await writeFile(at('san.cnf'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  await command(
    'openssl',
    ...['req', ...newKey, '-keyout', at('server.key'), '-out', at('server.csr'), '-subj', '/CN=localhost'],
  );
  await command(
    'openssl',
    ...['x509', '-req', '-in', at('server.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key')],
    ...['-CAcreateserial', '-out', at('server.pem'), '-days', '2', '-extfile', at('san.cnf')],
  );
  return await readFile(at('ca.pem'), 'utf8');
}

/** A token server as registries with accounts have one. */
export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  readonly certificatePath: string;
  /** Every request for a token: how it proved itself, and the scopes it asked for. */
  readonly asked: { readonly method: string; readonly as: string; readonly scopes: readonly string[] }[];
  /** Seconds that tokens live. */
  lifetimeSeconds: number;
}

/** Starts a token server that knows one user and one identity token; others are refused. */
export async function startTokenServer(
  home: string,
  user: { readonly username: string; readonly password: string; readonly identityToken: string },
): Promise<TokenServer> {
  const directory = join(home, `tokens-${randomBytes(4).toString('hex')}`);
  await mkdir(directory, { recursive: true });
  const certificatePath = join(directory, 'token.pem');
  await command(
    'openssl',
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', join(directory, 'token.key')],
    ...['-out', certificatePath, '-days', '2', '-subj', '/CN=heptad test tokens'],
  );
  const key = createPrivateKey(await readFile(join(directory, 'token.key')));
  const certificate = (await readFile(certificatePath, 'utf8')).replace(/-----[A-Z ]+-----|\s/g, '');
  const asked: TokenServer['asked'] = [];
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const tokenFor = (scopes: readonly string[], lifetimeSeconds: number): string => {
    const now = Math.floor(Date.now() / 1000);
    const access = scopes.map((scope) => {
      const [type, name, actions = ''] = scope.split(':');
      return { type, name, actions: actions.split(',') };
    });
    const claims = {
      iss: 'heptad-test',
      sub: user.username,
      aud: 'registry.test',
      iat: now,
      // Clocks of one machine, but whole seconds.
      nbf: now - 5,
      exp: now + Math.max(1, lifetimeSeconds),
      jti: randomBytes(8).toString('hex'),
      access,
    };
    const text = `${part({ typ: 'JWT', alg: 'RS256', x5c: [certificate] })}.${part(claims)}`;
    return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
  };
  const basic = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString('base64')}`;
  const server = createServer(async (incoming, response) => {
    const url = new URL(incoming.url ?? '/', 'http://localhost');
    const form = new URLSearchParams(incoming.method === 'POST' ? await textOf(incoming) : '');
    const scopes = [...url.searchParams.getAll('scope'), ...(form.get('scope')?.split(' ') ?? [])].filter(
      (scope) => scope !== '',
    );
    const isUser = incoming.headers.authorization === basic;
    const isIdentity =
      form.get('refresh_token') === user.identityToken && form.get('grant_type') === 'refresh_token';
    asked.push({
      method: incoming.method ?? '',
      as: isUser ? 'user' : isIdentity ? 'identity' : 'nobody',
      scopes,
    });
    if (!isUser && !isIdentity) {
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"details":"who are you?"}');
      return;
    }
    const { lifetimeSeconds } = started;
    const token = tokenFor(scopes, lifetimeSeconds);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(
        isIdentity
          ? { access_token: token, expires_in: lifetimeSeconds }
          : { token, expires_in: lifetimeSeconds },
      ),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const started: TokenServer = {
    realm: `http://127.0.0.1:${port}/token`,
    service: 'registry.test',
    issuer: 'heptad-test',
    certificatePath,
    asked,
    lifetimeSeconds: 60,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return started;
}

async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** What a {@link FaultProxy} has seen of one request. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  /** Bytes of the answer's body that were sent. */
  sentBytes: number;
}

/** Spoils a request; `undefined` lets it pass. */
export type Fault = (
  incoming: IncomingMessage,
  response: ServerResponse,
  seen: SeenRequest,
) => FaultAction | undefined;

/** What a fault does to an answer. */
export type FaultAction =
  /** The fault has answered by itself. */
  | { readonly kind: 'answered' }
  /** The connection is cut after so many bytes of the body. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** Nothing more comes after so many bytes. */
  | { readonly kind: 'stall'; readonly afterBytes: number }
  /** The byte at this offset of the body is another. */
  | { readonly kind: 'corrupt'; readonly at: number }
  /** The registry's Range header is not passed on. */
  | { readonly kind: 'ignore-range' };

/** A registry with faults. */
export interface FaultProxy extends AsyncDisposable {
  readonly host: string;
  readonly seen: SeenRequest[];
  /** Asked for every request. */
  fault: Fault;
}

/** Starts a proxy in front of a plain registry. */
export async function startFaultProxy(registry: { readonly port: number }): Promise<FaultProxy> {
  const seen: SeenRequest[] = [];
  const server = createServer((incoming, response) => {
    const one: SeenRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers: incoming.headers,
      sentBytes: 0,
    };
    seen.push(one);
    const action = proxy.fault(incoming, response, one);
    if (action?.kind === 'answered') {
      incoming.resume();
      return;
    }
    const headers = { ...incoming.headers };
    if (action?.kind === 'ignore-range') delete headers.range;
    const forwarded = request(
      { host: '127.0.0.1', port: registry.port, method: incoming.method, path: incoming.url, headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.on('data', (chunk: Buffer) => {
          const part = spoil(chunk, one.sentBytes, action);
          one.sentBytes += part.length;
          const isOver = part.length < chunk.length;
          response.write(part, () => {
            if (isOver && action?.kind === 'cut') response.destroy();
          });
          if (isOver) answer.destroy();
        });
        answer.on('end', () => response.end());
      },
    );
    forwarded.on('error', () => response.destroy());
    incoming.pipe(forwarded);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const proxy: FaultProxy = {
    host: `127.0.0.1:${port}`,
    seen,
    fault: () => undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}

function spoil(chunk: Buffer, offset: number, action: FaultAction | undefined): Buffer {
  if (action?.kind === 'cut' || action?.kind === 'stall')
    return chunk.subarray(0, Math.max(0, action.afterBytes - offset));
  if (action?.kind !== 'corrupt' || action.at < offset || action.at >= offset + chunk.length) return chunk;
  const changed = Buffer.from(chunk);
  changed[action.at - offset] = (changed[action.at - offset] ?? 0) ^ 0xff;
  return changed;
}
