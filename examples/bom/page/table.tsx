import { type ReactNode, useState } from 'react';
import type { Bom, Row } from './server.ts';
import { euros } from './words.ts';

interface TableProps {
  readonly bom: Bom;
  readonly rows: readonly Row[];
  /** A run is under way: the line after the last row is being looked up. */
  readonly running: boolean;
}

type Status = 'waiting' | 'processing' | 'enriched' | 'warning' | 'error';

const WORDS: Readonly<Record<Status, string>> = {
  waiting: 'Waiting',
  processing: 'Looking…',
  enriched: 'Found',
  warning: 'Look at it',
  error: 'Error',
};

/** Every line, with what was found of it as soon as it is. */
export function Table({ bom, rows, running }: TableProps) {
  const [only, choose] = useState(false);
  const notable = rows.filter(({ status, warning }) => status === 'error' || warning);
  const shown = only
    ? bom.lines.filter(({ number }) => notable.some((row) => row.line === number))
    : bom.lines;
  return (
    <>
      <fieldset className="segments filter">
        <legend className="visually-hidden">Lines to show</legend>
        <div>
          <Choice checked={!only} choose={() => choose(false)}>
            All {bom.lines.length}
          </Choice>
          <Choice checked={only} choose={() => choose(true)}>
            To look at {notable.length}
          </Choice>
        </div>
      </fieldset>
      {shown.length === 0 ? (
        <p className="empty">{running ? 'Nothing so far.' : 'Nothing.'}</p>
      ) : (
        <table className="lines">
          <caption className="visually-hidden">The lines of {bom.name}</caption>
          <thead>
            <tr>
              <th scope="col">Part</th>
              <th scope="col" className="number">
                Qty
              </th>
              <th scope="col" className="wide-only">
                Catalogue
              </th>
              <th scope="col" className="number wide-only">
                Each
              </th>
              <th scope="col">Status</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((line) => {
              const row = rows[line.number - 1];
              const at = running && line.number === rows.length + 1;
              const status: Status = row
                ? row.warning
                  ? 'warning'
                  : row.status
                : at
                  ? 'processing'
                  : 'waiting';
              return (
                <tr key={line.number} data-status={status} data-line={line.number}>
                  <th scope="row">
                    <code>{line.mpn || '–'}</code>
                    <span className="line-note">
                      {[line.designator, line.description].filter(Boolean).join(' · ')}
                    </span>
                    {row && status !== 'enriched' && (
                      <span className="line-message">{row.message}</span>
                    )}
                  </th>
                  <td className="number">{line.quantity.toLocaleString('en')}</td>
                  <td className="wide-only">
                    {row?.description}
                    <span className="line-note">
                      {[row?.manufacturer, row?.package].filter(Boolean).join(' · ')}
                    </span>
                  </td>
                  <td className="number wide-only">{row?.unit_price && euros(row.unit_price)}</td>
                  <td>
                    <span className="line-status">{WORDS[status]}</span>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
    </>
  );
}

interface ChoiceProps {
  readonly checked: boolean;
  readonly children: ReactNode;
  choose(): void;
}

const Choice = ({ checked, choose, children }: ChoiceProps) => (
  <label>
    <input type="radio" name="only" checked={checked} onChange={choose} />
    <span>{children}</span>
  </label>
);
