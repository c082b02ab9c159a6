// The everyday commands of Docker's own client against the engine's Docker-compatible API.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BUSYBOX, CLIENTS, noApi, ServedEngine } from './docker-api.ts';

// A busy machine takes its time.
const PATIENT = { timeout: 30_000, interval: 200 };

let served: ServedEngine;

beforeAll(async () => {
  if (noApi === undefined) served = await ServedEngine.start();
}, 60_000);

afterAll(async () => {
  await served?.[Symbol.asyncDispose]();
}, 60_000);

describe.skipIf(noApi !== undefined).each(CLIENTS)('%s', (client) => {
  const docker = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await served.docker(client, args);
    expect(code, `docker ${args.join(' ')}: ${stderr}`).toBe(0);
    return stdout.trim();
  };
  const refused = async (...args: string[]): Promise<string> => {
    const { code, stderr } = await served.docker(client, args);
    expect(code, `docker ${args.join(' ')} was not refused`).not.toBe(0);
    return stderr;
  };
  const name = (what: string): string => `${what}-${client.length}`;

  it('version and info agree on API 1.41', async () => {
    expect(await docker('version', '--format', '{{.Server.APIVersion}}')).toBe('1.41');
    expect(await docker('info', '--format', '{{.ServerVersion}} {{.OSType}}')).toMatch(/ linux$/);
  });

  it('run -d, ps, inspect, port: a published service answers on 127.0.0.1 only', async () => {
    const id = await docker(
      'run',
      '-d',
      '--name',
      name('web'),
      '-p',
      '8080',
      '-l',
      'a=b',
      BUSYBOX,
      'httpd',
      '-f',
      '-p',
      '8080',
    );
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(await docker('ps', '--filter', 'label=a=b', '--format', '{{.Names}} {{.Image}} {{.State}}')).toBe(
      `${name('web')} ${BUSYBOX} running`,
    );
    const address = await docker('port', name('web'), '8080');
    expect(address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect((await fetch(`http://${address}/`)).status).toBe(404);
    expect(
      await docker(
        'inspect',
        '-f',
        '{{.State.Status}} {{.Config.Image}} {{.NetworkSettings.IPAddress}}',
        id.slice(0, 3),
      ),
    ).toMatch(new RegExp(`^running ${BUSYBOX} 10\\.215\\.`));
    await docker('rm', '-f', name('web'));
    expect(await docker('ps', '-a', '--filter', `name=${name('web')}`, '-q')).toBe('');
  });

  it('run --rm answers output, errors and exit code, and leaves nothing', async () => {
    const run = ['run', '--rm', '--name', name('brief'), '-e', 'WORD=hello', BUSYBOX, 'sh', '-c'];
    const result = await served.docker(client, [...run, 'echo $WORD $FROM_IMAGE; echo oops >&2; exit 7']);
    expect(result).toEqual({ code: 7, stdout: 'hello yes\n', stderr: 'oops\n' });
    await expect.poll(() => docker('ps', '-a', '--filter', `name=${name('brief')}`, '-q'), PATIENT).toBe('');
  });

  it('run -i hands standard input on, to its end', async () => {
    const { code, stdout } = await served.docker(
      client,
      ['run', '-i', '--rm', BUSYBOX, 'wc', '-c'],
      'x'.repeat(100_000),
    );
    expect([code, stdout.trim()]).toEqual([0, '100000']);
  });

  it('logs: all, by tail, with time stamps, followed to the end', async () => {
    await docker(
      'run',
      '-d',
      '--name',
      name('talk'),
      BUSYBOX,
      'sh',
      '-c',
      'for i in 1 2 3; do echo line $i; sleep 0.2; done',
    );
    expect(await docker('logs', '-f', name('talk'))).toBe('line 1\nline 2\nline 3');
    expect(await docker('logs', '--tail', '1', name('talk'))).toBe('line 3');
    expect(await docker('logs', '-t', name('talk'))).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z line 1$/m);
    await docker('rm', name('talk'));
  });

  it('exec: output, input, user, directory, environment, exit code', async () => {
    await docker('run', '-d', '--name', name('host'), BUSYBOX, 'sleep', '1000');
    const exec = await served.docker(
      client,
      [
        'exec',
        '-i',
        '-u',
        '1000',
        '-w',
        '/tmp',
        '-e',
        'A=1',
        name('host'),
        'sh',
        '-c',
        'id -u; pwd; echo $A; cat; exit 3',
      ],
      'typed',
    );
    expect(exec).toMatchObject({ code: 3, stdout: '1000\n/tmp\n1\ntyped' });
    expect((await served.docker(client, ['exec', name('host'), 'no-such-program'])).code).toBeGreaterThan(0);
    await docker('rm', '-f', name('host'));
  });

  it('top shows the processes', async () => {
    await docker('run', '-d', '--name', name('busy'), BUSYBOX, 'sleep', '1000');
    expect(await docker('top', name('busy'))).toContain('sleep 1000');
    await docker('rm', '-f', name('busy'));
  });

  it('cp: a file in, a directory out', async () => {
    const directory = await mkdtemp(join(served.home, 'cp-'));
    await writeFile(join(directory, 'in.txt'), 'copied');
    await docker('run', '-d', '--name', name('files'), BUSYBOX, 'sleep', '1000');
    await docker('cp', join(directory, 'in.txt'), `${name('files')}:/tmp/in.txt`);
    expect(await docker('exec', name('files'), 'cat', '/tmp/in.txt')).toBe('copied');
    await docker(
      'exec',
      name('files'),
      'sh',
      '-c',
      'mkdir -p /var/d/e; echo deep > /var/d/e/f; ln -s e /var/d/l',
    );
    await docker('cp', `${name('files')}:/var/d`, directory);
    expect(await readFile(join(directory, 'd', 'e', 'f'), 'utf8')).toBe('deep\n');
    expect(await docker('diff', name('files'))).toContain('A /tmp/in.txt');
    expect(await refused('cp', `${name('files')}:/no/such`, directory)).toMatch(/No such|not find/i);
    await docker('rm', '-f', name('files'));
    await rm(directory, { recursive: true });
  });

  it('create, start, stop, restart, kill, wait: states and exit codes', async () => {
    await docker('create', '--name', name('life'), '--stop-timeout', '1', BUSYBOX, 'sleep', '1000');
    const status = (): Promise<string> =>
      docker('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', name('life'));
    expect(await status()).toBe('created 0');
    await docker('start', name('life'));
    expect(await status()).toBe('running 0');
    await docker('stop', name('life'));
    expect(await status()).toBe('exited 137');
    await docker('restart', name('life'));
    expect(await status()).toBe('running 0');
    const waiting = docker('wait', name('life'));
    await docker('kill', '-s', 'KILL', name('life'));
    expect(await waiting).toBe('137');
    expect(await refused('kill', name('life'))).toContain('not running');
    await docker('rm', name('life'));
  });

  it('pause, unpause, rename, update, stats', async () => {
    await docker('run', '-d', '--name', name('tune'), BUSYBOX, 'sleep', '1000');
    await docker('pause', name('tune'));
    expect(await docker('ps', '--filter', 'status=paused', '--format', '{{.Names}}')).toBe(name('tune'));
    await docker('unpause', name('tune'));
    await docker('rename', name('tune'), name('tuned'));
    await docker('update', '--memory', '64m', '--cpus', '0.5', name('tuned'));
    expect(
      await docker('inspect', '-f', '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}', name('tuned')),
    ).toBe('67108864 500000000');
    expect(
      await docker('stats', '--no-stream', '--format', '{{.Name}} {{.MemUsage}}', name('tuned')),
    ).toMatch(/ \/ 64MiB$/);
    await docker('rm', '-f', name('tuned'));
  });

  it('images, history, tag, rmi, save, load', async () => {
    expect(await docker('images', '--format', '{{.Repository}}:{{.Tag}}')).toContain(BUSYBOX);
    expect(await docker('history', '--format', '{{.CreatedBy}}', BUSYBOX)).toBe('busybox-static');
    const other = `other/${name('image')}:2`;
    await docker('tag', BUSYBOX, other);
    const archive = join(served.home, `${name('saved')}.tar`);
    await docker('save', '-o', archive, other);
    await docker('rmi', other);
    expect(await refused('image', 'inspect', other)).toContain('No such image');
    expect(await docker('load', '-i', archive)).toContain(`Loaded image: ${other}`);
    expect(await docker('image', 'inspect', '-f', '{{.Id}}', other)).toBe(
      await docker('image', 'inspect', '-f', '{{.Id}}', BUSYBOX),
    );
    await docker('rmi', other);
  });

  it('commit and export: a container becomes an image and an archive', async () => {
    await docker('run', '--name', name('made'), BUSYBOX, 'sh', '-c', 'echo new > /made');
    const image = `made/${name('image')}`;
    await docker('commit', '-m', 'why', name('made'), image);
    expect(await docker('run', '--rm', image, 'cat', '/made')).toBe('new');
    const archive = join(served.home, `${name('export')}.tar`);
    await docker('export', '-o', archive, name('made'));
    expect((await readFile(archive)).includes('made')).toBe(true);
    await docker('rm', name('made'));
    await docker('rmi', image);
  });

  it('volumes: named ones keep their files, anonymous ones go with --rm, used ones stay', async () => {
    const volume = name('volume');
    await docker('volume', 'create', '--label', 'x=y', volume);
    await docker('run', '--rm', '-v', `${volume}:/data`, BUSYBOX, 'sh', '-c', 'echo kept > /data/f');
    await docker('run', '-d', '--name', name('holder'), '-v', `${volume}:/data:ro`, BUSYBOX, 'sleep', '1000');
    expect(await docker('exec', name('holder'), 'cat', '/data/f')).toBe('kept');
    expect(await refused('volume', 'rm', volume)).toContain('in use');
    await docker('rm', '-f', name('holder'));
    expect(await docker('volume', 'ls', '-q', '--filter', 'label=x=y')).toBe(volume);
    await docker('volume', 'rm', volume);
    const before = await docker('volume', 'ls', '-q');
    await docker('run', '--rm', '-v', '/anonymous', BUSYBOX, 'true');
    await expect.poll(() => docker('volume', 'ls', '-q'), PATIENT).toBe(before);
  });

  it('network ls and inspect; none is none', async () => {
    expect(await docker('network', 'ls', '--format', '{{.Name}} {{.Driver}}')).toBe(
      'bridge bridge\nhost host\nnone null',
    );
    expect(await docker('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Subnet}}', 'bridge')).toMatch(
      /^10\.215\.\d+\.0\/24$/,
    );
    expect(await docker('run', '--rm', '--network', 'none', BUSYBOX, 'ls', '/sys/class/net')).toBe('lo');
  });

  it('networks of one’s own: containers find each other by name and alias, and nobody else does', async () => {
    const network = name('network');
    await docker('network', 'create', '--label', 'n=1', network);
    await docker(
      'run',
      '-d',
      '--name',
      name('server'),
      '--network',
      network,
      '--network-alias',
      'db',
      BUSYBOX,
      'httpd',
      '-f',
      '-p',
      '80',
    );
    const ask = (host: string): string[] => [
      'run',
      '--rm',
      '--network',
      network,
      BUSYBOX,
      'wget',
      '-q',
      '-O-',
      `http://${host}/`,
    ];
    // A 404 is an answer, too: the name was found.
    expect(await refused(...ask(name('server')))).toContain('404');
    expect(await refused(...ask('db'))).toContain('404');
    expect(await refused(...ask('nobody'))).not.toContain('404');
    expect(await refused('network', 'rm', network)).toContain('containers are on it');
    await docker('run', '-d', '--name', name('late'), BUSYBOX, 'sleep', '1000');
    await docker('network', 'connect', '--alias', 'late', network, name('late'));
    expect(await docker('network', 'inspect', '-f', '{{len .Containers}}', network)).toBe('2');
    await docker('network', 'disconnect', network, name('late'));
    await docker('rm', '-f', name('late'), name('server'));
    expect(await docker('network', 'prune', '-f', '--filter', 'label=n=1')).toContain(network);
  });

  it('events tell of a life in order', async () => {
    const since = String(Math.floor(Date.now() / 1000) - 1);
    await docker('run', '--rm', '--name', name('seen'), BUSYBOX, 'true');
    const events = (): Promise<string> =>
      docker(
        'events',
        '--since',
        since,
        '--until',
        '0s',
        '--filter',
        `container=${name('seen')}`,
        '--format',
        '{{.Action}}',
      );
    await expect.poll(events, PATIENT).toBe('create\nstart\ndie\ndestroy');
  });

  it('system df, container prune', async () => {
    expect(await docker('system', 'df', '--format', '{{.Type}}')).toContain('Images');
    await docker('create', '--name', name('old'), BUSYBOX);
    expect(await docker('container', 'prune', '-f', '--filter', 'until=0s')).toMatch(/[0-9a-f]{64}/);
  });

  it('says what is wrong: unknown image, name in use, privileged, port in use, missing program', async () => {
    await docker('create', '--name', name('taken'), BUSYBOX);
    expect(await refused('create', '--name', name('taken'), BUSYBOX)).toContain('taken');
    expect(await refused('create', '--privileged', BUSYBOX)).toContain('Privileged is not supported');
    expect(await refused('run', '--pull', 'never', 'no/such:image')).toMatch(/no such image/i);
    expect(await refused('run', '--rm', BUSYBOX, 'no-such-program')).toContain('executable file not found');
    expect(await refused('swarm', 'init')).toContain('heptad does not support this');
    await docker('rm', name('taken'));
  });
});
