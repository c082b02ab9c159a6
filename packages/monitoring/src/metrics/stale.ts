// Staleness markers: one particular NaN says "this series ended here".

// Prometheus' bit pattern (model/value/value.go) with the quiet bit set: it is a signalling NaN there, and V8
// quietens a signalling NaN on some paths and not on others, so both forms mean the same here.
const STALE_HIGH = 0x7ff80000;
const STALE_LOW = 0x00000002;

const view = new DataView(new ArrayBuffer(8));
view.setUint32(0, STALE_HIGH);
view.setUint32(4, STALE_LOW);

/** The marker. Pass it on without arithmetic: a NaN that is computed with loses its bits. */
export const STALE_NAN: number = view.getFloat64(0);

/** Whether `value` is the staleness marker and not just any NaN. */
export function isStale(value: number): boolean {
  if (!Number.isNaN(value)) return false;
  view.setFloat64(0, value);
  return view.getUint32(4) === STALE_LOW && (view.getUint32(0) & 0xfff7ffff) === 0x7ff00000;
}
