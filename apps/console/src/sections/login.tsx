// The way in.

import { type FormEvent, useEffect, useRef, useState } from 'react';
import type { ApiClient } from '../api/client.ts';
import { type ProblemError, toProblemError } from '../api/problem.ts';
import { Logo } from '../parts/logo.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';

/** User name and password. `why`: why one has to log in again. */
export function Login({ client, why }: { readonly client: ApiClient; readonly why: string | undefined }) {
  const [problem, setProblem] = useState<ProblemError>();
  const [busy, setBusy] = useState(false);
  const name = useRef<HTMLInputElement>(null);
  useEffect(() => name.current?.focus(), []);

  const submit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget;
    const fields = new FormData(form);
    setBusy(true);
    setProblem(undefined);
    try {
      await client.login(String(fields.get('username') ?? '').trim(), String(fields.get('password') ?? ''));
    } catch (error) {
      setProblem(toProblemError(error));
      const password = form.elements.namedItem('password');
      if (password instanceof HTMLInputElement) password.select();
    } finally {
      setBusy(false);
    }
  };

  return (
    <main className="login">
      <form className="card" onSubmit={submit}>
        <div className="login-brand">
          <Logo />
          <h1>Heptad</h1>
        </div>
        {why !== undefined && problem === undefined && (
          <p className="notice" role="status">
            {why}
          </p>
        )}
        <label>
          User name
          <input
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            required
            ref={name}
          />
        </label>
        <label>
          Password
          <input name="password" type="password" autoComplete="current-password" required />
        </label>
        {problem !== undefined && <ProblemNotice problem={problem} />}
        <button type="submit" className="primary" disabled={busy}>
          {busy ? 'Logging in…' : 'Log in'}
        </button>
        <p className="login-hint">
          The first admin's password was shown once, when the platform was first started. Lost it? Whoever
          runs the server can make a new admin there: <code>heptad security user add NAME --role admin</code>
        </p>
      </form>
    </main>
  );
}
