import fs from 'node:fs';
import { decode } from 'fast-png';
import { chromium } from 'playwright-core';
import { serveFolder } from './serve.mjs';

const isolated = process.argv[2] !== 'plain';
const { url, server } = await serveFolder('/tmp/demo/site', { isolated });
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', ...(process.argv[2]==='gpu'?['--enable-unsafe-webgpu','--use-webgpu-adapter=swiftshader','--enable-features=Vulkan']:['--disable-gpu'])] });
const page = await browser.newPage({ viewport: { width: 1100, height: 900 }, acceptDownloads: true });
page.on('console', (m) => console.log('console', m.type(), m.text()));
page.on('pageerror', (e) => console.log('pageerror', e.message));
page.on('requestfailed', (r) => console.log('failed', r.url()));
let t = Date.now();
await page.goto(url);
const isBusy = () =>
	page.waitForFunction(
		() =>
			document.getElementById('frame').getAttribute('aria-busy') === 'false' && !/…/.test(document.getElementById('status').textContent),
		null,
		{ timeout: 100000 },
	);
async function pixels() {
	const [d] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
	const p = await d.path();
	return decode(fs.readFileSync(p));
}
async function compare(name) {
	const a = await pixels();
	const b = decode(fs.readFileSync(`/work/shared/reference/inference-shapes/png/${name}.png`));
	let max = 0;
	for (let i = 0; i < b.data.length; i++) max = Math.max(max, Math.abs(a.data[i] - b.data[i]));
	console.log(name, a.width, a.height, a.channels, 'max', max, a.text);
}
async function wait() {
	await new Promise((r) => setTimeout(r, 200));
	await isBusy();
	console.log(
		Date.now() - t,
		'ms',
		await page.textContent('#status'),
		'|',
		await page.textContent('#error'),
		'|',
		await page.textContent('#base-facts'),
		'|',
		await page.textContent('#notes'),
	);
	t = Date.now();
}
console.log('isolated', await page.evaluate(() => crossOriginIsolated));
await page.fill('#prompt', 'a large blue circle');
await page.setInputFiles('#base-folder', '/work/main/fixtures/runtime/tiny-shapes');
await wait();
await compare('base-dpm20-0');
await page.fill('#prompt', 'a large striped red ring');
await page.setInputFiles('#adapter-files', '/work/main/fixtures/runtime/adapters/striped.safetensors');
await wait();
await compare('striped-loaded-s1.0-0');
await page.focus('#scale');
for (let i = 0; i < 10; i++) await page.keyboard.press('ArrowLeft');
await wait();
await compare('striped-loaded-s0.5-0');
await page.screenshot({ path: '/tmp/demo/light.png', fullPage: true });
await page.emulateMedia({ colorScheme: 'dark' });
await page.screenshot({ path: '/tmp/demo/dark.png', fullPage: true });
await browser.close();
server.close();
