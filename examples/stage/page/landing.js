// Kills the hub and says when it answers again.

(() => {
  const button = document.querySelector('#kill');
  const state = document.querySelector('#hub-state');
  button?.addEventListener('click', async () => {
    if (button.getAttribute('aria-disabled')) return;
    button.setAttribute('aria-disabled', 'true');
    state.textContent = 'The hub is gone…';
    const begun = performance.now();
    await fetch('kill', { method: 'POST' }).catch(() => null);
    while (!(await fetch('readyz').catch(() => null))?.ok)
      await new Promise((resolve) => setTimeout(resolve, 200));
    state.textContent = `It is back, after ${((performance.now() - begun) / 1000).toFixed(1)} s.`;
    button.removeAttribute('aria-disabled');
  });
})();
