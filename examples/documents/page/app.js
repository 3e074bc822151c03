// The page: the form's fields into one request, and the visitor's jobs as cards that follow the hub. No framework.

(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const form = $('#form');
  const visitor = document.body.dataset.visitor;

  // --- the hub ----------------------------------------------------------------------------------------------------

  // The hub's token lives for an hour; the page's own session makes a new one whenever the hub refuses the old one.
  async function fetchSignedIn(input, init) {
    const answer = await fetch(input, init);
    if (answer.status !== 401) return answer;
    const renewed = await fetch('session', { method: 'POST' });
    return renewed.ok ? fetch(input, init) : answer;
  }

  const client = Milepost.createClient({
    baseUrl: document.baseURI,
    userKey: visitor,
    env: { fetch: fetchSignedIn },
  });

  // The same toasts by either renderer; the choice is this browser's.
  let detachToasts = () => {};
  function chooseToasts(renderer) {
    localStorage.setItem('casefile-toasts', renderer);
    $(`[name="toasts"][value="${renderer}"]`).checked = true;
    detachToasts();
    detachToasts = Milepost.attachToasts(
      client,
      renderer === 'notyf' ? { renderer: Milepost.notyfToasts(Notyf) } : {},
    );
  }
  for (const choice of $$('[name="toasts"]'))
    choice.addEventListener('change', () => chooseToasts(choice.value));
  chooseToasts(localStorage.getItem('casefile-toasts') === 'notyf' ? 'notyf' : 'own');
  Milepost.attachBell(client, $('#bell'));
  Milepost.attachConnection(client, $('#connection'));

  // --- jobs -------------------------------------------------------------------------------------------------------

  const STATES = {
    unknown: 'Sent',
    queued: 'Queued',
    running: 'Running',
    stalled: 'Stalled',
    completed: 'Ready',
    failed: 'Failed',
    cancelled: 'Cancelled',
  };
  const LIVE = new Set(['unknown', 'queued', 'running', 'stalled']);
  const cards = new Map(); // job id → its card
  const older = new Map(); // job id → the job, from before the client's own snapshot reaches

  function plural(count, word) {
    return `${count.toLocaleString()} ${word}${count === 1 ? '' : 's'}`;
  }

  function left(seconds) {
    return seconds < 90
      ? `about ${Math.max(1, Math.ceil(seconds))} s left`
      : `about ${Math.ceil(seconds / 60)} min left`;
  }

  function message(job) {
    switch (job.state) {
      case 'failed':
        return job.error?.message || 'It failed.';
      case 'queued':
        return 'Waiting for a worker';
      case 'stalled':
        return 'The worker has not reported for a while';
      case 'unknown':
        return 'Waiting for the server';
      case 'cancelled':
        return 'Cancelled on your request';
      default:
        return job.message;
    }
  }

  function numbers(job) {
    if (job.state !== 'running' && job.state !== 'stalled') return '';
    if (job.total === null) return `${plural(job.current, 'step')} so far`;
    const rest =
      job.state === 'running' && job.eta_seconds !== null ? ` · ${left(job.eta_seconds)}` : '';
    return `${job.current} of ${job.total}${rest}`;
  }

  function when(job) {
    const time = new Date(job.created_at);
    const today = time.toDateString() === new Date().toDateString();
    return time.toLocaleString(
      [],
      today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' },
    );
  }

  // Writes only what differs: a state that is told twice changes nothing on the screen.
  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function setAttribute(element, name, value) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }

  function makeCard(id) {
    const card = $('#job-template').content.firstElementChild.cloneNode(true);
    card.dataset.jobId = id;
    const title = $('.job-title', card);
    title.id = `job-${id}`;
    $('progress', card).setAttribute('aria-labelledby', title.id);
    for (const control of $$('[data-download], [data-cancel]', card)) {
      control.id = `${id}-${control.localName}`;
      control.setAttribute('aria-labelledby', `${control.id} ${title.id}`);
    }
    $('[data-cancel]', card).addEventListener('click', () => cancel(id));
    return card;
  }

  function draw(card, job) {
    const live = LIVE.has(job.state);
    setAttribute(card, 'data-state', job.state);
    const [what, whose = ''] = (job.title || 'Documents').split(' · ', 2);
    setText($('.job-title', card), what);
    setText($('.job-case', card), whose);
    setText($('.job-code', card), (job.state === 'failed' && job.error?.code) || '');
    setText($('.state', card), STATES[job.state]);
    setText($('.job-message', card), message(job));
    setText($('.job-numbers', card), numbers(job));
    const bar = $('progress', card);
    $('.job-bar', card).hidden = !live;
    setAttribute(bar, 'max', job.total ?? 1);
    setAttribute(
      bar,
      'value',
      job.state === 'queued' ? 0 : job.total === null ? null : job.current,
    );
    const download = $('[data-download]', card);
    const href = job.output_url?.startsWith('/documents/files/') ? job.output_url : null;
    download.hidden = job.state !== 'completed' || href === null;
    setAttribute(download, 'href', href);
    $('[data-cancel]', card).hidden = !live || job.state === 'unknown';
    const time = $('time', card);
    setAttribute(time, 'datetime', job.created_at || null);
    setText(time, job.created_at ? when(job) : '');
  }

  function drawJobs() {
    const jobs = new Map(older);
    for (const job of client.jobs.getSnapshot()) {
      if (job.kind !== 'document' && job.state !== 'unknown') continue;
      if (job.state === 'gone') jobs.delete(job.id);
      else if (!jobs.has(job.id) || jobs.get(job.id).rev <= job.rev || job.state === 'unknown')
        jobs.set(job.id, job);
    }
    const newest = [...jobs.values()].sort((a, b) =>
      (b.created_at || '~').localeCompare(a.created_at || '~'),
    );
    const list = $('#jobs');
    newest.forEach((job, index) => {
      if (!cards.has(job.id)) cards.set(job.id, makeCard(job.id));
      const card = cards.get(job.id);
      draw(card, job);
      if (list.children[index] !== card) list.insertBefore(card, list.children[index] ?? null);
    });
    for (const [id, card] of cards) {
      if (jobs.has(id)) continue;
      card.remove();
      cards.delete(id);
    }
    $('#no-jobs').hidden = newest.length > 0;
  }

  async function readOlder() {
    const answer = await fetchSignedIn('api/jobs?kind=document&limit=30').catch(() => null);
    if (!answer?.ok) return;
    for (const job of (await answer.json()).jobs) older.set(job.id, job);
    drawJobs();
  }

  async function cancel(id) {
    const button = $('[data-cancel]', cards.get(id));
    setAttribute(button, 'aria-disabled', 'true');
    const answer = await fetch(`jobs/${encodeURIComponent(id)}/cancel`, { method: 'POST' }).catch(
      () => null,
    );
    setAttribute(button, 'aria-disabled', null);
    if (!answer?.ok) showProblems('The job could not be cancelled.', await problemsOf(answer));
  }

  client.jobs.subscribe(drawJobs);
  const linked = new URLSearchParams(location.search).get('job');
  if (linked) client.job(linked).track();
  client.start();
  drawJobs();
  readOlder();

  // --- the form ---------------------------------------------------------------------------------------------------

  const lines = (text) =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean);

  function readEntry(line) {
    const cut = line.lastIndexOf('|');
    return cut < 0
      ? { title: line, detail: '' }
      : { title: line.slice(0, cut).trim(), detail: line.slice(cut + 1).trim() };
  }

  function readCase() {
    const data = {};
    for (const field of $$('.fields [name], .more [name]', form)) {
      const list = field.dataset.list;
      if (list === undefined) data[field.name] = field.value;
      else
        data[field.name] =
          list === 'detail' ? lines(field.value).map(readEntry) : lines(field.value);
    }
    return data;
  }

  function fillCase(data) {
    const oneLine = (text) => text.replaceAll('\n', ' ');
    for (const field of $$('.fields [name], .more [name]', form)) {
      const value = data[field.name];
      if (field.dataset.list === 'detail')
        field.value = value
          .map(({ title, detail }) => oneLine(detail ? `${title} | ${detail}` : title))
          .join('\n');
      else if (field.dataset.list !== undefined) field.value = value.map(oneLine).join('\n');
      else field.value = value;
    }
    drawForm();
  }

  function drawForm() {
    for (const count of $$('[data-count]'))
      setText(count, String(lines($(`#${count.dataset.count}`).value).length));
    for (const copy of $$('[data-text]')) setText(copy, $(`#${copy.dataset.text}`).value);
    const boxes = $$('[name="kinds"]', form);
    $('#own').hidden = !boxes.find((box) => box.value === 'custom').checked;
    const chosen = boxes
      .filter((box) => box.checked)
      .map((box) => $('.kind-label', box.parentElement).textContent);
    setText(
      $('#chosen'),
      chosen.length > 3
        ? `${chosen.slice(0, 2).join(', ')} and ${chosen.length - 2} more`
        : chosen.join(', '),
    );
    const ours = boxes.filter((box) => box.value !== 'custom');
    setText($('#all-kinds'), ours.every((box) => box.checked) ? 'Choose none' : 'Choose all');
  }

  async function problemsOf(answer) {
    if (!answer) return ['The server cannot be reached. Try again in a moment.'];
    const body = await answer.json().catch(() => ({}));
    return body.problems ?? [`The server answered ${answer.status}. Try again in a moment.`];
  }

  function showProblems(heading, problems) {
    const box = $('#problems');
    const list = document.createElement('ul');
    for (const problem of problems) {
      const item = document.createElement('li');
      item.textContent = problem;
      list.append(item);
    }
    const head = document.createElement('p');
    head.textContent = heading;
    box.replaceChildren(head, list);
    box.hidden = false;
    box.focus();
  }

  function markMissing() {
    const missing = $$('[required]', form).filter((field) => {
      const empty = !field.value.trim();
      setAttribute(field, 'aria-invalid', empty ? 'true' : null);
      return empty;
    });
    for (const field of missing) field.closest('details')?.setAttribute('open', '');
    return missing.map((field) => `“${field.labels[0].firstChild.textContent.trim()}” is missing.`);
  }

  // A form whose answer got lost is sent again under the same key, so that it never becomes two jobs.
  async function send(body) {
    for (const pause of [500, 1000, 2000, 4000, 8000, null]) {
      const answer = await fetch('jobs', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      }).catch(() => null);
      if ((answer && answer.status < 500) || pause === null) return answer;
      setText($('#submit-note'), 'The server does not answer; sending again…');
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    return null;
  }

  async function submit(event) {
    event.preventDefault();
    const button = $('#submit');
    if (button.getAttribute('aria-disabled')) return;
    $('#problems').hidden = true;
    const missing = markMissing();
    if (missing.length) {
      showProblems('The case is not complete.', missing);
      return;
    }
    button.setAttribute('aria-disabled', 'true');
    setText($('#submit-note'), '');
    const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) =>
      n.toString(16).padStart(2, '0'),
    ).join('');
    const chosen = (name) => $$(`[name="${name}"]:checked`, form).map((field) => field.value);
    const answer = await send(
      JSON.stringify({
        key,
        case: readCase(),
        kinds: chosen('kinds'),
        template: $('#template').value,
        pace: Number(chosen('pace')[0]),
        target: chosen('target')[0],
      }),
    );
    button.removeAttribute('aria-disabled');
    setText($('#submit-note'), '');
    if (answer?.ok) client.job((await answer.json()).job_id).track();
    else showProblems('Nothing was generated.', await problemsOf(answer));
  }

  async function upload({ target }) {
    const [file] = target.files;
    if (!file) return;
    target.value = ''; // the same file, repaired, may be chosen again
    const answer = await fetch(`case?name=${encodeURIComponent(file.name)}`, {
      method: 'POST',
      body: file,
    }).catch(() => null);
    if (answer?.ok) {
      fillCase(await answer.json());
      $('#problems').hidden = true;
      setText($('#source'), `Filled in from ${file.name}. Look it over, then generate.`);
    } else showProblems(`${file.name} cannot be used.`, await problemsOf(answer));
  }

  async function chooseTemplate(text) {
    $('#template').value = await text;
    $('#template').focus();
  }

  form.addEventListener('submit', submit);
  form.addEventListener('input', drawForm);
  $('#case-file').addEventListener('change', upload);
  $('#template-file').addEventListener('change', ({ target }) => {
    if (target.files[0]) chooseTemplate(target.files[0].text());
    target.value = '';
  });
  for (const button of $$('[data-template]'))
    button.addEventListener('click', () =>
      chooseTemplate(fetch(button.dataset.template).then((answer) => answer.text())),
    );
  $('#all-kinds').addEventListener('click', () => {
    const ours = $$('[name="kinds"]', form).filter((box) => box.value !== 'custom');
    const all = ours.every((box) => box.checked);
    for (const box of ours) box.checked = !all;
    drawForm();
  });
  $('#sign-out').addEventListener('submit', () => client.close({ forget: true }));
  drawForm();
})();
