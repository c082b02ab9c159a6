// Who may talk to the Docker-compatible API: the socket's permissions, TCP with certificates only, versions and refusals.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ContainerEngine } from '@heptad/container';
import { DockerApiServer } from '@heptad/container/docker-api';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let home: string;
let engine: ContainerEngine;
let socketPath: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'hpts-'));
  engine = await ContainerEngine.open({ home, runtime: 'process', network: 'none' });
  socketPath = join(home, 'docker.sock');
});

afterAll(async () => {
  await engine.close();
  await rm(home, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: IncomingMessage['headers'];
}

function ask(method: string, path: string, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({ socketPath, method, path }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += String(chunk);
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text, headers: response.headers }),
      );
    });
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}

describe('the socket', () => {
  it('belongs to its owner, or to a group that is named; nobody else may use it', async () => {
    {
      await using _server = await DockerApiServer.start({ engine, socketPath });
      expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
      await expect(DockerApiServer.start({ engine, socketPath })).rejects.toMatchObject({
        code: 'HOME_IN_USE',
      });
    }
    await expect(stat(socketPath)).rejects.toMatchObject({ code: 'ENOENT' });
    const gid = process.getgid?.() ?? 0;
    await using _server = await DockerApiServer.start({ engine, socketPath, group: String(gid) });
    expect(await stat(socketPath)).toMatchObject({ gid });
    expect((await stat(socketPath)).mode & 0o777).toBe(0o660);
  });

  it('takes the place of one that nobody listens on, and of nothing else', async () => {
    const stale = join(home, 'stale.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script], { timeout: 10_000 });
    expect((await stat(stale)).isSocket()).toBe(true);
    await using server = await DockerApiServer.start({ engine, socketPath: stale });
    expect(server.addresses).toEqual([`unix://${stale}`]);
  });

  it('refuses what cannot be: no address, an unknown group, a file in its place, no directory', async () => {
    const file = join(home, 'file');
    await writeFile(file, '');
    await expect(DockerApiServer.start({ engine })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(DockerApiServer.start({ engine, socketPath, group: 'no-such-group' })).rejects.toMatchObject(
      { code: 'INVALID_ARGUMENT' },
    );
    await expect(DockerApiServer.start({ engine, socketPath: file })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    await expect(
      DockerApiServer.start({ engine, socketPath: join(home, 'no', 'x.sock') }),
    ).rejects.toMatchObject({ code: 'PATH_NOT_FOUND' });
  });
});

describe('TCP', () => {
  it('lets in only who has a certificate of the authority', async () => {
    const openssl = (...args: string[]): void =>
      void execFileSync('openssl', args, { cwd: home, stdio: 'ignore' });
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=authority',
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
    );
    await writeFile(join(home, 'san'), 'subjectAltName=IP:127.0.0.1');
    for (const name of ['server', 'client']) {
      openssl(
        'req',
        '-new',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-subj',
        `/CN=${name}`,
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.csr`,
      );
      openssl(
        'x509',
        '-req',
        '-in',
        `${name}.csr`,
        '-CA',
        'ca.pem',
        '-CAkey',
        'ca.key',
        '-CAcreateserial',
        '-days',
        '2',
        '-extfile',
        'san',
        '-out',
        `${name}.pem`,
      );
    }
    const read = (name: string): Promise<Buffer> => readFile(join(home, name));
    const tls = { cert: await read('server.pem'), key: await read('server.key'), ca: await read('ca.pem') };
    await using server = await DockerApiServer.start({ engine, tcp: { host: '127.0.0.1', port: 0, tls } });
    const port = Number(server.addresses[0]?.split(':').at(-1));
    const ping = (identity: object): Promise<number> =>
      new Promise((resolve, reject) => {
        const outgoing = httpsRequest(
          { host: '127.0.0.1', port, path: '/_ping', ca: tls.ca, agent: false, ...identity },
          (response) => {
            response.resume();
            resolve(response.statusCode ?? 0);
          },
        );
        outgoing.once('error', reject);
        outgoing.end();
      });
    expect(await ping({ cert: await read('client.pem'), key: await read('client.key') })).toBe(200);
    await expect(ping({})).rejects.toThrow();
  });
});

describe('requests', () => {
  it('are taken with and without a version; others are told which versions there are', async () => {
    await using _server = await DockerApiServer.start({ engine, socketPath });
    expect(await ask('GET', '/_ping')).toMatchObject({
      status: 200,
      text: 'OK',
      headers: { 'api-version': '1.41' },
    });
    expect((await ask('GET', '/v1.24/info')).status).toBe(200);
    expect(await ask('GET', '/v1.99/info')).toMatchObject({
      status: 400,
      text: expect.stringContaining('too new'),
    });
    expect(await ask('GET', '/v1.12/info')).toMatchObject({
      status: 400,
      text: expect.stringContaining('too old'),
    });
  });

  it('that are wrong are answered with a status and a sentence', async () => {
    await using _server = await DockerApiServer.start({ engine, socketPath });
    const refused = async (method: string, path: string, body?: string): Promise<[number, string]> => {
      const { status, text } = await ask(method, path, body);
      return [status, JSON.parse(text).message];
    };
    expect(await refused('GET', '/nothing')).toEqual([404, expect.stringContaining('page not found')]);
    expect(await refused('GET', '/containers/none/json')).toEqual([
      404,
      expect.stringContaining('No such container'),
    ]);
    expect(await refused('POST', '/containers/create', '{')).toEqual([
      400,
      expect.stringContaining('not JSON'),
    ]);
    expect(await refused('POST', '/containers/create', '{"Image":"none"}')).toEqual([
      404,
      expect.stringContaining('No such image'),
    ]);
    expect(await refused('GET', '/containers/json?filters=%7B%22no%22%3A%5B%22x%22%5D%7D')).toEqual([
      400,
      expect.stringContaining('invalid filter "no"'),
    ]);
    expect(await refused('POST', '/swarm/init', '{}')).toEqual([
      501,
      expect.stringContaining('does not support'),
    ]);
    expect(await refused('POST', '/networks/create', '{"Name":"n"}')).toEqual([
      501,
      expect.stringContaining('networks'),
    ]);
  });
});
