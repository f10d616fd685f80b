/** The runner's side of the volume: deadlines, the claim, the verification, the result. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { test } from 'tap';
import { Fault } from '../../src/protocol/fault.ts';
import { parseStartedClaim } from '../../src/protocol/run-order.ts';
import { takeClaim } from '../../src/runner/claim.ts';
import { ownClaim } from '../../src/runner/own-claim.ts';
import { patiently } from '../../src/runner/patience.ts';
import { writeResult } from '../../src/runner/result-file.ts';
import { errnoOf, storageFault } from '../../src/runner/storage-fault.ts';
import { verifyWorkspace } from '../../src/runner/verify.ts';
import { temporaryBeside, VolumeFiles } from '../../src/runner/volume-files.ts';
import { endRecord } from '../harness/made-journal.ts';
import { temporaryFolder } from '../harness/temporary-volume.ts';
import { hangOpensOf } from './hung-path.ts';
import { must, stageScript, until, type StagedScript } from './staged-script.ts';

const files = new VolumeFiles({ deadlineMs: 10_000 });

async function faultOf(work: Promise<unknown>): Promise<Fault> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  throw new Error('there was no fault');
}

function errnoError(errno: number): Error {
  return Object.assign(new Error(`Unknown system error -${errno}`), { errno: -errno });
}

test('VolumeFiles', async (t) => {
  t.test(
    'invariant 7: gives up a call that hangs at its deadline, and counts it until it returns',
    async (t) => {
      const path = `${temporaryFolder(t)}/file`;
      writeFileSync(path, 'text');
      const release = hangOpensOf(t, path);
      const hasty = new VolumeFiles({ deadlineMs: 50 });
      const fault = await faultOf(hasty.readAll(path, 100));
      t.equal(fault.code, 'STORAGE_TIMEOUT');
      t.same([hasty.inside, hasty.overdue], [1, 1]);
      release();
      await until('the call returned', () => hasty.inside === 0);
      t.equal(hasty.overdue, 0);
    },
  );

  t.test('neither follows links nor waits for the other end of a FIFO', async (t) => {
    const folder = temporaryFolder(t);
    execFileSync('mkfifo', [`${folder}/fifo`]);
    symlinkSync('/etc/passwd', `${folder}/link`);
    t.equal((await files.readAll(`${folder}/fifo`, 100)).length, 0);
    t.equal((await faultOf(files.readAll(`${folder}/link`, 100))).code, 'STORAGE_ERROR');
    t.equal((await faultOf(files.writeAt(`${folder}/fifo`, [Buffer.from('x')], 0))).code, 'STORAGE_ERROR');
  });

  t.test('readAll() refuses a file that is too long', async (t) => {
    const path = `${temporaryFolder(t)}/file`;
    writeFileSync(path, 'x'.repeat(200_000));
    t.equal((await files.readAll(path, 200_000)).length, 200_000);
    await t.rejects(files.readAll(path, 199_999), RangeError);
  });

  t.test('temporaryBeside() makes names that the sweeper knows', async (t) => {
    t.match(temporaryBeside('/a/started'), /^\/a\/started\.tmp-[0-9a-f]{16}$/);
  });
});

test('invariant 6: storageFault() tells the errnos apart by their numbers, and keeps its cause', async (t) => {
  const codes = {
    116: 'STORAGE_STALE',
    28: 'STORAGE_FULL',
    122: 'STORAGE_FULL',
    30: 'STORAGE_READONLY',
    13: 'STORAGE_DENIED',
    5: 'STORAGE_ERROR',
    512: 'STORAGE_ERROR',
  };
  for (const [errno, code] of Object.entries(codes)) {
    const fault = storageFault('read', '/x', errnoError(Number(errno)));
    t.equal(fault.code, code);
    t.equal(errnoOf(fault), Number(errno));
  }
  t.equal(errnoOf(new Error('none')), undefined);
});

test('patiently() waits for what caches do not show yet, and for nothing else', async (t) => {
  let calls = 0;
  const appearing = async (): Promise<string> => {
    calls += 1;
    if (calls < 3) throw errnoError(calls === 1 ? 2 : 116);
    return 'there';
  };
  t.equal(await patiently(appearing), 'there');
  const absent = patiently(() => Promise.reject(errnoError(2)), 50);
  t.equal(await absent.catch(errnoOf), 2);
  calls = 0;
  const broken = patiently(() => Promise.reject(errnoError((calls += 1) + 4)), 5000);
  t.equal(await broken.catch(errnoOf), 5, 'at once');
});

test('takeClaim()', async (t) => {
  const started = (t: Parameters<typeof temporaryFolder>[0]): string => `${temporaryFolder(t)}/started`;

  t.test('invariant 3: of many that race exactly one gets it, and nothing else is left', async (t) => {
    const target = started(t);
    const racers = Array.from({ length: 40 }, (_, index) =>
      takeClaim(files, target, { ...ownClaim(null), at: `${index}` }),
    );
    const taken = (await Promise.all(racers)).filter((claim) => claim !== undefined);
    t.equal(taken.length, 1);
    await must(taken[0]).durable;
    t.same(readdirSync(target.slice(0, -'/started'.length)), ['started']);
  });

  t.test(
    'writes who it is: a process of this life of the machine, and the file that its stdout is',
    async (t) => {
      const target = started(t);
      await must(await takeClaim(files, target, ownClaim('/state/stdout'))).durable;
      const claim = must(parseStartedClaim(readFileSync(target, 'utf8')));
      t.match(claim, { by: 'runner', pid: process.pid, stdout: '/state/stdout' });
      t.match(claim, { startTicks: /^\d+$/, bootId: /^[0-9a-f-]{36}$/ });
    },
  );

  t.test('loses to a claim of an agent, be it a file or, without hard links, a folder', async (t) => {
    const target = started(t);
    writeFileSync(target, '{"by":"agent"}');
    t.equal(await takeClaim(files, target, ownClaim(null)), undefined);
    rmSync(target);
    mkdirSync(target);
    t.equal(await takeClaim(files, target, ownClaim(null)), undefined);
  });

  t.test('takes a claim for its own that was made by a link whose answer was lost', async (t) => {
    const target = started(t);
    const claim = ownClaim(null);
    const forgetful = new (class extends VolumeFiles {
      override async link(from: string, to: string): Promise<undefined> {
        await super.link(from, to);
        throw storageFault('link', to, errnoError(17));
      }
    })({ deadlineMs: 1000 });
    t.not(await takeClaim(forgetful, target, claim), undefined);
  });

  t.test('is exclusive on a file system without hard links too', async (t) => {
    const target = started(t);
    const linkless = new (class extends VolumeFiles {
      override async link(_from: string, to: string): Promise<undefined> {
        throw storageFault('link', to, errnoError(95));
      }
    })({ deadlineMs: 1000 });
    const racers = Array.from({ length: 20 }, () => takeClaim(linkless, target, ownClaim(null)));
    t.equal((await Promise.all(racers)).filter((claim) => claim !== undefined).length, 1);
    t.not(parseStartedClaim(readFileSync(target, 'utf8')), undefined);
  });

  t.test('fails where the folder does not come, and where the volume is full', async (t) => {
    const fault = await faultOf(takeClaim(files, `${temporaryFolder(t)}/gone/started`, ownClaim(null)));
    t.equal(errnoOf(fault), 2);
    const full = new (class extends VolumeFiles {
      override async createDurable(path: string): Promise<void> {
        throw storageFault('write', path, errnoError(28));
      }
    })({ deadlineMs: 1000 });
    t.equal((await faultOf(takeClaim(full, started(t), ownClaim(null)))).code, 'STORAGE_FULL');
  });
});

test('verifyWorkspace()', async (t) => {
  const verify = (
    staged: StagedScript,
    changes: object = {},
    signal = new AbortController().signal,
  ): Promise<void> => verifyWorkspace({ ...staged.order, ...changes }, { files, signal });
  const staged = (t: Parameters<typeof stageScript>[0]): StagedScript =>
    stageScript(
      t,
      'true',
      {},
      { 'files/a/b.txt': 'text', 'files/empty': '', 'packages/p.zip': 'x'.repeat(3_000_000) },
    );

  t.test('invariant 2: passes what was staged, files of every size', async (t) => {
    await t.resolves(verify(staged(t)));
  });

  const differences: Record<string, (root: string) => RegExp> = {
    'a byte that changed': (root) => {
      writeFileSync(`${root}/files/a/b.txt`, 'tent');
      return /^files\/a\/b\.txt has the SHA-256 /;
    },
    'a file that is shorter': (root) => {
      writeFileSync(`${root}/packages/p.zip`, 'x'.repeat(2_999_999));
      return /^packages\/p\.zip has 2999999 bytes where 3000000 bytes were staged$/;
    },
    'a file that is longer': (root) => {
      writeFileSync(`${root}/files/empty`, 'x');
      return /^files\/empty has more where 0 bytes were staged$/;
    },
    'a script that changed': (root) => {
      writeFileSync(`${root}/script`, 'false');
      return /^script has /;
    },
    'a folder in the place of a file': (root) => {
      rmSync(`${root}/files/empty`);
      mkdirSync(`${root}/files/empty`);
      return / is no plain file$/;
    },
    'a link in the place of a file': (root) => {
      renameSync(`${root}/files/a/b.txt`, `${root}/b.txt`);
      symlinkSync(`${root}/b.txt`, `${root}/files/a/b.txt`);
      return / is no plain file$/;
    },
    'a file that was not staged': (root) => {
      writeFileSync(`${root}/files/a/extra`, '');
      return /^files\/a\/extra was not staged$/;
    },
    'a link that was not staged': (root) => {
      symlinkSync('/etc', `${root}/packages/etc`);
      return /^packages\/etc was not staged$/;
    },
    'a folder that was not staged': (root) => {
      mkdirSync(`${root}/files/extra`);
      return /^files\/extra was not staged$/;
    },
    'a manifest that changed': (root) => {
      writeFileSync(`${root}/manifest.json`, '{}');
      return /^manifest\.json has the SHA-256 /;
    },
    'a file that is missing': (root) => {
      rmSync(`${root}/files/a/b.txt`);
      return /^files\/a\/b\.txt is missing$/;
    },
  };
  for (const [what, change] of Object.entries(differences)) {
    t.test(`invariant 2: names ${what}`, async (t) => {
      const script = staged(t);
      const says = change(script.places.root);
      const fault = await faultOf(verify(script));
      t.equal(fault.code, 'STAGING_MISMATCH');
      t.match(fault.message, says);
    });
  }

  t.test('names the first of several, in the order of the manifest', async (t) => {
    const script = staged(t);
    writeFileSync(script.places.script, 'x');
    writeFileSync(`${script.places.root}/packages/p.zip`, '');
    for (let index = 0; index < 5; index += 1)
      t.match((await faultOf(verify(script))).message, /^packages\/p\.zip has 0 bytes/);
  });

  t.test('invariant 6: tells an emptied volume from a replaced one and from a missing file', async (t) => {
    const script = staged(t);
    writeFileSync(script.order.epochFile, 'another\n');
    const replaced = await faultOf(verify(script));
    t.equal(replaced.code, 'STORAGE_REPLACED');
    t.match(replaced.message, /epoch another where epoch-1/);
    rmSync(script.order.epochFile);
    t.equal((await faultOf(verify(script))).code, 'STORAGE_EMPTIED');
  });

  t.test('waits for a file that appears late, as caches show them', async (t) => {
    const script = staged(t);
    const path = `${script.places.root}/files/a/b.txt`;
    renameSync(path, `${path}.late`);
    const late = new VolumeFiles({ deadlineMs: 10_000 });
    let looks = 0;
    late.readThrough = async (wanted, ...rest) => {
      if (wanted === path && (looks += 1) === 2) renameSync(`${path}.late`, path);
      return files.readThrough(wanted, ...rest);
    };
    await t.resolves(verifyWorkspace(script.order, { files: late, signal: new AbortController().signal }));
    t.equal(looks, 2, 'it was looked for again');
  });

  t.test('stops reading when nobody waits for it any more', async (t) => {
    const over = AbortSignal.abort();
    const script = staged(t);
    writeFileSync(script.places.script, 'changed');
    await t.resolves(verify(script, {}, over));
  });
});

test('writeResult()', async (t) => {
  const result = { endFrame: Buffer.from('LS1 1-1 abcd\n'), outcome: endRecord() };

  t.test('invariant 1: leaves the whole result and no temporary file, in place of an old one', async (t) => {
    const folder = temporaryFolder(t);
    await writeResult(files, `${folder}/result.json`, result);
    await writeResult(files, `${folder}/result.json`, result);
    t.same(readdirSync(folder), ['result.json']);
    t.match(JSON.parse(readFileSync(`${folder}/result.json`, 'utf8')), {
      endFrame: 'LS1 1-1 abcd',
      outcome: { exitCode: 0 },
    });
  });

  t.test('does not believe a write that cannot be read back', async (t) => {
    const target = `${temporaryFolder(t)}/result.json`;
    const elsewhere = new (class extends VolumeFiles {
      override async rename(from: string, to: string): Promise<undefined> {
        await super.rename(from, to);
        writeFileSync(to, 'other');
        return undefined;
      }
    })({ deadlineMs: 1000 });
    t.equal((await faultOf(writeResult(elsewhere, target, result))).code, 'STORAGE_ERROR');
    t.ok(existsSync(target));
  });
});
