/** What the prose refers to is there: files, headings, decisions, invariants. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'tap';

const pages = ['README.md', ...globSync('docs/**/*.md')];
const textOf = (page: string): string => readFileSync(page, 'utf8');

/** The anchor that a heading gets, as the usual renderers make it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .trim()
    .replaceAll(' ', '-');
}

function anchorsOf(page: string): Set<string> {
  const text = textOf(page);
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading));
  const named = [...text.matchAll(/<a (?:id|name)="([^"]+)"/g)].map(([, name = '']) => name);
  return new Set([...headings, ...named]);
}

function deadLinksOf(page: string): string[] {
  const prose = textOf(page).replace(/^```.*?^```$/gms, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = '']) => {
    if (/^[a-z]+:/.test(link)) return [];
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? page : join(dirname(page), path);
    if (!existsSync(target)) return [`${page}: ${link} leads nowhere`];
    const missing = anchor !== undefined && !anchorsOf(target).has(anchor);
    return missing ? [`${page}: ${link} has no such heading`] : [];
  });
}

test('every link inside the project leads to a file, and to a heading that is there', async (t) => {
  t.same(pages.flatMap(deadLinksOf), []);
});

test('every decision has context, decision or reason, consequences or alternative, and a status of the index', async (t) => {
  const index = textOf('docs/decisions/README.md');
  for (const page of globSync('docs/decisions/[0-9]*.md')) {
    const name = page.slice(page.lastIndexOf('/') + 1);
    const status = /^\*\*Status\.\*\* (Accepted|Rejected)\.$/m.exec(textOf(page))?.[1]?.toLowerCase();
    const parts =
      status === 'rejected' ? ['Context', 'Why not', 'Instead'] : ['Context', 'Decision', 'Consequences'];
    for (const part of parts) t.match(textOf(page), `**${part}.**`, `${name} says ${part}`);
    t.match(
      index.split('\n').find((line) => line.includes(`(${name})`)),
      `| ${status} `,
      `${name} is in the index`,
    );
  }
});

test('tests cite invariants that docs/design.md has', async (t) => {
  const numbers = [...textOf('docs/design.md').matchAll(/^(\d+)\. \*\*/gm)].map(([, number]) =>
    Number(number),
  );
  t.same(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  const cited = globSync('test/**/*.ts').flatMap((file) =>
    [...textOf(file).matchAll(/invariants? ((?:\d+(?:, | and )?)+)/g)].flatMap(
      ([, list = '']) => list.match(/\d+/g) ?? [],
    ),
  );
  t.same(
    cited.map(Number).filter((number) => !numbers.includes(number)),
    [],
  );
});
