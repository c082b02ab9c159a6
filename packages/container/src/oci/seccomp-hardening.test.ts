import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { OciSeccomp } from './seccomp.ts';
import { parseSeccompProfile, SECCOMP_PROFILE_PATHS } from './seccomp.ts';
import { seccompFor } from './seccomp-hardening.ts';

const profile = parseSeccompProfile(
  JSON.stringify({
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 38,
    archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }],
    syscalls: [
      {
        names: ['read', 'mount', 'unshare', 'clone', 'clone3', 'setns', 'keyctl', 'syslog', 'reboot', 'bpf'],
        action: 'SCMP_ACT_ALLOW',
      },
      { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 16, op: 'SCMP_CMP_NE' }] },
      { names: ['setns'], action: 'SCMP_ACT_ERRNO', errnoRet: 1, excludes: { caps: ['CAP_SYS_ADMIN'] } },
    ],
  }),
  'test',
);
const machine = { architecture: 'amd64', kernel: '6.1.0' };
const allowed = ({ syscalls }: OciSeccomp): string[] =>
  syscalls
    .filter(({ action, args }) => action === 'SCMP_ACT_ALLOW' && args === undefined)
    .flatMap(({ names }) => names);

describe('seccompFor', () => {
  it('takes from the profile what makes or enters a namespace, and keyrings', () => {
    const seccomp = seccompFor(profile, machine, {});
    expect(allowed(seccomp)).toEqual(['read']);
    const refused = seccomp.syscalls.find(({ errnoRet }) => errnoRet === 1);
    expect(refused?.names).toEqual(
      expect.arrayContaining(['mount', 'unshare', 'setns', 'keyctl', 'reboot', 'bpf']),
    );
    expect(seccomp.defaultErrnoRet).toBe(38);
  });

  it('lets clone through without namespace flags only, whatever other bits are set, and clone3 not at all', () => {
    const { syscalls } = seccompFor(profile, machine, {});
    expect(syscalls.filter(({ names }) => names.includes('clone'))).toEqual([
      {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: 0x7e020000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
      },
    ]);
    expect(syscalls.filter(({ names }) => names.includes('clone3'))).toEqual([
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 },
    ]);
    const mainframe = seccompFor(profile, { ...machine, architecture: 's390x' }, {});
    expect(mainframe.syscalls.find(({ names }) => names.includes('clone'))?.args?.[0]?.index).toBe(1);
  });

  it('lets sockets of ordinary families through, and no others', () => {
    const rules = seccompFor(profile, machine, {}).syscalls.filter(({ names }) => names.includes('socket'));
    expect(rules.every(({ args }) => args?.[0]?.op === 'SCMP_CMP_EQ')).toBe(true);
    expect(rules.map(({ args }) => args?.[0]?.value)).toEqual([1, 2, 10, 17, 16]);
    expect(rules.at(-1)?.args?.[1]).toEqual({ index: 2, value: 9, op: 'SCMP_CMP_NE' });
  });

  it('gives each call back with the capability that goes with it', () => {
    expect(allowed(seccompFor(profile, machine, { add: ['SYSLOG'] }))).toEqual(['read', 'syslog']);
    expect(allowed(seccompFor(profile, machine, { add: ['BPF', 'SYS_BOOT'] }))).toEqual([
      'read',
      'reboot',
      'bpf',
    ]);
    expect(allowed(seccompFor(profile, machine, { add: ['SYS_ADMIN'] }))).toEqual(
      expect.arrayContaining(['mount', 'unshare', 'clone', 'clone3', 'setns', 'keyctl', 'syslog', 'bpf']),
    );
  });

  it.skipIf(!SECCOMP_PROFILE_PATHS.some((path) => exists(path)))(
    'is needed: the distribution lets namespaces through',
    () => {
      const path = SECCOMP_PROFILE_PATHS.find(exists) ?? '';
      const real = parseSeccompProfile(readFileSync(path, 'utf8'), path);
      const names = allowed(seccompFor(real, machine, {}));
      for (const name of [
        'mount',
        'unshare',
        'setns',
        'clone',
        'clone3',
        'keyctl',
        'bpf',
        'io_uring_setup',
        'userfaultfd',
      ])
        expect(names).not.toContain(name);
      for (const name of ['read', 'execve', 'futex', 'epoll_wait', 'chown']) expect(names).toContain(name);
    },
  );
});

function exists(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}
