import { useEffect, useRef, useState } from 'react';
import { type Bom, type Row, readRows } from './server.ts';

const PAUSES = [1000, 2000, 5000, 10_000];

/**
 * What a run has found so far. The job says how far it is (`far`), and whatever is new is then read: nothing is missed
 * where several parts come as one piece of news, and nothing is asked while none comes.
 */
export function useRows(bom: Bom, attempt: number, far: number): readonly Row[] {
  const known = bom.attempt === attempt ? bom.rows : [];
  const key = `${bom.id} ${attempt}`;
  const [held, hold] = useState({ key, rows: known });
  const goal = useRef(far);
  goal.current = far;
  const first = useRef(known);
  first.current = known;
  const read = useRef(() => {});

  useEffect(() => {
    const [id, attempt] = key.split(' ') as [string, string];
    const { signal, abort } = stopper();
    let rows = first.current;
    let failed = 0;
    let reading = false;

    async function readOn(): Promise<void> {
      for (let asked = -1; goal.current > rows.length && goal.current !== asked; ) {
        asked = goal.current;
        const answer = await readRows(id, Number(attempt), rows.length, signal);
        if (answer.ok) {
          failed = 0;
          rows = [...rows, ...answer.value.rows];
          hold({ key, rows });
        } else {
          asked = -1;
          const pause = PAUSES[Math.min(failed++, PAUSES.length - 1)];
          await new Promise((resolve) => setTimeout(resolve, pause));
          signal.throwIfAborted();
        }
      }
    }

    read.current = () => {
      if (reading) return;
      reading = true;
      readOn()
        .catch(() => {}) // it is about another run now
        .finally(() => {
          reading = false;
        });
    };
    read.current();
    return abort;
  }, [key]);

  useEffect(() => read.current(), [far]);

  return held.key === key ? held.rows : known;
}

function stopper() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}
