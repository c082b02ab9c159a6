// Decodes OTLP requests from JSON: ids in hexadecimal, 64-bit integers as text, names in lowerCamelCase.

// Source: opentelemetry-proto, docs/specification.md "JSON Protobuf Encoding". Unknown fields are ignored.

import { MonitoringError } from '../errors.ts';
import type { Attributes, AttributeValue, OtlpLog, OtlpSpan, ResourceGroup } from './otlp-model.ts';

/** A JSON object as parsed. */
export type JsonObject = Readonly<Record<string, unknown>>;

const MAX_VALUE_DEPTH = 32;

function bad(why: string): MonitoringError {
  return new MonitoringError('INVALID_PAYLOAD', `cannot decode the OTLP JSON: ${why}`);
}

/** A field that must be an object; absent is empty. */
export function objectField(source: JsonObject, name: string): JsonObject {
  const value = source[name];
  if (value === undefined || value === null) return {};
  if (!isObject(value)) throw bad(`"${name}" must be an object`);
  return value;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A field that must be a list of objects; absent is empty. */
export function listField(source: JsonObject, name: string): JsonObject[] {
  const value = source[name];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw bad(`"${name}" must be a list`);
  return value.map((item: unknown) => {
    if (!isObject(item)) throw bad(`"${name}" must hold objects`);
    return item;
  });
}

/** A list of numbers, each possibly written as text. */
export function numbersField(source: JsonObject, name: string): number[] {
  const value = source[name];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw bad(`"${name}" must be a list`);
  return value.map((item: unknown) => toNumber(item, name));
}

/** A number, possibly written as text (`"123"`, `"NaN"`, `"Infinity"`). */
export function numberField(source: JsonObject, name: string, otherwise = 0): number {
  const value = source[name];
  return value === undefined || value === null ? otherwise : toNumber(value, name);
}

function toNumber(value: unknown, name: string): number {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number !== 'number' || (Number.isNaN(number) && value !== 'NaN'))
    throw bad(`"${name}" must be a number`);
  return number;
}

/** A text field; absent is empty. */
export function textField(source: JsonObject, name: string): string {
  const value = source[name];
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw bad(`"${name}" must be text`);
  return value;
}

/** A uint64 of nanoseconds, exact. */
export function nanosField(source: JsonObject, name: string): bigint {
  const value = source[name];
  if (value === undefined || value === null || value === '') return 0n;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return BigInt(value);
  if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return BigInt(value);
  throw bad(`"${name}" must be a whole number of nanoseconds`);
}

function idField(source: JsonObject, name: string): string {
  const value = textField(source, name);
  if (!/^[0-9a-fA-F]*$/.test(value)) throw bad(`"${name}" must be hexadecimal`);
  return value.toLowerCase();
}

/** The `attributes` of an object. */
export function attributesField(source: JsonObject, name = 'attributes', depth = 0): Attributes {
  const out: Attributes = {};
  for (const entry of listField(source, name)) {
    const value = anyValue(objectField(entry, 'value'), depth);
    Object.defineProperty(out, textField(entry, 'key'), {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return out;
}

function anyValue(source: JsonObject, depth: number): AttributeValue {
  if (depth > MAX_VALUE_DEPTH) throw bad(`an attribute is nested deeper than ${MAX_VALUE_DEPTH}`);
  if ('stringValue' in source) return textField(source, 'stringValue');
  if ('boolValue' in source) return source.boolValue === true;
  if ('intValue' in source) return numberField(source, 'intValue');
  if ('doubleValue' in source) return numberField(source, 'doubleValue');
  if ('bytesValue' in source) return textField(source, 'bytesValue');
  if ('arrayValue' in source) {
    return listField(objectField(source, 'arrayValue'), 'values').map((item) => anyValue(item, depth + 1));
  }
  if ('kvlistValue' in source)
    return attributesField(objectField(source, 'kvlistValue'), 'values', depth + 1);
  return null;
}

/** Parses a request; `resources`, `scopes` and `items` are the signal's names of the three levels. */
export function parseEnvelope<T>(
  text: string,
  names: { readonly resources: string; readonly scopes: string; readonly items: string },
  item: (source: JsonObject) => T,
): ResourceGroup<T>[] {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (error) {
    throw new MonitoringError('INVALID_PAYLOAD', 'cannot decode the OTLP JSON: it is not JSON', {
      cause: error,
    });
  }
  if (!isObject(root)) throw bad('it must be an object');
  return listField(root, names.resources).map((group) => ({
    resource: attributesField(objectField(group, 'resource')),
    items: listField(group, names.scopes).flatMap((scope) => listField(scope, names.items).map(item)),
  }));
}

/** Reads a LogRecord. */
export function logOf(source: JsonObject): OtlpLog {
  return {
    timeNanos: nanosField(source, 'timeUnixNano'),
    observedNanos: nanosField(source, 'observedTimeUnixNano'),
    severityNumber: numberField(source, 'severityNumber'),
    severityText: textField(source, 'severityText'),
    body: anyValue(objectField(source, 'body'), 0),
    attributes: attributesField(source),
    traceId: idField(source, 'traceId'),
    spanId: idField(source, 'spanId'),
  };
}

/** Reads a Span. */
export function spanOf(source: JsonObject): OtlpSpan {
  const status = objectField(source, 'status');
  return {
    traceId: idField(source, 'traceId'),
    spanId: idField(source, 'spanId'),
    parentSpanId: idField(source, 'parentSpanId'),
    name: textField(source, 'name'),
    kind: numberField(source, 'kind'),
    startNanos: nanosField(source, 'startTimeUnixNano'),
    endNanos: nanosField(source, 'endTimeUnixNano'),
    attributes: attributesField(source),
    events: listField(source, 'events').map((event) => ({
      timeNanos: nanosField(event, 'timeUnixNano'),
      name: textField(event, 'name'),
      attributes: attributesField(event),
    })),
    links: listField(source, 'links').map((link) => ({
      traceId: idField(link, 'traceId'),
      spanId: idField(link, 'spanId'),
      attributes: attributesField(link),
    })),
    statusCode: numberField(status, 'code'),
    statusMessage: textField(status, 'message'),
  };
}
