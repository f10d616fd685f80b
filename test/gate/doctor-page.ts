/** The page of docs/reference about `longshore doctor`, from its list of checks. */
import { CHECKS, type CheckPart } from '../../src/doctor/check-list.ts';
import { EXIT_CODES } from '../../src/doctor/finding.ts';
import { table } from './markdown-table.ts';

const PARTS: Readonly<Record<CheckPart, string>> = {
  mount: 'The mount, without a call on the volume',
  volume: 'The volume, from this machine',
  nodes: 'The claim, from two nodes at once',
};

/** Renders docs/reference/doctor.md. */
export function doctorPage(): string {
  return `# What the doctor tests

\`longshore doctor --volume DIR\` tests a volume for what [Longshore assumes of it](../design.md#what-we-assume-of-the-volume).
[The guide](../guides/storage.md#test-a-volume-first) says how to use it. It takes the
[settings](configuration.md) of \`longshore serve\`, from flags, variables and a file, and two options of its own:
\`--json\`, and \`--limit SECONDS\` (28), the longest time for all of it.

It needs no agent and disturbs none. It writes to a folder \`doctor-<16 hex digits>\` beside \`longshore-v1\` alone, and
removes it, also after an error or \`^C\`. What a killed doctor left, the next one removes when it is ten minutes old.
Every call on the volume is made by a child process that is killed when it does not come back; the doctor never hangs.

## Verdicts

| verdict | meaning | exit code |
| --- | --- | --- |
| \`good\` | as it should be | ${EXIT_CODES.good} |
| \`note\` | works, and there is something to know | ${EXIT_CODES.note} |
| \`warn\` | works, and will cost time or hide a failure, or could not be tested | ${EXIT_CODES.warn} |
| \`bad\` | Longshore cannot keep its promises here | ${EXIT_CODES.bad} |
| \`hangs\` | a call did not come back in time | ${EXIT_CODES.hangs} |

The exit code is that of the worst finding. 78 are settings that break a rule, 130 an interruption.

${Object.entries(PARTS)
  .map(([part, title]) => section(part, title))
  .join('\n\n')}

A pod that tests runs \`runnerImage\` as the user of script pods, with restricted pod security, for 90 s at most. The
program of the test comes with the pod, so that the image may be of another version. The two pods talk to each other over
TCP, so that the time from a change to its sight is measured by one clock. The rights of [the agent](rbac.md) are enough.
With \`claimAccess\` \`rwo\` there is nothing to test between nodes.

## JSON

\`--json\` prints one object on one line. Members are added, never renamed.

${table(
  ['member', 'type', 'what it says'],
  [
    ['`version`', '1', 'of this form'],
    ['`volume`', 'text', 'absolute path'],
    ['`startedAt`', 'text', 'RFC 3339, UTC'],
    ['`seconds`', 'number', 'how long it took'],
    ['`verdict`', 'text', 'the worst one'],
    ['`exitCode`', 'number', 'what the program exits with'],
    [
      '`findings`',
      'array',
      'in the order of the tables above; a check that had no time, or whose premise failed, has none',
    ],
    ['`findings[].check`', 'text', 'a name of the tables above; one check may have several findings'],
    ['`findings[].verdict`', 'text', 'its verdict'],
    ['`findings[].says`', 'text', 'a sentence'],
    ['`findings[].measured`', 'text, optional', 'what was measured, for people'],
    ['`findings[].figures`', 'object of numbers, optional', 'the same for machines, units in the names'],
    ['`findings[].advice`', 'text, optional', 'what to do, and why'],
    ['`findings[].code`', 'text, optional', 'the [code](failures.md) that it would have in Longshore'],
  ],
)}
`;
}

function section(part: string, title: string): string {
  const rows = Object.entries(CHECKS)
    .filter(([, row]) => row.part === part)
    .map(([name, { does, why, otherwise }]) => [`\`${name}\``, does, why, otherwise]);
  return `## ${title}\n\n${table(['check', 'what is done', 'what rests on it', 'when it is not good'], rows)}`;
}
