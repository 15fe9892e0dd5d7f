import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { FIXTURES, f32, kohyaFile, LORA_CONVERT, lora, PACKAGE, readSafetensors, safetensors, startLora, tempFolder } from './cli.js';

const folder = tempFolder();
const kohya = path.join(folder, 'style.safetensors');
fs.writeFileSync(kohya, kohyaFile({ ss_output_name: 'style', ss_training_comment: 'in /home/me' }));
const other = path.join(folder, 'other.safetensors');
fs.writeFileSync(other, safetensors({ a: f32([2], () => 1), 'a.b': f32([], () => 2) }));
const broken = path.join(folder, 'broken.safetensors');
fs.writeFileSync(broken, kohyaFile().subarray(0, -3));

const ajv = new Ajv2020({ allErrors: true, allowUnionTypes: true });
function schemaCheck(name: string, document: unknown): void {
	const places = [path.join(PACKAGE, '../format/schema'), path.join(PACKAGE, 'schema')];
	const file = places.map((p) => path.join(p, `${name}.schema.json`)).find((f) => fs.existsSync(f)) ?? '';
	const { $id, ...schema } = JSON.parse(fs.readFileSync(file, 'utf8'));
	const check = ajv.getSchema($id) ?? ajv.compile({ $id, ...schema });
	check(document);
	expect(check.errors ?? []).toEqual([]);
}

describe('lora', () => {
	it('prints help with every command, and the version', () => {
		const help = lora(['--help']);
		expect(help.code).toBe(0);
		for (const name of ['inspect', 'validate', 'check', 'convert', 'hash', 'meta', 'explain', 'completion'])
			expect(help.out).toContain(`  ${name}`);
		const version = JSON.parse(fs.readFileSync(path.join(PACKAGE, 'package.json'), 'utf8')).version;
		expect(lora(['--version']).out).toBe(`${version}\n`);
		expect(lora(['--version'], { bin: LORA_CONVERT }).out).toBe(`${version}\n`);
	});

	it.each([
		['inspect'],
		['validate'],
		['check'],
		['convert'],
		['hash'],
		['meta'],
		['meta', 'show'],
		['meta', 'set'],
		['meta', 'strip'],
		['explain'],
		['completion'],
	])('%s %s --help has a real example', (...words) => {
		const { code, out } = lora([...words, '--help']);
		expect(code).toBe(0);
		expect(out).toContain('Examples:\n  lora ');
	});

	it.each([
		[['inspct', kohya], 'did you mean inspect?'],
		[['inspect', kohya, '--jsn'], 'did you mean --json?'],
		[['check', kohya, '--target', 'comfy'], 'comfyui'],
		[['convert', kohya], 'convert takes IN and OUT'],
		[['convert', kohya, kohya, kohya], '--out-dir'],
		[['convert', kohya, path.join(folder, 'x.zip')], 'end it in .safetensors'],
		[['convert', kohya, path.join(folder, 'x.safetensors'), '--to', 'koya'], 'known are'],
		[['convert', kohya, '--jobs', '0', '--out-dir', folder], 'from 1 to 64'],
		[['inspect'], 'Name at least one file'],
		[['meta', 'set', kohya, 'a=b'], '--in-place'],
		[['meta', 'strip', kohya, '--out', 'x'], '--private'],
		[['explain', 'E_AMBIGOUS'], 'did you mean E_AMBIGUOUS?'],
		[['completion', 'csh'], 'bash'],
	])('%j is wrong usage', (args, hint) => {
		const { code, out, err } = lora(args);
		expect(err).toContain(hint);
		expect(err).toMatch(/^E_USAGE: [^\n]+\n$/);
		expect([code, out]).toEqual([2, '']);
	});

	it('without a command prints help and exits 2', () => {
		const { code, err } = lora([]);
		expect(code).toBe(2);
		expect(err).toContain('Usage: lora');
	});
});

