// What pull and push tell while they run.

import type { Digest } from '../image/digest.ts';

/** One report of a pull or push. Bytes are those of the registry: compressed. */
export type TransferEvent =
  /** What is going to be transferred is known. */
  | {
      readonly type: 'resolved';
      readonly reference: string;
      /** Of the manifest or index. */
      readonly digest: Digest;
      /** Blobs that belong to it: configs and layers. */
      readonly blobs: number;
      /** Bytes of them all, those that are there already included. */
      readonly bytes: number;
    }
  /** How far one blob is. */
  | {
      readonly type: 'blob';
      readonly digest: Digest;
      /** `present`: it was there already. `mounted`: the registry took it from another repository. */
      readonly status: 'waiting' | 'transferring' | 'done' | 'present' | 'mounted';
      readonly offset: number;
      readonly size: number;
    }
  /** Something failed and is tried again, here or elsewhere. */
  | { readonly type: 'retry'; readonly what: string; readonly attempt: number; readonly reason: string }
  /** A layer is ready for containers. */
  | { readonly type: 'unpacked'; readonly digest: Digest; readonly chainId: Digest };

/** What an event is about: of two about one thing, only the later matters. */
export function transferKey(event: TransferEvent): string {
  switch (event.type) {
    case 'resolved':
      return `resolved ${event.reference}`;
    case 'blob':
      return `blob ${event.digest}`;
    case 'unpacked':
      return `unpacked ${event.chainId}`;
    case 'retry':
      return `retry ${event.what}`;
  }
}
