import {
  createContext,
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

/**
 * `client`: one that the page has made, and closes itself. Else the options of `createClient`: the provider makes one
 * and closes it when it leaves. They are read when it is made (give the provider a `key` to begin anew, for another
 * user), except that of a function the newest is called.
 */
export type MilepostProviderProps = { readonly children?: ReactNode } & (
  | { readonly client: Client }
  | ({ readonly client?: undefined } & ClientOptions)
);

/** The client of everything in it. It connects when the first hook or component in it shows something live. */
export function MilepostProvider(props: MilepostProviderProps): ReactElement {
  if (!props.client) return <Owner {...props} />;
  return <Context.Provider value={props.client}>{props.children}</Context.Provider>;
}

type OwnerProps = ClientOptions & { readonly children?: ReactNode };

function make(latest: RefObject<ClientOptions>): Client {
  const now = () => latest.current as Record<string, unknown>;
  const options = Object.entries(now()).map(([name, value]) => [
    name,
    typeof value === 'function'
      ? (...given: unknown[]) => (now()[name] as typeof value | undefined)?.(...given)
      : value,
  ]);
  return createClient(Object.fromEntries(options));
}

function Owner({ children, client: _, ...options }: OwnerProps & { client?: undefined }) {
  const latest = useRef<ClientOptions>(options);
  // Before any effect that may lead to a call of one of them.
  useInsertionEffect(() => {
    latest.current = options;
  });
  const [client, setClient] = useState(() => make(latest));
  const here = useRef(false);
  useEffect(() => {
    here.current = true;
    // It was away for a while, as in a hidden <Activity>; what is closed stays closed.
    if (client.connection.getSnapshot().status === 'closed') setClient(make(latest));
    return () => {
      here.current = false;
      // StrictMode takes it away and brings it back in one go: that closes nothing.
      queueMicrotask(() => {
        if (!here.current) client.close();
      });
    };
  }, [client]);
  return <Context.Provider value={client}>{children}</Context.Provider>;
}

/** The client of the `MilepostProvider` around. Throws an Error where there is none. */
export function useMilepost(): Client {
  const client = useContext(Context);
  if (!client) throw new Error('There is no <MilepostProvider> around this component.');
  return client;
}

/** The same, and from now on it is connected: nobody pays for a connection before something live is shown. */
export function useStarted(needed = true): Client {
  const client = useMilepost();
  useEffect(() => {
    if (needed) client.start();
  }, [client, needed]);
  return client;
}
