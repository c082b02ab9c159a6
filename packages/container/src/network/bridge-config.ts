// The CNI configuration of a bridge network, and what a request for a place on it comes to.

import { isIPv4 } from 'node:net';
import type { PublishedPort } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { addressAt, type Subnet } from './addresses.ts';
import type { RecordedPort } from './attachments.ts';
import type { NetworkConfig } from './cni.ts';

/** Options of {@link CniBridgeNetwork}. */
export interface CniBridgeOptions {
  /** Where leases and attachments are recorded. */
  readonly directory: string;
  /** Name of the network. Default `bridge`. */
  readonly name?: string;
  /** Name of the Linux bridge, at most 15 characters. Default `heptad0`. */
  readonly bridgeName?: string;
  /** Default `10.87.0.0/16`. */
  readonly subnet?: string;
  /** The host's address on the bridge. Default the first of the subnet. */
  readonly gateway?: string;
  /** Containers reach the host but not each other. Default false. */
  readonly isolated?: boolean;
  /** Lets containers reach what the host reaches, with the host's address. Default false when isolated, else true. */
  readonly masquerade?: boolean;
  /** Containers are told to ask the gateway for names. Default false: somebody must answer there. */
  readonly dns?: boolean;
  /** Where the plugins are. */
  readonly pluginDirectories?: readonly string[];
}

/** What the configuration says. */
export interface BridgeConfig {
  readonly name: string;
  readonly bridgeName: string;
  readonly subnet: Subnet;
  readonly gateway: string;
  readonly isolated: boolean;
  readonly leases: string;
  /** Only one network of a container leads out of it. */
  readonly defaultRoute: boolean;
}

/** The plugins of a bridge network. Ports and masquerading are not theirs: see {@link firewallText}. */
export function bridgeConfig(config: BridgeConfig): NetworkConfig {
  const { subnet, gateway } = config;
  return {
    name: config.name,
    plugins: [
      {
        type: 'bridge',
        bridge: config.bridgeName,
        isGateway: true,
        ipMasq: false,
        hairpinMode: !config.isolated,
        ipam: {
          type: 'host-local',
          dataDir: config.leases,
          ranges: [[{ subnet: `${addressAt(subnet, 0)}/${subnet.prefix}`, gateway }]],
          ...(config.defaultRoute ? { routes: [{ dst: '0.0.0.0/0' }] } : {}),
        },
      },
    ],
  };
}

/** Ports as recorded. Throws `NOT_SUPPORTED` for an IPv6 address of the host: containers have IPv4 only. */
export function recordedPorts(ports: readonly PublishedPort[]): RecordedPort[] {
  return ports.map(({ hostAddress, hostPort, containerPort, protocol }) => {
    // A published port is for this machine unless somebody says otherwise: nothing bypasses the firewall.
    const address = hostAddress ?? '127.0.0.1';
    if (!isIPv4(address)) {
      throw new ContainerError(
        'NOT_SUPPORTED',
        `cannot publish port ${hostPort} on ${address}: bridge networks have IPv4 addresses only`,
        { hint: 'give an IPv4 address; 0.0.0.0 stands for all of the host', details: { driver: 'oci' } },
      );
    }
    return { protocol: protocol === 'UDP' ? 'udp' : 'tcp', hostAddress: address, hostPort, containerPort };
  });
}
