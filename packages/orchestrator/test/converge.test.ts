// Agent and controller together, over real processes: what a user deploys is what runs, whatever happens to it.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, World, webSpec } from './world.ts';

let world: World;

beforeEach(async () => {
  world = new World();
  await world.orchestrator.start();
  await world.addNode('n1');
});

afterEach(async () => {
  await world[Symbol.asyncDispose]();
});

describe('deploying', () => {
  it('runs the replicas, gates their endpoints by health, and answers real requests', async () => {
    await world.deploy('web', webSpec());
    const targets = await world.targets('web');
    expect(targets).toHaveLength(3);
    for (const target of targets) expect(await (await fetch(target)).text()).toMatch(/^v1/);
    const status = await world.orchestrator.status('web');
    expect(status).toMatchObject({ total: 3, running: 3, ready: 3, failed: 0, pending: 0, rollout: 'idle' });
  });

  it('keeps an unhealthy service out of traffic and says why', async () => {
    await world.orchestrator.deploy('web', webSpec({ image: 'web:sick', replicas: 1 }));
    await eventually(async () => {
      const [replica] = await world.replicas('web');
      expect(replica?.status.message).toContain('GET /health on port 18080 answered 500');
    });
    expect(await world.targets('web')).toEqual([]);
    expect((await world.orchestrator.explain('web')).join(' ')).toContain('answered 500');
  });

  it('starts dependants only once what they need is healthy, and jobs are complete', async () => {
    const job = webSpec({ image: 'job:1', replicas: 1, ports: [], restart: { condition: 'on-failure' } });
    const { healthCheck: _, ...plainJob } = job;
    await world.orchestrator.deploy('web', {
      ...webSpec({ replicas: 1 }),
      dependencies: [
        { service: 'db', condition: 'healthy' },
        { service: 'migrate', condition: 'completed' },
      ],
    });
    await eventually(async () => {
      expect((await world.orchestrator.explain('web')).join(' ')).toContain('db, which does not exist');
    });
    await world.orchestrator.deploy('db', webSpec({ replicas: 1 }));
    await world.orchestrator.waitFor('db', 'ready', { timeoutMs: 10_000 });
    expect((await world.orchestrator.status('web')).running).toBe(0);
    await world.orchestrator.deploy('migrate', plainJob);
    await world.orchestrator.waitFor('migrate', 'completed', { timeoutMs: 10_000 });
    await world.orchestrator.waitFor('web', 'ready', { timeoutMs: 10_000 });
  });
});

describe('repair', () => {
  it('restarts a killed replica and brings it back into traffic', async () => {
    await world.deploy('web', webSpec());
    const [first] = await world.targets('web');
    const [victim] = await world.replicas('web');
    const runtime = world.runtimes.get('n1');
    await runtime?.kill(victim?.status.runtimeId ?? '');
    await eventually(async () => {
      const replica = (await world.replicas('web')).find((one) => one.name === victim?.name);
      expect(replica?.status).toMatchObject({ status: 'Running', ready: true, restarts: 1 });
      expect(replica?.status.runtimeId).not.toBe(victim?.status.runtimeId);
    });
    expect(await world.targets('web')).toHaveLength(3);
    expect(first).toBeDefined();
  });

  it('waits longer after each crash and does not restart what may not be', async () => {
    const { healthCheck: _, ...crash } = webSpec({ image: 'web:crash', replicas: 1 });
    await world.orchestrator.deploy('crash', { ...crash, restart: { condition: 'always', maxAttempts: 3 } });
    await eventually(async () => {
      const [replica] = await world.replicas('crash');
      expect(replica?.status).toMatchObject({ status: 'Failed', restarts: 3, exitCode: 7 });
      expect(replica?.status.restartAt).toBeUndefined();
    });
    await eventually(async () => {
      expect(await world.orchestrator.status('crash')).toMatchObject({ failed: 1, running: 0 });
    });
  });

  it('takes a replica that turned unhealthy out of traffic and restarts it', async () => {
    await world.deploy('web', webSpec({ replicas: 2 }));
    const [sick = ''] = await world.targets('web');
    await fetch(`${sick}/fail`);
    await eventually(async () => expect(await world.targets('web')).toHaveLength(1));
    await eventually(async () => expect(await world.targets('web')).toHaveLength(2));
    for (const target of await world.targets('web')) {
      expect((await fetch(`${target}/health`)).status).toBe(200);
    }
    const events = await world.orchestrator.events();
    expect(events.some((event) => event.because.includes('unhealthy'))).toBe(true);
  });
});

