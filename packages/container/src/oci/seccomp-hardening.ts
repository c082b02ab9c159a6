// What this package takes away from the distribution's seccomp profile: everything that makes or enters a namespace.

import { effectiveCapabilities } from './capabilities.ts';
import {
  type OciSeccomp,
  type OciSyscall,
  resolveSeccomp,
  type SeccompProfile,
  type SeccompTarget,
} from './seccomp.ts';

/**
 * System calls that stay only while the container may hold one of the capabilities named.
 *
 * The profile of containers-common is made for nested containers: it lets an unprivileged process make a user namespace,
 * and with it reach mount, netfilter and tens of thousands of lines of kernel code that only root could reach before.
 * moby's profile ties the same calls to capabilities (`moby/profiles:seccomp/default.json`); this is its list, and
 * kernel keyrings, which are not namespaced at all.
 */
const NEEDS: readonly (readonly [capabilities: readonly string[], names: readonly string[]])[] = [
  [
    ['CAP_SYS_ADMIN'],
    'fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree pivot_root quotactl quotactl_fd setdomainname sethostname setns umount umount2 unshare add_key keyctl request_key'.split(
      ' ',
    ),
  ],
  [['CAP_SYS_ADMIN', 'CAP_BPF'], ['bpf']],
  [['CAP_SYS_ADMIN', 'CAP_PERFMON'], ['perf_event_open']],
  // Without it the kernel's messages, host addresses among them, can be read wherever dmesg_restrict is 0.
  [['CAP_SYS_ADMIN', 'CAP_SYSLOG'], ['syslog']],
  [['CAP_SYS_BOOT'], ['reboot']],
];

// CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
const NAMESPACE_FLAGS = 0x7e02_0000;
const EPERM = 1;
const ENOSYS = 38;

const AF_NETLINK = 16;
const NETLINK_AUDIT = 9;
/**
 * Address families that services use: unix, IPv4, IPv6 and packet (which needs CAP_NET_RAW as well); netlink is added
 * apart. The others (vsock to the hypervisor, AF_ALG, CAN, TIPC, RDS, ...) are not divided by network namespaces or are
 * rarely looked at kernel code, and each has had its privilege escalation.
 */
const SOCKET_FAMILIES: readonly number[] = [1, 2, 10, 17];

/**
 * A profile resolved for one container: `resolveSeccomp`, then without what its capabilities do not call for. A container
 * that is given CAP_SYS_ADMIN keeps what the profile allows.
 */
export function containerSeccomp(profile: SeccompProfile, target: SeccompTarget): OciSeccomp {
  return harden(resolveSeccomp(profile, target), target);
}

/** {@link containerSeccomp} for the capabilities that a spec asks for. */
export function seccompFor(
  profile: SeccompProfile,
  machine: Omit<SeccompTarget, 'capabilities'>,
  change: Parameters<typeof effectiveCapabilities>[0],
): OciSeccomp {
  return containerSeccomp(profile, { ...machine, capabilities: effectiveCapabilities(change) });
}

function harden(seccomp: OciSeccomp, target: SeccompTarget): OciSeccomp {
  const holds = (name: string): boolean => target.capabilities.includes(name);
  const taken = new Set(NEEDS.flatMap(([needed, names]) => (needed.some(holds) ? [] : names)));
  // The answer that programs know from other engines: not allowed, rather than not there.
  const added: OciSyscall[] =
    taken.size === 0 ? [] : [{ names: [...taken], action: 'SCMP_ACT_ERRNO', errnoRet: EPERM }];
  if (!holds('CAP_SYS_ADMIN')) {
    for (const name of ['clone', 'clone3', 'socket']) taken.add(name);
    added.push(cloneRule(target.architecture), ...socketRules(holds('CAP_AUDIT_WRITE')));
    // Its flags lie in memory, where a filter cannot look: C libraries take ENOSYS as the word to use clone.
    added.push({ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS });
  }
  const kept = seccomp.syscalls.flatMap((rule): OciSyscall[] => {
    const names = rule.names.filter((name) => !taken.has(name));
    return names.length === 0 ? [] : [{ ...rule, names }];
  });
  return { ...seccomp, syscalls: [...kept, ...added] };
}

function cloneRule(architecture: string): OciSyscall {
  return {
    names: ['clone'],
    action: 'SCMP_ACT_ALLOW',
    // On s390x the first two arguments of clone are exchanged.
    args: [
      {
        index: architecture === 's390x' ? 1 : 0,
        value: NAMESPACE_FLAGS,
        valueTwo: 0,
        op: 'SCMP_CMP_MASKED_EQ',
      },
    ],
  };
}

function socketRules(maySpeakToAudit: boolean): OciSyscall[] {
  const family = (value: number): { index: number; value: number; op: string } => ({
    index: 0,
    value,
    op: 'SCMP_CMP_EQ',
  });
  const notAudit = { index: 2, value: NETLINK_AUDIT, op: 'SCMP_CMP_NE' };
  return [
    ...SOCKET_FAMILIES.map((each) => ({
      names: ['socket'],
      action: 'SCMP_ACT_ALLOW',
      args: [family(each)],
    })),
    {
      names: ['socket'],
      action: 'SCMP_ACT_ALLOW',
      args: maySpeakToAudit ? [family(AF_NETLINK)] : [family(AF_NETLINK), notAudit],
    },
  ];
}
