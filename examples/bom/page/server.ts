// What the page asks its own server. A refusal is a list of sentences.

import { newKey } from '../../stage/page/key.ts';

export interface Line {
  readonly number: number;
  readonly designator: string;
  readonly mpn: string;
  readonly quantity: number;
  readonly manufacturer: string;
  readonly description: string;
}

/** What was found of a line; only what is `enriched` has the part's own fields. */
export interface Row {
  readonly line: number;
  readonly status: 'enriched' | 'error';
  readonly warning: boolean;
  readonly message: string;
  readonly mpn?: string;
  readonly manufacturer?: string;
  readonly description?: string;
  readonly package?: string;
  readonly unit_price?: string;
}

export interface Summary {
  readonly id: string;
  readonly name: string;
  readonly parts: number;
  /** Of the newest run, 0: there was none. */
  readonly attempt: number;
}

export interface Bom extends Summary {
  readonly lines: readonly Line[];
  readonly rows: readonly Row[];
}

export interface PageState {
  readonly user: string;
  readonly organization: string;
  /** Of the hub's, for an hour. */
  readonly token: string;
  readonly boms: readonly Summary[];
  readonly chosen: Bom | null;
  /** Seconds for each part, to choose from. */
  readonly paces: readonly number[];
}

export interface Wish {
  readonly pace: number;
  readonly prices: string;
}

export type Answer<T> = { readonly ok: true; readonly value: T } | Refusal;
export interface Refusal {
  readonly ok: false;
  readonly problems: readonly string[];
}

const FILE_LIMIT = 256 * 1024;
const AWAY = 'The server cannot be reached. Try again in a moment.';

/** A new token for the hub; null where this browser is not signed in to this organisation any more. */
export async function renew(organization: string, signal: AbortSignal): Promise<string | null> {
  const answer = await fetch('session', { method: 'POST', body: organization, signal });
  if (answer.status >= 500) throw new Error(AWAY);
  return answer.ok ? ((await answer.json()) as { token: string }).token : null;
}

const refusal = (...problems: string[]): Refusal => ({ ok: false, problems });

async function ask<T>(path: string, init?: RequestInit): Promise<Answer<T>> {
  try {
    const answer = await fetch(path, init);
    const told = await answer.json().catch(() => null);
    if (answer.ok && told) return { ok: true, value: told as T };
    const { problems } = (told ?? {}) as { problems?: string[] };
    return refusal(
      ...(problems ?? [`The server answered ${answer.status}. Try again in a moment.`]),
    );
  } catch (error) {
    if (init?.signal?.aborted) throw error;
    return refusal(AWAY);
  }
}

export const readBom = (id: string) => ask<{ bom: Bom }>(`boms/${id}`);

/** What a run has found from its row `from` on. Rejects only when `signal` aborts. */
export const readRows = (id: string, attempt: number, from: number, signal: AbortSignal) =>
  ask<{ rows: Row[] }>(
    `boms/${id}/rows?${new URLSearchParams({ attempt: `${attempt}`, from: `${from}` })}`,
    {
      signal,
    },
  );

export const beginRun = (id: string, wish: Wish) =>
  ask<{ attempt: number }>(`boms/${id}/enrich`, { method: 'POST', body: JSON.stringify(wish) });

export async function upload(name: string, file: Blob): Promise<Answer<{ bom: Bom }>> {
  if (file.size > FILE_LIMIT) return refusal('The file is larger than 256 KiB.');
  const query = new URLSearchParams({ name, key: newKey() });
  return ask(`boms?${query}`, { method: 'POST', body: file });
}

export async function readSample(name: string): Promise<Answer<Blob>> {
  try {
    const answer = await fetch(`sample/${name}`);
    return answer.ok ? { ok: true, value: await answer.blob() } : refusal(AWAY);
  } catch {
    return refusal(AWAY);
  }
}