describe('changing', () => {
  it('scales up and down', async () => {
    await world.deploy('web', webSpec({ replicas: 1 }));
    await world.orchestrator.scale('web', 4);
    await eventually(async () => expect(await world.targets('web')).toHaveLength(4));
    await world.orchestrator.scale('web', 2);
    await eventually(async () => {
      expect(await world.replicas('web')).toHaveLength(2);
      expect(world.running()).toHaveLength(2);
    });
    expect(await world.targets('web')).toHaveLength(2);
    await world.orchestrator.scale('web', 0);
    await eventually(() => expect(world.running()).toEqual([]));
  });

  it('rolls an update without a failed request and never below the floor', async () => {
    await world.deploy('web', webSpec());
    const stop = new AbortController();
    const answers = { v1: 0, v2: 0, failed: 0, least: Number.POSITIVE_INFINITY };
    const load = (async () => {
      let targets: string[] = [];
      let readAt = 0;
      for (let turn = 0; !stop.signal.aborted; turn += 1) {
        // A proxy hears of changes a little later; that is what draining is for.
        if (Date.now() - readAt > 100) {
          targets = await world.targets('web');
          readAt = Date.now();
        }
        answers.least = Math.min(answers.least, targets.length);
        const target = targets[turn % Math.max(1, targets.length)];
        try {
          const headers = { connection: 'close' };
          const text = await (await fetch(target ?? 'http://127.0.0.1:1', { headers })).text();
          if (text.startsWith('v1')) answers.v1 += 1;
          else answers.v2 += 1;
        } catch {
          answers.failed += 1;
        }
      }
    })();
    await world.deploy('web', webSpec({ image: 'web:2' }));
    stop.abort();
    await load;
    expect(answers.failed).toBe(0);
    expect(answers.least).toBeGreaterThanOrEqual(3);
    expect(answers.v1).toBeGreaterThan(0);
    expect(answers.v2).toBeGreaterThan(0);
    await eventually(async () => {
      const images = (await world.replicas('web')).map((one) => one.spec.template.image);
      expect(images).toEqual(['web:2', 'web:2', 'web:2']);
    });
  });

  it('rolls back by itself when an image does not exist, and keeps serving', async () => {
    await world.deploy('web', webSpec());
    await world.orchestrator.deploy('web', webSpec({ image: 'nowhere:1' }));
    await expect(world.orchestrator.waitFor('web', 'ready', { timeoutMs: 20_000 })).rejects.toMatchObject({
      code: 'ROLLOUT_FAILED',
    });
    const service = await world.orchestrator.get('web');
    expect(service.spec.image).toBe('web:1');
    expect(service.status.rollout?.message).toContain('image nowhere:1 is not here');
    await eventually(async () => {
      const replicas = await world.replicas('web');
      expect(replicas.map((one) => one.spec.template.image)).toEqual(['web:1', 'web:1', 'web:1']);
    });
    expect(await world.targets('web')).toHaveLength(3);
    expect((await world.orchestrator.history('web')).map((record) => record.outcome)).toEqual([
      'good',
      'failed',
      'good',
    ]);
  });

  it('goes back to an earlier revision when asked', async () => {
    await world.deploy('web', webSpec({ replicas: 1 }));
    await world.deploy('web', webSpec({ replicas: 1, image: 'web:2' }));
    await world.orchestrator.rollback('web');
    await world.orchestrator.waitFor('web', 'ready');
    const [target = ''] = await world.targets('web');
    expect(await (await fetch(target)).text()).toMatch(/^v1/);
  });

  it('changes limits of running containers without restarting them', async () => {
    await world.deploy('web', webSpec({ replicas: 1 }));
    const [before] = await world.replicas('web');
    const resources = webSpec().resources;
    await world.deploy(
      'web',
      webSpec({ replicas: 1, resources: { ...resources, limits: { cpuMillis: 700 } } }),
    );
    const runtime = world.runtimes.get('n1');
    await eventually(() =>
      expect(runtime?.updates.map((update) => update.limits)).toEqual([{ cpuMillis: 700 }]),
    );
    const [after] = await world.replicas('web');
    expect(after?.status.runtimeId).toBe(before?.status.runtimeId);
  });

  it('replaces replicas when only their environment changed', async () => {
    await world.deploy('web', webSpec({ replicas: 1 }));
    await world.deploy('web', webSpec({ replicas: 1, environment: { GREETING: 'hello' } }));
    const [target = ''] = await world.targets('web');
    expect(await (await fetch(target)).text()).toBe('v1 hello');
  });
});

describe('removing', () => {
  it('leaves nothing behind', async () => {
    await world.deploy('web', webSpec());
    await world.orchestrator.remove('web');
    await world.orchestrator.waitFor('web', 'gone', { timeoutMs: 15_000 });
    expect(world.running()).toEqual([]);
    const left = await world.store.range({ key: '/', prefix: true });
    const keys = left.kvs.map((kv) => kv.key).filter((key) => !key.startsWith('/events/'));
    expect(keys).toEqual(['/resources/Node/default/n1']);
    expect((await world.node('n1')).status.allocated.cpuMillis).toBe(0);
  });
});

describe('finding each other', () => {
  it('names services in /etc/hosts and in variables, and keeps hosts up to date', async () => {
    await world.deploy('db', webSpec({ replicas: 1 }));
    await world.deploy('web', webSpec({ replicas: 1 }));
    const db = await world.orchestrator.get('db');
    const entries = [...(world.runtimes.get('n1')?.entries.values() ?? [])];
    const web = entries.find((entry) => entry.info.name.startsWith('web-'));
    expect(web?.spec.environment).toMatchObject({
      DB_SERVICE_HOST: db.status.virtualAddress,
      DB_SERVICE_PORT: '18080',
    });
    expect(web?.hosts.db).toBe(db.status.virtualAddress);
    const first = entries.find((entry) => entry.info.name.startsWith('db-'));
    await eventually(async () => {
      expect(first?.hosts.web).toBe((await world.orchestrator.get('web')).status.virtualAddress);
    });
  });
});
