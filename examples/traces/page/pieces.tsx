// What the states of the modal are made of.

const STAGES = [
  ['upload', 'Upload'],
  ['queue', 'Queue'],
  ['count', 'Count'],
  ['import', 'Import'],
] as const;

export type Stage = (typeof STAGES)[number][0] | 'done';

/** How far it has come. At `done` all of them are. */
export function Stages({ at, failed = false }: { readonly at: Stage; readonly failed?: boolean }) {
  const now = STAGES.findIndex(([stage]) => stage === at);
  return (
    <ol className="stages">
      {STAGES.map(([stage, label], place) => {
        const state =
          now < 0 || place < now ? 'done' : place > now ? 'ahead' : failed ? 'failed' : 'now';
        return (
          <li key={stage} data-stage={state} aria-current={state === 'now' ? 'step' : undefined}>
            <svg className="icon" viewBox="0 0 20 20" aria-hidden="true">
              {state === 'done' && <path d="M5 10.5l3.5 3.5L15 7" />}
              {state === 'failed' && <path d="M6 6l8 8M14 6l-8 8" />}
              {state === 'now' && <circle cx="10" cy="10" r="4" fill="currentcolor" />}
              {state === 'ahead' && <circle cx="10" cy="10" r="4" />}
            </svg>
            {label}
            {(state === 'done' || state === 'failed') && (
              <span className="visually-hidden"> {state}</span>
            )}
          </li>
        );
      })}
    </ol>
  );
}

/** `null`: nobody knows how far there is to go. */
export function Bar({
  percent,
  label,
}: {
  readonly percent: number | null;
  readonly label: string;
}) {
  return (
    <progress
      className="modal-bar"
      max={100}
      aria-label={label}
      {...(percent === null ? {} : { value: percent })}
    />
  );
}

interface ProblemProps {
  readonly title: string;
  readonly sentences: readonly string[];
  readonly code?: string | null;
}

export function Problem({ title, sentences, code }: ProblemProps) {
  return (
    <div className="problems modal-problem" role="alert">
      <p>{title}</p>
      {sentences.map((sentence) => (
        <p key={sentence} className="modal-reason">
          {sentence}
        </p>
      ))}
      {code && <p className="job-code">{code}</p>}
    </div>
  );
}
