import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { decode } from 'fast-png';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

/**
 * The demo page as `npm run demo` builds and serves it, in headless Chromium without any network but this machine. The
 * pictures are those that diffusers drew (fixtures/runtime: `runs`, `demo`). Needs Debian's chromium (`.ci/run` installs
 * it); without one the test fails and says so.
 */
const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const DEMO = path.resolve(import.meta.dirname, '../../demo');
const FIXTURES = path.resolve(import.meta.dirname, '../../../../fixtures/runtime');
const BASE = path.join(FIXTURES, 'tiny-shapes');
const STRIPED = path.join(FIXTURES, 'adapters/striped.safetensors');
/** Two cores that others may use as well. */
const PATIENCE = 90_000;

let folder: string;
let program: ChildProcess;
let url: string;
let browser: Browser;
let context: BrowserContext;
let requests: string[] = [];
let complaints: string[] = [];

beforeAll(async () => {
	if (!fs.existsSync(CHROMIUM)) throw new Error(`no Chromium at ${CHROMIUM}: apt-get install chromium, or set CHROMIUM`);
	folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-demo-'));
	program = spawn(process.execPath, [path.join(DEMO, 'start.mjs'), '--port', '0', '--out', path.join(folder, 'site')]);
	url = await new Promise((resolve, reject) => {
		let said = '';
		const listen = (chunk: Buffer): void => {
			said += chunk;
			const found = /http:\S+/.exec(said);
			if (found !== null) resolve(found[0]);
		};
		program.stdout?.on('data', listen);
		program.stderr?.on('data', listen);
		program.on('exit', () => reject(new Error(`the demo's server ended: ${said}`)));
	});
	browser = await chromium.launch({
		executablePath: CHROMIUM,
		args: [
			'--no-sandbox',
			'--disable-gpu',
			'--disable-background-networking',
			'--disable-component-update',
			'--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
		],
	});
}, PATIENCE);

afterAll(async () => {
	await browser?.close();
	program?.removeAllListeners('exit');
	program?.kill();
	if (folder !== undefined) fs.rmSync(folder, { recursive: true, force: true });
});

afterEach(async () => {
	await context?.close();
});

