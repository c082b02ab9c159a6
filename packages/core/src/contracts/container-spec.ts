// ContainerSpec: everything that can be said of a container before it exists.

/** Hard limits of a container; an absent one means no limit of its own. */
export interface ResourceLimits {
  /** Millicores of CPU time (1000 = one core). At least 10. */
  readonly cpuMillis?: number;
  /** At least 4 MiB. */
  readonly memoryBytes?: number;
  /** Processes and threads. Default 1024. */
  readonly pids?: number;
  /**
   * Memory and swap together, at least `memoryBytes`. Default `memoryBytes`: no swap, the limit is the limit. -1: swap
   * without limit. Only together with `memoryBytes`.
   */
  readonly memorySwapBytes?: number;
  /** Share of CPU time when the machine is busy, 1..10000 as in cgroup v2. Default: in proportion to `cpuMillis`, else 100. */
  readonly cpuWeight?: number;
  /** The only CPUs it may run on, as a list of numbers and ranges: `0-1,3`. */
  readonly cpuset?: string;
  /** Share of disk time when the disk is busy, 1..10000 as in cgroup v2. Default 100. */
  readonly ioWeight?: number;
  /** Upper bounds for single block devices. */
  readonly ioThrottles?: readonly IoThrottle[];
}

/** Upper bounds of one block device. */
export interface IoThrottle {
  /** Path of a block device of the host (`/dev/vda`) or `major:minor`. */
  readonly device: string;
  readonly readBytesPerSecond?: number;
  readonly writeBytesPerSecond?: number;
  readonly readOperationsPerSecond?: number;
  readonly writeOperationsPerSecond?: number;
}

/** A directory or file of the host, a named volume or memory, seen inside the container. */
export type Mount =
  | { readonly type: 'bind'; readonly source: string; readonly target: string; readonly readOnly?: boolean }
  | {
      readonly type: 'volume';
      /** A volume that is new takes over what the image has at `target`. */
      readonly name: string;
      readonly target: string;
      readonly readOnly?: boolean;
    }
  | { readonly type: 'tmpfs'; readonly target: string; readonly sizeBytes?: number; readonly mode?: number };

/** A file placed in memory inside the container: secrets and configs; never shown by inspect. */
export interface SecretFile {
  /** Absolute path inside the container. */
  readonly target: string;
  readonly content: string | Uint8Array;
  /** Default 0o400. */
  readonly mode?: number;
}

/** A host port forwarded to the container. */
export interface PublishedPort {
  readonly hostAddress?: string;
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol?: 'TCP' | 'UDP';
}

/**
 * What to do when the main process ends by itself.
 *
 * A restart comes after a back-off of 100 ms that doubles with each restart up to one minute, and begins anew once the
 * container has run for 10 s. Whoever has the runtime open restarts; while no process has, an ended container stays
 * ended until `recover`. A container stopped by `stop`, or killed by `kill` with SIGKILL or its stop signal, is not
 * restarted; of those the `always` ones start again after a reboot of the machine.
 */
export interface RestartPolicy {
  /** Default `no`. `on-failure`: exit codes other than 0. */
  readonly policy: 'no' | 'always' | 'unless-stopped' | 'on-failure';
  /** Of `on-failure`: gives up after this many restarts in a row. Default: never. */
  readonly maxRetries?: number;
}

/** A command run in the container again and again; its exit code says how the container is: 0 is healthy. */
export interface ContainerHealthCheck {
  /** Program and arguments; a shell line is `['sh', '-c', line]`. */
  readonly command: readonly string[];
  /** From the end of one check to the next. Default 30 000; at least 10. */
  readonly intervalMs?: number;
  /** A check that takes longer has failed, and is killed with all it started. Default 30 000. */
  readonly timeoutMs?: number;
  /** Failures in a row until it is unhealthy. Default 3. */
  readonly retries?: number;
  /** After a start failures do not count for this long, unless a check has succeeded. Default 0. */
  readonly startPeriodMs?: number;
  /** The interval within the start period. Default 5 000. */
  readonly startIntervalMs?: number;
  /**
   * What is done with one that became unhealthy: `restart` stops it with a grace of 10 s and starts it again, with the
   * back-off of {@link RestartPolicy} but whatever the policy; `stop` stops it for good. Default `restart`.
   */
  readonly onUnhealthy?: 'none' | 'restart' | 'stop';
}

