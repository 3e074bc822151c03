// The modal: a native dialog around one import, from the upload to the result. It may be closed at any moment.

import { type ReactNode, useLayoutEffect, useRef } from 'react';
import type { Sending } from './app.tsx';
import { Following } from './following.tsx';
import { Bar, Problem, Stages } from './pieces.tsx';

interface ImportModalProps {
  /** `null` while the file is being sent. */
  readonly job: string | null;
  readonly sending: Sending | null;
  readonly watching: boolean;
  readonly watch: (on: boolean) => void;
  readonly close: () => void;
  /** Gives the upload up. */
  readonly abort: () => void;
  /** Shows what was imported. */
  readonly look: () => void;
}

export function ImportModal({ job, sending, abort, ...rest }: ImportModalProps) {
  return (
    <Dialog title="Import" close={rest.close}>
      {job !== null ? (
        <Following key={job} job={job} {...rest} />
      ) : sending?.problems.length ? (
        <>
          <Stages at="upload" failed />
          <Problem title={`${sending.name} was not imported.`} sentences={sending.problems} />
          <div className="modal-actions">
            <button className="button" type="button" onClick={rest.close}>
              Close
            </button>
          </div>
        </>
      ) : (
        <>
          <Stages at="upload" />
          <p className="modal-what">{sending?.name}</p>
          <Bar percent={null} label="Upload" />
          <p className="modal-line">Sending the file</p>
          <div className="modal-actions">
            <button className="button" type="button" onClick={rest.close}>
              Close, it goes on
            </button>
            <button className="button" type="button" onClick={abort}>
              Cancel the upload
            </button>
          </div>
        </>
      )}
    </Dialog>
  );
}

interface DialogProps {
  readonly title: string;
  readonly close: () => void;
  readonly children: ReactNode;
}

/** Shown as long as it is there. Esc, the cross and a click beside it ask to `close`. */
function Dialog({ title, close, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  // Before it is taken out of the page: only a dialog that is closed gives the focus back.
  useLayoutEffect(() => {
    const here = dialog.current;
    here?.showModal();
    return () => here?.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Esc does what a click beside it does
    <dialog
      ref={dialog}
      className="modal"
      aria-labelledby="modal-title"
      onClose={() => {
        // StrictMode closes it and opens it again before this is told.
        if (!dialog.current?.open) close();
      }}
      onClick={({ target }) => {
        if (target === dialog.current) close();
      }}
    >
      <div className="modal-inner">
        <div className="modal-head">
          {/* biome-ignore lint/a11y/noAutofocus: a modal takes the focus, and begins with its title */}
          <h2 id="modal-title" tabIndex={-1} autoFocus>
            {title}
          </h2>
          <button className="modal-close" type="button" aria-label="Close" onClick={close}>
            <svg className="icon" viewBox="0 0 20 20" aria-hidden="true">
              <path d="M5 5l10 10M15 5L5 15" />
            </svg>
          </button>
        </div>
        {children}
      </div>
    </dialog>
  );
}
