import { attachAnalytics } from './analytics/index.ts';
import { createClient } from './core/client.ts';
import type { Client, Unsubscribe } from './core/types.ts';
import { setDefaultClient } from './elements/index.ts';
import { page } from './elements/page.ts';
import { attachDomEvents } from './htmx/index.ts';
import { shareTabs } from './share/index.ts';
import { ended } from './store/jobs.ts';
import { attachBell } from './ui/bell.ts';
import { attachConnection } from './ui/connection.ts';

/** How many jobs `data-track` holds on to, those that are under way aside. */
const MAX_HELD = 50;

/**
 * One tag is enough: `<script src="/milepost.js" data-auto>` connects with the page's cookie, shows
 * toasts, fires the window events and is the client of all Milepost elements, whenever they come (and of what has
 * `data-milepost-bell` or `data-milepost-connection` when the page is there). The server is where the script came
 * from. A second such script is the first one's. `Milepost.client` is there at once. Further attributes: `data-track`
 * (a toast for every job of this user's that is under way, whoever started it), `data-user-key` (scopes what is
 * stored), `data-login-url`, and `data-analytics` (tells the server how the connection does).
 */
export function auto(script: Element | null): Client | undefined {
  if (!(script instanceof HTMLScriptElement) || script.dataset.auto === undefined) return undefined;
  if (page.auto && page.auto.connection.getSnapshot().status !== 'closed') return page.auto;
  const { userKey, loginUrl, analytics, track } = script.dataset;
  const client = createClient({
    baseUrl: new URL('.', script.src),
    share: shareTabs,
    ...(userKey && { userKey }),
    ...(loginUrl && { loginUrl }),
  });
  page.auto = client;
  const style = new URL('milepost.css', script.src).href;
  const present = [...document.querySelectorAll('link')].some(({ href }) => href === style);
  if (!present) {
    const link = document.createElement('link');
    link.rel = 'stylesheet';
    link.href = style;
    document.head.append(link);
  }
  const begin = () => {
    if (track !== undefined) trackAll(client);
    setDefaultClient(client);
    attachDomEvents(client);
    for (const target of document.querySelectorAll('[data-milepost-bell]'))
      attachBell(client, target);
    for (const target of document.querySelectorAll('[data-milepost-connection]'))
      attachConnection(client, target);
    if (analytics !== undefined) {
      const url = new URL('api/client-reports', script.src);
      attachAnalytics(client, { url, ...(userKey && { userKey }) });
    }
    client.start();
  };
  if (document.readyState === 'loading')
    document.addEventListener('DOMContentLoaded', begin, { once: true });
  else begin();
  return client;
}

/** Follows what is under way and what begins. What has ended is held on to, so that a reload shows how. */
function trackAll(client: Client): void {
  const tracks = new Map<string, Unsubscribe>();
  const look = () => {
    for (const job of client.jobs.getSnapshot())
      if (!ended(job) && !job.tracked) tracks.set(job.id, client.job(job.id).track());
    for (const [id, untrack] of tracks) {
      if (tracks.size <= MAX_HELD) break;
      if (!ended(client.job(id).getSnapshot())) continue;
      tracks.delete(id);
      untrack();
    }
  };
  client.jobs.subscribe(look);
  look();
}
