// What may be told of a key: everything but its material.

import { type KeyVersion, latest, type NamedKey } from './keyring.ts';

/** What `describe` tells of a key. No material. */
export interface KeyDescription {
  readonly name: string;
  readonly latestVersion: number;
  readonly minDecryptionVersion: number;
  readonly createdAt: number;
  /** The newest version has been used so often that it should be rotated soon. */
  readonly rotationAdvised: boolean;
  readonly versions: readonly {
    readonly version: number;
    readonly createdAt: number;
    /** At most this many encryptions were made with it. */
    readonly encryptions: number;
    /** `archived`: below the minimum, recoverable by lowering it. `retired`: destroyed. */
    readonly state: 'latest' | 'active' | 'archived' | 'retired';
  }[];
}

/** Describes a key. `usedOf` knows how often each version was used, `manyUses` from when on to advise a rotation. */
export function describeKey(
  key: NamedKey,
  usedOf: (version: KeyVersion) => number,
  manyUses: number,
): KeyDescription {
  const newest = latest(key);
  return {
    name: key.name,
    latestVersion: newest.version,
    minDecryptionVersion: key.minDecryptionVersion,
    createdAt: key.createdAt,
    rotationAdvised: usedOf(newest) >= manyUses,
    versions: key.versions.map((version) => ({
      version: version.version,
      createdAt: version.createdAt,
      encryptions: usedOf(version),
      state: stateOf(key, version),
    })),
  };
}

function stateOf(key: NamedKey, version: KeyVersion): KeyDescription['versions'][number]['state'] {
  if (version.material === null) return 'retired';
  if (version.version === latest(key).version) return 'latest';
  return version.version < key.minDecryptionVersion ? 'archived' : 'active';
}
