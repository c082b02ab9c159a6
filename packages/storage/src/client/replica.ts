// The seam between the quorum protocols and the network: what a client can ask of one storage node.
// HTTP carries it in production (http-replica.ts), the simulated network in tests of the protocol.

import type { Tag } from '../model/tag.ts';
import type { ObjectId, VersionHeader } from '../model/version.ts';
import type { ObjectEntry } from '../wire/protocol.ts';

/** A version with its bytes. */
export interface Version {
  readonly header: VersionHeader;
  readonly body: Uint8Array;
}

/** What a replica answered about an object. Its tag counts in quorums even when its bytes are damaged. */
export interface ReplicaView {
  readonly tag: Tag;
  /** Missing when there is nothing, or nothing readable. */
  readonly header?: VersionHeader;
  /** Present when the bytes were asked for and verified. */
  readonly body?: Uint8Array;
  readonly corrupt: boolean;
}

/** Where an object's replicas are under one layout version. */
export interface Route {
  readonly id: ObjectId;
  readonly layoutVersion: number;
  readonly sets: readonly { readonly nodes: readonly string[]; readonly quorum: number }[];
}

/** Requests to replicas by node id. All reject with a `HeptadError` or the network's error. */
export interface ReplicaAccess {
  /** The tag and header, from the node's index. */
  inspect(node: string, route: Route): Promise<ReplicaView>;
  /** The bytes too, verified on both sides. */
  read(node: string, route: Route): Promise<ReplicaView>;
  /** Stores a version unless the node has a later one; resolves, when it is durable, with the tag the node has now. */
  write(node: string, route: Route, version: Version): Promise<Tag>;
  /** `host:port`, for error messages. */
  address(node: string): string;
}

/** Pages of entries, for listing and for moving data. */
export interface EntrySource {
  partitionPage(
    node: string,
    layoutVersion: number,
    partition: number,
    after: string,
  ): Promise<ObjectEntry[]>;
  bucketPage(node: string, layoutVersion: number, query: BucketQuery): Promise<ObjectEntry[]>;
  drop(node: string, layoutVersion: number, id: ObjectId, upTo: Tag): Promise<void>;
}

/** A page of a bucket. */
export interface BucketQuery {
  readonly bucket: string;
  readonly prefix: string;
  readonly after: string;
  readonly limit: number;
}
