// Every limit of the object store, each with its reason.

/** Largest object: one object is held whole in memory while it is hashed, sent and verified. */
export const MAX_OBJECT_BYTES: number = 64 * 1024 * 1024;
/** Longest key, as in S3, so that a key fits in headers and file metadata. */
export const MAX_KEY_BYTES = 1024;
/** Metadata of one object, as in S3: it is kept in every node's memory index. */
export const MAX_METADATA_BYTES = 2048;
/** Bytes of bodies one node holds in memory at once; beyond it the node answers `BUSY` and the client tries again. */
export const MAX_NODE_BUFFER_BYTES: number = 256 * 1024 * 1024;
/** JSON requests to a node (layouts are the largest: 256 partitions and up to {@link MAX_NODES} nodes). */
export const MAX_JSON_BYTES: number = 4 * 1024 * 1024;
/** Entries in one page of a listing: about 1 MiB with the longest keys. */
export const MAX_PAGE_ENTRIES = 1000;
/** Nodes in one cluster; 256 partitions cannot be spread usefully over more. */
export const MAX_NODES = 256;
/** Largest replication factor: more copies than this only slow writes down. */
export const MAX_REPLICATION_FACTOR = 7;
/** How far a tag may run ahead of a node's clock, so that one machine with a wild clock cannot use up all tags. */
export const MAX_TAG_AHEAD_MS: number = 24 * 60 * 60 * 1000;
/** A tombstone stays at least this long, far longer than any request can be under way (Garage's TABLE_GC_DELAY). */
export const TOMBSTONE_GRACE_MS: number = 24 * 60 * 60 * 1000;
/** Objects whose session tags one client remembers for callers that pass no session of their own. */
export const MAX_SESSION_OBJECTS = 100_000;
/** Layout refreshes within one operation; more means that the layout changes faster than we can follow. */
export const MAX_LAYOUT_RETRIES = 8;
/** Objects moved or repaired at the same time: enough to hide a disk's latency, few enough to leave it to users. */
export const MOVE_CONCURRENCY = 4;
