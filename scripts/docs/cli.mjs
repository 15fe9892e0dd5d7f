// Writes docs/cli.md from the built command line: the help of every command, and real examples with their real output.
// `node scripts/docs/cli.mjs` writes; `--check` only compares and exits 1 when the page is not up to date.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeBase } from './make-base.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const page = join(root, 'docs/cli.md');
const lora = join(root, 'packages/cli/bin/lora.js');

// The examples run here, on these files.
const work = mkdtempSync(join(tmpdir(), 'lorakit-docs-'));
const fixture = (from, to) => copyFileSync(join(root, 'fixtures', from), join(work, to));
fixture('safetensors/kohya-mini.safetensors', 'style.safetensors');
for (const [from, to] of [
	['legacy_nonzip_r1.pt', 'in.pt'],
	['r4.text_encoder.pt', 'in.text_encoder.pt'],
	['r4.ti.pt', 'in.ti.pt'],
])
	fixture(`adapters/cloneofsimo/${from}`, to);
fixture('adapters/diffusers/peft_alpha_part.safetensors', 'detail.safetensors');
fixture('adapters/kohya/kohya_attn_bf16_part.safetensors', 'ink.safetensors');
await makeBase(join(work, 'base'), [join(work, 'style.safetensors')]);
await makeBase(join(work, 'other'), [join(work, 'detail.safetensors')]);
fixture('runtime/adapters/striped.safetensors', 'striped.safetensors');
cpSync(join(root, 'fixtures/runtime/tiny-shapes'), join(work, 'shapes'), { recursive: true });
cpSync(join(root, 'fixtures/training/imagefolder'), join(work, 'pictures'), { recursive: true });
mkdirSync(join(work, 'loras'));
for (const name of ['a', 'b']) fixture('safetensors/kohya-mini.safetensors', `loras/${name}.safetensors`);

const COMMANDS = [
	['inspect', ['inspect style.safetensors']],
	['validate', ['validate style.safetensors in.pt']],
	['check', ['check style.safetensors --target comfyui', 'check style.safetensors --target peft']],
	[
		'convert',
		[
			'convert in.pt out.safetensors --order new',
			'convert style.safetensors peft.safetensors --to peft --receipt receipt.json',
			'convert loras --out-dir converted --jobs 1 --quiet',
		],
	],
	[
		'fuse',
		[
			'fuse base style.safetensors@0.8 --out fused --reversible',
			'fuse base style.safetensors@0.8:te=0 --out half --dry-run',
			'fuse other style.safetensors --out wrong',
		],
	],
	['unfuse', ['unfuse fused --out original']],
	['verify', ['verify base style.safetensors@0.8 fused', 'verify base style.safetensors fused']],
	[
		'merge',
		[
			'merge ink.safetensors@0.7 detail.safetensors@-0.4 --out both.safetensors --verify',
			'merge ink.safetensors@0.7 detail.safetensors@-0.4 --out small.safetensors --rank 2 --to kohya',
		],
	],
	['scale', ['scale style.safetensors softer.safetensors --by 0.5']],
	['split', ['split style.safetensors --out-dir parts']],
	['join', ['join parts/style.unet.safetensors parts/style.text_encoder.safetensors --out whole.safetensors']],
	['resize', ['resize ink.safetensors small-ink.safetensors --rank 2', 'resize ink.safetensors tiny-ink.safetensors --sv-fro 0.9']],
	['extract', ['extract fused base --rank 1 --out again.safetensors']],
	['diff', ['diff ink.safetensors small-ink.safetensors', 'diff style.safetensors again.safetensors']],
	['generate', ['generate --base shapes --lora striped.safetensors@0.8 --prompt star --seed 7 --num 2 --out stars --dry-run']],
	[
		'train',
		['train text-to-image --base shapes --data pictures --resolution 64 --steps 400 --batch-size 4 --out style --dry-run --no-measure'],
		// They differ in their examples and defaults alone.
		['text-to-image'],
	],
	// What works depends on the machine.
	['doctor', []],
	['hash', ['hash style.safetensors']],
	[
		'meta',
		[
			'meta show style.safetensors',
			'meta set style.safetensors modelspec.title=Style --in-place',
			'meta strip style.safetensors --private --out clean.safetensors',
		],
	],
	['explain', ['explain E_AMBIGUOUS']],
	['completion', []],
];

function run(args) {
	const { status, stdout, stderr } = spawnSync(process.execPath, [lora, ...args], {
		cwd: work,
		encoding: 'utf8',
		env: { PATH: process.env.PATH, HOME: work },
	});
	return { status, stdout, stderr };
}

const parts = [
	'# The command line',
	'',
	'<!-- Made by scripts/docs/cli.mjs from the built program: every output below is what it prints. -->',
	'',
	'`lora COMMAND …`, and `lora-convert IN OUT`, which is `lora convert IN OUT`.',
	'',
	'```',
	run(['--help']).stdout.trimEnd(),
	'```',
	'',
	'Results go to standard output. Codes (`E_…` refuses, `W_…` warns) go to standard error, one line each: `CODE: sentence`; so do notes and the progress line, which is drawn on a terminal only, after a second. `--json` prints a document of the schema that `--schema` prints; of several files one document a line, and for a refused file `{"schema":"lora.error/1",…}`. `-q` prints paths only. `LORAKIT_DEBUG=1` adds stack traces.',
	'',
];
for (const [name, examples, subs = []] of COMMANDS) {
	parts.push(`## lora ${name}`, '', '```', run([name, '--help']).stdout.trimEnd(), '```', '');
	for (const sub of subs) parts.push('```', run([name, sub, '--help']).stdout.trimEnd(), '```', '');
	for (const example of examples) {
		const { status, stdout, stderr } = run(example.split(' '));
		const exit = status === 0 ? [] : [`(exit code ${status})`];
		const texts = [stderr.trimEnd(), stdout.trimEnd(), ...exit].filter((t) => t !== '');
		parts.push('```console', `$ lora ${example}`, ...texts, '```', '');
	}
}
rmSync(work, { recursive: true, force: true });
const text = `${parts.join('\n').trimEnd()}\n`;
if (process.argv.includes('--check')) {
	let before = '';
	try {
		before = readFileSync(page, 'utf8');
	} catch {
		// Not there: stale.
	}
	if (before !== text) {
		console.error('docs/cli.md is not up to date: node scripts/docs/cli.mjs');
		process.exit(1);
	}
} else writeFileSync(page, text);
