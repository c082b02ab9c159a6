// How far one layer may go.

/** How far one layer may go; each number is far above what real images hold. */
export interface LayerLimits {
  /** Bytes of all files together. Default 16 GiB. */
  readonly maxBytes: number;
  /** Entries. Default one million. */
  readonly maxEntries: number;
  /**
   * How many times larger than its compressed form the archive may become, once it is over `ratioFloorBytes`. Default
   * 500: real layers reach 20, a gzip bomb 1,030, a zstd bomb 10,000 and more.
   */
  readonly maxRatio: number;
  /** Bytes of archive below which any ratio is fine: a file of zeros in a test image is no attack. Default 1 GiB. */
  readonly ratioFloorBytes: number;
}

export const DEFAULT_LAYER_LIMITS: LayerLimits = {
  maxBytes: 16 * 1024 ** 3,
  maxEntries: 1_000_000,
  maxRatio: 500,
  ratioFloorBytes: 1024 ** 3,
};
