import type { ConnectionState } from '../core/types.ts';
import type { Delivery } from '../core/wire.ts';
import type { Held, Share, Sharer, Tabs } from './share.ts';

/** Without a word from the leader for so long, it is asked. */
const SILENCE_MS = 20_000;
/** Without an answer to two questions in a row, each for so long, a visible tab takes its place. */
const PATIENCE_MS = 1000;

/** What tabs tell each other; with `ask`, a follower's question, else the leader's news. */
interface Message {
  readonly ask?: 'state' | 'poke' | undefined;
  /** Which leadership; a later one is greater. */
  readonly leader: number;
  /** The leader numbers what it says; a follower says up to where it heard it. */
  readonly n: number;
  readonly cursor: string | null;
  readonly state: ConnectionState;
  /** The news since the message before, or everything. */
  readonly news: readonly Delivery[];
  readonly all: boolean;
}

/** How late one tab may see what another has written. */
const LATE_MS = 10_000;
/** What a tab shows that has not heard of the leader yet. */
const JOINING = { status: 'connecting' } as const;

const silent = { cursor: null, unread: null, asOf: null } as const;

/** All that a tab has, as if it came from the server. */
function whole({ cursor, live, jobs, notifications, readUpTo, unread, asOf }: Held): Delivery[] {
  return [
    { ...silent, type: 'reset', reason: '' },
    ...[...jobs.values()].map((job) => ({ ...silent, type: 'job', job }) as const),
    ...[...notifications.values()].map(
      (notification) => ({ ...silent, unread, asOf, type: 'notification', notification }) as const,
    ),
    { cursor: null, unread, asOf, type: 'inbox', readUpTo },
    { ...silent, cursor, type: live ? 'live' : 'heartbeat' },
  ];
}

/**
 * One tab of a browser connects, the others hear from it what it gets. A Web Lock says which: the browser
 * gives it to the next as soon as its holder has closed or crashed. Where there are no locks (insecure
 * origins), and without a name, every tab leads itself.
 */
export const shareTabs: Share = (client: Sharer): Tabs => {
  const locks = globalThis.navigator?.locks;
  const name = client.name && `milepost:1:${client.name}`;
  let leads = false;
  let shown: Partial<ConnectionState> | null = null;
  let leader = 0;
  let n = 0;
  /** The leadership that has been asked for everything and has not answered yet. */
  let asked = 0;
  /** A follower asked before the server had told this leader everything. */
  let owed = false;
  let channel: BroadcastChannel | undefined;
  let claim: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function show(state: typeof shown): void {
    shown = state;
    client.show();
  }

  function post(message: Partial<Message>): void {
    channel?.postMessage({ leader, n, ...message });
  }

  /** To who needs it, everything; but half of it, with what a reset leaves behind, would stay wrong. */
  function say(news: readonly Delivery[], needed = false): void {
    const held = client.held();
    owed ||= needed;
    const all = owed && held.live;
    if (all) owed = false;
    const { error, retryAt, ...state } = client.state();
    post({
      news: all ? whole(held) : news,
      all,
      cursor: held.cursor,
      state: {
        ...state,
        // Each tab counts from its own start.
        retryAt: retryAt && retryAt + performance.timeOrigin,
        // The cause may be anything, also what cannot be copied.
        error: error && { ...error, message: error.message, cause: undefined },
      },
    });
  }

  function tell(news: readonly Delivery[]): void {
    if (!leads) return;
    n += 1;
    say(news);
  }

  function watch(): void {
    clearTimeout(timer);
    timer = setTimeout(ask, SILENCE_MS, 'state');
  }

  function ask(what: Message['ask'], last = false): void {
    if (!channel) return;
    post({ ask: what });
    clearTimeout(timer);
    timer = setTimeout(() => {
      // It may be this tab that stood still: then the answer is there before the second time is over.
      if (!last) ask('state', true);
      else if (client.isVisible()) queue(true);
      else watch();
    }, PATIENCE_MS);
  }

  function hear(message: Message): void {
    const { ask: question, news, all, state } = message;
    const same = message.leader === leader;
    if (question) {
      if (!leads) return;
      if (question === 'poke') client.poke();
      return say([], !same || message.n !== n);
    }
    if (leads || message.leader < leader) return;
    watch();
    const { retryAt, error } = state;
    show({
      ...state,
      retryAt: retryAt && retryAt - performance.timeOrigin,
      error: error && Object.assign(new Error(), error),
    });
    const step = message.n - n;
    const continues = same ? step === 1 : !message.n && message.cursor === client.held().cursor;
    if (!all && !continues && !(same && !step)) {
      if (asked !== message.leader) ask('state');
      asked = message.leader;
      return;
    }
    asked = 0;
    if (!same || step) for (const delivery of news) client.deliver(delivery);
    ({ leader, n } = message);
  }

  function rise(): void {
    clearTimeout(timer);
    leads = true;
    owed = false;
    // A clock that was set back must not make it an earlier one.
    leader = Math.max(Date.now(), leader + 1);
    n = -1;
    tell([]);
    const transport = shown?.transport;
    show(null);
    client.lead(transport);
  }

  /** Waits for the lock, or takes it from a leader that does not answer. */
  function queue(steal: boolean): void {
    claim?.abort();
    const mine = new AbortController();
    const { signal } = mine;
    claim = mine;
    locks
      .request(name as string, steal ? { steal } : { signal }, () => {
        if (signal.aborted) return;
        rise();
        return new Promise((resolve) => {
          signal.onabort = resolve;
        });
      })
      .catch(({ name: why }: Error) => {
        if (signal.aborted) return;
        // Not even allowed to ask for it; else another tab has taken it.
        if (why !== 'AbortError') return rise();
        leads = false;
        client.follow();
        follow();
      });
  }

  function follow(): void {
    show(JOINING);
    queue(false);
    ask('state');
  }

  return {
    get leads() {
      return leads;
    },
    shown: () => shown,
    tell,
    poke() {
      if (leads) client.poke();
      else ask('poke');
    },
    join() {
      if (claim) return;
      if (name && locks) {
        channel = new BroadcastChannel(name);
        channel.onmessage = ({ data }) => hear(data);
        follow();
      } else {
        claim = new AbortController();
        rise();
      }
    },
    leave() {
      clearTimeout(timer);
      leads = false;
      shown = null;
      claim?.abort();
      channel?.close();
      claim = channel = undefined;
    },
    first: (id) =>
      new Promise((resolve) => {
        if (!channel) return resolve(true);
        // Twelve tabs hear of it in the same moment, before any of them can see what another has stored.
        const hold = (lock: Lock | null) => {
          resolve(!!lock);
          return lock && new Promise((end) => setTimeout(end, LATE_MS));
        };
        locks.request(`${name}:${id}`, { ifAvailable: true }, hold).catch(() => resolve(true));
      }),
  };
};
