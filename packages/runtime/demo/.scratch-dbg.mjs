import fs from 'node:fs';
import { rolldown } from 'rolldown';
import { chromium } from 'playwright-core';
import { serveFolder } from './serve.mjs';
const ORT = '/work/main/node_modules/onnxruntime-web/dist/';
const b = await rolldown({ input: { dbg: '/tmp/demo/entry.mjs' }, platform: 'browser', tsconfig: false, resolve: { alias: { '@lorakit/format': '/work/main/packages/format/src/index.ts', 'onnxruntime-web/webgpu': ORT + 'ort.webgpu.min.mjs', 'onnxruntime-web': ORT + 'ort.wasm.min.mjs', }, extensionAlias: { '.js': ['.ts', '.js'] }, modules: ['/work/main/node_modules'] } });
await b.write({ dir: '/tmp/demo/site', format: 'esm' });
fs.writeFileSync('/tmp/demo/site/dbg.html', '<script type=module src=dbg.js></script>');
const { url, server } = await serveFolder('/tmp/demo/site');
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox','--disable-gpu', ...process.argv.slice(2)] });
for (const preview of [false, true]) {
const page = await browser.newPage();
page.on('console', (m) => console.log('console', m.type(), m.text()));
await page.goto(url + 'dbg.html');
await page.waitForFunction(() => globalThis.go !== undefined);
await page.evaluate((u) => history.replaceState(null, '', u), url);
console.log(preview, (await page.evaluate((p) => globalThis.go(p), preview)).join('\n'));
}
await browser.close(); server.close();
