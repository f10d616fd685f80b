/** The scripts that a trial has under way when something happens to the storage. */
import type { ScriptRequest } from '../../src/client/client.ts';
import type { Collected } from './collected.ts';
import type { Lane } from './lane.ts';

export const storages = ['shared', 'copied'] as const;
export type Storage = (typeof storages)[number];

/** What a script is at when it happens. */
export const moments = ['before start', 'while running', 'while writing output'] as const;
export type Moment = (typeof moments)[number];

export interface TrialScript {
  readonly storage: Storage;
  readonly moment: Moment;
  readonly ticket: string;
  readonly request: ScriptRequest;
}

/** All of them, in the order in which they are started: who waits stands behind who runs. */
export function trialScripts(lane: Lane, which: readonly Storage[] = storages): TrialScript[] {
  return which.flatMap((storage) => {
    const isolation = { level: 'full', name: storage } as const;
    const make = (moment: Moment, more: Partial<ScriptRequest>): TrialScript => {
      const ticket = `${storage}-${moment.replaceAll(' ', '-')}`;
      const body = bodies[moment].replaceAll('{}', String(lane.number));
      const files = [{ path: 'given', content: 'given\n' }];
      return { storage, moment, ticket, request: { language: 'bash', body, files, storage, ...more } };
    };
    return [
      make('while running', { isolation }),
      make('while writing output', {}),
      make('before start', { isolation }),
    ];
  });
}

/** Each ends when the guest has the file /lanes/N/go, which lies on no mount, and ends with 9 when a write fails. */
const bodies: Readonly<Record<Moment, string>> = {
  'before start': `
    touch "/lanes/{}/state/ran-$LONGSHORE_TICKET"
    cat given || exit 9
    echo end`,
  'while running': `
    echo up
    until [ -e /lanes/{}/go ]; do sleep 1; done
    cat given || exit 9
    echo end`,
  'while writing output': `
    n=0
    until [ -e /lanes/{}/go ]; do
      n=$((n + 1))
      echo "line $n"
      echo "$n" >>"$LONGSHORE_ARTIFACTS/numbers" || exit 9
      [ $n -gt 1 ] || echo up
      sleep 1
    done
    echo "all $n"`,
};

/** Says what is missing of a script that is called successful; undefined when it is whole. */
export async function lossOf(lane: Lane, script: TrialScript, seen: Collected): Promise<string | undefined> {
  const { stdout, said } = seen;
  if (script.moment !== 'while writing output')
    return stdout.endsWith('given\nend\n') ? undefined : `it wrote ${JSON.stringify(stdout)}`;
  const count = Number(/^all (\d+)\n$/m.exec(stdout.slice(stdout.lastIndexOf('all ')))?.[1] ?? 0);
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  const lines = numbers.map((n) => (n === 1 ? 'line 1\nup\n' : `line ${n}\n`)).join('');
  if (count === 0 || stdout !== `${lines}all ${count}\n`) return `its journal is ${JSON.stringify(stdout)}`;
  // What was left on the local disk of a copied script may stay there, as long as that is said.
  if (script.storage === 'copied' && said.some((text) => /not (been )?collected/.test(text)))
    return undefined;
  const left = await artifactOf(lane, script.ticket);
  return left === numbers.map((n) => `${n}\n`).join('')
    ? undefined
    : `its artifact is ${JSON.stringify(left)}`;
}

async function artifactOf(lane: Lane, ticket: string): Promise<string> {
  let text = '';
  for await (const chunk of await lane.client.artifact(ticket, 'numbers')) text += String(chunk);
  return text;
}
