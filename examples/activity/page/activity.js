// The pages are the server's. This only says when a part of one is to be read again, and shows what belongs to no page:
// toasts, the bell, and how the page is kept up to date.

(async () => {
  const $ = (selector) => document.querySelector(selector);
  const { root, visitor } = document.body.dataset;

  // The hub's token lives for an hour; the page's own session makes a new one whenever the hub refuses the old one.
  async function fetchSignedIn(input, init) {
    const answer = await fetch(input, init);
    if (answer.status !== 401) return answer;
    const renewed = await fetch(`${root}/session`, { method: 'POST' });
    return renewed.ok ? fetch(input, init) : answer;
  }

  // --- times and news in what the server made -----------------------------------------------------------------------

  const shown = new Intl.DateTimeFormat([], { dateStyle: 'medium', timeStyle: 'short' });
  const today = new Intl.DateTimeFormat([], { timeStyle: 'short' });

  function localise(part) {
    for (const time of part.querySelectorAll('time[datetime]')) {
      const moment = new Date(time.dateTime);
      const format = moment.toDateString() === new Date().toDateString() ? today : shown;
      time.textContent = format.format(moment);
    }
  }
  localise(document);

  const idsIn = (part) => new Set([...part.querySelectorAll('[id]')].map(({ id }) => id));
  const before = new WeakMap();
  const on = (type, hear) => document.body.addEventListener(type, hear);

  on('htmx:beforeSwap', ({ detail }) => before.set(detail.target, idsIn(detail.target)));
  on('htmx:afterSwap', ({ detail }) => {
    localise(document.body);
    const known = before.get(detail.target);
    if (!known) return;
    // What was not there a moment ago says so, once.
    for (const entry of detail.target.querySelectorAll('li[id], section[id]'))
      if (!known.has(entry.id)) entry.classList.add('is-new');
  });

  // --- what HTMX could not do ---------------------------------------------------------------------------------------

  const AGAIN_MS = 2000;
  const missed = new Set();
  let client = null;

  function isLive() {
    return ['polling', 'connected'].includes(client?.connection.getSnapshot().status);
  }

  function readMissed() {
    if (!isLive()) return; // as soon as it is
    const parts = [...missed];
    missed.clear();
    for (const part of parts) part.dispatchEvent(new Event('again'));
  }

  function newKey() {
    const random = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  function tell(what, problems) {
    const list = document.createElement('ul');
    for (const problem of problems) {
      const item = document.createElement('li');
      item.textContent = problem;
      list.append(item);
    }
    const head = document.createElement('p');
    head.textContent = what;
    $('#trouble').replaceChildren(head, list);
    $('#trouble').hidden = false;
  }

  function failed({ detail: { elt, xhr, requestConfig } }) {
    if (requestConfig.verb === 'get' && !(xhr.status >= 400 && xhr.status < 500)) {
      missed.add(elt);
      setTimeout(readMissed, AGAIN_MS);
      return;
    }
    let problems = ['The server does not answer. Try again in a moment.'];
    try {
      problems = JSON.parse(xhr.responseText).problems ?? problems;
    } catch {}
    tell(
      requestConfig.verb === 'get' ? 'This could not be read again.' : 'That did not work.',
      problems,
    );
  }
  on('htmx:responseError', failed);
  on('htmx:sendError', failed);
  on('htmx:configRequest', ({ detail }) => {
    if (detail.verb === 'get') return;
    $('#trouble').hidden = true;
    // Each press is a request of its own; the page's key is for a form that is sent without a script.
    if (detail.parameters.key) detail.parameters.key = newKey();
  });

  // --- the hub ------------------------------------------------------------------------------------------------------

  // The server says who streams and who polls; asked first, so that nothing is tried that it would refuse.
  const config = await fetchSignedIn(`${root}/api/client-config`).catch(() => null);
  const { transports } = config?.ok ? await config.json() : { transports: ['long-poll', 'poll'] };
  client = Milepost.createClient({
    baseUrl: new URL(`${root}/`, document.baseURI),
    userKey: visitor,
    transports,
    env: { fetch: fetchSignedIn },
  });
  Milepost.attachToasts(client);
  Milepost.attachBell(client, $('#bell'));
  Milepost.attachConnection(client, $('#connection'));
  Milepost.attachDomEvents(client, {
    documentUrl: `${root}/documents/{document_id}`,
    jobUrl: `${root}/jobs/{job_id}`,
  });

  // A toast for every job that is under way, on whichever page it was begun.
  const LIVE = new Set(['queued', 'running', 'stalled']);
  client.jobs.subscribe(() => {
    for (const job of client.jobs.getSnapshot())
      if (LIVE.has(job.state) && !job.tracked) client.job(job.id).track();
  });

  // --- how the page is kept up to date ------------------------------------------------------------------------------

  const title = document.title;
  const freshness = $('#freshness');
  function say(text) {
    freshness.className = '';
    freshness.textContent = text;
  }

  let since = null;
  function drawConnection() {
    const { paused } = client.connection.getSnapshot();
    const hidden = paused.includes('hidden');
    if (hidden && !since) {
      since = new Date();
      document.title = `⏸ ${title}`;
      say(`Paused while hidden since ${today.format(since)}`);
    } else if (!hidden && since && isLive()) {
      const seconds = Math.round((Date.now() - since) / 1000);
      const span = seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
      since = null;
      document.title = title;
      say(`Paused while hidden for ${span}; caught up at ${today.format(new Date())}`);
    }
    if (isLive() && freshness.matches('.as-of')) say('');
    readMissed();
  }
  client.connection.subscribe(drawConnection);
  $('#sign-out').addEventListener('submit', () => client.close({ forget: true }));
  client.start();
})();
