// The WASM kernel: kernel/*.ts (AssemblyScript) -> src/kernel/wasm-bytes.ts, which is committed.
// node packages/format/scripts/build-kernel.mjs [--check]
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(root, 'src/kernel/wasm-bytes.ts');
/** All the memory the kernel ever has; pages cost nothing until they are touched. It never grows, so views stay valid. */
const PAGES = 1024;

const outputs = new Map();
const { error, stderr } = await asc.main(
	[
		'kernel/index.ts',
		'--baseDir',
		root,
		'-O3',
		'--converge',
		'--noAssert',
		'--runtime',
		'stub',
		'--enable',
		'simd',
		'--initialMemory',
		String(PAGES),
		'--maximumMemory',
		String(PAGES),
		'--use',
		'abort=',
		'--outFile',
		'kernel.wasm',
	],
	{ writeFile: (name, contents) => void outputs.set(name, contents) },
);
if (error) {
	process.stderr.write(stderr.toString());
	throw error;
}
const bytes = outputs.get('kernel.wasm');
const text = `// Made by packages/format/scripts/build-kernel.mjs from packages/format/kernel/*.ts; do not edit.

/** The WASM kernel (${bytes.length} bytes), base64. */
export const WASM_BASE64: string =
	'${Buffer.from(bytes).toString('base64')}';
`;
if (process.argv.includes('--check')) {
	const same = readFileSync(target, 'utf8') === text;
	process.stdout.write(
		same
			? `wasm-bytes.ts is what the sources give (${bytes.length} bytes)\n`
			: 'wasm-bytes.ts is stale: run node packages/format/scripts/build-kernel.mjs\n',
	);
	process.exitCode = same ? 0 : 1;
} else {
	writeFileSync(target, text);
	process.stdout.write(`wrote ${target} (${bytes.length} bytes of WASM)\n`);
}
