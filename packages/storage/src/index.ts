// The public face of @heptad/storage: replicated object storage. State stores are in @heptad/storage/state.

export type { ConsistencySession } from '@heptad/core';
export type { ClusterNodeStatus, ClusterStatus } from './client/cluster-status.ts';
export { ConsistencyLevel } from './client/consistency-level.ts';
export { DistributedStorage } from './client/distributed-storage.ts';
export type { StorageTimeouts } from './client/http-replica.ts';
export type { KnownNode } from './client/layout-client.ts';
export type { DistributedStorageOptions } from './client/options.ts';
export type { AddedNode, MoveProgress, ProgressOptions } from './client/rebalance.ts';
export type { RepairOptions, RepairProgress, RepairReport } from './client/repair.ts';
export { type ReplicaAnswer, StorageError, type StorageErrorCode } from './errors.ts';
export { MAX_KEY_BYTES, MAX_METADATA_BYTES, MAX_OBJECT_BYTES } from './limits.ts';
export type { ScrubProgress } from './node/scrub.ts';
export { StorageNode, type StorageNodeOptions } from './node/storage-node.ts';
export {
  type Assignment,
  assignPartitions,
  PARTITION_COUNT,
  type PlacementNode,
  partitionOf,
} from './placement/assign.ts';
export type { Layout, LayoutNode } from './placement/layout.ts';
export {
  CONSISTENCY_HEADER,
  ERROR_CODE_HEADER,
  formatInfoHeader,
  OBJECT_INFO_HEADER,
  OBJECT_METADATA_HEADER,
  parseMetadataHeader,
} from './remote/object-http.ts';
export { RemoteObjectStore, type RemoteObjectStoreOptions } from './remote/remote-object-store.ts';
export type { NodeStatus, PartitionStatus } from './wire/protocol.ts';
