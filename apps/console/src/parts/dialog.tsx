// Dialogs on the browser's own <dialog>: focus stays inside, Escape closes, focus goes back afterwards.

import { type ReactNode, useLayoutEffect, useRef } from 'react';

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  /** `drawer`: along the right edge, for long content. */
  readonly kind?: 'dialog' | 'drawer';
  readonly tools?: ReactNode;
  readonly children: ReactNode;
}

/** Open as long as it is rendered. */
export function Dialog({ title, onClose, kind = 'dialog', tools, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  // A layout effect, because its end still finds the dialog in the page: only then does closing give the focus back.
  useLayoutEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    // What one came to do is ready to be typed or confirmed; without a mark the browser chooses.
    dialog?.querySelector<HTMLElement>('[data-autofocus]')?.focus();
    return () => dialog?.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: a click beside the dialog closes it; keys have Escape and the button.
    <dialog
      ref={element}
      className={kind}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === element.current) onClose();
      }}
    >
      <div className="dialog-body">
        <header className="dialog-head">
          <h2>{title}</h2>
          {tools}
          <button type="button" className="icon-button" onClick={onClose} aria-label="Close">
            ✕
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
