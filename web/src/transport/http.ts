import { retryAfter } from '../core/backoff.ts';
import { asFailure, Failure } from '../core/errors.ts';
import type { AuthReason, ClientOptions } from '../core/types.ts';
import { fields, text } from '../core/wire.ts';

export interface Call {
  readonly query?: Readonly<Record<string, string | number | null | undefined>>;
  /** Makes it a POST. */
  readonly body?: object;
  readonly accept?: string;
  readonly signal?: AbortSignal;
  /** `expired`: the server has already refused the present token. */
  readonly reason?: AuthReason;
}

export interface Http {
  /** Resolves for 2xx only; rejects with a `Failure`. A refused token is renewed once. */
  request(path: string, call?: Call): Promise<Response>;
  /** The answer's fields; none where it was not an object. */
  json(path: string, call?: Call): Promise<Readonly<Record<string, unknown>>>;
}

/** `https://host/mount/` for any way of writing it, with or without `/api`. */
export function baseOf(baseUrl: string | URL, page: string): string {
  const { origin, pathname } = new URL(baseUrl, page);
  return `${origin + pathname.replace(/(\/api)?\/*$/, '')}/`;
}

export function createHttp(
  base: string,
  { getToken, getTicket, env }: Pick<ClientOptions, 'getToken' | 'getTicket' | 'env'>,
  /** There is no credential left that the server would take. */
  signedOut: (error: Failure) => void,
): Http {
  async function send(path: string, call: Call): Promise<Response> {
    const { reason = 'connect', body, signal = new AbortController().signal } = call;
    const ask = getToken ?? getTicket;
    const secret = await ask?.(reason, signal);
    if (ask && !secret) throw new Failure('signed-out');

    const url = new URL(`api/${path}`, base);
    for (const [name, value] of Object.entries({ ...call.query, ticket: !getToken && secret }))
      if (value) url.searchParams.set(name, String(value));
    const response = await (env?.fetch ?? fetch)(url, {
      method: body ? 'POST' : 'GET',
      headers: {
        accept: call.accept ?? 'application/json',
        ...(getToken && { authorization: `Bearer ${secret}` }),
        ...(body && { 'content-type': 'application/json' }),
      },
      // Of nothing that is undefined: no body.
      body: JSON.stringify(body),
      cache: 'no-store',
      credentials: ask ? 'omit' : 'include',
      signal,
    });
    const { status, ok } = response;
    if (ok) return response;
    if (status === 401 && reason === 'connect' && ask)
      return send(path, { ...call, reason: 'expired' });

    const { code } = fields(await response.json().catch(() => null));
    const problem = text(code) ?? undefined;
    const retryAfterMs = retryAfter(response.headers.get('retry-after'), Date.now());
    // A refusal without a code of ours is a proxy's: it blocks this way, perhaps not another.
    const forbidden = problem ? 'forbidden' : 'protocol';
    throw new Failure(status === 401 ? 'signed-out' : status === 403 ? forbidden : 'http', {
      status,
      problem,
      retryAfterMs,
    });
  }

  const request: Http['request'] = (path, call = {}) =>
    send(path, call).catch((thrown) => {
      const error = asFailure(thrown);
      if (error.code === 'signed-out') signedOut(error);
      throw error;
    });

  return {
    request,
    async json(path, call) {
      const response = await request(path, call);
      return fields(
        await response.json().catch(() => {
          // A login page or a captive portal answers 200 with HTML.
          throw new Failure('protocol');
        }),
      );
    },
  };
}
