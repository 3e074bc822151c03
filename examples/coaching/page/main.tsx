import { MilepostProvider, Toaster } from 'milepost/react';
import { shareTabs } from 'milepost/share';
import { StrictMode, useEffect, useSyncExternalStore } from 'react';
import { createRoot } from 'react-dom/client';
import { Desk } from './desk.tsx';
import { forget, getCoach, getToken, HERE, subscribe } from './session.ts';
import { SignIn } from './sign-in.tsx';
import { root } from './words.ts';

const LEVELS = ['info', 'success', 'warning', 'error'] as const;

function App() {
  const coach = useSyncExternalStore(subscribe, getCoach);
  useEffect(() => {
    addEventListener('milepost:signed-out', forget);
    return () => removeEventListener('milepost:signed-out', forget);
  }, []);
  if (coach === undefined) return null;
  if (!coach) return <SignIn />;
  return (
    <MilepostProvider
      key={coach}
      baseUrl={HERE}
      userKey={`coaching:${coach}`}
      getToken={getToken}
      share={shareTabs}
    >
      <Toaster toastLevels={LEVELS} />
      <Desk coach={coach} />
    </MilepostProvider>
  );
}

createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
