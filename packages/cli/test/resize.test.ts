import fs from 'node:fs';
import path from 'node:path';
import { bytesSource, decodeAdapter, loadInput, loadKernel, resizeAdapter } from '@lorakit/format';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { FIXTURES, f32, kohyaFile, lora, readSafetensors, safetensors, tempFolder } from './cli.js';

const top = tempFolder();
const NAME = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_';

/** Two kohya modules of rank 8, alpha 4, with falling singular values. */
function wideFile(): string {
	const tensors: Record<string, ReturnType<typeof f32>> = {};
	for (const leaf of ['q', 'v']) {
		tensors[`${NAME}${leaf}.lora_up.weight`] = f32([24, 8], (i) => Math.sin(i * i + leaf.charCodeAt(0)) / 2 ** (i % 8));
		tensors[`${NAME}${leaf}.lora_down.weight`] = f32([8, 16], (i) => Math.cos(i * 7 + i * i));
		tensors[`${NAME}${leaf}.alpha`] = f32([], () => 4);
	}
	const file = path.join(top, 'wide.safetensors');
	fs.writeFileSync(file, safetensors(tensors, { ss_network_dim: '8', ss_network_alpha: '4.0' }));
	return file;
}

function problems(name: string, document: unknown): unknown {
	const check = new Ajv2020({ strict: false, allErrors: true }).compile(JSON.parse(lora([name, '--schema']).out));
	check(document);
	return check.errors ?? [];
}

describe('lora resize', () => {
	const input = wideFile();

	it('lowers the rank, keeps alpha / rank, and makes the header true', () => {
		const out = path.join(top, 'rank.safetensors');
		const { code, out: text } = lora(['resize', input, out, '--rank', '2']);
		expect(code).toBe(0);
		expect(text).toContain('rank     8 -> 2');
		const { tensors, metadata } = readSafetensors(fs.readFileSync(out));
		expect([...tensors].map(([key, t]) => [key, t.dtype, t.shape])).toEqual(
			['q', 'v'].flatMap((leaf) => [
				[`${NAME}${leaf}.alpha`, 'F32', []],
				[`${NAME}${leaf}.lora_down.weight`, 'F32', [2, 16]],
				[`${NAME}${leaf}.lora_up.weight`, 'F32', [24, 2]],
			]),
		);
		expect(tensors.get(`${NAME}q.alpha`)?.data.readFloatLE(0)).toBe(1);
		expect(metadata).toMatchObject({ ss_network_dim: '2', ss_network_alpha: '1' });
	});

	it('says the same under --json and --dry-run, and writes nothing then', () => {
		const out = path.join(top, 'dry.safetensors');
		const { code, out: text } = lora(['resize', input, out, '--sv-fro', '0.9', '--rank', '4', '--json', '--dry-run']);
		expect(code).toBe(0);
		const document = JSON.parse(text);
		expect(problems('resize', document)).toEqual([]);
		expect(document).toMatchObject({ dryRun: true, rule: 'sv-fro 0.9, rank at most 4', counts: { resized: 2, carried: 0 } });
		expect(fs.existsSync(out)).toBe(false);
		expect(lora(['resize', input, out, '--sv-fro', '0.9', '--rank', '4']).code).toBe(0);
		expect(fs.statSync(out).size).toBe(document.outputs[0].bytes);
	});

	it.each([1300, 1700, 2001])('fits %i bytes to the byte', (size) => {
		const out = path.join(top, `size-${size}.safetensors`);
		expect(lora(['resize', input, out, '--size', String(size), '--dtype', 'f16'])).toMatchObject({ code: 0 });
		const bytes = fs.statSync(out).size;
		expect(bytes).toBeLessThanOrEqual(size);
		// One more rank costs (24 + 16) * 2 bytes, and the header is padded to 8.
		expect(bytes).toBeGreaterThan(size - 100);
	});

	it('fits a torch file to the byte too', () => {
		const out = path.join(top, 'size.pt');
		expect(lora(['resize', input, out, '--size', '4kB', '--allow-loss'])).toMatchObject({ code: 0 });
		expect(fs.statSync(out).size).toBeLessThanOrEqual(4000);
		expect(fs.statSync(out).size).toBeGreaterThan(3500);
	});

	it('expands LoKr to LoRA exactly', () => {
		const out = path.join(top, 'expanded.safetensors');
		const lokr = path.join(FIXTURES, 'adapters/lycoris/lycoris_lokr_factored_part.safetensors');
		const { code, out: text } = lora(['resize', lokr, out, '--expand', '--dtype', 'f32', '--json']);
		expect(code).toBe(0);
		expect(problems('resize', JSON.parse(text))).toEqual([]);
		const diff = lora(['diff', lokr, out, '--fail-on-difference', '--tolerance', '1e-6']);
		expect(diff.out).toContain('the same adapter');
		expect(diff.code).toBe(0);
		expect([...readSafetensors(fs.readFileSync(out)).tensors.keys()].some((key) => key.includes('lokr'))).toBe(false);
	});

	it.each<readonly [string, readonly string[], string, number]>([
		['no rule', [], 'E_USAGE', 2],
		['two rules', ['--sv-fro', '0.9', '--size', '1MB'], 'E_USAGE', 2],
		['a size that is none', ['--size', 'small'], 'E_USAGE', 2],
		['rank 0', ['--rank', '0'], 'E_RANK', 1],
		['rank x', ['--rank', 'x'], 'E_RANK', 1],
		['a size that cannot be', ['--size', '100'], 'E_RANK', 1],
	])('refuses %s and leaves nothing behind', (_, flags, code, exit) => {
		const out = path.join(top, 'refused.safetensors');
		const ran = lora(['resize', input, out, ...flags]);
		expect(ran).toMatchObject({ code: exit });
		expect(ran.err).toContain(code);
		expect(fs.existsSync(out)).toBe(false);
	});

	it('does not replace without --force', () => {
		const out = path.join(top, 'there.safetensors');
		fs.writeFileSync(out, 'x');
		expect(lora(['resize', input, out, '--rank', '2']).err).toContain('E_OUTPUT_EXISTS');
		expect(lora(['resize', input, out, '--rank', '2', '--force']).code).toBe(0);
		expect(lora(['resize', input, input, '--rank', '2', '--force']).err).toContain('E_OUTPUT_IS_INPUT');
	});
});

