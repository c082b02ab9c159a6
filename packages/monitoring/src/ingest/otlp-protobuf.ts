// Decodes the OTLP envelope and its logs and spans from protobuf; metrics are in otlp-protobuf-metrics.ts.

// Source: opentelemetry-proto v1, common.proto, resource.proto, logs.proto, trace.proto. Numbers are field numbers.

import { MonitoringError } from '../errors.ts';
import type {
  Attributes,
  AttributeValue,
  OtlpLog,
  OtlpSpan,
  OtlpSpanEvent,
  ResourceGroup,
} from './otlp-model.ts';
import { ProtobufReader } from './protobuf.ts';

/** AnyValue may hold itself; deeper than this is an attack on the stack. */
const MAX_VALUE_DEPTH = 32;

/**
 * Reads an export request: ResourceX (1) each with a Resource (1) and ScopeX (2), which hold the items (2).
 * All three signals have this shape.
 */
export function decodeEnvelope<T>(
  bytes: Uint8Array,
  item: (reader: ProtobufReader) => T,
): ResourceGroup<T>[] {
  const groups: ResourceGroup<T>[] = [];
  const root = new ProtobufReader(bytes);
  root.fields((field) => {
    if (field !== 1) return root.skip();
    let resource: Attributes = {};
    const items: T[] = [];
    const group = root.message();
    group.fields((inner) => {
      if (inner === 1) resource = decodeResource(group.message());
      else if (inner === 2) decodeScope(group.message(), items, item);
      else group.skip();
    });
    groups.push({ resource, items });
  });
  return groups;
}

function decodeScope<T>(reader: ProtobufReader, items: T[], item: (reader: ProtobufReader) => T): void {
  reader.fields((field) => {
    if (field === 2) items.push(item(reader.message()));
    else reader.skip();
  });
}

function decodeResource(reader: ProtobufReader): Attributes {
  const attributes: Attributes = {};
  reader.fields((field) => {
    if (field === 1) decodeAttribute(reader.message(), attributes);
    else reader.skip();
  });
  return attributes;
}

/** Reads a KeyValue into `into`. */
export function decodeAttribute(reader: ProtobufReader, into: Attributes, depth = 0): void {
  let key = '';
  let value: AttributeValue = null;
  reader.fields((field) => {
    if (field === 1) key = reader.text();
    else if (field === 2) value = decodeValue(reader.message(), depth);
    else reader.skip();
  });
  // defineProperty, because a key may be "__proto__".
  Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true });
}

function decodeValue(reader: ProtobufReader, depth: number): AttributeValue {
  if (depth > MAX_VALUE_DEPTH)
    throw new MonitoringError('INVALID_PAYLOAD', `an attribute is nested deeper than ${MAX_VALUE_DEPTH}`);
  let value: AttributeValue = null;
  reader.fields((field) => {
    switch (field) {
      case 1:
        value = reader.text();
        return;
      case 2:
        value = reader.uint() !== 0;
        return;
      case 3:
        value = reader.int();
        return;
      case 4:
        value = reader.double();
        return;
      case 5:
        value = decodeList(reader.message(), depth + 1);
        return;
      case 6:
        value = decodeMap(reader.message(), depth + 1);
        return;
      case 7:
        value = Buffer.from(reader.bytes()).toString('base64');
        return;
      default:
        reader.skip();
    }
  });
  return value;
}

function decodeList(reader: ProtobufReader, depth: number): AttributeValue[] {
  const out: AttributeValue[] = [];
  reader.fields((field) => {
    if (field === 1) out.push(decodeValue(reader.message(), depth));
    else reader.skip();
  });
  return out;
}

function decodeMap(reader: ProtobufReader, depth: number): Attributes {
  const out: Attributes = {};
  reader.fields((field) => {
    if (field === 1) decodeAttribute(reader.message(), out, depth);
    else reader.skip();
  });
  return out;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** Reads a LogRecord. */
export function decodeLog(reader: ProtobufReader): OtlpLog {
  const log = {
    timeNanos: 0n,
    observedNanos: 0n,
    severityNumber: 0,
    severityText: '',
    body: null as AttributeValue,
    attributes: {} as Attributes,
    traceId: '',
    spanId: '',
  };
  reader.fields((field) => {
    if (field === 1) log.timeNanos = reader.fixed64();
    else if (field === 2) log.severityNumber = reader.uint();
    else if (field === 3) log.severityText = reader.text();
    else if (field === 5) log.body = decodeValue(reader.message(), 0);
    else if (field === 6) decodeAttribute(reader.message(), log.attributes);
    else if (field === 9) log.traceId = hex(reader.bytes());
    else if (field === 10) log.spanId = hex(reader.bytes());
    else if (field === 11) log.observedNanos = reader.fixed64();
    else reader.skip();
  });
  return log;
}

/** Reads a Span. */
export function decodeSpan(reader: ProtobufReader): OtlpSpan {
  const events: OtlpSpanEvent[] = [];
  const links: { traceId: string; spanId: string; attributes: Attributes }[] = [];
  const attributes: Attributes = {};
  const text = { traceId: '', spanId: '', parentSpanId: '', name: '' };
  const times = { startNanos: 0n, endNanos: 0n };
  const status = { statusCode: 0, statusMessage: '' };
  let kind = 0;
  reader.fields((field) => {
    if (field === 1) text.traceId = hex(reader.bytes());
    else if (field === 2) text.spanId = hex(reader.bytes());
    else if (field === 4) text.parentSpanId = hex(reader.bytes());
    else if (field === 5) text.name = reader.text();
    else if (field === 6) kind = reader.uint();
    else if (field === 7) times.startNanos = reader.fixed64();
    else if (field === 8) times.endNanos = reader.fixed64();
    else if (field === 9) decodeAttribute(reader.message(), attributes);
    else if (field === 11) events.push(decodeEvent(reader.message()));
    else if (field === 13) links.push(decodeLink(reader.message()));
    else if (field === 15) decodeStatus(reader.message(), status);
    else reader.skip();
  });
  return { ...text, ...times, ...status, kind, attributes, events, links };
}

function decodeEvent(reader: ProtobufReader): OtlpSpanEvent {
  let timeNanos = 0n;
  let name = '';
  const attributes: Attributes = {};
  reader.fields((field) => {
    if (field === 1) timeNanos = reader.fixed64();
    else if (field === 2) name = reader.text();
    else if (field === 3) decodeAttribute(reader.message(), attributes);
    else reader.skip();
  });
  return { timeNanos, name, attributes };
}

function decodeLink(reader: ProtobufReader): { traceId: string; spanId: string; attributes: Attributes } {
  const link = { traceId: '', spanId: '', attributes: {} };
  reader.fields((field) => {
    if (field === 1) link.traceId = hex(reader.bytes());
    else if (field === 2) link.spanId = hex(reader.bytes());
    else if (field === 4) decodeAttribute(reader.message(), link.attributes);
    else reader.skip();
  });
  return link;
}

function decodeStatus(reader: ProtobufReader, status: { statusCode: number; statusMessage: string }): void {
  reader.fields((field) => {
    if (field === 2) status.statusMessage = reader.text();
    else if (field === 3) status.statusCode = reader.uint();
    else reader.skip();
  });
}
