import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { chromium } from 'playwright-core';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/**
 * The built format package in headless Chromium: a `.pt` picked as a `File` is inspected and converted without any
 * Node polyfill. Needs Debian's chromium (`.ci/run` installs it); without one the test fails and says so.
 */
const ROOT = path.resolve(import.meta.dirname, '../..');
const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const INPUT = path.join(ROOT, 'fixtures/adapters/cloneofsimo/legacy_nonzip_r1.pt');
/** Bytes of the whole public API, minified, all chunks (layouts, name tables of every model, explanations). Raise it with a reason. */
const MAX_BUNDLE_BYTES = 720_000;

/** Two adapters of one base, for the transforms. */
const PAIR = ['kohya/kohya_attn_bf16_part.safetensors', 'diffusers/peft_alpha_part.safetensors'].map((name) =>
	path.join(ROOT, 'fixtures/adapters', name),
);

/** Merge, resize and diff in the page: digests of the tensors written, and the numbers of the diff. */
const TRANSFORMS = `<!doctype html><title>transforms</title><input type="file" id="file" multiple><pre id="out"></pre>
<script type="module">
import * as format from './format.js';
async function tensorsDigest(plan) {
	const parts = [];
	await format.writePlannedFile(plan.files[0], { write(bytes) { parts.push(bytes.slice()); } });
	const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
	const header = Number(new DataView(bytes.buffer).getBigUint64(0, true));
	const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.subarray(8 + header)));
	return [...digest].map((b) => b.toString(16).padStart(2, '0')).join('');
}
document.getElementById('file').addEventListener('change', async (event) => {
	const out = document.getElementById('out');
	try {
		if (typeof process !== 'undefined' || typeof Buffer !== 'undefined') throw new Error('a Node polyfill is here');
		const kernel = await format.loadKernel();
		const adapters = [];
		for (const file of event.target.files) adapters.push(format.decodeAdapter(await format.loadInput({ main: format.blobSource(file) })).adapter);
		const strengths = [0.7, -0.4];
		const uses = adapters.map((adapter, i) => ({ adapter, name: event.target.files[i].name, strength: { ...format.FULL_STRENGTH, scale: strengths[i] } }));
		const merged = await format.mergeAdapters(uses);
		const resized = await format.resizeAdapter(adapters[0], { rule: { kind: 'rank', rank: 2 } });
		const diff = await format.diffAdapters(adapters[0], resized.adapter);
		const plan = (adapter, to) => format.planAdapter(adapter, { to, container: 'safetensors' });
		out.textContent = JSON.stringify({
			kernel: kernel.id,
			merge: await tensorsDigest(plan(merged.adapter, 'diffusers')),
			resize: await tensorsDigest(plan(resized.adapter, 'kohya')),
			cosine: diff.total.cosine,
		});
	} catch (error) { out.textContent = JSON.stringify({ error: String(error && error.stack || error) }); }
});
</script>`;

const PAGE = `<!doctype html><title>lorakit</title><input type="file" id="file"><pre id="out"></pre>
<script type="module">
import * as format from './format.js';
document.getElementById('file').addEventListener('change', async (event) => {
	const out = document.getElementById('out');
	try {
		if (typeof process !== 'undefined' || typeof Buffer !== 'undefined') throw new Error('a Node polyfill is here');
		const input = await format.loadInput({ main: format.blobSource(event.target.files[0]) });
		const report = format.inspect(input);
		const plan = format.planConversion(input, { to: 'diffusers' });
		const parts = [];
		await format.writePlannedFile(plan.files[0], { write(bytes) { parts.push(bytes.slice()); } });
		const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
		const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
		out.textContent = JSON.stringify({ layout: report.layout, modules: plan.decoded.adapter.modules.length, counts: plan.receipt.counts.tensors, bytes: bytes.length, sha256: [...digest].map((b) => b.toString(16).padStart(2, '0')).join('') });
	} catch (error) { out.textContent = JSON.stringify({ error: String(error && error.stack || error) }); }
});
</script>`;

let server: http.Server;
let folder: string;
let bundleBytes = 0;
let gzippedBytes = 0;

