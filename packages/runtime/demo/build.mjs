import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

/**
 * Builds the demo into a folder that any static server can serve: page, worker, ONNX Runtime's WebAssembly, and the
 * examples of `fixtures/runtime`. Nothing in it is fetched from elsewhere.
 */
const here = path.dirname(fileURLToPath(import.meta.url));
const packages = path.join(here, '../..');
const fixtures = path.join(packages, '../fixtures/runtime');

const ORT = path.dirname(createRequire(import.meta.url).resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'));
/** CPU, and WebGPU. */
const WASM = ['ort-wasm-simd-threaded', 'ort-wasm-simd-threaded.asyncify'];

const ADAPTERS = [
	{ name: 'striped', prompt: 'a large striped red ring' },
	{ name: 'crescent', prompt: 'a zqx crescent' },
];

/** @param {string} folder what was in it is removed */
export async function buildDemo(folder) {
	fs.rmSync(folder, { recursive: true, force: true });
	fs.mkdirSync(folder, { recursive: true });
	const bundle = await rolldown({
		input: { page: path.join(here, 'src/page.ts'), worker: path.join(here, 'src/worker.ts') },
		platform: 'browser',
		tsconfig: false,
		resolve: {
			alias: {
				'@lorakit/format': path.join(packages, 'format/src/index.ts'),
				'@lorakit/runtime': path.join(packages, 'runtime/src/index.ts'),
				// Without its own loader inside, which threads start from, so that it must be a file of its own; and only what is copied.
				'onnxruntime-web/webgpu': path.join(ORT, 'ort.webgpu.min.mjs'),
				'onnxruntime-web': path.join(ORT, 'ort.wasm.min.mjs'),
			},
			extensionAlias: { '.js': ['.ts', '.js'] },
		},
	});
	const { output } = await bundle.write({
		dir: folder,
		format: 'esm',
		minify: true,
		chunkFileNames: '[name]-[hash].js',
		comments: { legal: true },
	});
	await bundle.close();
	for (const chunk of output) {
		const outside = chunk.type === 'chunk' ? chunk.imports.filter((name) => !output.some(({ fileName }) => fileName === name)) : [];
		if (outside.length > 0) throw new Error(`${chunk.fileName} imports ${outside.join(', ')}, which a browser has not`);
	}
	for (const name of ['index.html', 'demo.css']) fs.copyFileSync(path.join(here, name), path.join(folder, name));
	copyRuntime(path.join(folder, 'ort'));
	copyExamples(path.join(folder, 'examples'));
}

function copyRuntime(target) {
	fs.mkdirSync(target);
	for (const name of WASM.flatMap((stem) => [`${stem}.mjs`, `${stem}.wasm`]))
		fs.copyFileSync(path.join(ORT, name), path.join(target, name));
}

function copyExamples(target) {
	fs.mkdirSync(path.join(target, 'adapters'), { recursive: true });
	fs.cpSync(path.join(fixtures, 'tiny-shapes'), path.join(target, 'tiny-shapes'), { recursive: true });
	const files = fs
		.readdirSync(path.join(target, 'tiny-shapes'), { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile())
		.map((entry) => path.relative(target, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
		.sort();
	const adapters = ADAPTERS.map(({ name, prompt }) => {
		const file = `adapters/${name}.safetensors`;
		fs.copyFileSync(path.join(fixtures, file), path.join(target, file));
		return { name, prompt, files: [file] };
	});
	fs.writeFileSync(path.join(target, 'index.json'), JSON.stringify({ bases: [{ name: 'tiny-shapes', files }], adapters }));
}
