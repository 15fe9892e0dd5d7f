/**
 * Every adapter of a folder through `lora scale`, `lora split` + `lora join` and `lora merge`, each result read again and compared with the
 * input in float64, module by module. Usage: node sweep.mjs FOLDER [BASE [NAME]]      (npm run build first)
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');
const LORA = path.join(ROOT, 'packages/cli/bin/lora.js');
const { decodeAdapter, deltaOf, loadInput, needsBase } = await import(path.join(ROOT, 'packages/format/dist/index.js'));
const { openSource, resolveInput } = await import(path.join(ROOT, 'packages/format/dist/io/index.js'));

const [folder, base, only = ''] = process.argv.slice(2);
if (folder === undefined) {
	console.error('usage: node sweep.mjs FOLDER [BASE [NAME]]');
	process.exit(2);
}

async function read(file) {
	const { main, companions } = await resolveInput(file);
	const open = async (name) => (name === undefined ? undefined : openSource(name));
	const embeddings = [];
	for (const name of companions.embeddings) embeddings.push(await openSource(name));
	const config = companions.config === undefined ? undefined : fs.readFileSync(companions.config, 'utf8');
	const input = await loadInput(
		{ main: await openSource(main), textEncoder: await open(companions.textEncoder), embeddings, config },
		{ values: true },
	);
	return decodeAdapter(input);
}

/** Largest |a - by b| relative to the largest |b|, over all modules that need no base. */
async function compare(a, b, by) {
	const others = new Map(b.modules.map((m) => [`${m.component} ${m.path}`, m]));
	if (others.size !== a.modules.length) return `has ${a.modules.length} modules instead of ${others.size}`;
	let worst = 0;
	for (const m of a.modules) {
		const other = others.get(`${m.component} ${m.path}`);
		if (other === undefined) return `has ${m.path}, which the input lacks`;
		if (needsBase(m) || needsBase(other)) continue;
		const [x, y] = [await deltaOf(m), await deltaOf(other)];
		for (const part of ['weight', 'bias']) {
			const [p, q] = [x[part]?.data ?? new Float64Array(0), y[part]?.data ?? new Float64Array(0)];
			if (p.length !== q.length) return `${m.path} ${part} has ${p.length} numbers instead of ${q.length}`;
			const size = q.reduce((s, v) => Math.max(s, Math.abs(v)), 0) * Math.abs(by) || 1;
			for (let i = 0; i < p.length; i++) worst = Math.max(worst, Math.abs(p[i] - by * q[i]) / size);
		}
	}
	return worst;
}

const lora = (...args) => execFileSync(process.execPath, [LORA, ...args], { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
const reason = (error) => (error.stderr ?? error.message).split('\n').find((l) => /E_/.test(l)) ?? error.message;
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'lora-sweep-'));
const rows = [];
let bad = 0;
try {
	const inputs = fs
		.readdirSync(folder)
		.filter((f) => !/\.(text_encoder|ti)\.pt$|\.json$|\.md$/.test(f) && f.includes(only))
		.map((f) => path.join(folder, f));
	for (const input of inputs) {
		const name = path.basename(input);
		const dir = fs.mkdtempSync(path.join(work, 'x'));
		const original = await read(input);
		const extension = /\.(pt|bin)$/.test(name) || /bin/.test(name) ? '.pt' : '.safetensors';
		const row = { name, layout: original.layout.id };
		const attempt = async (what, work) => {
			try {
				const got = await work();
				row[what] = typeof got === 'number' ? got.toExponential(1) : got;
				if (typeof got === 'string' || !(got < 1e-2)) bad++;
			} catch (error) {
				row[what] = reason(error).slice(0, 150);
			}
		};
		await attempt('scale', async () => {
			const out = path.join(dir, `scaled${extension}`);
			lora('scale', input, out, '--by', '0.7');
			return compare((await read(out)).adapter, original.adapter, 0.7);
		});
		await attempt('join', async () => {
			const parts = path.join(dir, 'parts');
			const written = JSON.parse(lora('split', input, '--out-dir', parts, '--json')).parts.map((p) => p.outputs[0].path);
			fs.mkdirSync(path.join(dir, 'joined'));
			const out = path.join(dir, 'joined', `joined${extension}`);
			lora('join', ...written, '--out', out);
			const back = (await read(out)).adapter;
			if (back.embeddings.length !== original.adapter.embeddings.length) return `has ${back.embeddings.length} embeddings`;
			const lost = [...original.adapter.metadata].filter(([k, v]) => !/hash/.test(k) && back.metadata.get(k) !== v);
			if (lost.length > 0) return `metadata differs: ${lost[0][0]}`;
			return compare(back, original.adapter, 1);
		});
		await attempt('merge', async () => {
			const out = path.join(dir, 'merged.safetensors');
			const flags = base === undefined ? [] : ['--base', base];
			lora('merge', `${input}@0.3`, `${input}@0.4`, '--out', out, '--to', 'kohya', '--embeddings', 'first', '--verify', ...flags);
			return compare((await read(out)).adapter, original.adapter, 0.7);
		});
		rows.push(row);
	}
} finally {
	fs.rmSync(work, { recursive: true, force: true });
}
for (const { name, layout, scale, join, merge } of rows)
	console.log(`${name.padEnd(46)} ${layout.padEnd(22)} scale ${scale}  join ${join}  merge ${merge}`);
console.log(bad === 0 ? `${rows.length} adapters: every result that was written is right` : `${bad} results are wrong`);
process.exit(bad === 0 ? 0 : 1);