beforeAll(async () => {
	if (!fs.existsSync(CHROMIUM)) throw new Error(`no Chromium at ${CHROMIUM}: apt-get install chromium, or set CHROMIUM`);
	folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-browser-'));
	const bundle = await rolldown({ input: { format: path.join(ROOT, 'packages/format/dist/index.js') }, platform: 'browser' });
	const { output } = await bundle.write({ dir: folder, format: 'esm', minify: true, chunkFileNames: '[name]-[hash].js' });
	for (const chunk of output) {
		if (chunk.type !== 'chunk') continue;
		bundleBytes += Buffer.byteLength(chunk.code);
		gzippedBytes += gzipSync(chunk.code).byteLength;
		expect(chunk.imports.filter((i) => i.startsWith('node:'))).toEqual([]);
	}
	fs.writeFileSync(path.join(folder, 'index.html'), PAGE);
	fs.writeFileSync(path.join(folder, 'transforms.html'), TRANSFORMS);
	server = http.createServer((request, response) => {
		const name = path.basename(new URL(request.url ?? '/', 'http://localhost').pathname) || 'index.html';
		const file = path.join(folder, name);
		if (!fs.existsSync(file)) return void response.writeHead(404).end();
		response.writeHead(200, { 'content-type': name.endsWith('.html') ? 'text/html' : 'text/javascript' });
		response.end(fs.readFileSync(file));
	});
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterAll(() => {
	server?.close();
	if (folder !== undefined) fs.rmSync(folder, { recursive: true, force: true });
});

describe('in headless Chromium', () => {
	test(`the bundle stays under ${MAX_BUNDLE_BYTES} bytes`, () => {
		console.log(`format bundle, minified: ${bundleBytes} bytes, gzipped ${gzippedBytes}`);
		expect(bundleBytes).toBeGreaterThan(10_000);
		expect(bundleBytes).toBeLessThan(MAX_BUNDLE_BYTES);
	});

	test('a .pt File is inspected and converted to the same bytes as in Node', async () => {
		const result = await inPage('', [INPUT]);
		const target = path.join(folder, 'node.safetensors');
		lora('convert', INPUT, target, '--quiet');
		const expected = createHash('sha256').update(fs.readFileSync(target)).digest('hex');
		expect(result).toMatchObject({ modules: 144, counts: { total: 288, lost: 0 }, sha256: expected });
	});

	test('merge, resize and diff give the same tensors and numbers as in Node', async () => {
		const result = await inPage('transforms.html', PAIR);
		const [one = '', two = ''] = PAIR;
		const merged = path.join(folder, 'merged.safetensors');
		const resized = path.join(folder, 'resized.safetensors');
		lora('merge', `${one}@0.7`, `${two}@-0.4`, '--out', merged, '--quiet');
		lora('resize', one, resized, '--rank', '2', '--quiet');
		const diff = JSON.parse(lora('diff', one, resized, '--json'));
		expect(result).toEqual({ kernel: 'wasm-simd', merge: dataDigest(merged), resize: dataDigest(resized), cosine: diff.total.cosine });
		expect(diff.total.cosine).toBeLessThan(1);
	});
});

/** Pick files in a page of the test's server and wait for what it says. */
async function inPage(name: string, files: readonly string[]): Promise<unknown> {
	const browser = await chromium.launch({
		executablePath: CHROMIUM,
		args: [
			'--no-sandbox',
			'--disable-gpu',
			'--disable-quic',
			'--no-first-run',
			'--disable-background-networking',
			'--disable-component-update',
			'--disable-sync',
		],
	});
	try {
		const page = await browser.newPage();
		const address = server.address();
		if (address === null || typeof address === 'string') throw new Error('no port');
		await page.goto(`http://127.0.0.1:${address.port}/${name}`);
		await page.setInputFiles('#file', [...files]);
		await page.waitForFunction(
			() =>
				(globalThis as unknown as { document: { getElementById(id: string): { textContent: string } } }).document.getElementById('out')
					.textContent !== '',
		);
		return JSON.parse((await page.textContent('#out')) ?? '{}');
	} finally {
		await browser.close();
	}
}

function lora(...args: string[]): string {
	return execFileSync(process.execPath, [path.join(ROOT, 'packages/cli/bin/lora.js'), ...args], {
		encoding: 'utf8',
		stdio: ['ignore', 'pipe', 'ignore'],
	});
}

/** SHA-256 of everything behind the header: the header of a merge holds its recipe. */
function dataDigest(file: string): string {
	const bytes = fs.readFileSync(file);
	return createHash('sha256')
		.update(bytes.subarray(8 + Number(bytes.readBigUInt64LE(0))))
		.digest('hex');
}
