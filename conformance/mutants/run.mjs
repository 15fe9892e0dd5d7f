// Every wrong subject against the suite: caught? named rightly? And the right ones, at each precision: passed?
// node mutants/run.mjs [--suite DIR] [--json FILE] [--only NAME] [--filter PATTERN]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { FAULTS } from './faults.mjs';

const option = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const here = path.dirname(fileURLToPath(import.meta.url));
const out = mkdtempSync(path.join(tmpdir(), 'mutants-'));
const suite = option('--suite') === undefined ? [] : ['--suite', option('--suite')];
const filter = option('--filter') === undefined ? [] : ['--filter', ...option('--filter').split(',')];

function run(args) {
	const file = path.join(out, 'report.json');
	const subject = `"${process.execPath}" "${path.join(here, 'subject.mjs')}" ${args}`;
	const done = spawnSync(
		process.execPath,
		[path.join(here, '../bin/lora-conformance.js'), 'run', '--subject', subject, ...suite, ...filter, '--json', file, '-q'],
		{ encoding: 'utf8' },
	);
	if (done.status !== 0 && done.status !== 1) throw new Error(`${args}: ${done.stderr}`);
	return JSON.parse(readFileSync(file, 'utf8'));
}

const rows = [];
const only = option('--only');
for (const precision of only === undefined ? ['f32', 'f16', 'bf16'] : []) {
	const { counts, results } = run(`--precision ${precision}`);
	const failed = results.filter((r) => r.status === 'failed').map((r) => r.id);
	rows.push({ name: `right at ${precision}`, right: true, caught: false, accused: failed, cases: counts.passed });
	process.stdout.write(
		`${failed.length === 0 ? 'ok  ' : 'BAD '} right at ${precision}: ${counts.passed} passed, ${counts.failed} failed ${failed.slice(0, 3).join(' ')}\n`,
	);
}
for (const [name, fault] of FAULTS) {
	if (only !== undefined && only !== name) continue;
	const { counts, diagnoses } = run(`--fault ${name} --precision ${fault.precision ?? 'f32'}`);
	const [first] = diagnoses;
	const said = first === undefined ? [] : [first.code, ...first.runnersUp];
	const caught = counts.failed > 0;
	const named = said.length <= 2 && (fault.codes ?? [name]).some((code) => said.includes(code));
	rows.push({ name, right: false, caught, named, said, cases: counts.failed });
	process.stdout.write(
		`${caught && named ? 'ok  ' : 'BAD '} ${name}: ${caught ? `caught in ${counts.failed}` : 'NOT CAUGHT'}, said ${said.join(' or ') || '-'}\n`,
	);
}
rmSync(out, { recursive: true });
const faults = rows.filter((r) => !r.right);
const caught = faults.filter((r) => r.caught).length;
const named = faults.filter((r) => r.named).length;
const accused = rows.filter((r) => r.right && r.accused.length > 0).length;
process.stdout.write(`${faults.length} wrong subjects: ${caught} caught, ${named} named rightly; ${accused} right subjects accused\n`);
if (option('--json') !== undefined) writeFileSync(option('--json'), `${JSON.stringify(rows, null, '\t')}\n`);
process.exitCode = caught === faults.length && accused === 0 && named >= faults.length - 3 ? 0 : 1;
