import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Gone } from '../../src/core/types.ts';
import { createVersions, type Versions } from '../../src/store/versions.ts';

type Doc = { id: string; rev: number };
const doc: fc.Arbitrary<Doc | Gone> = fc
  .record({ id: fc.constantFrom('a', 'b', 'c'), rev: fc.integer({ min: 1, max: 30 }) })
  // One revision is one state: whether it is "gone" follows from it.
  .map(({ id, rev }) => (rev % 5 === 0 ? { id, rev, gone: true as const } : { id, rev }));

const newest = (docs: readonly (Doc | Gone)[]) => {
  const best = new Map<string, Doc | Gone>();
  for (const d of docs) if (d.rev > (best.get(d.id)?.rev ?? 0)) best.set(d.id, d);
  return [...best.values()].filter((d) => !('gone' in d)).sort((a, b) => (a.id < b.id ? -1 : 1));
};
const state = (versions: Versions<Doc>) =>
  [...versions.docs.values()].sort((a, b) => (a.id < b.id ? -1 : 1));

test('any order, any repetition: the newest revision of each document is what remains', () => {
  fc.assert(
    fc.property(fc.array(doc, { maxLength: 40 }), (docs) => {
      const versions = createVersions<Doc>();
      for (const d of docs) versions.put(d);
      expect(state(versions)).toEqual(newest(docs));
    }),
  );
});

test('a duplicate or an older copy reports no change', () => {
  fc.assert(
    fc.property(fc.array(doc, { maxLength: 30 }), fc.nat(29), (docs, pick) => {
      const versions = createVersions<Doc>();
      for (const d of docs) versions.put(d);
      const again = docs[pick % Math.max(docs.length, 1)];
      if (again) expect(versions.put(again)).toBe(false);
    }),
  );
});

test('after a reset anything replaces what is shown, and what did not come again goes', () => {
  fc.assert(
    fc.property(fc.array(doc), fc.array(doc), (before, after) => {
      const versions = createVersions<Doc>();
      for (const d of before) versions.put(d);
      versions.reset();
      // What was there stays on screen meanwhile.
      expect(state(versions)).toEqual(newest(before));
      for (const d of after) versions.put(d);
      versions.settle();
      expect(state(versions)).toEqual(newest(after));
    }),
  );
});
