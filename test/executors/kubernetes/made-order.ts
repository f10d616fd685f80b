import { sha256Of } from '../../../src/protocol/digest.ts';
import type { RunOrder } from '../../../src/protocol/run-order.ts';
import { parseTicket, scriptKeyFor } from '../../../src/protocol/ticket.ts';
import type { PodSetup } from '../../../src/executors/kubernetes/pod-setup.ts';
import { limits } from '../../protocol/made-evidence.ts';

const ticket = parseTicket('deploy-17');
if (ticket === undefined) throw new TypeError('not a ticket');

/** An order as an agent writes it, with the paths of the agent. */
export const anOrder: RunOrder = {
  version: 1,
  key: scriptKeyFor('octopus', ticket),
  ticket,
  journalKey: Buffer.alloc(32, 7).toString('base64'),
  cookie: '00112233445566778899aabbccddeeff',
  workspace: '/data/longshore-v1/work/anything',
  epochFile: '/data/longshore-v1/identity/epoch',
  epoch: 'epoch-1',
  manifestDigest: sha256Of(''),
  language: 'bash',
  arguments: ['--to', 'production'],
  variables: [{ name: 'Db.Password', value: 'hunter22', sensitive: true }],
  deadlineMs: 3_600_000,
  graceMs: 10_000,
  drainMs: 2500,
  journalMaxBytes: 2 ** 30,
  volumeDeadlineMs: 120_000,
  mountFolder: '/data',
  mount: limits,
  copy: null,
};

/** The least that an agent configures. */
export const aSetup: PodSetup = {
  namespace: 'scripts',
  podGroup: 'web',
  claim: 'longshore-volume',
  claimAccess: 'rwx',
  scriptImage: 'longshore-script:0.1.0',
  runnerImage: 'longshore-runner:0.1.0',
  runnerInjection: 'init',
  imagePullPolicy: 'IfNotPresent',
  uid: 10001,
  gid: 10001,
  podDefaults: {},
  podLaunchTimeoutMs: 900_000,
};
