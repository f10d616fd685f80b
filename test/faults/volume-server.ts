/** A pass-through file system with faults: `volume-server.js FOLDER-BEHIND MOUNT-POINT`, both may be the same folder.
 *
 *  It is told what to do on its standard input, one JSON object a line, and answers each with a line: what was asked
 *  holds from then on. When its standard input ends, it unmounts and ends too, so that nothing stays mounted after a
 *  test that was killed. */
import { createInterface } from 'node:readline';
import { FaultRules, type FaultRule } from './fault-rules.ts';
import { FuseDevice, unmount } from './fuse-device.ts';
import { InodeTable, Store } from './inode-table.ts';
import { PassThrough } from './pass-through.ts';

/** What the server can be asked. */
export type Asked =
  | { readonly do: 'fault'; readonly rule: FaultRule }
  | { readonly do: 'heal' | 'state' | 'original' }
  | { readonly do: 'replace'; readonly folder: string };

const [behind = '', mountPoint = ''] = process.argv.slice(2);
// The kernel has taken the mask of the caller from every mode already.
process.umask(0);

const faults = new FaultRules();
const inodes = new InodeTable(behind);
const original = inodes.store;
const files = new PassThrough(inodes, faults);

function act(asked: Asked): object {
  switch (asked.do) {
    case 'fault':
      faults.add(asked.rule);
      return {};
    case 'heal':
      faults.clear();
      return {};
    case 'replace':
      inodes.exchange(new Store(asked.folder));
      return {};
    case 'original':
      inodes.exchange(original);
      return {};
    case 'state':
      return faults.state;
    default:
      return asked satisfies never;
  }
}

function answerTo(line: string): object {
  try {
    // Our own ground writes it, or a person who sees what becomes of it.
    return { done: act(JSON.parse(line) as Asked) };
  } catch (error) {
    return { failed: String(error) };
  }
}

const device = await FuseDevice.mount(mountPoint);
const input = createInterface({ input: process.stdin });
input.on('line', (line) => process.stdout.write(`${JSON.stringify(answerTo(line))}\n`));
input.on('close', () => {
  faults.clear();
  unmount(mountPoint).then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    },
  );
});
process.stdout.write('{"ready":true}\n');
await device.serve((request) => files.answer(request));
process.exit(0);
