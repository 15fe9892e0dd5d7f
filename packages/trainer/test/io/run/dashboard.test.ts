import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { encode } from 'fast-png';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Dashboard, startDashboard } from '../../../src/io/run/dashboard-server.js';
import { openRunLogs, type RunLogs } from '../../../src/io/run/run-logs.js';
import type { RunEvent } from '../../../src/run/run-events.js';
import { fakeIdentity } from './fake-store.js';

/** Needs Debian's chromium; without one the test fails and says so. */
const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const top = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-dashboard-'));
const folder = path.join(top, 'shapes <b>run');
const HOSTILE = '<img src=x onerror="document.title=1"> "prompt"';

let browser: Browser;
let board: Dashboard;
let logs: RunLogs;

const step = (n: number): RunEvent => ({
	type: 'step',
	step: n,
	epoch: Math.floor(n / 50),
	loss: 0.3 * Math.exp(-n / 80) + 0.05 + 0.03 * Math.sin(n * 12.9898),
	rates: { unet: 1e-4 * Math.cos((n / 400) * Math.PI * 0.5), text_encoder: 5e-5 },
	gradientNorm: 0.5 + 0.4 * Math.sin(n * 78.233),
	samples: 4,
	seconds: 0.2,
	remainingSeconds: (400 - n) * 0.2,
});

const pictures = (n: number): RunEvent => ({
	type: 'pictures',
	step: n,
	pictures: [HOSTILE, 'a large striped orange star'].map((prompt, i) => ({
		prompt,
		seed: 7,
		width: 64,
		height: 64,
		png: encode({
			width: 64,
			height: 64,
			channels: 3,
			depth: 8,
			data: Uint8Array.from({ length: 64 * 64 * 3 }, (_, j) => (j * (i + 1) + n) % 256),
		}),
	})),
});

beforeAll(async () => {
	if (!fs.existsSync(CHROMIUM)) throw new Error(`no Chromium at ${CHROMIUM}: apt-get install chromium, or set CHROMIUM`);
	fs.mkdirSync(folder);
	const run = fakeIdentity({ logs: { tensorboard: true, dashboard: true, wandb: true } });
	logs = openRunLogs(folder, run.config, '0.1.0');
	await logs.write({ type: 'start', step: 0, steps: 400, parameters: { unet: 1000 } });
	for (let n = 1; n <= 250; n++) {
		await logs.write(step(n));
		if (n % 50 === 0) {
			await logs.write({ type: 'validation', step: n, loss: 0.2 - n / 2000, best: true, seconds: 1 });
			await logs.write(pictures(n));
			await logs.write({ type: 'checkpoint', step: n, reason: 'every', name: `checkpoint-000${n}` });
		}
	}
	board = await startDashboard({ folder });
	browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
});
afterAll(async () => {
	await browser?.close();
	await board?.close();
	fs.rmSync(top, { recursive: true, force: true });
});

async function open(
	width: number,
	colorScheme: 'light' | 'dark',
): Promise<{ readonly page: Page; readonly requests: string[]; readonly complaints: string[] }> {
	const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
	const page = await context.newPage();
	const requests: string[] = [];
	const complaints: string[] = [];
	page.on('request', (r) => requests.push(r.url()));
	page.on('console', (m) => complaints.push(m.text()));
	page.on('pageerror', (e) => complaints.push(String(e)));
	await page.goto(board.url);
	await page.waitForFunction(() => document.querySelectorAll('.strip img').length > 0);
	return { page, requests, complaints };
}

function get(place: string, headers: Record<string, string> = {}, method = 'GET'): Promise<{ status: number; type: string }> {
	return new Promise((resolve, reject) => {
		const { port } = new URL(board.url);
		http
			.request({ host: '127.0.0.1', port, path: place, headers, method }, (response) => {
				response.resume();
				resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '' });
			})
			.on('error', reject)
			.end();
	});
}

