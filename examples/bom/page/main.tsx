import { createClient } from 'milepost';
import { MilepostProvider } from 'milepost/react';
import { shareTabs } from 'milepost/share';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app.tsx';
import { fetchSignedIn, type PageState } from './server.ts';

const element = (id: string) => document.getElementById(id) as HTMLElement;
const state = JSON.parse(element('state').textContent ?? '') as PageState;

// The cookies are the browser's: signed in to another organisation in one tab, it is so in all of them.
const KEY = 'bom:organization';
addEventListener('storage', ({ key, newValue }) => {
  if (key === KEY && newValue !== state.organization) location.reload();
});
if (localStorage.getItem(KEY) !== state.organization) localStorage.setItem(KEY, state.organization);

const client = createClient({
  baseUrl: new URL('.', location.href),
  // A person is somebody else in each organisation, to whom nothing of the other one is shown.
  userKey: `${state.organization}/${state.user}`,
  share: shareTabs,
  env: { fetch: fetchSignedIn },
});

createRoot(element('app')).render(
  <StrictMode>
    <MilepostProvider client={client}>
      <App state={state} />
    </MilepostProvider>
  </StrictMode>,
);
