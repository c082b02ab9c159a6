// What a container network must offer; the CNI bridge is one, others can follow behind the same four verbs.

import type { ContainerId, PublishedPort } from '@heptad/core';

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
  /** Connects a prepared namespace to the network; returns the address. */
  connect(request: AttachRequest): Promise<string | undefined>;
  /** Takes everything back; idempotent, best effort in every part, throws when something could not be taken back. */
  detach(id: ContainerId): Promise<void>;
  /** Takes back what belongs to containers not in `known`; returns a sentence for each. */
  reconcile(known: ReadonlySet<ContainerId>): Promise<string[]>;
}
