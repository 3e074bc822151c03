import { page } from './page.ts';

const KEY = 'milepost:settled';
const MAX = 100;

/**
 * True once in this tab for each end, also over reloads: a page that reads itself again when a job ends has the same
 * ended job before it then.
 */
export function isNews(end: string): boolean {
  let { told } = page;
  try {
    told = JSON.parse(sessionStorage.getItem(KEY) ?? '[]');
  } catch {
    // Forbidden here: the page's own memory has to do.
  }
  if (told.includes(end)) return false;
  page.told = [...told, end].slice(-MAX);
  try {
    sessionStorage.setItem(KEY, JSON.stringify(page.told));
  } catch {
    // The same, or full.
  }
  return true;
}
