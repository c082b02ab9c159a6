// Which of an image's platforms runs here: operating system, architecture, and the variants a processor can also run.

import { ContainerError } from '../errors.ts';
import { type Descriptor, hostArchitecture } from './manifest.ts';

/** What an image is built for, in the words of OCI (Go's). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** `v7` of arm, `v8` of arm64, `v3` of amd64. */
  readonly variant?: string | undefined;
}

const PART = /^[a-z0-9][a-z0-9_.-]*$/;
// What people and `uname -m` call the architectures; the same table as containerd's platforms package.
const ALIASES: Readonly<Record<string, { readonly architecture: string; readonly variant?: string }>> = {
  x86_64: { architecture: 'amd64' },
  'x86-64': { architecture: 'amd64' },
  i386: { architecture: '386' },
  aarch64: { architecture: 'arm64' },
  armhf: { architecture: 'arm', variant: 'v7' },
  armel: { architecture: 'arm', variant: 'v6' },
};
// An image for arm without a variant is for v7, as Debian and Docker mean it.
const DEFAULT_ARM_VARIANT = 7;

/** Reads `os/architecture[/variant]`; the system may be left out and is then linux. Throws `INVALID_ARGUMENT`. */
export function parsePlatform(text: string): Platform {
  const parts = text.toLowerCase().split('/');
  const [first = '', second, third] = parts;
  const alone = parts.length === 1;
  const named = (alone ? first : second) ?? '';
  const alias = Object.hasOwn(ALIASES, named) ? ALIASES[named] : undefined;
  const architecture = alias?.architecture ?? named;
  const variant = third ?? alias?.variant;
  const os = alone ? 'linux' : first;
  const words = [os, architecture, ...(variant === undefined ? [] : [variant])];
  if (parts.length > 3 || !words.every((word) => PART.test(word))) {
    throw new ContainerError('INVALID_ARGUMENT', `"${text.slice(0, 100)}" is not a platform`, {
      hint: 'write os/architecture[/variant], for example linux/arm64 or linux/arm/v7',
    });
  }
  return normalized({ os, architecture, ...(variant === undefined ? {} : { variant }) });
}

/** `os/architecture[/variant]`. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}

/** The platform of this machine. */
export function hostPlatform(): Platform {
  const architecture = hostArchitecture();
  if (architecture !== 'arm') return { os: 'linux', architecture };
  const version: unknown = Reflect.get(process.config.variables, 'arm_version');
  return { os: 'linux', architecture, variant: `v${version ?? DEFAULT_ARM_VARIANT}` };
}

/** One spelling of what is the same: arm64/v8 is arm64, amd64/v1 is amd64, arm is arm/v7. */
function normalized(platform: Platform): Platform {
  const { os, architecture, variant } = platform;
  if (architecture === 'arm64' && (variant === 'v8' || variant === '8')) return { os, architecture };
  if (architecture === 'amd64' && variant === 'v1') return { os, architecture };
  if (architecture === 'arm') return { os, architecture, variant: `v${variantNumber(variant) ?? 7}` };
  return variant === '' ? { os, architecture } : platform;
}

function variantNumber(variant: string | undefined): number | undefined {
  const digits = /^v?(\d+)/.exec(variant ?? '')?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * How well an image for `offered` runs where `wanted` is asked for: 0 best, larger worse, undefined not at all.
 *
 * A processor runs images for older variants of its architecture, and the nearest is the best: arm/v7 takes v7, v6,
 * v5; arm64 takes arm64 and then 32-bit arm from v8 down; amd64/v3 takes v3, v2, v1; amd64 takes 386 last. Source: the
 * rules of containerd's `platforms.Only`.
 */
export function platformRank(wanted: Platform, offered: Platform): number | undefined {
  const want = normalized(wanted);
  const offer = normalized(offered);
  if (want.os !== offer.os) return undefined;
  const wantLevel = levelOf(want);
  if (want.architecture === offer.architecture) {
    if (want.variant === offer.variant) return 0;
    const level = levelOf(offer);
    return wantLevel === undefined || level === undefined || level > wantLevel
      ? undefined
      : wantLevel - level;
  }
  // Worse than every variant of its own architecture.
  if (want.architecture === 'arm64' && offer.architecture === 'arm') return 20 - (levelOf(offer) ?? 0);
  if (want.architecture === 'amd64' && offer.architecture === '386') return 20;
  return undefined;
}

/** The number of a variant, where variants of the architecture are numbered and each runs what is below. */
function levelOf(platform: Platform): number | undefined {
  switch (platform.architecture) {
    case 'arm':
      return variantNumber(platform.variant) ?? DEFAULT_ARM_VARIANT;
    case 'arm64':
      return variantNumber(platform.variant) ?? 8;
    case 'amd64':
      return variantNumber(platform.variant) ?? 1;
    default:
      return undefined;
  }
}

/** The best of an index's manifests for a platform; undefined when none runs there. The first of equals wins. */
export function choosePlatform(manifests: readonly Descriptor[], wanted: Platform): Descriptor | undefined {
  let best: { readonly descriptor: Descriptor; readonly rank: number } | undefined;
  for (const descriptor of manifests) {
    // One without a platform fits anywhere, but only when nothing says that it fits.
    const rank = descriptor.platform === undefined ? 1_000 : platformRank(wanted, descriptor.platform);
    if (rank !== undefined && (best === undefined || rank < best.rank)) best = { descriptor, rank };
  }
  return best?.descriptor;
}
