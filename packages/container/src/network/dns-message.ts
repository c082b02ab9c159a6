// Just enough of DNS (RFC 1035) to answer for the names of a network and to pass the rest on.

/** The question of a query. */
export interface DnsQuestion {
  readonly id: number;
  readonly name: string;
  readonly type: number;
  readonly recursionDesired: boolean;
  /** Where the question ends in the message. */
  readonly end: number;
}

export const TYPE_A = 1;
export const TYPE_PTR = 12;
export const RCODE_SERVFAIL = 2;
export const RCODE_REFUSED = 5;

const HEADER_BYTES = 12;
const CLASS_IN = 1;
const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;
const POINTER_TO_QUESTION = 0xc00c;

/** Reads the question of a message; undefined when it is not a query with one question that we understand. */
export function parseQuestion(message: Buffer): DnsQuestion | undefined {
  if (message.length < HEADER_BYTES + 5) return undefined;
  const flags = message.readUInt16BE(2);
  const isQuery = (flags & 0x8000) === 0 && (flags & 0x7800) === 0;
  if (!isQuery || message.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (;;) {
    const length = message[at];
    // No compression in a question: there is nothing before it to point to.
    if (length === undefined || length > MAX_LABEL_BYTES || at - HEADER_BYTES > MAX_NAME_BYTES)
      return undefined;
    at += 1;
    if (length === 0) break;
    if (at + length > message.length) return undefined;
    labels.push(message.toString('latin1', at, at + length));
    at += length;
  }
  if (at + 4 > message.length || message.readUInt16BE(at + 2) !== CLASS_IN) return undefined;
  return {
    id: message.readUInt16BE(0),
    name: labels.join('.').toLowerCase(),
    type: message.readUInt16BE(at),
    recursionDesired: (flags & 0x0100) !== 0,
    end: at + 4,
  };
}

/** One answer. */
export type DnsAnswer = { readonly address: string } | { readonly pointer: string };

/** The response to a question: its answers, or none of this type, or an error code. */
export function response(
  query: Buffer,
  question: DnsQuestion,
  answers: readonly DnsAnswer[],
  ttlSeconds: number,
  code = 0,
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(question.id, 0);
  // A response, authoritative for what it answers itself, recursion available.
  header.writeUInt16BE(
    0x8080 | (code === 0 ? 0x0400 : 0) | (question.recursionDesired ? 0x0100 : 0) | code,
    2,
  );
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(answers.length, 6);
  const records = answers.map((answer) => {
    const [type, data] =
      'address' in answer
        ? [TYPE_A, Buffer.from(answer.address.split('.').map(Number))]
        : [TYPE_PTR, encodeName(answer.pointer)];
    const head = Buffer.alloc(12);
    head.writeUInt16BE(POINTER_TO_QUESTION, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt16BE(CLASS_IN, 4);
    head.writeUInt32BE(ttlSeconds, 6);
    head.writeUInt16BE(data.length, 10);
    return Buffer.concat([head, data]);
  });
  return Buffer.concat([header, query.subarray(HEADER_BYTES, question.end), ...records]);
}

function encodeName(name: string): Buffer {
  const labels = name.split('.').map((label) => {
    const bytes = Buffer.from(label.slice(0, MAX_LABEL_BYTES), 'latin1');
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  });
  return Buffer.concat([...labels, Buffer.from([0])]);
}

/** `2.7.213.10.in-addr.arpa` -> `10.213.7.2`. */
export function reversedAddress(name: string): string | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  return match === null ? undefined : match.slice(1).reverse().join('.');
}