describe('lora diff', () => {
	const a = path.join(top, 'a.safetensors');
	fs.writeFileSync(a, kohyaFile());

	it('knows the same adapter in another layout', () => {
		const b = path.join(top, 'b.safetensors');
		expect(lora(['convert', a, b, '--to', 'diffusers']).code).toBe(0);
		const { code, out } = lora(['diff', a, b, '--fail-on-difference']);
		expect(out).toContain('the same adapter');
		expect(code).toBe(0);
	});

	it('exits 0 on a difference, 1 if asked, and prints a document', () => {
		const b = path.join(top, 'wide.safetensors');
		const c = path.join(top, 'narrow.safetensors');
		expect(lora(['resize', b, c, '--rank', '1']).code).toBe(0);
		const { code, out } = lora(['diff', b, c, '--json']);
		expect(code).toBe(0);
		const document = JSON.parse(out);
		expect(problems('diff', document)).toEqual([]);
		expect(document.same).toBe(false);
		expect(lora(['diff', b, c, '--fail-on-difference', '-q']).code).toBe(1);
	});

	it('writes a page, once', () => {
		const page = path.join(top, 'diff.html');
		expect(lora(['diff', a, a, '--html', page, '-q'])).toMatchObject({ code: 0, out: `${page}\n` });
		expect(fs.readFileSync(page, 'utf8')).toContain('the same adapter: no difference');
		expect(lora(['diff', a, a, '--html', page]).err).toContain('E_OUTPUT_EXISTS');
		expect(lora(['diff', a, a, '--html', a, '--force']).err).toContain('E_OUTPUT_IS_INPUT');
	});

	it('inspect writes a page too', () => {
		const page = path.join(top, 'inspect.html');
		expect(lora(['inspect', a, '--html', page]).code).toBe(0);
		expect(fs.readFileSync(page, 'utf8')).toContain('Energy by block');
		expect(lora(['inspect', a, path.join(top, 'wide.safetensors'), '--html', page, '--force']).err).toContain('E_USAGE');
	});
});

