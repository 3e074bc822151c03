import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  type RefObject,
  useContext,
  useEffect,
  useInsertionEffect,
  useRef,
  useState,
} from 'react';
import { createClient } from '../core/client.ts';
import type { Client, ClientOptions } from '../core/types.ts';

const Context = createContext<Client | null>(null);

/** What was given last: what is called later must not be what was given first. */
export function useLatest<T>(value: T): RefObject<T> {
  const latest = useRef(value);
  // Before any other effect, one of which may lead to a call.
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

function make(latest: RefObject<ClientOptions>): Client {
  const options: Record<string, unknown> = { ...latest.current };
  for (const name in options)
    if (typeof options[name] === 'function')
      options[name] = (...given: unknown[]) =>
        (latest.current as Record<string, (...given: unknown[]) => unknown>)[name]?.(...given);
  return createClient(options);
}

/**
 * `client`: one that the page has made, and closes itself. Else the options of `createClient`: the provider makes one,
 * and closes it when it leaves. They are read when it is made (a `key` makes a new one, for another user); only of a
 * function it is always the newest that is called.
 */
export type MilepostProviderProps = { readonly children?: ReactNode } & (
  | { readonly client: Client }
  | ({ readonly client?: undefined } & ClientOptions)
);

/** The client of everything in it. It connects when a hook or component in it first shows something live. */
export function MilepostProvider(props: MilepostProviderProps): ReactElement {
  const { client: given, children, ...options } = props;
  const latest = useLatest(options);
  const [own, setOwn] = useState(() => given ?? make(latest));
  const here = useRef<Client>(null);
  useEffect(() => {
    if (given) return;
    here.current = own;
    // It was away for a while, as in a hidden <Activity>; what is closed stays closed.
    if (own.connection.getSnapshot().status === 'closed') setOwn(make(latest));
    return () => {
      here.current = null;
      // StrictMode takes it away and brings it back in one go: that closes nothing.
      queueMicrotask(() => {
        if (here.current !== own) own.close();
      });
    };
  }, [given, own, latest]);
  return createElement(Context.Provider, { value: given ?? own }, children);
}

/** The client of the `MilepostProvider` around. Throws an Error where there is none. */
export function useMilepost(): Client {
  const client = useContext(Context);
  if (!client) throw new Error('No MilepostProvider around');
  return client;
}

/** The same, from now on connected: nobody pays for a connection before something live is shown. */
export function useStarted(needed = true): Client {
  const client = useMilepost();
  useEffect(() => {
    if (needed) client.start();
  }, [client, needed]);
  return client;
}
