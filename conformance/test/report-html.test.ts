import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/**
 * The pages in headless Chromium, light and dark, wide and narrow. Needs Debian's chromium (`.ci/run` installs it); without
 * one the test fails and says so.
 */
const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const at = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

let dir = '';
let browser: Browser;
const pages: Record<string, string> = { matrix: at('../../docs/conformance/matrix.html') };

beforeAll(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'report-html-test-'));
	fs.writeFileSync(path.join(dir, 'known.txt'), 'L6/shapes/base-ddim20  https://example.org/issues/1\nno/such/case\n');
	const subjects = {
		// Pictures; a name that would be markup; a stale pattern.
		pictures: [
			`"${process.execPath}" "${at('support/picture-subject.mjs')}"`,
			'L6/shapes/**',
			'--known-failing',
			path.join(dir, 'known.txt'),
		],
		right: [`"${process.execPath}" "${at('../harness/node/subject.mjs')}"`, 'L2/kohya/**'],
	} as const;
	for (const [name, [subject, filter, ...more]] of Object.entries(subjects)) {
		pages[name] = path.join(dir, `${name}.html`);
		const args = [at('../bin/lora-conformance.js'), 'run', '--subject', subject, '--filter', filter, '--html', pages[name], ...more];
		const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
		expect(status, stderr).toBe(name === 'right' ? 0 : 1);
	}
	browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
});
afterAll(async () => {
	await browser?.close();
	fs.rmSync(dir, { recursive: true, force: true });
});

/** Runs in the page: contrast of each text with what is behind it, after WCAG 2.2 (relative luminance). */
const LOW_CONTRAST = `(() => {
	const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (element) => {
		for (let e = element; e !== null; e = e.parentElement) {
			const color = rgb(getComputedStyle(e).backgroundColor);
			if (color.length === 3 || color[3] > 0) return color;
		}
		return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
	};
	const low = [];
	for (const element of document.querySelectorAll('main *')) {
		if (![...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim() !== '')) continue;
		const [a, b] = [luminance(rgb(getComputedStyle(element).color)), luminance(behind(element))];
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) low.push(element.tagName + ' ' + element.textContent.slice(0, 40) + ': ' + contrast.toFixed(2));
	}
	return low;
})()`;

/** Runs in the page: pixels by which it is wider than its window. */
const OVERFLOW = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
const BROKEN_PICTURES = '[...document.images].filter((i) => !i.complete || i.naturalWidth === 0).length';

describe.each(['light', 'dark'] as const)('%s', (colorScheme) => {
	it.each(['pictures', 'right', 'matrix'])('%s: nothing is loaded, all is legible, nothing sticks out', async (name) => {
		const url = pathToFileURL(pages[name] ?? '').href;
		for (const width of [1200, 390]) {
			const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 } });
			const page = await context.newPage();
			const requests: string[] = [];
			const complaints: string[] = [];
			page.on('request', (request) => requests.push(request.url()));
			page.on('console', (message) => complaints.push(message.text()));
			page.on('pageerror', (error) => complaints.push(error.message));
			await page.goto(url);
			await page.evaluate('for (const d of document.querySelectorAll("details")) d.open = true');
			expect(requests.filter((r) => r !== url && !r.startsWith('data:'))).toEqual([]);
			expect(complaints).toEqual([]);
			expect(await page.evaluate(OVERFLOW)).toBe(0);
			expect(await page.evaluate(LOW_CONTRAST)).toEqual([]);
			expect(await page.evaluate(BROKEN_PICTURES)).toBe(0);
			const paper = await page.evaluate('getComputedStyle(document.body).backgroundColor');
			expect(paper).toBe(colorScheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(20, 23, 26)');
			await context.close();
		}
	});
});

describe('what the report with pictures says', () => {
	it('reference, candidate and difference side by side; steps; the run itself; names as text', async () => {
		const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
		await page.goto(pathToFileURL(pages['pictures'] ?? '').href);
		await page.evaluate('for (const d of document.querySelectorAll("details")) d.open = true');
		expect(await page.locator('h1').innerText()).toBe('<b>"plain" & proud</b> 1.0');
		const item = page.locator('details.case', { hasText: 'L6/shapes/striped-loaded-s1.0-0' });
		expect(await item.locator('figcaption').allInnerTexts()).toEqual(['reference', 'candidate', 'difference × 8']);
		const tops = await item.locator('img').evaluateAll((images) => images.map((i) => Math.round(i.getBoundingClientRect().top)));
		expect(new Set(tops).size).toBe(1);
		const text = await item.innerText();
		expect(text).toContain('adapter-not-applied');
		expect(text).toMatch(/wrong from step 1 of 20 on/);
		expect(text).toMatch(/grey levels off by [\d.]+ in the mean, \d+ at most; PSNR [\d.]+ dB, SSIM [\d.]+/);
		const control = await page.locator('details.case', { hasText: 'L6/shapes/base-ddim20' }).innerText();
		expect(control).toContain('right after each of the 20 steps');
		expect(control).toContain('https://example.org/issues/1');
		expect(await page.locator('section', { hasText: 'The run itself' }).innerText()).toContain('no/such/case (line 2)');
		await page.close();
	});
});
