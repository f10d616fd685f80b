import { promises as fs } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { readMountFacts } from '../mount/mount-info.ts';
import { NEW, OLD } from './change-watch.ts';
import { LineTalk } from './line-talk.ts';
import { optionsText } from './mount-options.ts';
import { CHANGES, placesIn, VISITED } from './node-words.ts';
import type { Change, LeftWord, NodeHost, NodeOrder, RightWord } from './node-words.ts';
import { tryPermissions } from './trial-bytes.ts';
import { tryFolder } from './trial-folder.ts';
import { createsFirst } from './trial-names.ts';
import { putVersion } from './whole-file.ts';

type Talk = LineTalk<RightWord, LeftWord>;

const LOOK_MS = 50;
const CONNECT_MS = 3000;
const NAMES = 40;
const REPLACE_MS = 1000;
const MAX_RENAMES = 500;

/** Changes files, tells right, and says in the log of its pod what right saw. */
export async function leftNode(order: NodeOrder, host: NodeHost): Promise<void> {
  const { say, signal } = host;
  await tryFolder(order.folder);
  await makeSub(order);
  say({ type: 'made' });
  say({ type: 'user', facts: await tryPermissions(order.folder) });
  const mount = await readMountFacts(dirname(order.folder));
  if (mount) say({ type: 'mount', options: optionsText(mount) });
  const [address, port] = await rightAddress(order, signal);
  const socket = connect({ host: address, port });
  const talk: Talk = new LineTalk(socket);
  signal.addEventListener('abort', () => talk.close(), { once: true });
  try {
    const hello = await expect(talk, 'hello', CONNECT_MS);
    if (hello.word !== order.word) throw new Error('another program answers at the address of the other pod');
    say({ type: 'met' });
    for (let round = 0; round < order.rounds; round += 1) await changeRound(order, talk, { round, host });
    await race(order, talk, host);
    await replace(order, talk, host);
    talk.say({ do: 'end' });
    await untilVisited(order, host);
  } finally {
    talk.close();
  }
}

async function makeSub({ folder, word }: NodeOrder): Promise<void> {
  const { sub, mark } = placesIn(folder);
  await fs.mkdir(sub);
  await fs.writeFile(mark, word);
}

/** Listed and not opened: a list is fresh in every mode of NFS, and a name that was looked for in vain is not. */
async function rightAddress({ folder, word }: NodeOrder, signal: AbortSignal): Promise<[string, number]> {
  const { address } = placesIn(folder);
  const name = address.slice(folder.length + 1);
  while (!(await fs.readdir(folder)).includes(name)) {
    if (signal.aborted) throw new Error('no word of the other pod was found in the folder of both');
    await pause(LOOK_MS);
  }
  const [said, host = '', port = ''] = (await fs.readFile(address, 'latin1')).split(' ');
  if (said !== word) throw new Error('the address of the other pod is of another run');
  return [host, Number(port)];
}

async function expect<Is extends RightWord['is']>(
  talk: Talk,
  is: Is,
  deadlineMs: number,
): Promise<Extract<RightWord, { is: Is }>> {
  const word = await talk.hear(deadlineMs);
  if (word.is === 'failed') {
    const { says, errno } = word.failure;
    throw Object.assign(new Error(`on the other node: ${says}`), errno === undefined ? {} : { errno });
  }
  if (word.is !== is) throw new Error(`the other pod answered ${word.is} instead of ${is}`);
  // Just compared.
  return word as Extract<RightWord, { is: Is }>;
}

async function changeRound(
  order: NodeOrder,
  talk: Talk,
  { round, host }: { round: number; host: NodeHost },
): Promise<void> {
  const { change: placeOf } = placesIn(order.folder);
  for (const change of CHANGES) {
    const { folder, file } = placeOf(round, change);
    await fs.mkdir(folder);
    if (!['create', 'list'].includes(change)) await fs.writeFile(file, OLD);
  }
  talk.say({ do: 'watch', round });
  await expect(talk, 'watching', order.limitMs);
  for (const change of CHANGES) {
    await MAKE[change](placeOf(round, change).file);
    talk.say({ do: 'changed', change });
  }
  const { seen } = await expect(talk, 'seen', order.limitMs);
  host.say({ type: 'seen', seen });
}

const MAKE: Readonly<Record<Change, (file: string) => Promise<void>>> = {
  create: (file) => fs.writeFile(file, NEW, { flag: 'wx' }),
  append: (file) => fs.appendFile(file, NEW),
  rename: async (file) => {
    await fs.writeFile(`${file}.next`, NEW);
    await fs.rename(`${file}.next`, file);
  },
  delete: (file) => fs.unlink(file),
  list: (file) => fs.writeFile(file, NEW, { flag: 'wx' }),
};

async function race(order: NodeOrder, talk: Talk, { say }: NodeHost): Promise<void> {
  const places = placesIn(order.folder);
  await fs.mkdir(places.race);
  talk.say({ do: 'race', names: NAMES });
  const won = new Set<number>();
  // In the same order: whoever is behind loses a few, which is quicker than winning, and then they are side by side.
  for (let name = 0; name < NAMES; name += 1) if (await createsFirst(places.raced(name))) won.add(name);
  const theirs = new Set((await expect(talk, 'raced', order.limitMs)).won);
  const doubled = [...won].filter((name) => theirs.has(name)).length;
  const missing = NAMES - new Set([...won, ...theirs]).size;
  say({ type: 'race', names: NAMES, doubled, missing });
}

async function replace(order: NodeOrder, talk: Talk, { say }: NodeHost): Promise<void> {
  const { whole } = placesIn(order.folder);
  await putVersion(whole, 0);
  talk.say({ do: 'read' });
  await expect(talk, 'reading', order.limitMs);
  const until = performance.now() + REPLACE_MS;
  let renames = 0;
  while (renames < MAX_RENAMES && performance.now() < until) await putVersion(whole, (renames += 1));
  talk.say({ do: 'stop-reading' });
  const { seen } = await expect(talk, 'read', order.limitMs);
  say({ type: 'whole', renames, seen });
}

/** The folder stays until the pod that mounts it has come: a kubelet makes a subPath that is not there. */
async function untilVisited({ folder }: NodeOrder, { say, signal }: NodeHost): Promise<void> {
  const { sub } = placesIn(folder);
  while (!(await fs.readdir(sub)).includes(VISITED)) {
    if (signal.aborted) {
      say({ type: 'unvisited' });
      return;
    }
    await pause(LOOK_MS);
  }
}
