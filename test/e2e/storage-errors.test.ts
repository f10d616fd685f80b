/** Storage that answers with an error: who asked is told what it was, the rest goes on, and nothing false is said. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { agentOnFaults, answersBeside, bash, running } from '../faults/agent-on-faults.ts';
import { CHANGES } from '../faults/fault-rules.ts';
import { missingForFaults } from '../faults/faulty-mount.ts';
import type { ErrnoName } from '../faults/system-error.ts';
import { bytesOf } from '../harness/agent-process.ts';

const skip = missingForFaults() ?? false;

interface Row {
  readonly errno: ErrnoName;
  readonly code: string;
  readonly status: number;
}

/** What concerns one request alone, and is no doubt about the volume. */
const REQUEST_ERRORS: readonly Row[] = [
  { errno: 'ENOSPC', code: 'STORAGE_FULL', status: 507 },
  { errno: 'EDQUOT', code: 'STORAGE_FULL', status: 507 },
  { errno: 'EROFS', code: 'STORAGE_READONLY', status: 503 },
  { errno: 'EACCES', code: 'STORAGE_DENIED', status: 503 },
];
const ALL_ERRORS: readonly Row[] = [
  ...REQUEST_ERRORS,
  { errno: 'ESTALE', code: 'STORAGE_STALE', status: 503 },
  { errno: 'EIO', code: 'STORAGE_ERROR', status: 503 },
];
const UPLOADS = '/longshore-v1/uploads/**';
const WORK = '/longshore-v1/work/**';
const TICKETS = '/longshore-v1/tickets/**';

test(
  'an upload that meets an errno is answered its code, and nothing else is (invariant 6)',
  { skip },
  async (t) => {
    const { agent, mount } = await agentOnFaults(t);
    for (const { errno, code, status } of ALL_ERRORS) {
      for (const operations of [['create'], ['write'], ['fsync'], ['flush']] as const) {
        const name = `${errno}-${operations[0]}`.toLowerCase();
        const bytes = randomBytes(100_000);
        await mount.fault({ kind: 'errno', errno, operations, path: UPLOADS });
        const refused = await agent.push(name, '1.0.0', bytes);
        t.match(refused, { status, json: { code, status } }, `${name}: ${refused.text}`);
        t.match(refused.json['detail'], /cannot \w+ |free/, `${name}: a sentence`);
        t.equal(
          (await agent.call('HEAD', `/v1/packages/${name}/1.0.0`)).status,
          404,
          `${name}: there is half of it`,
        );
        if (operations[0] === 'write') await answersBeside(agent);
        await mount.heal();
        t.equal((await agent.push(name, '1.0.0', bytes)).status, 201, `${name}: healed`);
      }
    }
  },
);

test(
  'a start that meets an errno is answered its code, others start meanwhile, and again it runs once',
  { skip },
  async (t) => {
    const { agent, mount, folder } = await agentOnFaults(t);
    for (const { errno, code, status } of ALL_ERRORS) {
      for (const [place, path] of [
        ['work', '/longshore-v1/work/.staging-*/**'],
        ['tickets', TICKETS],
      ] as const) {
        const ticket = `${errno}-${place}`.toLowerCase();
        const script = bash(`echo ran >> ${folder}/${ticket}`, { files: [{ path: 'a', content: 'x' }] });
        await mount.fault({ kind: 'errno', errno, operations: ['create', 'mkdir', 'write'], path });
        const refused = await agent.call('PUT', `/v1/scripts/${ticket}`, script);
        t.match(refused, { status, json: { code } }, `${ticket}: ${refused.text}`);
        t.equal((await agent.push(ticket, '1.0.0', randomBytes(10))).status, 201, `${ticket}: uploads go on`);
        await mount.heal();
        t.equal((await agent.call('PUT', `/v1/scripts/${ticket}`, script)).status, 200, `${ticket}: healed`);
        t.match((await agent.follow(ticket)).status.outcome, { code: 'SUCCEEDED' }, ticket);
        t.equal(readFileSync(join(folder, ticket), 'utf8'), 'ran\n', `${ticket} ran once (invariant 3)`);
      }
    }
  },
);

test(
  'a script whose workspace takes no more bytes goes on, and its journal is whole (invariants 5, 6)',
  { skip },
  async (t) => {
    const { agent, mount, folder } = await agentOnFaults(t);
    for (const { errno } of REQUEST_ERRORS) {
      const ticket = errno.toLowerCase();
      const body = `while [ ! -e ${folder}/${ticket} ]; do sleep 0.05; done
      echo own > file 2>/dev/null || echo "the script sees it"; for i in $(seq 500); do echo "line $i"; done; exit 0`;
      await running(agent, ticket, body);
      await mount.fault({ kind: 'errno', errno, operations: CHANGES, path: WORK });
      await running(agent, `${ticket}-beside`, 'true').then(
        () => t.fail('a start is refused while the folder of workspaces takes nothing'),
        (error: unknown) => t.match(error, { message: /STORAGE_(FULL|READONLY|DENIED)/ }),
      );
      t.equal((await agent.push(ticket, '1.0.0', randomBytes(10))).status, 201);
      writeFileSync(join(folder, ticket), '');
      const { status, lines } = await agent.follow(ticket);
      t.equal(status.outcome?.code, 'SUCCEEDED', `${errno}: ${JSON.stringify(status.outcome)}`);
      t.equal(
        bytesOf(lines, 'stdout').toString(),
        ['up', 'the script sees it', ...Array.from({ length: 500 }, (_, i) => `line ${i + 1}`), ''].join(
          '\n',
        ),
        errno,
      );
      await mount.heal();
      t.equal((await agent.call('DELETE', `/v1/scripts/${ticket}`)).status, 204);
    }
  },
);