describe('the demo page', () => {
	it("draws diffusers' pictures from picked files, and another scale without a new session", { timeout: 4 * PATIENCE }, async () => {
		const page = await open(url);
		expect(await page.evaluate('crossOriginIsolated')).toBe(true);
		// As a person would: the base draws at once, then prompt and negative are typed.
		await page.setInputFiles('#base-folder', BASE);
		await finished(page);
		expect(await page.textContent('#base-name')).toBe('tiny-shapes');
		expect(await page.textContent('#base-facts')).toContain('ONNX Runtime, WebAssembly');
		expect(await page.locator('#prompts button').count()).toBeGreaterThanOrEqual(4);
		await page.fill('#prompt', 'a large blue circle');
		await page.fill('#negative', 'black background');
		await page.press('#negative', 'Enter');
		await finished(page);
		expectAlike(await saved(page), path.join(FIXTURES, 'runs/base-dpm20-negative.png'));

		await page.fill('#negative', '');
		await page.fill('#prompt', 'a large striped red ring');
		await page.setInputFiles('#adapter-files', STRIPED);
		await finished(page);
		expect(await page.textContent('#adapter-name')).toBe('striped');
		const full = await saved(page);
		expectAlike(full, path.join(FIXTURES, 'runs/striped-loaded-s1.0-0.png'));
		const sessions = await sessionsMade(page);
		// Text encoder, UNet, VAE.
		expect(sessions).toBe(3);

		// Every key is a new wish while the one before is being drawn; the last one counts.
		await page.focus('#scale');
		for (let i = 0; i < 10; i++) await page.keyboard.press('ArrowLeft');
		expect(await page.textContent('#scale-value')).toBe('0.50');
		await finished(page);
		const half = await saved(page);
		expectAlike(half, path.join(FIXTURES, 'demo/striped-loaded-s0.5-0.png'));
		expect(Buffer.compare(half.data, full.data)).not.toBe(0);
		expect(await sessionsMade(page)).toBe(sessions);
		expect(half.texts).toEqual([
			'parameters: a large striped red ring <lora:striped:0.5>\nSteps: 20, Sampler: dpmsolver++, CFG scale: 5, Seed: 42, Size: 64x64, Model: tiny-shapes',
		]);
		expect(await page.getAttribute('#picture', 'aria-label')).toBe('a large striped red ring, seed 42, striped at 0.5');
		expectQuiet();
	});

	it('draws the example with one click: an adapter of UNet and text encoder', { timeout: 2 * PATIENCE }, async () => {
		const page = await open(url);
		await page.click('#adapter-examples >> text=crescent');
		await finished(page);
		expect(await page.textContent('#base-name')).toBe('tiny-shapes');
		expectAlike(await saved(page), path.join(FIXTURES, 'demo/crescent-loaded-s1.0-0.png'));
		expectQuiet();
	});

	it('says in one sentence with its code what is wrong, and goes on', { timeout: 3 * PATIENCE }, async () => {
		const page = await open(url);
		await page.setInputFiles('#base-folder', BASE);
		await finished(page);
		const shown = await saved(page);

		// Cut in the middle of its tensors: 150,000 of 262,856 bytes; the header is whole.
		await drop(page, '#adapter-zone', 'broken.safetensors', fs.readFileSync(STRIPED).subarray(0, 150_000));
		await expectRefusal(page, 'E_TRUNCATED', /^The file is 112,856 bytes short: .*fetch it again/);
		expect(await page.textContent('#adapter-name')).toBe('None.');
		await drop(page, '#adapter-zone', 'page.safetensors', Buffer.from('<!doctype html><title>Not found</title>'));
		await expectRefusal(page, 'E_HTML', /^This is a web page/);
		// No adapter: the base's own UNet.
		await page.setInputFiles('#adapter-files', path.join(BASE, 'unet/diffusion_pytorch_model.safetensors'));
		await expectRefusal(page, 'E_NOT_A_LORA', /./);

		await page.fill('#width', '65');
		await page.click('#draw');
		await expectRefusal(page, 'E_USAGE', /65x64.*multiples of 8/);
		await page.fill('#width', '64');
		await page.fill('#seed', 'x');
		await page.click('#draw');
		await expectRefusal(page, 'E_USAGE', /"x" is no seed/);
		await page.fill('#seed', '42');

		const incomplete = path.join(folder, 'incomplete');
		fs.cpSync(BASE, incomplete, { recursive: true });
		fs.rmSync(path.join(incomplete, 'unet/diffusion_pytorch_model.safetensors'));
		await page.setInputFiles('#base-folder', incomplete);
		await expectRefusal(page, 'E_FORMAT', /no weights in "unet"/);

		// The base before is still there, and so is its picture.
		expect(await page.textContent('#base-name')).toBe('tiny-shapes');
		await page.click('#draw');
		await finished(page);
		expect(await page.isHidden('#error')).toBe(true);
		expect(Buffer.compare((await saved(page)).data, shown.data)).toBe(0);
		expectQuiet();
	});

	it('stops when asked to, and shows how far it is', { timeout: 2 * PATIENCE }, async () => {
		const page = await open(url);
		await page.setInputFiles('#base-folder', BASE);
		await finished(page);
		await page.fill('#steps', '300');
		await page.click('#draw');
		await page.waitForFunction(() => /Step [2-9] of 300/.test(document.getElementById('status')?.textContent ?? ''), null, {
			timeout: PATIENCE,
		});
		expect(await page.getAttribute('#picture', 'aria-label')).toMatch(/^Preview, step \d+ of 300$/);
		await page.click('#stop');
		await finished(page);
		expect(await page.textContent('#status')).toMatch(/^Stopped before step \d+ of 300\.$/);
		expectQuiet();
	});

	it('works from any static server, and without WebAssembly in plain JavaScript', { timeout: 4 * PATIENCE }, async () => {
		for (const hidden of [undefined, '/ort/'] as const) {
			const plain = await plainServer(path.join(folder, 'site'), hidden);
			try {
				const page = await open(plain.url);
				expect(await page.evaluate('crossOriginIsolated')).toBe(false);
				await page.fill('#prompt', 'two green squares');
				// The picture that a new base draws at once.
				await page.fill('#steps', '1');
				await page.click('#base-examples >> text=tiny-shapes');
				await finished(page, 3 * PATIENCE);
				const facts = await page.textContent('#base-facts');
				expect(facts).toContain(hidden === undefined ? 'ONNX Runtime, WebAssembly' : 'plain JavaScript (float64)');
				const notes = (await page.textContent('#notes')) ?? '';
				if (hidden === undefined) expect(notes).toBe('');
				else expect(notes).toMatch(/^Plain JavaScript computes, slowly: WebAssembly does not work here .*folder ort\/ of this page/);
				await page.fill('#steps', '10');
				await page.fill('#width', '128');
				await page.click('#draw');
				await finished(page, 3 * PATIENCE);
				expectAlike(await saved(page), path.join(FIXTURES, 'runs/base-dpm10-128x64.png'));
				await context.close();
			} finally {
				plain.server.close();
			}
		}
	});
});

