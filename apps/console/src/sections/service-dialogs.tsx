// Scaling and rolling back: each asks before it acts and says what came of it.

import { type FormEvent, useState } from 'react';
import { type ProblemError, toProblemError } from '../api/problem.ts';
import type { ServiceResource } from '../api/types.ts';
import { usePlatform } from '../hooks/use-platform.ts';
import { plural } from '../lib/format.ts';
import { Dialog } from '../parts/dialog.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';

interface ServiceDialogProps {
  readonly service: ServiceResource;
  readonly onClose: () => void;
  readonly onDone: () => void;
}

/** As the API's own limit. */
const MAX_REPLICAS = 10_000;

/** Runs a change; closes and announces when it was accepted, else shows why not. */
function useChange({ onClose, onDone }: Pick<ServiceDialogProps, 'onClose' | 'onDone'>) {
  const { announce } = usePlatform();
  const [problem, setProblem] = useState<ProblemError>();
  const [busy, setBusy] = useState(false);
  const run = async (change: () => Promise<unknown>, done: string): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      await change();
      announce(done);
      onDone();
      onClose();
    } catch (error) {
      setProblem(toProblemError(error));
      setBusy(false);
    }
  };
  return { problem, busy, run };
}

/** Asks for the number of replicas. */
export function ScaleDialog({ service, onClose, onDone }: ServiceDialogProps) {
  const { client } = usePlatform();
  const { problem, busy, run } = useChange({ onClose, onDone });
  const [replicas, setReplicas] = useState(service.spec.replicas);
  const difference = replicas - service.spec.replicas;
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const path = `/api/v1/services/${encodeURIComponent(service.name)}/scale`;
    void run(
      () => client.post(path, { replicas }),
      `${service.name} is being scaled to ${plural(replicas, 'replica')}`,
    );
  };
  return (
    <Dialog title={`Scale ${service.name}`} onClose={onClose}>
      <form onSubmit={submit}>
        <label>
          Replicas
          <div className="stepper">
            <button
              type="button"
              onClick={() => setReplicas(Math.max(0, replicas - 1))}
              disabled={replicas <= 0}
              aria-label="One fewer"
            >
              −
            </button>
            <input
              type="number"
              min={0}
              max={MAX_REPLICAS}
              required
              data-autofocus
              value={Number.isNaN(replicas) ? '' : replicas}
              onChange={(event) => setReplicas(event.target.valueAsNumber)}
            />
            <button
              type="button"
              onClick={() => setReplicas(replicas + 1)}
              disabled={replicas >= MAX_REPLICAS}
              aria-label="One more"
            >
              +
            </button>
          </div>
        </label>
        <p className="dialog-text">{consequence(service, replicas, difference)}</p>
        {problem !== undefined && <ProblemNotice problem={problem} />}
        <div className="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button
            type="submit"
            className={replicas === 0 ? 'primary danger' : 'primary'}
            disabled={busy || difference === 0 || Number.isNaN(replicas)}
          >
            {busy ? 'Scaling…' : replicas === 0 ? 'Stop all replicas' : 'Scale'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function consequence(service: ServiceResource, replicas: number, difference: number): string {
  if (Number.isNaN(replicas)) return 'Enter a whole number.';
  if (difference === 0) return `It has ${plural(replicas, 'replica')} now.`;
  if (replicas === 0)
    return `All replicas of ${service.name} will be stopped: nothing will answer at its address.`;
  if (difference > 0) return `${plural(difference, 'replica')} will be started.`;
  return `${plural(-difference, 'replica')} will finish what ${difference === -1 ? 'it is' : 'they are'} serving and then stop.`;
}

/** Asks before going back to the version before. */
export function RollbackDialog({ service, onClose, onDone }: ServiceDialogProps) {
  const { client } = usePlatform();
  const { problem, busy, run } = useChange({ onClose, onDone });
  const path = `/api/v1/services/${encodeURIComponent(service.name)}/rollback`;
  return (
    <Dialog title={`Roll back ${service.name}?`} onClose={onClose}>
      <p className="dialog-text">
        Its replicas will be replaced, one after the other, by the specification before the present one
        (version <code>{service.spec.version}</code>, image <code>{service.spec.image}</code>). Requests go on
        being served meanwhile.
      </p>
      {problem !== undefined && <ProblemNotice problem={problem} />}
      <div className="dialog-actions">
        <button type="button" onClick={onClose} data-autofocus>
          Cancel
        </button>
        <button
          type="button"
          className="primary danger"
          disabled={busy}
          onClick={() => void run(() => client.post(path, {}), `${service.name} is being rolled back`)}
        >
          {busy ? 'Rolling back…' : 'Roll back'}
        </button>
      </div>
    </Dialog>
  );
}
