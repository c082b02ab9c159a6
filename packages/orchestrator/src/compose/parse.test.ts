// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are variables of Compose files.
import { describe, expect, it } from 'vitest';
import { parseCompose } from './parse.ts';
import { ComposeError, type ComposeProblem } from './problems.ts';
import type { ComposeOptions } from './types.ts';

async function specOf(yaml: string, options: ComposeOptions = {}) {
  const project = await parseCompose(yaml, options);
  const [service] = project.services;
  if (service === undefined) throw new Error('no service');
  return service.spec;
}

async function problemsOf(yaml: string, options: ComposeOptions = {}): Promise<readonly ComposeProblem[]> {
  try {
    await parseCompose(yaml, options);
  } catch (error) {
    if (error instanceof ComposeError) return error.problems;
    throw error;
  }
  throw new Error('expected problems, found none');
}

/** A service `web` with the given lines. */
const web = (...lines: string[]): string =>
  ['services:', '  web:', '    image: web:1', ...lines.map((line) => `    ${line}`)].join('\n');

describe('parseCompose', () => {
  it('reads a service with all defaults', async () => {
    const project = await parseCompose(web(), { fileName: '/srv/My_Shop/compose.yaml' });
    expect(project).toMatchObject({ name: 'my-shop', policies: [], rules: [], volumes: [] });
    expect(project.services[0]).toMatchObject({
      name: 'web',
      spec: { image: 'web:1', replicas: 1, version: '1', restart: { condition: 'always' }, ports: [] },
    });
  });

  it.each([
    ['8080:80', { port: 80, published: 8080, publishedAddress: '127.0.0.1', protocol: 'TCP', name: '80' }],
    ['0.0.0.0:53:5353/udp', { port: 5353, published: 53, publishedAddress: '0.0.0.0', protocol: 'UDP' }],
    ['"[::1]:8080:80"', { port: 80, published: 8080, publishedAddress: '::1' }],
    [
      '{ target: 80, published: "8080", host_ip: 10.0.0.1, name: http }',
      { name: 'http', publishedAddress: '10.0.0.1' },
    ],
    ['{ target: 80 }', { port: 80 }],
  ])('reads the port %s', async (port, expected) => {
    const spec = await specOf(web(`ports: [${port}]`));
    expect(spec.ports).toHaveLength(1);
    expect(spec.ports[0]).toMatchObject(expected);
  });

  it('writes ranges of ports out', async () => {
    const spec = await specOf(web('ports: ["9000-9002:80-82"]'));
    expect(spec.ports.map((port) => [port.published, port.port])).toEqual([
      [9000, 80],
      [9001, 81],
      [9002, 82],
    ]);
  });

  it('reads environment as map and as list, with inherited and quoted values as they are', async () => {
    const environment = { HOME: '/root', EMPTY: '' };
    const map = await specOf(web('environment: { A: 1.10, B: true, HOME: , MISSING: , C: "x=y" }'), {
      environment,
    });
    expect(map.environment).toEqual({ A: '1.10', B: 'true', HOME: '/root', C: 'x=y' });
    const list = await specOf(web('environment: ["A=1", "B=x=y", HOME]'), { environment });
    expect(list.environment).toEqual({ A: '1', B: 'x=y', HOME: '/root' });
  });

  it('reads env_file, quotes, comments and references, and lets environment win', async () => {
    const files: Record<string, string> = {
      '/p/a.env': '# comment\nexport A=1\nB="two $A" # tail\nC=\'raw $A\'\nD=x # y\nE="a\\nb"\n',
      '/p/b.env': 'A=2\n',
    };
    const spec = await specOf(
      web(
        'env_file: [a.env, { path: b.env }, { path: none.env, required: false }]',
        'environment: { D: over }',
      ),
      {
        fileName: '/p/compose.yaml',
        readFile: async (path) => {
          const text = files[path];
          if (text === undefined) throw new Error('no such file');
          return text;
        },
      },
    );
    expect(spec.environment).toEqual({ A: '2', B: 'two 1', C: 'raw $A', D: 'over', E: 'a\nb' });
  });

  it('replaces variables everywhere but in keys, and names the ones that are missing', async () => {
    const environment = { TAG: '7', EMPTY: '' };
    const yaml = web(
      'environment:',
      '  A: $TAG-${TAG}-${NO:-d}-${EMPTY:-e}-${EMPTY-f}-${TAG:+set}-$$x',
      '  B: ${NO:-${ALSO_NO:-deep}}',
    );
    expect((await specOf(yaml, { environment })).environment).toEqual({ A: '7-7-d-e--set-$x', B: 'deep' });
    const problems = await problemsOf(web('environment: { A: "${NO}", B: "${NO:?give it}" }'));
    expect(problems.map((one) => one.message)).toEqual(['the variable NO is not set', 'NO: give it']);
  });

  it('reads numbers from variables', async () => {
    const spec = await specOf(web('deploy: { replicas: "${N:-3}" }'));
    expect(spec.replicas).toBe(3);
  });

  it('reads deploy', async () => {
    const spec = await specOf(
      web(
        'deploy:',
        '  replicas: 4',
        '  labels: { tier: front }',
        '  resources:',
        '    limits: { cpus: "0.5", memory: 512m, pids: 50 }',
        '    reservations: { cpus: 250m, memory: 128M }',
        '  restart_policy: { condition: on-failure, max_attempts: 5 }',
        '  update_config: { parallelism: 2, order: stop-first, delay: 10s, monitor: 5s, failure_action: pause }',
        '  placement: { constraints: ["node.labels.disk == ssd"] }',
      ),
    );
    expect(spec).toMatchObject({
      replicas: 4,
      labels: { tier: 'front' },
      resources: {
        limits: { cpuMillis: 500, memoryBytes: 512 * 1024 ** 2, pids: 50 },
        requests: { cpuMillis: 250, memoryBytes: 128 * 1024 ** 2, storageBytes: 0, networkMbps: 0 },
      },
      restart: { condition: 'on-failure', maxAttempts: 5 },
      update: { maxSurge: 0, maxUnavailable: 2, minReadyMs: 10_000, onFailure: 'pause' },
      constraints: ['node.labels.disk == ssd'],
    });
  });

  it.each([
    ['test: ["CMD", "curl", "-f", "x"]', ['curl', '-f', 'x']],
    ['test: ["CMD-SHELL", "curl x || exit 1"]', ['/bin/sh', '-c', 'curl x || exit 1']],
    ['test: curl x', ['/bin/sh', '-c', 'curl x']],
  ])('reads the health check %s', async (test, command) => {
    const spec = await specOf(web('healthcheck:', `  ${test}`, '  interval: 1m30s', '  retries: 5'));
    expect(spec.healthCheck).toMatchObject({ command, intervalMs: 90_000, retries: 5 });
  });

  it('reads a disabled health check as none', async () => {
    expect((await specOf(web('healthcheck: { test: ["NONE"] }'))).healthCheck).toBeUndefined();
    expect((await specOf(web('healthcheck: { disable: true }'))).healthCheck).toBeUndefined();
  });

  it('reads volumes, and replaces a service that writes to one stop-first', async () => {
    const yaml = `${web('volumes: ["data:/data", "./conf:/conf:ro", { type: tmpfs, target: /tmp, tmpfs: { size: 64m } }]')}\nvolumes: { data: }`;
    const spec = await specOf(yaml, { fileName: '/p/shop/compose.yaml' });
    expect(spec.volumes).toEqual([
      { type: 'volume', name: 'shop_data', target: '/data', readOnly: false },
      { type: 'bind', source: '/p/shop/conf', target: '/conf', readOnly: true },
      { type: 'tmpfs', target: '/tmp', sizeBytes: 64 * 1024 ** 2 },
    ]);
    expect(spec.update).toMatchObject({ maxSurge: 0, maxUnavailable: 1 });
  });

  it('mounts secrets and configs', async () => {
    const yaml = `${web('secrets: [password]', 'configs: [{ source: site, target: /etc/site.conf }]')}
secrets: { password: { environment: DB_PASSWORD } }
configs: { site: { content: "listen 80" } }`;
    const spec = await specOf(yaml, { environment: { DB_PASSWORD: 's3cret' } });
    expect(spec.files).toEqual(
      [
        { target: '/etc/site.conf', content: 'listen 80', secret: false },
        { target: '/run/secrets/password', content: 's3cret', secret: true },
      ].sort((a) => (a.secret ? -1 : 1)),
    );
  });

  it('reads commands as shells split them', async () => {
    const spec = await specOf(
      web(`command: run --name "two words" 'and $$three' a\\ b ""`, 'entrypoint: [node, x.js]'),
    );
    expect(spec.command).toEqual(['run', '--name', 'two words', 'and $three', 'a b', '']);
    expect(spec.entrypoint).toEqual(['node', 'x.js']);
  });

  it('reads x-heptad', async () => {
    const project = await parseCompose(`
services:
  web:
    image: web:1
    x-heptad:
      health: { http: 8080/health, interval: 2s, onFailure: none }
      facilities: [storage, events]
      runtime: oci
      traffic: tcp
      version: canary
      storage: 1g
      network: 100
      update: { maxSurge: 2, minReady: 5s, progressDeadline: 30s }
      networkPolicy: { ingress: [{ peers: [{ service: gateway }] }] }
x-heptad:
  policies: { deny-all: { selector: { service: db }, ingress: [] } }
  trafficRules: { canary: { target: { service: web, version: canary }, weight: 10 } }`);
    expect(project.services[0]?.spec).toMatchObject({
      healthCheck: { http: { path: '/health', port: 8080 }, intervalMs: 2_000, onFailure: 'none' },
      facilities: ['storage', 'events'],
      runtime: 'oci',
      trafficMode: 'tcp',
      version: 'canary',
      resources: { requests: { storageBytes: 1024 ** 3, networkMbps: 100 } },
      update: { maxSurge: 2, minReadyMs: 5_000, progressDeadlineMs: 30_000 },
    });
    expect(project.policies.map((policy) => policy.name)).toEqual(['deny-all', 'web']);
    expect(project.policies[1]?.spec.selector).toEqual({ service: 'web' });
    expect(project.rules).toMatchObject([{ name: 'canary', spec: { weight: 10 } }]);
  });

  it('reads which runtime carries a service, and refuses one there is not', async () => {
    expect((await specOf(web('runtime: vm'))).runtime).toBe('vm');
    expect((await specOf(web())).runtime).toBe('auto');
    await expect(specOf(web('runtime: kata'))).rejects.toThrow(
      /must be one of auto, oci, process, docker, vm/,
    );
  });

  it('merges anchors, what is written winning', async () => {
    const spec = await specOf(`
x-base: &base { restart: "no", environment: { A: 1 } }
services:
  web: { <<: *base, image: web:1, environment: { B: 2 } }`);
    expect(spec.restart.condition).toBe('never');
    expect(spec.environment).toEqual({ B: '2' });
  });

  it('reads build, and names the image', async () => {
    const project = await parseCompose(
      'services: { web: { build: { context: ./app, args: { main: x.js } } } }',
      {
        fileName: '/p/shop/compose.yaml',
      },
    );
    expect(project.services[0]).toMatchObject({
      spec: { image: 'shop-web' },
      build: { context: '/p/shop/app', args: { main: 'x.js' } },
    });
  });
});