describe('lora inspect', () => {
	it('says the plain words first', () => {
		const { code, out, err } = lora(['inspect', kohya]);
		expect([code, err.includes('E_')]).toEqual([0, false]);
		expect(out.split('\n')[0]).toMatch(/^file +.*style\.safetensors, .*safetensors$/);
		expect(out).toMatch(/^strength +0\.5 \(alpha\/rank\)$/m);
		expect(out).toContain(
			createHash('sha256')
				.update(kohyaFile({ ss_output_name: 'style', ss_training_comment: 'in /home/me' }))
				.digest('hex'),
		);
	});

	it('exits 0 for a tensor file that is no LoRA, and says so', () => {
		const { code, out, err } = lora(['inspect', other]);
		expect(code).toBe(0);
		expect(out).toContain('Not a LoRA');
		expect(err).toMatch(/^W_NOT_A_LORA: /m);
		expect(lora(['inspect', other, '--strict']).code).toBe(1);
	});

	it('gives JSON by the published schema, which --schema prints', () => {
		for (const file of [kohya, other]) {
			const { code, out } = lora(['inspect', file, '--json']);
			expect(code).toBe(0);
			schemaCheck('inspect', JSON.parse(out));
		}
		const { out } = lora(['inspect', '--schema']);
		const published = (name: string): unknown => JSON.parse(fs.readFileSync(path.join(PACKAGE, name), 'utf8'));
		// A refused file gives an error document in place of the report.
		expect(JSON.parse(out)).toMatchObject({
			oneOf: [published('../format/schema/inspect.schema.json'), published('schema/error.schema.json')],
		});
	});

	it('a refusal under --json is a document too', () => {
		const { code, out, err } = lora(['convert', other, path.join(folder, 'never.safetensors'), '--json']);
		expect(code).toBe(1);
		expect(err).toContain('E_NOT_A_LORA');
		schemaCheck('error', JSON.parse(out));
	});

	it('takes folders and globs, goes on after a refusal and exits 1', () => {
		const { code, out, err } = lora(['inspect', folder, '--json']);
		expect(code).toBe(1);
		const lines = out
			.trimEnd()
			.split('\n')
			.map((line) => JSON.parse(line));
		expect(lines.map((l) => l.schema)).toEqual(['lora.error/1', 'lora.inspect/1', 'lora.inspect/1']);
		schemaCheck('error', lines[0]);
		expect(lines[0].error.code).toBe('E_TRUNCATED');
		expect(err).toMatch(/^E_TRUNCATED: /m);
		expect(lora(['inspect', path.join(folder, 'st*.safetensors'), '--quiet']).out).toBe(`${kohya}\n`);
	});

	it('prints Markdown, reads standard input, colours on demand', () => {
		expect(lora(['inspect', kohya, '--format', 'md']).out).toMatch(/^### .*style\.safetensors/);
		const { code, out } = lora(['inspect', '-'], { input: kohyaFile() });
		expect(code).toBe(0);
		expect(out).toContain('standard input');
		expect(lora(['inspect', broken], { env: { FORCE_COLOR: '1' } }).err).toContain('\u001b[31mE_TRUNCATED\u001b[39m');
		expect(lora(['inspect', broken], { env: { NO_COLOR: '1' } }).err).not.toContain('\u001b');
	});

	it('leaves out a companion that cannot be read', () => {
		const own = fs.mkdtempSync(path.join(folder, 'companion-'));
		fs.copyFileSync(path.join(FIXTURES, 'adapters/cloneofsimo/legacy_nonzip_r1.pt'), path.join(own, 'x.pt'));
		fs.writeFileSync(path.join(own, 'x.ti.pt'), 'nonsense');
		const { code, err } = lora(['inspect', path.join(own, 'x.pt')]);
		expect(code).toBe(0);
		expect(err).toMatch(/^W_COMPANION: /m);
	});

	it('escapes what would move the cursor', () => {
		const evil = path.join(fs.mkdtempSync(path.join(folder, 'evil-')), 'evil.safetensors');
		fs.writeFileSync(evil, safetensors({ '\u001b[2J\u202egpj': f32([1], () => 0) }, { '\u001b]0;x\u0007': '\u009b31m' }));
		for (const args of [
			['inspect', evil],
			['inspect', evil, '--json'],
			['validate', evil],
			['meta', 'show', evil],
			['inspect', evil, '--format', 'md'],
		]) {
			const { out, err } = lora(args);
			// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
			expect(out + err).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
		}
	});
});

describe('lora over HTTP', () => {
	it('inspects by ranges and converts', async () => {
		const bytes = kohyaFile();
		let served = 0;
		const server = createServer((request, response) => {
			const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
			if (request.url !== '/style.safetensors') return void response.writeHead(404).end();
			const from = Number(range?.[1] ?? 0);
			const to = Math.min(Number(range?.[2] ?? bytes.length - 1), bytes.length - 1);
			const part = bytes.subarray(from, to + 1);
			served += part.length;
			const headers = { 'content-length': part.length, 'accept-ranges': 'bytes', etag: '"1"' };
			if (range === null) response.writeHead(200, headers);
			else response.writeHead(206, { ...headers, 'content-range': `bytes ${from}-${to}/${bytes.length}` });
			response.end(request.method === 'HEAD' ? undefined : part);
		});
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
		const address = server.address();
		const port = typeof address === 'object' && address !== null ? address.port : 0;
		try {
			const url = `http://127.0.0.1:${port}/style.safetensors`;
			expect(await exitOf(['inspect', url])).toBe(0);
			expect(served).toBeLessThan(2 * bytes.length);
			const out = path.join(fs.mkdtempSync(path.join(folder, 'http-')), 'o.safetensors');
			expect(await exitOf(['convert', url, out, '--to', 'keep'])).toBe(0);
			expect(readSafetensors(fs.readFileSync(out)).tensors.size).toBe(6);
			expect(await exitOf(['inspect', `${url}x`])).toBe(1);
		} finally {
			server.closeAllConnections();
			server.close();
		}
	});
});

/** The test's own event loop serves the file, so the program must not be waited for synchronously. */
function exitOf(args: readonly string[]): Promise<number | null> {
	const child = startLora(args);
	child.stdout?.resume();
	child.stderr?.resume();
	return new Promise((resolve) => child.on('close', resolve));
}

describe('lora validate', () => {
	it('judges', () => {
		expect(lora(['validate', kohya])).toMatchObject({ code: 0 });
		const bad = lora(['validate', other, '--json']);
		expect(bad.code).toBe(1);
		schemaCheck('validate', JSON.parse(bad.out));
		expect(bad.err).toMatch(/^E_NOT_A_LORA: /m);
		expect(lora(['validate', broken]).err).toMatch(/^E_TRUNCATED: /);
		expect(lora(['validate', kohya, other, broken, '--quiet']).out).toBe(`${other}\n`);
	});

	it('makes warnings count under --strict', () => {
		const file = path.join(fs.mkdtempSync(path.join(folder, 'nan-')), 'nan.safetensors');
		const bytes = kohyaFile();
		bytes.writeFloatLE(Number.NaN, bytes.length - 4 - 64);
		fs.writeFileSync(file, bytes);
		const { code, err } = lora(['validate', file]);
		expect(code).toBe(0);
		expect(err).toMatch(/^W_NONFINITE: /m);
		expect(lora(['validate', file, '--strict']).code).toBe(1);
	});
});

describe('lora check', () => {
	it('says what a reader loads', () => {
		const { code, out } = lora(['check', kohya, '--target', 'comfyui']);
		expect(code).toBe(0);
		expect(out).toMatch(/^ComfyUI loads 2 of 2 modules/);
		const peft = lora(['check', kohya, '--target', 'peft', '--json']);
		expect(peft.code).toBe(1);
		schemaCheck('check', JSON.parse(peft.out));
		expect(peft.err).toMatch(/^E_UNSUPPORTED_ADAPTER: PEFT/);
		expect(lora(['check', kohya, '--quiet']).out.split('\n').length).toBe(6);
	});
});

describe('lora hash', () => {
	it('gives the hashes of the bytes', () => {
		const bytes = fs.readFileSync(kohya);
		const sha = createHash('sha256').update(bytes).digest('hex');
		const data = createHash('sha256').update(readSafetensors(bytes).data).digest('hex');
		const { code, out } = lora(['hash', kohya, '--json']);
		expect(code).toBe(0);
		const document = JSON.parse(out);
		schemaCheck('hash', document);
		expect(document).toMatchObject({ sha256: sha, autoV2: sha.slice(0, 10), autoV3: data, sshsModelHash: data });
		expect(lora(['hash', kohya, '--quiet']).out).toBe(`${sha}  ${kohya}\n`);
		const cut = lora(['hash', broken]);
		expect(cut.code).toBe(0);
		expect(cut.out).toContain(createHash('sha256').update(fs.readFileSync(broken)).digest('hex'));
	});
});

describe('lora meta', () => {
	it('shows', () => {
		expect(lora(['meta', 'show', kohya]).out).toBe('ss_output_name=style\nss_training_comment=in /home/me\n');
		expect(lora(['meta', 'show', kohya, '--key', 'ss_output_name']).out).toBe('style\n');
		expect(lora(['meta', 'show', kohya, '--key', 'none']).code).toBe(1);
		schemaCheck('meta', JSON.parse(lora(['meta', 'show', kohya, '--json']).out));
	});

	it('sets and strips without touching the tensors, and makes hashes true', () => {
		const file = path.join(fs.mkdtempSync(path.join(folder, 'meta-')), 'm.safetensors');
		fs.writeFileSync(file, kohyaFile({ sshs_model_hash: 'stale', ss_training_comment: 'x' }));
		const before = readSafetensors(fs.readFileSync(file));
		const set = lora(['meta', 'set', file, 'modelspec.title=a=b', 'ss_training_comment=y', '--in-place', '--json']);
		expect(set.code).toBe(0);
		schemaCheck('meta', JSON.parse(set.out));
		const after = readSafetensors(fs.readFileSync(file));
		expect(after.data.equals(before.data)).toBe(true);
		expect([...after.tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort());
		for (const [name, tensor] of before.tensors) expect(after.tensors.get(name)).toEqual(tensor);
		expect(after.metadata).toEqual({
			'modelspec.title': 'a=b',
			ss_training_comment: 'y',
			sshs_model_hash: createHash('sha256').update(before.data).digest('hex'),
		});
		const out = path.join(path.dirname(file), 'clean.safetensors');
		expect(lora(['meta', 'strip', file, '--private', '--out', out, '--quiet'])).toMatchObject({ code: 0, out: `${out}\n` });
		expect(Object.keys(readSafetensors(fs.readFileSync(out)).metadata)).toEqual(['modelspec.title', 'sshs_model_hash']);
		const piped = lora(['meta', 'strip', file, 'modelspec.title', 'ss_training_comment', 'sshs_model_hash', '--out', '-']);
		expect(readSafetensors(piped.bytes)).toMatchObject({ metadata: {} });
		expect(lora(['meta', 'set', file, 'a=b', '--out', out]).err).toMatch(/^E_OUTPUT_EXISTS: /);
	});
});

describe('lora explain', () => {
	it('explains one and lists all', () => {
		expect(lora(['explain', 'e_loss']).out).toMatch(/^E_LOSS: [^\n]+\n\n/);
		schemaCheck('explain', JSON.parse(lora(['explain', 'W_ALPHA_UNKNOWN', '--json']).out));
		const { out } = lora(['explain', '--quiet']);
		expect(out.split('\n').length).toBeGreaterThan(100);
	});
});

describe('lora completion', () => {
	it.each([['bash'], ['zsh'], ['fish']])('%s knows every command and option', (shell) => {
		const { code, out } = lora(['completion', shell]);
		expect(code).toBe(0);
		for (const word of ['inspect', 'strip', 'allow-loss', 'comfyui']) expect(out).toContain(word);
	});
});
