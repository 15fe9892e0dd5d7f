import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { loadSuite } from '../src/suite/load-suite.js';

const PAGE = fs.readFileSync(fileURLToPath(new URL('../PROTOCOL.md', import.meta.url)), 'utf8');

it('the page lists the features that cases ask for, and no others', () => {
	const [, line = ''] = /^- `features` a case may ask for\.(.*)$/m.exec(PAGE) ?? [];
	const listed = [...line.matchAll(/`([\w-]+)`/g)].map((m) => m[1] ?? '');
	const asked = new Set(loadSuite().cases.flatMap((c) => c.features ?? []));
	expect([...listed].sort()).toEqual([...asked].sort());
});
