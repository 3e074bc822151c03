import { createClient } from 'milepost';
import { MilepostProvider } from 'milepost/react';
import { shareTabs } from 'milepost/share';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app.tsx';
import { type PageState, renew } from './server.ts';

const element = (id: string) => document.getElementById(id) as HTMLElement;
const state = JSON.parse(element('state').textContent ?? '') as PageState;

// A browser is signed in to one organisation: where a tab changes it, the others go along.
const KEY = 'bom:organization';
addEventListener('storage', ({ key, newValue }) => {
  if (key === KEY && newValue !== state.organization) location.reload();
});
if (localStorage.getItem(KEY) !== state.organization) localStorage.setItem(KEY, state.organization);

let { token } = state as { token: string | null };
const client = createClient({
  baseUrl: new URL('.', location.href),
  // A person is somebody else in each organisation, to whom nothing of the other one is shown.
  userKey: `${state.organization}/${state.user}`,
  share: shareTabs,
  async getToken(reason, signal) {
    if (reason === 'expired') token = await renew(state.organization, signal);
    return token;
  },
  loginUrl: './',
});

createRoot(element('app')).render(
  <StrictMode>
    <MilepostProvider client={client}>
      <App state={state} />
    </MilepostProvider>
  </StrictMode>,
);
