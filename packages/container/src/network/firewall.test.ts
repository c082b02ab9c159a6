import { describe, expect, it } from 'vitest';
import { parseSubnet } from './addresses.ts';
import { firewallText } from './firewall.ts';

const options = { bridgeName: 'br0', subnet: parseSubnet('10.9.8.0/24'), masquerade: true };
const port = { protocol: 'tcp', hostPort: 80, address: '10.9.8.2', containerPort: 8080 } as const;

describe('firewallText', () => {
  it('replaces the table as a whole', () => {
    expect(firewallText(options, { ports: [] })).toMatch(
      /^table ip heptad-br0 \{\}\ndelete table ip heptad-br0\ntable ip heptad-br0 \{/,
    );
  });

  it('keys a port by its address, or by none when it is on all of them', () => {
    const text = firewallText(options, {
      ports: [
        { ...port, hostAddress: '127.0.0.1' },
        { ...port, hostAddress: '0.0.0.0', hostPort: 81, protocol: 'udp' },
      ],
    });
    expect(text).toContain('elements = { 127.0.0.1 . 80 : 10.9.8.2 . 8080 }');
    expect(text).toContain('elements = { 81 : 10.9.8.2 . 8080 }');
  });

  it('has no chain that drops by default, and accepts only what comes to its own bridge', () => {
    const text = firewallText(options, { ports: [] });
    expect(text).not.toContain('policy drop');
    const accepting = text.split('\n').filter((line) => / accept$/.test(line));
    expect(accepting.every((line) => line.includes('oifname "br0"'))).toBe(true);
  });

  it('masquerades only when told to', () => {
    expect(firewallText(options, { ports: [] })).toContain(
      'ip saddr 10.9.8.0/24 oifname != "br0" masquerade',
    );
    expect(firewallText({ ...options, masquerade: false }, { ports: [] })).not.toContain(
      'oifname != "br0" masquerade',
    );
  });
});
