#!/usr/bin/env node
/**
 * `node scripts/fixtures-manifest.mjs [--check]`: manifest.json of fixtures/runtime and fixtures/training, the size and sha256 of
 * every file there. How each was made stands in their README.md. With --check: exit 1 where a manifest is not what is there.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

for (const folder of ['runtime', 'training']) {
	const root = path.join(import.meta.dirname, '../fixtures', folder);
	const target = path.join(root, 'manifest.json');
	const files = fs
		.readdirSync(root, { recursive: true, withFileTypes: true })
		.filter((e) => e.isFile())
		.map((e) => path.relative(root, path.join(e.parentPath, e.name)).split(path.sep).join('/'))
		.filter((name) => name !== 'manifest.json')
		.sort();
	const entries = files.map((name) => {
		const bytes = fs.readFileSync(path.join(root, name));
		return [name, { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }];
	});
	const text = `${JSON.stringify({ files: Object.fromEntries(entries) }, null, '\t')}\n`;
	if (process.argv.includes('--check')) {
		const same = fs.existsSync(target) && fs.readFileSync(target, 'utf8') === text;
		const state = same ? 'up to date' : 'NOT up to date: node scripts/fixtures-manifest.mjs';
		console.log(`${files.length} files in fixtures/${folder}, manifest ${state}`);
		if (!same) process.exitCode = 1;
	} else fs.writeFileSync(target, text);
}
