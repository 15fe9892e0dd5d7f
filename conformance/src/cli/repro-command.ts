import fs from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import { buildRequest } from '../run/build-request.js';
import type { CaseResult } from '../run/result.js';
import { runSuite } from '../run/run-suite.js';
import { type Case, PROFILES, type Profile } from '../suite/case.js';
import { fileRefs, loadSuite, type Suite } from '../suite/load-suite.js';
import { UsageError } from '../usage-error.js';
import type { Io } from './io.js';
import { caseOf } from './list-command.js';

interface ReproFlags {
	readonly suite?: string;
	readonly subject?: string;
	readonly profile?: Profile;
	readonly out?: string;
	readonly force?: boolean;
}

/** `lora-conformance repro ID` */
export function defineRepro(command: Command, io: Io): void {
	command
		.description('a folder to attach to a bug report: inputs, expected, got, and a ten-line script')
		.argument('<id>', 'id of the case')
		.option('--suite <dir>', 'another folder of cases')
		.option('--subject <command>', 'ask this program too, and keep what it wrote')
		.addOption(new Option('--profile <name>', 'judge by this profile').choices([...PROFILES]))
		.option('-o, --out <dir>', 'folder to write; default: the id with dashes')
		.option('-f, --force', 'write into a folder that is there')
		.action(async (id: string, flags: ReproFlags) => {
			const suite = loadSuite(flags.suite);
			const entry = caseOf(suite, id);
			const out = flags.out ?? id.replaceAll('/', '-');
			if (fs.existsSync(out) && flags.force !== true) throw new UsageError(`${out} is there already; give --out or --force.`);
			writeRepro(suite, entry, out);
			const result = flags.subject === undefined ? undefined : await ask(suite, entry, flags.subject, flags.profile, path.join(out, 'got'));
			fs.writeFileSync(path.join(out, 'README.md'), readme(suite, entry, result));
			io.out(`${out}\n`);
		});
}

function writeRepro(suite: Suite, entry: Case, out: string): void {
	fs.mkdirSync(path.join(out, 'got'), { recursive: true });
	const requested = new Set(fileRefs(entry.request));
	for (const ref of fileRefs(entry)) {
		const target = path.join(out, requested.has(ref) ? 'inputs' : 'expected', ref.slice('files/'.length));
		fs.mkdirSync(path.dirname(target), { recursive: true });
		fs.copyFileSync(path.join(suite.dir, ref), target);
	}
	const request = buildRequest(entry, 1, 'got', (ref) => path.posix.join('inputs', ref.slice('files/'.length)));
	fs.writeFileSync(path.join(out, 'request.json'), `${JSON.stringify(request, null, '\t')}\n`);
	fs.writeFileSync(path.join(out, 'case.json'), `${JSON.stringify(entry, null, '\t')}\n`);
	fs.writeFileSync(path.join(out, 'repro.py'), SCRIPT.replace('SUITE', suite.version));
}

/** Ten lines that ask the subject again, from this folder. */
const SCRIPT = `# python3 repro.py 'command of the subject': asks it this one case and prints its answer; tensors land in got/
import json, os, subprocess, sys
here = os.path.dirname(os.path.abspath(__file__))
absolute = lambda v: os.path.join(here, v) if isinstance(v, str) and v.split("/")[0] in ("inputs", "got") else \\
    {k: absolute(x) for k, x in v.items()} if isinstance(v, dict) else [absolute(x) for x in v] if isinstance(v, list) else v
request = absolute(json.load(open(os.path.join(here, "request.json"))))
subject = subprocess.Popen(sys.argv[1], shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
for line in ({"id": 0, "op": "start", "protocol": 1, "suite": "SUITE"}, request, {"id": 2, "op": "stop"}):
    print(json.dumps(line), file=subject.stdin, flush=True)
    if line["op"] != "stop": print(subject.stdout.readline(), end="")
`;

async function ask(suite: Suite, entry: Case, command: string, profile: Profile | undefined, got: string): Promise<CaseResult | undefined> {
	const { results } = await runSuite({
		suite,
		cases: [entry],
		command,
		profile,
		jobs: 1,
		limits: { timeout: 60_000, startTimeout: 120_000, memory: 4 * 2 ** 30 },
		isolation: 'auto',
		keep: ({ dir }) => fs.cpSync(dir, got, { recursive: true }),
	});
	return results[0];
}

function readme(suite: Suite, entry: Case, result: CaseResult | undefined): string {
	const lines = [
		`# ${entry.id}`,
		'',
		entry.title,
		'',
		`Rule: ${entry.reference.rule}${entry.reference.implementation === undefined ? '' : ` (${entry.reference.implementation})`}`,
		'',
		...entry.source.map(({ url, says }) => `- ${url}: ${says}`),
		'',
	];
	if (entry.tolerance !== undefined) lines.push(`Tolerance: ${entry.tolerance.derivation}`, '');
	if (result !== undefined) {
		lines.push('## Result', '', `${result.status}${result.message === '' ? '' : `: ${result.message}`}`, '');
		const d = result.diagnosis;
		if (d !== null)
			lines.push(
				`**${d.code}**${d.detail === undefined ? '' : ` (${d.detail})`}: ${d.sentence}`,
				'',
				...d.modules.map((m) => `- \`${m}\``),
				'',
			);
	}
	lines.push(
		'## Again',
		'',
		'```',
		"python3 repro.py 'command of the subject'",
		`npx lora-conformance@${suite.version} run --subject 'command of the subject' --filter ${entry.id}`,
		'```',
		'',
		'`inputs/` is what the subject gets, `expected/` what it is compared with, `got/` what it wrote, `request.json` the line it is asked.',
		'',
	);
	return lines.join('\n');
}
