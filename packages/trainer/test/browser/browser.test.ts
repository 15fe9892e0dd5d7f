import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { createOnnxEngine } from '@lorakit/runtime/engines/onnx';
import { openBase } from '@lorakit/runtime/node';
import { type Browser, chromium, type Page } from 'playwright-core';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import type { TrainingMemory } from '../../src/gradients/gradient-engine.js';
import type { Page as Trainer } from './page.js';
import { type ThreeSteps, threeSteps } from './three-steps.js';

/**
 * Three steps of training in headless Chromium, without any network, against the same in Node. Needs Debian's chromium
 * (`.ci/run` installs it); without one the test fails and says so.
 */
const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const BASE = path.resolve(import.meta.dirname, '../../../../fixtures/runtime/tiny-shapes');
const require = createRequire(import.meta.url);
const ORT = path.dirname(require.resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'));
const TFJS = path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm'));
/** Requests to it are answered from files. */
const ORIGIN = 'http://localhost:1/';
/** Two cores that others may use as well; the graphics card in software takes most of it. */
const PATIENCE = 600_000;

/** Relative, of each loss: three steps in single precision. */
const LOSS = 1e-5;
/** Relative, of how far a group has moved: AdamW moves entries whose gradient is near nothing by the whole rate. */
const MOVED = 1e-3;
/**
 * The same in float16: torch's own loses up to 6e-5 of a first loss, DoRA aside (fixtures/training/half-precision.json); AdamW moves an entry
 * whose gradient is lost in rounding by the whole rate.
 */
const HALF = { loss: 3e-4, moved: 2e-2 };

declare const page: Trainer;

let folder: string;
let browser: Browser;
let inNode: ThreeSteps;
const complaints: string[] = [];

beforeAll(async () => {
	if (!fs.existsSync(CHROMIUM)) throw new Error(`no Chromium at ${CHROMIUM}: apt-get install chromium, or set CHROMIUM`);
	folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-trainer-'));
	await bundle(folder);
	browser = await chromium.launch({
		executablePath: CHROMIUM,
		args: [
			'--no-sandbox',
			'--disable-background-networking',
			'--disable-component-update',
			// Where there is no graphics card, one in software.
			'--enable-unsafe-webgpu',
			'--host-resolver-rules=MAP * ~NOTFOUND',
		],
	});
	const base = await openBase(BASE);
	inNode = await threeSteps(base, engineGradients(await createOnnxEngine()), 'fast');
	await base.close();
}, PATIENCE);

afterAll(async () => {
	await browser?.close();
	if (folder !== undefined) fs.rmSync(folder, { recursive: true, force: true });
});

describe('three steps in a browser', () => {
	it('learn something in Node', () => {
		const [first = 0, , , last = 0] = inNode.losses;
		expect(last).toBeLessThan(first);
		expect(Object.keys(inNode.moved).sort()).toEqual(['text_encoder', 'tokens', 'unet']);
		for (const by of Object.values(inNode.moved)) expect(by).toBeGreaterThan(1e-3);
	});

	it.each<readonly ['onnx wasm' | 'tfjs wasm', TrainingMemory]>([
		['onnx wasm', 'fast'],
		['onnx wasm', 'lean'],
		['tfjs wasm', 'fast'],
		['tfjs wasm', 'lean'],
	])('have the losses of Node by %s, %s', { timeout: PATIENCE }, async (engine, memory) => {
		const view = await open();
		const got = await view.evaluate(([name, kept]) => page.train(name, kept), [engine, memory] as const);
		expectAlike(got);
		// Everything was given back with the session.
		expect(await view.evaluate(() => page.tensors())).toBe(0);
		await view.context().close();
		expect(complaints).toEqual([]);
	});

	it('have the losses of Node on WebGPU where there is one, and say so where there is none', { timeout: PATIENCE }, async () => {
		const view = await open();
		const train = () => view.evaluate(() => page.train('onnx webgpu', 'fast'));
		if ((await view.evaluate(() => page.webGpu())) !== undefined) expectAlike(await train());
		else await expect(train()).rejects.toThrow(/WebGPU/);
		await view.context().close();
	});

	it('have them in half precision to what float16 rounds', { timeout: PATIENCE }, async () => {
		const view = await open();
		const half = (engine: 'onnx wasm fp16' | 'onnx webgpu fp16') => view.evaluate((name) => page.train(name, 'fast'), engine);
		expectAlike(await half('onnx wasm fp16'), HALF);
		const features = await view.evaluate(() => page.webGpu());
		if (features?.includes('shader-f16') === true) expectAlike(await half('onnx webgpu fp16'), HALF);
		else await expect(half('onnx webgpu fp16')).rejects.toThrow(features === undefined ? /WebGPU/ : /shader-f16/);
		await view.context().close();
	});
});

function expectAlike({ losses, moved }: ThreeSteps, bars = { loss: LOSS, moved: MOVED }): void {
	expect(losses).toHaveLength(inNode.losses.length);
	for (const [i, loss] of inNode.losses.entries()) expect(Math.abs((losses[i] ?? Number.NaN) / loss - 1)).toBeLessThanOrEqual(bars.loss);
	for (const [group, by] of Object.entries(inNode.moved)) {
		expect(Math.abs((moved[group] ?? Number.NaN) / by - 1), group).toBeLessThanOrEqual(bars.moved);
	}
}

async function open(): Promise<Page> {
	const context = await browser.newContext();
	await context.route('**/*', async (route) => {
		const { origin, pathname } = new URL(route.request().url());
		const file = fileOf(pathname);
		if (`${origin}/` !== ORIGIN || file === undefined) return await route.abort();
		await route.fulfill({ path: file, contentType: TYPES[path.extname(file)] ?? 'application/octet-stream' });
	});
	const view = await context.newPage();
	view.on('console', (message) => complaints.push(message.text()));
	view.on('pageerror', (error) => complaints.push(error.message));
	await view.goto(ORIGIN);
	await view.waitForFunction(() => 'page' in globalThis, null, { timeout: PATIENCE });
	return view;
}

const TYPES: Readonly<Record<string, string>> = {
	'.html': 'text/html',
	'.js': 'text/javascript',
	'.mjs': 'text/javascript',
	'.json': 'application/json',
	'.wasm': 'application/wasm',
};

function fileOf(pathname: string): string | undefined {
	const [, top = '', ...rest] = decodeURIComponent(pathname).split('/');
	const roots: Readonly<Record<string, string>> = { base: BASE, ort: ORT, tfjs: TFJS };
	const file = roots[top] === undefined ? path.join(folder, top === '' ? 'index.html' : top) : path.join(roots[top], ...rest);
	return fs.existsSync(file) ? file : undefined;
}

async function bundle(to: string): Promise<void> {
	const made = await rolldown({
		input: { page: path.join(import.meta.dirname, 'page.ts') },
		platform: 'browser',
		tsconfig: false,
		resolve: {
			alias: {
				// Without its own loader inside, so that all of its files are where `wasmPaths` says.
				'onnxruntime-web/webgpu': path.join(ORT, 'ort.webgpu.min.mjs'),
				'onnxruntime-web': path.join(ORT, 'ort.wasm.min.mjs'),
			},
			extensionAlias: { '.js': ['.ts', '.js'] },
		},
		// TensorFlow.js' packages have parts for Node that are left out of a browser's.
		onLog: () => undefined,
	});
	await made.write({ dir: to, format: 'esm', minify: true, chunkFileNames: '[name]-[hash].js' });
	await made.close();
	fs.writeFileSync(path.join(to, 'index.html'), '<!doctype html><title>Trainer</title><script type="module" src="page.js"></script>');
	const files = fs
		.readdirSync(BASE, { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile())
		.map((entry) => path.relative(BASE, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'));
	fs.writeFileSync(path.join(to, 'base.json'), JSON.stringify(files));
}
