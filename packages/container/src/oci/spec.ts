// The types of an OCI runtime bundle's config.json, as far as this package writes it.

import type { OciSeccomp } from './seccomp.ts';

/** One mount. */
export interface OciMount {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
}

/** A device node to make. */
export interface OciDevice {
  readonly path: string;
  readonly type: 'b' | 'c';
  readonly major: number;
  readonly minor: number;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** One limit of getrlimit(2). */
export interface OciRlimit {
  readonly type: string;
  readonly hard: number;
  readonly soft: number;
}

/** Rates of block devices. */
export interface OciBlockIo {
  readonly weight?: number;
  readonly throttleReadBpsDevice?: readonly OciRate[];
  readonly throttleWriteBpsDevice?: readonly OciRate[];
  readonly throttleReadIOPSDevice?: readonly OciRate[];
  readonly throttleWriteIOPSDevice?: readonly OciRate[];
}

/** One rate. */
export interface OciRate {
  readonly major: number;
  readonly minor: number;
  readonly rate: number;
}

/** A range of ids of a user namespace. */
export interface OciIdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

/** cgroup limits. */
export interface OciResources {
  readonly devices?: readonly {
    readonly allow: boolean;
    readonly type?: string;
    readonly major?: number;
    readonly minor?: number;
    readonly access: string;
  }[];
  readonly memory?: { readonly limit: number; readonly swap?: number };
  readonly cpu?: {
    readonly shares?: number;
    readonly quota?: number;
    readonly period?: number;
    readonly cpus?: string;
  };
  readonly pids?: { readonly limit: number };
  readonly blockIO?: OciBlockIo;
  /** Files of cgroup v2 and what is written to them. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** One process: the main one, or an exec. */
export interface OciProcess {
  readonly terminal: boolean;
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids?: readonly number[] };
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Readonly<
    Record<'bounding' | 'effective' | 'permitted' | 'inheritable' | 'ambient', readonly string[]>
  >;
  readonly rlimits: readonly OciRlimit[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj?: number;
}

/** config.json. */
export interface OciSpec {
  readonly ociVersion: string;
  readonly process: OciProcess;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname?: string;
  readonly mounts: readonly OciMount[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux: {
    readonly cgroupsPath?: string;
    readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
    readonly uidMappings?: readonly OciIdMapping[];
    readonly gidMappings?: readonly OciIdMapping[];
    readonly devices?: readonly OciDevice[];
    readonly resources?: OciResources;
    readonly seccomp: OciSeccomp;
    readonly maskedPaths: readonly string[];
    readonly readonlyPaths: readonly string[];
    readonly sysctl?: Readonly<Record<string, string>>;
    readonly rootfsPropagation?: string;
  };
}
