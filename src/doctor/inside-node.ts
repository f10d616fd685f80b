import { promises as fs } from 'node:fs';
import { meaningOf } from '../mount/errno.ts';
import { MARK, VISITED, type NodeHost, type NodeOrder } from './node-words.ts';

/** Looks at a folder that the kubelet has mounted by subPath, and leaves word there that it came. */
export async function insideNode({ folder, word }: NodeOrder, { say }: NodeHost): Promise<void> {
  const entries = (await fs.readdir(folder)).slice(0, 20);
  say({ type: 'inside', isThere: (await markIn(folder)) === word, entries });
  await fs.writeFile(`${folder}/${VISITED}`, word);
}

async function markIn(folder: string): Promise<string | undefined> {
  try {
    return await fs.readFile(`${folder}/${MARK}`, 'latin1');
  } catch (error) {
    if (meaningOf(error) === 'absent') return undefined;
    throw error;
  }
}
