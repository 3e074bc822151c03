import { useState } from 'react';
import { signIn } from './session.ts';
import { KNOWN } from './words.ts';

const initials = (name: string): string =>
  name
    .split(' ')
    .map(([letter]) => letter)
    .join('');

/** The demo's accounts; choosing one is enough. */
export function SignIn() {
  const [problem, setProblem] = useState('');
  const choose = (id: string) =>
    signIn(id).catch(() => setProblem('That did not work. Is the server there?'));
  return (
    <section className="sign-in card" aria-labelledby="sign-in-title">
      <h1 id="sign-in-title">Sign in</h1>
      <p className="note">
        These are the demo’s accounts, and choosing one is all it takes. A second tab can be
        somebody else.
      </p>
      <ul className="accounts">
        {KNOWN.coaches.map(({ id, name, role }) => (
          <li key={id}>
            <button className="account" type="button" onClick={() => choose(id)}>
              <span className="avatar" aria-hidden="true">
                {initials(name)}
              </span>
              <span className="account-text">
                <span className="account-name">{name}</span>
                <span className="note">{role}</span>
              </span>
            </button>
          </li>
        ))}
      </ul>
      <p role="alert">{problem}</p>
      <p className="note">
        Or see <a href="side-by-side">two of them side by side</a>.
      </p>
    </section>
  );
}
