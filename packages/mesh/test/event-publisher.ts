// Child of events-kill.test.ts: publishes and says what was acknowledged, or consumes and holds an event, until killed.

import { SqliteEventBus } from '@heptad/mesh/events';

const [path = '', round = '0'] = process.argv.slice(2);
const bus = new SqliteEventBus({ path });
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (round === 'consume') {
  bus.subscribe('orders', { group: 'g' }, async (event) => {
    if (event.position < 4) return;
    say(`holding ${event.position}`);
    await new Promise(() => {});
  });
} else {
  for (let n = 0; ; n += 8) {
    const batch = Array.from({ length: 8 }, async (_, index) => {
      const data = `${round}-${n + index}`;
      const position = await bus.publish('orders', { key: `k${index}`, data });
      say(`${data} ${position}`);
    });
    await Promise.all(batch);
  }
}
