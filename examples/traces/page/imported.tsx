// What was imported, read from the database: the imports, the traces of one of them, the spans of one of those.

import { type RefObject, useEffect, useState } from 'react';
import { type Imported, readSpans, readTraces, type Span, type Trace } from './server.ts';
import { clock, count, counted, duration, range, when } from './words.ts';

interface ImportedTracesProps {
  readonly heading: RefObject<HTMLHeadingElement | null>;
  /** `null`: not read yet. */
  readonly imports: readonly Imported[] | null;
  readonly chosen: Imported | null;
  readonly select: (id: string) => void;
}

export function ImportedTraces({ heading, imports, chosen, select }: ImportedTracesProps) {
  return (
    <section className="imported" aria-labelledby="imported-title">
      <div className="imported-head">
        <h2 id="imported-title" tabIndex={-1} ref={heading}>
          Imported
        </h2>
        {imports && imports.length > 1 && (
          <label className="imported-choice">
            <span className="visually-hidden">Import</span>
            <select value={chosen?.id} onChange={({ target }) => select(target.value)}>
              {imports.map(({ id, name, imported_ms, summary }) => (
                <option key={id} value={id}>
                  {`${name}, ${when(imported_ms)}, ${counted(summary.spans, 'span')}`}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      {chosen ? (
        <OneImport key={chosen.id} chosen={chosen} />
      ) : (
        <p className="empty">
          {imports
            ? 'Nothing yet. What you import appears here, and stays for a week.'
            : 'Reading…'}
        </p>
      )}
    </section>
  );
}

function OneImport({ chosen: { id, name, imported_ms, summary } }: { readonly chosen: Imported }) {
  const [failed, setFailed] = useState(false);
  const [traces, setTraces] = useState<readonly Trace[] | null>(null);
  const [trace, setTrace] = useState<string>(summary.slowest.trace_id);

  useEffect(() => {
    let here = true;
    readTraces(id, failed).then((found) => here && setTraces(found));
    return () => {
      here = false;
    };
  }, [id, failed]);

  const longest = traces?.[0]?.ms ?? 1;
  return (
    <>
      <section className="card" aria-label={name}>
        <p className="imported-name">
          <b>{name}</b> <span className="note">imported {when(imported_ms)}</span>
        </p>
        <dl className="facts">
          <Tile name="Traces" value={count(summary.traces)} />
          <Tile name="Spans" value={count(summary.spans)} />
          <Tile name="Services" value={count(summary.services)} />
          <Tile name="Failed" value={count(summary.errors)} />
          <Tile name="Median" value={duration(summary.p50_ms)} />
          <Tile name="95 %" value={duration(summary.p95_ms)} />
        </dl>
        <p className="note">{range(summary.from_ms, summary.to_ms)}</p>
      </section>

      <section className="card" aria-labelledby="traces-title">
        <div className="card-head">
          <h3 id="traces-title">Slowest traces</h3>
          <label className="check">
            <input
              type="checkbox"
              checked={failed}
              onChange={({ target }) => setFailed(target.checked)}
            />
            Only with failed spans
          </label>
        </div>
        {traces?.length === 0 && <p className="note">No span failed.</p>}
        {traces && traces.length > 0 && (
          <table className="traces">
            <thead>
              <tr>
                <th scope="col">Trace</th>
                <th scope="col" className="wide-only">
                  Start
                </th>
                <th scope="col" className="number wide-only">
                  Spans
                </th>
                <th scope="col" className="number wide-only">
                  Failed
                </th>
                <th scope="col" className="number">
                  Duration
                </th>
              </tr>
            </thead>
            <tbody>
              {traces.map((one) => (
                <tr key={one.trace_id} data-chosen={one.trace_id === trace || undefined}>
                  <th scope="row">
                    <button
                      className="link"
                      type="button"
                      aria-pressed={one.trace_id === trace}
                      aria-label={`${one.name}, ${one.trace_id.slice(0, 8)}`}
                      onClick={() => setTrace(one.trace_id)}
                    >
                      {one.name}
                    </button>{' '}
                    <code className="note">{one.trace_id.slice(0, 8)}</code>
                  </th>
                  <td className="wide-only">{clock(one.start_ms)}</td>
                  <td className="number wide-only">{count(one.spans)}</td>
                  <td className="number wide-only">{one.errors > 0 && count(one.errors)}</td>
                  <td className="number">
                    {duration(one.ms)}
                    <span className="trace-bar" aria-hidden="true">
                      <span style={{ width: `${(100 * one.ms) / longest}%` }} />
                    </span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>
      <Waterfall id={id} trace={trace} />
    </>
  );
}

const Tile = ({ name, value }: { readonly name: string; readonly value: string }) => (
  <div>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
);

/** Each span where it stands in time. It is a table: whoever cannot see the bars reads their numbers. */
function Waterfall({ id, trace }: { readonly id: string; readonly trace: string }) {
  const [spans, setSpans] = useState<readonly Span[] | null>(null);

  useEffect(() => {
    let here = true;
    readSpans(id, trace).then((found) => here && setSpans(found));
    return () => {
      here = false;
    };
  }, [id, trace]);

  if (!spans?.length) return null;
  const whole = Math.max(...spans.map(({ at_ms, ms }) => at_ms + ms), 0.001);
  const services = [...new Set(spans.map(({ service }) => service))];
  return (
    <section className="card" aria-labelledby="spans-title">
      <div className="card-head">
        <h3 id="spans-title">
          {spans[0]?.name} <code className="note">{trace.slice(0, 8)}</code>
        </h3>
        <span className="note">
          {counted(spans.length, 'span')}, {duration(whole)}
        </span>
      </div>
      <table className="spans">
        <thead>
          <tr>
            <th scope="col">Span</th>
            <th scope="col" className="number">
              After
            </th>
            <th scope="col" className="number">
              Takes
            </th>
            <td className="span-track" />
          </tr>
        </thead>
        <tbody>
          {spans.map((span) => (
            <tr key={span.span_id} data-failed={span.failed || undefined}>
              <th scope="row" style={{ paddingInlineStart: `${Math.min(span.depth, 8) * 0.9}rem` }}>
                <span className="span-name">{span.name}</span>{' '}
                <span className="note">{span.service}</span>
                {span.failed && <span className="state span-failed">failed</span>}
              </th>
              <td className="number">{duration(span.at_ms)}</td>
              <td className="number">{duration(span.ms)}</td>
              <td className="span-track" aria-hidden="true">
                <span
                  className="span-bar"
                  data-service={services.indexOf(span.service) % 6}
                  style={{
                    marginInlineStart: `${(100 * span.at_ms) / whole}%`,
                    width: `${(100 * span.ms) / whole}%`,
                  }}
                />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
