import { retryAfter } from '../core/backoff.ts';
import { asFailure, Failure } from '../core/errors.ts';
import type { Auth, AuthReason, Environment } from '../core/types.ts';

export interface Call {
  readonly method?: 'GET' | 'POST';
  readonly query?: Readonly<Record<string, string | number | null | undefined>>;
  readonly body?: unknown;
  readonly accept?: string;
  readonly signal?: AbortSignal;
  /** `expired`: the server has already refused the present token. */
  readonly reason?: AuthReason;
}

export interface Http {
  /** Resolves for 2xx only; rejects with a `Failure`. A refused token is renewed once. */
  request(path: string, call?: Call): Promise<Response>;
  json(path: string, call?: Call): Promise<unknown>;
}

/** `https://host/mount/` for any way of writing it, with or without `/api`. */
export function baseOf(baseUrl: string | URL, page: string): string {
  const url = new URL(baseUrl, page);
  return `${url.origin}${url.pathname.replace(/\/+$/, '').replace(/\/api$/, '')}/`;
}

export function createHttp(base: string, auth: Auth, env: Environment): Http {
  async function credential(reason: AuthReason, signal: AbortSignal): Promise<string | null> {
    if (auth.kind === 'cookie') return '';
    const given = await (auth.kind === 'bearer'
      ? auth.getToken(reason, signal)
      : auth.getTicket(reason, signal));
    return given || null;
  }

  async function request(path: string, call: Call = {}): Promise<Response> {
    const signal = call.signal ?? new AbortController().signal;
    const reason = call.reason ?? 'connect';
    const secret = await credential(reason, signal);
    if (secret === null) throw new Failure('signed-out', 'Signed out.', { status: 401 });

    const url = new URL(`api/${path}`, base);
    for (const [name, value] of Object.entries(call.query ?? {}))
      if (value !== null && value !== undefined && value !== '')
        url.searchParams.set(name, String(value));
    if (auth.kind === 'ticket') url.searchParams.set('ticket', secret);
    const headers: Record<string, string> = { accept: call.accept ?? 'application/json' };
    if (auth.kind === 'bearer') headers.authorization = `Bearer ${secret}`;
    if (call.body !== undefined) headers['content-type'] = 'application/json';

    const response = await env.fetch(url, {
      method: call.method ?? 'GET',
      headers,
      cache: 'no-store',
      credentials: auth.kind === 'cookie' ? 'include' : 'omit',
      signal,
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    });
    if (response.ok) return response;
    if (response.status === 401 && reason === 'connect' && auth.kind !== 'cookie')
      return request(path, { ...call, reason: 'expired' });
    throw await refusal(response, env.now());
  }

  const guarded: Http['request'] = async (path, call) => {
    try {
      return await request(path, call);
    } catch (error) {
      // An abort of ours carries its own Failure as the reason; `fetch` rejects with it unchanged.
      throw asFailure(call?.signal?.aborted ? call.signal.reason : error);
    }
  };

  return {
    request: guarded,
    async json(path, call) {
      const response = await guarded(path, call);
      try {
        return await response.json();
      } catch (error) {
        if (call?.signal?.aborted) throw asFailure(call.signal.reason);
        // A login page or a captive portal answers 200 with HTML.
        throw new Failure('protocol', 'The answer was not JSON.', { cause: error });
      }
    },
  };
}

async function refusal(response: Response, now: number): Promise<Failure> {
  let problem: string | undefined;
  try {
    const body: unknown = await response.json();
    if (typeof body === 'object' && body && 'code' in body) problem = String(body.code);
  } catch {
    // Not every refusal comes from our server.
  }
  const { status } = response;
  const wait = retryAfter(response.headers.get('retry-after'), now);
  return new Failure(
    status === 401 ? 'signed-out' : status === 403 ? 'forbidden' : 'http',
    `The server answered ${status}${problem ? ` (${problem})` : ''}.`,
    {
      status,
      ...(problem === undefined ? {} : { problem }),
      ...(wait === undefined ? {} : { retryAfterMs: wait }),
    },
  );
}
