import t from 'tap';
import { IsolationLine } from '../../src/scripts/isolation-line.ts';
import { parseTicket, scriptKeyFor, type ScriptKey } from '../../src/protocol/ticket.ts';
import { Gate } from '../../src/mount/gate.ts';
import { Volume } from '../../src/mount/volume.ts';
import { temporaryVolume } from '../harness/temporary-volume.ts';

const ROUNDS = 60;
const SCRIPTS = 4;
const DRIVERS = 2;

/** A deterministic source of numbers, so that a round that fails can be run again. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A view of the volume on which every operation waits for a random number of turns of the event loop. */
function shuffled(volume: Volume, next: () => number): Volume {
  const gate = new Gate({ budget: 24, queueLimit: 1000, deadlineMs: 10_000 });
  const run = gate.run.bind(gate);
  gate.run = async (operation, path, work, deadlineMs) => {
    for (let turns = Math.floor(next() * 6); turns > 0; turns -= 1) await new Promise(setImmediate);
    return run(operation, path, work, deadlineMs);
  };
  return new Volume({ gate, layout: volume.layout, slowDeadlineMs: 10_000 });
}

function keyOf(name: string): ScriptKey {
  const ticket = parseTicket(name);
  if (ticket === undefined) throw new TypeError(name);
  return scriptKeyFor('server', ticket);
}

t.test(
  'two agents that drive the same waiting scripts, in any interleaving, never let two run together (invariant 10)',
  async (t) => {
    const volume = await temporaryVolume(t);
    for (let seed = 1; seed <= ROUNDS; seed += 1) {
      const over = new Set<ScriptKey>();
      const running = new Set<ScriptKey>();
      let together = 0;
      const drive = async (key: ScriptKey, next: () => number): Promise<void> => {
        const line = new IsolationLine(shuffled(volume, next), `round-${seed}`, (other) =>
          Promise.resolve(over.has(other)),
        );
        while (!over.has(key)) {
          if (!(await line.turn(key, 'full')).runs || over.has(key)) continue;
          running.add(key);
          together = Math.max(together, running.size);
          for (let turns = Math.floor(next() * 20); turns > 0; turns -= 1) await new Promise(setImmediate);
          over.add(key);
          running.delete(key);
        }
        await line.leave(key);
      };
      const keys = Array.from({ length: SCRIPTS }, (_, index) => keyOf(`s${index}`));
      const drivers = keys.flatMap((key, index) =>
        Array.from({ length: DRIVERS }, (_, agent) => drive(key, numbers(seed * 1000 + index * 10 + agent))),
      );
      await Promise.all(drivers);
      if (together !== 1) t.fail(`${together} ran together with seed ${seed}`);
    }
    t.pass(`${ROUNDS} interleavings`);
  },
);

t.test('a removal that arrives late never takes the place of another script (invariant 10)', async (t) => {
  const volume = await temporaryVolume(t);
  const [a, b, c] = [keyOf('a'), keyOf('b'), keyOf('c')];
  const over = new Set<ScriptKey>();
  const lineOn = (view: Volume): IsolationLine =>
    new IsolationLine(view, 'web', (key) => Promise.resolve(over.has(key)));
  await lineOn(volume).turn(a, 'full');
  over.add(a);
  const slow = shuffled(volume, () => 0);
  const removeTree = slow.removeTree.bind(slow);
  const arrived = Promise.withResolvers<undefined>();
  const released = Promise.withResolvers<undefined>();
  slow.removeTree = async (path) => {
    arrived.resolve(undefined);
    await released.promise;
    await removeTree(path);
  };
  const late = lineOn(slow).leave(a);
  await arrived.promise;
  await lineOn(volume).leave(a);
  t.strictSame(await lineOn(volume).turn(b, 'full'), { runs: true });
  released.resolve(undefined);
  await late;
  t.strictSame(await lineOn(volume).turn(c, 'full'), { runs: false, waitsFor: b });
});
