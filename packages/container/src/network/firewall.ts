// Our own nftables table for one bridge: published ports, the way out, and what containers must not reach.

import { writeFile } from 'node:fs/promises';
import { ContainerError } from '../errors.ts';
import { run } from '../system/command.ts';
import { addressAt, type Subnet } from './addresses.ts';

/** What the table must say. */
export interface FirewallState {
  readonly ports: readonly ForwardedPort[];
}

/** A port of the host that leads to a container. */
export interface ForwardedPort {
  readonly protocol: 'tcp' | 'udp';
  /** `0.0.0.0`: every address of the host. */
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly address: string;
  readonly containerPort: number;
}

/** What the bridge is. */
export interface FirewallOptions {
  readonly bridgeName: string;
  readonly subnet: Subnet;
  /** Containers reach what the host reaches, with the host's address. */
  readonly masquerade: boolean;
}

/** Every address of the host. */
export const ANY_ADDRESS = '0.0.0.0';

/** The table of a bridge. */
export function tableName(bridgeName: string): string {
  return `heptad-${bridgeName}`;
}

/**
 * The text that makes a table what it must be, as a whole and in one transaction: there is no moment without rules, and
 * a table that somebody changed or flushed is right again.
 *
 * The table never accepts on behalf of the user's own rules. In nftables a packet passes only if every chain of a hook
 * lets it, so a `drop` of the user's in forward or input stands, whatever is said here (the complaint of moby #4737).
 */
export function firewallText(options: FirewallOptions, state: FirewallState): string {
  const { bridgeName, subnet, masquerade } = options;
  const network = `${addressAt(subnet, 0)}/${subnet.prefix}`;
  const name = tableName(bridgeName);
  const bridge = JSON.stringify(bridgeName);
  return `table ip ${name} {}
delete table ip ${name}
table ip ${name} {
${(['tcp', 'udp'] as const).flatMap((protocol) => portMaps(protocol, state.ports)).join('\n')}
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    # Publishing lets the bridge route loopback addresses; a container must not use that to reach the host's own services.
    iifname ${bridge} ip daddr { 127.0.0.0/8, 169.254.0.0/16 } drop
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
${DESTINATION_RULES}
  }
  chain output {
    type nat hook output priority -100; policy accept;
${DESTINATION_RULES}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    # From the host's loopback, and from a container to its own published port: the answer must come back here.
    oifname ${bridge} ip saddr 127.0.0.0/8 masquerade
    oifname ${bridge} ip saddr ${network} ct status dnat masquerade
${masquerade ? `    ip saddr ${network} oifname != ${bridge} masquerade` : ''}
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    # Who is not on the network reaches published ports, and answers to what containers asked; nothing else.
    oifname ${bridge} iifname != ${bridge} ct state established,related accept
    oifname ${bridge} iifname != ${bridge} ct status dnat accept
    oifname ${bridge} iifname != ${bridge} drop
  }
}
`;
}

const DESTINATION_RULES = `    dnat ip to ip daddr . tcp dport map @tcp-at
    dnat ip to ip daddr . udp dport map @udp-at
    fib daddr type local dnat ip to tcp dport map @tcp-any
    fib daddr type local dnat ip to udp dport map @udp-any`;

function portMaps(protocol: 'tcp' | 'udp', ports: readonly ForwardedPort[]): string[] {
  const mine = ports.filter((port) => port.protocol === protocol);
  const elements = (list: readonly string[]): string =>
    list.length === 0 ? '' : `\n    elements = { ${list.join(', ')} }`;
  const any = mine.filter(({ hostAddress }) => hostAddress === ANY_ADDRESS);
  const at = mine.filter(({ hostAddress }) => hostAddress !== ANY_ADDRESS);
  return [
    `  map ${protocol}-any {\n    type inet_service : ipv4_addr . inet_service${elements(
      any.map(({ hostPort, address, containerPort }) => `${hostPort} : ${address} . ${containerPort}`),
    )}\n  }`,
    `  map ${protocol}-at {\n    type ipv4_addr . inet_service : ipv4_addr . inet_service${elements(
      at.map(
        ({ hostAddress, hostPort, address, containerPort }) =>
          `${hostAddress} . ${hostPort} : ${address} . ${containerPort}`,
      ),
    )}\n  }`,
  ];
}

/** Keeps the table of one bridge. Many changes at once become one transaction. */
export class Firewall {
  private readonly options: FirewallOptions;
  private readonly state: () => FirewallState;
  private running: Promise<void> | undefined;
  private next: Promise<void> | undefined;
  private applied = false;

  /** `state` is asked when the table is written. */
  constructor(options: FirewallOptions, state: () => FirewallState) {
    this.options = options;
    this.state = state;
  }

  /** Makes the table what `state` says now. Throws `NETWORK_FAILED` with nft's words. */
  apply(): Promise<void> {
    if (this.running === undefined) {
      this.running = this.write().finally(() => {
        this.running = undefined;
      });
      return this.running;
    }
    // What is being written may have been asked for before the latest change: whoever comes now shares the next one.
    this.next ??= this.running.then(this.again, this.again);
    return this.next;
  }

  private readonly again = (): Promise<void> => {
    this.next = undefined;
    return this.apply();
  };

  /** {@link apply} unless this process has done so: a container without ports changes nothing. */
  async ensure(): Promise<void> {
    if (!this.applied) await this.apply();
  }

  /** Removes the table; missing is fine. */
  async remove(): Promise<void> {
    this.applied = false;
    const name = tableName(this.options.bridgeName);
    await this.nft(`table ip ${name} {}\ndelete table ip ${name}\n`);
  }

  private async write(): Promise<void> {
    const state = this.state();
    if (state.ports.length > 0) {
      // Without it the kernel drops what comes from 127.0.0.1 and leaves by the bridge. The guard chain closes the way back.
      await writeFile(`/proc/sys/net/ipv4/conf/${this.options.bridgeName}/route_localnet`, '1');
    }
    await this.nft(firewallText(this.options, state));
    this.applied = true;
  }

  private async nft(text: string): Promise<void> {
    const { exitCode, stderr } = await run('nft', ['-f', '-'], { input: text });
    if (exitCode === 0) return;
    throw new ContainerError(
      'NETWORK_FAILED',
      `nft cannot set the rules of bridge ${this.options.bridgeName}: ${stderr.trim().slice(0, 1_000)}`,
      {
        hint: 'nftables of the kernel and the program nft (apt-get install nftables) are needed',
        retryable: true,
      },
    );
  }
}
