/**
 * Who is signed in on this seat: a session that renews tokens, and the token of now. Both are this tab's (and, side by
 * side, this frame's): a second tab may be somebody else.
 */

interface SignedIn {
  readonly coach: string;
  readonly session: string;
  readonly token: string;
  /** Seconds from the answer. */
  readonly expires_in: number;
  /** By this browser's clock, in milliseconds. */
  readonly until?: number;
}

const asked = new URLSearchParams(location.search);
const KEY = `coaching:${asked.get('seat') ?? ''}`;
/** This page, below which everything of the application's is. */
export const HERE = new URL('.', location.href).href;

const stored = sessionStorage.getItem(KEY);
let current: SignedIn | null = stored && JSON.parse(stored);
/** Side by side, a seat has its coach from the start. */
const seated = stored === null ? asked.get('as') : null;
let seating = !!seated;
let renewing: Promise<SignedIn | null> | undefined;
const listeners = new Set<() => void>();

function set(next: SignedIn | null): void {
  current = next && { ...next, until: Date.now() + next.expires_in * 1000 };
  seating = false;
  sessionStorage.setItem(KEY, JSON.stringify(current));
  for (const listener of listeners) listener();
}

/** What a refusal says, in sentences. */
export class Refusal extends Error {
  constructor(readonly problems: readonly string[]) {
    super(problems.join(' '));
  }
}

async function refusal(answer: Response): Promise<Refusal> {
  const { problems = ['The server did not understand that.'] } = await answer
    .json()
    .catch(() => ({}));
  return new Refusal(problems);
}

async function post(path: string, body: object): Promise<SignedIn | null> {
  const answer = await fetch(new URL(path, HERE), {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
  if (answer.status === 401) return null;
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

/** The coach's id; null: nobody is signed in; undefined: that is about to be known. */
export const getCoach = (): string | null | undefined =>
  seating ? undefined : (current?.coach ?? null);

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export async function signIn(coach: string): Promise<void> {
  set(await post('sign-in', { coach }));
}

/** Here, in other tabs and on other devices. */
export async function signOut(): Promise<void> {
  const session = current?.session;
  set(null);
  // Offline it is over here only, and elsewhere when its tokens are.
  if (session) await post('sign-out', { session }).catch(() => null);
}

/** Somebody else has ended it, or it is over. */
export const forget = (): void => set(null);

/** One question at a time, however many ask. */
function renew(): Promise<SignedIn | null> {
  const session = current?.session;
  renewing ??= post('session', { session }).finally(() => {
    renewing = undefined;
  });
  return renewing.then((next) => {
    // Signed out, or somebody else, meanwhile.
    if (current?.session === session) set(next);
    return current;
  });
}

/** For the client: the token of now, or the next one when that is over or not taken any more. */
export async function getToken(reason: 'connect' | 'expired'): Promise<string | null> {
  const over = reason === 'expired' || Date.now() > (current?.until ?? 0);
  const signedIn = current && over ? await renew() : current;
  return signedIn?.token ?? null;
}

/** A request of the application's own, in the coach's name. Throws a `Refusal`, or what `fetch` throws. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const call = (token: string | null) =>
    fetch(new URL(path, HERE), { ...init, headers: { authorization: `Bearer ${token}` } });
  let answer = await call(await getToken('connect'));
  if (answer.status === 401) answer = await call(await getToken('expired'));
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

if (seated) signIn(seated).catch(() => set(null));
