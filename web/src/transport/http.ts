import { retryAfter } from '../core/backoff.ts';
import { asFailure, Failure } from '../core/errors.ts';
import type { AuthReason, ClientOptions, Environment } from '../core/types.ts';
import { fields } from '../core/wire.ts';

export interface Call {
  readonly query?: Readonly<Record<string, string | number | null | undefined>>;
  /** Makes it a POST. */
  readonly body?: unknown;
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
  return `${origin}${pathname.replace(/\/*$/, '').replace(/\/api$/, '')}/`;
}

export function createHttp(
  base: string,
  { getToken, getTicket }: Pick<ClientOptions, 'getToken' | 'getTicket'>,
  env: Environment,
  /** There is no credential left that the server would take. */
  signedOut: (error: Failure) => void,
): Http {
  async function send(path: string, call: Call, signal: AbortSignal): Promise<Response> {
    const { reason = 'connect', body } = call;
    const ask = getToken ?? getTicket;
    const secret = await ask?.(reason, signal);
    if (ask && !secret) throw new Failure('signed-out');

    const url = new URL(`api/${path}`, base);
    for (const [name, value] of Object.entries({
      ...call.query,
      ticket: !getToken && secret,
    }))
      if (value) url.searchParams.set(name, String(value));
    const response = await env.fetch(url, {
      method: body ? 'POST' : 'GET',
      headers: {
        accept: call.accept ?? 'application/json',
        ...(getToken && { authorization: `Bearer ${secret}` }),
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(body) : null,
      cache: 'no-store',
      credentials: ask ? 'omit' : 'include',
      signal,
    });
    if (response.ok) return response;
    const { status } = response;
    if (status === 401 && reason === 'connect' && ask)
      return send(path, { ...call, reason: 'expired' }, signal);

    // Not every refusal comes from our server, and not every one is JSON.
    const { code } = fields(await response.json().catch(() => null));
    const wait = retryAfter(response.headers.get('retry-after'), env.now());
    throw new Failure(status === 401 ? 'signed-out' : status === 403 ? 'forbidden' : 'http', {
      status,
      ...(typeof code === 'string' && { problem: code }),
      ...(wait !== undefined && { retryAfterMs: wait }),
    });
  }

  async function request(path: string, call: Call = {}): Promise<Response> {
    const signal = call.signal ?? new AbortController().signal;
    try {
      return await send(path, call, signal);
    } catch (thrown) {
      // An abort of ours has its own Failure as the reason.
      const error = asFailure(signal.aborted ? signal.reason : thrown);
      if (error.code === 'signed-out') signedOut(error);
      throw error;
    }
  }

  return {
    request,
    async json(path, call) {
      const response = await request(path, call);
      try {
        return fields(await response.json());
      } catch (error) {
        if (call?.signal?.aborted) throw asFailure(call.signal.reason);
        // A login page or a captive portal answers 200 with HTML.
        throw new Failure('protocol', { cause: error });
      }
    },
  };
}
