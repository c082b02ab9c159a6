// The simulator keeps its own promises: order, replay, what a network may do, what a disk may forget.

import { describe, expect, it } from 'vitest';
import { isHeptadError } from '../errors.ts';
import { SeededRandom, Simulation, VirtualClock } from './index.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (data: Uint8Array): string => Buffer.from(data).toString();

describe('VirtualClock', () => {
  it('runs timers by time, then by the order they were set, those they set included', async () => {
    const clock = new VirtualClock();
    const order: string[] = [];
    clock.timer(20, () => order.push('c'));
    clock.timer(10, () => {
      order.push('a');
      clock.timer(10, () => order.push('d'));
    });
    clock.timer(10, () => order.push('b'));
    clock.timer(15, () => order.push('cancelled')).cancel();
    await clock.advance(20);
    expect(order).toEqual(['a', 'b', 'c', 'd']);
    expect(clock.monotonicMs()).toBe(20);
  });

  it('intervals tick until cancelled, also from within', async () => {
    const clock = new VirtualClock();
    let ticks = 0;
    const interval = clock.interval(10, () => {
      ticks += 1;
      if (ticks === 3) interval.cancel();
    });
    await clock.advance(1000);
    expect(ticks).toBe(3);
  });

  it('sleep rejects with the reason of its signal', async () => {
    const clock = new VirtualClock();
    const stop = new AbortController();
    const sleeping = clock.sleep(1000, stop.signal);
    stop.abort(new Error('up'));
    await expect(sleeping).rejects.toThrow('up');
    await expect(clock.sleep(1, stop.signal)).rejects.toThrow('up');
  });

  it('wall time can jump, monotonic time cannot', async () => {
    const clock = new VirtualClock({ start: 1000 });
    clock.jumpWall(-500);
    await clock.advance(10);
    expect([clock.now(), clock.monotonicMs()]).toEqual([510, 10]);
  });
});

