import { type ChangeEvent, useState } from 'react';
import { type Answer, type Bom, readSample, upload } from './server.ts';

const SAMPLES = [
  ['sensor-board.csv', 'Sensor board, 62 lines'],
  ['motor-driver.csv', 'Motor driver, 12 lines'],
  ['broken.csv', 'One with mistakes'],
] as const;

interface FilesProps {
  opened(answer: Answer<{ bom: Bom }>): void;
  refused(problems: readonly string[]): void;
}

/** A file of one's own, or a sample. */
export function Files({ opened, refused }: FilesProps) {
  const [busy, occupy] = useState(false);

  async function send(name: string, file: Blob): Promise<void> {
    if (busy) return;
    occupy(true);
    opened(await upload(name, file));
    occupy(false);
  }

  async function chosen({ target }: ChangeEvent<HTMLInputElement>): Promise<void> {
    const file = target.files?.[0];
    if (file) await send(file.name, file);
    target.value = '';
  }

  async function sample(name: string): Promise<void> {
    const answer = await readSample(name);
    if (answer.ok) await send(name, answer.value);
    else refused(answer.problems);
  }

  return (
    <section className="card files" aria-labelledby="files-title">
      <h2 id="files-title">Add a bill of materials</h2>
      <input
        className="visually-hidden"
        type="file"
        id="file"
        accept=".csv,.tsv,.txt,text/csv"
        aria-describedby="file-note"
        onChange={chosen}
      />
      <label className="button primary" htmlFor="file" aria-disabled={busy}>
        Upload a CSV file
      </label>
      <p className="note" id="file-note">
        With a column for the part number and one for the quantity, whatever your program calls
        them.
      </p>
      <p className="note">Or a sample:</p>
      <ul className="samples">
        {SAMPLES.map(([name, label]) => (
          <li key={name}>
            <button type="button" className="link" onClick={() => sample(name)}>
              {label}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
