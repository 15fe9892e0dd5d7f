import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '..');
const FOLDERS = ['bench', 'scripts', 'scripts/docs', 'scripts/parity', 'scripts/shapes'];
const scripts = FOLDERS.flatMap((folder) =>
	fs
		.readdirSync(path.join(ROOT, folder))
		.filter((name) => name.endsWith('.mjs'))
		.map((name) => `${folder}/${name}`),
);

/** Named imports of local files; these scripts are plain JavaScript, which no compiler looks at. */
function importsOf(script: string): readonly { readonly from: string; readonly names: readonly string[] }[] {
	const text = fs.readFileSync(path.join(ROOT, script), 'utf8');
	return [...text.matchAll(/^import\s*\{([^}]*)\}\s*from\s*'(\.[^']+)';/gm)].map(([, names = '', from = '']) => ({
		from: path.resolve(ROOT, path.dirname(script), from),
		names: names
			.split(',')
			.map((name) => (name.trim().split(/\s+as\s+/)[0] ?? '').trim())
			.filter((name) => name !== ''),
	}));
}

describe('scripts', () => {
	it('are found', () => expect(scripts.length).toBeGreaterThan(40));

	it.each(scripts)('%s imports what is there', async (script) => {
		for (const { from, names } of importsOf(script)) {
			expect(fs.existsSync(from), from).toBe(true);
			// Scripts import each other when they run at all; what is built changes without them.
			if (!from.includes(`${path.sep}dist${path.sep}`)) continue;
			const exported = Object.keys((await import(from)) as object);
			for (const name of names) expect(exported, `${name} of ${path.relative(ROOT, from)}`).toContain(name);
		}
	});
});
