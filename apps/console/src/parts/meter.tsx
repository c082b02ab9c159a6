// How much of something is used, as a bar with its figures.

interface MeterProps {
  readonly label: string;
  readonly used: number;
  readonly total: number;
  readonly format: (value: number) => string;
  /** Instead of `used of total`. */
  readonly text?: string;
}

const NEARLY_FULL = 0.8;
const FULL = 0.95;

/** A bar, its label and `used of total`. */
export function Meter({ label, used, total, format, text: given }: MeterProps) {
  const share = total > 0 ? Math.min(1, used / total) : 0;
  const tone = share >= FULL ? 'bad' : share >= NEARLY_FULL ? 'warn' : 'good';
  const text = given ?? `${format(used)} of ${format(total)}`;
  return (
    <div className="meter">
      <div className="meter-text">
        <span>{label}</span>
        <span>{text}</span>
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: <meter> cannot be styled alike in all browsers. */}
      <div
        className="meter-bar"
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(share * 100)}
        aria-valuetext={text}
      >
        {/* A used sliver stays visible. */}
        <div
          className={`meter-fill ${tone}`}
          style={{ inlineSize: `${used > 0 ? Math.max(1.5, share * 100) : 0}%` }}
        />
      </div>
    </div>
  );
}
