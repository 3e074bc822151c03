// The page: what is on it is in `app.tsx`.

import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app.tsx';

const target = document.querySelector('#app');
if (target)
  createRoot(target).render(
    <StrictMode>
      <App visitor={document.body.dataset.visitor ?? ''} />
    </StrictMode>,
  );
