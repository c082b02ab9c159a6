// A controller in a process of its own, to be killed in the middle of its experiment.

import { ChaosController } from '@heptad/dr/chaos';

const task = JSON.parse(process.argv[2] ?? '{}') as { directory: string; netns: string; address: string };
const chaos = new ChaosController({
  directory: task.directory,
  targets: {
    resolve: async (name) => ({
      name,
      instances: [{ id: 'web-1', netns: task.netns, address: task.address, ports: [8080] }],
    }),
  },
  probe: async (signal) => ({ ok: (await fetch(`http://${task.address}:8080/`, { signal })).ok }),
  timing: { steadyMs: 300, probeIntervalMs: 100, faultTtlMs: 3000 },
});
const report = await chaos.run(
  `
experiment:
  name: to be killed
  scenarios:
    - { type: network-latency, target: web, params: { latency: 250ms, duration: 5m } }
  metrics:
    - { name: errors, source: 'probe:error-rate', threshold: 1 }
`,
  { onProgress: (entry) => process.stdout.write(`${entry.message}\n`) },
);
process.stdout.write(`${report.verdict}\n`);
