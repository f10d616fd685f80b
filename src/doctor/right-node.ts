import { promises as fs } from 'node:fs';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { errnoOf } from '../mount/errno.ts';
import { ChangeWatch } from './change-watch.ts';
import { LineTalk } from './line-talk.ts';
import { CHANGES, placesIn } from './node-words.ts';
import type { Change, LeftWord, NodeHost, NodeOrder, RightWord, Visibility } from './node-words.ts';
import { makeFolder } from './trial-folder.ts';
import { createsFirst } from './trial-names.ts';
import { watchVersions } from './whole-file.ts';

type Talk = LineTalk<LeftWord, RightWord>;

/** Watches what left changes. Their words go over a connection, so that no change waits for the sight of another. */
export async function rightNode(order: NodeOrder, { say, signal }: NodeHost): Promise<void> {
  await makeFolder(order.folder);
  const server = createServer();
  try {
    server.listen(0);
    await once(server, 'listening', { signal });
    // A server that listens at a port has an address.
    const { port } = server.address() as AddressInfo;
    await announce(order, `${ownAddress()} ${port}`);
    const [socket] = (await once(server, 'connection', { signal })) as [Socket];
    const talk: Talk = new LineTalk(socket);
    signal.addEventListener('abort', () => talk.close(), { once: true });
    talk.say({ is: 'hello', word: order.word });
    say({ type: 'met' });
    await answer(order, talk);
  } finally {
    server.close();
  }
}

/** Whole or not at all, as everything here. */
async function announce({ folder, word }: NodeOrder, address: string): Promise<void> {
  const { address: path } = placesIn(folder);
  await fs.writeFile(`${path}.next`, `${word} ${address}`);
  await fs.rename(`${path}.next`, path);
}

/** The address that other pods reach this one at; its own machine where there is no network. */
function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  const outward = all.filter(({ internal, scopeid }) => !internal && !scopeid);
  const preferred = outward.find(({ family }) => family === 'IPv4') ?? outward[0];
  return preferred?.address ?? '127.0.0.1';
}

async function answer(order: NodeOrder, talk: Talk): Promise<void> {
  try {
    for (;;) {
      const word = await talk.hear(order.limitMs);
      if (word.do === 'end') return;
      await obey(order, talk, word);
    }
  } catch (error) {
    const errno = errnoOf(error);
    const says = error instanceof Error ? error.message : String(error);
    talk.say({ is: 'failed', failure: { says, ...(errno !== undefined && { errno }) } });
    throw error;
  }
}

async function obey(order: NodeOrder, talk: Talk, word: LeftWord): Promise<void> {
  const places = placesIn(order.folder);
  if (word.do === 'watch') await watchRound(order, talk, word.round);
  if (word.do === 'race') {
    const won: number[] = [];
    for (let name = 0; name < word.names; name += 1)
      if (await createsFirst(places.raced(name))) won.push(name);
    talk.say({ is: 'raced', won });
  }
  if (word.do === 'read') {
    let isOver = false;
    talk.say({ is: 'reading' });
    const reading = watchVersions(places.whole, () => isOver);
    reading.catch(() => undefined);
    await talk.hear(order.limitMs);
    isOver = true;
    talk.say({ is: 'read', seen: await reading });
  }
}

async function watchRound({ folder, seenMs, limitMs }: NodeOrder, talk: Talk, round: number): Promise<void> {
  const { change: placeOf } = placesIn(folder);
  const watches = new Map(
    CHANGES.map((change) => [change, new ChangeWatch(change, placeOf(round, change).file, seenMs)]),
  );
  const sawBefore = await Promise.all([...watches.values()].map((watch) => watch.sawBefore));
  talk.say({ is: 'watching' });
  for (let told = 0; told < CHANGES.length; told += 1) {
    const word = await talk.hear(limitMs);
    if (word.do === 'changed') watches.get(word.change)?.changed();
  }
  const seen = await Promise.all(
    [...watches].map(async ([change, watch], index): Promise<[Change, number | null]> => {
      const ms = await watch.after;
      // What was never seen before its change was not watched.
      return [change, sawBefore[index] ? ms : null];
    }),
  );
  // Every change has its row.
  talk.say({ is: 'seen', seen: Object.fromEntries(seen) as unknown as Visibility });
}
