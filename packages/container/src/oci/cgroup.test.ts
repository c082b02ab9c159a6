import { describe, expect, it } from 'vitest';
import { cgroupDirectories, cgroupMode, parseOwnCgroups } from './cgroup.ts';
import { parseNetworkUsage, usageV1, usageV2 } from './cgroup-stats.ts';
import { mountsBelow } from './mounts.ts';

const TMPFS = 0x01021994;
const CGROUP2 = 0x63677270;

describe('cgroup layout', () => {
  it('tells the three modes apart as crun does', () => {
    expect(cgroupMode({ root: CGROUP2, unified: undefined })).toBe('unified');
    expect(cgroupMode({ root: TMPFS, unified: CGROUP2 })).toBe('hybrid');
    expect(cgroupMode({ root: TMPFS, unified: undefined })).toBe('legacy');
  });

  it('reads /proc/self/cgroup of a hybrid machine', () => {
    const own = parseOwnCgroups('9:name=systemd:/\n4:memory:/a/b\n3:cpu,cpuacct:/\n0::/x\n');
    expect([...own]).toEqual([
      ['name=systemd', '/'],
      ['memory', '/a/b'],
      ['cpu', '/'],
      ['cpuacct', '/'],
      ['', '/x'],
    ]);
    expect(cgroupDirectories({ mode: 'hybrid', version: 1, root: '/c', own }, '/heptad/i')).toEqual([
      '/c/systemd/heptad/i',
      '/c/memory/heptad/i',
      '/c/cpu/heptad/i',
      '/c/cpuacct/heptad/i',
      '/c/unified/heptad/i',
    ]);
    expect(cgroupDirectories({ mode: 'unified', version: 2, root: '/c', own }, '/heptad/i')).toEqual([
      '/c/heptad/i',
    ]);
  });
});

describe('cgroup figures', () => {
  it('of v1', () => {
    expect(
      usageV1({
        cpu: '38927188\n',
        usage: '10000\n',
        stat: 'cache 1\ninactive_file 5\ntotal_inactive_file 4000\n',
        limit: '9223372036854771712\n',
        pids: '6\n',
        io: '8:0 Read 10\n8:0 Write 20\n8:16 Read 1\n8:0 Total 30\nTotal 31\n',
      }),
    ).toEqual({
      cpuUsageNs: 38_927_188,
      memoryBytes: 6000,
      pids: 6,
      blockReadBytes: 11,
      blockWrittenBytes: 20,
    });
  });

  it('of v2, as recorded on a Debian 12 machine', () => {
    expect(
      usageV2({
        cpu: 'usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n',
        current: '7000000\n',
        stat: 'anon 1\nfile 2\ninactive_file 1000000\n',
        max: '268435456\n',
        pids: '3\n',
        io: '254:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=1 wbytes=2 rios=1 wios=1\n',
      }),
    ).toEqual({
      cpuUsageNs: 1_234_000,
      memoryBytes: 6_000_000,
      memoryLimitBytes: 268_435_456,
      pids: 3,
      blockReadBytes: 101,
      blockWrittenBytes: 202,
    });
    expect(
      usageV2({ cpu: '', current: '', stat: '', max: 'max\n', pids: '', io: '' }).memoryLimitBytes,
    ).toBeUndefined();
  });

  it('network traffic, loopback left out', () => {
    const text =
      'Inter-| Receive | Transmit\n face |bytes\n    lo:  5 1 0 0 0 0 0 0  5 1 0 0 0 0 0 0\n  eth0: 200 2 0 0 0 0 0 0 292 4 0 0 0 0 0 0\n';
    expect(parseNetworkUsage(text)).toEqual({ received: 200, sent: 292 });
  });
});

describe('mountsBelow', () => {
  it('finds mounts of a directory, deepest first, with escaped names', () => {
    const info = '1 2 0:1 / /a rw\n2 2 0:1 / /a/b rw\n3 2 0:1 / /a/b/c\\040d rw\n4 2 0:1 / /ab rw\n';
    expect(mountsBelow(info, '/a')).toEqual(['/a/b/c d', '/a/b']);
  });
});