/** A device of the host, usable in the container. */
export interface DeviceMapping {
  /** Path of a character or block device of the host. */
  readonly hostPath: string;
  /** Default the same path. */
  readonly containerPath?: string;
  /** Any of `r`, `w` and `m` (mknod). Default `rw`. */
  readonly permissions?: string;
}

/** A range of ids of a user namespace, as in /proc/PID/uid_map. */
export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

/**
 * Whose ids a container's processes have on the host: `host` the same (root in it is root of the machine, held by
 * capabilities and seccomp only); `auto` a range of the runtime's choice that no other container has; or these ranges.
 */
export type UserNamespace =
  | 'host'
  | 'auto'
  | { readonly uids: readonly IdMapping[]; readonly gids: readonly IdMapping[] };

/** A limit of getrlimit(2). -1 is no limit; more than the runtime's own hard limit is cut to that. */
export interface Ulimit {
  readonly soft: number;
  readonly hard: number;
}

/** What /etc/resolv.conf says. Default: the network's own, else the host's. */
export interface DnsOptions {
  readonly servers?: readonly string[];
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** What to run. */
export interface ContainerSpec {
  /** Unique on this machine; `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128. */
  readonly name: string;
  /** Image reference or digest known to the runtime's image store; the process runtime takes a directory or command. */
  readonly image: string;
  /**
   * What must carry it, where a runtime has several: `vm` beside `oci`. Default the runtime's own; another one that is not
   * there is `NOT_SUPPORTED`.
   */
  readonly runtime?: 'oci' | 'docker' | 'process' | 'vm';
  /** Replaces the image's entrypoint; `[]` clears it. */
  readonly entrypoint?: readonly string[];
  /** Replaces the image's command. */
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Names of environment variables whose values are secret: shown as `***` everywhere. */
  readonly secretEnvironment?: readonly string[];
  readonly workingDirectory?: string;
  /** `user[:group]`, names or numbers. */
  readonly user?: string;
  /** Groups the user is in beside those of the image's /etc/group, names or numbers. */
  readonly groupAdd?: readonly string[];
  readonly hostname?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly limits?: ResourceLimits;
  readonly mounts?: readonly Mount[];
  readonly secrets?: readonly SecretFile[];
  readonly ports?: readonly PublishedPort[];
  /** `none`, `host`, or the name of a network of the runtime. Default: the runtime's default bridge. */
  readonly network?: string;
  /** Names beside its own under which the other containers of its network find it. */
  readonly networkAliases?: readonly string[];
  /** Extra lines of /etc/hosts: name -> address. */
  readonly hosts?: Readonly<Record<string, string>>;
  readonly dns?: DnsOptions;
  readonly readOnlyRootfs?: boolean;
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  /** Signal that asks the process to stop. Default the image's, else SIGTERM. */
  readonly stopSignal?: string;
  /** Log rotation. Default 5 files of 10 MiB. */
  readonly logs?: { readonly maxBytes?: number; readonly maxFiles?: number };
  /** Default `{ policy: 'no' }`. */
  readonly restart?: RestartPolicy;
  /** `none` switches the image's off. Default the image's, if it has one. */
  readonly healthCheck?: ContainerHealthCheck | 'none';
  /** A small process 1 that passes signals on and reaps orphans, before the command. Default false. */
  readonly init?: boolean;
  /** The command gets a terminal; all it writes is standard output. Default false. */
  readonly tty?: boolean;
  /** Standard input stays open for `attach`; else it is at its end from the start. Default false. */
  readonly openStdin?: boolean;
  readonly devices?: readonly DeviceMapping[];
  /** Default `host`. */
  readonly userNamespace?: UserNamespace;
  /** Kernel settings of the container's own namespaces (`net.*`, `kernel.shm*`, `kernel.msg*`, `kernel.sem`, `fs.mqueue.*`). */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Size of /dev/shm. Default 64 MiB. */
  readonly shmBytes?: number;
  /** By the name of getrlimit(2) in lower case and without its prefix: `nofile`, `nproc`, `core`. */
  readonly ulimits?: Readonly<Record<string, Ulimit>>;
  /** -1000 (killed last) .. 1000 when the machine's memory runs out. Below the runtime's own: `NOT_SUPPORTED`. Default 0. */
  readonly oomScoreAdjust?: number;
  /** Passed to the OCI runtime and its hooks; keys of `dev.heptad.*` are the runtime's own. */
  readonly annotations?: Readonly<Record<string, string>>;
}
