import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { temporaryFolder } from '../harness/temporary-volume.ts';

/**
 * Makes every open() of `path` in this process hang as on a dead mount: its thread of libuv's pool stands in read(2) on
 * a FIFO that nobody writes to. Calls return when the result is called, and then do what they were to do.
 */
export function hangOpensOf(t: { teardown: (work: () => void) => void }, path: string): () => void {
  const fifo = `${temporaryFolder(t)}/fifo`;
  execFileSync('mkfifo', [fifo]);
  const fd = fs.openSync(fifo, fs.constants.O_RDWR);
  const open = fs.open;
  let waiting = 0;
  type Opened = (error: NodeJS.ErrnoException | null, fd: number) => void;
  const hanging = (opened: string, flags: number | string, mode: number, done: Opened): void => {
    if (opened !== path) return open(opened, flags, mode, done);
    waiting += 1;
    fs.read(fd, Buffer.alloc(1), 0, 1, null, () => open(opened, flags, mode, done));
  };
  Object.assign(fs, { open: hanging });
  syncBuiltinESMExports();
  const release = (): void => {
    Object.assign(fs, { open });
    syncBuiltinESMExports();
    for (; waiting > 0; waiting -= 1) fs.writeSync(fd, 'x');
  };
  t.teardown(() => {
    release();
    fs.closeSync(fd);
  });
  return release;
}

/** The same for a runner in a process of its own: a module for `node --require`, which never lets go. */
export function hangingModule(folder: string, path: string): string {
  const module = `${folder}/hang.cjs`;
  const fifo = `${folder}/hang.fifo`;
  execFileSync('mkfifo', [fifo]);
  fs.writeFileSync(
    module,
    `const fs = require('node:fs'); const open = fs.open;
     const fd = fs.openSync(${JSON.stringify(fifo)}, fs.constants.O_RDWR);
     fs.open = (path, ...rest) => path === ${JSON.stringify(path)}
       ? fs.read(fd, Buffer.alloc(1), 0, 1, null, () => undefined)
       : open(path, ...rest);`,
  );
  return module;
}
