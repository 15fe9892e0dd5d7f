// Writes the version of conformance/package.json into every file that says it; `npm run version` runs it behind
// `changeset version`. node conformance/scripts/sync-version.mjs [--check] [--root DIR]
// Not written: docs/conformance/matrix.md (what was measured, with which version) and `since` of cases.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const option = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const root = option('--root') ?? fileURLToPath(new URL('../..', import.meta.url));
const check = process.argv.includes('--check');
const read = (file) => readFileSync(path.join(root, file), 'utf8');
const { version } = JSON.parse(read('conformance/package.json'));
const INPUT = /(^ +version:\n(?: {4,}.*\n)*? +default: ")[^"]*/m;
const SUITE = /^(\t"suite": ")[^"]*/m;
const wrong = [];

/** The text with the one place that `pattern` finds behind its group 1 replaced. */
function replaced(file, text, pattern, value) {
	if (!pattern.test(text)) throw new Error(`${file}: ${pattern} fits nothing; the file has changed, so must sync-version.mjs`);
	return text.replace(pattern, (_, before) => before + value);
}

function write(file, before, after) {
	if (after === before) return;
	wrong.push(file);
	if (!check) writeFileSync(path.join(root, file), after);
}

for (const [file, pattern] of [
	['conformance/action.yml', INPUT],
	['conformance/templates/reusable-workflow.yml', INPUT],
	['.github/workflows/lora-conformance.yml', INPUT],
	['conformance/PROTOCOL.md', /("op":"start","protocol":1,"suite":")[^"]*/],
]) {
	const text = read(file);
	write(file, text, replaced(file, text, pattern, version));
}

// What make.py would write: the suite's version, and the manifest's new hash in the provenance.
const MANIFEST = 'conformance/cases/manifest.json';
const PROVENANCE = 'conformance/generate/provenance.json';
const manifest = read(MANIFEST);
const after = replaced(MANIFEST, manifest, SUITE, version);
const hash = createHash('sha256').update(after).digest('hex');
write(MANIFEST, manifest, after);
const provenance = read(PROVENANCE);
write(
	PROVENANCE,
	provenance,
	replaced(PROVENANCE, replaced(PROVENANCE, provenance, SUITE, version), /(^\t\t"manifest\.json": ")[0-9a-f]{64}/m, hash),
);

if (wrong.length > 0) process.stdout.write(`${check ? 'not at' : 'set to'} ${version}: ${wrong.join(', ')}\n`);
process.exitCode = check && wrong.length > 0 ? 1 : 0;
