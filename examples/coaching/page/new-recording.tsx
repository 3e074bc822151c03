import { type FormEvent, useRef, useState } from 'react';
import { newKey } from '../../stage/page/key.ts';
import { Refusal, send } from './session.ts';
import { KNOWN } from './words.ts';

const SAMPLES: Readonly<Record<string, readonly [string, string]>> = {
  'session.wav': ['A session', 'Two voices, a channel each, 0:36'],
  'too-loud.wav': ['Too loud', 'Too close to the microphone, long silences, 0:16'],
  'broken.wav': ['A broken file', 'The recorder’s battery ran out'],
};
const PACES = ['Full speed', 'To watch', 'Slow'];

/** A recording and how to listen to it. */
export function NewRecording({ onSubmitted }: { readonly onSubmitted: (id: string) => void }) {
  const [source, setSource] = useState(KNOWN.samples[0] ?? '');
  const [file, setFile] = useState<File | null>(null);
  const [problems, setProblems] = useState<readonly string[]>([]);
  const [busy, setBusy] = useState(false);
  const [pace, setPace] = useState(KNOWN.paces[1] ?? 0);
  const chooser = useRef<HTMLInputElement>(null);
  // The same press of the button, sent twice, is one job.
  const key = useRef('');

  async function submit(event: FormEvent) {
    event.preventDefault();
    if (busy) return;
    if (source === 'own' && !file) return chooser.current?.click();
    key.current ||= newKey();
    const query = new URLSearchParams({ key: key.current, pace: `${pace}` });
    if (source === 'own') query.set('name', file?.name ?? '');
    else query.set('sample', source);
    setBusy(true);
    setProblems([]);
    try {
      const body = source === 'own' ? file : null;
      const answer = await send(`recordings?${query}`, { method: 'POST', body });
      const { job_id } = await answer.json();
      key.current = '';
      onSubmitted(job_id);
    } catch (error) {
      const refused = error instanceof Refusal;
      if (refused) key.current = '';
      setProblems(refused ? error.problems : ['The server cannot be reached. Try again.']);
    } finally {
      setBusy(false);
    }
  }

  function choose(chosen: File | undefined) {
    if (!chosen) return;
    setFile(chosen);
    setSource('own');
    setProblems([]);
  }

  const choices = [
    ...KNOWN.samples.map((name) => [name, ...(SAMPLES[name] ?? [name, ''])] as const),
    ['own', 'Your own', file ? file.name : 'A WAV file of up to 64 MiB'] as const,
  ];
  return (
    <form className="card new" onSubmit={submit} aria-labelledby="new-title">
      <h2 id="new-title">Listen to a recording</h2>
      <fieldset className="choices">
        <legend className="visually-hidden">Recording</legend>
        {choices.map(([value, label, note]) => (
          <label className="choice" key={value}>
            <input
              type="radio"
              name="source"
              value={value}
              checked={source === value}
              onChange={() => setSource(value)}
            />
            <span className="choice-text">
              <span className="choice-label">{label}</span>
              <span className="note">{note}</span>
            </span>
          </label>
        ))}
      </fieldset>
      {source === 'own' && (
        <div className="upload">
          <input
            ref={chooser}
            className="visually-hidden"
            type="file"
            id="file"
            accept=".wav,audio/wav,audio/x-wav"
            onChange={({ target }) => choose(target.files?.[0])}
          />
          <label className="button small" htmlFor="file">
            {file ? 'Choose another file' : 'Choose a file'}
          </label>
        </div>
      )}
      <fieldset className="segments">
        <legend>Speed</legend>
        <div>
          {KNOWN.paces.map((value, place) => (
            <label key={value}>
              <input
                type="radio"
                name="pace"
                checked={pace === value}
                onChange={() => setPace(value)}
              />
              <span>{PACES[place]}</span>
            </label>
          ))}
        </div>
      </fieldset>
      {problems.length > 0 && (
        <div className="problems" role="alert">
          <p>This cannot be listened to.</p>
          <ul>
            {problems.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        </div>
      )}
      <button className="button primary" type="submit" aria-disabled={busy}>
        {busy ? 'Sending…' : 'Analyse'}
      </button>
    </form>
  );
}
