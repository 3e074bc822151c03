import { type JobSnapshot, useJobProgress, useNotifications } from 'milepost/react';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { STATES, type Summary } from './recordings.tsx';
import { Refusal, send } from './session.ts';
import { clock, firstName, KNOWN, number, when } from './words.ts';

interface Figures {
  readonly seconds: number;
  readonly peak: number;
  readonly rms: number;
  readonly lufs: number | null;
  readonly clipped_samples: number;
  readonly talk_seconds: number;
  readonly longest_talk: number;
  readonly longest_pause: number;
  readonly pauses: number;
  readonly speakers: readonly number[];
  readonly rate: number;
  readonly channels: number;
  readonly format: string;
}

interface Recording extends Summary {
  readonly figures: Figures | null;
  readonly sound: string;
  readonly picture?: string;
}

const percent = (part: number, whole: number): string =>
  `${Math.round((100 * part) / Math.max(whole, 0.01))} %`;

/** Sound and picture of one recording: the picture shows where the sound is, and a press on it goes there. */
function Player({
  recording,
  figures,
}: {
  readonly recording: Recording;
  readonly figures: Figures;
}) {
  const audio = useRef<HTMLAudioElement>(null);
  const [at, setAt] = useState(0);
  const said = `Waveform: ${percent(figures.talk_seconds, figures.seconds)} talk in ${clock(figures.seconds)}${
    figures.clipped_samples ? ', clipped in places marked red' : ''
  }`;
  return (
    <div className="player">
      {/* biome-ignore lint/a11y/noStaticElementInteractions lint/a11y/useKeyWithClickEvents: the player below does the same by keyboard */}
      <div
        className="waveform"
        onClick={({ currentTarget, clientX }) => {
          const { left, width } = currentTarget.getBoundingClientRect();
          if (audio.current)
            audio.current.currentTime = ((clientX - left) / width) * figures.seconds;
        }}
      >
        <img src={recording.picture} alt={said} data-bands={figures.speakers.length || 1} />
        <span
          className="playhead"
          style={{ left: `${(100 * at) / figures.seconds}%` }}
          hidden={!at}
        />
      </div>
      {figures.speakers.length > 0 && (
        <p className="note bands" aria-hidden="true">
          Left above, right below
        </p>
      )}
      {/* biome-ignore lint/a11y/useMediaCaption: nobody has written down what is said */}
      <audio
        ref={audio}
        controls
        preload="metadata"
        src={recording.sound}
        aria-label="The recording"
        onTimeUpdate={({ currentTarget }) => setAt(currentTarget.currentTime)}
      />
    </div>
  );
}

