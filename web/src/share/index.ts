export type { Share } from './share.ts';
export { shareTabs } from './tabs.ts';
