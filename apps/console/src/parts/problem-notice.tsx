// A failure as the platform tells it: what, why, and what to do.

import type { ProblemError } from '../api/problem.ts';

/** Title, detail and hint of a problem. */
export function ProblemNotice({ problem }: { readonly problem: ProblemError }) {
  return (
    <div className="problem" role="alert">
      <strong>{problem.title}</strong>
      <p>{problem.detail}</p>
      {problem.hint !== undefined && <p className="problem-hint">{problem.hint}</p>}
    </div>
  );
}
