import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, Option } from 'commander';
import { UsageError } from '../usage-error.js';
import type { Io } from './io.js';

const TEMPLATES = fileURLToPath(new URL('../../templates', import.meta.url));

const HARNESS = { python: 'harness.py', node: 'harness.mjs', shell: 'harness.sh' } as const;
const COMMAND = { python: 'python3 harness.py', node: 'node harness.mjs', shell: 'sh harness.sh' } as const;

interface InitFlags {
	readonly language: keyof typeof HARNESS;
	readonly force?: boolean;
}

/** `lora-conformance init` */
export function defineInit(command: Command, io: Io): void {
	command
		.description('write a harness skeleton, a workflow and an empty known-failing list into a folder')
		.argument('[dir]', 'folder', '.')
		.addOption(new Option('--language <name>', 'of the harness').choices(['python', 'node', 'shell']).default('python'))
		.option('-f, --force', 'replace files that are there')
		.action((dir: string, flags: InitFlags) => {
			const version = (JSON.parse(fs.readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { readonly version: string })
				.version;
			const harness = HARNESS[flags.language];
			const files: readonly (readonly [from: string, to: string])[] = [
				[harness, harness],
				['known-failing.txt', 'known-failing.txt'],
				['workflow.yml', '.github/workflows/lora-conformance.yml'],
			];
			const there = files.map(([, to]) => path.join(dir, to)).filter((file) => fs.existsSync(file));
			if (there.length > 0 && flags.force !== true) throw new UsageError(`${there.join(', ')} is there already; --force replaces it.`);
			for (const [from, to] of files) {
				const target = path.join(dir, to);
				fs.mkdirSync(path.dirname(target), { recursive: true });
				const text = fs.readFileSync(path.join(TEMPLATES, from), 'utf8');
				fs.writeFileSync(target, text.replaceAll('{{version}}', version).replaceAll('{{command}}', COMMAND[flags.language]));
				io.out(`${target}\n`);
			}
			io.out(
				`\nNext: fill in ${harness}, then\n  npx lora-conformance@${version} run --subject '${COMMAND[flags.language]}' --known-failing known-failing.txt\n`,
			);
		});
}
