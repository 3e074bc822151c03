import type { Wish } from './server.ts';

const PACES = ['Full speed', 'To watch', 'Slow'];
const PRICES = [
  ['current', 'Today’s'],
  ['next', 'Next quarter’s'],
] as const;

interface SettingsProps {
  readonly wish: Wish;
  readonly paces: readonly number[];
  change(wish: Wish): void;
}

/** How the next run goes. */
export function Settings({ wish, paces, change }: SettingsProps) {
  return (
    <section className="card settings" aria-labelledby="settings-title">
      <h2 id="settings-title">The next run</h2>
      <fieldset className="segments">
        <legend>Speed</legend>
        <div>
          {paces.map((pace, n) => (
            <label key={pace}>
              <input
                type="radio"
                name="pace"
                checked={wish.pace === pace}
                onChange={() => change({ ...wish, pace })}
              />
              <span>{PACES[n]}</span>
            </label>
          ))}
        </div>
      </fieldset>
      <fieldset className="segments">
        <legend>Prices</legend>
        <div>
          {PRICES.map(([prices, label]) => (
            <label key={prices}>
              <input
                type="radio"
                name="prices"
                checked={wish.prices === prices}
                onChange={() => change({ ...wish, prices })}
              />
              <span>{label}</span>
            </label>
          ))}
        </div>
      </fieldset>
      {wish.prices === 'next' && (
        <p className="note">
          A list with a mistake in it: a run fails at the first part whose price makes no sense.
        </p>
      )}
    </section>
  );
}