describe('SeededRandom', () => {
  it('draws evenly, and the same for the same seed and stream only', () => {
    const draw = (random: SeededRandom): number[] =>
      Array.from({ length: 5 }, () => random.integer(1_000_000));
    expect(draw(new SeededRandom(1))).toEqual(draw(new SeededRandom(1)));
    expect(draw(new SeededRandom(1))).not.toEqual(draw(new SeededRandom(2)));
    expect(draw(new SeededRandom(1).fork('a'))).not.toEqual(draw(new SeededRandom(1).fork('b')));
    const random = new SeededRandom(3);
    const buckets = new Array<number>(10).fill(0);
    for (let index = 0; index < 100_000; index += 1) {
      const bucket = random.integer(10);
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
    }
    for (const bucket of buckets) expect(Math.abs(bucket - 10_000)).toBeLessThan(500);
  });

  it('makes version 7 UUIDs with their time', () => {
    const uuid = new SeededRandom(1).uuid(0x0123456789ab);
    expect(uuid).toMatch(/^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

describe('Simulation', () => {
  it('names the seed when it fails, deadlocks included', async () => {
    const failing = new Simulation({ seed: 77 }).run(async () => {
      throw new Error('broken');
    });
    await expect(failing).rejects.toMatchObject({
      code: 'SIMULATION_FAILED',
      message: expect.stringContaining('seed 77'),
    });
    const stuck = new Simulation({ seed: 78 }).run(() => new Promise(() => {}));
    await expect(stuck).rejects.toThrow(/nothing more can happen/);
    const beside = new Simulation({ seed: 79 });
    const run = beside.run(async () => {
      beside.spawn(async () => {
        throw new Error('beside');
      });
      await beside.clock.sleep(10);
    });
    await expect(run).rejects.toThrow(/beside/);
  });

  it('a paused process runs nothing, then everything late; a killed one nothing at all', async () => {
    const simulation = new Simulation({ seed: 1 });
    await simulation.run(async () => {
      const self = simulation.process('a');
      const ran: number[] = [];
      self.clock.timer(10, () => ran.push(self.clock.monotonicMs()));
      self.clock.timer(50, () => ran.push(self.clock.monotonicMs()));
      self.pause();
      await simulation.clock.sleep(30);
      expect(ran).toEqual([]);
      self.resume();
      expect(ran).toEqual([30]);
      self.kill();
      await simulation.clock.sleep(100);
      expect(ran).toEqual([30]);
    });
  });
});

describe('SimNetwork', () => {
  it('a connection keeps order and loses nothing, whatever the link does', async () => {
    const link = { dropRate: 0.3, reorderRate: 0.3, maximumDelayMs: 100 };
    const simulation = new Simulation({ seed: 5, link });
    const got: string[] = [];
    await simulation.run(async () => {
      const [a, b] = [simulation.process('a'), simulation.process('b')];
      const done = new Promise<void>((resolve) => {
        void b.network.listen('b:1', async (connection) => {
          for await (const message of connection.receive()) got.push(text(message));
          resolve();
        });
      });
      const connection = await a.network.dial('b:1');
      for (let index = 0; index < 100; index += 1) await connection.send(bytes(String(index)));
      await connection.close();
      await done;
    });
    expect(got).toEqual(Array.from({ length: 100 }, (_, index) => String(index)));
  });

  it('datagrams are lost, doubled and overtaken', async () => {
    const link = { dropRate: 0.2, duplicateRate: 0.2, reorderRate: 0.2 };
    const simulation = new Simulation({ seed: 6, link });
    const got: number[] = [];
    await simulation.run(async () => {
      const [a, b] = [simulation.process('a'), simulation.process('b')];
      b.network.onDatagram((_, message) => got.push(Number(text(message))));
      for (let index = 0; index < 200; index += 1) {
        a.network.sendDatagram('b', bytes(String(index)));
        await simulation.clock.sleep(1);
      }
      await simulation.clock.sleep(1000);
    });
    const distinct = new Set(got);
    expect(distinct.size).toBeLessThan(200);
    expect(distinct.size).toBeGreaterThan(100);
    expect(got.length).toBeGreaterThan(distinct.size);
    expect(got).not.toEqual([...got].sort((x, y) => x - y));
  });

  it('a partition holds messages back, breaks what waits too long, and heals', async () => {
    const simulation = new Simulation({ seed: 7 });
    await simulation.run(async () => {
      const [a, b] = [simulation.process('a'), simulation.process('b')];
      const got: string[] = [];
      await b.network.listen('b:1', async (connection) => {
        for await (const message of connection.receive()) got.push(text(message));
      });
      const connection = await a.network.dial('b:1');
      simulation.network.partition(['a'], ['b']);
      await connection.send(bytes('held'));
      await simulation.clock.sleep(3000);
      expect(got).toEqual([]);
      simulation.network.heal();
      await simulation.clock.sleep(1000);
      expect(got).toEqual(['held']);
      simulation.network.partition(['a'], ['b']);
      await connection.send(bytes('lost'));
      await simulation.clock.sleep(20_000);
      await expect(connection.send(bytes('x'))).rejects.toMatchObject({ code: 'CONNECTION_BROKEN' });
      await expect(a.network.dial('b:1')).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    });
  });

  it('nobody listening refuses; a killed host breaks its connections', async () => {
    const simulation = new Simulation({ seed: 8 });
    await simulation.run(async () => {
      const [a, b] = [simulation.process('a'), simulation.process('b')];
      await expect(a.network.dial('b:9')).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
      await b.network.listen('b:1', () => {});
      const connection = await a.network.dial('b:1');
      b.kill();
      const receiving = (async () => {
        for await (const _ of connection.receive());
      })();
      await expect(receiving).rejects.toMatchObject({ code: 'CONNECTION_BROKEN' });
    });
  });
});

describe('SimDisk', () => {
  /** Writes, syncs and crashes by the seed; answers what a reader finds. */
  async function crashed(
    seed: number,
    options: { sync: boolean; syncDirectory: boolean },
  ): Promise<string | undefined> {
    const simulation = new Simulation({ seed });
    return simulation.run(async () => {
      const { disk } = simulation.process('a');
      await disk.makeDirectory('/d');
      await disk.syncDirectory('/');
      const file = await disk.open('/d/f', 'create-new');
      await file.write(0, bytes('A'.repeat(2000)));
      if (options.sync) await file.datasync();
      if (options.syncDirectory) await disk.syncDirectory('/d');
      disk.crash();
      await expect(file.read(0, 1)).rejects.toMatchObject({ code: 'DISK_ERROR' });
      if (!(await disk.exists('/d/f'))) return undefined;
      const again = await disk.open('/d/f', 'read');
      return text(await again.read(0, 10_000));
    });
  }
  const seeds = Array.from({ length: 40 }, (_, index) => index + 1);

  it('keeps what was synced, content and name, always', async () => {
    for (const seed of seeds) {
      expect(await crashed(seed, { sync: true, syncDirectory: true }), `seed ${seed}`).toBe('A'.repeat(2000));
    }
  });

  it('loses unsynced content in whole or part, and unsynced names, in some runs', async () => {
    const contents = await Promise.all(
      seeds.map((seed) => crashed(seed, { sync: false, syncDirectory: true })),
    );
    expect(contents.some((content) => content === '')).toBe(true);
    expect(contents.some((content) => content !== '' && content !== 'A'.repeat(2000))).toBe(true);
    const names = await Promise.all(seeds.map((seed) => crashed(seed, { sync: true, syncDirectory: false })));
    expect(names.some((content) => content === undefined)).toBe(true);
    expect(names.some((content) => content === 'A'.repeat(2000))).toBe(true);
  });

  it('a rename is whole: after a crash there is the old or the new, never a mixture or neither', async () => {
    const outcomes = new Set<string>();
    for (const seed of seeds) {
      const simulation = new Simulation({ seed });
      await simulation.run(async () => {
        const { disk } = simulation.process('a');
        for (const [path, content] of [
          ['/f', 'old'],
          ['/f.new', 'new'],
        ] as const) {
          const file = await disk.open(path, 'create-new');
          await file.write(0, bytes(content));
          await file.datasync();
        }
        await disk.syncDirectory('/');
        await disk.rename('/f.new', '/f');
        disk.crash();
        const file = await disk.open('/f', 'read');
        outcomes.add(text(await file.read(0, 10)));
      });
    }
    expect([...outcomes].sort()).toEqual(['new', 'old']);
  });

  it('fails with EIO, runs full, and rots on demand', async () => {
    const simulation = new Simulation({ seed: 9 });
    await simulation.run(async () => {
      const { disk } = simulation.process('a', { faults: { capacityBytes: 1000 } });
      const file = await disk.open('/f', 'write');
      await file.write(0, bytes('x'.repeat(900)));
      await expect(file.write(900, bytes('x'.repeat(200)))).rejects.toMatchObject({ code: 'DISK_FULL' });
      await file.datasync();
      const offset = disk.corrupt('/f');
      expect((await file.read(offset, 1))[0]).not.toBe('x'.charCodeAt(0));
      disk.setFaults({ readErrorRate: 1 });
      await expect(file.read(0, 1)).rejects.toSatisfy((error) => isHeptadError(error, 'DISK_ERROR'));
    });
  });
});
