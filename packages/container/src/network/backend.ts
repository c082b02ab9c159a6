// What a container network must offer; the CNI bridge is one, others can follow behind the same verbs.

import type { ContainerId, NetworkAttachment, PublishedPort } from '@heptad/core';

/** A container's place on a network. */
export interface Attachment {
  /** Path of the network namespace, for the runtime to join. */
  readonly namespace: string;
  /** The container's address. */
  readonly address?: string;
}

/** A request for a place. */
export interface AttachRequest {
  readonly id: ContainerId;
  readonly ports: readonly PublishedPort[];
  /** The container's name, by which others on the network find it. */
  readonly name?: string;
  /** Further names. */
  readonly aliases?: readonly string[];
  /** Name servers of its own, to which questions about other names go. Default the host's. */
  readonly servers?: readonly string[];
  /** The namespace that another network prepared; absent: this network's own. */
  readonly namespace?: string;
  /** Name of the interface inside. Default `eth0`. */
  readonly interfaceName?: string;
}

/** A port that leads into a container. */
export interface ExposedPort {
  readonly container: ContainerId;
  readonly network: string;
  readonly protocol: 'tcp' | 'udp';
  /** An address of the host; `0.0.0.0` is all of them. */
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly address: string;
  readonly containerPort: number;
}

/**
 * Gives containers network namespaces and takes them back. Everything an attachment consists of is recorded on disk
 * before it is made, so that `detach` and `reconcile` find it after the death of the process that made it.
 */
export interface NetworkBackend {
  readonly name: string;
  /** Sentences about what is missing, with how to get it; [] when it can work. */
  probe(): Promise<string[]>;
  /** Makes a namespace on the network. Leaves nothing behind when it fails. */
  attach(request: AttachRequest): Promise<Attachment>;
  /** Makes the namespace only; `connect` follows. Lets the namespace be used while the network is still being plumbed. */
  prepare(id: ContainerId): Promise<string>;
  /** It only takes namespaces of the runtime's making: `adopt` comes in place of `prepare`, always. */
  readonly adopts?: boolean;
  /** Takes a namespace that the runtime made for the process `pid`, in place of `prepare`. */
  adopt?(id: ContainerId, pid: number): Promise<void>;
  /** Connects a prepared namespace to the network; returns the address. */
  connect(request: AttachRequest): Promise<string | undefined>;
  /** Takes the interface back, and leaves the namespace; nothing to take back is fine. */
  disconnect(id: ContainerId): Promise<void>;
  /** Takes everything back; idempotent, best effort in every part, throws when something could not be taken back. */
  detach(id: ContainerId): Promise<void>;
  /** Takes back what belongs to containers not in `known`; returns a sentence for each. */
  reconcile(known: ReadonlySet<ContainerId>): Promise<string[]>;
  /** What the container has on this network; undefined: it is not on it. */
  attachmentOf?(id: ContainerId): NetworkAttachment | undefined;
  /** The interface by which the container is on it. */
  interfaceOf?(id: ContainerId): string | undefined;
  /** The name servers that containers of this network are told of; undefined: the host's. */
  readonly nameServer?: string | undefined;
  /** The container is gone for good: it is not to join again. */
  forget?(id: ContainerId): Promise<void>;
  /** Others on the network, for the container's /etc/hosts; [] when names are not to be found there. */
  peersOf?(id: ContainerId): readonly { readonly address: string; readonly names: readonly string[] }[];
  /** Whether the container was told to join at every start, beside the network of its spec. */
  isMember?(id: ContainerId): Promise<AttachRequest | undefined>;
}

/** Networks by name. A map stays the one given: networks may come and go in it. */
export function networksByName(
  networks: readonly NetworkBackend[] | ReadonlyMap<string, NetworkBackend>,
): ReadonlyMap<string, NetworkBackend> {
  if (networks instanceof Map) return networks;
  return new Map([...networks.values()].map((network) => [network.name, network]));
}
