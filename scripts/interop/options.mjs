import path from 'node:path';

const HELP = `Usage: npm run interop -- [options]

Converts every reference case to every layout and opens the results in the real loaders, comparing each module's delta.

  --reference DIR     reference set (default ../shared/reference)
  --python PY         Python with torch, safetensors, peft, transformers (default $LORAKIT_PYTHON, else python3)
  --diffusers SRC     snapshot of huggingface/diffusers (default $LORAKIT_DIFFUSERS, else the installed package)
  --kohya SRC         snapshot of kohya-ss/sd-scripts (default $LORAKIT_KOHYA)
  --cloneofsimo SRC   snapshot of cloneofsimo/lora (default $LORAKIT_CLONEOFSIMO)
  --only TEXT         only jobs whose name contains TEXT (case>layout.container)
  --loader NAME       only one of containers, peft, diffusers, kohya, cloneofsimo (may be repeated)
  --keep DIR          write the converted files there and leave them
  --write-docs        write docs/interop.md
  --verbose           one line per check

Exit 0 when nothing failed (skipped checks are named), 1 on a failure, 2 on bad usage.`;

const VALUES = new Set(['reference', 'python', 'diffusers', 'kohya', 'cloneofsimo', 'only', 'loader', 'keep']);
const SWITCHES = new Set(['write-docs', 'verbose', 'help']);

/**
 * @param {readonly string[]} argv
 * @param {Record<string, string | undefined>} env
 */
export function parseOptions(argv, env) {
	const given = new Map();
	const loaders = [];
	for (let i = 0; i < argv.length; i++) {
		const [name, inline] = argv[i].replace(/^--/, '').split(/=(.*)/s, 2);
		if (!argv[i].startsWith('--') || !(VALUES.has(name) || SWITCHES.has(name))) return { error: `unknown argument ${argv[i]}\n${HELP}` };
		if (SWITCHES.has(name)) given.set(name, true);
		else {
			const value = inline ?? argv[++i];
			if (value === undefined) return { error: `--${name} needs a value\n${HELP}` };
			if (name === 'loader') loaders.push(value);
			else given.set(name, value);
		}
	}
	if (given.has('help')) return { help: HELP };
	const folder = (value) => (value === undefined || value === '' ? undefined : path.resolve(value));
	const diffusers = folder(given.get('diffusers') ?? env.LORAKIT_DIFFUSERS);
	return {
		reference: path.resolve(given.get('reference') ?? path.join(import.meta.dirname, '../../../shared/reference')),
		python: given.get('python') ?? env.LORAKIT_PYTHON ?? 'python3',
		diffusers,
		kohya: folder(given.get('kohya') ?? env.LORAKIT_KOHYA),
		cloneofsimo: folder(given.get('cloneofsimo') ?? env.LORAKIT_CLONEOFSIMO),
		only: given.get('only'),
		loaders,
		keep: folder(given.get('keep')),
		writeDocs: given.has('write-docs'),
		verbose: given.has('verbose'),
	};
}
