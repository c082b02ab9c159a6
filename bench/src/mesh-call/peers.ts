// The peers, each in one process with one worker and kept-alive upstream connections, on loopback.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** A running process that answers at a port of loopback. */
export interface Server extends AsyncDisposable {
  readonly who: string;
  readonly version: string;
  readonly port: number;
  /** The process that does the forwarding. */
  readonly pid: number;
}

/** Kernel ticks a second in /proc/PID/stat. */
const TICKS_PER_SECOND = 100;

/** CPU time a process has used, in microseconds. */
export async function cpuMicros(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1_000_000) / TICKS_PER_SECOND;
}

/** A port of loopback that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Runs one of the programs beside this file; it prints its port when it listens. */
export async function startNode(who: string, file: string, ...argv: (string | number)[]): Promise<Server> {
  const child = spawn(
    process.execPath,
    ['--conditions=heptad-source', join(import.meta.dirname, file), ...argv.map(String)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (bytes) => resolve(String(bytes)));
    child.once('exit', (code) => reject(new Error(`${file} ended with exit code ${code}`)));
  });
  return serverOf(who, process.version, Number(line), child);
}

/** nginx, one worker. */
export async function startNginx(directory: string, backendPort: number): Promise<Server> {
  const port = await freePort();
  const home = join(directory, 'nginx');
  await mkdir(home);
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${home}/${kind};`,
  );
  const configuration = `
    worker_processes 1; daemon off; master_process off; pid ${home}/pid; error_log ${home}/error.log;
    events { worker_connections 1024; }
    http {
      access_log off; keepalive_requests 1000000000; ${paths.join(' ')}
      upstream backend { server 127.0.0.1:${backendPort}; keepalive 128; keepalive_requests 1000000000; }
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
                     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }
      }
    }`;
  await writeFile(join(home, 'nginx.conf'), configuration);
  const child = spawn('nginx', ['-p', home, '-c', join(home, 'nginx.conf')], { stdio: 'ignore' });
  const { stderr } = await execute('nginx', ['-v']);
  return answering(serverOf('nginx', /nginx\/(\S+)/.exec(stderr)?.[1] ?? 'unknown', port, child));
}

/** HAProxy, one thread. */
export async function startHaproxy(directory: string, backendPort: number): Promise<Server> {
  const port = await freePort();
  const path = join(directory, 'haproxy.cfg');
  const configuration = `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
listen bench
  bind 127.0.0.1:${port}
  server backend 127.0.0.1:${backendPort} pool-max-conn 256
`;
  await writeFile(path, configuration);
  const child = spawn('haproxy', ['-db', '-f', path], { stdio: 'ignore' });
  const { stdout } = await execute('haproxy', ['-v']);
  return answering(serverOf('haproxy', /version (\d[\d.]*)/.exec(stdout)?.[1] ?? 'unknown', port, child));
}

async function answering(server: Server): Promise<Server> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    try {
      await (await fetch(`http://127.0.0.1:${server.port}/`)).arrayBuffer();
      return server;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  await server[Symbol.asyncDispose]();
  throw new Error(`${server.who} does not answer on port ${server.port}`);
}

function serverOf(who: string, version: string, port: number, child: ChildProcess): Server {
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    who,
    version,
    port,
    pid: child.pid ?? 0,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
