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
const MAX_BUNDLE_BYTES = 480_000;

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
			await page.goto(`http://127.0.0.1:${address.port}/`);
			await page.setInputFiles('#file', INPUT);
			await page.waitForFunction(
				() =>
					(globalThis as unknown as { document: { getElementById(id: string): { textContent: string } } }).document.getElementById('out')
						.textContent !== '',
			);
			const result: unknown = JSON.parse((await page.textContent('#out')) ?? '{}');
			const target = path.join(folder, 'node.safetensors');
			execFileSync(process.execPath, [path.join(ROOT, 'packages/cli/bin/lora.js'), 'convert', INPUT, target, '--quiet']);
			const expected = createHash('sha256').update(fs.readFileSync(target)).digest('hex');
			expect(result).toMatchObject({ modules: 144, counts: { total: 288, lost: 0 }, sha256: expected });
		} finally {
			await browser.close();
		}
	});
});