describe('WebGPU', () => {
	/** Where there is no graphics card: the same programs on the CPU. Slow, and the same numbers. */
	const SOFTWARE = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

	it('is chosen where it is there, and draws what WebAssembly draws, with an adapter and without', { timeout: 12 * PATIENCE }, async () => {
		const own = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', ...SOFTWARE] });
		try {
			const drawn = new Map<string, Saved[]>();
			for (const [device, name] of [
				['auto', 'WebGPU'],
				['wasm', 'WebAssembly'],
			] as const) {
				const page = await open(url, {}, own);
				await page.evaluate('for (const d of document.querySelectorAll("details")) d.open = true');
				await page.selectOption('#device', device);
				await page.fill('#prompt', 'a large striped red ring');
				await page.fill('#steps', '2');
				await page.setInputFiles('#base-folder', BASE);
				await finished(page, 5 * PATIENCE);
				expect(await page.textContent('#base-facts')).toContain(`ONNX Runtime, ${name}`);
				expect(await page.textContent('#notes')).toBe('');
				const plain = await saved(page);
				await page.setInputFiles('#adapter-files', STRIPED);
				await finished(page, 3 * PATIENCE);
				drawn.set(device, [plain, await saved(page)]);
				expect(complaints).toEqual([]);
				await context.close();
			}
			const [gpu = [], cpu = []] = [drawn.get('auto'), drawn.get('wasm')];
			expect(apart(cpu[0], cpu[1])).toBeGreaterThan(20);
			for (const i of [0, 1]) expect(apart(gpu[i], cpu[i])).toBeLessThanOrEqual(1);
		} finally {
			await own.close();
		}
	});
});

describe.each(['light', 'dark'] as const)('%s', (colorScheme) => {
	it('is legible, fits the window, and everything is reached by keyboard', { timeout: 2 * PATIENCE }, async () => {
		for (const width of [1100, 390]) {
			const page = await open(url, { colorScheme, viewport: { width, height: 900 } });
			await page.click('#adapter-examples >> text=striped');
			await finished(page);
			await page.fill('#seed', 'none');
			await page.click('#draw');
			await page.waitForSelector('#error:not([hidden])');
			await page.evaluate('for (const d of document.querySelectorAll("details")) d.open = true');
			expect(await page.evaluate(LOW_CONTRAST)).toEqual([]);
			expect(await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')).toBe(0);
			expect(await page.evaluate(UNNAMED)).toEqual([]);
			const reached = new Set<string>();
			await page.evaluate('document.activeElement.blur()');
			for (let i = 0; i < 60; i++) {
				await page.keyboard.press('Tab');
				reached.add(String(await page.evaluate('document.activeElement.id || document.activeElement.textContent')));
			}
			const wanted =
				'base-pick adapter-pick adapter-off prompt negative seed reseed steps scheduler guidance width height device scale draw save';
			expect([...wanted.split(' '), 'Example: tiny-shapes', 'Example: striped'].filter((id) => !reached.has(id))).toEqual([]);
			await context.close();
		}
	});
});

async function open(at: string, options: Parameters<Browser['newContext']>[0] = {}, own: Browser = browser): Promise<Page> {
	context = await own.newContext({ acceptDownloads: true, ...options });
	requests = [];
	complaints = [];
	context.on('request', (request) => requests.push(request.url()));
	const page = await context.newPage();
	page.on('console', (message) => complaints.push(message.text()));
	page.on('pageerror', (error) => complaints.push(error.message));
	await page.goto(at);
	await page.waitForSelector('#adapter-examples button');
	return page;
}

/** Nothing was asked of another machine, and nothing was written to the console. */
function expectQuiet(): void {
	expect(requests.filter((r) => !r.startsWith(url) && !r.startsWith('blob:') && !r.startsWith('data:'))).toEqual([]);
	expect(requests.some((r) => r.endsWith('.wasm'))).toBe(true);
	expect(complaints).toEqual([]);
}

/** Nothing is under way any more. */
async function finished(page: Page, timeout = PATIENCE): Promise<void> {
	await page.waitForFunction(
		() => {
			const [frame, status] = ['frame', 'status'].map((id) => document.getElementById(id));
			return frame?.getAttribute('aria-busy') === 'false' && /^(\d|Stopped)/.test(status?.textContent ?? '');
		},
		null,
		{ timeout },
	);
}

async function sessionsMade(page: Page): Promise<number> {
	return Number(/sessions made so far: (\d+)/.exec((await page.textContent('#status')) ?? '')?.[1]);
}

interface Saved {
	readonly width: number;
	readonly height: number;
	readonly data: Uint8Array;
	readonly texts: readonly string[];
}

/** What "Save PNG" gives. */
async function saved(page: Page): Promise<Saved> {
	const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
	const bytes = fs.readFileSync(await download.path());
	const { width, height, channels, depth, data } = decode(bytes);
	expect([channels, depth]).toEqual([3, 8]);
	return { width, height, data: Uint8Array.from(data), texts: itxtOf(bytes) };
}

/** `keyword: text` of every iTXt chunk (fast-png reads tEXt only). */
function itxtOf(png: Buffer): readonly string[] {
	const out: string[] = [];
	for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
		if (png.toString('latin1', at + 4, at + 8) !== 'iTXt') continue;
		const body = png.toString('utf8', at + 8, at + 8 + png.readUInt32BE(at));
		out.push(body.replace('\0\0\0\0\0', ': '));
	}
	return out;
}

