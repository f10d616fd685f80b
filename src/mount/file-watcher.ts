import { watch } from 'chokidar';

export interface FileWatch {
  close(): Promise<void>;
}

export interface WatchOptions {
  /** @default 1000 */
  readonly intervalMs?: number;
  /** Told of errors of watching, which go on; a missed change only delays what it would have caused. */
  readonly failed?: (error: unknown) => void;
}

/**
 * Calls `changed` after a local file got other content, appeared or vanished; not for what is there at the start.
 *
 * By polling: a cluster changes a file by turning a symbolic link in another folder, of which inotify on the file
 * hears nothing. Never for files of the volume: see decision 0009.
 */
export function watchFile(path: string, changed: () => void, options: WatchOptions = {}): FileWatch {
  const { intervalMs = 1000, failed = () => undefined } = options;
  const watcher = watch(path, {
    usePolling: true,
    interval: intervalMs,
    ignoreInitial: true,
    persistent: false,
  });
  for (const event of ['add', 'change', 'unlink'] as const) watcher.on(event, changed);
  watcher.on('error', failed);
  return { close: () => watcher.close() };
}
