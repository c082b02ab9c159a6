// Journal: the event log in SQLite: appending, handing out, settling, reading.

import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { type DeliveredEvent, HeptadError, type Instant, type Position } from '@heptad/core';
import { prepareJournal } from './journal-schema.ts';
import { DEDUPE_MS, type StoredEvent } from './rules.ts';

/** An append that is waiting for its transaction. */
export interface Append {
  readonly topic: string;
  readonly event: StoredEvent;
}

/** What a group's member gets: an event to handle, or how long there is certainly none that is due. */
export type Claim =
  | { readonly event: DeliveredEvent; readonly group: number }
  | { readonly event: undefined; readonly dueInMs: number | undefined };

/** Events a group may have handed out or set aside at once; it bounds what a blocked key can pile up. */
const MAX_PENDING = 1_000;

type Row = Record<string, unknown>;

/**
 * All statements over one SQLite connection. Publishing commits with `synchronous = FULL`: an acknowledged event is on the
 * disk. Handing out and settling commit without waiting for the disk: they survive the process, and when a power cut
 * takes them back, events are delivered again, which "at least once" allows.
 */
export class Journal {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #synchronous: 'FULL' | 'OFF' = 'FULL';

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { timeout: 0 });
    try {
      prepareJournal(this.#database, path);
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }

  /** Appends all in one durable transaction; answers each one's position, or why it was refused. */
  append(batch: readonly Append[], now: Instant, maxEvents: number): (Position | HeptadError)[] {
    return this.#transaction('FULL', () =>
      batch.map(({ topic, event }) => this.#appendOne(topic, event, now, maxEvents)),
    );
  }

  #appendOne(topicName: string, event: StoredEvent, now: Instant, maxEvents: number): Position | HeptadError {
    const topic = this.#topic(topicName);
    if (event.id !== null) {
      const known = this.#get(
        'SELECT position FROM events WHERE topic = ? AND id = ? AND published_at > ? ORDER BY position LIMIT 1',
        topic.id,
        event.id,
        now - DEDUPE_MS,
      );
      if (known !== undefined) return Number(known.position);
    }
    if (topic.last - topic.first + 1 >= maxEvents) {
      return new HeptadError(
        'TOPIC_FULL',
        `cannot publish to ${topicName}: it holds ${maxEvents} events that are not old enough or not handled by all groups`,
        { hint: 'find the group that does not keep up, or raise maxTopicEvents', retryable: true },
      );
    }
    const position = topic.last + 1;
    this.#run(
      'INSERT INTO events (topic, position, id, key, data, headers, published_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
      topic.id,
      position,
      event.id,
      event.key,
      event.data,
      event.headers,
      now,
    );
    this.#run('UPDATE topics SET last = ? WHERE id = ?', position, topic.id);
    return position;
  }

  /** The group's number; a group that is not there begins at the beginning or at the end. */
  group(topicName: string, name: string, from: 'beginning' | 'end'): number {
    return this.#transaction('FULL', () => {
      const topic = this.#topic(topicName);
      const known = this.#get('SELECT id FROM groups WHERE topic = ? AND name = ?', topic.id, name);
      if (known !== undefined) return Number(known.id);
      const cursor = from === 'end' ? topic.last : topic.first - 1;
      this.#run('INSERT INTO groups (topic, name, cursor) VALUES (?, ?, ?)', topic.id, name, cursor);
      return Number(this.#get('SELECT id FROM groups WHERE topic = ? AND name = ?', topic.id, name)?.id);
    });
  }

  /**
   * Takes the next event a group may get: one that is due again, else the next new one. Of events with one key only the
   * oldest unsettled may be out; newer ones are set aside in `pending` so that they do not hold up other keys.
   */
  claim(topic: string, group: number, now: Instant): Claim {
    return this.#transaction('OFF', () => {
      const due = this.#get(
        `SELECT position FROM pending AS p WHERE group_id = ? AND taken = 0 AND due_at <= ? AND (key IS NULL OR NOT EXISTS
         (SELECT 1 FROM pending AS o WHERE o.group_id = p.group_id AND o.key = p.key AND o.position < p.position))
         ORDER BY position LIMIT 1`,
        group,
        now,
      );
      if (due !== undefined) return this.#take(topic, group, Number(due.position));
      return this.#claimNew(topic, group, now);
    });
  }

  #claimNew(topic: string, group: number, now: Instant): Claim {
    let pending = Number(this.#get('SELECT count(*) AS n FROM pending WHERE group_id = ?', group)?.n);
    for (; pending < MAX_PENDING; pending += 1) {
      const next = this.#get(
        `SELECT e.position, e.key FROM groups AS g JOIN events AS e ON e.topic = g.topic AND e.position > g.cursor
         WHERE g.id = ? ORDER BY e.position LIMIT 1`,
        group,
      );
      if (next === undefined) break;
      const position = Number(next.position);
      const key = next.key === null ? null : String(next.key);
      const blocked =
        key !== null &&
        this.#get('SELECT 1 FROM pending WHERE group_id = ? AND key = ? LIMIT 1', group, key) !== undefined;
      this.#run('UPDATE groups SET cursor = ? WHERE id = ?', position, group);
      this.#run(
        'INSERT INTO pending (group_id, position, key, attempt, due_at, taken) VALUES (?, ?, ?, 0, 0, 0)',
        group,
        position,
        key,
      );
      if (!blocked) return this.#take(topic, group, position);
    }
    const waiting = this.#get(
      'SELECT min(due_at) AS due FROM pending WHERE group_id = ? AND taken = 0 AND due_at > ?',
      group,
      now,
    );
    const dueAt = waiting?.due;
    return { event: undefined, dueInMs: typeof dueAt === 'number' ? Math.max(0, dueAt - now) : undefined };
  }

  #take(topic: string, group: number, position: Position): Claim {
    this.#run(
      'UPDATE pending SET taken = 1, attempt = attempt + 1 WHERE group_id = ? AND position = ?',
      group,
      position,
    );
    const row = this.#get(
      `SELECT e.*, p.attempt FROM pending AS p JOIN groups AS g ON g.id = p.group_id
       JOIN events AS e ON e.topic = g.topic AND e.position = p.position WHERE p.group_id = ? AND p.position = ?`,
      group,
      position,
    );
    if (row === undefined) {
      throw new HeptadError(
        'EVENT_LOG_CORRUPT',
        `event ${position} of ${topic} is handed out but not in the log`,
      );
    }
    return { event: toDelivered(topic, row, Number(row.attempt)), group };
  }

  /** The group has handled it. */
  acknowledge(group: number, position: Position): void {
    this.#transaction('OFF', () =>
      this.#run('DELETE FROM pending WHERE group_id = ? AND position = ?', group, position),
    );
  }

  /** The group has not handled it: it may go out again at `dueAt`. */
  giveBack(group: number, position: Position, dueAt: Instant): void {
    this.#transaction('OFF', () =>
      this.#run(
        'UPDATE pending SET taken = 0, due_at = ? WHERE group_id = ? AND position = ?',
        Math.ceil(dueAt),
        group,
        position,
      ),
    );
  }

  /** Events after a position, oldest first. */
  read(topicName: string, after: Position, limit: number): DeliveredEvent[] {
    const rows = this.#statement(
      `SELECT e.* FROM topics AS t JOIN events AS e ON e.topic = t.id WHERE t.name = ? AND e.position > ?
       ORDER BY e.position LIMIT ?`,
    ).all(topicName, after, limit);
    return rows.map((row) => toDelivered(topicName, row, 1));
  }

  /** Removes up to `limit` events of each topic that are older than `before` and handled by every group. */
  trim(before: Instant, limit: number): number {
    return this.#transaction('OFF', () => {
      let removed = 0;
      for (const topic of this.#statement('SELECT id, first, last FROM topics').all()) {
        const id = Number(topic.id);
        const unhandled = this.#get(
          `SELECT min(coalesce((SELECT min(position) FROM pending WHERE group_id = g.id), g.cursor + 1)) AS position
           FROM groups AS g WHERE g.topic = ?`,
          id,
        )?.position;
        const stop = typeof unhandled === 'number' ? unhandled : Number(topic.last) + 1;
        const kept = this.#get(
          'SELECT min(position) AS position FROM events WHERE topic = ? AND published_at >= ?',
          id,
          before,
        )?.position;
        const end = Math.min(
          stop,
          typeof kept === 'number' ? kept : Number(topic.last) + 1,
          Number(topic.first) + limit,
        );
        if (end <= Number(topic.first)) continue;
        this.#run('DELETE FROM events WHERE topic = ? AND position < ?', id, end);
        this.#run('UPDATE topics SET first = ? WHERE id = ?', end, id);
        removed += end - Number(topic.first);
      }
      return removed;
    });
  }

  #topic(name: string): { id: number; first: number; last: number } {
    this.#run('INSERT INTO topics (name, first, last) VALUES (?, 1, 0) ON CONFLICT (name) DO NOTHING', name);
    const row = this.#get('SELECT id, first, last FROM topics WHERE name = ?', name);
    return { id: Number(row?.id), first: Number(row?.first), last: Number(row?.last) };
  }

  #transaction<T>(synchronous: 'FULL' | 'OFF', work: () => T): T {
    if (this.#synchronous !== synchronous) {
      this.#database.exec(`PRAGMA synchronous = ${synchronous}`);
      this.#synchronous = synchronous;
    }
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#database.exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #get(sql: string, ...values: (string | number | null)[]): Row | undefined {
    return this.#statement(sql).get(...values);
  }

  #run(sql: string, ...values: (string | number | null)[]): void {
    this.#statement(sql).run(...values);
  }
}

function toDelivered(topic: string, row: Row, attempt: number): DeliveredEvent {
  return {
    topic,
    position: Number(row.position),
    ...(row.key === null ? {} : { key: String(row.key) }),
    data: JSON.parse(String(row.data)),
    headers: JSON.parse(String(row.headers)),
    publishedAt: Number(row.published_at),
    attempt,
  };
}
