import { fileURLToPath } from 'node:url';

/** The program `name` beside the test at `testUrl`, compiled where the test is compiled. */
export function childProgram(testUrl: string, name: string): string {
  const extension = testUrl.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`./${name}.${extension}`, testUrl));
}
