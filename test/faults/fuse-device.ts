import { spawn } from 'node:child_process';
import { closeSync, openSync, read, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { answerFor, MAX_WRITE_BYTES, parseRequest, type FuseRequest } from './fuse-wire.ts';
import { errnoOf } from './system-error.ts';

const reading = promisify(read);
/** The kernel asks for room for the largest write and its header. */
const REQUEST_BYTES = MAX_WRITE_BYTES + 4096;
const [ENOENT, EINTR, EAGAIN, ENODEV] = [2, 4, 11, 19];
const MOUNT_OPTIONS = 'rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,max_read=131072';

/** The kernel's end of a file system that lives in this process. */
export class FuseDevice {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Mounts at `folder`; whoever looks there waits until `serve` is called.
   *
   * mount(8) hands our open device to the kernel as `fd=`, so that no library is needed.
   */
  static async mount(folder: string): Promise<FuseDevice> {
    const fd = openSync('/dev/fuse', 'r+');
    const options = `fd=3,${MOUNT_OPTIONS}`;
    const ended = await command(
      'mount',
      ['-i', '-t', 'fuse.faults', '-o', options, 'longshore-faults', folder],
      fd,
    );
    if (ended === '') return new FuseDevice(fd);
    closeSync(fd);
    throw new Error(`cannot mount at ${folder}: ${ended}`);
  }

  /** Answers requests until the file system is unmounted. A request does not wait for the answer of another one. */
  async serve(answer: (request: FuseRequest) => Promise<Buffer | undefined>): Promise<void> {
    const bytes = Buffer.alloc(REQUEST_BYTES);
    for (;;) {
      try {
        const { bytesRead } = await reading(this.#fd, bytes, 0, bytes.length, null);
        void this.#settle(parseRequest(bytes.subarray(0, bytesRead)), answer);
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === ENODEV) return;
        // ENOENT: the call was interrupted before we saw it.
        if (errno !== ENOENT && errno !== EINTR && errno !== EAGAIN) throw error;
      }
    }
  }

  async #settle(
    request: FuseRequest,
    answer: (request: FuseRequest) => Promise<Buffer | undefined>,
  ): Promise<void> {
    try {
      const body = await answer(request);
      if (body !== undefined) this.#write(answerFor(request.unique, 0, body));
    } catch (error) {
      this.#write(answerFor(request.unique, errnoOf(error)));
    }
  }

  #write(bytes: Buffer): void {
    try {
      writeSync(this.#fd, bytes);
    } catch (error) {
      // ENOENT: whoever asked is gone; ENODEV: so is the mount.
      const errno = errnoOf(error);
      if (errno !== ENOENT && errno !== ENODEV) throw error;
    }
  }
}

/** Takes the mount at `folder` away, from whoever still uses it, too. May be repeated. */
export async function unmount(folder: string): Promise<void> {
  const ended = await command('umount', ['-l', folder]);
  if (ended !== '' && !/not mounted|no mount point/.test(ended)) {
    throw new Error(`cannot unmount ${folder}: ${ended}`);
  }
}

/** Runs a program, with `fd` as its descriptor 3; what it said where it failed, and nothing else. */
async function command(program: string, args: readonly string[], fd?: number): Promise<string> {
  const stdio = ['ignore', 'ignore', 'pipe', ...(fd === undefined ? [] : [fd])] as const;
  const child = spawn(program, args, { stdio: [...stdio], cwd: '/' });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (said += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) =>
      resolve(code === 0 ? '' : said.trim() || `${program} ended with ${code ?? signal}`),
    );
  });
}
