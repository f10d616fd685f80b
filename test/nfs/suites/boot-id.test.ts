/** The boot id of a real NFS server in user space, nfs-ganesha on this machine: it needs no guest and no export. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, openSync, closeSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type Test } from 'tap';
import { askServer } from '../../../src/mount/nfs-server.ts';
import { eventually } from '../../harness/eventually.ts';

const startMs = 60_000;

interface Ganesha {
  readonly ask: (deadlineMs?: number) => ReturnType<typeof askServer>;
  readonly start: () => Promise<void>;
  readonly send: (signal: NodeJS.Signals) => void;
  readonly ended: () => Promise<unknown>;
  /** Of its last start, as its log names it. */
  readonly epoch: () => string | undefined;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Its configuration; everything that it would write elsewhere lies in `folder`. */
function configuration(folder: string, port: number, minorVersions: string): string {
  return `NFS_CORE_PARAM { NFS_Protocols = 4; NFS_Port = ${port}; Bind_addr = 127.0.0.1;
  Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFSv4 { Grace_Period = 10; Lease_Lifetime = 10; Minor_Versions = ${minorVersions};
  RecoveryBackend = fs; RecoveryRoot = ${join(folder, 'recovery')}; }
LOG { Default_Log_Level = EVENT; }
`;
}

async function ganesha(t: Test, minorVersions = '1, 2'): Promise<Ganesha> {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-ganesha-'));
  const port = await freePort();
  const paths = { conf: join(folder, 'conf'), log: join(folder, 'log'), pid: join(folder, 'pid') };
  mkdirSync(join(folder, 'recovery'));
  writeFileSync(paths.conf, configuration(folder, port, minorVersions));
  let child: ChildProcess | undefined;
  let end: Promise<unknown> = Promise.resolve();
  const ask = (deadlineMs = 3000) => askServer({ address: '127.0.0.1', port, owner: 'test', deadlineMs });
  const send = (signal: NodeJS.Signals) => void child?.kill(signal);
  t.teardown(async () => {
    send('SIGKILL');
    await end;
    rmSync(folder, { recursive: true });
  });
  const start = async (): Promise<void> => {
    rmSync(paths.pid, { force: true });
    const log = openSync(paths.log, 'w');
    const args = ['-F', '-L', 'STDOUT', '-f', paths.conf, '-N', 'NIV_EVENT', '-p', paths.pid];
    child = spawn('ganesha.nfsd', args, { stdio: ['ignore', log, log], cwd: folder });
    closeSync(log);
    end = once(child, 'exit').catch(() => undefined);
    await once(child, 'spawn').catch((cause: unknown) => {
      throw new Error('install the Debian package nfs-ganesha', { cause });
    });
    await eventually(async () => !['refused', 'reset', 'closed'].includes((await ask()).is), startMs);
  };
  const epoch = () => / : epoch ([0-9a-f]{8}) : /.exec(readFileSync(paths.log, 'utf8'))?.[1];
  await start();
  return { ask, start, send, ended: () => end, epoch };
}

test('askServer() says the boot id of a server: the same as long as it runs, another after a restart', async (t) => {
  const server = await ganesha(t);
  const first = await server.ask();
  t.same(first, { is: 'boot-id', bootId: server.epoch() });
  for (let times = 0; times < 20; times += 1) t.same(await server.ask(), first);

  server.send('SIGKILL');
  await server.ended();
  t.match(await server.ask(), { is: 'refused' });

  await server.start();
  const second = await server.ask();
  t.same(second, { is: 'boot-id', bootId: server.epoch() });
  t.not(server.epoch(), 'bootId' in first && first.bootId);
});

test('askServer() does not take a connection for an answer, and an interruption for no restart', async (t) => {
  const server = await ganesha(t);
  const before = await server.ask();
  server.send('SIGSTOP');
  t.match(await server.ask(500), { is: 'timeout', says: /took the connection and said nothing whole/ });
  server.send('SIGCONT');
  t.same(await server.ask(), before);
});

test('askServer() tells a server that has no version 4.1', async (t) => {
  const server = await ganesha(t, '0');
  t.match(await server.ask(), { is: 'unsupported', says: 'it has no NFS version 4.1' });
});