describe('what cannot be used', () => {
  it.each([
    ['an unknown key', web('imagee: x'), 'services.web.imagee', 'unknown key "imagee"', 4, 5],
    [
      'an unsupported key',
      web('privileged: true'),
      'services.web.privileged',
      '"privileged" is a Compose key',
      4,
      5,
    ],
    [
      'a key of a deeper part',
      web('deploy: { replica: 3 }'),
      'services.web.deploy.replica',
      'unknown key',
      4,
      15,
    ],
    ['an empty image', 'services:\n  web: { image: "" }', 'services.web.image', 'must not be empty', 2, 17],
    ['no image', 'services:\n  web: { ports: [] }', 'services.web', 'has neither image nor build', 2, 3],
    ['zero replicas', web('deploy: { replicas: 0 }'), 'services.web.deploy.replicas', 'at least 1', 4, 25],
    [
      'nonsense memory',
      web('mem_limit: lots'),
      'services.web.mem_limit',
      '"lots" is not an amount of bytes',
      4,
      16,
    ],
    ['a port that is none', web('ports: ["1:99999"]'), 'services.web.ports[0]', 'no port from 1', 4, 13],
    ['a port without host port', web('ports: ["80"]'), 'services.web.ports[0]', 'names no host port', 4, 13],
    ['an undeclared volume', web('volumes: ["data:/d"]'), 'services.web.volumes[0]', 'not declared', 4, 15],
    ['an undeclared secret', web('secrets: [x]'), 'services.web.secrets[0]', 'not declared', 4, 15],
    ['a missing dependency', web('depends_on: [wep]'), 'services.web.depends_on[0]', 'not a service', 4, 18],
    ['a bad name', 'services:\n  Web_1: { image: x }', 'services.Web_1', 'lower-case letters', 2, 3],
    [
      'a text for a map',
      'services:\n  web: hello',
      'services.web',
      'must be a mapping, but is "hello"',
      2,
      8,
    ],
    [
      'a constraint that is none',
      web('deploy: { placement: { constraints: [disk=ssd] } }'),
      'services.web.deploy.placement.constraints[0]',
      'cannot read',
      4,
      42,
    ],
    [
      'an unreadable env_file',
      web('env_file: a.env'),
      'services.web.env_file',
      'cannot read env_file',
      4,
      15,
    ],
    ['an unsupported top-level key', `${web()}\ninclude: [x]`, 'include', 'does not support', 4, 1],
    ['a misspelt extension', `${web()}\nx-heptd: {}`, 'x-heptd', 'unknown key', 4, 1],
    [
      'a bad policy',
      `${web()}\nx-heptad: { policies: { p: { selector: { service: A_ } } } }`,
      'x-heptad.policies.p.selector.service',
      'lower-case',
      4,
      51,
    ],
  ])('%s is named with its place', async (_, yaml, path, message, line, column) => {
    const problems = await problemsOf(yaml);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.message).toContain(message);
    expect(problems[0]).toMatchObject({ path, line, column });
  });

  it('says what was probably meant', async () => {
    const [problem] = await problemsOf(web('enviroment: { A: 1 }'));
    expect(problem?.hint).toBe('did you mean "environment"?');
  });

  it('gives line, column and the lines around broken YAML', async () => {
    const [problem] = await problemsOf('services:\n  web:\n    image: "web:1\n');
    expect(problem?.message).toContain('YAML');
    expect(problem?.line).toBeGreaterThanOrEqual(3);
    expect(problem?.frame).toContain('image: "web:1');
  });

  it.each([
    ['', 'must be a mapping'],
    ['- a', 'must be a mapping'],
    ['{}', 'has no services'],
    ['a: 1\na: 2', 'YAML'],
  ])('refuses the document %j', async (yaml, message) => {
    const [problem] = await problemsOf(yaml);
    expect(problem?.message).toContain(message);
  });

  it('finds cycles of dependencies and ports published twice', async () => {
    const problems = await problemsOf(`
services:
  a: { image: x, depends_on: [b], ports: ["80:80"] }
  b: { image: x, depends_on: [c], ports: ["0.0.0.0:80:80"] }
  c: { image: x, depends_on: [a] }`);
    expect(problems.map((one) => one.message)).toEqual([
      'host port 80 (TCP) is published twice; service a has it already',
      'dependencies form a cycle: a -> b -> c -> a',
    ]);
  });

  it('finds everything at once, in the order of the file', async () => {
    const problems = await problemsOf(web('ports: ["x"]', 'cpus: many', 'tty: true', 'restart: sometimes'));
    expect(problems.map((one) => one.path)).toEqual([
      'services.web.ports[0]',
      'services.web.cpus',
      'services.web.tty',
      'services.web.restart',
    ]);
  });

  it('refuses merges that multiply without end, and huge files', async () => {
    const bomb = ['a: &a [x]'];
    for (let index = 0; index < 1_100; index += 1) bomb.push(`b${index}: *a`);
    expect((await problemsOf(bomb.join('\n')))[0]?.message).toContain('aliases');
    expect((await problemsOf('#'.repeat(5 * 1024 * 1024)))[0]?.message).toContain('larger than');
    const loop = await problemsOf('services:\n  web: &w\n    image: x\n    <<: *w');
    expect(loop[0]?.message).toMatch(/merges are nested|YAML/);
  });

  it('never shows the value of a secret file', async () => {
    const yaml = `${web('secrets: [s]', 'imagee: x')}\nsecrets: { s: { file: s.txt } }`;
    const problems = await problemsOf(yaml, { readFile: () => 'hunter2' });
    expect(JSON.stringify(problems)).not.toContain('hunter2');
  });
});
