/** The client in React, 18 and 19. */
import { useJobProgress } from './job.ts';
import { slot } from './slot.ts';

export type * from '../core/types.ts';
export type {
  BellOptions,
  ConnectionOptions,
  InboxOptions,
  Labels,
  ToastOptions,
} from '../ui/index.ts';
export {
  Bell,
  ConnectionNotice,
  Inbox,
  JobProgress,
  type JobProgressProps,
  Toaster,
} from './components.ts';
export {
  type UseNotifications,
  type UseNotificationsOptions,
  useConnection,
  useJobs,
  useNotifications,
  useUnreadCount,
} from './hooks.ts';
export type { JobProblem, UseJobProgress, UseJobProgressOptions } from './job.ts';
export { MilepostProvider, type MilepostProviderProps, useMilepost } from './provider.ts';
export { useJobProgress };

slot.useJobProgress = useJobProgress;
