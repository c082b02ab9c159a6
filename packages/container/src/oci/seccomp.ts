// Resolves the container ecosystem's seccomp profile into the OCI form, for one machine and one set of capabilities.

import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ContainerError, errnoOf } from '../errors.ts';

/** Where profiles are looked for, in this order, as Podman does. */
export const SECCOMP_PROFILE_PATHS: readonly string[] = [
  '/etc/containers/seccomp.json',
  '/usr/share/containers/seccomp.json',
];

/** `linux.seccomp` of the OCI runtime specification. */
export interface OciSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly OciSyscall[];
}

/** One rule. */
export interface OciSyscall {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly SeccompArgument[];
}

/** A comparison of one argument of a system call. */
export interface SeccompArgument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}

const conditions = z
  .object({
    arches: z.array(z.string()).optional(),
    caps: z.array(z.string()).optional(),
    minKernel: z.string().optional(),
  })
  .nullish();
const profileSchema = z.object({
  defaultAction: z.string(),
  defaultErrnoRet: z.number().optional(),
  defaultErrno: z.string().optional(),
  architectures: z.array(z.string()).nullish(),
  archMap: z
    .array(z.object({ architecture: z.string(), subArchitectures: z.array(z.string()).nullish() }))
    .nullish(),
  syscalls: z.array(
    z.object({
      name: z.string().optional(),
      names: z.array(z.string()).nullish(),
      action: z.string(),
      errnoRet: z.number().nullish(),
      args: z
        .array(
          z.object({
            index: z.number(),
            value: z.number(),
            valueTwo: z.number().nullish(),
            op: z.string(),
          }),
        )
        .nullish(),
      includes: conditions,
      excludes: conditions,
    }),
  ),
});

/** When a rule applies. */
interface SeccompConditions {
  readonly arches?: readonly string[] | undefined;
  readonly caps?: readonly string[] | undefined;
  readonly minKernel?: string | undefined;
}

/** A rule of a profile, not yet resolved. */
export interface SeccompRule {
  readonly name?: string | undefined;
  readonly names?: readonly string[] | null | undefined;
  readonly action: string;
  readonly errnoRet?: number | null | undefined;
  readonly args?:
    | readonly { index: number; value: number; valueTwo?: number | null | undefined; op: string }[]
    | null
    | undefined;
  readonly includes?: SeccompConditions | null | undefined;
  readonly excludes?: SeccompConditions | null | undefined;
}

/** A profile in the form of containers-common and moby. */
export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number | undefined;
  readonly architectures?: readonly string[] | null | undefined;
  readonly archMap?:
    | readonly { architecture: string; subArchitectures?: readonly string[] | null | undefined }[]
    | null
    | undefined;
  readonly syscalls: readonly SeccompRule[];
}

/** What a profile is resolved for. */
export interface SeccompTarget {
  /** Go's name: `amd64`, `arm64`. */
  readonly architecture: string;
  /** The container's bounding set, with `CAP_`. */
  readonly capabilities: readonly string[];
  /** `uname -r`. */
  readonly kernel: string;
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  '386': 'SCMP_ARCH_X86',
  amd64: 'SCMP_ARCH_X86_64',
  arm: 'SCMP_ARCH_ARM',
  arm64: 'SCMP_ARCH_AARCH64',
  loong64: 'SCMP_ARCH_LOONGARCH64',
  ppc64: 'SCMP_ARCH_PPC64LE',
  riscv64: 'SCMP_ARCH_RISCV64',
  s390x: 'SCMP_ARCH_S390X',
};

/** Reads the machine's profile. Throws `RUNTIME_UNAVAILABLE` when there is none: containers never run unconfined. */
export async function loadSeccompProfile(
  paths: readonly string[] = SECCOMP_PROFILE_PATHS,
): Promise<SeccompProfile> {
  for (const path of paths) {
    try {
      return parseSeccompProfile(await readFile(path, 'utf8'), path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
  throw new ContainerError('RUNTIME_UNAVAILABLE', `there is no seccomp profile at ${paths.join(' or ')}`, {
    hint: 'install it: apt-get install golang-github-containers-common',
  });
}

/** Parses a profile. Throws `INVALID_ARGUMENT` naming the file. */
export function parseSeccompProfile(text: string, path: string): SeccompProfile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ContainerError('INVALID_ARGUMENT', `seccomp profile ${path} is not JSON`, { cause });
  }
  const result = profileSchema.safeParse(json);
  if (!result.success) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `seccomp profile ${path} is not valid: ${z.prettifyError(result.error)}`,
    );
  }
  if (result.data.architectures?.length && result.data.archMap?.length) {
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `seccomp profile ${path} has both architectures and archMap; one must go`,
    );
  }
  return result.data;
}

/**
 * The OCI form of a profile. Rules are kept or left out by architecture, capabilities and kernel exactly as
 * `moby/profiles:seccomp/seccomp_linux.go` does, so capabilities must be settled first.
 */
export function resolveSeccomp(profile: SeccompProfile, target: SeccompTarget): OciSeccomp {
  const native = ARCHITECTURES[target.architecture];
  const mapped = profile.archMap?.find(({ architecture }) => architecture === native);
  const architectures =
    mapped !== undefined
      ? [mapped.architecture, ...(mapped.subArchitectures ?? [])]
      : (profile.architectures ?? []);
  const syscalls = profile.syscalls.filter((rule) => applies(rule, target)).map(toOci);
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    architectures: architectures.length > 0 ? architectures : native === undefined ? [] : [native],
    syscalls,
  };
}

function applies(rule: SeccompRule, target: SeccompTarget): boolean {
  const { includes, excludes } = rule;
  const holds = (capability: string): boolean => target.capabilities.includes(capability);
  if (excludes?.arches?.includes(target.architecture)) return false;
  if (excludes?.caps?.some(holds)) return false;
  if (excludes?.minKernel !== undefined && kernelAtLeast(target.kernel, excludes.minKernel)) return false;
  if (includes?.arches?.length && !includes.arches.includes(target.architecture)) return false;
  if (includes?.caps?.length && !includes.caps.every(holds)) return false;
  return includes?.minKernel === undefined || kernelAtLeast(target.kernel, includes.minKernel);
}

/** Whether kernel `running` (`6.1.0-13-amd64`) is `wanted` (`4.8`) or newer. */
export function kernelAtLeast(running: string, wanted: string): boolean {
  const numbers = (text: string): [number, number] => {
    const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(text) ?? [];
    return [Number(major), Number(minor)];
  };
  const [runningMajor, runningMinor] = numbers(running);
  const [wantedMajor, wantedMinor] = numbers(wanted);
  return runningMajor > wantedMajor || (runningMajor === wantedMajor && runningMinor >= wantedMinor);
}

function toOci(rule: SeccompRule): OciSyscall {
  const args = rule.args?.map(({ index, value, valueTwo, op }) => ({
    index,
    value,
    op,
    ...(valueTwo ? { valueTwo } : {}),
  }));
  return {
    names: rule.names?.length ? rule.names : rule.name === undefined ? [] : [rule.name],
    action: rule.action,
    ...(rule.errnoRet == null ? {} : { errnoRet: rule.errnoRet }),
    ...(args === undefined || args.length === 0 ? {} : { args }),
  };
}
