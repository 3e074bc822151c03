import type { Client, Unsubscribe } from '../core/types.ts';
import { attachBell } from '../ui/bell.ts';
import { attachConnection } from '../ui/connection.ts';
import { all } from '../ui/dom.ts';
import { attachInbox } from '../ui/inbox.ts';
import type { Labels } from '../ui/labels.ts';
import { MilepostElement } from './element.ts';

type Attach = typeof attachBell;

/** What the server has put in, a link to a page of notifications for one, stays until the client has more to show. */
function fill(target: Element, client: Client, attach: Attach, labels: Partial<Labels>) {
  const store = client.notifications;
  let end: Unsubscribe | undefined;
  const look = () => {
    if (end || (target.innerHTML.trim() && store.getSnapshot().status !== 'ready')) return;
    target.replaceChildren();
    end = attach(client, target, { labels });
  };
  const unsubscribe = store.subscribe(look);
  look();
  return all(unsubscribe, () => end?.());
}

export class BellElement extends MilepostElement {
  protected attach(client: Client, labels: Partial<Labels>): Unsubscribe {
    return fill(this, client, attachBell, labels);
  }
}

export class InboxElement extends MilepostElement {
  protected attach(client: Client, labels: Partial<Labels>): Unsubscribe {
    return fill(this, client, attachInbox, labels);
  }
}

export class ConnectionElement extends MilepostElement {
  protected attach(client: Client, labels: Partial<Labels>): Unsubscribe {
    this.replaceChildren();
    return attachConnection(client, this, { labels });
  }
}
