// The program that is process 1 of a virtual machine: its parts put together.

import { GUEST_BASE } from './guest/base.ts';
import { GUEST_LOOP } from './guest/loop.ts';
import { GUEST_MOUNTS } from './guest/mounts.ts';
import { GUEST_PROCESSES } from './guest/processes.ts';
import { GUEST_VERBS } from './guest/verbs.ts';

/**
 * The agent is Perl because it must be process 1 without a compiler or a binary of ours: mounts, terminals, signals
 * and namespaces need system calls, which a shell cannot make and Node.js does not offer, and the interpreter (4 MB, no
 * module of it is used) belongs to Debian's essential packages. One process does everything, so nothing is forked
 * until the program itself is.
 */
export const GUEST_AGENT: string = `#!/usr/bin/perl
${GUEST_BASE}${GUEST_MOUNTS}${GUEST_PROCESSES}${GUEST_VERBS}${GUEST_LOOP}
eval { boot(); power_off("trial\\n") if slurp("/proc/cmdline") =~ /\\bheptad\\.trial\\b/; serve(); };
chomp(my $why = $@); $why =~ s/\\n.*//s;
syswrite(STDERR, "heptad: $why\\n");
power_off("failed $why\\n") if $status_port;
sleep(1); call('reboot', 0xfee1dead, 672274793, 0x4321fedc, 0); sleep(60) while 1;
`;