/** Largest difference of two pictures of one size. */
function apart(a: Saved | undefined, b: Saved | undefined): number {
	expect([a?.width, a?.height]).toEqual([b?.width, b?.height]);
	return a === undefined || b === undefined
		? Number.POSITIVE_INFINITY
		: a.data.reduce((most, x, i) => Math.max(most, Math.abs(x - (b.data[i] ?? 0))), 0);
}

/** Within one grey level of the picture that diffusers drew: the bar of reference/inference-shapes. */
function expectAlike(got: Saved, file: string): void {
	const { width, height, data } = decode(fs.readFileSync(file));
	expect([got.width, got.height, got.data.length]).toEqual([width, height, data.length]);
	const apart = got.data.reduce((most, x, i) => Math.max(most, Math.abs(x - (data[i] ?? 0))), 0);
	expect(apart, path.basename(file)).toBeLessThanOrEqual(1);
}

async function expectRefusal(page: Page, code: string, sentence: RegExp): Promise<void> {
	await page.waitForFunction(
		(wanted) =>
			document.querySelector('#error:not([hidden]) code')?.textContent === wanted &&
			document.getElementById('frame')?.getAttribute('aria-busy') === 'false',
		code,
	);
	const text = (await page.innerText('#error')).slice(code.length).trim();
	expect(text).toMatch(sentence);
	// One sentence, as long as it needs to be.
	expect(text).toMatch(/^[^\n]{20,400}[.)]$/);
	// The next one must be a new one.
	await page.evaluate(`document.getElementById('error').hidden = true`);
}

/** What a drag from the desktop does. */
async function drop(page: Page, zone: string, name: string, bytes: Uint8Array): Promise<void> {
	const transfer = await page.evaluateHandle(
		([fileName, base64]) => {
			const items = new DataTransfer();
			items.items.add(new File([Uint8Array.from(atob(base64 ?? ''), (c) => c.charCodeAt(0))], fileName ?? ''));
			return items;
		},
		[name, Buffer.from(bytes).toString('base64')],
	);
	await page.dispatchEvent(zone, 'drop', { dataTransfer: transfer });
}

/** A server that knows of nothing but files; `hidden`: a folder that it has not. */
async function plainServer(root: string, hidden: string | undefined): Promise<{ readonly url: string; readonly server: http.Server }> {
	const types: Readonly<Record<string, string>> = {
		html: 'text/html',
		css: 'text/css',
		js: 'text/javascript',
		mjs: 'text/javascript',
		wasm: 'application/wasm',
	};
	const server = http.createServer((request, response) => {
		const { pathname } = new URL(request.url ?? '/', 'http://localhost');
		const file = path.join(root, pathname.endsWith('/') ? `${pathname}index.html` : pathname);
		if ((hidden !== undefined && pathname.startsWith(hidden)) || !fs.existsSync(file)) return void response.writeHead(404).end();
		response.writeHead(200, { 'content-type': types[path.extname(file).slice(1)] ?? 'application/octet-stream' });
		response.end(fs.readFileSync(file));
	});
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	const address = server.address();
	if (address === null || typeof address === 'string') throw new Error('no port');
	return { url: `http://127.0.0.1:${address.port}/`, server };
}

/** Runs in the page: texts whose contrast with what is behind them is under 4.5 (WCAG 2.2); disabled buttons are exempt. */
const LOW_CONTRAST = `(() => {
	const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (element) => {
		for (let e = element; e !== null; e = e.parentElement) {
			const color = rgb(getComputedStyle(e).backgroundColor);
			if (color.length === 3 || color[3] > 0) return color;
		}
		return [255, 255, 255];
	};
	const low = [];
	for (const element of document.querySelectorAll('main *')) {
		if (element.disabled || element.tagName === 'OPTION' || element.type === 'range' || element.offsetParent === null) continue;
		if (![...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim() !== '') && element.value === undefined) continue;
		const [a, b] = [luminance(rgb(getComputedStyle(element).color)), luminance(behind(element))];
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) low.push(element.tagName + '#' + element.id + ' ' + element.textContent.slice(0, 40) + ': ' + contrast.toFixed(2));
	}
	return low;
})()`;

/** Runs in the page: controls without a name for those who do not see them. */
const UNNAMED = `[...document.querySelectorAll('input, select, textarea, button, canvas, progress')]
	.filter((e) => !e.getAttribute('aria-label') && !(e.labels?.length > 0) && e.textContent.trim() === '').map((e) => e.outerHTML)`;
