// A real network namespace with a veth pair to it and a real HTTP server inside: what a container's network is.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Why namespaces cannot be used here, or undefined. */
export function namespacesMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    execFileSync('nft', ['--version'], { stdio: 'ignore' });
    execFileSync('nsenter', ['--version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'needs nft and nsenter';
  }
}

export interface TestNamespace extends AsyncDisposable {
  readonly name: string;
  readonly path: string;
  readonly hostAddress: string;
  readonly address: string;
  /** Runs JavaScript inside; resolves once it has printed a line. */
  run(code: string): Promise<{ child: ChildProcess; line: string }>;
  /** Packet rules inside, as nft prints them. */
  rules(): string;
}

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' });

export function createNamespace(index: number): TestNamespace {
  const name = `hdr${process.pid}x${index}`;
  const host = `hd${process.pid % 10_000}h${index}`;
  const peer = `hd${process.pid % 10_000}p${index}`;
  const net = `10.213.${(process.pid + index) % 250}`;
  const children: ChildProcess[] = [];
  ip('netns', 'add', name);
  ip('link', 'add', host, 'type', 'veth', 'peer', 'name', peer);
  ip('link', 'set', peer, 'netns', name);
  ip('addr', 'add', `${net}.1/24`, 'dev', host);
  ip('link', 'set', host, 'up');
  ip('-n', name, 'addr', 'add', `${net}.2/24`, 'dev', peer);
  ip('-n', name, 'link', 'set', peer, 'up');
  ip('-n', name, 'link', 'set', 'lo', 'up');
  return {
    name,
    path: `/run/netns/${name}`,
    hostAddress: `${net}.1`,
    address: `${net}.2`,
    async run(code) {
      const child = spawn('nsenter', [
        `--net=/run/netns/${name}`,
        process.execPath,
        '--input-type=module',
        '-e',
        code,
      ]);
      children.push(child);
      child.stderr.pipe(process.stderr);
      const line = await new Promise<string>((resolve, reject) => {
        createInterface({ input: child.stdout }).once('line', resolve);
        child.once('exit', (status) => reject(new Error(`program in namespace ended with ${status}`)));
      });
      return { child, line };
    },
    rules: () => execFileSync('nsenter', [`--net=/run/netns/${name}`, 'nft', 'list', 'ruleset']).toString(),
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill('SIGKILL');
      ip('netns', 'del', name);
      try {
        ip('link', 'del', host);
      } catch {
        // It went with its other end.
      }
    },
  };
}

/** An HTTP server for inside a namespace. */
export const SERVER = `
import { createServer } from 'node:http';
const server = createServer((request, response) => response.end('hello'));
server.keepAliveTimeout = 60000;
server.listen(8080, '0.0.0.0', () => console.log('listening'));
`;
