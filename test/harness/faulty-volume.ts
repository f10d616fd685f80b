import { constants } from 'node:os';
import { Gate, type PassOptions } from '../../src/mount/gate.ts';
import { Volume } from '../../src/mount/volume.ts';
import { VolumeLayout } from '../../src/protocol/volume-layout.ts';

/** What happens to an operation instead of the system call: an errno, or a wait before it; undefined lets it be. */
export type Interference = (
  operation: string,
  path: string,
) => { readonly errno: keyof typeof constants.errno } | { readonly after: Promise<unknown> } | undefined;

/** A gate in front of a disk that fails or waits when the test says so, with errors as Node makes them. */
class FaultyGate extends Gate {
  readonly #interfere: Interference;

  constructor(interfere: Interference) {
    super({ budget: 24, queueLimit: 4096, deadlineMs: 10_000 });
    this.#interfere = interfere;
  }

  override async run<T>(
    operation: string,
    path: string,
    work: () => Promise<T>,
    options?: PassOptions<T>,
  ): Promise<T> {
    const met = this.#interfere(operation, path);
    const bent = async (): Promise<T> => {
      // A close(2) that fails has given the descriptor back all the same.
      if (met && 'errno' in met && operation === 'close') await work();
      if (met && 'errno' in met) throw systemError(met.errno, operation);
      if (met) await met.after;
      return work();
    };
    return super.run(operation, path, met ? bent : work, options);
  }
}

export function faultyVolume(folder: string, interfere: Interference): Volume {
  return new Volume({
    gate: new FaultyGate(interfere),
    layout: new VolumeLayout(folder),
    slowDeadlineMs: 60_000,
  });
}

/** A file system without hard links. */
export class LinklessVolume extends Volume {
  constructor(folder: string) {
    const gate = new Gate({ budget: 24, queueLimit: 4096, deadlineMs: 10_000 });
    super({ gate, layout: new VolumeLayout(folder), slowDeadlineMs: 60_000 });
  }

  override async link(): Promise<'unsupported'> {
    return 'unsupported';
  }
}

/** An error as Node makes it for an errno. */
export function systemError(name: keyof typeof constants.errno, syscall: string): Error {
  const errno = -constants.errno[name];
  return Object.assign(new Error(`${name}: made by a test, ${syscall}`), { errno, code: name, syscall });
}