function Share({
  label,
  parts,
}: {
  readonly label: string;
  readonly parts: readonly [readonly [string, number], readonly [string, number]];
}) {
  const [[first, one], [second, other]] = parts;
  const share = Math.round((100 * one) / Math.max(one + other, 0.01));
  const shares = [
    [first, share, one],
    // Together they are 100.
    [second, 100 - share, other],
  ] as const;
  return (
    <div className="split">
      <h3>{label}</h3>
      <div className="split-bar" aria-hidden="true">
        {parts.map(([name, part]) => (
          <span key={name} style={{ flexGrow: part }} />
        ))}
      </div>
      <ul>
        {shares.map(([name, share, part]) => (
          <li key={name}>
            {name} <strong>{share} %</strong> <span className="note">{clock(part)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Found({ figures }: { readonly figures: Figures }) {
  const { seconds, lufs, rms, peak, talk_seconds, speakers } = figures;
  const [left = 0, right = 0] = speakers;
  const facts: readonly (readonly [string, string, string])[] = [
    ['Length', clock(seconds), `${figures.format}, ${figures.rate.toLocaleString()} Hz`],
    ['Loudness', lufs === null ? 'Silent' : `${number(lufs)} LUFS`, `RMS ${number(rms)} dBFS`],
    [
      'Peak',
      `${number(peak)} dBFS`,
      peak > -0.5 ? 'No headroom' : `${number(-peak)} dB of headroom`,
    ],
    [
      'Clipping',
      figures.clipped_samples ? figures.clipped_samples.toLocaleString() : 'None',
      figures.clipped_samples ? 'samples, marked red' : 'Nothing hits the lid',
    ],
    ['Longest talk', clock(figures.longest_talk), 'Without a pause'],
    [
      'Pauses',
      `${figures.pauses}`,
      figures.pauses
        ? `The longest ${number(figures.longest_pause)} s`
        : 'From one end to the other',
    ],
  ];
  return (
    <>
      <dl className="facts">
        {facts.map(([name, value, note]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <span className="fact">{value}</span>
              <span className="note">{note}</span>
            </dd>
          </div>
        ))}
      </dl>
      <div className="splits">
        <Share
          label="Talk and silence"
          parts={[
            ['Talk', talk_seconds],
            ['Silence', seconds - talk_seconds],
          ]}
        />
        {left + right > 0 && (
          <Share
            label="Who spoke"
            parts={[
              ['Left', left],
              ['Right', right],
            ]}
          />
        )}
      </div>
    </>
  );
}

/** As many bars as fit; of a longer recording several levels share one. */
const BARS = 180;
/** The worker tells five levels of each second, in dBFS. */
const A_SECOND = 5;
const QUIET = -48;

/** What the worker hears at the moment, second after second. What went by before the page came is not there. */
function Levels({ job }: { readonly job: JobSnapshot | null }) {
  const [heard, setHeard] = useState<Readonly<Record<number, number>>>({});
  const { current = 0, total = null, item = null } = job ?? {};
  const all = (total ?? 0) * A_SECOND;
  const bars = Math.min(all, BARS);
  const levels = item?.levels;
  useEffect(() => {
    if (!Array.isArray(levels)) return;
    const barOf = (place: number) => Math.floor((((current - 1) * A_SECOND + place) / all) * bars);
    const news = levels.map((level: number, place) => [barOf(place), level] as const);
    setHeard((before) => ({ ...before, ...Object.fromEntries(news) }));
  }, [levels, current, all, bars]);
  return (
    <div className="levels" aria-hidden="true">
      {Array.from({ length: bars }, (_, bar) => {
        const loud = Math.max(0, 1 - (heard[bar] ?? QUIET) / QUIET);
        const isHeard = bar < (current / (total ?? 1)) * bars;
        return (
          <span
            key={`${bar}`}
            data-heard={isHeard || undefined}
            style={{ height: `${loud * 100}%` }}
          />
        );
      })}
    </div>
  );
}

/** What others have said about this recording, and a word to one of them. */
function Feedback({ recording, coach }: { readonly recording: Recording; readonly coach: string }) {
  const { notifications, markRead } = useNotifications();
  const others = KNOWN.coaches.filter(({ id }) => id !== coach);
  const [to, setTo] = useState(recording.owner === coach ? (others[0]?.id ?? '') : recording.owner);
  const [note, setNote] = useState('');
  const [said, setSaid] = useState('');
  const heard = notifications.filter(({ context }) => context.related_session_id === recording.id);
  const unread = heard.filter(({ status }) => status === 'unread').map(({ id }) => id);

  async function tell(event: FormEvent) {
    event.preventDefault();
    try {
      await send(`recordings/${recording.id}/share`, {
        method: 'POST',
        body: JSON.stringify({ coach: to, note }),
      });
      setNote('');
      setSaid(`${firstName(to)} has been told.`);
    } catch (error) {
      setSaid(error instanceof Refusal ? error.message : 'That did not work. Try again.');
    }
  }

  return (
    <section className="feedback" aria-labelledby="feedback-title">
      <h3 id="feedback-title">Feedback</h3>
      {heard.length > 0 && (
        <ul className="heard">
          {heard.map(({ id, title, message, created_at, status }) => (
            <li key={id} data-unread={status === 'unread' ? '' : undefined}>
              <p dir="auto">{message || title}</p>
              <p className="note">
                {message ? `${title}, ` : ''}
                {when(created_at)}
              </p>
            </li>
          ))}
        </ul>
      )}
      {unread.length > 0 && (
        <button className="link" type="button" onClick={() => markRead(unread)}>
          Mark as read
        </button>
      )}
      <form onSubmit={tell}>
        <div className="field">
          <label htmlFor="to">To</label>
          <select id="to" value={to} onChange={({ target }) => setTo(target.value)}>
            {others.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        </div>
        <div className="field wide">
          <label htmlFor="note">
            Note <span className="hint">if you like</span>
          </label>
          <textarea
            id="note"
            rows={2}
            maxLength={500}
            value={note}
            onChange={({ target }) => setNote(target.value)}
          />
        </div>
        <button className="button" type="submit">
          {to === recording.owner ? `Send to ${firstName(to)}` : `Share with ${firstName(to)}`}
        </button>
        <span role="status">{said}</span>
      </form>
    </section>
  );
}

/** One recording: how far it is while the worker listens, and what there was to hear. */
export function Result({
  id,
  coach,
  fresh,
  close,
}: {
  readonly id: string;
  readonly coach: string;
  /** Opened in this page, not with it. */
  readonly fresh: boolean;
  readonly close: () => void;
}) {
  const [recording, setRecording] = useState<Recording | null>(null);
  const [problem, setProblem] = useState('');
  // A recording that somebody has shared is another's job.
  const own = recording?.owner === coach;
  const job = useJobProgress(own ? id : null);
  const { isComplete, isFailed, isProcessing, progress, error, errorCode } = job;

  useEffect(() => {
    let left = false;
    send(`recordings/${id}`)
      .then((answer) => answer.json())
      .then((found) => {
        if (!left) setRecording(found);
      })
      .catch((why) => {
        if (!left)
          setProblem(why instanceof Refusal ? why.message : 'The server cannot be reached.');
      });
    return () => {
      left = true;
    };
  }, [id, isComplete]);

  // Where it stands alone, what was pressed is not to be seen any more.
  const back = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (fresh && back.current?.offsetParent) back.current.focus();
  }, [fresh]);

  const state = progress?.state ?? (recording?.figures ? 'completed' : 'unknown');
  const { current = 0, total = null } = progress ?? {};
  return (
    <article className="card result" data-state={state} aria-labelledby="result-title">
      <button className="link back" type="button" ref={back} onClick={close}>
        ‹ All recordings
      </button>
      {problem && !recording && (
        <div className="problems" role="alert">
          <p id="result-title">{problem}</p>
        </div>
      )}
      {recording && (
        <>
          <div className="job-head">
            <h2 id="result-title" dir="auto">
              {recording.title}
            </h2>
            <span className="state">{STATES[state]}</span>
          </div>
          <p className="note from">
            {own ? 'Yours' : `From ${firstName(recording.owner)}`},{' '}
            {when(recording.submitted_at * 1000)}
          </p>
          {own && isProcessing && (
            <div className="listening">
              <Levels job={progress} />
              <progress
                aria-labelledby="result-title"
                max={total ?? 1}
                {...(total !== null && { value: current })}
              />
              <div className="job-line">
                <span className="job-message">{progress?.message || 'Waiting for a worker'}</span>
                <span className="job-numbers">
                  {progress?.eta_seconds ? `about ${Math.ceil(progress.eta_seconds)} s left` : ''}
                </span>
              </div>
              <button
                className="button small"
                type="button"
                onClick={() =>
                  void send(`recordings/${id}/cancel`, { method: 'POST' }).catch(() => {})
                }
              >
                Cancel
              </button>
            </div>
          )}
          {isFailed && (
            <div className="problems">
              <p>{error}</p>
              <p className="job-code">{errorCode}</p>
            </div>
          )}
          {recording.figures && recording.picture && (
            <>
              <Player recording={recording} figures={recording.figures} />
              <Found figures={recording.figures} />
              <Feedback recording={recording} coach={coach} />
            </>
          )}
        </>
      )}
    </article>
  );
}
