import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'rolldown';

const here = path.dirname(fileURLToPath(import.meta.url));
const format = path.join(here, '../format');
const runtime = path.join(here, '../runtime');
const trainer = path.join(here, '../trainer');
const { version } = JSON.parse(fs.readFileSync(path.join(here, 'package.json'), 'utf8'));

/** The program starts once per file of somebody's loop: one small chunk per command, everything inside. */
export default defineConfig({
	input: {
		main: path.join(here, 'src/main.ts'),
		'main-convert': path.join(here, 'src/main-convert.ts'),
		'hash-worker': path.join(here, 'src/fuse/hash-worker.ts'),
		'resize-worker': path.join(here, 'src/resize/resize-worker.ts'),
	},
	platform: 'node',
	// Native code, looked for when it is needed: dependencies and peers of the package.
	external: ['onnxruntime-node', /^@tensorflow\//, 'sharp'],
	tsconfig: false,
	resolve: {
		alias: {
			'@lorakit/format/node': path.join(format, 'src/io/index.ts'),
			'@lorakit/format': path.join(format, 'src/index.ts'),
			'@lorakit/runtime/node': path.join(runtime, 'src/io/index.ts'),
			'@lorakit/runtime/engines/onnx': path.join(runtime, 'src/engines/onnx/index.ts'),
			'@lorakit/runtime/engines/tfjs': path.join(runtime, 'src/engines/tfjs/index.ts'),
			'@lorakit/runtime/ops': path.join(runtime, 'src/graph/ops.ts'),
			'@lorakit/runtime': path.join(runtime, 'src/index.ts'),
			'@lorakit/trainer/node': path.join(trainer, 'src/io/index.ts'),
			'@lorakit/trainer/gradients/tfjs': path.join(trainer, 'src/gradients/tfjs/index.ts'),
			'@lorakit/trainer': path.join(trainer, 'src/index.ts'),
		},
		extensionAlias: { '.js': ['.ts', '.js'] },
	},
	transform: { define: { LORAKIT_VERSION: JSON.stringify(version) } },
	plugins: [
		{ name: 'no-child-process', resolveId: stubChildProcess, load: loadStub },
		{ name: 'files', generateBundle: removeOldChunks, writeBundle: copySchemas },
	],
	output: {
		dir: path.join(here, 'dist'),
		format: 'cjs',
		// bin/start.js runs the chunks as scripts, which have require and no import().
		dynamicImportInCjs: false,
		entryFileNames: '[name].cjs',
		chunkFileNames: 'chunks/[name]-[hash].cjs',
		// Every file costs a millisecond to find and open: two chunks hold what nearly every command needs.
		codeSplitting: {
			groups: [
				{
					name: 'core',
					priority: 2,
					test: /commander|cli\/src\/(program|commands?|output|signals|terminal|write-descriptor)\.ts|format\/src\/(errors|codes|limits)\.ts/,
				},
				{
					name: 'read',
					priority: 1,
					test: /cli\/src\/(each-file|open-input|options|schema|progress|counting-source)\.ts|format\/src\/(metadata|modules|layouts|hashes|detect|load|runtimes|inspect|tensor|io\/(node-hasher|file-source|companion|resolve-input|expand-inputs|open-source|spec-kind|io-))/,
				},
			],
		},
		minify: true,
		comments: { legal: true },
	},
});

/** commander loads it for git-style sub-commands in files of their own, which there are none of; it costs milliseconds. */
function stubChildProcess(id) {
	return id === 'node:child_process' ? '\0no-child-process' : undefined;
}

function loadStub(id) {
	return id === '\0no-child-process' ? 'export default {};' : undefined;
}

/** Their names hold hashes, so old ones would stay for ever. */
function removeOldChunks({ dir }) {
	for (const folder of ['chunks', 'code-cache']) fs.rmSync(path.join(dir, folder), { recursive: true, force: true });
}

/** What `--schema` prints. */
function copySchemas({ dir }) {
	const target = path.join(dir, 'schema');
	fs.mkdirSync(target, { recursive: true });
	for (const folder of [path.join(format, 'schema'), path.join(here, 'schema')])
		for (const name of fs.readdirSync(folder)) fs.copyFileSync(path.join(folder, name), path.join(target, name));
}
