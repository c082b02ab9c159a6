// CPU, memory, processes and network of every container on the node, as OpenTelemetry metrics.

import type { ContainerRuntime, ContainerStats } from '@heptad/core';
import { metrics } from '@opentelemetry/api';
import { CONTAINER_LABEL } from './agent-api.ts';

const NANOS_PER_SECOND = 1e9;

/** Registers observable instruments that read the runtime at each export. */
export function observeContainers(runtime: ContainerRuntime): void {
  const meter = metrics.getMeter('@heptad/platform');
  const cpu = meter.createObservableCounter('container_cpu_seconds', {
    description: 'CPU time used',
    unit: 's',
  });
  const memory = meter.createObservableGauge('container_memory_bytes', {
    description: 'Working set',
    unit: 'By',
  });
  const pids = meter.createObservableGauge('container_pids', { description: 'Processes and threads' });
  const received = meter.createObservableCounter('container_network_received_bytes', { unit: 'By' });
  const sent = meter.createObservableCounter('container_network_sent_bytes', { unit: 'By' });
  meter.addBatchObservableCallback(
    async (result) => {
      const running = await runtime.list({ states: ['running', 'paused'] });
      await Promise.all(
        running.map(async ({ id, name, labels }) => {
          const stats: ContainerStats | undefined = await runtime.stats(id).catch(() => undefined);
          if (stats === undefined || labels[CONTAINER_LABEL] === undefined) return;
          const attributes = { container: name, 'container.service': labels['heptad.io/service'] ?? '' };
          result.observe(cpu, stats.cpuUsageNs / NANOS_PER_SECOND, attributes);
          result.observe(memory, stats.memoryBytes, attributes);
          result.observe(pids, stats.pids, attributes);
          result.observe(received, stats.networkReceivedBytes, attributes);
          result.observe(sent, stats.networkSentBytes, attributes);
        }),
      );
    },
    [cpu, memory, pids, received, sent],
  );
}
