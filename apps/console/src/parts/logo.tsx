// The seven-sided mark.

/** Decorative: the name stands beside it. */
export function Logo() {
  return (
    <svg className="logo" viewBox="0 0 32 32" aria-hidden="true">
      <path fill="currentColor" d="M16 1.5 27.3 7l2.8 12.3-7.9 9.8H9.7L1.9 19.3 4.6 7z" />
      <path
        fill="none"
        stroke="var(--surface)"
        strokeWidth="3"
        strokeLinecap="round"
        d="M11.5 9.5v13M20.5 9.5v13M11.5 16h9"
      />
    </svg>
  );
}
