import { isHeptadError } from '@heptad/core';
import { describe, expect, it } from 'vitest';
import { choosePlatform, formatPlatform, parsePlatform, platformRank } from './platform.ts';

const offered = (...platforms: string[]) =>
  platforms.map((text, index) => {
    const [os = '', architecture = '', variant] = text.split('/');
    return {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: `sha256:${String(index).padStart(64, '0')}`,
      size: 1,
      platform: { os, architecture, ...(variant === undefined ? {} : { variant }) },
    };
  });
const chosen = (wanted: string, ...platforms: string[]): string | undefined => {
  const platform = choosePlatform(offered(...platforms), parsePlatform(wanted))?.platform;
  return platform === undefined ? undefined : formatPlatform(platform);
};

describe('platforms', () => {
  it('reads what people write', () => {
    expect(
      ['linux/amd64', 'x86_64', 'aarch64', 'linux/arm/v7', 'linux/armhf', 'linux/arm64/v8'].map((text) =>
        formatPlatform(parsePlatform(text)),
      ),
    ).toEqual(['linux/amd64', 'linux/amd64', 'linux/arm64', 'linux/arm/v7', 'linux/arm/v7', 'linux/arm64']);
    for (const bad of ['', '/', 'linux/', 'a/b/c/d', 'linux/am d64', 'linux/../x'])
      expect(() => parsePlatform(bad), bad).toThrow(/is not a platform/);
  });

  it('takes the nearest variant that the processor can run', () => {
    expect(chosen('linux/arm/v7', 'linux/arm/v5', 'linux/arm/v6', 'linux/arm64', 'linux/arm/v8')).toBe(
      'linux/arm/v6',
    );
    expect(chosen('linux/arm/v6', 'linux/arm/v7', 'linux/arm/v5')).toBe('linux/arm/v5');
    expect(chosen('linux/arm/v6', 'linux/arm/v7')).toBeUndefined();
    expect(chosen('linux/arm', 'linux/arm/v6', 'linux/arm/v7')).toBe('linux/arm/v7');
    expect(chosen('linux/arm64', 'linux/arm/v7', 'linux/arm64/v8')).toBe('linux/arm64/v8');
    expect(chosen('linux/arm64', 'linux/arm/v6', 'linux/arm/v7')).toBe('linux/arm/v7');
    expect(chosen('linux/amd64', 'linux/amd64/v3', 'linux/amd64')).toBe('linux/amd64');
    expect(chosen('linux/amd64', 'linux/amd64/v3')).toBeUndefined();
    expect(chosen('linux/amd64/v3', 'linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4')).toBe(
      'linux/amd64/v2',
    );
    expect(chosen('linux/amd64', 'linux/386', 'linux/s390x')).toBe('linux/386');
    expect(chosen('linux/386', 'linux/amd64')).toBeUndefined();
    expect(chosen('linux/amd64', 'windows/amd64')).toBeUndefined();
    expect(chosen('linux/riscv64', 'linux/riscv64')).toBe('linux/riscv64');
  });

  it('ranks an exact match best', () => {
    expect(platformRank(parsePlatform('linux/arm/v7'), parsePlatform('linux/arm/v7'))).toBe(0);
  });

  it('names what is wrong', () => {
    try {
      parsePlatform('nonsense//');
      expect.unreachable();
    } catch (error) {
      expect(isHeptadError(error, 'INVALID_ARGUMENT')).toBe(true);
    }
  });
});
