import { chromium } from 'playwright-core';
import { serveFolder } from './serve.mjs';
const url = await serveFolder('/tmp/demo/site', 0);
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox','--disable-gpu'] });
for (const [name, colorScheme, width, height] of [['light', 'light', 940, 880], ['dark', 'dark', 1000, 980]]) {
const page = await browser.newPage({ viewport: { width, height }, colorScheme });
await page.goto(url);
const done = () => page.waitForFunction(() => document.getElementById('frame').getAttribute('aria-busy') === 'false' && /^\d/.test(document.getElementById('status').textContent), null, { timeout: 100000 });
await page.waitForSelector('#adapter-examples button');
await page.click('text=Example: crescent'); await done();

for (const v of ['0', '0.5', '0.75', '1']) { await page.evaluate((x) => { const s = document.getElementById('scale'); s.value = x; s.dispatchEvent(new Event('input')); }, v); await done(); }
if (name === 'dark') { await page.fill('#width', '65'); await page.click('#draw'); await page.waitForSelector('#error:not([hidden])'); }
await page.mouse.move(2, 2); await page.evaluate(() => document.activeElement?.blur());
await page.screenshot({ path: `/tmp/demo/${name}.png`, fullPage: name !== 'light' });
await page.close();
}
await browser.close(); process.exit(0);
