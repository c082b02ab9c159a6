import { readFileSync } from 'node:fs';
import type { ContainerSpec } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { effectiveCapabilities } from './capabilities.ts';
import { generateSpec, type SpecInputs } from './generate-spec.ts';
import { limitResources } from './resources.ts';
import { kernelAtLeast, parseSeccompProfile, resolveSeccomp } from './seccomp.ts';
import { lookUpUser } from './user.ts';

const id = 'ab'.repeat(32);
const inputs = (spec: Partial<ContainerSpec> = {}, more: Partial<SpecInputs> = {}): SpecInputs => ({
  id,
  spec: { name: 'web', image: 'shop', ...spec },
  image: { Entrypoint: ['node'], Cmd: ['main.js'], Env: ['A=image', 'B=image'], WorkingDir: '/app' },
  user: { uid: 1000, gid: 1000, additionalGids: [], home: '/home/node' },
  rootfs: '/r',
  seccomp: { defaultAction: 'SCMP_ACT_ERRNO', architectures: [], syscalls: [] },
  cgroupsPath: '/heptad/x',
  cgroupVersion: 1,
  binds: [],
  ownLimits: new Map([['nofile', 20_000]]),
  ...more,
});

describe('generateSpec', () => {
  it('is safe by default', () => {
    const { process, linux, root } = generateSpec(inputs());
    expect(process.noNewPrivileges).toBe(true);
    expect(process.capabilities.bounding).toEqual([
      'CAP_CHOWN',
      'CAP_DAC_OVERRIDE',
      'CAP_FOWNER',
      'CAP_FSETID',
      'CAP_KILL',
      'CAP_NET_BIND_SERVICE',
      'CAP_SETFCAP',
      'CAP_SETGID',
      'CAP_SETPCAP',
      'CAP_SETUID',
      'CAP_SYS_CHROOT',
    ]);
    expect(process.capabilities.effective).toEqual([]);
    expect([process.capabilities.ambient, process.capabilities.inheritable]).toEqual([[], []]);
    expect(linux.namespaces.map(({ type }) => type).sort()).toEqual([
      'cgroup',
      'ipc',
      'mount',
      'network',
      'pid',
      'uts',
    ]);
    expect(linux.resources?.devices?.[0]).toEqual({ allow: false, access: 'rwm' });
    expect(linux.resources?.pids).toEqual({ limit: 1024 });
    expect(linux.maskedPaths).toEqual(
      expect.arrayContaining([
        '/proc/kcore',
        '/proc/keys',
        '/proc/interrupts',
        '/sys/firmware',
        '/sys/devices/virtual/powercap',
      ]),
    );
    expect(linux.readonlyPaths).toContain('/proc/sys');
    expect(root.readonly).toBe(false);
  });

  it('has a cgroup namespace on cgroup v2, and no network namespace nor sysctls of it on the host network', () => {
    const unified = generateSpec(inputs({}, { cgroupVersion: 2, networkNamespace: '/run/netns/x' }));
    expect(unified.linux.namespaces).toEqual(
      expect.arrayContaining([{ type: 'cgroup' }, { type: 'network', path: '/run/netns/x' }]),
    );
    const host = generateSpec(inputs({}, { networkNamespace: 'host' }));
    expect(host.linux.namespaces.some(({ type }) => type === 'network')).toBe(false);
    expect(host.linux.sysctl).toEqual({});
  });

  it('puts the spec over the image as Docker does', () => {
    const args = (spec: Partial<ContainerSpec>) => generateSpec(inputs(spec)).process.args;
    expect(args({})).toEqual(['node', 'main.js']);
    expect(args({ command: ['other.js'] })).toEqual(['node', 'other.js']);
    expect(args({ entrypoint: ['sh'] })).toEqual(['sh']);
    expect(args({ entrypoint: [], command: ['sleep', '1'] })).toEqual(['sleep', '1']);
    expect(() => args({ entrypoint: [], command: [] })).toThrow(/says what to run/);
    const { env, cwd } = generateSpec(inputs({ environment: { B: 'spec', C: 'spec' } })).process;
    expect(env).toEqual(
      expect.arrayContaining(['A=image', 'B=spec', 'C=spec', 'HOME=/home/node', 'HOSTNAME=abababababab']),
    );
    expect(env.filter((line) => line.startsWith('B='))).toHaveLength(1);
    expect(cwd).toBe('/app');
  });

  it('mounts what is below another mount after it, and a read-only root with writable memory at /tmp', () => {
    const { mounts, root } = generateSpec(
      inputs(
        { readOnlyRootfs: true, mounts: [{ type: 'tmpfs', target: '/a/b', sizeBytes: 1000, mode: 0o700 }] },
        {
          binds: [
            { source: '/s', target: '/a/b/c', readOnly: true },
            { source: '/t', target: '/a', readOnly: false },
          ],
        },
      ),
    );
    const targets = mounts.map(({ destination }) => destination);
    expect(targets.slice(-3)).toEqual(['/a', '/a/b', '/a/b/c']);
    expect(mounts.find(({ destination }) => destination === '/a/b')?.options).toEqual(
      expect.arrayContaining(['size=1000', 'mode=700', 'noexec']),
    );
    expect(mounts.find(({ destination }) => destination === '/a/b/c')?.options).toContain('ro');
    expect(root.readonly).toBe(true);
    expect(targets).toContain('/tmp');
  });

  it('never asks for more open files than we have ourselves', () => {
    expect(generateSpec(inputs({}, { ownLimits: new Map([['nofile', 1024]]) })).process.rlimits).toEqual([
      { type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 },
    ]);
  });

  it('limits swap with memory, and gives shares in proportion to the quota', () => {
    expect(limitResources({ cpuMillis: 500, memoryBytes: 1 << 20, pids: 5 })).toEqual({
      memory: { limit: 1 << 20, swap: 1 << 20 },
      cpu: { period: 100_000, quota: 50_000, shares: 512 },
      pids: { limit: 5 },
    });
    expect(limitResources({})).toEqual({});
  });
});

