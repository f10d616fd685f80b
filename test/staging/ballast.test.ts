import t from 'tap';
import { Ballast } from '../../src/staging/ballast.ts';
import { Fault } from '../../src/protocol/fault.ts';
import { temporaryVolume } from '../harness/temporary-volume.ts';

t.test('on a full volume the ballast is thrown away, once, for what ends a script', async (t) => {
  const volume = await temporaryVolume(t);
  const ballast = new Ballast(volume);
  await ballast.keep();
  t.equal((await volume.look(volume.layout.ballast))?.size, 4 * 2 ** 20);
  let isFull = true;
  const work = async (): Promise<string> => {
    isFull = (await volume.look(volume.layout.ballast)) !== undefined;
    if (isFull) throw new Fault('STORAGE_FULL', 'no room');
    return 'written';
  };
  t.equal(await ballast.spendFor(work), 'written');
  await t.rejects(
    ballast.spendFor(() => Promise.reject(new Fault('STORAGE_FULL', 'still no room'))),
    { code: 'STORAGE_FULL' },
    'there is nothing more to throw away',
  );
  await ballast.keep();
  t.ok(await volume.look(volume.layout.ballast), 'and it is taken again when there is room');
});

t.test('other errors than a full volume leave the ballast where it is', async (t) => {
  const volume = await temporaryVolume(t);
  const ballast = new Ballast(volume);
  await Promise.all([ballast.keep(), ballast.keep()]);
  await t.rejects(
    ballast.spendFor(() => Promise.reject(new Fault('STORAGE_ERROR', 'EIO'))),
    { code: 'STORAGE_ERROR' },
  );
  t.ok(await volume.look(volume.layout.ballast));
});
