// The documentation page of the containment test, made from its table.

import type { Attempt } from './table.ts';

/** Markdown. */
export function containmentPage(attempts: readonly Attempt[]): string {
  const areas = [...new Set(attempts.map(({ area }) => area))];
  const proven = attempts.filter(({ control }) => control !== undefined).length;
  return [
    '# Containment, attempt by attempt',
    '',
    '<!-- Written by packages/container/test/containment.test.ts from its table; change it there. -->',
    '',
    `What a container may not do is tested by trying. A static program makes ${attempts.length} attempts, as raw system calls,`,
    'from inside a container with default settings whose user is root (and again as an ordinary user). All must fail, and',
    'the host must be the same before and after: its mounts, kernel settings, modules, swap, host name, keys, firewall,',
    'runtime and processes are compared.',
    '',
    `An attempt that fails proves little when it could never succeed. ${proven} of them (marked ✓) are therefore also made by root in`,
    'namespaces of its own without our container around it, and there each must succeed. The others need what few machines',
    'have, or would harm the machine that tests.',
    '',
    'Beside the table the test covers: overwriting the runtime while programs are run in the container (CVE-2019-5736),',
    'working directories through leaked files (CVE-2024-21626), links in shared volumes and in bind sources, mounts over',
    '`/proc` and over the devices that mask it (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881), memory exhaustion, and the disk',
    'of a read-only container.',
    '',
    'Not contained by default: the disk. A container without `readOnlyRootfs` can fill the file system that holds the',
    "engine's home, as with other engines; give that directory a file system of its own. And the kernel is shared: a fault in a",
    'system call that seccomp lets through is a way out. For code that you do not trust at all, use the `vm` runtime.',
    ...areas.flatMap((area) => [
      '',
      `## ${area}`,
      '',
      '| attempt | stopped by | ✓ |',
      '| --- | --- | --- |',
      ...attempts
        .filter((attempt) => attempt.area === area)
        .map(
          ({ tries, stoppedBy, control }) =>
            `| ${tries} | ${stoppedBy} | ${control === undefined ? '' : '✓'} |`,
        ),
    ]),
    '',
  ].join('\n');
}