describe('lora resize on threads', () => {
	/** More than 4 MiB, so that the modules are computed on worker threads; `broken` puts a NaN into one of them. */
	function largeFile(broken: boolean): string {
		const tensors: Record<string, ReturnType<typeof f32>> = {};
		const leaves = ['attn1_to_q', 'attn1_to_k', 'attn1_to_v', 'attn2_to_q', 'attn2_to_k'];
		for (const [n, leaf] of leaves.entries()) {
			const name = `lora_unet_mid_block_attentions_0_transformer_blocks_0_${leaf}`;
			const rank = 96 + n;
			tensors[`${name}.lora_up.weight`] = f32([1280, rank], (i) => Math.sin(i * (n + 1)) / (1 + (i % rank)));
			tensors[`${name}.lora_down.weight`] = f32([rank, 1280], (i) => (broken && n === 3 && i === 7 ? Number.NaN : Math.cos(i * i)));
			tensors[`${name}.alpha`] = f32([], () => rank / 2);
		}
		const file = path.join(top, `large-${broken}.safetensors`);
		fs.writeFileSync(file, safetensors(tensors));
		return file;
	}

	it('writes the bytes that one thread computes', async () => {
		const input = largeFile(false);
		expect(fs.statSync(input).size).toBeGreaterThan(4 * 1024 * 1024);
		const out = path.join(top, 'threads.safetensors');
		expect(lora(['resize', input, out, '--sv-fro', '0.9', '--rank', '24']).code).toBe(0);
		await loadKernel();
		const decoded = decodeAdapter(await loadInput({ main: bytesSource(fs.readFileSync(input)) }));
		const { adapter } = await resizeAdapter(decoded.adapter, {
			rule: { kind: 'sv-fro', value: 0.9 },
			maxRank: 24,
		});
		const { tensors } = readSafetensors(fs.readFileSync(out));
		for (const { path: name, factors } of adapter.modules) {
			const kohya = `lora_unet_${name.replaceAll('.', '_')}`;
			for (const role of ['up', 'down'] as const) {
				const mine = await factors[role]?.read();
				expect(mine?.byteLength).toBeGreaterThan(0);
				expect(tensors.get(`${kohya}.lora_${role}.weight`)?.data.equals(mine ?? Buffer.alloc(0))).toBe(true);
			}
		}
	});

	it('says what the thread refused, and writes nothing', () => {
		const out = path.join(top, 'refused.safetensors');
		const { code, err } = lora(['resize', largeFile(true), out, '--rank', '8']);
		expect(code).toBe(1);
		expect(err).toContain('E_NONFINITE');
		expect(err).toContain('mid_block.attentions.0.transformer_blocks.0.attn2.to_q');
		expect(err).not.toContain('    at ');
		expect(fs.existsSync(out)).toBe(false);
	});
});

describe('lora extract', () => {
	/** A UNet in a diffusers folder; `add` is added to every element of one weight. */
	function unet(name: string, add: (i: number) => number): string {
		const folder = path.join(top, name, 'unet');
		fs.mkdirSync(folder, { recursive: true });
		const block = 'mid_block.attentions.0.transformer_blocks.0';
		fs.writeFileSync(
			path.join(folder, 'diffusion_pytorch_model.safetensors'),
			safetensors({
				[`${block}.attn1.to_q.weight`]: f32([16, 16], (i) => (i % 7) / 8 + add(i)),
				[`${block}.norm1.weight`]: f32([16], () => 1 + add(0)),
				[`${block}.norm1.bias`]: f32([16], () => 0),
			}),
		);
		return path.join(top, name);
	}
	const base = unet('base', () => 0);
	const tuned = unet('tuned', (i) => ((i % 16) - 8) * (Math.floor(i / 16) % 3) * 0.125 + 0.25);

	it('writes the difference of two folders, and names what it does not carry', () => {
		const out = path.join(top, 'extracted.safetensors');
		const { code, out: text, err } = lora(['extract', tuned, base, '--rank', '2', '--to', 'kohya', '--out', out, '--json']);
		expect(code).toBe(0);
		const document = JSON.parse(text);
		expect(problems('extract', document)).toEqual([]);
		expect(document.counts).toEqual({ lowRank: 1, full: 0, unchanged: 0, notCarried: 1 });
		expect(document.error).toBeLessThan(1e-6);
		expect(err).toContain('W_LOSS');
		expect(readSafetensors(fs.readFileSync(out)).tensors.get(`${NAME}q.alpha`)?.data.readFloatLE(0)).toBe(2);
	});

	it('refuses a model against itself, and wrong usage', () => {
		const out = path.join(top, 'none.safetensors');
		expect(lora(['extract', base, base, '--rank', '2', '--out', out]).err).toContain('E_EMPTY_ADAPTER');
		expect(lora(['extract', tuned, base, '--out', out]).code).toBe(2);
		expect(lora(['extract', tuned, base, '--rank', '2']).code).toBe(2);
		expect(fs.existsSync(out)).toBe(false);
	});
});
