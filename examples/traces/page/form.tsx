// What to import, and how.

import { type FormEvent, useState } from 'react';
import type { Wish } from './server.ts';

const SOURCES = [
  ['shop.jsonl', 'Sample'],
  ['shop-mistake.jsonl', 'With a mistake'],
  ['', 'Your file'],
] as const;
const SPEEDS = [
  ['0', 'Full speed'],
  ['0.25', 'To watch'],
  ['1', 'Slow'],
] as const;
const DEADLINES = [
  ['', '5 minutes'],
  ['10', '10 seconds'],
] as const;

interface SegmentsProps {
  readonly legend: string;
  readonly name: string;
  readonly choices: readonly (readonly [string, string])[];
  readonly chosen: string;
  readonly choose: (value: string) => void;
}

function Segments({ legend, name, choices, chosen, choose }: SegmentsProps) {
  return (
    <fieldset className="segments">
      <legend>{legend}</legend>
      <div>
        {choices.map(([value, label]) => (
          <label key={value}>
            <input
              type="radio"
              name={name}
              value={value}
              checked={value === chosen}
              onChange={() => choose(value)}
            />
            <span>{label}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

export function StartForm({ start }: { readonly start: (file: File | null, wish: Wish) => void }) {
  const [source, setSource] = useState<string>(SOURCES[0][0]);
  const [file, setFile] = useState<File | null>(null);
  const [pace, setPace] = useState<string>(SPEEDS[1][0]);
  const [deadline, setDeadline] = useState<string>(DEADLINES[0][0]);
  const [missing, setMissing] = useState(false);

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const own = source === '';
    setMissing(own && !file);
    if (!own) start(null, { name: source, pace, deadline });
    else if (file) start(file, { name: file.name, pace, deadline });
    else event.currentTarget.querySelector<HTMLElement>('input[type="file"]')?.focus();
  }

  return (
    <form className="card form" onSubmit={submit} aria-labelledby="start-title" noValidate>
      <h2 id="start-title">Import a file</h2>
      <Segments legend="File" name="source" choices={SOURCES} chosen={source} choose={setSource} />
      {source === '' ? (
        <div className="field">
          <label htmlFor="file">Your file</label>
          <input
            id="file"
            type="file"
            accept=".jsonl,.ndjson,.json,.txt"
            aria-describedby="file-note file-missing"
            aria-invalid={missing || undefined}
            onChange={({ target }) => {
              setFile(target.files?.[0] ?? null);
              setMissing(false);
            }}
          />
          <p className="note" id="file-note">
            JSONL, a span a line, as OpenTelemetry, Jaeger or Zipkin write it; at most 20 MiB.
          </p>
          <p className="wrong" id="file-missing">
            {missing && 'Choose a file first.'}
          </p>
        </div>
      ) : (
        <p className="note">
          Half an hour of a small shop, 2,220 spans.{' '}
          <a href={`sample/${source}`} download>
            Download it
          </a>
        </p>
      )}
      <Segments legend="Speed" name="pace" choices={SPEEDS} chosen={pace} choose={setPace} />
      <Segments
        legend="Deadline"
        name="deadline"
        choices={DEADLINES}
        chosen={deadline}
        choose={setDeadline}
      />
      <button className="button primary" type="submit">
        Import
      </button>
    </form>
  );
}
