/** The laboratory itself: a script runs on a real NFS, and the fault that the whole project is about can be made. */
import { test } from 'tap';
import { collected } from '../collected.ts';
import { Guest } from '../guest.ts';
import { Lane } from '../lane.ts';

test('a script runs on NFS, and a restart of the server with its data does not disturb it', async (t) => {
  const guest = await Guest.boot(t, 'smoke');
  const lane = new Lane(guest, 1, { server: 'knfsd', mount: 'chart' });
  t.teardown(() => lane.close());
  await lane.open('disk');
  t.match(await lane.run('grep " /mnt/{} " /proc/mounts'), / nfs4 .*soft.*timeo=50,retrans=4/);
  const body = `
    echo up; for i in 1 2 3 4 5; do echo $i >>numbers || exit 9; sleep 1; done
    until [ -e /lanes/1/go ]; do sleep 1; done
    cat numbers; cp numbers "$LONGSHORE_ARTIFACTS/numbers"`;
  await lane.client.start('t1', { language: 'bash', body });
  await lane.runsOn('t1', 'up');
  await lane.run('server_stop {}; server_start {} knfsd 1-1; touch /lanes/{}/go');
  const { outcome, stdout } = await collected(lane.client, 't1');
  t.match(outcome, { code: 'SUCCEEDED' });
  t.equal(stdout, 'up\n1\n2\n3\n4\n5\n');
  t.match(await lane.client.artifacts('t1'), [{ name: 'numbers', size: 10 }]);
});