describe('effectiveCapabilities', () => {
  it('drops first, then adds', () => {
    expect(effectiveCapabilities({ drop: ['ALL'], add: ['net_admin'] })).toEqual(['CAP_NET_ADMIN']);
    expect(effectiveCapabilities({ drop: ['CAP_CHOWN'] })).not.toContain('CAP_CHOWN');
    expect(effectiveCapabilities({ add: ['ALL'] }).length).toBe(41);
    expect(() => effectiveCapabilities({ add: ['CAP_FLY'] })).toThrow(/not a Linux capability/);
  });
});

describe('resolveSeccomp', () => {
  const profile = (syscalls: unknown[], more = {}) =>
    parseSeccompProfile(
      JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 38, syscalls, ...more }),
      'test',
    );
  const target = { architecture: 'amd64', capabilities: ['CAP_CHOWN'], kernel: '6.1.0-13-amd64' };
  const names = (syscalls: unknown[]) =>
    resolveSeccomp(profile(syscalls), target).syscalls.flatMap((rule) => rule.names);
  const rule = (name: string, more = {}) => ({ names: [name], action: 'SCMP_ACT_ALLOW', ...more });

  it('keeps and leaves out rules by architecture, capability and kernel', () => {
    expect(
      names([
        rule('always'),
        rule('this-arch', { includes: { arches: ['amd64'] } }),
        rule('other-arch', { includes: { arches: ['arm64'] } }),
        rule('not-this-arch', { excludes: { arches: ['amd64'] } }),
        rule('has-cap', { includes: { caps: ['CAP_CHOWN'] } }),
        rule('needs-both-caps', { includes: { caps: ['CAP_CHOWN', 'CAP_SYS_ADMIN'] } }),
        rule('without-cap', { excludes: { caps: ['CAP_CHOWN'] } }),
        rule('without-other-cap', { excludes: { caps: ['CAP_SYS_ADMIN'] } }),
        rule('new-kernel', { includes: { minKernel: '4.8' } }),
        rule('newer-kernel', { includes: { minKernel: '6.2' } }),
      ]),
    ).toEqual(['always', 'this-arch', 'has-cap', 'without-other-cap', 'new-kernel']);
  });

  it('maps the architecture with its sub-architectures and keeps arguments', () => {
    const resolved = resolveSeccomp(
      profile(
        [
          {
            name: 'personality',
            action: 'SCMP_ACT_ALLOW',
            args: [{ index: 0, value: 8, valueTwo: 0, op: 'SCMP_CMP_EQ' }],
          },
        ],
        {
          archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }],
        },
      ),
      target,
    );
    expect(resolved).toEqual({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 38,
      architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
      syscalls: [
        {
          names: ['personality'],
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value: 8, op: 'SCMP_CMP_EQ' }],
        },
      ],
    });
  });

  it('refuses a profile with two lists of architectures', () => {
    expect(() =>
      profile([], { architectures: ['SCMP_ARCH_X86'], archMap: [{ architecture: 'SCMP_ARCH_X86_64' }] }),
    ).toThrow(/both/);
  });

  it('compares kernels', () => {
    expect([
      kernelAtLeast('6.1.0', '4.8'),
      kernelAtLeast('4.8', '4.8'),
      kernelAtLeast('4.7.9', '4.8'),
      kernelAtLeast('5.0', '4.20'),
    ]).toEqual([true, true, false, true]);
  });

  it('forbids bpf in the profile of this machine, unless SYS_ADMIN is given', () => {
    let text: string;
    try {
      text = readFileSync('/usr/share/containers/seccomp.json', 'utf8');
    } catch {
      return;
    }
    const whole = parseSeccompProfile(text, 'x');
    const allows = (capabilities: string[]) =>
      resolveSeccomp(whole, { ...target, capabilities }).syscalls.some(
        ({ names: all, action }) => action === 'SCMP_ACT_ALLOW' && all.includes('bpf'),
      );
    expect([allows(['CAP_CHOWN']), allows(['CAP_SYS_ADMIN'])]).toEqual([false, true]);
  });
});

describe('lookUpUser', () => {
  const passwd =
    'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n123:x:5:5::/odd:/bin/sh\n';
  const group = 'root:x:0:\nnode:x:1001:\nextra:x:7:other,node\n';
  const look = (text: string) => lookUpUser(text, passwd, group);

  it('finds names and numbers', () => {
    expect(look('')).toEqual({ uid: 0, gid: 0, additionalGids: [], home: '/root' });
    expect(look('node')).toEqual({ uid: 1000, gid: 1001, additionalGids: [7], home: '/home/node' });
    expect(look('1000')).toEqual({ uid: 1000, gid: 1001, additionalGids: [7], home: '/home/node' });
    expect(look('node:extra')).toEqual({ uid: 1000, gid: 7, additionalGids: [], home: '/home/node' });
    expect(look('4242:4343')).toEqual({ uid: 4242, gid: 4343, additionalGids: [], home: '/' });
    expect(look('123').uid).toBe(5);
  });

  it('refuses what is not there', () => {
    expect(() => look('nobody-here')).toThrow(/no user "nobody-here"/);
    expect(() => look('node:nope')).toThrow(/no group "nope"/);
    expect(() => look('99999999999')).toThrow(/no user/);
  });
});
