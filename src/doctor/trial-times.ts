import { promises as fs } from 'node:fs';
import { TIMED_CALLS, type Latencies, type TimedCall, type Trials } from './trial-words.ts';

const SMALL_FILES = 100;
const SMALL_MS = 2000;
const ROUNDS = 40;
const ROUNDS_MS = 2500;

/** Makes files of 1 KiB one after the other. */
export async function trySmallFiles(folder: string): Promise<Trials['small-files']> {
  const place = `${folder}/small`;
  await fs.mkdir(place);
  const bytes = Buffer.alloc(1024, 'x');
  const begun = performance.now();
  let files = 0;
  while (files < SMALL_FILES && (files === 0 || performance.now() - begun < SMALL_MS)) {
    await fs.writeFile(`${place}/${files}`, bytes, { flag: 'wx' });
    files += 1;
  }
  return { files, seconds: (performance.now() - begun) / 1000 };
}

/** Times the calls that a start of a script is made of, in ms, each round on a file of its own. */
export async function tryLatency(folder: string): Promise<Latencies> {
  const place = `${folder}/timed`;
  await fs.mkdir(place);
  const times: Record<TimedCall, number[]> = {
    create: [],
    fsync: [],
    rename: [],
    open: [],
    list: [],
    unlink: [],
  };
  const until = performance.now() + ROUNDS_MS;
  for (let round = 0; round < ROUNDS && (round === 0 || performance.now() < until); round += 1) {
    const calls = await timedRound(place, round);
    for (const call of TIMED_CALLS) times[call].push(calls[call]);
  }
  return times;
}

async function timedRound(place: string, round: number): Promise<Record<TimedCall, number>> {
  const [made, named] = [`${place}/made-${round}`, `${place}/named-${round}`];
  let at = performance.now();
  const lap = (): number => {
    const [begun, now] = [at, performance.now()];
    at = now;
    return now - begun;
  };
  const file = await fs.open(made, 'wx');
  const create = lap();
  await file.write('timed');
  lap();
  await file.sync();
  const fsync = lap();
  await file.close();
  lap();
  await fs.rename(made, named);
  const rename = lap();
  const opened = await fs.open(named, 'r');
  await opened.stat();
  const open = lap();
  await opened.close();
  lap();
  await fs.readdir(place);
  const list = lap();
  await fs.unlink(named);
  return { create, fsync, rename, open, list, unlink: lap() };
}