describe('the dashboard', () => {
	it('has logs of all kinds beside it', () => {
		expect(fs.readdirSync(folder).sort()).toEqual(['logs', 'metrics.jsonl', 'validation', 'wandb']);
		expect(fs.readdirSync(path.join(folder, 'logs'))[0]).toMatch(/^events\.out\.tfevents\.\d{10}\./);
		expect(fs.readdirSync(path.join(folder, 'wandb'))[0]).toMatch(/^offline-run-\d{8}_\d{6}-[a-z0-9]{8}$/);
	});

	it.each([
		[1200, 'light'],
		[1200, 'dark'],
		[390, 'light'],
		[390, 'dark'],
	] as const)('shows a run at %i px, %s, asking nobody else', async (width, scheme) => {
		const { page, requests, complaints } = await open(width, scheme);
		const text = await page.innerText('main');
		expect(text).toContain('shapes <b>run');
		expect(text).toContain('250 of 400');
		expect(text).toContain('Best validation');
		expect(text).toContain('about 30 s');
		expect(text).toContain(HOSTILE);
		expect(await page.title()).toContain('training');
		for (const id of ['loss', 'validation', 'rates', 'norm']) expect(await page.locator(`#${id} svg path`).count()).toBeGreaterThan(0);
		expect(await page.locator('.strip img').count()).toBe(10);
		expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
		expect(requests.every((url) => url.startsWith(board.url) || url === 'data:,')).toBe(true);
		expect(complaints).toEqual([]);
		if (process.env['SHOTS'] !== undefined)
			await page.screenshot({ path: path.join(process.env['SHOTS'], `dashboard-${width}-${scheme}.png`), fullPage: true });
		await page.context().close();
	});

	it('follows the run, forgets what a resume does again, and says how it ended', async () => {
		const { page } = await open(1200, 'light');
		for (let n = 251; n <= 300; n++) await logs.write(step(n));
		await page.waitForFunction(() => document.body.innerText.includes('300 of 400'));
		await logs.write({ type: 'start', step: 250, steps: 400, parameters: {} });
		await page.waitForFunction(() => document.body.innerText.includes('250 of 400'));
		await logs.write(step(251));
		await logs.write({ type: 'end', step: 251, reason: 'stopped' });
		await page.waitForFunction(() => document.body.innerText.includes('stopped; it can be resumed'));
		await page.hover('#loss svg');
		expect(await page.innerText('#loss .tip')).toMatch(/^step \d+: this step 0\.\d+, smoothed 0\.\d+$/);
		await page.check('#log');
		expect(await page.locator('#loss svg path').count()).toBe(2);
		await page.context().close();
	});

	it("gives its pictures and nothing else, to this machine's names alone", async () => {
		const { host } = new URL(board.url);
		expect(await get('/picture/validation%2Fstep-000050-00.png', { host })).toEqual({ status: 200, type: 'image/png' });
		fs.symlinkSync('/etc/passwd', path.join(folder, 'validation', 'link.png'));
		for (const place of [
			'/picture/..%2Fmetrics.jsonl',
			'/picture/validation%2F..%2F..%2Fx.png',
			'/picture/validation%2Flink.png',
			'/picture/%ff',
			'/metrics.jsonl',
		]) {
			expect((await get(place, { host })).status).toBe(404);
		}
		expect((await get('/', { host: 'evil.example' })).status).toBe(403);
		expect((await get('/', { host }, 'POST')).status).toBe(405);
		// Another page may link to this one, but not listen or show its pictures.
		expect((await get('/', { host, 'sec-fetch-site': 'cross-site' })).status).toBe(200);
		for (const place of ['/events', '/picture/validation%2Fstep-000050-00.png']) {
			for (const site of ['cross-site', 'same-site']) expect((await get(place, { host, 'sec-fetch-site': site })).status).toBe(403);
		}
		expect((await get('/picture/validation%2Fstep-000050-00.png', { host, 'sec-fetch-site': 'same-origin' })).status).toBe(200);
		await expect(startDashboard({ folder, port: Number(new URL(board.url).port) })).rejects.toMatchObject({ code: 'E_USAGE' });
	});
});
